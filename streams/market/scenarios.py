"""The scenarios that pacing is judged in, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from streams.market.scenario import DAY_S, HOUR_S, Change, Outage, Scenario, Server

_NOON: Final = 12 * HOUR_S
_EVENING: Final = 19 * HOUR_S
_NIGHT: Final = 22 * HOUR_S + HOUR_S // 2
_HALF_HOUR: Final = HOUR_S // 2
_STALE: Final = tuple(Server(2, late_s) for late_s in (2, 4, 7, 10))

SCENARIOS: Final[Mapping[str, Scenario]] = {
    "normal": Scenario(),
    "first-day": Scenario(warm_up=False),
    "traffic-x10": Scenario(traffic=(Change(13 * HOUR_S, 14 * HOUR_S, 10.0),)),
    "no-traffic": Scenario(traffic=(Change(13 * HOUR_S, 15 * HOUR_S, 0.0),)),
    "window-30min": Scenario(window_s=HOUR_S // 2),
    "window-2h": Scenario(window_s=2 * HOUR_S),
    "budgets-halved": Scenario(budget=Change(_NOON, DAY_S, 0.5)),
    "budgets-doubled": Scenario(budget=Change(_NOON, DAY_S, 2.0)),
    "prices-x2.5": Scenario(outside=(Change(_NOON, DAY_S, 2.5),)),
    "start-18h": Scenario(start_s=18 * HOUR_S),
    "five-clicks": Scenario(clicks_a_day=5.0),
    "rare-clicks": Scenario(rate_factor=0.1, bid_factor=10.0),
    "pctr-double": Scenario(pctr_factor=2.0),
    "pctr-half": Scenario(pctr_factor=0.5),
    "stale-servers": Scenario(servers=_STALE),
    "pace-down-5min": Scenario(pace_down=Outage(_EVENING, _EVENING + 300)),
    "join-down-30min": Scenario(join_down=Outage(_EVENING, _EVENING + _HALF_HOUR)),
    "pace-down-night": Scenario(pace_down=Outage(_NIGHT, _NIGHT + HOUR_S)),
    "join-down-night": Scenario(join_down=Outage(_NIGHT, _NIGHT + HOUR_S)),
    "asap": Scenario(asap=True),
    "asap-stale": Scenario(asap=True, servers=_STALE),
}

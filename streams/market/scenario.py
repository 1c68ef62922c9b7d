"""What a market is like, and what goes wrong in it on the day that is judged. Seconds count from its midnight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

DAY_S: Final = 86_400
HOUR_S: Final = 3_600


class Change(NamedTuple):
    """Something is `factor` times as much from a second on until another."""

    from_s: int
    to_s: int
    factor: float


class Server(NamedTuple):
    """An ad server: it looks for decisions every `refresh_s`, and can use those that are `late_s` old."""

    refresh_s: int = 2
    late_s: int = 2


class Outage(NamedTuple):
    """From a second on until another."""

    from_s: int
    to_s: int


@dataclass(frozen=True, slots=True)
class Scenario:
    """A market. The defaults are a normal day after a day of the same market, in which the pacer could learn."""

    campaigns: int = 60
    auctions_per_s: float = 20.0
    servers: tuple[Server, ...] = (Server(), Server())
    window_s: int = HOUR_S
    """Attribution window."""
    warm_up: bool = True
    clicks_a_day: float | None = None
    """Budget of every campaign in click prices; None draws budgets by what campaigns could spend."""
    rate_factor: float = 1.0
    """Of click rates."""
    bid_factor: float = 1.0
    """Of bids; the outside bidder has it too, so that prices follow."""
    pctr_factor: float = 1.0
    """Predicted over true click rate."""
    asap: bool = False
    start_s: int = 0
    """First second in which campaigns take part on the judged day."""
    traffic: tuple[Change, ...] = ()
    outside: tuple[Change, ...] = ()
    """Of what the outside bidder offers."""
    budget: Change | None = None
    """Of all budgets, once and for the rest of the day."""
    hourly_cap: float = 0.0
    """What a campaign may spend in an hour, as a part of its budget; 0: no bound."""
    dayparts: str = ""
    """Hours of the week, UTC, in which campaigns serve, as `schemas.dayparts` reads them; empty: all."""
    pace_down: Outage | None = None
    join_down: Outage | None = None

    @property
    def days(self) -> int:
        """Days that are played; the last one is judged."""
        return 2 if self.warm_up else 1

    @property
    def judged_s(self) -> int:
        """The first second of the judged day."""
        return (self.days - 1) * DAY_S

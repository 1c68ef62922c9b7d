"""The market that pacing is tried in: its gate is the gate, its draws are a seed's, its clicks come as they should."""

from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np
import pytest

from schemas.errors import SettingsError
from streams.kernels.auctions import CLICKS, EXPECTED_CLICKS, EXPECTED_SPEND, IMPRESSIONS, SPEND, enter_all
from streams.market.figures import figures
from streams.market.played import unpaced
from streams.market.policies import POLICIES, make_policy
from streams.market.run import Run, referred
from streams.market.scenario import Change, Scenario
from streams.market.world import drawn, moved_crc
from streams.pacing.gate import Gate, GateDecision
from tests.pacing.__main__ import THROTTLE, table, value_ratio
from tests.pacing.targets import TARGETS, missed, pooled

SMALL = Scenario(campaigns=6, auctions_per_s=2.0, warm_up=False)


@pytest.mark.parametrize("name", ["campaign-00", "c", "Ünïcode"])
def test_the_markets_gate_decides_as_the_gate_does(name: str) -> None:
    draw = np.random.default_rng(1)
    requests = draw.integers(0, 2**32, 4_000)
    shares = np.concatenate([draw.random(3_998), [0.0, 1.0]])
    entered = np.zeros(len(requests), bool)
    enter_all(requests, np.array([moved_crc(name)], np.uint64), shares, entered)
    gate = Gate()
    for version, (request, share, is_in) in enumerate(zip(requests.tolist(), shares, entered, strict=True)):
        gate.take(GateDecision(name, version, share, 1.0, 1e9, 10))
        assert (gate.admit(name, f"{request:08x}", now_ms=0) > 0) == is_in


def test_the_moved_crc_is_that_of_campaign_and_request() -> None:
    assert moved_crc("c") ^ zlib.crc32(b"0000beef") == zlib.crc32(b"c\x000000beef")


def test_clicks_and_prices_are_what_was_predicted() -> None:
    counters = unpaced(drawn(SMALL, 3), SMALL).counters.sum(0)
    assert counters[IMPRESSIONS] > 50_000
    # 99.3 % of clicks come inside the window of an hour.
    assert counters[CLICKS] == pytest.approx(0.99 * counters[EXPECTED_CLICKS], rel=0.06)
    assert counters[SPEND] == pytest.approx(0.99 * counters[EXPECTED_SPEND], rel=0.07)


def test_a_surprise_changes_only_what_comes_after_it() -> None:
    usual = unpaced(drawn(SMALL, 1), SMALL).spend_by_minute
    changed = replace(SMALL, outside=(Change(43_200, 86_400, 2.5),))
    other = unpaced(drawn(changed, 1), changed).spend_by_minute
    assert (usual[:, :720] == other[:, :720]).all()
    assert usual[:, 740:].sum() != other[:, 740:].sum()


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_spends_and_a_seed_repeats_itself(name: str) -> None:
    reference = referred(SMALL, 1)
    days = []
    for _ in range(2):
        run = Run(SMALL, 1, make_policy(name), reference.budgets)
        run.until(14_400)
        run.until(18_000)
        days.append(run.spend.copy())
    assert days[0].sum() > 0
    assert (days[0] == days[1]).all()


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(SettingsError, match="'best' is not known; choose from law, throttle, former"):
        make_policy("best")


def test_the_law_ends_nearer_to_budgets_than_stopping_when_billed() -> None:
    reference = referred(SMALL, 2)
    over = {}
    for name in ("law", "stop"):
        found = figures(Run(SMALL, 2, make_policy(name), reference.budgets).judged(), reference)
        over[name] = found.over
        assert 0.9 < found.delivered < 1.1
    assert over["law"] < min(over["stop"], 3.0)


def test_a_missed_target_is_said() -> None:
    reference = referred(SMALL, 2)
    found = pooled([figures(Run(SMALL, 2, make_policy("stop"), reference.budgets).judged(), reference)])
    assert missed(found._replace(over=9.0, within_2=0.5), TARGETS["normal"])[:2] == [
        "within 2 % 50.0% < 98%",
        "over 9.00 > 1.5",
    ]


def test_values_are_compared_on_the_seeds_that_both_have() -> None:
    reference = referred(SMALL, 2)
    one = figures(Run(SMALL, 2, make_policy("stop"), reference.budgets).judged(), reference)
    results = {
        "normal": {1: one._replace(value=1.3)},
        THROTTLE: {1: one._replace(value=1.0), 2: one._replace(value=9.0)},
    }
    assert value_ratio(results) == pytest.approx(1.3)
    assert any("| normal |" in line and "value" not in line for line in table(results))

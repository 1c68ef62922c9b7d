"""Totals with extra dimensions: live = replay = oracle, across a cut-over, from disk and in every batching."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.bounds import JoinBounds
from schemas.dimensions import ExtraDimension, checked_extra, extra_names
from schemas.errors import StateMismatch
from schemas.records import Out, Record
from schemas.totals import MINUTE_MS
from streams.engine.fold import Fold
from streams.engine.pace import Pace
from streams.engine.ports import Commit, Disk
from streams.join.fold import JoinFold
from streams.join.moved import extended_mark
from streams.join.scanned import ImpressionDecoder, ScannedImpressions
from streams.join.totals.extra import ExtraNames
from streams.verify.oracle import truth
from tests.judging import assert_agrees, latest_totals
from tests.simulation.disk import SimulatedDisk
from tests.simulation.life import Life
from tests.strategies import columns

T0 = 1_700_000_000_000 - 1_700_000_000_000 % 900_000
BOUNDS = JoinBounds(window_ms=60_000, lateness_ms=30_000, negative_rate=1.0)
EXTRA = (
    ExtraDimension("page", "features.p q", T0 + MINUTE_MS),
    ExtraDimension("site", "features.site"),
)

_values = (
    st.none() | st.sampled_from(["a", "b", "é" * 300, "", '"\\']) | st.booleans() | st.integers(-3, 3) | st.just(1.5)
)
_features = st.none() | st.dictionaries(st.sampled_from(["site", "p q", "other", "sité"]), _values, max_size=4)


def shown(number: int, ts: int, features: object) -> Record:
    """An impression, as producers write it; an absent value is null, which no model can use."""
    event = {
        "impression_id": f"i{number}",
        "ts": ts,
        "campaign_id": "c",
        "creative_id": "k",
        "price_micros": 7,
        **({} if features is None else {"features": features}),
    }
    return Record(number, ts, f"i{number}".encode(), msgspec.json.encode(event))


def clicked(number: int, of: int, ts: int) -> Record:
    event = {"click_id": f"k{number}", "impression_id": f"i{of}", "ts": ts}
    return Record(number, ts, f"i{of}".encode(), msgspec.json.encode(event))


Logs = tuple[list[Record], list[Record]]


@st.composite
def logs(draw: st.DrawFn) -> Logs:
    impressions = [
        shown(number, T0 + draw(st.integers(0, 3 * MINUTE_MS)), draw(_features))
        for number in range(draw(st.integers(1, 12)))
    ]
    clicks = [
        clicked(number, draw(st.integers(0, len(impressions))), T0 + draw(st.integers(0, 4 * MINUTE_MS)))
        for number in range(draw(st.integers(0, 8)))
    ]
    return impressions, clicks


def folded(join: JoinFold, given_logs: Logs, *, cuts: list[int], ended: bool = True) -> list[Out]:
    """What a join puts out when each log comes in as many parts, with a report after each."""
    outs: list[Out] = []
    for number in range(len(cuts) + 1):
        for log, records in zip(("impressions", "clicks"), given_logs, strict=True):
            edges = [0, *sorted(min(cut, len(records)) for cut in cuts), len(records)]
            part = records[edges[number] : edges[number + 1]]
            if part:
                outs += join.step(columns(log, part))
        while join.can_sweep():
            outs += join.sweep(5)
        outs += join.report(1_000)
        join.committed()
    if ended:
        join.finish()
        while join.can_sweep():
            outs += join.sweep(5)
        outs += join.report(1_000)
    return outs


@given(logs(), st.lists(st.integers(0, 12), max_size=3))
def test_totals_with_extra_dimensions_are_the_batch_truth_in_every_batching(given_logs: Logs, cuts: list[int]) -> None:
    outs = folded(JoinFold(BOUNDS, SimulatedDisk(), extra=EXTRA), given_logs, cuts=cuts)
    assert_agrees(outs, truth(*given_logs, BOUNDS, extra=EXTRA))


@given(st.lists(st.tuples(st.integers(-2, 2), _features), min_size=1, max_size=20))
def test_names_read_from_bytes_are_those_of_decoded_impressions(rows: list[tuple[int, object]]) -> None:
    records = [shown(number, EXTRA[0].since_ms + apart, features) for number, (apart, features) in enumerate(rows)]
    events = ImpressionDecoder(BOUNDS).decode(columns("impressions", records)).events
    assert isinstance(events, ScannedImpressions)
    places = np.arange(len(events))
    found = ExtraNames(EXTRA).of_scanned(events, places, events.ts)
    wanted = [extra_names(events[place], EXTRA) for place in range(len(events))]
    assert [tuple(row) for row in zip(*found, strict=True)] == wanted


class Moving(Life):
    """One partition whose workers are stopped, and started again with an extra dimension more."""

    extra: tuple[ExtraDimension, ...] = ()

    def _make(self, partition: int) -> tuple[Fold, Disk]:
        return JoinFold(self.bounds, self.disk, partition=partition, extra=self.extra), self.disk

    def add(self, dimension: ExtraDimension) -> None:
        """What `clickfold upgrade` does to the group's mark."""
        before, self.extra = self.extra, checked_extra((*self.extra, dimension))
        digest, added = JoinFold(self.bounds, SimulatedDisk(), extra=before)._digest, {}
        added[digest] = (dimension,)
        now = JoinFold(self.bounds, SimulatedDisk(), extra=self.extra)._digest
        for partition, commit in self.broker.commits.items():
            mark = extended_mark(commit.mark, now, added, lambda: T0 + 59_000)
            assert mark is not None
            self.broker.commits[partition] = Commit(commit.offsets, mark)

    def check(self) -> None:
        impressions, clicks = (self.broker.inputs[log, 0].records for log in ("impressions", "clicks"))
        judged = truth(impressions, clicks, self.bounds, seals=self.seals(), ended=False, extra=self.extra)
        assert_agrees(list(self.broker.outputs()), judged)


PACE = Pace(commit_s=0.1, report_s=0.2, checkpoint_s=0.5, idle_s=1e9)


@pytest.mark.parametrize("turns", [1, 2, 3, 5, 40])
def test_a_cut_over_decides_nothing_twice_and_splits_no_minute(turns: int) -> None:
    """The worker stops within a minute, and again within so many turns of the first start with the new dimension."""
    life = Moving(BOUNDS)
    since_ms = T0 + 90_000
    life.extra = (EXTRA[1],)
    for number in range(60):
        life.append("impressions", shown(number, T0 + 1_000 * number, {"site": f"s{number % 2}", "p q": number % 3}))
        if number % 4 == 0:
            life.append("clicks", clicked(number, number, T0 + 1_000 * number + 900))
    life.run(40, PACE)
    before = latest_totals(life.broker.outputs(), ["page", "site"])[0]
    assert {key[-2] for key in before} == {""}
    with pytest.raises(StateMismatch, match="page counts since"):
        life.add(ExtraDimension("page", "features.p q", 0))
    life.extra = (EXTRA[1],)
    life.add(ExtraDimension("page", "features.p q", since_ms))
    for number in range(60, 200):
        life.append("impressions", shown(number, T0 + 1_000 * number, {"site": f"s{number % 2}", "p q": number % 3}))
        # On impressions from before the cut, from before `since` and from after it.
        life.append("clicks", clicked(number, number - 35, T0 + 1_000 * number))
    life.run(turns, PACE)
    life.run(200, PACE)
    life.check()
    after = latest_totals(life.broker.outputs(), ["page", "site"])[0]
    assert {key[-2] for key in after if key[0] < T0 + MINUTE_MS} == {""}
    assert {key[-2] for key in after if key[0] >= T0 + 3 * MINUTE_MS and after[key]["impressions"]} == {"0", "1", "2"}
    assert sum(row["impressions"] for row in after.values()) == 200

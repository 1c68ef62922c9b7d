"""Counting by version: any order, any duplication, folded or not, the sums are those of the last versions."""

from __future__ import annotations

import random
from collections import defaultdict

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from schemas.topics import DAY_MS
from schemas.totals import MEASURES, QUARTER_MS, CampaignTotal
from streams.pacing.counters import NOTHING, DayCounters, Merged, PacedMeasures, measures_of

DAY = 20_000


def total(
    *, version: int, quarter: int = 0, join_partition: int = 0, final: bool = False, amount: int = 1, day: int = DAY
) -> CampaignTotal:
    """A total whose measures all differ, so that none can stand for another."""
    measures = dict.fromkeys(MEASURES, 0) | {
        "impressions": amount * 100,
        "attributed_clicks": amount * 7,
        "attributed_spend_micros": amount * 11,
        "expected_clicks_nano": amount * 13,
        "expected_spend_micros": amount * 17,
        "clicks": amount,
        "spend_micros": amount * 5,
    }
    return CampaignTotal(
        campaign_id="c1",
        quarter=day * DAY_MS + quarter * QUARTER_MS,
        join_partition=join_partition,
        version=version,
        final=final,
        **measures,
    )


@st.composite
def histories(draw: st.DrawFn) -> list[CampaignTotal]:
    """Every version of some keys as the join may send them: only the last one of a key can be final."""
    sent = []
    for quarter in draw(st.sets(st.integers(0, 95), min_size=1, max_size=4)):
        for partition in draw(st.sets(st.integers(0, 3), min_size=1)):
            versions = sorted(draw(st.sets(st.integers(1, 50), min_size=1, max_size=4)))
            last_is_final = draw(st.booleans())
            for version in versions:
                final = last_is_final and version == versions[-1]
                amount = draw(st.integers(0, 1000))
                sent.append(
                    total(version=version, quarter=quarter, join_partition=partition, final=final, amount=amount)
                )
    return sent


def oracle(sent: list[CampaignTotal]) -> dict[int, PacedMeasures]:
    """Sums by quarter of the highest version of each key."""
    last: dict[tuple[int, int], CampaignTotal] = {}
    for one in sorted(sent, key=lambda one: one.version):
        last[one.quarter, one.join_partition] = one
    sums: defaultdict[int, PacedMeasures] = defaultdict(PacedMeasures)
    for (quarter, _), one in last.items():
        sums[quarter % DAY_MS // QUARTER_MS] += measures_of(one)
    return dict(sorted(sums.items()))


def merged(received: list[CampaignTotal]) -> DayCounters:
    counters = DayCounters()
    for one in received:
        counters.merge(one)
    return counters


@given(histories(), st.randoms(use_true_random=False))
def test_any_order_and_duplication_equals_the_oracle(sent: list[CampaignTotal], shuffle: random.Random) -> None:
    received = sent + shuffle.choices(sent, k=len(sent))
    shuffle.shuffle(received)
    assert dict(merged(received).quarters()) == oracle(sent)


@given(histories())
def test_merging_everything_again_changes_nothing(sent: list[CampaignTotal]) -> None:
    counters = merged(sent)
    before = msgspec.msgpack.encode(counters)
    assert all(counters.merge(one) is not Merged.CHANGED for one in sent)
    assert msgspec.msgpack.encode(counters) == before


@given(histories())
def test_what_is_written_is_what_is_read_back(sent: list[CampaignTotal]) -> None:
    counters = merged(sent)
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(counters), type=DayCounters)
    assert again == counters


def test_folding_leaves_the_sum_as_it_was() -> None:
    counters = merged([total(version=1, amount=3), total(version=1, join_partition=1, amount=4)])
    before = dict(counters.quarters())
    assert counters.merge(total(version=2, amount=3, final=True)) is Merged.CHANGED
    assert dict(counters.quarters()) == before
    assert counters.open == {0: {1: counters.open[0][1]}}


def test_versions_before_the_final_one_are_passed_over_after_it() -> None:
    counters = merged([total(version=9, amount=3, final=True)])
    assert counters.merge(total(version=9, amount=3, final=True)) is Merged.FOLDED
    assert counters.merge(total(version=8, amount=2)) is Merged.FOLDED
    assert dict(counters.quarters()) == {0: measures_of(total(version=9, amount=3))}


def test_a_final_total_may_overtake_an_earlier_quarter() -> None:
    counters = merged([total(version=5, quarter=40, final=True), total(version=6, quarter=39, amount=2, final=True)])
    assert [index for index, _ in counters.quarters()] == [39, 40]


def test_a_quarter_that_never_becomes_final_counts_all_the_same() -> None:
    open_one = total(version=1, quarter=3, join_partition=2, amount=2)
    later = [total(version=2, quarter=q, join_partition=2, final=True) for q in range(4, 96)]
    counters = merged([open_one, *later])
    assert counters.open.keys() == {3}
    assert dict(counters.quarters())[3] == measures_of(open_one)


def test_a_folded_day_is_small() -> None:
    partitions = 16
    history = [
        total(version=1_800_000_000_000_000 + q, quarter=q, join_partition=p, final=True, amount=1_000_000)
        for q in range(96)
        for p in range(partitions)
    ]
    folded = len(msgspec.msgpack.encode(merged(history)))
    unfolded = len(msgspec.msgpack.encode(merged([msgspec.structs.replace(one, final=False) for one in history])))
    assert folded < 4_000 < 50_000 < unfolded


def test_nothing_is_the_sum_of_no_totals() -> None:
    assert dict(DayCounters().quarters()) == {}
    assert NOTHING + NOTHING == NOTHING

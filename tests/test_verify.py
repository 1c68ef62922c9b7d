"""What verify compares, and what it leaves out: spans of event time, ends of logs, multisets."""

from __future__ import annotations

from random import Random

import msgspec
import pytest

from schemas.bounds import JoinBounds
from schemas.codec import decode, encode
from schemas.outcomes import Outcome
from schemas.records import Record
from streams.verify.check import Check, Pile, compare_piles, hash_of
from streams.verify.cut import Span, known_from, whole
from streams.verify.oracle import truth
from streams.verify.paced import local_days
from streams.verify.written import event_ms
from tests.factories import T0, click_json, impression_json

BOUNDS = JoinBounds(window_ms=2_000, skew_ms=100, lateness_ms=300, negative_rate=1.0)
MINUTE_MS = 60_000


def pile(*values: tuple[str, int]) -> Pile:
    made = Pile()
    for name, at_ms in values:
        made.add((name,), at_ms=at_ms)
    return made


def test_multisets_differ_by_how_many_times_each_value_is_there() -> None:
    check = Check("outcomes")
    found, wanted = pile(("a", 0), ("a", 0), ("b", 0)), pile(("a", 0), ("b", 0), ("c", 0), ("c", 0))
    compare_piles(check, found, wanted, values=lambda hashes: ((hash_of((name,)), name) for name in "abc"))
    assert (check.compared, check.differing) == (4, 3)
    assert sorted(check.first) == ["1 too many: a", "2 missing: c"]


def test_equal_multisets_agree_in_any_order() -> None:
    check = Check("outcomes")
    compare_piles(check, pile(("a", 0), ("b", 1)), pile(("b", 1), ("a", 0)), values=lambda hashes: [])
    assert (check.compared, check.differing) == (2, 0)


def test_pile_between_times_takes_the_first_and_leaves_the_last() -> None:
    assert len(pile(("a", 9), ("b", 10), ("c", 19), ("d", 20)).between(10, 20)) == 2


def test_outcome_read_back_counts_as_the_one_that_was_made() -> None:
    # Its weight is then an equal float but not the default's own object, which an encoder tells apart.
    made = Outcome(kind="click", impression_id="i", join_partition=0, features={"x": 0.5})
    written = encode(msgspec.structs.asdict(made))
    assert b'"weight":1.0' in written
    assert hash_of(decode(written, Outcome)) == hash_of(made)


@pytest.mark.parametrize(
    ("minute", "compared"),
    [(MINUTE_MS - 1, False), (MINUTE_MS, True), (2 * MINUTE_MS, True), (2 * MINUTE_MS + 1, False)],
)
def test_only_minutes_wholly_within_what_is_final_are_compared(minute: int, compared: bool) -> None:
    span = Span(from_ms=MINUTE_MS, to_ms=9 * MINUTE_MS, final_ms=3 * MINUTE_MS)
    assert bool(whole({(minute,): 1}, span, MINUTE_MS, at=0)) is compared


def test_minutes_left_out_are_left_out() -> None:
    found = whole({(0,): 1, (60_000,): 1}, Span(from_ms=0), MINUTE_MS, at=0, but=lambda minute: minute == 0)
    assert found == {(60_000,): 1}


def test_days_of_a_campaign_begin_at_its_own_midnight() -> None:
    new_york = 1_772_946_000_000  # 2026-03-08 00:00 there, a day of 23 hours
    days = local_days(
        [("c", new_york - 900_000, (1, 0, 0)), ("c", new_york, (2, 1, 5)), ("c", new_york + 82_799_999, (4, 0, 0))],
        {"c": "America/New_York"},
    )
    assert days == {
        ("c", new_york - 86_400_000): (new_york, (1, 0, 0)),
        ("c", new_york): (new_york + 82_800_000, (6, 1, 5)),
    }


def logs(seed: int) -> tuple[list[Record], list[Record]]:
    """Twenty seconds, an impression a hundredth, clicked in part, doubled and late in part."""
    random = Random(seed)
    impressions: list[Record] = []
    clicks: list[tuple[int, bytes, bytes]] = []
    for number in range(2_000):
        now_ms = T0 + number * 10
        ts = now_ms - random.choice([0, 0, 0, 150, 299, 300, 400])
        key = f"i{number}".encode()
        for _ in range(random.choice([1, 1, 1, 2])):
            impressions.append(Record(len(impressions), now_ms, key, impression_json(f"i{number}", ts)))
        if random.random() < 0.3:
            click_ts = ts + random.choice([-101, -100, 0, 1_000, 2_000, 2_001])
            click = click_json(f"k{number}", f"i{number}", click_ts)
            clicks.append((max(now_ms, click_ts) + random.choice([0, 0, 290, 500]), key, click))
    clicks.sort()
    return impressions, [Record(at, ts, key, value) for at, (ts, key, value) in enumerate(clicks)]


@pytest.mark.parametrize("seed", range(5))
def test_end_of_a_log_comes_to_the_truth_of_the_whole_from_where_it_is_known(seed: int) -> None:
    impressions, clicks = logs(seed)
    judged = truth(impressions, clicks, BOUNDS)
    begins = impressions[600].record_ts_ms
    tail = truth(impressions[600:], [one for one in clicks if one.record_ts_ms >= begins - 700], BOUNDS)
    from_ms = known_from(begins, BOUNDS)
    wanted = [one for one in judged.outcomes if event_ms(one) >= from_ms]
    assert len(wanted) > 300
    assert sorted(map(repr, wanted)) == sorted(repr(one) for one in tail.outcomes if event_ms(one) >= from_ms)
    # And is not known from the start of what is left.
    assert sorted(repr(one) for one in judged.outcomes if event_ms(one) >= begins - 1_000) != sorted(
        repr(one) for one in tail.outcomes if event_ms(one) >= begins - 1_000
    )


def test_what_was_not_yet_acted_on_is_open_however_far_the_logs_are() -> None:
    impressions, clicks = logs(0)
    judged = truth(impressions, clicks, BOUNDS, ended=False, close_below_ms=T0 + 5_000, give_up_below_ms=T0 + 6_000)
    assert max(one.ts or 0 for one in judged.outcomes if one.kind == "unclicked") < T0 + 5_000
    assert max(one.click_ts or 0 for one in judged.outcomes if one.kind == "orphan") < T0 + 6_000
    whole_truth = truth(impressions, clicks, BOUNDS, ended=False)
    assert judged.counts["open"] > whole_truth.counts["open"] > 0
    assert judged.counts["pending"] > whole_truth.counts["pending"]

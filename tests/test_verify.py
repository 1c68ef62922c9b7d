"""What verify compares and what it leaves out: multisets, settled event time, the ends of logs."""

from __future__ import annotations

from random import Random

import msgspec
import pytest

from schemas.bounds import JoinBounds
from schemas.codec import decode, encode
from schemas.outcomes import Outcome
from schemas.records import Record
from streams.join.fold import JoinFold
from streams.verify.check import Check, HashedValues, compare_hashed, hash_of
from streams.verify.oracle import truth
from streams.verify.pacing_counters import local_days
from streams.verify.settled import SettledTime, first_known_ms, highest_bounds_ms, settled_totals
from streams.verify.written import event_ms
from tests.factories import T0, click_json, impression_json
from tests.simulation.disk import SimulatedDisk

BOUNDS = JoinBounds(window_ms=2_000, skew_ms=100, lateness_ms=300, negative_rate=1.0)
MINUTE_MS = 60_000


def hashed(*values: tuple[str, int]) -> HashedValues:
    made = HashedValues()
    for name, at_ms in values:
        made.add((name,), at_ms=at_ms)
    return made


def test_multisets_differ_where_a_value_occurs_more_or_less_often() -> None:
    check = Check("outcomes")
    found, wanted = hashed(("a", 0), ("a", 0), ("b", 0)), hashed(("a", 0), ("b", 0), ("c", 0), ("c", 0))
    compare_hashed(check, found, wanted, values=lambda hashes: ((hash_of((name,)), name) for name in "abc"))
    assert (check.compared, check.differing) == (4, 3)
    assert sorted(check.first) == ["1 too many: a", "2 missing: c"]


def test_equal_multisets_agree_in_any_order() -> None:
    check = Check("outcomes")
    compare_hashed(check, hashed(("a", 0), ("b", 1)), hashed(("b", 1), ("a", 0)), values=lambda hashes: [])
    assert (check.compared, check.differing) == (2, 0)


def test_values_between_two_times_include_the_first_time_and_not_the_last() -> None:
    assert len(hashed(("a", 9), ("b", 10), ("c", 19), ("d", 20)).between(10, 20)) == 2


def test_outcome_read_back_has_the_hash_of_the_one_that_was_written() -> None:
    # The weight that is read back equals the default and is another object, which the encoder does not leave out.
    made = Outcome(kind="click", impression_id="i", join_partition=0, features={"x": 0.5})
    written = encode(msgspec.structs.asdict(made))
    assert b'"weight":1.0' in written
    assert hash_of(decode(written, Outcome)) == hash_of(made)


@pytest.mark.parametrize(
    ("minute", "compared"),
    [(MINUTE_MS - 1, False), (MINUTE_MS, True), (2 * MINUTE_MS, True), (2 * MINUTE_MS + 1, False)],
)
def test_only_minutes_wholly_within_the_final_time_are_compared(minute: int, compared: bool) -> None:
    settled = SettledTime(from_ms=MINUTE_MS, to_ms=9 * MINUTE_MS, final_ms=3 * MINUTE_MS)
    assert bool(settled_totals({(minute,): 1}, settled, MINUTE_MS, time_index=0)) is compared


def test_minutes_to_leave_out_are_not_compared() -> None:
    found = settled_totals(
        {(0,): 1, (60_000,): 1}, SettledTime(from_ms=0), MINUTE_MS, time_index=0, left_out=lambda minute: minute == 0
    )
    assert found == {(60_000,): 1}


def test_days_of_a_campaign_begin_at_its_own_midnight() -> None:
    midnight_ms = 1_772_946_000_000  # 2026-03-08 00:00 in New York, a day of 23 hours
    days = local_days(
        [
            ("c", midnight_ms - 900_000, (1, 0, 0)),
            ("c", midnight_ms, (2, 1, 5)),
            ("c", midnight_ms + 82_799_999, (4, 0, 0)),
        ],
        {"c": "America/New_York"},
    )
    assert days == {
        ("c", midnight_ms - 86_400_000): (midnight_ms, (1, 0, 0)),
        ("c", midnight_ms): (midnight_ms + 82_800_000, (6, 1, 5)),
    }


def logs(seed: int) -> tuple[list[Record], list[Record]]:
    """Twenty seconds with an impression every 10 ms; some are clicked, some come twice, some are late."""
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
def test_end_of_a_log_gives_the_outcomes_of_the_whole_log_from_the_first_known_time(seed: int) -> None:
    impressions, clicks = logs(seed)
    judged = truth(impressions, clicks, BOUNDS)
    begins_ms = impressions[600].record_ts_ms
    tail = truth(impressions[600:], [click for click in clicks if click.record_ts_ms >= begins_ms - 700], BOUNDS)
    from_ms = first_known_ms(begins_ms, BOUNDS)
    wanted = [one for one in judged.outcomes if event_ms(one) >= from_ms]
    assert len(wanted) > 300
    assert sorted(map(repr, wanted)) == sorted(repr(one) for one in tail.outcomes if event_ms(one) >= from_ms)
    # From the first record that is left, without that distance, the outcomes differ.
    assert sorted(repr(one) for one in judged.outcomes if event_ms(one) >= begins_ms - 1_000) != sorted(
        repr(one) for one in tail.outcomes if event_ms(one) >= begins_ms - 1_000
    )


def test_what_a_worker_has_not_closed_yet_is_open_however_far_its_logs_reach() -> None:
    impressions, clicks = logs(0)
    judged = truth(impressions, clicks, BOUNDS, ended=False, close_below_ms=T0 + 5_000, orphan_below_ms=T0 + 6_000)
    assert max(one.ts or 0 for one in judged.outcomes if one.kind == "unclicked") < T0 + 5_000
    assert max(one.click_ts or 0 for one in judged.outcomes if one.kind == "orphan") < T0 + 6_000
    whole_truth = truth(impressions, clicks, BOUNDS, ended=False)
    assert judged.counts["open"] > whole_truth.counts["open"] > 0
    assert judged.counts["pending"] > whole_truth.counts["pending"]


def test_a_worker_that_accepted_nothing_went_no_further_than_its_logs_allow() -> None:
    refused = truth([Record(0, -1, b"i", b"{")], [], BOUNDS, ended=False)
    fold = JoinFold(BOUNDS, SimulatedDisk())
    reached = fold.state.reached
    fold.close()
    assert (reached.close_ms, reached.orphan_ms) <= highest_bounds_ms(refused, BOUNDS)

"""Named queries about whether the figures can be trusted, held against figures told by hand."""

from collections import Counter

import msgspec
import pytest
from clickhouse_connect.driver.client import Client

from schemas.events import Campaign
from tests.golden import HOUR_MS, MINUTE_MS, announce, answered, insert, ledger, total
from tests.world import outcomes, truths

pytestmark = pytest.mark.clickhouse


def test_the_audit_is_by_partition_and_in_all(golden: Client) -> None:
    found = {(row["join_partition"], row["input"]): row for row in answered(golden, "audit")}
    assert list(found) == [(part, log) for part in ("all", "0", "1") for log in ("impressions", "clicks")]
    parts = {"0": truths()[:1], "1": truths()[1:], "all": truths()}
    for (part, log), row in found.items():
        judged: Counter[str] = Counter()
        decided: Counter[str] = Counter()
        for truth in parts[part]:
            judged += getattr(truth, log).counts
            decided += truth.counts
        assert row["consumed"] == judged["consumed"]
        fates = {name: judged[name] for name in ("late", "duplicate", "rejected")}
        fates |= {name: decided[name] if log == "clicks" else 0 for name in ("orphan", "repeat", "pending")}
        fates |= {"lost": 0, "counted": decided["billable"] if log == "clicks" else judged["accepted"]}
        assert sum(fates.values()) == judged["consumed"]
        for name, count in fates.items():
            assert row[f"{name}_percent"] == pytest.approx(100 * count / judged["consumed"], abs=1e-4), name


def test_a_partition_that_read_nothing_has_no_percentages(ads: Client) -> None:
    zero = dict.fromkeys(("open", "closed", "unclicked", "billable", "orphan"), 0)
    nothing = msgspec.structs.replace(ledger(0, watermark_minute=0), impressions=_counts(), clicks=_counts(), **zero)
    insert(ads, "ledger", [nothing])
    for row in answered(ads, "audit"):
        assert row["consumed"] == 0
        assert {row[name] for name in row if name.endswith("_percent")} == {None}


def _counts() -> object:
    return type(ledger(0, watermark_minute=0).clicks)()


def test_lost_records_are_not_counted(ads: Client) -> None:
    # 10 impressions accepted, 4 open and 6 closed: with 2 lost 2 are open.
    insert(ads, "ledger", [msgspec.structs.replace(ledger(0, watermark_minute=0), open=2, lost_impressions=2)])
    row = answered(ads, "audit")[0]
    # 2 and 10 - 2 of 12.
    assert (row["lost_percent"], row["counted_percent"]) == (16.6667, 66.6667)


def test_orphans_and_repeats_are_by_the_hour_of_the_click(golden: Client) -> None:
    hours: dict[int, Counter[str]] = {}
    for one in outcomes():
        if one.click_ts is not None:
            hours.setdefault((one.click_ts - HOUR_MS) // (60 * MINUTE_MS), Counter())[one.kind] += 1
    rows = answered(golden, "orphans_and_repeats")
    found = {row["hour"]: (row["billable"], row["orphans"], row["repeats"]) for row in rows}
    expected = {(22 + hour) % 24: (one["click"], one["orphan"], one["repeat"]) for hour, one in hours.items()}
    assert {int(hour[11:13]): counts for hour, counts in found.items()} == expected
    (row,) = (row for row in rows if row["hour"] == "2023-11-14 22:00:00")
    # 4 billed, 2 orphans, one in each partition, and 2 repeats: 8 clicks.
    assert (row["clicks"], row["orphan_percent"], row["repeat_percent"], row["unbilled_percent"]) == (8, 25, 25, 50)
    assert row["orphan_partitions"] == 2
    alone = answered(golden, "orphans_and_repeats", join_partition="1")
    assert sum(row["clicks"] for row in alone) == truths()[1].clicks.counts["accepted"]


def test_rows_held_twice_are_told_from_keys_shown_twice(ads: Client) -> None:
    ads.command("SYSTEM STOP MERGES minute_totals")
    for version in (1, 2, 3):
        insert(ads, "totals", [total(600, version=version)])
    insert(ads, "totals", [total(600, version=1)], run="again")
    insert(ads, "totals", [total(0, version=1)])
    announce(ads, Campaign("k1", 1, "UTC", "active", "even", 1))

    def found(**asked: str) -> list[int]:
        (row,) = (row for row in answered(ads, "duplicates", **asked) if row["table_name"] == "minute_totals")
        return [row[name] for name in ("held_rows", "distinct_rows", "waiting_rows", "shown_rows", "shown_twice")]

    # Three versions of one key and the run's: two keys, of which the run's is not shown.
    assert found() == [4, 2, 2, 1, 0]
    assert found(hours="10") == [5, 3, 2, 2, 0]
    ads.command("CREATE OR REPLACE VIEW minutes AS SELECT * EXCEPT (run, version, inserted_at) FROM minute_totals")
    assert found() == [4, 2, 2, 4, 3]


def test_freshness_is_that_of_the_slowest_partition_and_of_the_newest_row(ads: Client) -> None:
    insert(ads, "totals", [total(minute, version=1) for minute in (0, 7)])
    insert(ads, "totals", [total(90, version=1)], run="again")
    ledgers = [ledger(0, watermark_minute=9), ledger(1, watermark_minute=4)]
    insert(ads, "ledger", ledgers[:1], inserted_at=HOUR_MS // 1000 + 500)
    insert(ads, "ledger", ledgers[1:], inserted_at=HOUR_MS // 1000 + 300)
    found = {row["source"]: row for row in answered(ads, "freshness", now="2023-11-14 22:10:00")}
    assert found.keys() >= {"impressions watermark", "clicks watermark", "minutes"}
    assert found.keys().isdisjoint({"outcomes", "pacing", "rejects"})
    slowest = found["impressions watermark"]
    # 22:04 is 6 minutes before; the last word is of 22:08:20.
    assert (slowest["newest_time"], slowest["behind_s"]) == ("2023-11-14 22:04:00.000", 360)
    assert (slowest["inserted_at"], slowest["inserted_ago_s"]) == ("2023-11-14 22:08:20", 100)
    assert (found["minutes"]["newest_time"], found["minutes"]["behind_s"]) == ("2023-11-14 22:07:00.000", 180)
    by_clock = {row["source"]: row for row in answered(ads, "freshness")}
    assert 0 <= by_clock["minutes"]["inserted_ago_s"] < 3600


@pytest.mark.parametrize(
    ("impressions_ms", "clicks_ms", "complete"), [(5_000, 0, True), (4_999, 0, False), (5_000, -1, False)]
)
def test_a_minute_is_final_once_no_partition_can_add_to_it(
    ads: Client, impressions_ms: int, clicks_ms: int, complete: bool
) -> None:
    """Partition 1 has no total of the minute, and could still bill a click of its last ms until 5 s later."""
    insert(ads, "totals", [total(0, version=1, final=True)])
    end_ms = HOUR_MS + MINUTE_MS
    behind = msgspec.structs.replace(
        ledger(1, watermark_minute=0),
        impressions_watermark_ms=end_ms + impressions_ms,
        clicks_watermark_ms=end_ms + clicks_ms,
    )
    insert(ads, "ledger", [ledger(0, watermark_minute=60), behind])
    (row,) = answered(ads, "completeness", step_minutes="1")
    assert (row["from_time"], row["complete"]) == ("2023-11-14 22:00:00", complete)


def test_completeness_is_by_steps_of_any_length(ads: Client) -> None:
    insert(ads, "totals", [total(minute, version=1, final=minute < 20) for minute in (0, 10, 19, 20, 59)])
    assert [row["complete"] for row in answered(ads, "completeness")] == [False]
    insert(ads, "ledger", [ledger(0, watermark_minute=20)])
    # The watermark of 22:20 less the skew has passed minutes up to 22:18.
    found = [
        (row["from_time"][11:16], row["minutes"], row["passed_minutes"], row["complete"])
        for row in answered(ads, "completeness", step_minutes="15")
    ]
    assert found == [("22:45", 1, 0, False), ("22:15", 2, 0, False), ("22:00", 2, 2, True)]

"""Promoting runs: which minutes may be, what readers see, and taking it back."""

import random
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from schemas.clickhouse.queries import run_query
from schemas.errors import SettingsError
from schemas.outcomes import Outcome
from streams.embedded.clickhouse import ClickHouse
from streams.runs.minutes import DAY_MS, Span
from streams.runs.promote import MOST_SPANS, active_spans, pile_spans, plan_promotion, plan_undo
from streams.runs.record import record_run
from streams.warehouse.client import connect
from tests.golden import HOUR_MS, MINUTE_MS, insert, ledger, total
from tests.integration.test_runs import minutes, run_record, said, show

pytestmark = pytest.mark.clickhouse

# 2023-11-14 begins 22 hours before the hour of the other tests; the month 14 days before that.
DAY_0_MS = HOUR_MS - 22 * 60 * MINUTE_MS
MONTH_MINUTE = -(22 + 13 * 24) * 60


def minute_of(ts_ms: int) -> int:
    return (ts_ms - HOUR_MS) // MINUTE_MS


def shown(client: Client) -> dict[int, int]:
    """Impressions by minute as the view has them; runs are told apart by them."""
    rows = client.query("SELECT toUnixTimestamp(minute) * 1000, sum(impressions) FROM minutes GROUP BY 1").result_rows
    return {minute_of(at_ms): impressions for at_ms, impressions in rows}


def fill(client: Client, run: str, impressions: int, at: Iterator[int] | range, **more: Any) -> None:
    """A final total of a run in each of these minutes, with so many impressions, and an orphan."""
    found = list(at)
    insert(
        client, "totals", [total(each, version=1, final=True, impressions=impressions, **more) for each in found],
        run=run,
    )  # fmt: skip
    orphans = [
        Outcome("orphan", f"{run}{copy}", 0, click_id="c", click_ts=HOUR_MS + each * MINUTE_MS + 59_999)
        for each in found
        for copy in range(impressions)
    ]
    insert(client, "outcomes", orphans, run=run)


@pytest.fixture
def days(ads: Client) -> Client:
    """Live work (1 impression) and the run `again` (2) in the first and last minute of four days; `again` owns the
    middle two wholly and a minute of each other one; all of it is final."""
    edges = [minute_of(DAY_0_MS + day * DAY_MS) + at for day in range(4) for at in (0, 1439)]
    fill(ads, "", 1, range(edges[0], edges[0] + 1))
    for run, impressions in (("", 1), ("again", 2)):
        fill(ads, run, impressions, iter(edges))
    insert(ads, "ledger", [ledger(0, watermark_minute=edges[-1] + 2)])
    record_run(
        ads,
        run_record(
            "again", from_minute_ms=DAY_0_MS + DAY_MS - MINUTE_MS, to_minute_ms=DAY_0_MS + 3 * DAY_MS + MINUTE_MS
        ),
    )
    return ads


def figures(client: Client) -> list[int]:
    """Impressions shown in the first and last minute of each day."""
    return [impressions for _, impressions in sorted(shown(client).items())]


def test_whole_days_are_promoted_unless_told_otherwise(days: Client) -> None:
    assert "Would be promoted: run again, 2,880 minutes" in said(days, "promote", "again", "--dry-run")
    assert figures(days) == [1] * 8
    text = said(days, "promote", "again")
    assert "promoted: run again, 2,880 minutes (2023-11-15 00:00 to 2023-11-17 00:00). Views now read 2,880" in text
    assert figures(days) == [1, 1, 2, 2, 2, 2, 1, 1]
    # Outcomes and clicks follow, by the minute of the event, to its last millisecond.
    sql = "SELECT count() FROM outcomes GROUP BY event_time ORDER BY event_time"
    assert [count for (count,) in days.query(sql).result_rows] == [1, 1, 2, 2, 2, 2, 1, 1]
    assert "taken back" in said(days, "promote", "again", "--undo")
    assert figures(days) == [1] * 8


def test_days_times_and_all_minutes_can_be_promoted(days: Client) -> None:
    said(days, "promote", "again", "--days", "2023-11-16")
    assert figures(days) == [1, 1, 1, 1, 2, 2, 1, 1]
    said(days, "promote", "again", "--from", "2023-11-14 23:59", "--to", "2023-11-15T00:01Z")
    assert figures(days) == [1, 2, 2, 1, 2, 2, 1, 1]
    said(days, "promote", "again", "--minutes", "all")
    assert figures(days) == [1, 2, 2, 2, 2, 2, 2, 1]
    said(days, "promote", "again", "--undo", "--days", "2023-11-15,2023-11-16")
    assert figures(days) == [1, 2, 1, 1, 1, 1, 2, 1]


def test_a_dry_run_shows_rows_and_sums_of_each_day_before_and_after(days: Client) -> None:
    lines = said(days, "promote", "again", "--dry-run", "--format", "csv").splitlines()
    expected = [
        "day,shown,minutes,rows,impressions,attributed_clicks,clicks,spend_micros",
        "2023-11-15,before,2,2,2,0,0,0",
        "2023-11-15,after,2,2,4,0,0,0",
        "2023-11-16,before,2,2,2,0,0,0",
        "2023-11-16,after,2,2,4,0,0,0",
    ]
    assert lines == expected
    assert said(days, "promote", "again", "--format", "csv").splitlines() == expected
    back = said(days, "promote", "again", "--undo", "--days", "2023-11-16", "--dry-run", "--format", "csv")
    assert back.splitlines()[1:] == ["2023-11-16,before,2,2,4,0,0,0", "2023-11-16,after,2,2,2,0,0,0"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ("--days", "2023-11-14"),
            r"does not own 1,439 of the minutes asked for \(2023-11-14 00:00 to 2023-11-14 23:59\)",
        ),
        (("--from", "2023-11-17", "--to", "2023-11-17 00:02"), "does not own 1 of"),
        (("--days", "2023-11-15 12:00"), "is not a day"),
        (("--days", "2023-11"), "is not a time"),
        (("--from", "2023-11-15 00:00:01", "--to", "2023-11-16"), "inside a minute"),
        (("--from", "2023-11-16", "--to", "2023-11-16"), "is not before"),
        (("--from", "2023-11-16"), "--to is missing"),
        (("--days", "2023-11-16", "--from", "2023-11-16"), "give one of them"),
        (("--days", "2023-11-16", "--minutes", "all"), "give one of them"),
        (("--undo",), "promoted for no minute"),
        (("--undo", "--days", "2023-11-16"), "is not promoted for 1,440"),
    ],
)
def test_what_is_not_owned_or_not_a_span_is_refused(days: Client, arguments: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        said(days, "promote", "again", *arguments)
    assert days.query("SELECT count() FROM promotion_rows").result_rows == [(0,)]


@pytest.mark.parametrize("run", ["", "again"])
def test_minutes_that_may_still_change_are_refused_when_named_and_else_left_out(days: Client, run: str) -> None:
    at = minute_of(DAY_0_MS + DAY_MS)
    insert(days, "totals", [total(at, version=9, impressions=7)], run=run)
    with pytest.raises(SettingsError, match="may still change 1 of"):
        plan_promotion(days, "again", requested=[Span(DAY_0_MS + DAY_MS, DAY_0_MS + 2 * DAY_MS)])
    plan = plan_promotion(days, "again")
    assert (plan.spans, plan.not_final) == ([Span(DAY_0_MS + 2 * DAY_MS, DAY_0_MS + 3 * DAY_MS)], 1_440)
    every = plan_promotion(days, "again", every_minute=True)
    assert (len(every.spans), every.not_final, every.changes) == (2, 1, 2_881)


def test_minutes_live_work_has_not_passed_are_not_promoted(days: Client) -> None:
    insert(days, "ledger", [ledger(1, watermark_minute=minute_of(DAY_0_MS + 2 * DAY_MS) + 5)])
    assert plan_promotion(days, "again").spans == [Span(DAY_0_MS + DAY_MS, DAY_0_MS + 2 * DAY_MS)]
    insert(days, "ledger", [ledger(1, watermark_minute=minute_of(DAY_0_MS))])
    days.command("TRUNCATE TABLE ledger_rows")
    with pytest.raises(SettingsError, match="no whole UTC day that is final"):
        plan_promotion(days, "again")


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"state": "running"}, "is not complete"),
        ({"kind": "models"}, "is of models"),
        ({"to_minute_ms": DAY_0_MS + 2 * DAY_MS - MINUTE_MS}, "give --minutes all"),
        ({"to_minute_ms": DAY_0_MS + DAY_MS - MINUTE_MS}, "owns no minute"),
    ],
)
def test_a_run_that_is_not_whole_is_not_promoted(days: Client, more: dict[str, Any], sentence: str) -> None:
    given = {"from_minute_ms": DAY_0_MS + DAY_MS - MINUTE_MS, "to_minute_ms": DAY_0_MS + 3 * DAY_MS, "version": 2}
    record_run(days, run_record("again", **(given | more)))
    with pytest.raises(SettingsError, match=sentence):
        plan_promotion(days, "again")


def test_minutes_scattered_over_too_many_spans_are_refused(days: Client) -> None:
    first = minute_of(DAY_0_MS + DAY_MS)
    holes = range(first, first + 2 * MOST_SPANS, 2)
    insert(days, "totals", [total(at, version=9) for at in holes], run="again")
    with pytest.raises(SettingsError, match="more than the 200 of one promotion"):
        plan_promotion(days, "again", every_minute=True)


def test_live_rows_that_come_after_a_promotion_do_not_leak_into_it(days: Client) -> None:
    said(days, "promote", "again")
    at = minute_of(DAY_0_MS + DAY_MS)
    before = (shown(days), days.query("SELECT count() FROM outcomes").result_rows)
    # A new version, another campaign, a minute live work had nothing of, an outcome.
    late = [total(at, version=99, impressions=50), total(at, version=1, impressions=50, campaign_id="late")]
    insert(days, "totals", [*late, total(at + 7, version=1, impressions=50)])
    insert(days, "outcomes", [Outcome("orphan", "late", 0, click_id="c", click_ts=DAY_0_MS + DAY_MS)])
    assert (shown(days), days.query("SELECT count() FROM outcomes").result_rows) == before
    assert {row[-1] for row in run_query(days, "ctr_by_campaign_hour", {"campaign": "k1"}).rows} == {True}
    insert(days, "totals", [total(minute_of(DAY_0_MS), version=99, impressions=50)])
    assert shown(days)[minute_of(DAY_0_MS)] == 50


def test_rows_of_a_run_outside_its_promotion_are_not_shown(days: Client) -> None:
    fill(days, "other", 9, range(minute_of(DAY_0_MS), minute_of(DAY_0_MS) + 1))
    said(days, "promote", "again", "--days", "2023-11-15")
    assert figures(days) == [1, 1, 2, 2, 1, 1, 1, 1]


@pytest.mark.parametrize("seed", range(12))
def test_any_promotions_and_undos_leave_the_newest_run_not_taken_back(ads: Client, seed: int) -> None:
    rng = random.Random(seed)
    # Over the end of a month. Live work shows 1, the others 2, 3 and 4.
    reach = range(MONTH_MINUTE - 5, MONTH_MINUTE + 5)
    runs = ["", "a", "b", "c"]
    for impressions, run in enumerate(runs, 1):
        fill(ads, run, impressions, reach)
        if run:
            record_run(ads, run_record(run))
    piles = {at: [""] for at in reach}
    for _ in range(10):
        run, undo = rng.choice(runs[1:]), rng.random() < 0.4
        edges = sorted(rng.sample(range(reach.start, reach.stop + 1), 4))
        asked = [minutes(*edges[:2]), minutes(*edges[2:])]
        for at in (*range(*edges[:2]), *range(*edges[2:])):
            piles[at] = [each for each in piles[at] if each != run] + ([] if undo else [run])
        show(ads, run, *asked, undo=undo)
        assert shown(ads) == {at: runs.index(pile[-1]) + 1 for at, pile in piles.items()}
        for each in runs[1:]:
            lying = {at for at, pile in piles.items() if each in pile}
            on_top = {at for at, pile in piles.items() if pile[-1] == each}
            for found, expected in ((pile_spans(ads, each), lying), (active_spans(ads, each), on_top)):
                assert {minute_of(at) for span in found for at in range(*span, MINUTE_MS)} == expected
    if pile_spans(ads, "a"):
        assert plan_undo(ads, "a").changes == sum(pile[-1] == "a" for pile in piles.values())


def test_an_older_promotion_than_the_one_it_lies_on_is_taken_back_from_under_it(ads: Client) -> None:
    for impressions, run in enumerate(("", "a", "b"), 1):
        fill(ads, run, impressions, range(1))
        if run:
            record_run(ads, run_record(run))
            show(ads, run, minutes(0, 1))
    show(ads, "a", minutes(0, 1), undo=True)
    assert shown(ads) == {0: 3}
    show(ads, "b", minutes(0, 1), undo=True)
    assert shown(ads) == {0: 1}


def test_a_promotion_sent_twice_is_one(ads: Client) -> None:
    fill(ads, "again", 2, range(2))
    record_run(ads, run_record("again"))
    show(ads, "again", minutes(0, 1), minutes(1, 2))
    ads.command("INSERT INTO promotion_rows SELECT * FROM promotion_rows")
    assert active_spans(ads, "again") == [minutes(0, 2)]
    show(ads, "again", minutes(0, 2), undo=True)
    assert pile_spans(ads, "again") == []


def test_a_reader_beside_sees_all_of_a_promotion_or_nothing(ads: Client, clickhouse: ClickHouse) -> None:
    # Spans in three months, in two tables.
    spans = [minutes(at, at + 2) for at in (MONTH_MINUTE - 31 * 1440 - 1, MONTH_MINUTE - 3, MONTH_MINUTE, 0)]
    for impressions, run in ((1, ""), (2, "again")):
        fill(ads, run, impressions, iter(minute_of(at) for span in spans for at in range(*span, MINUTE_MS)))
    record_run(ads, run_record("again"))
    # Each side of the sum reads the view by itself, and still the same promotions.
    sql = "SELECT (SELECT sum(impressions) FROM minutes), (SELECT count() FROM outcomes)"
    seen: list[tuple[int, int]] = []
    done = threading.Event()

    def read() -> None:
        with connect(clickhouse.url, database=str(ads.database)) as client:
            while not done.is_set():
                seen.append(tuple(client.query(sql).result_rows[0]))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for turn in range(60):
            show(ads, "again", *spans, undo=turn % 2 == 1)
    finally:
        done.set()
        reader.join()
    assert set(seen) <= {(8, 8), (16, 16)}
    assert len(set(seen)) == 2, f"{len(seen)} reads met only one state"

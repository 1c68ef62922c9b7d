"""Comparing a run with live work and with other runs."""

import itertools
from typing import Any

import msgspec
import orjson
import pytest
from clickhouse_connect.driver.client import Client

from schemas.errors import SettingsError
from schemas.models import ModelMetrics
from schemas.outcomes import Outcome
from schemas.totals import MEASURES
from streams.runs.compare import FINER, compare
from streams.runs.compare_models import compare_models
from streams.runs.minutes import Span, within
from streams.runs.record import record_run
from tests.golden import HOUR_MS, MINUTE_MS, insert, ledger, total
from tests.integration.test_runs import minutes, run_record, said, show

pytestmark = pytest.mark.clickhouse

MINUTE_3 = "2023-11-14 22:03:00"


def some_totals(version: int) -> list[Any]:
    """Two campaigns in minutes 0 to 3, other figures everywhere."""
    totals = []
    for at, name, device in itertools.product(range(4), ("k1", "k22"), ("tv", "phone")):
        measures: dict[str, Any] = {
            measure: 100 * at + 10 * len(name) + index for index, measure in enumerate(MEASURES)
        }
        totals.append(total(at, version=version, final=True, campaign_id=name, device=device, **measures))
    return totals


def outcome(**more: Any) -> Outcome:
    """A click of k1 in minute 3."""
    ts = HOUR_MS + 3 * MINUTE_MS + 7
    given = {"click_id": "c1", "click_ts": ts + 9, "delay_ms": 9, "ts": ts, "campaign_id": "k1", "price_micros": 5}
    return Outcome(**{"kind": "click", "impression_id": "i1", "join_partition": 0, **given, **more})


@pytest.fixture
def both(ads: Client) -> Client:
    """Live work and the run `again` that owns the hour, equal, and final for the whole hour."""
    for run, version in (("", 7), ("again", 1)):
        insert(ads, "totals", some_totals(version), run=run)
        insert(ads, "outcomes", [outcome(), outcome(kind="orphan", click_id="c9")], run=run)
        # Rows of the outcome's table begin with the minutes' rows.
        insert(ads, "outcomes", [outcome(ts=HOUR_MS, kind="unclicked", click_id=None, weight=20.0)], run=run)
    insert(ads, "ledger", [ledger(0, watermark_minute=120), ledger(1, watermark_minute=61)])
    record_run(ads, run_record("again"))
    return ads


def test_a_run_that_counted_the_same_equals_live_work(both: Client) -> None:
    found = compare(both, "again")
    assert (found.equal, found.not_final, found.differences.rows) == (True, 0, [])
    assert [(table.table, table.minutes, table.minutes_differ) for table in found.tables] == [
        ("minutes", 60, 0),
        ("outcomes", 60, 0),
    ]
    assert ("weight_micros", 22_000_000, 22_000_000) in found.tables[1].sums
    assert "equals live in all of them" in said(both, "compare", "again")


def test_versions_copies_and_partitions_of_the_join_are_no_difference(both: Client) -> None:
    both.command("TRUNCATE TABLE minute_totals")
    halves: dict[str, Any] = dict.fromkeys(MEASURES, 4)
    whole: dict[str, Any] = dict.fromkeys(MEASURES, 8)
    insert(both, "totals", [total(3, version=4, final=True, **whole)])
    insert(both, "totals", [total(3, version=1, clicks=99)], run="again")
    for partition in (0, 1):
        insert(both, "totals", [total(3, version=2, final=True, partition=partition, **halves)], run="again")
    insert(both, "outcomes", [outcome(join_partition=1)], run="again")
    assert compare(both, "again").equal


@pytest.mark.parametrize("measure", MEASURES)
def test_one_more_of_any_measure_is_found_with_its_minute_and_campaign(both: Client, measure: str) -> None:
    changed = next(each for each in some_totals(2) if each.minute == HOUR_MS + 3 * MINUTE_MS)
    changed.measures[MEASURES.index(measure)][0] += 1
    insert(both, "totals", [changed], run="again")
    before = 2 * (320 + MEASURES.index(measure))
    found = compare(both, "again")
    assert not found.equal
    assert found.tables[0].minutes_differ == 1
    assert found.differences.columns == ("table", "minute", "campaign", "measure", "run", "against", "difference")
    assert found.differences.rows == [["minutes", MINUTE_3, "k1", measure, before + 1, before, 1]]
    assert compare(both, "again", by=["minute"]).differences.rows[0][:3] == ["minutes", MINUTE_3, measure]
    assert compare(both, "again", by=["campaign"]).differences.rows[0][1:3] == ["k1", measure]
    assert [row[-1] for row in compare(both, "again", by=["table"]).differences.rows] == [1]


def test_what_only_one_side_has_is_a_difference_on_either(both: Client) -> None:
    insert(both, "totals", [total(9, version=1, final=True, campaign_id="new", clicks=2)], run="again")
    insert(both, "totals", [total(8, version=1, final=True, campaign_id="lost", clicks=3)])
    assert [row[2:] for row in compare(both, "again").differences.rows] == [
        ["lost", "clicks", 0, 3, -3],
        ["new", "clicks", 2, 0, 2],
    ]


def test_same_sums_of_other_dimensions_are_a_difference(both: Client) -> None:
    one, other = (total(5, version=1, final=True, country=country, clicks=1) for country in ("de", "fr"))
    insert(both, "totals", [one], run="again")
    insert(both, "totals", [other])
    assert compare(both, "again").differences.rows == [
        ["minutes", "2023-11-14 22:05:00", "k1", FINER, None, None, None]
    ]


@pytest.mark.parametrize(
    "more",
    [
        *({"kind": "repeat"}, {"price_micros": 6}, {"pctr": 0.0}, {"delay_ms": None}, {"click_id": "c2"}, {"arm": "b"}),
        *({"impression_id": "i2"}, {"user_id": "u"}, {"click_ts": HOUR_MS}, {"campaign_id": "k2"}, {"weight": 2.0}),
    ],
)
def test_an_outcome_that_differs_in_anything_is_found(both: Client, more: dict[str, Any]) -> None:
    both.command("DELETE FROM outcome_rows WHERE run = 'again' AND kind = 'click'")
    insert(both, "outcomes", [outcome(**more)], run="again")
    found = compare(both, "again")
    assert (found.tables[0].equal, found.tables[1].equal, found.tables[1].minutes_differ) == (True, False, 1)
    assert {(row[0], row[1]) for row in found.differences.rows} == {("outcomes", MINUTE_3)}


def test_minutes_that_may_still_change_in_either_are_left_out(both: Client) -> None:
    insert(both, "totals", [total(3, version=9, impressions=5)])
    insert(both, "totals", [total(2, version=9, impressions=5)], run="again")
    found = compare(both, "again")
    assert (found.equal, found.not_final, found.tables[0].minutes) == (True, 2, 58)


@pytest.mark.parametrize(
    ("watermark_ms", "minutes_final"),
    # By the run's skew of 5 s: a pending click may still find its impression.
    [(2 * MINUTE_MS + 4_999, 1), (2 * MINUTE_MS + 5_000, 2), (0, 0)],
)
def test_minutes_the_slowest_partition_has_not_passed_are_left_out(
    both: Client, watermark_ms: int, minutes_final: int
) -> None:
    slow = msgspec.structs.replace(ledger(2, watermark_minute=120), impressions_watermark_ms=HOUR_MS + watermark_ms)
    insert(both, "ledger", [slow])
    if minutes_final:
        assert compare(both, "again").tables[0].minutes == minutes_final
    else:
        with pytest.raises(SettingsError, match="none of its 60 minutes is final"):
            compare(both, "again")


def test_minutes_live_work_never_had_are_left_out_and_counted(both: Client) -> None:
    record_run(both, run_record("again", version=2, from_minute_ms=HOUR_MS - 10 * MINUTE_MS))
    insert(both, "totals", [total(-4, version=1, final=True, impressions=5)], run="again")
    insert(both, "outcomes", [outcome(ts=HOUR_MS - 2)], run="again")
    found = compare(both, "again")
    assert (found.equal, [(table.minutes, table.not_there) for table in found.tables]) == (True, [(60, 10)] * 2)
    assert "60 minutes compared, 10 left out: live does not have them" in said(both, "compare", "again")


def test_a_promoted_run_is_compared_with_live_work_itself_unless_told(both: Client) -> None:
    insert(both, "totals", [total(3, version=9, final=True, impressions=5, campaign_id="k3")], run="again")
    show(both, "again", minutes(0, 60))
    assert not compare(both, "again").equal
    assert compare(both, "again", against="active").equal
    assert "equals what is shown" in said(both, "compare", "again", "--against", "active")


def test_two_runs_are_compared_where_both_own(both: Client) -> None:
    record_run(both, run_record("third", from_minute_ms=HOUR_MS + 2 * MINUTE_MS))
    insert(both, "totals", some_totals(1)[8:], run="third")
    insert(both, "outcomes", [outcome(), outcome(kind="orphan", click_id="c9")], run="third")
    found = compare(both, "again", against="third")
    assert (found.equal, found.tables[0].minutes, found.tables[0].not_there) == (True, 58, 2)


def test_spans_with_holes_are_asked_for_without_them(both: Client) -> None:
    spans = [minutes(0, 1), minutes(3, 4), minutes(7, 9)]
    sql = "SELECT DISTINCT minute FROM minute_totals FINAL WHERE run = '' AND {} ORDER BY minute"
    found = [row[0].minute for row in both.query(sql.format(within("minute", spans))).result_rows]
    assert found == [0, 3]
    assert both.query(sql.format(within("minute", []))).result_rows == []
    assert both.query(sql.format(within("minute", [Span(0, HOUR_MS)]))).result_rows == []


def test_there_are_no_more_differences_than_asked_for(both: Client) -> None:
    insert(both, "totals", some_totals(1)[4:], run="other")
    record_run(both, run_record("other"))
    assert [len(compare(both, "other", rows=rows).differences.rows) for rows in (0, 1, 3)] == [0, 1, 3]
    assert compare(both, "other", rows=1).tables[0].minutes_differ == 1


def test_differences_end_with_1_and_say_themselves_in_every_format(both: Client) -> None:
    insert(both, "totals", [total(3, version=9, final=True, clicks=5, campaign_id="k3")], run="again")
    text = said(both, "compare", "again", code=1)
    assert "minutes: 1 minutes differ" in text
    live = sum(each.measures[MEASURES.index("clicks")][0] for each in some_totals(1))
    assert ["clicks", str(live + 5), str(live), "5"] in [line.split() for line in text.splitlines()]
    lines = said(both, "compare", "again", "--format", "csv", code=1).splitlines()
    assert lines[1:] == [f"minutes,{MINUTE_3},k3,clicks,5,0,5"]
    answer = orjson.loads(said(both, "compare", "again", "--format", "json", "--by", "campaign", code=1))
    assert (answer["equal"], answer["tables"][0]["minutes_differ"], answer["tables"][1]["equal"]) == (False, 1, True)
    assert answer["differences"] == [
        {"table": "minutes", "campaign": "k3", "measure": "clicks", "run": 5, "against": 0, "difference": 5}
    ]


def test_what_cannot_be_compared_is_said_in_a_sentence(both: Client) -> None:
    record_run(both, run_record("none", to_minute_ms=HOUR_MS))
    for arguments, sentence in (
        (("compare", "other"), "no run 'other'; there are"),
        (("compare", "again", "--against", "other"), "no run 'other'"),
        (("compare", "none"), "owns no minute"),
        (("compare", "again", "--by", "hour"), "'hour' is none of table, minute, campaign"),
    ):
        with pytest.raises(SettingsError, match=sentence):
            said(both, *arguments)


def window(at: int, **more: Any) -> ModelMetrics:
    """Measures of the at-th window of five minutes."""
    start_ms = HOUR_MS + 5 * at * MINUTE_MS
    given = {"weight": 10.0, "clicks": 1.0, "predicted_clicks": 1.5, "log_loss": 0.25, "auc": None, "calibration": 1.5}
    ends = {"window_start": start_ms, "window_end": start_ms + 5 * MINUTE_MS}
    return ModelMetrics(
        **{"model": "m", "shard": 0, "version": at, "slice": "all", "examples": 9, **ends, **given, **more}
    )


def test_models_are_laid_beside_each_other_by_window(ads: Client) -> None:
    record_run(ads, run_record("learned", kind="models"))
    insert(ads, "model_metrics", [window(0), window(1), window(1, slice="device=tv"), window(12)])
    insert(ads, "model_metrics", [window(0), window(1), window(1, slice="device=tv", log_loss=9.0)], run="learned")
    found = compare_models(ads, "learned")
    assert (found.windows, found.differ, found.log_loss) == (2, 0, (0.25, 0.25))
    insert(ads, "model_metrics", [window(1, version=9, log_loss=0.5, auc=0.75, weight=30.0)], run="learned")
    insert(ads, "model_metrics", [window(2)])
    found = compare_models(ads, "learned")
    assert (found.windows, found.differ, found.log_loss) == (3, 2, (0.4375, 0.25))
    shown = [dict(zip(found.beside.columns, row, strict=True)) for row in found.beside.rows]
    assert [(row["log_loss_run"], row["log_loss_against"], row["auc_run"], row["equal"]) for row in shown] == [
        (0.5, 0.25, 0.75, False),
        (None, 0.25, None, False),
        (0.25, 0.25, None, True),
    ]
    assert "3 windows, 2 differ" in said(ads, "compare", "learned", code=1)
    with pytest.raises(SettingsError, match="is of models"):
        compare(ads, "learned")

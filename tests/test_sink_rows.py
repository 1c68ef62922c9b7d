"""Values of each topic become the columns of its table, or are refused one by one."""

from typing import Any

import msgspec
import pytest
import xxhash

from schemas.codec import encode
from schemas.events import Campaign
from schemas.outcomes import Outcome
from schemas.pacing import PacingDecision
from schemas.rejects import Reason, rejected
from schemas.totals import DIMENSIONS, MEASURES, Ledger, LogCounts, MinuteTotal, MinuteTotals
from streams.warehouse import rows as rows_module
from streams.warehouse.rows import Rows, rows_of
from streams.warehouse.shapes import ROLES
from tests.factories import change, record_value

MINUTE_MS = 1_700_000_040_000


def totals(count: int = 1, **changes: Any) -> MinuteTotals:
    """So many totals of one minute: the n-th, from 0, has dimensions ending in n, the measures 10 n + 1 to 10 n + 8."""
    plain: dict[str, Any] = {"minute": MINUTE_MS, "join_partition": 3, "version": 7, "final": True}
    plain["dimensions"] = [[f"{name} {number}" for number in range(count)] for name in DIMENSIONS]
    plain["measures"] = [[10 * number + place for number in range(count)] for place in range(1, len(MEASURES) + 1)]
    return MinuteTotals(**(plain | changes))


def rows_as_dicts(rows: Rows) -> list[dict[str, Any]]:
    """One dict for each row, by column."""
    return [dict(zip(rows.names, row, strict=True)) for row in zip(*rows.columns, strict=True)]


def only_row(role: str, record: object) -> dict[str, Any]:
    """The one row a record becomes."""
    rows, refused = rows_of(role, [record_value(record)], run="")
    assert refused == []
    (row,) = rows_as_dicts(rows)
    return row


def test_totals_become_rows_of_their_own_fields_with_the_minute_in_seconds() -> None:
    records = [totals(3), totals(0, version=8), totals(2, version=9, minute=MINUTE_MS + 60_000, final=False)]
    rows, refused = rows_of("totals", list(map(record_value, records)), run="")
    assert refused == []
    assert rows_as_dicts(rows) == [
        {"run": "", **_plain(total), "minute": total.minute // 1000} for record in records for total in record.rows()
    ]
    assert list(rows.sources) == [0, 0, 0, 2, 2]


def _plain(total: MinuteTotal) -> dict[str, Any]:
    fields = msgspec.structs.asdict(total)
    del fields["extra"]
    return fields


def with_extra(count: int, version: int, *names: str) -> MinuteTotals:
    """Totals whose n-th name in an extra dimension is the dimension's with the version and n."""
    plain = totals(count, version=version)
    columns = [[f"{name} {version} {number}" for number in range(count)] for name in names]
    return msgspec.structs.replace(plain, dimensions=[*plain.dimensions, *columns], extra_dimensions=list(names))


@pytest.mark.parametrize("chunk_bytes", [1, 10_000_000])
def test_records_with_and_without_extra_dimensions_become_rows_of_all_their_columns(
    chunk_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one batch around a cut-over; in chunks of one record, and in one chunk."""
    monkeypatch.setattr(rows_module, "_CHUNK_BYTES", chunk_bytes)
    records = [totals(2), with_extra(1, 8, "site"), totals(0), with_extra(2, 9, "page", "site"), totals(1)]
    rows, refused = rows_of("totals", list(map(record_value, records)), run="")
    assert refused == []
    assert rows.names[-2:] == ("site", "page")
    assert rows.types[-2:] == ("LowCardinality(String)",) * 2
    found = [(row["version"], row["site"], row["page"]) for row in rows_as_dicts(rows)]
    late = [(9, "site 9 0", "page 9 0"), (9, "site 9 1", "page 9 1")]
    assert found == [(7, "", ""), (7, "", ""), (8, "site 8 0", ""), *late, (7, "", "")]
    assert rows_as_dicts(rows.slice(2, 3))[0]["site"] == "site 8 0"


@pytest.mark.parametrize("role", ["outcomes", "totals"])
def test_rows_and_refused_of_a_large_batch_are_those_of_its_records_one_by_one(role: str) -> None:
    def good(number: int) -> bytes:
        if role == "totals":
            return record_value(totals(50, version=number))
        return encode(Outcome(kind="unclicked", impression_id=f"i{number}", join_partition=0, ts=MINUTE_MS + number))

    values = [good(number) if number % 701 else b"{" for number in range(8_000 if role == "outcomes" else 800)]
    assert sum(map(len, values)) > 400_000  # What is decoded at once.
    rows, refused = rows_of(role, values, run="")
    alone = [rows_of(role, [value], run="") for value in values]
    assert rows_as_dicts(rows) == [row for own, _ in alone for row in rows_as_dicts(own)]
    assert list(rows.sources) == [index for index, (own, _) in enumerate(alone) for _ in range(len(own))]
    assert [one.index for one in refused] == [index for index, (_, bad) in enumerate(alone) if bad]
    assert len(refused) > 1


def test_features_are_not_decoded_for_rows() -> None:
    outcome = Outcome(kind="orphan", impression_id="i1", join_partition=0, click_id="c1", click_ts=MINUTE_MS)
    plain, _ = rows_of("outcomes", [encode(outcome)], run="")
    with_features, refused = rows_of("outcomes", [encode(outcome)[:-1] + b',"features":[1,{"a":null}]}'], run="")
    assert (with_features.columns, refused) == (plain.columns, [])


def test_rows_carry_the_run() -> None:
    rows, _ = rows_of("totals", [record_value(totals(2))] * 2, run="backfill-1")
    assert rows.columns[rows.names.index("run")] == ["backfill-1"] * 4


def test_a_click_row_names_the_user_by_hash_only() -> None:
    outcome = Outcome(
        kind="click",
        impression_id="i1",
        join_partition=0,
        label=1,
        click_id="c1",
        click_ts=MINUTE_MS + 5,
        delay_ms=5,
        ts=MINUTE_MS,
        campaign_id="k1",
        creative_id="r1",
        price_micros=250_000,
        user_id="alice@example.org",
    )
    row = only_row("outcomes", outcome)
    assert row["user_hash"] == xxhash.xxh3_64_intdigest(b"alice@example.org")
    assert "alice" not in repr(row)
    assert (row["event_time"], row["click_time"], row["delay_ms"]) == (MINUTE_MS, MINUTE_MS + 5, 5)
    assert (row["pctr"], row["placement"], row["price_micros"]) == (None, "", 250_000)


def test_an_orphan_row_has_the_time_of_its_click() -> None:
    row = only_row(
        "outcomes", Outcome(kind="orphan", impression_id="i1", join_partition=0, click_id="c1", click_ts=MINUTE_MS)
    )
    assert (row["event_time"], row["click_time"], row["campaign_id"], row["user_hash"]) == (MINUTE_MS, MINUTE_MS, "", 0)


def test_an_unclicked_row_has_no_click() -> None:
    row = only_row(
        "outcomes", Outcome(kind="unclicked", impression_id="i1", join_partition=0, weight=20.0, ts=MINUTE_MS)
    )
    assert (row["event_time"], row["click_time"], row["click_id"], row["delay_ms"]) == (MINUTE_MS, 0, "", None)
    assert row["weight"] == 20.0


def test_a_shown_impression_is_no_row_and_its_neighbours_keep_their_places() -> None:
    known = [Outcome(kind=kind, impression_id=kind, join_partition=0, ts=MINUTE_MS) for kind in ("shown", "unclicked")]
    shown, unclicked = map(encode, known)
    for bad in (b"", b"{"):
        rows, refused = rows_of("outcomes", [shown, unclicked, shown, bad, unclicked], run="")
        assert [row["kind"] for row in rows_as_dicts(rows)] == ["unclicked", "unclicked"]
        assert (list(rows.sources), [each.index for each in refused]) == ([1, 4], [3])
    rows, refused = rows_of("outcomes", [shown, unclicked], run="")
    assert (list(rows.sources), refused) == ([1], [])


def test_a_decision_is_kept_under_its_minute() -> None:
    decision = PacingDecision("k1", 4, MINUTE_MS + 59_999, MINUTE_MS - 40_000, "ahead", 0.25, 100, 60, 50, 9, 2)
    row = only_row("pacing", decision)
    assert (row["minute"], row["event_time"], row["admit"]) == (MINUTE_MS // 1000, MINUTE_MS + 59_999, 0.25)


def test_a_watermark_before_1970_is_1970() -> None:
    counts = dict.fromkeys(("open", "closed", "unclicked", "billable", "repeat", "orphan", "pending"), 0)
    ledger = Ledger(
        join_partition=1,
        version=2,
        impressions=LogCounts(consumed=1, accepted=1),
        clicks=LogCounts(),
        impressions_next_offset=5,
        clicks_next_offset=6,
        impressions_watermark_ms=-1,
        clicks_watermark_ms=-(10**12),
        **counts,
    )
    row = only_row("ledger", ledger)
    assert (row["impressions_watermark"], row["clicks_watermark"]) == (0, 0)
    assert (row["impressions_consumed"], row["clicks_consumed"]) == (1, 0)


def test_a_dead_letter_loses_its_bytes() -> None:
    letter = rejected(Reason.LATE, "late", b"secret", topic="ads.clicks", partition=2, offset=9, record_ts_ms=-1)
    row = only_row("rejects", letter)
    assert "secret" not in repr(row)
    assert (row["topic"], row["partition"], row["offset"], row["length_bytes"]) == ("ads.clicks", 2, 9, 6)
    assert row["record_time"] == 0


def test_a_campaign_keeps_its_open_ends_open() -> None:
    campaign = Campaign("k1", 10**6, "Europe/Berlin", "active", "even", 3, start=MINUTE_MS)
    row = only_row("campaign_history", change(campaign, in_force_ms=MINUTE_MS + 1))
    assert (row["start_time"], row["end_time"], row["max_bid_micros"]) == (MINUTE_MS, None, None)
    assert (row["number"], row["in_force_from"], row["source_offset"], row["withdrawn"]) == (1, MINUTE_MS + 1, 0, False)
    assert (row["version"], row["daily_budget_micros"], row["currency"]) == (3, 10**6, "")


def test_a_withdrawn_campaign_is_a_row_with_a_budget_of_nothing() -> None:
    row = only_row("campaign_history", change(None, campaign_id="k1", number=2))
    assert (row["campaign_id"], row["number"], row["withdrawn"], row["daily_budget_micros"]) == ("k1", 2, True, 0)
    assert (row["timezone"], row["version"], row["start_time"]) == ("", 0, None)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", Reason.UNDECODABLE),
        (b'{"minute":', Reason.UNDECODABLE),
        (encode(totals(dimensions=[["k"]] * (len(DIMENSIONS) - 1))), Reason.UNDECODABLE),
        (encode(totals(measures=[[1]] * (len(MEASURES) + 1))), Reason.UNDECODABLE),
        (encode(totals(2, measures=[[1, 2]] * (len(MEASURES) - 1) + [[1]])), Reason.UNDECODABLE),
        (encode(totals(2, dimensions=[["k"]] * len(DIMENSIONS))), Reason.UNDECODABLE),
        (encode(totals(measures=[["1"]] * len(MEASURES))), Reason.UNDECODABLE),
        (encode(totals(dimensions=[[None]] * len(DIMENSIONS))), Reason.UNDECODABLE),
        (b'{"minute": "noon"}', Reason.UNDECODABLE),
        (b'{"advertiser_id":"\xff"}', Reason.UNDECODABLE),
        (b'{"more":' + b"[" * 100_000, Reason.TOO_DEEP),
        (None, Reason.TOMBSTONE),
    ],
)
def test_a_bad_value_is_refused_by_index_and_its_neighbours_become_rows(value: bytes | None, reason: Reason) -> None:
    values = [record_value(totals(version=1)), value, record_value(totals(2, version=3))]
    rows, refused = rows_of("totals", values, run="")
    assert [(one.index, one.reason) for one in refused] == [(1, reason)]
    assert [row["version"] for row in rows_as_dicts(rows)] == [1, 3, 3]
    assert list(rows.sources) == [0, 2, 2]


def test_a_deletion_in_a_compacted_topic_is_neither_row_nor_refused() -> None:
    assert [len(part) for part in rows_of("pacing", [None], run="")] == [0, 0]


@pytest.mark.parametrize("role", ROLES)
def test_no_values_are_no_rows(role: str) -> None:
    rows, refused = rows_of(role, [], run="")
    assert (len(rows), refused, {len(column) for column in rows.columns}) == (0, [], {0})


def test_a_slice_has_the_rows_and_sources_of_its_span() -> None:
    values = [record_value(totals(2, version=number)) for number in range(5)]
    part = rows_of("totals", [None, *values], run="")[0].slice(1, 4)
    assert [row["version"] for row in rows_as_dicts(part)] == [0, 1, 1]
    assert list(part.sources) == [1, 2, 2]

"""Which table and which columns the records of each topic become. The tables are made in `schemas/clickhouse/`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final, NamedTuple

import msgspec

from schemas.campaigns import CampaignChange
from schemas.codec import decoder
from schemas.models import ModelMetrics
from schemas.outcomes import SHOWN, Outcome
from schemas.pacing import PacingDecision
from schemas.packed import minute_totals
from schemas.rejects import Redriven, Rejected
from schemas.totals import DIMENSIONS, MEASURES, Ledger, MinuteTotals
from streams.warehouse.forgotten import user_hash

MINUTE: Final = "DateTime('UTC')"
MOMENT: Final = "DateTime64(3, 'UTC')"
LOW: Final = "LowCardinality(String)"


class Field(NamedTuple):
    """One column: name, ClickHouse type, and `of`, which gets its value from a record.

    `change` converts all values of a batch at once; None leaves them as they are. With `packed`, the record is many
    rows and `of` gets a list, with a value for each of them.
    """

    name: str
    type: str
    of: Callable[[Any], Any]
    change: Callable[[Iterable[Any]], list[Any]] | None = None
    packed: bool = False


class Shape(NamedTuple):
    """How a topic's records are decoded, and the table and columns that they become.

    `compacted`: a record without a value is a deletion and not an error. `rows_in` returns how many rows a record is;
    None where each is one row. Records of many rows may be in MessagePack. `weight` says how much more memory a byte of
    a value takes as rows than one of JSON does. Values that begin with `no_row` become no row; empty: all become one.
    `extra` gives further columns of texts that a record of many rows names itself.
    """

    table: str
    decode: Callable[[bytes], Any]
    fields: tuple[Field, ...]
    compacted: bool = False
    rows_in: Callable[[Any], int] | None = None
    weight: int = 1
    no_row: bytes = b""
    extra: Callable[[Any], Mapping[str, list[str]]] | None = None


def _without(kind: type[msgspec.Struct], name: str) -> type[msgspec.Struct]:
    """`kind` without one of its fields: decoding ignores that field, as it ignores unknown ones."""
    fields = [
        (field.name, field.type) if field.required else (field.name, field.type, field.default)
        for field in msgspec.structs.fields(kind)
        if field.name != name
    ]
    return msgspec.defstruct(kind.__name__, fields, frozen=True, gc=False)


def _same(type_: str, *names: str) -> tuple[Field, ...]:
    return tuple(Field(name, type_, attrgetter(name)) for name in names)


def _optional(type_: str, default: object, *names: str) -> tuple[Field, ...]:
    def filled(values: Iterable[Any]) -> list[Any]:
        return [default if value is None else value for value in values]

    return tuple(Field(name, type_, attrgetter(name), filled) for name in names)


def _announced(type_: str, default: object, of: str, name: str = "") -> Field:
    """A field of the campaign in a change; `default` where it is not given, and in a withdrawal."""

    def value(change: CampaignChange) -> Any:
        given = getattr(change.campaign, of, None)
        return default if given is None else given

    return Field(name or of, type_, value)


def _packed(type_: str, of: str, *names: str) -> tuple[Field, ...]:
    def column(index: int) -> Callable[[Any], Any]:
        return lambda record: getattr(record, of)[index]

    return tuple(Field(name, type_, column(index), packed=True) for index, name in enumerate(names))


def _totals_in(record: MinuteTotals) -> int:
    return len(record.measures[0])


def _extra_dimensions(record: MinuteTotals) -> Mapping[str, list[str]]:
    return dict(zip(record.extra_dimensions, record.dimensions[len(DIMENSIONS) :], strict=True))


def _seconds(values: Iterable[int]) -> list[int]:
    return [value_ms // 1000 for value_ms in values]


def _minute_seconds(values: Iterable[int]) -> list[int]:
    return [value_ms // 60_000 * 60 for value_ms in values]


def _no_earlier_than_1970(values: Iterable[int]) -> list[int]:
    # Watermarks start far in the past, and Kafka has -1 for no timestamp. DateTime64 does not take these in every case.
    return [max(0, value_ms) for value_ms in values]


def _user_hashes(values: Iterable[str | None]) -> list[int]:
    return list(map(user_hash, values))


def _event_ms(outcome: Outcome) -> int | None:
    return outcome.click_ts if outcome.ts is None else outcome.ts


def _moment(name: str, of: str) -> Field:
    return Field(name, MOMENT, attrgetter(of), _no_earlier_than_1970)


def _log_counts(log: str) -> tuple[Field, ...]:
    counts = ("consumed", "accepted", "late", "duplicate", "rejected", "held", "late_by_seal")
    return tuple(Field(f"{log}_{count}", "Int64", attrgetter(f"{log}.{count}")) for count in counts)


SHAPES: Final = {
    "totals": Shape(
        "minute_totals",
        minute_totals,
        (
            Field("minute", MINUTE, attrgetter("minute"), _seconds),
            *_packed(LOW, "dimensions", *DIMENSIONS),
            *_same("UInt32", "join_partition"),
            *_same("UInt64", "version"),
            *_same("Bool", "final"),
            *_packed("Int64", "measures", *MEASURES),
        ),
        rows_in=_totals_in,
        # 32 bytes a row in place of 78.
        weight=3,
        extra=_extra_dimensions,
    ),
    "outcomes": Shape(
        "outcome_rows",
        # No column needs the features, and they take 0.6 of the 2.0 µs for decoding an outcome.
        decoder(_without(Outcome, "features")).decode,
        (
            *_same(LOW, "kind"),
            Field("event_time", MOMENT, _event_ms),
            *_optional(LOW, "", "campaign_id"),
            *_same("String", "impression_id"),
            *_optional("String", "", "click_id"),
            Field("click_time", MOMENT, attrgetter("click_ts"), lambda values: [value or 0 for value in values]),
            *_same("Nullable(Int64)", "delay_ms"),
            *_same("Float64", "weight"),
            *_optional("Int64", 0, "price_micros"),
            *_same("Nullable(Float64)", "pctr"),
            *_optional(LOW, "", "model_version", "advertiser_id", "creative_id", "placement"),
            *_optional(LOW, "", "country", "device", "experiment", "arm"),
            Field("user_hash", "UInt64", attrgetter("user_id"), _user_hashes),
            *_same("UInt32", "join_partition"),
        ),
        # Each is followed by what was decided, with the same fields.
        no_row=SHOWN,
    ),
    "pacing": Shape(
        "pacing_rows",
        decoder(PacingDecision).decode,
        (
            *_same(LOW, "campaign_id"),
            Field("minute", MINUTE, attrgetter("event_ms"), _minute_seconds),
            *_same("UInt64", "version"),
            _moment("event_time", "event_ms"),
            _moment("day_start", "day_start"),
            *_same(LOW, "state"),
            *_same("Float64", "admit"),
            *_same("Int64", "budget_micros", "spend_micros", "plan_micros", "impressions", "clicks"),
            *_same("Float64", "bid_multiplier"),
            *_same("Int64", "allowance_micros"),
            _moment("valid_until", "valid_until_ms"),
            *_same("Float64", "safe_admit"),
            _moment("counted_to", "counted_to_ms"),
            *_same("Int64", "in_flight_micros"),
            *_same(LOW, "reason"),
        ),
        compacted=True,
    ),
    "model_metrics": Shape(
        "model_metric_rows",
        decoder(ModelMetrics).decode,
        (
            *_same(LOW, "model"),
            *_same("UInt32", "shard"),
            *_same(LOW, "slice"),
            _moment("window_start", "window_start"),
            _moment("window_end", "window_end"),
            *_same("UInt64", "version"),
            *_same("Int64", "examples"),
            *_same("Float64", "weight", "clicks", "predicted_clicks", "log_loss"),
            *_same("Nullable(Float64)", "auc", "calibration", "ne", "calibration_low", "calibration_high"),
            *_same(LOW, "settings", "against", "against_settings"),
            *_same("Float64", "ece", "loss_difference", "weight_squared", "loss_products", "loss_squared"),
        ),
    ),
    "ledger": Shape(
        "ledger_rows",
        decoder(Ledger).decode,
        (
            *_same("UInt32", "join_partition"),
            *_same("UInt64", "version"),
            *_log_counts("impressions"),
            *_log_counts("clicks"),
            *_same(
                "Int64",
                "open",
                "closed",
                "unclicked",
                "billable",
                "repeat",
                "orphan",
                "pending",
                "lost_impressions",
                "lost_clicks",
            ),
            *_same("Int64", "impressions_next_offset", "clicks_next_offset"),
            _moment("impressions_watermark", "impressions_watermark_ms"),
            _moment("clicks_watermark", "clicks_watermark_ms"),
        ),
    ),
    "rejects": Shape(
        "reject_rows",
        decoder(Rejected).decode,
        (
            *_same(LOW, "topic"),
            *_same("UInt32", "partition"),
            *_same("Int64", "offset"),
            *_same(LOW, "reason"),
            *_same("String", "detail"),
            _moment("record_time", "record_ts_ms"),
            Field("length_bytes", "UInt64", attrgetter("length")),
            *_same("String", "xxh3"),
        ),
    ),
    "redriven": Shape(
        "redriven_rows",
        decoder(Redriven).decode,
        (
            *_same(LOW, "topic"),
            *_same("UInt32", "partition"),
            *_same("Int64", "offset"),
            *_same(LOW, "input"),
            Field("join_partition", "UInt32", attrgetter("to_partition")),
            *_same(LOW, "reason"),
            _moment("event_time", "ts"),
            _moment("redriven_at", "redriven_ms"),
            *_same(LOW, "mapping"),
        ),
    ),
    "campaign_history": Shape(
        "campaign_history_rows",
        decoder(CampaignChange).decode,
        (
            *_same("String", "campaign_id"),
            *_same("UInt64", "number"),
            _moment("in_force_from", "in_force_ms"),
            Field("source_partition", "UInt32", attrgetter("partition")),
            Field("source_offset", "Int64", attrgetter("offset")),
            Field("withdrawn", "Bool", lambda change: change.campaign is None),
            _announced("UInt64", 0, "version"),
            _announced("String", "", "advertiser_id"),
            _announced(LOW, "", "status"),
            _announced(LOW, "", "pacing"),
            _announced("Int64", 0, "daily_budget_micros"),
            _announced("Nullable(Int64)", None, "max_bid_micros"),
            _announced(LOW, "", "currency"),
            _announced(LOW, "", "timezone"),
            _announced(f"Nullable({MOMENT})", None, "start", "start_time"),
            _announced(f"Nullable({MOMENT})", None, "end", "end_time"),
            _announced("Nullable(Int64)", None, "lifetime_budget_micros"),
            _announced("Array(Float64)", [], "curve"),
            _announced("Nullable(Float64)", None, "min_bid_multiplier"),
            _announced("Nullable(Float64)", None, "max_bid_multiplier"),
            _announced("Nullable(Int64)", None, "hourly_cap_micros"),
            _announced("String", "", "dayparts"),
            _announced("String", "", "budget_id"),
            _announced("Nullable(Int64)", None, "shared_budget_micros"),
            _announced("UInt8", 0, "priority"),
            _announced("Nullable(UInt32)", None, "frequency_cap"),
            _announced("Nullable(UInt32)", None, "frequency_period_s"),
        ),
    ),
}

ROLES: Final[Sequence[str]] = tuple(SHAPES)

assert {*DIMENSIONS} <= {field.name for field in SHAPES["outcomes"].fields}, "an outcome row lacks a dimension"

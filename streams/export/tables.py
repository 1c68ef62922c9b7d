"""What is exported: the columns of each table, the order of its rows, and how both sources give them.

ClickHouse and Kafka give the same rows, but for the hashes of users who were forgotten, which Kafka still has. So an
export of one can replace that of the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from schemas.totals import DIMENSIONS
from streams.warehouse.forgotten import READABLE
from streams.warehouse.shapes import LOW, MINUTE, MOMENT, SHAPES, Field

if TYPE_CHECKING:
    import pyarrow as pa

# Of a user id without its name: the digits of `user_hash`.
_HASH_DIGITS: Final = 16


class Column(NamedTuple):
    """A column of the files. `kind` is one of `types`; `sql` is its value in ClickHouse.

    `of` turns the values that the sink inserts into those of the file; None leaves them as they are.
    """

    name: str
    kind: str
    nullable: bool = False
    sql: str = ""
    of: Callable[[Sequence[Any]], Sequence[Any]] | None = None


class Exported(NamedTuple):
    """A table of files. `time` is the column by which hours are told apart, `order` sorts the rows of an hour.

    `role` is the topic that the log has it in. `view` and `rows` are where ClickHouse has it: what readers see, and the
    rows of all runs; empty where it has not.
    """

    name: str
    columns: tuple[Column, ...]
    time: str
    order: tuple[str, ...]
    role: str
    view: str = ""
    rows: str = ""

    @property
    def schema(self) -> pa.Schema:
        """The schema of its files."""
        import pyarrow as pa

        kinds = types()
        return pa.schema([pa.field(each.name, kinds[each.kind], nullable=each.nullable) for each in self.columns])


def types() -> dict[str, pa.DataType]:
    """The types of columns. None is unsigned or dictionary-encoded in the schema, which Hive would not read."""
    import pyarrow as pa

    return {
        "text": pa.string(),
        "moment": pa.timestamp("ms", tz="UTC"),
        "whole": pa.int64(),
        "small": pa.int32(),
        "number": pa.float64(),
        "texts": pa.map_(pa.string(), pa.string()),
        "numbers": pa.map_(pa.string(), pa.float64()),
        "flags": pa.map_(pa.string(), pa.bool_()),
    }


def _in_ms(values: Sequence[int]) -> list[int]:
    return [value_s * 1000 for value_s in values]


def _or_none(values: Sequence[Any]) -> list[Any]:
    return [value or None for value in values]


def _hashes(values: Sequence[int]) -> list[str | None]:
    return [f"{value:0{_HASH_DIGITS}x}" if value else None for value in values]


_CLICK_TIME: Final = "if(toUnixTimestamp64Milli(click_time) = 0, NULL, click_time)"
_USER_HASH: Final = f"if({READABLE} = 0, NULL, leftPad(lower(hex(user_hash)), {_HASH_DIGITS}, '0'))"
# Null in a file where ClickHouse has a value that stands for none.
_NULL: Final = {
    "click_time": Column("click_time", "moment", nullable=True, sql=_CLICK_TIME, of=_or_none),
    "user_hash": Column("user_hash", "text", nullable=True, sql=_USER_HASH, of=_hashes),
}
_KINDS: Final = {LOW: "text", "String": "text", MOMENT: "moment", "Int64": "whole", "Float64": "number"}


def _column(field: Field) -> Column:
    name, kind = field.name, field.type
    if name in _NULL:
        return _NULL[name]
    if kind == MINUTE:
        # Arrow has no moment of seconds: ClickHouse would give plain numbers.
        return Column(name, "moment", sql=f"toDateTime64({name}, 3, 'UTC')", of=_in_ms)
    if kind == "UInt32":
        return Column(name, "small", sql=f"toInt32({name})")
    plain = kind.removeprefix("Nullable(").removesuffix(")") if kind.startswith("Nullable(") else kind
    return Column(name, _KINDS[plain], nullable=plain != kind, sql=name)


def _columns(role: str, *left_out: str) -> tuple[Column, ...]:
    return tuple(_column(field) for field in SHAPES[role].fields if field.name not in left_out)


OUTCOMES: Final = Exported(
    "outcomes",
    _columns("outcomes"),
    time="event_time",
    order=("campaign_id", "event_time", "impression_id", "click_id", "click_time", "kind"),
    role="outcomes",
    view="outcomes",
    rows="outcome_rows",
)
MINUTES: Final = Exported(
    "minutes",
    # Only final totals are exported, each in its last version.
    _columns("totals", "version", "final"),
    time="minute",
    order=("minute", *DIMENSIONS, "join_partition"),
    role="totals",
    view="minutes",
    rows="minute_totals",
)
TRAINING: Final = Exported(
    "training",
    (
        Column("ts", "moment"),
        Column("impression_id", "text"),
        Column("label", "small"),
        Column("weight", "number"),
        Column("delay_ms", "whole", nullable=True),
        *(Column(name, "text", nullable=True) for name in ("campaign_id", "creative_id", "placement")),
        *(Column(name, "text", nullable=True) for name in ("country", "device")),
        Column("categories", "texts"),
        Column("flags", "flags"),
        Column("numbers", "numbers"),
        Column("price_micros", "whole", nullable=True),
        Column("bid_micros", "whole", nullable=True),
        Column("pctr", "number", nullable=True),
        *(Column(name, "text", nullable=True) for name in ("model_version", "experiment", "arm", "advertiser_id")),
        Column("join_partition", "small"),
    ),
    time="ts",
    order=("ts", "impression_id"),
    role="outcomes",
)
EXPORTED: Final = {each.name: each for each in (OUTCOMES, MINUTES, TRAINING)}

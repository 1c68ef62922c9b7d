"""Rows of `ads.outcomes` and `ads.totals` as Arrow tables, with the columns that ClickHouse would give."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice, repeat
from typing import TYPE_CHECKING, Any, Final

from schemas.codec import decoder, encode
from schemas.errors import BrokenInvariant, LostHistory
from schemas.outcomes import SHOWN, Outcome
from streams.export.moments import utc_text
from streams.export.tables import MINUTES, TRAINING, Exported
from streams.kafka.cluster import Cluster
from streams.kafka.reads import bounds_consumer, log_bounds, stream_log
from streams.warehouse.rows import rows_of
from streams.warehouse.shapes import SHAPES

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_RECORDS: Final = 5_000
# Every outcome of an impression is written after it was shown, by clocks that differ by less than this.
_CLOCKS_MS: Final = 600_000
_decode: Final = decoder(Outcome).decode


def read_rows(
    cluster: Cluster, table: Exported, ends: Mapping[int, int], on_read: Callable[[int], object]
) -> Iterator[pa.Table]:
    """All rows of the topic's partitions up to their `ends`. `on_read` gets the number of offsets passed."""
    topic = cluster.topic(table.role)
    for partition, end in ends.items():
        passed = 0
        records = stream_log(cluster, topic, partition, stop=end)
        while batch := list(islice(records, _BATCH_RECORDS)):
            yield rows_from(table, [record.value for record in batch])
            on_read(batch[-1].offset + 1 - passed)
            passed = batch[-1].offset + 1


def require_whole(cluster: Cluster, table: Exported, ends: Mapping[int, int], from_ms: int) -> None:
    """Raises LostHistory when Kafka may have deleted rows of `from_ms` or later.

    An outcome is written after its impression was shown. So what was deleted is older than the first record that is
    still there.
    """
    topic = cluster.topic(table.role)
    with closing(bounds_consumer(cluster)) as consumer:
        firsts = {partition: log_bounds(consumer, topic, partition)[0] for partition in ends}
    for partition, first in firsts.items():
        if not first:
            continue
        record = next(stream_log(cluster, topic, partition, start=first, stop=ends[partition]), None)
        whole_from_ms = record.record_ts_ms + _CLOCKS_MS if record is not None else 2**53
        if from_ms < whole_from_ms:
            raise LostHistory(
                f"{topic}[{partition}] begins at offset {first}: Kafka has deleted records before it, so the log has "
                f"all rows only from {utc_text(whole_from_ms)} on; give a later --from, or --source clickhouse"
            )


def rows_from(table: Exported, values: Sequence[bytes | None]) -> pa.Table:
    """The rows of these values. Raises BrokenInvariant for a value that is no record of the topic."""
    return _training(values) if table is TRAINING else _as_the_sink(table, values)


def _as_the_sink(table: Exported, values: Sequence[bytes | None]) -> pa.Table:
    import pyarrow as pa

    rows, refused = rows_of(table.role, values, run="")
    if refused:
        raise BrokenInvariant(f"a record of {table.role} cannot be a row: {refused[0].detail}")
    found = dict(zip(rows.names, rows.columns, strict=True))
    arrays = [
        pa.array(found[each.name] if each.of is None else each.of(found[each.name]), field.type)
        for each, field in zip(table.columns, table.schema, strict=True)
    ]
    made = pa.Table.from_arrays(arrays, schema=table.schema)
    if table is MINUTES:
        # A total that is final is written as such, and no later version of it differs.
        made = made.append_column("extra", pa.array(_extra_names(found, made.num_rows), pa.string()))
        made = made.append_column("version", pa.array(found["version"], pa.uint64()))
        made = made.filter(pa.array(found["final"], pa.bool_()))
    return made


def _extra_names(found: Mapping[str, Sequence[Any]], rows: int) -> list[str]:
    """A text for each total that tells apart those which differ in extra dimensions only.

    One without a name counts as one from before the dimension.
    """
    known = {"run", *(field.name for field in SHAPES["totals"].fields)}
    extra = sorted(found.keys() - known)
    named = zip(*(found[name] for name in extra), strict=True) if extra else repeat((), rows)
    return [
        encode({name: value for name, value in zip(extra, values, strict=True) if value}).decode() for values in named
    ]


def _training(values: Sequence[bytes | None]) -> pa.Table:
    import pyarrow as pa

    outcomes = [_decode(value) for value in values if value is not None and not value.startswith(SHOWN)]
    examples = [outcome for outcome in outcomes if outcome.label is not None]
    schema = TRAINING.schema
    features = [each.features or {} for each in examples]
    made: dict[str, list[Any]] = {
        "categories": [[item for item in each.items() if isinstance(item[1], str)] for each in features],
        "flags": [[item for item in each.items() if isinstance(item[1], bool)] for each in features],
        "numbers": [[(name, float(value)) for name, value in each.items() if _is_number(value)] for each in features],
    }
    columns = [
        made.get(each.name) or [getattr(example, each.name, None) for example in examples] for each in TRAINING.columns
    ]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def _is_number(value: Any) -> bool:
    return not isinstance(value, str | bool)

"""Rows in any order, kept by the hour they belong to, on disk where they are many, and given back sorted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from schemas.totals import HOUR_MS
from streams.export.tables import MINUTES, Exported

if TYPE_CHECKING:
    import pyarrow as pa

# What is kept in memory before it is written to disk, and what is sorted at once. Sorting takes about three times it.
_MOST_BYTES: Final = 64 << 20
_SORTED_BYTES: Final = 128 << 20


class Hours:
    """Rows of a table by hour. `folder` is for files that are not needed any more once the export has ended."""

    def __init__(
        self, table: Exported, folder: Path, *, most_bytes: int = _MOST_BYTES, sorted_bytes: int = _SORTED_BYTES
    ) -> None:
        self._table = table
        self._folder = folder
        self._most_bytes, self._sorted_bytes = most_bytes, sorted_bytes
        self._waiting: defaultdict[int, list[pa.Table]] = defaultdict(list)
        self._waiting_bytes = 0
        self._files: defaultdict[int, list[Path]] = defaultdict(list)

    def add(self, rows: pa.Table, from_ms: int, to_ms: int) -> None:
        """Takes the rows whose time is in the span."""
        import pyarrow as pa

        times_ms = rows.column(self._table.time).cast(pa.int64()).to_numpy()
        wanted = np.flatnonzero((from_ms <= times_ms) & (times_ms < to_ms))
        hours = times_ms[wanted] // HOUR_MS
        for hour in np.unique(hours).tolist():
            part = rows.take(pa.array(wanted[hours == hour]))
            self._waiting[hour * HOUR_MS].append(part)
            self._waiting_bytes += part.nbytes
        if self._waiting_bytes >= self._most_bytes:
            self._write()

    def starts_ms(self) -> list[int]:
        """The hours that have rows."""
        return sorted(self._waiting.keys() | self._files.keys())

    def rows(self, hour_ms: int) -> Iterator[pa.Table]:
        """The rows of an hour; each table is sorted, and the next is another file's. Call it once for each hour.

        Of minutes it is one table, with the last version of each total.
        """
        kept: list[pa.Table] = []
        for part in self._parts(hour_ms):
            kept.append(part)
            if self._table is not MINUTES and sum(each.nbytes for each in kept) >= self._sorted_bytes:
                yield self._sorted(kept)
                kept = []
        if kept:
            yield self._sorted(kept)

    def _sorted(self, parts: list[pa.Table]) -> pa.Table:
        import pyarrow as pa

        joined = pa.concat_tables(parts)
        order = [(name, "ascending") for name in self._table.order]
        if self._table is MINUTES:
            order += [("extra", "ascending"), ("version", "ascending")]
            return last_versions(joined.sort_by(order), self._table)
        return joined.sort_by(order)

    def _parts(self, hour_ms: int) -> Iterator[pa.Table]:
        import pyarrow as pa

        for file in self._files.pop(hour_ms, []):
            with pa.OSFile(str(file)) as source:
                yield pa.ipc.open_file(source).read_all()
            file.unlink()
        for part in self._waiting.pop(hour_ms, []):
            self._waiting_bytes -= part.nbytes
            yield part

    def _write(self) -> None:
        import pyarrow as pa

        for hour_ms, parts in self._waiting.items():
            file = self._folder / f"{hour_ms}-{len(self._files[hour_ms])}.arrow"
            with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, parts[0].schema) as writer:
                for part in parts:
                    writer.write_table(part)
            self._files[hour_ms].append(file)
        self._waiting.clear()
        self._waiting_bytes = 0


def last_versions(rows: pa.Table, table: Exported) -> pa.Table:
    """The last row of each key. The rows are sorted by it, then by `extra` and `version`, which the answer has not."""
    import pyarrow as pa
    import pyarrow.compute as pc

    is_last = np.ones(rows.num_rows, np.bool_)
    same = np.ones(max(rows.num_rows - 1, 0), np.bool_)
    for name in (*table.order, "extra"):
        column = rows.column(name)
        same &= pc.equal(column.slice(0, max(rows.num_rows - 1, 0)), column.slice(1)).to_numpy()
    is_last[:-1] = ~same
    return rows.filter(pa.array(is_last)).select([each.name for each in table.columns])

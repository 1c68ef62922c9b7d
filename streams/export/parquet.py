"""Writes sorted rows of one hour to Parquet files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from streams.export.folder import ExportFolder
from streams.export.manifest import ExportedFile, hour_path
from streams.export.tables import Exported

if TYPE_CHECKING:
    import pyarrow as pa

# Readers work on a group of rows at a time and skip it by its statistics; DuckDB and Arrow advise about this many.
_GROUP_ROWS: Final = 122_880
# A file that Spark divides among its tasks, of about 200 MB.
_MOST_ROWS: Final = 4_000_000


class HourFiles:
    """Writes the files of hours, staged. `export` is part of their names, so none has the name of a former file."""

    def __init__(
        self,
        folder: ExportFolder,
        table: Exported,
        export: str,
        *,
        most_rows: int = _MOST_ROWS,
        group_rows: int = _GROUP_ROWS,
    ) -> None:
        self._folder = folder
        self._table = table
        self._export = export
        self._most_rows, self._group_rows = most_rows, group_rows
        self.written: dict[int, list[ExportedFile]] = {}

    def write(self, hour_ms: int, batches: Iterable[pa.Table]) -> int:
        """Writes the rows, which are in order, as one file or more. Returns how many they were."""
        rows = 0
        groups = _groups(batches, self._group_rows)
        for group in groups:
            rows += self._file(hour_ms, group, groups)
        return rows

    def _file(self, hour_ms: int, first: pa.Table, groups: Iterator[pa.Table]) -> int:
        import pyarrow.parquet as pq

        files = self.written.setdefault(hour_ms, [])
        name = f"{hour_path(hour_ms)}/part-{self._export}-{len(files):04}.parquet"
        schema, rows = self._table.schema, 0
        with self._folder.staged(name) as file:
            with pq.ParquetWriter(
                file,
                schema,
                compression="zstd",
                write_statistics=True,
                write_page_index=True,
                sorting_columns=pq.SortingColumn.from_ordering(
                    schema, [(name, "ascending") for name in self._table.order]
                ),
            ) as writer:
                group: pa.Table | None = first
                while group is not None:
                    writer.write_table(group, row_group_size=self._group_rows)
                    rows += group.num_rows
                    group = next(groups, None) if rows < self._most_rows else None
            size = file.tell()
        files.append(ExportedFile(name, rows, size))
        return rows


def _groups(batches: Iterable[pa.Table], group_rows: int) -> Iterator[pa.Table]:
    """The same rows in tables of a group each."""
    import pyarrow as pa

    waiting: list[pa.Table] = []
    rows = 0
    for batch in batches:
        if not batch.num_rows:
            continue
        waiting.append(batch)
        rows += batch.num_rows
        if rows >= group_rows:
            joined = pa.concat_tables(waiting)
            whole = rows // group_rows * group_rows
            for start in range(0, whole, group_rows):
                yield joined.slice(start, group_rows)
            waiting = [joined.slice(whole)] if rows > whole else []
            rows -= whole
    if waiting:
        yield pa.concat_tables(waiting)

"""Files of an export: sorted, read by others, replaced as a whole, and whole whatever interrupts the next one."""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path
from typing import Any

import msgspec
import pyarrow
import pyarrow.parquet
import pytest

from schemas.codec import encode
from schemas.errors import SettingsError, Transient
from schemas.totals import HOUR_MS
from streams.export.folder import MANIFEST, ExportFolder
from streams.export.from_log import rows_from
from streams.export.manifest import Manifest
from streams.export.parquet import HourFiles
from streams.export.tables import OUTCOMES
from tests.exports import T0_MS, clicked, expected, export, seen

OLD = [clicked(number, hour=number % 3) for number in range(60)]
NEW = [clicked(number, hour=number % 3, price_micros=2) for number in range(0, 60, 2) if number % 3]


def read_by_all(folder: Path) -> list[tuple[Any, ...]]:
    """What all readers see, which must be the same."""
    found = seen(folder)
    assert found["pyarrow"] == found["DuckDB"] == found["Polars"]
    return found["pyarrow"]


def test_duckdb_polars_and_pyarrow_read_the_same_rows_in_hive_folders(tmp_path: Path) -> None:
    export(str(tmp_path / "out"), OLD, tmp_path, hours=range(3))
    assert read_by_all(tmp_path / "out" / "outcomes") == expected(*OLD)


def test_file_is_sorted_zstd_with_statistics_and_says_its_order(tmp_path: Path) -> None:
    manifest = export(str(tmp_path), OLD, tmp_path, hours=range(3))
    for listed in manifest.files():
        path = tmp_path / "outcomes" / listed.name
        file = pyarrow.parquet.ParquetFile(path)
        group = file.metadata.row_group(0)
        columns = [group.column(at) for at in range(group.num_columns)]
        assert {column.compression for column in columns} == {"ZSTD"}
        assert all(column.is_stats_set and column.statistics is not None for column in columns)
        assert [columns[each.column_index].path_in_schema for each in group.sorting_columns] == list(OUTCOMES.order)
        rows = file.read().select(["campaign_id", "event_time", "impression_id"]).to_pylist()
        assert rows == sorted(rows, key=lambda row: tuple(row.values()))
        assert (listed.rows, listed.bytes) == (file.metadata.num_rows, path.stat().st_size)


def test_hours_exported_again_are_replaced_and_others_stay(tmp_path: Path) -> None:
    export(str(tmp_path), OLD, tmp_path, hours=range(3))
    export(str(tmp_path), NEW, tmp_path, hours=range(1, 2))
    first = [each for each in OLD if ((each.ts or 0) - T0_MS) // HOUR_MS != 1]
    second = [each for each in NEW if ((each.ts or 0) - T0_MS) // HOUR_MS == 1]
    assert second
    assert read_by_all(tmp_path / "outcomes") == expected(*first, *second)
    manifest = ExportFolder(str(tmp_path), "outcomes").manifest()
    assert manifest is not None
    assert len(manifest.exports) == 2
    # Now the first export has no hour any more.
    after = export(str(tmp_path), NEW, tmp_path, hours=range(3))
    assert [each.id for each in after.exports] == [after.exports[-1].id]
    assert read_by_all(tmp_path / "outcomes") == expected(*NEW)


def test_hour_without_rows_any_more_is_removed_and_foreign_files_stay(tmp_path: Path) -> None:
    export(str(tmp_path), OLD, tmp_path, hours=range(3))
    notes = tmp_path / "outcomes" / "date=2023-11-14" / "hour=22" / "notes.txt"
    notes.write_text("mine")
    export(str(tmp_path), [], tmp_path, hours=range(3))
    assert read_by_all(tmp_path / "outcomes") == []
    left = [path.name for path in (tmp_path / "outcomes").rglob("*") if path.is_file()]
    assert sorted(left) == [MANIFEST, "notes.txt"]


def test_large_hour_becomes_several_files_in_order(tmp_path: Path) -> None:
    rows = rows_from(OUTCOMES, list(map(encode, OLD))).sort_by([(name, "ascending") for name in OUTCOMES.order])
    files = HourFiles(ExportFolder(str(tmp_path), "outcomes"), OUTCOMES, "x", most_rows=20, group_rows=10)
    # In batches that are no groups.
    assert files.write(T0_MS, [rows.slice(at, 7) for at in range(0, 60, 7)]) == 60
    written = files.written[T0_MS]
    assert [file.rows for file in written] == [20, 20, 20]
    staged = [tmp_path / "outcomes" / "_staged" / f"{file.name}.unpublished" for file in written]
    tables = [pyarrow.parquet.ParquetFile(path) for path in staged]
    assert {table.metadata.num_row_groups for table in tables} == {2}
    assert pyarrow.concat_tables([table.read() for table in tables]).equals(rows)


class _Interrupted(Exception):
    """The process was killed here."""


class _Cut:
    """A file system that does its first `calls` changes and none after them, as a process that is killed."""

    CHANGES = ("pipe_file", "open", "mv", "rm_file", "rm", "makedirs", "rmdir")

    def __init__(self, files: Any, calls: int) -> None:
        self._files, self.left = files, calls

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._files, name)
        if name not in self.CHANGES:
            return found

        def counted(*arguments: Any, **options: Any) -> Any:
            if self.left <= 0:
                raise _Interrupted
            self.left -= 1
            return found(*arguments, **options)

        return counted


@pytest.mark.parametrize("scheme", ["file", "memory"])
def test_export_that_is_killed_anywhere_leaves_the_former_or_the_new_one_to_be_finished(
    tmp_path: Path, scheme: str
) -> None:
    outside = expected(*(each for each in OLD if ((each.ts or 0) - T0_MS) // HOUR_MS == 0))
    before, after = expected(*OLD), sorted([*outside, *expected(*NEW)])
    ends = set()
    for calls in itertools.count():
        url = f"{scheme}://{tmp_path}/{calls}"
        local = tmp_path / "copies" / str(calls)
        export(url, OLD, tmp_path, hours=range(3))
        cut = ExportFolder(url, "outcomes")
        cut._files = _Cut(cut._files, calls)
        with contextlib.suppress(Transient, _Interrupted):
            export(url, NEW, tmp_path, hours=range(1, 3), files=cut)
        manifest = ExportFolder(url, "outcomes").manifest()
        assert manifest is not None
        rows = read_by_all(_copy(url, local / "cut"))
        if len(manifest.exports) == 1:
            ends.add("former")
            assert rows == before
        else:
            # It may not be finished: each hour is still the former one, not there for now, or the new one.
            ends.add("new" if rows == after else "unfinished")
            for hour in (22, 23, 0):
                its, former, new = ([row for row in each if row[3] == hour] for each in (rows, before, after))
                assert its in (former, [], new)
        finished = len(manifest.exports) == 2 and cut._files.left > 0
        # The next export, of another hour, finishes it and clears what is left.
        export(url, OLD, tmp_path, hours=range(1))
        assert read_by_all(_copy(url, local / "next")) == (after if len(manifest.exports) == 2 else before)
        names = [str(path) for path in _files(url).find(_path(url))]
        assert not any("_staged" in name for name in names)
        if finished:
            break
    assert ends == {"former", "unfinished", "new"}


def _files(url: str) -> Any:
    return ExportFolder(url, "outcomes")._files


def _path(url: str) -> str:
    return ExportFolder(url, "outcomes")._root


def _copy(url: str, to: Path) -> Path:
    """What a store has, as a folder of the disk that all readers can read."""
    files, root = _files(url), _path(url)
    for path in files.find(root):
        target = to / str(path).removeprefix(root).lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(files.cat_file(path))
    return to


def test_failing_store_is_one_sentence_that_says_the_former_export_is_whole(tmp_path: Path) -> None:
    (tmp_path / "outcomes").write_text("a file where a folder should be")
    with pytest.raises(Transient, match="the former export is as it was"):
        export(str(tmp_path), OLD, tmp_path, hours=range(3))


def test_manifest_of_another_format_is_refused(tmp_path: Path) -> None:
    manifest = export(str(tmp_path), OLD, tmp_path, hours=range(3))
    newer = msgspec.to_builtins(manifest) | {"format": 2}
    (tmp_path / "outcomes" / MANIFEST).write_bytes(msgspec.json.encode(newer))
    with pytest.raises(SettingsError, match="its format is 2, not 1"):
        export(str(tmp_path), NEW, tmp_path, hours=range(3))
    assert msgspec.json.decode(msgspec.json.encode(manifest), type=Manifest) == manifest


def test_credentials_in_the_address_are_refused_and_not_repeated() -> None:
    with pytest.raises(SettingsError) as refused:
        ExportFolder("s3://name:secret@bucket/prefix", "outcomes")
    assert "secret" not in str(refused.value).replace("secrets", "")

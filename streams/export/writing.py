"""One export: the files of its hours staged, the manifest replaced, the files published and their former ones deleted.

Before the manifest is replaced the former export is whole. After it the new one is; what an interruption leaves undone
then is done by the next export into the folder.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from importlib.metadata import version
from typing import TYPE_CHECKING, NamedTuple

from streams.export.folder import ExportFolder
from streams.export.manifest import ExportRecord, Manifest, with_export
from streams.export.moments import utc_text
from streams.export.parquet import HourFiles
from streams.export.tables import Exported

if TYPE_CHECKING:
    import pyarrow as pa


class Request(NamedTuple):
    """What is exported: whole hours, from `from_ms` (inclusive) to `to_ms` (exclusive).

    `source` is clickhouse or log, `run` the run or active. Below `final_ms` nothing can change any more.
    """

    table: Exported
    from_ms: int
    to_ms: int
    source: str
    run: str
    final_ms: int


class ExportWriter:
    """Writes one export into a folder. What the one before has left undone is done first."""

    def __init__(self, folder: ExportFolder, request: Request, *, now_ms: int | None = None) -> None:
        self._folder = folder
        self._request = request
        now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
        self._before = folder.manifest()
        if self._before is not None:
            finish(folder, self._before)
        folder.clear_staged()
        # By the clock, so that names tell the order, and a random part for two in one second.
        digits = utc_text(now_ms).translate(str.maketrans("", "", "-:"))
        self._record = ExportRecord(
            id=f"{digits}-{secrets.token_hex(3)}",
            made_at=utc_text(now_ms),
            from_=utc_text(request.from_ms),
            to=utc_text(request.to_ms),
            source=request.source,
            run=request.run,
            final_until=utc_text(request.final_ms),
            clickfold=version("clickfold"),
        )
        self._files = HourFiles(folder, request.table, self._record.id)

    def write(self, hour_ms: int, tables: Iterable[pa.Table], *, apart: bool = False) -> int:
        """Writes the rows of an hour, in order; `apart`: only within each table, so that each is a file of its own.

        Returns how many rows there were.
        """
        if apart:
            return sum(self._files.write(hour_ms, [table]) for table in tables)
        return self._files.write(hour_ms, tables)

    def commit(self) -> Manifest:
        """Makes what was written the export, in place of the former one of these hours."""
        request = self._request
        manifest = with_export(
            self._before,
            self._record,
            self._files.written,
            table=request.table.name,
            sorted_by=list(request.table.order),
            from_ms=request.from_ms,
            to_ms=request.to_ms,
        )
        self._folder.write_manifest(manifest)
        finish(self._folder, manifest)
        self._folder.clear_staged()
        return manifest


def finish(folder: ExportFolder, manifest: Manifest) -> None:
    """Deletes the files that a manifest has replaced, and publishes its own. Idempotent; one request if it is done.

    By hour, deleted first: a reader that lists files may miss rows of an hour for a moment, and never sees them twice.
    """
    staged = folder.staged_names()
    own = [file.name for file in manifest.files() if file.name in staged]
    if not own and any(hour.export == manifest.exports[-1].id for hour in manifest.hours.values()):
        return
    former: dict[str, list[str]] = {}
    for name in manifest.replaced:
        former.setdefault(name.rpartition("/")[0], []).append(name)
    # Of hours that have no rows any more.
    for path in former.keys() - manifest.hours.keys():
        _delete(folder, former[path])
    for name in own:
        _delete(folder, former.pop(name.rpartition("/")[0], []))
        folder.publish(name)


def _delete(folder: ExportFolder, names: Iterable[str]) -> None:
    for name in names:
        folder.delete(name)

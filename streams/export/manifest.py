"""The manifest of a folder of exported files: which files belong to it, hour by hour, and which export wrote them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import msgspec

from schemas.totals import HOUR_MS

FORMAT: Final = 1


class ExportedFile(msgspec.Struct, frozen=True):
    """A file: its path below the folder of the table, its rows, and its length."""

    name: str
    rows: int
    bytes: int


class ExportRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One export. It has replaced the hours from `from_` (inclusive) to `to` (exclusive), as ISO 8601 in UTC.

    `final_until` is the time below which nothing could change any more when it was made.
    """

    id: str
    made_at: str
    from_: str = msgspec.field(name="from")
    to: str
    source: str
    run: str
    final_until: str
    clickfold: str


class ExportedHour(msgspec.Struct, frozen=True):
    """The files of one hour, and the id of the export that wrote them."""

    export: str
    files: list[ExportedFile]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a folder holds. `hours` has only those with rows, by their path such as `date=2026-11-01/hour=07`.

    `replaced` are files of the exports before that are deleted once this manifest is written. Raises ValueError for
    another format.
    """

    format: int = FORMAT
    table: str
    sorted_by: list[str]
    exports: list[ExportRecord]
    hours: dict[str, ExportedHour]
    replaced: list[str] = []

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise ValueError(f"its format is {self.format}, not {FORMAT}")

    def files(self) -> list[ExportedFile]:
        """The files of all hours."""
        return [file for hour in self.hours.values() for file in hour.files]


def hour_path(hour_ms: int) -> str:
    """The folder of an hour, as Hive names it."""
    moment = datetime.fromtimestamp(hour_ms / 1000, UTC)
    return f"date={moment:%Y-%m-%d}/hour={moment:%H}"


def with_export(
    before: Manifest | None,
    export: ExportRecord,
    hours: dict[int, list[ExportedFile]],
    *,
    table: str,
    sorted_by: list[str],
    from_ms: int,
    to_ms: int,
) -> Manifest:
    """The manifest after an export: its hours are those of the export, the others are as before."""
    former = before.hours if before is not None else {}
    first, last = hour_path(from_ms), hour_path(to_ms - HOUR_MS)
    kept = {path: hour for path, hour in former.items() if not first <= path <= last}
    new = {hour_path(hour_ms): ExportedHour(export.id, files) for hour_ms, files in hours.items()}
    named = {hour.export for hour in kept.values()}
    return Manifest(
        table=table,
        sorted_by=sorted_by,
        exports=[*(each for each in (before.exports if before else ()) if each.id in named), export],
        hours=dict(sorted((kept | new).items())),
        replaced=[file.name for path, hour in former.items() if path not in kept for file in hour.files],
    )

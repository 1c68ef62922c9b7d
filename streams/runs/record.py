"""The record of each run in ClickHouse: written, found and listed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from schemas.errors import SettingsError

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

MINUTE_MS: Final = 60_000
# In place of the name of a run: live work, and what the views show.
LIVE: Final = ""
ACTIVE: Final = "active"
_NAME: Final = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]{0,63}")
# async_insert is on by default since ClickHouse 26.3. Then the answer would come before the rows are in the table.
SYNC_INSERT: Final = {"async_insert": 0}
_COLUMNS: Final = {
    "run": "String",
    "version": "UInt64",
    "kind": "LowCardinality(String)",
    "state": "LowCardinality(String)",
    "from_minute": "DateTime('UTC')",
    "to_minute": "DateTime('UTC')",
    "settings": "Map(String, String)",
    "offsets": "Map(String, Map(String, Array(Int64)))",
    "started_at": "DateTime64(3, 'UTC')",
    "finished_at": "DateTime64(3, 'UTC')",
}
_SELECT: Final = """
SELECT
    run, kind, state,
    1000 * toUnixTimestamp(from_minute), 1000 * toUnixTimestamp(to_minute),
    settings, offsets,
    toUnixTimestamp64Milli(started_at), toUnixTimestamp64Milli(finished_at), version
FROM runs
"""


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One backfill. It owns the minutes from `from_minute_ms` (inclusive) to `to_minute_ms` (exclusive).

    Figures of owned minutes are complete, and final once the run is. With equal ends it owns no minute. `settings` are
    its bounds, named as the fields of JoinBounds, and its dimensions, as text. `offsets` are the range that it read:
    `{"impressions": {"0": [first, next offset after the last]}}`. `finished_ms` is 0 while it is running. Of two
    records of a run the one with the higher `version` holds. Times are in ms UTC.
    """

    run: str
    kind: Literal["join", "models"]
    state: Literal["running", "complete"]
    from_minute_ms: int
    to_minute_ms: int
    settings: dict[str, str]
    offsets: dict[str, dict[str, list[int]]]
    started_ms: int
    finished_ms: int
    version: int


def checked_name(name: str) -> str:
    """The name, if a run may have it: 1 to 64 letters, digits, `_`, `.` and `-`, and no `-` first.

    `live` and `active` are refused, because they have a meaning in `--against`. Raises SettingsError.
    """
    if not _NAME.fullmatch(name) or name in ("live", ACTIVE):
        raise SettingsError(
            f"run name {name[:80]!r} is live or active, or is not 1 to 64 of A-Z a-z 0-9 _ . - with no - first; give a "
            "name such as 2026-11-01"
        )
    return name


def record_run(client: Client, record: RunRecord) -> None:
    """Writes the record; a repeated write changes nothing. Raises SettingsError for a wrong name or span."""
    checked_name(record.run)
    first_ms, end_ms = record.from_minute_ms, record.to_minute_ms
    if first_ms % MINUTE_MS or end_ms % MINUTE_MS or not 0 <= first_ms <= end_ms:
        raise SettingsError(
            f"run {record.run}: {first_ms} to {end_ms} ms are not whole minutes in order; round the first up and the "
            "last down"
        )
    row = (
        record.run, record.version, record.kind, record.state, first_ms // 1000, end_ms // 1000,
        record.settings, record.offsets, record.started_ms, record.finished_ms,
    )  # fmt: skip
    client.insert(
        "run_rows", [row], column_names=list(_COLUMNS), column_type_names=list(_COLUMNS.values()), settings=SYNC_INSERT
    )


def find_run(client: Client, name: str) -> RunRecord | None:
    """The newest record of a run, None when there is none. Raises SettingsError for a name that no run may have."""
    rows = client.query(_SELECT + "WHERE run = {run:String}", parameters={"run": checked_name(name)}).result_rows
    return _record(rows[0]) if rows else None


def all_runs(client: Client) -> list[RunRecord]:
    """The newest record of every run; runs that started last come first."""
    return [_record(row) for row in client.query(_SELECT + "ORDER BY started_at DESC, run").result_rows]


def known_run(client: Client, name: str) -> RunRecord:
    """The newest record of a run. Raises SettingsError when there is none, with the names of other runs."""
    found = find_run(client, name)
    if found is None:
        names = [record.run for record in all_runs(client)]
        others = f"there are {', '.join(names[:10])}" if names else "there is none yet; `clickfold backfill` makes one"
        raise SettingsError(f"there is no run {name!r}; {others}")
    return found


def _record(row: Any) -> RunRecord:
    run, kind, state, from_ms, to_ms, settings, offsets, started_ms, finished_ms, version = row
    return RunRecord(
        run=run,
        kind=kind,
        state=state,
        from_minute_ms=from_ms,
        to_minute_ms=to_ms,
        settings=dict(settings),
        offsets={log: {partition: list(span) for partition, span in each.items()} for log, each in offsets.items()},
        started_ms=started_ms,
        finished_ms=finished_ms,
        version=version,
    )

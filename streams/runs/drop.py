"""How much ClickHouse has of each run, and how a run is dropped."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from schemas.errors import SettingsError
from streams.runs.minutes import Span, spans_text
from streams.runs.promote import active_spans, pile_spans, plan_undo, write_promotion
from streams.runs.record import RunRecord, all_runs, checked_name, find_run, record_run
from streams.warehouse.rollups import ROLLUPS, wait_for
from streams.warehouse.shapes import SHAPES

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

TABLES: Final = tuple(sorted({shape.table for shape in SHAPES.values()}))


class Holding(NamedTuple):
    """What ClickHouse has of a run.

    `rows`: in all tables except roll-ups, all versions counted. `bytes`: its share of these tables on disk. `promoted`:
    the minutes for which views show it.
    """

    record: RunRecord
    rows: int
    bytes: int
    promoted: list[Span]


def holdings(client: Client) -> list[Holding]:
    """What ClickHouse has of every run with a record; runs that started last come first.

    Reads one column of each table.
    """
    rows: defaultdict[str, int] = defaultdict(int)
    sizes: defaultdict[str, float] = defaultdict(float)
    for table in TABLES:
        row_bytes, by_run = _rows_of(client, table)
        for run, count in by_run.items():
            rows[run] += count
            sizes[run] += count * row_bytes
    return [
        Holding(record, rows[record.run], round(sizes[record.run]), active_spans(client, record.run))
        for record in all_runs(client)
    ]


def drop_run(client: Client, name: str, *, unfinished: bool = False) -> int:
    """Deletes a run's rows, roll-ups and record. Returns how many rows that were, without roll-ups.

    After a crash it can be called again. Raises SettingsError when there is nothing of the run, when views show it, and
    when it is not complete, unless `unfinished` says that no backfill works on it.
    """
    record = find_run(client, name)
    rows = sum(_rows_of(client, table)[1].get(checked_name(name), 0) for table in TABLES)
    if record is None and not rows and not any(_holds(client, table, name) for table in ROLLUPS.values()):
        raise SettingsError(f"there is no run {name!r}; `clickfold runs` lists those there are")
    if record is not None and record.state != "complete" and not unfinished:
        raise SettingsError(
            f"run {name} is not complete: a backfill may be working on it; if none is, give --unfinished"
        )
    _refuse_shown(client, name)
    if record is not None:
        # Only complete runs are promoted, and a promotion checks that again after its insert. So from here on this run
        # cannot be promoted.
        record_run(client, msgspec.structs.replace(record, state="running", version=record.version + 1))
        try:
            _refuse_shown(client, name)
        except SettingsError:
            record_run(client, msgspec.structs.replace(record, version=record.version + 2))
            raise
    if pile_spans(client, name):
        # It is promoted under another run. Undoing that one would show a run without rows.
        write_promotion(client, plan_undo(client, name))
    for table in TABLES:
        _delete(client, table, name)
    # Roll-ups are deleted after the rows they are made from, and after a refresh that may still have read those rows.
    # Otherwise they would hold against a later run of this name, whose versions begin again. It does not wait for
    # refreshes on other replicas.
    for view, table in ROLLUPS.items():
        wait_for(client, view)
        _delete(client, table, name)
    # Last, so that a run that is dropped halfway is still listed.
    _delete(client, "run_rows", name)
    return rows


def prunable(client: Client, *, keep: int | None = None, finished_before_ms: int | None = None) -> list[str]:
    """Complete runs that are promoted nowhere, without the `keep` runs that finished last.

    With `finished_before_ms`, only those that finished before it.
    """
    free = [record for record in all_runs(client) if record.state == "complete" and not pile_spans(client, record.run)]
    free.sort(key=lambda record: (record.finished_ms, record.run), reverse=True)
    return [
        record.run
        for record in free[keep or 0 :]
        if finished_before_ms is None or record.finished_ms < finished_before_ms
    ]


def _refuse_shown(client: Client, name: str) -> None:
    shown = active_spans(client, name)
    if shown:
        raise SettingsError(
            f"run {name} is shown for {spans_text(shown)}; undo that first: `clickfold promote {name} --undo`"
        )


def _delete(client: Client, table: str, run: str) -> None:
    # A lightweight DELETE writes a mask to the parts that have the run; it finds them by the first column of the key.
    # The rows are gone when it returns, and merges free the disk. ALTER … DELETE would rewrite all rows of these parts,
    # those of live work too. A partition for each run would multiply the number of parts.
    if _holds(client, table, run):
        client.command(f"DELETE FROM {table} WHERE run = {{run:String}}", parameters={"run": run})


def _holds(client: Client, table: str, run: str) -> bool:
    sql = f"SELECT 1 FROM {table} WHERE run = {{run:String}} LIMIT 1"
    return bool(client.query(sql, parameters={"run": run}).result_rows)


def _rows_of(client: Client, table: str) -> tuple[float, dict[str, int]]:
    """The average bytes of a row on disk, and rows by run."""
    rows = client.query(f"SELECT run, count() FROM {table} GROUP BY run").result_rows
    by_run = {str(run): int(count) for run, count in rows}
    ((size,),) = client.query(
        "SELECT sum(bytes_on_disk) FROM system.parts "
        "WHERE active AND database = currentDatabase() AND table = {table:String}",
        parameters={"table": table},
    ).result_rows
    return int(size) / max(1, sum(by_run.values())), by_run

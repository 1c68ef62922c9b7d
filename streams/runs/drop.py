"""How much of each run ClickHouse holds, and how a run goes away."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from schemas.errors import SettingsError
from streams.runs.minutes import Span, named
from streams.runs.promote import active_spans, carry_out, pile_spans, plan_undo
from streams.runs.record import RunRecord, all_runs, checked_name, find_run, record_run
from streams.warehouse.rollups import ROLLUPS, wait_for
from streams.warehouse.shapes import SHAPES

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

TABLES: Final = tuple(sorted({shape.table for shape in SHAPES.values()}))


class Holding(NamedTuple):
    """A run, its rows in all tables but those rolled up with every version counted, its share of their bytes on disk,
    and where the views show it."""

    record: RunRecord
    rows: int
    bytes: int
    promoted: list[Span]


def holdings(client: Client) -> list[Holding]:
    """What there is of every recorded run, the one started last first. Reads one column of each table."""
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
    """Deletes a run's rows, what was rolled up from them, and its record; what is cut short is done again. Returns how
    many rows these were, without those rolled up.

    Raises SettingsError for a run there is nothing of, one the views show, and one that is not complete unless
    `unfinished` says that no backfill is at work on it.
    """
    record = find_run(client, name)
    held = sum(_rows_of(client, table)[1].get(checked_name(name), 0) for table in TABLES)
    if record is None and not held and not any(_holds(client, table, name) for table in ROLLUPS.values()):
        raise SettingsError(f"there is no run {name!r}; `clickfold runs` lists those there are")
    if record is not None and record.state != "complete" and not unfinished:
        raise SettingsError(
            f"run {name} is not complete: a backfill may be at work on it; when none is, say so by --unfinished"
        )
    _refuse_shown(client, name)
    if record is not None:
        # Promotions take complete runs only, and look again behind their insert: so none comes in between.
        record_run(client, msgspec.structs.replace(record, state="running", version=record.version + 1))
        try:
            _refuse_shown(client, name)
        except SettingsError:
            record_run(client, msgspec.structs.replace(record, version=record.version + 2))
            raise
    if pile_spans(client, name):
        # Under another run; undoing that one would show a run without rows.
        carry_out(client, plan_undo(client, name))
    for table in TABLES:
        _delete(client, table, name)
    # After the rows they are made from, and after any refresh that may have read those: what it writes is deleted too,
    # or it would hold against a later run of that name, whose versions begin anew. Not waited for are other replicas.
    for view, table in ROLLUPS.items():
        wait_for(client, view)
        _delete(client, table, name)
    # Last: a run dropped halfway is still listed.
    _delete(client, "run_rows", name)
    return held


def prunable(client: Client, *, keep: int | None = None, finished_before_ms: int | None = None) -> list[str]:
    """Complete runs not promoted anywhere, without the `keep` that finished last, or only those finished before."""
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
        raise SettingsError(f"run {name} is shown for {named(shown)}; `clickfold promote {name} --undo` comes first")


def _delete(client: Client, table: str, run: str) -> None:
    # A lightweight DELETE: runs share parts, and this writes a mask beside those that hold the run, found by the key's
    # first column, and is done when it returns. ALTER … DELETE would write all rows of those parts anew, live ones too;
    # a partition for each run would make live work's months as many parts as there are runs. Merges free the disk.
    if _holds(client, table, run):
        client.command(f"DELETE FROM {table} WHERE run = {{run:String}}", parameters={"run": run})


def _holds(client: Client, table: str, run: str) -> bool:
    sql = f"SELECT 1 FROM {table} WHERE run = {{run:String}} LIMIT 1"
    return bool(client.query(sql, parameters={"run": run}).result_rows)


def _rows_of(client: Client, table: str) -> tuple[float, dict[str, int]]:
    """Bytes a row takes on disk, and rows by run."""
    rows = client.query(f"SELECT run, count() FROM {table} GROUP BY run").result_rows
    by_run = {str(run): int(count) for run, count in rows}
    ((size,),) = client.query(
        "SELECT sum(bytes_on_disk) FROM system.parts "
        "WHERE active AND database = currentDatabase() AND table = {table:String}",
        parameters={"table": table},
    ).result_rows
    return int(size) / max(1, sum(by_run.values())), by_run

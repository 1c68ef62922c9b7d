"""`clickfold bench queries`: how long each named query takes over millions of minute totals."""

from __future__ import annotations

import tempfile
import time
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import orjson
import typer
from clickhouse_connect.driver.client import Client
from rich.console import Console
from rich.table import Table

from schemas.clickhouse.migrations import migrate
from schemas.clickhouse.queries import queries as named_queries
from schemas.clickhouse.queries import run_query
from streams.cli.bench.filling import CAMPAIGNS, LEDGER, OUTCOMES, PACING, TOTALS
from streams.cli.bench.reporting import progress_bar
from streams.cli.connections import warehouse_to_measure
from streams.warehouse.rollups import ROLLUPS, roll_up

_DATABASE = "clickfold_bench"
# Blocks in order of time, as the sink writes. Many inserts leave many parts to merge.
_BLOCK_ROWS = 500_000
# Queries are timed after this long at the latest, even if some merges still run.
_MERGE_TIMEOUT_S = 120.0
# A week is rolled up in one statement, which may take longer than the client's default of a minute.
_ANSWER_TIMEOUT_S = 900


@dataclass(frozen=True, slots=True)
class QueryTiming:
    """How long one query took the first time and the fastest time, and how many rows it returned."""

    name: str
    first_ms: float
    best_ms: float
    rows: int


def queries(
    minutes: Annotated[int, typer.Option(min=1_000, help="Minute totals in the table.")] = 10_000_000,
    outcomes: Annotated[
        int, typer.Option(min=1_000, help="Outcomes in the table, a fifth of them clicks.")
    ] = 3_000_000,
    repeats: Annotated[int, typer.Option(min=1, help="How often each query runs.")] = 3,
    json: Annotated[bool, typer.Option("--json", help="Only JSON on stdout.")] = False,
) -> None:
    """Time every named query with its defaults, over a week of minute totals and outcomes."""
    console = Console(stderr=True, quiet=json)
    with (
        tempfile.TemporaryDirectory(prefix="clickfold-bench-") as folder,
        warehouse_to_measure(Path(folder)) as (warehouse, _),
        closing(warehouse.connect_to_server(answer_s=_ANSWER_TIMEOUT_S)) as client,
    ):
        try:
            migrate(client, database=_DATABASE)
            for view in ROLLUPS:
                # Otherwise ClickHouse would roll up the whole week every minute while it is being filled.
                client.command(f"ALTER TABLE {view} MODIFY REFRESH EVERY 1 YEAR APPEND")
            _fill(client, console, "minute totals", TOTALS, minutes)
            _fill(client, console, "outcomes", OUTCOMES, outcomes)
            _fill(client, console, "pacing decisions", PACING, 1_440_000)
            _fill(client, console, "campaigns", CAMPAIGNS, 1_000)
            _fill(client, console, "ledger", LEDGER, 4)
            _roll_up(client, console)
            _wait_for_merges(client, console)
            timings = []
            with progress_bar(console, "queries", len(named_queries())) as show:
                for number, name in enumerate(named_queries()):
                    timings.append(_time_query(client, name, repeats))
                    show(number + 1)
        finally:
            client.command(f"DROP DATABASE IF EXISTS {_DATABASE} SYNC")
    if json:
        typer.echo(orjson.dumps([asdict(query) for query in timings]))
    else:
        Console(width=100).print(_table(timings))


def _fill(client: Client, console: Console, what: str, sql: str, rows: int) -> None:
    with progress_bar(console, what, rows) as show:
        for first in range(0, rows, _BLOCK_ROWS):
            count = min(_BLOCK_ROWS, rows - first)
            client.command(sql, parameters={"all": rows, "first": first, "count": count})
            show(first + count)


def _roll_up(client: Client, console: Console) -> None:
    """Fills the tables of hours and days from all minutes."""
    with console.status("rolling up …"):
        roll_up(client)


def _wait_for_merges(client: Client, console: Console) -> None:
    """Waits until ClickHouse has finished the merges it starts by itself."""
    with console.status("merging …"):
        end_s, idle_checks = time.monotonic() + _MERGE_TIMEOUT_S, 0
        while time.monotonic() < end_s:
            running = int(str(client.command("SELECT count() FROM system.merges")))
            idle_checks = 0 if running else idle_checks + 1
            # One merge may start another a moment later.
            if idle_checks == 5:
                return
            time.sleep(0.2)


def _time_query(client: Client, name: str, repeats: int) -> QueryTiming:
    took_ms: list[float] = []
    rows = 0
    for _ in range(repeats):
        started_s = time.perf_counter()
        rows = len(run_query(client, name).rows)
        took_ms.append((time.perf_counter() - started_s) * 1e3)
    return QueryTiming(name, round(took_ms[0], 1), round(min(took_ms), 1), rows)


def _table(timings: list[QueryTiming]) -> Table:
    table = Table(caption="milliseconds from request to parsed answer, over HTTP")
    for head in ("query", "first", "best", "rows"):
        table.add_column(head, justify="left" if head == "query" else "right")
    for query in sorted(timings, key=lambda query: -query.best_ms):
        table.add_row(query.name, f"{query.first_ms:,.0f}", f"{query.best_ms:,.0f}", f"{query.rows:,}")
    return table

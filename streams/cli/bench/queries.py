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
from schemas.clickhouse.queries import queries as named
from schemas.clickhouse.queries import run_query
from streams.cli.bench.filling import CAMPAIGNS, LEDGER, OUTCOMES, PACING, TOTALS
from streams.cli.bench.reporting import bar
from streams.cli.connections import warehouse_to_measure
from streams.warehouse.rollups import ROLLUPS, roll_up

_DATABASE = "clickfold_bench"
# As the sink writes: in order of time, and many parts to merge.
_BLOCK_ROWS = 500_000
_MERGED_S = 120.0
# Rolling up a week at once.
_ANSWER_S = 900


@dataclass(frozen=True, slots=True)
class Asked:
    """One query: milliseconds of the first time and of the fastest, and rows of its answer."""

    name: str
    first_ms: float
    best_ms: float
    rows: int


def queries(
    minutes: Annotated[int, typer.Option(min=1_000, help="Minute totals to ask.")] = 10_000_000,
    outcomes: Annotated[int, typer.Option(min=1_000, help="Outcomes to ask, a fifth of them clicks.")] = 3_000_000,
    repeats: Annotated[int, typer.Option(min=1, help="How often each is asked.")] = 3,
    json: Annotated[bool, typer.Option("--json", help="Only JSON on stdout.")] = False,
) -> None:
    """Every named query with its defaults, over a week of minute totals and outcomes."""
    console = Console(stderr=True, quiet=json)
    with (
        tempfile.TemporaryDirectory(prefix="clickfold-bench-") as folder,
        warehouse_to_measure(Path(folder)) as (warehouse, _),
        closing(warehouse.connect_to_server(answer_s=_ANSWER_S)) as client,
    ):
        try:
            migrate(client, database=_DATABASE)
            for view in ROLLUPS:
                # A week of rows inserted within ten minutes would be rolled up again every minute.
                client.command(f"ALTER TABLE {view} MODIFY REFRESH EVERY 1 YEAR APPEND")
            _filled(client, console, "minute totals", TOTALS, minutes)
            _filled(client, console, "outcomes", OUTCOMES, outcomes)
            _filled(client, console, "pacing decisions", PACING, 1_440_000)
            _filled(client, console, "campaigns", CAMPAIGNS, 1_000)
            _filled(client, console, "ledger", LEDGER, 4)
            _rolled_up(client, console)
            _merged(client, console)
            asked = []
            with bar(console, "asked", len(named())) as show:
                for number, name in enumerate(named()):
                    asked.append(_ask(client, name, repeats))
                    show(number + 1)
        finally:
            client.command(f"DROP DATABASE IF EXISTS {_DATABASE} SYNC")
    if json:
        typer.echo(orjson.dumps([asdict(query) for query in asked]))
    else:
        Console(width=100).print(_table(asked))


def _filled(client: Client, console: Console, what: str, sql: str, rows: int) -> None:
    with bar(console, what, rows) as show:
        for first in range(0, rows, _BLOCK_ROWS):
            count = min(_BLOCK_ROWS, rows - first)
            client.command(sql, parameters={"all": rows, "first": first, "count": count})
            show(first + count)


def _rolled_up(client: Client, console: Console) -> None:
    """Rolls up hours and days of all rows, once."""
    with console.status("rolling up …"):
        roll_up(client)


def _merged(client: Client, console: Console) -> None:
    """Waits until ClickHouse has no more merges to do, as between two loads. Forces none."""
    with console.status("merging …"):
        end_s, idle_looks = time.monotonic() + _MERGED_S, 0
        while time.monotonic() < end_s:
            busy = int(str(client.command("SELECT count() FROM system.merges")))
            idle_looks = 0 if busy else idle_looks + 1
            if idle_looks == 5:
                return
            time.sleep(0.2)


def _ask(client: Client, name: str, repeats: int) -> Asked:
    took_ms: list[float] = []
    rows = 0
    for _ in range(repeats):
        started_s = time.perf_counter()
        rows = len(run_query(client, name).rows)
        took_ms.append((time.perf_counter() - started_s) * 1e3)
    return Asked(name, round(took_ms[0], 1), round(min(took_ms), 1), rows)


def _table(asked: list[Asked]) -> Table:
    table = Table(caption="milliseconds from question to parsed answer, over HTTP")
    for head in ("query", "first", "best", "rows"):
        table.add_column(head, justify="left" if head == "query" else "right")
    for query in sorted(asked, key=lambda query: -query.best_ms):
        table.add_row(query.name, f"{query.first_ms:,.0f}", f"{query.best_ms:,.0f}", f"{query.rows:,}")
    return table

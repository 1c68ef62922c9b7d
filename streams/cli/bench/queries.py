"""`clickfold bench queries`: how long each named query takes over millions of minute totals."""

from __future__ import annotations

import tempfile
import time
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
from streams.cli.bench.ground import bar, some_warehouse
from streams.warehouse.client import connect
from streams.warehouse.rollups import ROLLUPS, roll_up

_DATABASE = "clickfold_bench"
# As the sink writes: in order of time, many parts for the merges.
_BLOCK_ROWS = 500_000
_MERGED_S = 120.0
# Rolling up a week at once.
_ANSWER_S = 900


@dataclass(frozen=True, slots=True)
class Asked:
    """One query: milliseconds at the first time and the fastest of all, and rows of its answer."""

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
    with tempfile.TemporaryDirectory(prefix="clickfold-bench-") as folder, some_warehouse(Path(folder)) as warehouse:
        client = connect(warehouse.url, user=warehouse.user, password=warehouse.password, answer_s=_ANSWER_S)
        try:
            migrate(client, database=_DATABASE)
            for view in ROLLUPS:
                # A week that comes within ten minutes would be rolled up again every minute, as no live work is.
                client.command(f"ALTER TABLE {view} MODIFY REFRESH EVERY 1 YEAR APPEND")
            _filled(client, console, "minute totals", TOTALS, minutes)
            _filled(client, console, "outcomes", OUTCOMES, outcomes)
            _filled(client, console, "pacing decisions", PACING, 1_440_000)
            _filled(client, console, "campaigns", CAMPAIGNS, 1_000)
            _filled(client, console, "ledger", LEDGER, 4)
            _rolled_up(client, console)
            _merged(client, console)
            asked = []
            with bar(console, "asked", len(named())) as at:
                for number, name in enumerate(named()):
                    asked.append(_ask(client, name, repeats))
                    at(number + 1)
        finally:
            client.command(f"DROP DATABASE IF EXISTS {_DATABASE} SYNC")
            client.close()
    if json:
        typer.echo(orjson.dumps([asdict(one) for one in asked]))
    else:
        Console(width=100).print(_table(asked))


def _filled(client: Client, console: Console, what: str, sql: str, rows: int) -> None:
    with bar(console, what, rows) as at:
        for first in range(0, rows, _BLOCK_ROWS):
            count = min(_BLOCK_ROWS, rows - first)
            client.command(sql, parameters={"all": rows, "first": first, "count": count})
            at(first + count)


def _rolled_up(client: Client, console: Console) -> None:
    """Hours and days of all that was filled in, once."""
    with console.status("rolling up …"):
        roll_up(client)


def _merged(client: Client, console: Console) -> None:
    """Waits until merges of their own accord have come to rest, as between two loads; nothing is forced."""
    with console.status("merging …"):
        end_s, calm = time.monotonic() + _MERGED_S, 0
        while time.monotonic() < end_s:
            busy = int(str(client.command("SELECT count() FROM system.merges")))
            calm = 0 if busy else calm + 1
            if calm == 5:
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
    for one in sorted(asked, key=lambda one: -one.best_ms):
        table.add_row(one.name, f"{one.first_ms:,.0f}", f"{one.best_ms:,.0f}", f"{one.rows:,}")
    return table

"""`clickfold verify`: what a run left behind, held against a batch computation over the same logs."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Annotated

import orjson
import typer
from clickhouse_connect.driver.client import Client
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from schemas.errors import SettingsError
from streams.cli.commands import options
from streams.cli.commands.query import told
from streams.cli.commands.up import some_cluster, the_data_dir
from streams.embedded.clickhouse import ClickHouse
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.verify.check import Check
from streams.verify.paced import Changelog, Paced, View
from streams.verify.run import Asked, Verification
from streams.warehouse.client import connect
from streams.worker.environment import Environment


class Format(StrEnum):
    """How the answer is written."""

    TABLE = "table"
    JSON = "json"


def verify(
    from_: options.From = "earliest",
    to: Annotated[str, typer.Option("--to", help="First records no longer judged; likewise, or latest.")] = "latest",
    window: options.Window = "30m",
    skew: options.Skew = "5s",
    lateness: options.Lateness = "2m",
    future: options.Future = "60s",
    dedupe: options.Dedupe = "",
    negative_rate: options.NegativeRate = 0.05,
    dimensions: options.Dimensions = options.DEFAULT_DIMENSIONS,
    partitions: Annotated[str, typer.Option(help="Join partitions by comma, such as 0,3. [default: all]")] = "",
    group: Annotated[str, typer.Option(help="The join's consumer group. [default: topic prefix + join]")] = "",
    sink_group: Annotated[str, typer.Option(help="The sink's consumer group. [default: topic prefix + sink]")] = "",
    pacing_url: Annotated[
        str, typer.Option(help="JSON view of the pacing worker, http://host:port/pacing. [default: its changelog]")
    ] = "",
    ended: Annotated[bool, typer.Option("--ended", help="The run was ended by SIGUSR1: nothing is open.")] = False,
    wait: Annotated[str, typer.Option(help="How long to wait for the sink and pacing to catch up.")] = "0s",
    rows: Annotated[int, typer.Option(min=1, help="Differences to show of each check.")] = 5,
    format_: Annotated[Format, typer.Option("--format", help="table or json.")] = Format.TABLE,
) -> None:
    """Recompute from Kafka alone what a run must have come to, and compare. Exit code 1 when anything differs.

    Beside live workers it compares up to what they have committed; what is not yet settled is not a difference.
    """
    bounds = options.join_bounds(
        window=window, skew=skew, lateness=lateness, future=future, dedupe=dedupe, negative_rate=negative_rate
    )
    cluster = some_cluster()
    asked = Asked(
        bounds=bounds,
        group=options.plain_name("--group", group or f"{cluster.prefix}join"),
        dimensions=options.names(dimensions),
        partitions=_numbers(partitions) if partitions else None,
        from_text=from_,
        to_text=to,
        ended=ended,
        wait_s=options.duration_ms("--wait", wait) / 1_000,
        most=rows,
    )
    with _some_client() as client, told():
        paced = _some_paced(cluster, pacing_url)
        with _bar() as bar:
            verification = Verification(
                cluster,
                asked,
                clickhouse=client,
                sink_group=sink_group,
                paced=paced,
                on_read=lambda records: bar.advance(task, records),
            )
            task = bar.add_task("records", total=verification.records)
            checks = verification.checks()
    absent = [name for name, there in (("ClickHouse", client), ("pacing", paced)) if there is None]
    if format_ is Format.JSON:
        sys.stdout.write(_json(verification, checks, absent))
        agree = not any(check.differing for check in checks)
    else:
        console = Console()
        agree = show_checks(checks, console)
        judged = ", ".join(f"{count:,} {log}" for log, count in verification.events.items())
        console.print(f"{judged} in {len(verification.partitions)} partitions were judged.")
        for name in absent:
            console.print(f"{name}: not compared, for none is named and none runs here.", style="dim")
    if not agree:
        raise typer.Exit(1)


def show_checks(checks: Sequence[Check], console: Console) -> bool:
    """One line a check, its first differences below; returns whether all agree."""
    console.print("[bold]Against the batch truth[/bold]:")
    for check in checks:
        if check.differing:
            console.print(f"  [red]✗ {check.name}: {check.differing:,} differ, {check.compared:,} compared[/red]")
            for line in check.first:
                console.print(f"      {line}", markup=False)
        else:
            console.print(f"  [green]✓[/green] {check.name}: {check.compared:,} agree")
        for note in check.notes:
            console.print(f"      {note}", markup=False, style="dim")
    return not any(check.differing for check in checks)


def _json(verification: Verification, checks: Sequence[Check], absent: Sequence[str]) -> str:
    answer = {
        "agree": not any(check.differing for check in checks),
        "events": verification.events,
        "partitions": verification.partitions,
        "absent": absent,
        "checks": [
            {
                "name": check.name,
                "compared": check.compared,
                "differing": check.differing,
                "first": check.first,
                "notes": check.notes,
            }
            for check in checks
        ],
    }
    return orjson.dumps(answer, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise SettingsError(f"--partitions is {text!r}; give numbers by comma, such as 0,3") from error


@contextlib.contextmanager
def _some_client() -> Iterator[Client | None]:
    """The ClickHouse of the environment or of the running embedded system; None without either."""
    environment = Environment()
    url, user, password = environment.clickhouse_url, environment.clickhouse_user, environment.clickhouse_password
    database = environment.clickhouse_database
    if not url:
        running = ClickHouse.attach(the_data_dir().absolute() / "clickhouse")
        if running is None:
            yield None
            return
        url, database = running.url, "ads"
    with told():
        client = connect(url, database=database, user=user, password=password.get_secret_value())
    with contextlib.closing(client):
        yield client


def _some_paced(cluster: Cluster, url: str) -> Paced | None:
    """The pacing worker's view, or its changelog; None where there was never one."""
    if url:
        return View(url)
    from streams.pacing.settings import PacingSettings  # Faust takes a second to import

    topic = PacingSettings(bootstrap_servers=cluster.bootstrap, topic_prefix=cluster.prefix).changelog
    count = Admin(cluster).partition_counts().get(topic)
    return Changelog(cluster, topic, count) if count is not None else None


def _bar() -> Progress:
    """On stderr, and only on a terminal: what is printed is the answer alone."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    return Progress(*columns, console=console, disable=not console.is_terminal, transient=True)

"""`clickfold bench sink`: rows a second from Kafka into ClickHouse, beside driver and engine alone."""

from __future__ import annotations

import os
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer
from clickhouse_connect.datatypes.registry import get_from_name
from clickhouse_connect.driver.client import Client
from confluent_kafka import Consumer, TopicPartition
from rich.console import Console
from rich.table import Table

from schemas.bounds import JoinBounds
from schemas.clickhouse.migrations import migrate
from schemas.clickhouse.queries import answer
from streams.cli.bench.reporting import aloud, bar, only_warnings, quiet
from streams.cli.connections import cluster_to_measure, warehouse_to_measure
from streams.inputs.traffic import fill
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.settings import reader_settings
from streams.sink.settings import BATCH_BYTES, BATCH_ROWS, Progress, SinkSettings
from streams.sink.worker import MOST_IN_FLIGHT, run
from streams.warehouse.client import Warehouse
from streams.warehouse.rows import Rows, rows_of
from streams.warehouse.shapes import SHAPES
from streams.warehouse.writer import insert_settings
from streams.worker.runners import JoinSettings, join_runner

if TYPE_CHECKING:
    from streams.embedded.clickhouse.engine import Engine

_ROLES = ("totals", "outcomes")
# Rows the driver and the engine are given, in blocks as large as the sink's: enough for a second or more of each.
_SAMPLE_ROWS = 640_000
_BOUND_S = 600.0


@dataclass(frozen=True, slots=True)
class Round:
    """Rows a second of one topic, in turn: the engine in this process, the driver over HTTP, the sink from Kafka to
    acknowledged. `spent_us` says what the sink took of a row, by stage."""

    engine: float
    driver: float
    sink: float
    spent_us: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _System:
    """What is measured. `pid` is ClickHouse's, 0 where it is not known; `engine` runs in this process."""

    cluster: Cluster
    warehouse: Warehouse
    pid: int
    engine: Engine


def sink(
    impressions: Annotated[int, typer.Option(min=10_000, help="Impressions to join first.")] = 1_000_000,
    partitions: Annotated[int, typer.Option(min=1, help="Partitions of the inputs.")] = 4,
    rounds: Annotated[int, typer.Option(min=1, help="How often each is measured, in turn.")] = 3,
    json: Annotated[bool, typer.Option("--json", help="Only JSON on stdout.")] = False,
) -> None:
    """The sink, from Kafka to acknowledged, against clickhouse-connect and the engine alone."""
    say = quiet if json else aloud
    console = Console(stderr=True, quiet=json)
    with (
        only_warnings(),
        tempfile.TemporaryDirectory(prefix="clickfold-bench-") as text,
        cluster_to_measure(Path(text)) as cluster,
        warehouse_to_measure(Path(text)) as (warehouse, pid),
    ):
        folder = Path(text)
        _joined(cluster, folder, console, impressions, partitions)
        measured: dict[str, list[Round]] = {}
        with _engine(folder) as engine:
            system = _System(cluster, warehouse, pid, engine)
            for role in _ROLES:
                blocks = _sampled(cluster, role, partitions)
                for number in range(rounds):
                    figures = _round(system, role, blocks, number)
                    measured.setdefault(role, []).append(figures)
                    say(
                        f"{role} {number + 1}: engine {figures.engine:,.0f}, clickhouse-connect {figures.driver:,.0f}, "
                        f"sink {figures.sink:,.0f} rows/s, ratio {figures.sink / figures.driver:.2f}"
                    )
    medians = {role: _median(of_role) for role, of_role in measured.items()}
    if json:
        typer.echo(orjson.dumps({role: asdict(figures) for role, figures in medians.items()}))
    else:
        Console(width=100).print(_table(medians))


def _joined(cluster: Cluster, folder: Path, console: Console, impressions: int, partitions: int) -> None:
    """Fills Kafka with what a join worker makes of that much traffic, every non-click kept."""
    Admin(cluster).create(partitions=partitions, shards=partitions)
    with bar(console, f"{impressions:,} impressions into Kafka", impressions) as show:
        filled = fill(
            cluster,
            impressions=impressions,
            seed=7,
            end_ms=int(time.time() * 1_000),
            progress=lambda sent, _: show(sent),
        )
    settings = JoinSettings(cluster=cluster, state_dir=folder / "state", bounds=JoinBounds(negative_rate=1.0))
    events = filled.impressions + filled.clicks
    with bar(console, "joined", events) as show, join_runner(settings, aloud) as runner:

        def stopped() -> bool:
            show(runner.progress.records)
            return False

        runner.run(stopped, lambda: True)


def _round(system: _System, role: str, blocks: Sequence[Rows], number: int) -> Round:
    database = f"bench_{role}_{number}"
    rows = sum(map(len, blocks))
    with closing(system.warehouse.connect_to_server()) as client:
        migrate(client, database=database)
        try:
            driver = rows / _timed(lambda: _insert(client, blocks))
            native = client.raw_query(f"SELECT * FROM {SHAPES[role].table} LIMIT {len(blocks[0])}", fmt="Native")
            made = answer(client, f"SHOW CREATE TABLE {SHAPES[role].table}").rows[0][0]
            inside = len(blocks) * len(blocks[0]) / _timed(_engine_inserts(system.engine, made, native, len(blocks)))
            client.command(f"TRUNCATE TABLE {SHAPES[role].table} SYNC")
            rate, spent_us = _sink(system, role, database)
        finally:
            client.command(f"DROP DATABASE {database} SYNC")
    return Round(inside, driver, rate, spent_us)


def _insert(client: Client, blocks: Sequence[Rows]) -> None:
    """The driver's own columnar insert of columns that are ready, as the sink calls it."""
    for rows in blocks:
        client.insert(
            rows.table,
            rows.columns,
            column_names=rows.names,
            column_types=[get_from_name(name) for name in rows.types],
            column_oriented=True,
            settings=insert_settings(clustered=False),
        )


def _engine_inserts(engine: Engine, made: str, native: bytes, times: int) -> Callable[[], None]:
    """Inserts one block so often into a table of the engine in this process, without HTTP or compression."""
    from streams.embedded.clickhouse.engine import Session  # the engine: 226 MB of memory, only where it is needed
    from streams.embedded.clickhouse.statement import Statement

    _, _, definition = made.partition("(")
    engine.run(Statement("DROP TABLE IF EXISTS default.rows SYNC"), Session())
    engine.run(Statement(f"CREATE TABLE default.rows ({definition}"), Session())

    def inserts() -> None:
        for _ in range(times):
            engine.run(Statement("INSERT INTO default.rows", rows=native, rows_format="Native"), Session())

    return inserts


def _sink(system: _System, role: str, database: str) -> tuple[float, dict[str, float]]:
    """Rows a second from Kafka to acknowledged, and microseconds a row by stage."""
    settings = SinkSettings(
        cluster=system.cluster,
        # On this machine's tables alone: the database is the benchmark's own.
        warehouse=replace(system.warehouse, database=database, cluster=""),
        group=f"bench-{uuid.uuid4().hex[:8]}",
        roles=(role,),
    )
    stop, progress = threading.Event(), Progress()
    worker = threading.Thread(target=run, args=(settings, stop, progress))
    own_s, there_s = time.process_time(), _cpu_s(system.pid)
    worker.start()
    acknowledged = [(time.perf_counter(), 0)]

    def caught_up() -> bool:
        rows = sum(progress.rows_written.values())
        if rows > acknowledged[-1][1]:
            acknowledged.append((time.perf_counter(), rows))
        return progress.caught_up

    _until(worker, caught_up)
    own_s, there_s = time.process_time() - own_s, _cpu_s(system.pid) - there_s
    stop.set()
    worker.join()
    rows = acknowledged[-1][1]
    wait_s = progress.stage_s["insert"] - progress.stage_cpu_s["insert"]
    spent = {f"{stage} (CPU)": seconds for stage, seconds in progress.stage_cpu_s.items()}
    spent |= {"waiting for ClickHouse": wait_s, "sink process (CPU)": own_s, "ClickHouse process (CPU)": there_s}
    (start_s, before), (end_s, after) = _steady(acknowledged)
    return (after - before) / (end_s - start_s), {name: seconds / rows * 1e6 for name, seconds in spent.items()}


def _steady(acknowledged: Sequence[tuple[float, int]]) -> tuple[tuple[float, int], tuple[float, int]]:
    """Of (moment, rows acknowledged by then): the first batch, before which the sink had to connect, and the last one
    while there were more records to read. With few batches the first and the last of all."""
    # Batches in flight when records run out have the machine to themselves, and the last one waits a second for more.
    first, last = 1, len(acknowledged) - 2 - MOST_IN_FLIGHT
    return (acknowledged[first], acknowledged[last]) if last > first else (acknowledged[0], acknowledged[-1])


def _until(worker: threading.Thread, met: Callable[[], bool]) -> None:
    end_s = time.monotonic() + _BOUND_S
    while not met():
        if not worker.is_alive() or time.monotonic() > end_s:
            raise RuntimeError("the sink ended, or did not get through within ten minutes")
        time.sleep(0.005)


def _sampled(cluster: Cluster, role: str, partitions: int) -> list[Rows]:
    """Rows of the topic's first records, in blocks as large as a batch of the sink."""
    consumer = Consumer(reader_settings(cluster, ends=False))
    consumer.assign([TopicPartition(cluster.topic(role), partition, 0) for partition in range(partitions)])
    blocks: list[Rows] = []
    values: list[bytes | None] = []
    size_bytes = 0
    while sum(map(len, blocks)) < _SAMPLE_ROWS:
        read = [message.value() for message in consumer.consume(1_000, 2.0) if message.error() is None]
        if not read:
            break
        values += read
        size_bytes += sum(len(value or b"") for value in read)
        if size_bytes >= BATCH_BYTES or len(values) >= BATCH_ROWS:
            blocks.append(rows_of(role, values, run="")[0])
            values, size_bytes = [], 0
    consumer.close()
    return blocks or [rows_of(role, values, run="")[0]]


@contextmanager
def _engine(folder: Path) -> Iterator[Engine]:
    from streams.embedded.clickhouse.engine import Engine

    engine = Engine(folder / "alone", max_execution_s=60.0)
    try:
        yield engine
    finally:
        engine.close()


def _timed(work: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    work()
    return time.perf_counter() - started_s


def _cpu_s(pid: int) -> float:
    """CPU seconds of a process so far; 0 where that is not known."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _median(rounds: Sequence[Round]) -> Round:
    """The round whose ratio of sink to driver is in the middle: figures of one moment."""
    return sorted(rounds, key=lambda each: each.sink / each.driver)[len(rounds) // 2]


def _table(medians: dict[str, Round]) -> Table:
    table = Table(caption="rows/s, then microseconds a row")
    table.add_column("")
    for role in medians:
        table.add_column(role, justify="right")
    figures: list[tuple[str, Callable[[Round], str]]] = [
        ("engine alone, in process", lambda figures: f"{figures.engine:,.0f}"),
        ("clickhouse-connect alone, over HTTP", lambda figures: f"{figures.driver:,.0f}"),
        ("sink, Kafka to acknowledged", lambda figures: f"{figures.sink:,.0f}"),
        ("sink : clickhouse-connect", lambda figures: f"{figures.sink / figures.driver:.2f}"),
    ]
    for name, shown in figures:
        table.add_row(name, *map(shown, medians.values()))
    for name in next(iter(medians.values())).spent_us:
        table.add_row(name, *(f"{figures.spent_us.get(name, 0.0):.2f}" for figures in medians.values()))
    return table

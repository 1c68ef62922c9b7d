"""`clickfold bench sink`: rows a second from Kafka into ClickHouse, and those of the driver and the engine alone."""

from __future__ import annotations

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
from streams.cli.bench.measuring import cpu_s
from streams.cli.bench.reporting import only_warnings, print_nothing, print_progress, progress_bar
from streams.cli.connections import cluster_to_measure, warehouse_to_measure
from streams.inputs.traffic import Traffic, fill
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
# Rows that the driver and the engine insert, in blocks as large as the sink's. Each takes a second or more for them.
_SAMPLE_ROWS = 640_000
# The sink writes about 150,000 outcomes a second: a million take 7 s. One that takes 600 s is stuck.
_TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class Round:
    """Rows a second of one topic: by the engine in this process, by the driver over HTTP, by the sink from Kafka to
    acknowledged. `spent_us` are the microseconds that the sink spends on a row, by stage."""

    engine: float
    driver: float
    sink: float
    spent_us: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _System:
    """What is measured. `pid` is the process of ClickHouse, 0 when unknown; `engine` runs in this process."""

    cluster: Cluster
    warehouse: Warehouse
    pid: int
    engine: Engine


def sink(
    impressions: Annotated[
        int, typer.Option(min=10_000, help="Impressions that are joined first, to give the sink something to write.")
    ] = 1_000_000,
    partitions: Annotated[int, typer.Option(min=1, help="Partitions of the inputs.")] = 4,
    rounds: Annotated[int, typer.Option(min=1, help="How often each is measured; they take turns.")] = 3,
    json: Annotated[bool, typer.Option("--json", help="Only JSON on stdout.")] = False,
) -> None:
    """Compare the speed of the sink, from Kafka to acknowledged rows, with clickhouse-connect and the engine alone."""
    say = print_nothing if json else print_progress
    console = Console(stderr=True, quiet=json)
    with (
        only_warnings(),
        tempfile.TemporaryDirectory(prefix="clickfold-bench-") as text,
        cluster_to_measure(Path(text)) as cluster,
        warehouse_to_measure(Path(text)) as (warehouse, pid),
    ):
        folder = Path(text)
        _fill_outputs(cluster, folder, console, impressions, partitions)
        measured: dict[str, list[Round]] = {}
        with _open_engine(folder) as engine:
            system = _System(cluster, warehouse, pid, engine)
            for role in _ROLES:
                blocks = _sample_blocks(cluster, role, partitions)
                for number in range(rounds):
                    figures = _measure(system, role, blocks, number)
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


def _fill_outputs(cluster: Cluster, folder: Path, console: Console, impressions: int, partitions: int) -> None:
    """Fills Kafka with the outputs of a join worker for so many impressions. Every unclicked one becomes an outcome."""
    Admin(cluster).create(partitions=partitions, shards=partitions)
    with progress_bar(console, f"{impressions:,} impressions into Kafka", impressions) as show:
        traffic = Traffic(impressions=impressions, seed=7, end_ms=int(time.time() * 1_000))
        filled = fill(cluster, traffic, progress=lambda sent, _: show(sent))
    settings = JoinSettings(cluster=cluster, state_dir=folder / "state", bounds=JoinBounds(negative_rate=1.0))
    events = filled.impressions + filled.clicks
    with progress_bar(console, "joined", events) as show, join_runner(settings, print_progress) as runner:

        def stopped() -> bool:
            show(runner.progress.records)
            return False

        runner.run(stopped, lambda: True)


def _measure(system: _System, role: str, blocks: Sequence[Rows], number: int) -> Round:
    database = f"bench_{role}_{number}"
    rows = sum(map(len, blocks))
    with closing(system.warehouse.connect_to_server()) as client:
        migrate(client, database=database)
        try:
            driver = rows / _timed(lambda: _insert(client, blocks))
            native = client.raw_query(f"SELECT * FROM {SHAPES[role].table} LIMIT {len(blocks[0])}", fmt="Native")
            create_sql = answer(client, f"SHOW CREATE TABLE {SHAPES[role].table}").rows[0][0]
            engine = (
                len(blocks) * len(blocks[0]) / _timed(_engine_insert(system.engine, create_sql, native, len(blocks)))
            )
            client.command(f"TRUNCATE TABLE {SHAPES[role].table} SYNC")
            rate, spent_us = _sink_speed(system, role, database)
        finally:
            client.command(f"DROP DATABASE {database} SYNC")
    return Round(engine, driver, rate, spent_us)


def _insert(client: Client, blocks: Sequence[Rows]) -> None:
    """Inserts decoded columns with clickhouse-connect, with the same call as the sink."""
    for rows in blocks:
        client.insert(
            rows.table,
            rows.columns,
            column_names=rows.names,
            column_types=[get_from_name(name) for name in rows.types],
            column_oriented=True,
            settings=insert_settings(clustered=False),
        )


def _engine_insert(engine: Engine, create_sql: str, native: bytes, times: int) -> Callable[[], None]:
    """A function that inserts a block `times` times into the engine in this process, without HTTP or compression."""
    from streams.embedded.clickhouse.exchange import Session  # the engine takes 226 MB of memory
    from streams.embedded.clickhouse.statement import Statement

    _, _, definition = create_sql.partition("(")
    engine.run(Statement("DROP TABLE IF EXISTS default.rows SYNC"), Session())
    engine.run(Statement(f"CREATE TABLE default.rows ({definition}"), Session())

    def insert() -> None:
        for _ in range(times):
            engine.run(Statement("INSERT INTO default.rows", rows=native, rows_format="Native"), Session())

    return insert


def _sink_speed(system: _System, role: str, database: str) -> tuple[float, dict[str, float]]:
    """Rows a second of the sink from Kafka to acknowledged, and microseconds a row by stage."""
    settings = SinkSettings(
        cluster=system.cluster,
        # Only this server has the database of the benchmark, so there is no quorum to wait for.
        warehouse=replace(system.warehouse, database=database, cluster=""),
        group=f"bench-{uuid.uuid4().hex[:8]}",
        roles=(role,),
    )
    stop, progress = threading.Event(), Progress()
    worker = threading.Thread(target=run, args=(settings, stop, progress))
    sink_cpu_s, clickhouse_cpu_s = time.process_time(), cpu_s(system.pid)
    worker.start()
    acknowledged = [(time.perf_counter(), 0)]

    def caught_up() -> bool:
        rows = sum(progress.rows_written.values())
        if rows > acknowledged[-1][1]:
            acknowledged.append((time.perf_counter(), rows))
        return progress.caught_up

    _wait(worker, caught_up)
    sink_cpu_s = time.process_time() - sink_cpu_s
    clickhouse_cpu_s = cpu_s(system.pid) - clickhouse_cpu_s
    stop.set()
    worker.join()
    rows = acknowledged[-1][1]
    wait_s = progress.stage_s["insert"] - progress.stage_cpu_s["insert"]
    spent = {f"{stage} (CPU)": seconds for stage, seconds in progress.stage_cpu_s.items()}
    spent |= {
        "waiting for ClickHouse": wait_s,
        "sink process (CPU)": sink_cpu_s,
        "ClickHouse process (CPU)": clickhouse_cpu_s,
    }
    (start_s, before), (end_s, after) = _steady(acknowledged)
    return (after - before) / (end_s - start_s), {name: seconds / rows * 1e6 for name, seconds in spent.items()}


def _steady(acknowledged: Sequence[tuple[float, int]]) -> tuple[tuple[float, int], tuple[float, int]]:
    """Two of these pairs of time and rows acknowledged by then, between which the sink worked at full load.

    The first is that of the first batch, because the sink connects before it. The second is the last one while there
    were records to read. With few batches they are the first and the last pair.
    """
    # When all records are read, the batches in flight are inserted faster, and the last one waits a second for rows.
    first, last = 1, len(acknowledged) - 2 - MOST_IN_FLIGHT
    return (acknowledged[first], acknowledged[last]) if last > first else (acknowledged[0], acknowledged[-1])


def _wait(worker: threading.Thread, condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + _TIMEOUT_S
    while not condition():
        if not worker.is_alive() or time.monotonic() > end_s:
            raise RuntimeError(
                f"the sink ended, or did not write all rows within {_TIMEOUT_S:.0f} s; see its log above"
            )
        time.sleep(0.005)


def _sample_blocks(cluster: Cluster, role: str, partitions: int) -> list[Rows]:
    """Decoded rows of the first records of the topic, in blocks as large as a batch of the sink."""
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
        size_bytes += SHAPES[role].weight * sum(len(value or b"") for value in read)
        if size_bytes >= BATCH_BYTES or len(values) >= BATCH_ROWS:
            blocks.append(rows_of(role, values, run="")[0])
            values, size_bytes = [], 0
    consumer.close()
    return blocks or [rows_of(role, values, run="")[0]]


@contextmanager
def _open_engine(folder: Path) -> Iterator[Engine]:
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


def _median(rounds: Sequence[Round]) -> Round:
    """The round with the median ratio of sink to driver. All its figures were measured within seconds."""
    return sorted(rounds, key=lambda each: each.sink / each.driver)[len(rounds) // 2]


def _table(medians: dict[str, Round]) -> Table:
    table = Table(caption="rows a second; below them microseconds a row")
    table.add_column("")
    for role in medians:
        table.add_column(role, justify="right")
    figures: list[tuple[str, Callable[[Round], str]]] = [
        ("engine alone, in process", lambda figures: f"{figures.engine:,.0f}"),
        ("clickhouse-connect alone, over HTTP", lambda figures: f"{figures.driver:,.0f}"),
        ("sink, Kafka to acknowledged", lambda figures: f"{figures.sink:,.0f}"),
        ("sink : clickhouse-connect", lambda figures: f"{figures.sink / figures.driver:.2f}"),
    ]
    for name, format_figure in figures:
        table.add_row(name, *map(format_figure, medians.values()))
    for name in next(iter(medians.values())).spent_us:
        table.add_row(name, *(f"{figures.spent_us.get(name, 0.0):.2f}" for figures in medians.values()))
    return table

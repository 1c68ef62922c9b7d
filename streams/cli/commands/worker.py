"""`clickfold worker …`: the four always-on processes."""

from __future__ import annotations

import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Annotated, Any

import orjson
import typer
from prometheus_client.core import Metric

from streams.cli.commands import options
from streams.cli.commands.options import DEFAULT_STATE_DIR
from streams.engine.runner import Pace, Runner
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.state.disk import Folder
from streams.worker.environment import Environment
from streams.worker.lifecycle import end_on_signal, persistently, stop_on_signals
from streams.worker.memory import budget_bytes, collect_rarely, trim
from streams.worker.metrics import runner_metrics
from streams.worker.observe import Health, log_to_stderr, served

app = typer.Typer(help="Run one always-on worker against the Kafka and ClickHouse named by the environment.")

# A turn takes well under a second; a recovery that loads a large checkpoint may take some.
_STUCK_S = 60.0
# 6 to 22 ms of work each time.
_TRIM_S = 10.0


@app.command()
def join(
    window: options.Window = "30m",
    skew: options.Skew = "5s",
    lateness: options.Lateness = "2m",
    future: options.Future = "60s",
    dedupe: options.Dedupe = "",
    negative_rate: options.NegativeRate = 0.05,
    idle: Annotated[str, typer.Option(help="Silence after which an input with no lag stops holding back.")] = "5s",
    checkpoint: Annotated[
        str, typer.Option(help="How often state is made durable; recovery folds from there.")
    ] = "15s",
    dimensions: options.Dimensions = options.DEFAULT_DIMENSIONS,
    state_budget: options.StateBudget = "auto",
    group: options.Group = "",
    state_dir: options.StateDir = DEFAULT_STATE_DIR,
    snapshots: options.Snapshots = "",
    snapshot_every: options.SnapshotEvery = "60s",
    slot: options.Slot = "0",
    static: options.Static = True,
    accept_loss: options.AcceptLoss = False,
    metrics_port: options.MetricsPort = 0,
    metrics_host: options.MetricsHost = "127.0.0.1",
) -> None:
    """Join impressions to clicks: outcomes, totals, rejects, ledger."""
    from streams.worker.runners import JoinSettings, join_runner  # each worker imports only its own

    bounds = options.join_bounds(
        window=window, skew=skew, lateness=lateness, future=future, dedupe=dedupe, negative_rate=negative_rate
    )
    slot = options.plain_name("--slot", slot)
    cluster = answering(Environment())
    settings = JoinSettings(
        cluster=cluster,
        bounds=bounds,
        dimensions=options.names(dimensions),
        group=_group(group, cluster, "join"),
        state_dir=state_dir,
        snapshots=snapshots,
        snapshot_every_s=options.duration_ms("--snapshot-every", snapshot_every) / 1_000,
        slot=slot,
        static=static,
        accept_loss=accept_loss,
        pace=Pace(
            idle_s=options.duration_ms("--idle", idle) / 1_000,
            checkpoint_s=options.duration_ms("--checkpoint", checkpoint) / 1_000,
            state_bytes=budget_bytes("--state-budget", state_budget),
        ),
    )
    _run("join", lambda warn: join_runner(settings, warn), host=metrics_host, port=metrics_port)


@app.command()
def learn(
    group: options.Group = "",
    grace: Annotated[
        str, typer.Option(help="How far join partitions may be apart before metrics leave some out.")
    ] = "15m",
    state_dir: options.StateDir = DEFAULT_STATE_DIR,
    snapshots: options.Snapshots = "",
    snapshot_every: options.SnapshotEvery = "60s",
    slot: options.Slot = "0",
    static: options.Static = True,
    accept_loss: options.AcceptLoss = False,
    metrics_port: options.MetricsPort = 0,
    metrics_host: options.MetricsHost = "127.0.0.1",
) -> None:
    """Learn the click probability from outcomes: models and their metrics."""
    from online_models.settings import LearnerSettings
    from streams.worker.runners import LearnSettings, learn_runner

    slot = options.plain_name("--slot", slot)
    cluster = answering(Environment())
    settings = LearnSettings(
        cluster=cluster,
        group=_group(group, cluster, "learn"),
        state_dir=state_dir,
        snapshots=snapshots,
        snapshot_every_s=options.duration_ms("--snapshot-every", snapshot_every) / 1_000,
        slot=slot,
        static=static,
        accept_loss=accept_loss,
        model=LearnerSettings(grace_ms=options.duration_ms("--grace", grace)),
    )
    _run("learn", lambda warn: learn_runner(settings, warn), host=metrics_host, port=metrics_port)


@app.command()
def pace(
    state_dir: options.StateDir = DEFAULT_STATE_DIR,
    web_host: Annotated[str, typer.Option(help="Address of the JSON view.")] = "127.0.0.1",
    web_port: Annotated[int, typer.Option(min=1, max=65_535, help="Port of the JSON view /pacing.")] = 6066,
    slot: options.Slot = "0",
    metrics_port: options.MetricsPort = 0,
    metrics_host: options.MetricsHost = "127.0.0.1",
) -> None:
    """Pace budgets from campaign totals (a Faust app): decisions, and a JSON view of spend against plan."""
    from streams.pacing.settings import PacingSettings  # Faust takes a second to import
    from streams.pacing.worker import run
    from streams.worker.metrics import pace_metrics

    log_to_stderr()
    data_dir = state_dir / "pace" / options.plain_name("--slot", slot)
    Folder(data_dir).close()
    cluster = answering(Environment())
    security = cluster.security
    settings = PacingSettings(
        bootstrap_servers=cluster.bootstrap,
        security_protocol=security.get("security.protocol", "PLAINTEXT"),
        sasl_mechanism=security.get("sasl.mechanism", "PLAIN"),
        sasl_username=security.get("sasl.username", ""),
        sasl_password=security.get("sasl.password", ""),
        ssl_ca_location=security.get("ssl.ca.location", ""),
        topic_prefix=cluster.prefix,
        data_dir=str(data_dir),
        web_host=web_host,
        web_port=options.free_port("--web-port", web_host, web_port),
        instance_id=f"pace-{slot}",
    )
    ready = threading.Event()

    def asked() -> dict[str, Any]:
        with urllib.request.urlopen(f"http://{web_host}:{web_port}/pacing", timeout=2.0) as answer:
            view: dict[str, Any] = orjson.loads(answer.read())
            return view

    def collect() -> Iterator[Metric]:
        if ready.is_set():
            yield from pace_metrics(asked())

    health = Health(live=lambda: not ready.is_set() or bool(asked()), ready=ready.is_set)
    with served(host=metrics_host, port=metrics_port, health=health, collect=collect):
        run(settings, on_ready=ready.set)


@app.command()
def sink(
    batch_rows: Annotated[int, typer.Option(min=1, help="Rows of a full batch.")] = 50_000,
    batch_s: Annotated[float, typer.Option(min=0.01, help="Age at which a batch is written anyway, seconds.")] = 1.0,
    group: options.Group = "",
    metrics_port: options.MetricsPort = 0,
    metrics_host: options.MetricsHost = "127.0.0.1",
) -> None:
    """Write totals, outcomes and the rest to ClickHouse, acknowledged before offsets are committed."""
    from streams.sink.settings import Progress, SinkSettings
    from streams.sink.worker import run
    from streams.worker.metrics import sink_metrics

    log = log_to_stderr().bind(worker="sink")
    environment = Environment()
    clickhouse_url = environment.clickhouse()
    cluster = answering(environment)
    settings = SinkSettings(
        bootstrap=cluster.bootstrap,
        kafka=cluster.client(),
        clickhouse_url=clickhouse_url,
        clickhouse_user=environment.clickhouse_user,
        clickhouse_password=environment.clickhouse_password.get_secret_value(),
        database=environment.clickhouse_database,
        cluster=environment.clickhouse_cluster,
        topic_prefix=cluster.prefix,
        group_id=_group(group, cluster, "sink"),
        batch_rows=batch_rows,
        batch_s=batch_s,
    )
    progress = Progress()
    health = Health(live=lambda: True, ready=lambda: progress.partitions > 0 and not progress.waiting_for)
    options.free_port("--metrics-port", metrics_host, metrics_port)
    with served(host=metrics_host, port=metrics_port, health=health, collect=lambda: sink_metrics(progress)):
        collect_rarely()
        stop, inserts_before = stop_on_signals(), 0

        def run_once() -> None:
            nonlocal inserts_before
            inserts_before = progress.inserts
            run(settings, stop, progress)

        persistently(run_once, stop, log, advanced=lambda: progress.inserts > inserts_before)


def answering(environment: Environment) -> Cluster:
    """The Kafka of the environment, once it has answered. Raises Transient: at start nobody has it to wait for."""
    cluster = environment.cluster()
    Admin(cluster).partition_counts()
    return cluster


def _group(given: str, cluster: Cluster, name: str) -> str:
    """The consumer group, and with it the transactional id: two prefixes on one cluster must not fence each other."""
    return options.plain_name("--group", given or f"{cluster.prefix}{name}")


def _run(
    name: str, open_runner: Callable[[Callable[[str], None]], AbstractContextManager[Runner]], *, host: str, port: int
) -> None:
    """Runs a runner until a signal; after a passing fault it begins again from what is committed."""
    options.free_port("--metrics-port", host, port)
    log = log_to_stderr().bind(worker=name)
    stop, ended = stop_on_signals(), end_on_signal()
    current: list[Runner] = []
    turned_s = trimmed_s = time.monotonic()

    def stopped() -> bool:
        nonlocal turned_s, trimmed_s
        turned_s = time.monotonic()
        if turned_s - trimmed_s > _TRIM_S:
            trim()
            trimmed_s = turned_s
        return stop.is_set()

    def collect() -> Iterator[Metric]:
        for runner in current:
            yield from runner_metrics(runner)

    health = Health(
        live=lambda: time.monotonic() - turned_s < _STUCK_S,
        ready=lambda: any(runner.ready() for runner in current),
    )

    def run_once() -> None:
        current.clear()
        with open_runner(lambda text: log.warning("recovery", text=text)) as runner:
            current.append(runner)
            log.info("started")
            runner.run(stopped, ended.is_set)
            log.info("stopped", commits=runner.progress.commits, records=runner.progress.records)

    with served(host=host, port=port, health=health, collect=collect):
        persistently(run_once, stop, log, advanced=lambda: any(runner.progress.commits for runner in current))

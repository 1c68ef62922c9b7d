"""`clickfold worker …`: the workers, whose processes `streams.worker.lifecycle` runs."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Annotated

import typer

from streams.cli.commands import options
from streams.cli.commands.options import DEFAULT_STATE_DIR
from streams.cli.extra_dimensions import read_extra_dimensions
from streams.cli.lazy import command_group
from streams.worker.environment import Environment

app = command_group("Run one always-on worker against the Kafka and ClickHouse named by the environment.")


@app.command()
def join(
    window: options.Window = "30m",
    skew: options.Skew = "5s",
    lateness: options.Lateness = "2m",
    future: options.Future = "60s",
    dedupe: options.Dedupe = "",
    jump: options.Jump = options.AUTO,
    negative_rate: options.NegativeRate = 0.05,
    idle: Annotated[
        str,
        typer.Option(
            help="How long an input may be silent, with all of it read, before the join stops waiting for it."
        ),
    ] = "5s",
    close_idle: options.CloseIdle = options.AUTO,
    commit: Annotated[
        str, typer.Option(help="How often the join commits: outcomes can be read only then. From 20ms to 5s.")
    ] = "100ms",
    checkpoint: Annotated[
        str, typer.Option(help="How often a checkpoint is written, from which recovery continues.")
    ] = "15s",
    dimensions: options.Dimensions = options.DEFAULT_DIMENSIONS,
    extra_dimensions: options.ExtraDimensionsFile = None,
    input_map: options.InputMap = "",
    state_budget: options.StateBudget = "auto",
    group: options.Group = "",
    state_dir: options.StateDir = DEFAULT_STATE_DIR,
    snapshots: options.Snapshots = "",
    snapshot_every: options.SnapshotEvery = "60s",
    slot: options.Slot = "0",
    static: options.Static = True,
    accept_loss: options.AcceptLoss = False,
    compression: options.Compression = None,
    metrics_port: options.MetricsPort = 0,
    metrics_host: options.MetricsHost = "127.0.0.1",
) -> None:
    """Join impressions to clicks: outcomes, totals, rejects, ledger."""
    from streams.cli.mapping import read_input_maps
    from streams.engine.pace import Pace
    from streams.worker.lifecycle import run_worker
    from streams.worker.memory import budget_bytes
    from streams.worker.runners import JoinSettings, join_runner
    from streams.worker.workers import RunnerWorker

    bounds = options.join_bounds(
        window=window,
        skew=skew,
        lateness=lateness,
        future=future,
        dedupe=dedupe,
        negative_rate=negative_rate,
        jump_ms=options.jump_ms(jump),
    )
    slot = options.plain_name("--slot", slot)
    cluster = Environment().cluster(compression=compression)
    settings = JoinSettings(
        cluster=cluster,
        bounds=bounds,
        dimensions=options.names(dimensions),
        extra=read_extra_dimensions(extra_dimensions),
        maps=read_input_maps(input_map),
        group=options.plain_name("--group", group or cluster.group("join")),
        state_dir=state_dir,
        snapshots=snapshots,
        snapshot_every_s=options.duration_ms("--snapshot-every", snapshot_every) / 1_000,
        slot=slot,
        static=static,
        accept_loss=accept_loss,
        pace=Pace(
            commit_s=options.commit_s(commit),
            idle_s=options.duration_ms("--idle", idle) / 1_000,
            close_idle_s=options.close_idle_ms(close_idle) / 1_000,
            checkpoint_s=options.duration_ms("--checkpoint", checkpoint) / 1_000,
            state_bytes=budget_bytes("--state-budget", state_budget),
        ),
    )
    # Last, because only now a broker is asked: all that can be wrong without one has been said.
    bounds, silent_ms = options.as_inputs_want(cluster, bounds, jump=jump, close_idle=close_idle)
    settings = replace(settings, bounds=bounds, pace=replace(settings.pace, close_idle_s=silent_ms / 1_000))
    worker = RunnerWorker("join", partial(join_runner, settings))
    run_worker(worker, cluster, metrics_host=metrics_host, metrics_port=metrics_port)


@app.command()
def ingest(
    source: Annotated[list[str], options.SOURCE],
    new_mapping: options.NewMapping = False,
    commit: Annotated[
        str, typer.Option(help="How often ingest commits: its events can be read only then. From 20ms to 5s.")
    ] = "100ms",
    group: options.Group = "",
    state_dir: options.StateDir = DEFAULT_STATE_DIR,
    slot: options.Slot = "0",
    accept_loss: options.AcceptLoss = False,
    compression: options.Compression = None,
    metrics_port: options.MetricsPort = 0,
    metrics_host: options.MetricsHost = "127.0.0.1",
) -> None:
    """Map records of any topics to impressions and clicks, keyed by impression id, exactly once."""
    from streams.cli.mapping import sources_of, value_schemas
    from streams.engine.pace import Pace
    from streams.worker.ingest import IngestSettings, IngestWorker
    from streams.worker.lifecycle import run_worker

    with value_schemas() as schemas:
        sources = sources_of(source, schemas)
        slot = options.plain_name("--slot", slot)
        cluster = Environment().cluster(compression=compression)
        settings = IngestSettings(
            cluster=cluster,
            sources=sources,
            schemas=schemas,
            new_mapping=new_mapping,
            group=options.plain_name("--group", group or cluster.group("ingest")),
            state_dir=state_dir,
            slot=slot,
            accept_loss=accept_loss,
            pace=Pace(commit_s=options.commit_s(commit)),
        )
        run_worker(IngestWorker(settings), cluster, metrics_host=metrics_host, metrics_port=metrics_port)


@app.command()
def learn(
    group: options.Group = "",
    model: options.LearnedModel = None,
    config: options.ModelConfigFile = None,
    grace: options.Grace = "15m",
    state_dir: options.StateDir = DEFAULT_STATE_DIR,
    snapshots: options.Snapshots = "",
    snapshot_every: options.SnapshotEvery = "60s",
    slot: options.Slot = "0",
    static: options.Static = True,
    accept_loss: options.AcceptLoss = False,
    compression: options.Compression = None,
    metrics_port: options.MetricsPort = 0,
    metrics_host: options.MetricsHost = "127.0.0.1",
) -> None:
    """Learn the click probability from outcomes: models and their metrics."""
    from streams.worker.lifecycle import run_worker
    from streams.worker.runners import LearnSettings, learn_runner
    from streams.worker.workers import RunnerWorker

    slot = options.plain_name("--slot", slot)
    cluster = Environment().cluster(compression=compression)
    settings = LearnSettings(
        cluster=cluster,
        group=options.plain_name("--group", group or cluster.group("learn")),
        state_dir=state_dir,
        snapshots=snapshots,
        snapshot_every_s=options.duration_ms("--snapshot-every", snapshot_every) / 1_000,
        slot=slot,
        static=static,
        accept_loss=accept_loss,
        model=options.learner_settings(model=model, config=config, grace=grace),
    )
    worker = RunnerWorker("learn", partial(learn_runner, settings))
    run_worker(worker, cluster, metrics_host=metrics_host, metrics_port=metrics_port)


@app.command()
def pace(
    state_dir: options.StateDir = DEFAULT_STATE_DIR,
    web_host: Annotated[str, typer.Option(help="Address of what --web-port serves.")] = "127.0.0.1",
    web_port: Annotated[
        int, typer.Option(min=1, max=65_535, help="Port of the JSON view /pacing, /metrics, /livez and /readyz.")
    ] = 6066,
    slot: options.Slot = "0",
    window: Annotated[
        str, typer.Option(help="Attribution window of the join: so long clicks on what was shown may be charged.")
    ] = "30m",
    compression: options.Compression = None,
    metrics_port: options.MetricsPort = 0,
    metrics_host: options.MetricsHost = "127.0.0.1",
) -> None:
    """Pace budgets by campaign totals: decisions, and a JSON view of spend and plan."""
    from streams.pacing.settings import PacingSettings
    from streams.worker.lifecycle import run_worker
    from streams.worker.workers import PacingWorker

    slot = options.plain_name("--slot", slot)
    cluster = Environment().cluster(compression=compression)
    settings = PacingSettings(
        cluster=cluster,
        group=cluster.group("pace"),
        data_dir=state_dir / "pace" / slot,
        web_host=web_host,
        web_port=web_port,
        slot=slot,
        window_s=options.duration_ms("--window", window) // 1_000,
    )
    worker = PacingWorker(settings)
    run_worker(worker, cluster, metrics_host=metrics_host, metrics_port=metrics_port, web=worker.web)


@app.command()
def sink(
    batch_rows: Annotated[int, typer.Option(min=1, help="Rows of a full batch.")] = 50_000,
    batch_s: Annotated[
        float, typer.Option(min=0.01, help="Age in seconds at which a batch is inserted even if it is not full.")
    ] = 1.0,
    group: options.Group = "",
    accept_loss: options.AcceptLoss = False,
    compression: options.Compression = None,
    metrics_port: options.MetricsPort = 0,
    metrics_host: options.MetricsHost = "127.0.0.1",
) -> None:
    """Write totals, outcomes and all other outputs to ClickHouse; offsets are committed once it has acknowledged."""
    from streams.sink.settings import SinkSettings
    from streams.worker.lifecycle import run_worker
    from streams.worker.workers import SinkWorker

    environment = Environment()
    warehouse, cluster = environment.warehouse(), environment.cluster(compression=compression)
    settings = SinkSettings(
        cluster=cluster,
        warehouse=warehouse,
        group=options.plain_name("--group", group or cluster.group("sink")),
        batch_rows=batch_rows,
        batch_s=batch_s,
        accept_loss=accept_loss,
    )
    run_worker(SinkWorker(settings), cluster, metrics_host=metrics_host, metrics_port=metrics_port)

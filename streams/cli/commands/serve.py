"""`clickfold serve`: click probabilities and pacing decisions over HTTP."""

from __future__ import annotations

from typing import Annotated

import typer

from streams.cli.commands import options
from streams.cli.connections import kafka_cluster


def serve(
    host: Annotated[str, typer.Option(envvar="CLICKFOLD_SERVE_HOST", help="Address of --port.")] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            min=1,
            max=65_535,
            envvar="CLICKFOLD_SERVE_PORT",
            help="Port of /v1/predict, /v1/model, /v1/campaigns, /openapi.json, /metrics, /livez and /readyz.",
        ),
    ] = 8090,
    model: Annotated[str, typer.Option(help="Name of the model that serves.")] = "ctr",
    shard: Annotated[int, typer.Option(min=0, help="Partition of outcomes that it learns from.")] = 0,
    metrics_port: options.MetricsPort = 0,
    metrics_host: options.MetricsHost = "127.0.0.1",
) -> None:
    """Answer calls over HTTP: click probabilities of candidates, pacing decisions on their campaigns."""
    from streams.serve.settings import ServeSettings
    from streams.worker.environment import Environment
    from streams.worker.lifecycle import run_worker
    from streams.worker.serving import ServeWorker

    cluster = kafka_cluster()
    settings = ServeSettings(
        cluster=cluster,
        host=host,
        port=port,
        model=options.plain_name("--model", model),
        shard=shard,
        campaigns_token=Environment().clickfold_campaigns_token.get_secret_value(),
    )
    worker = ServeWorker(settings)
    run_worker(worker, cluster, metrics_host=metrics_host, metrics_port=metrics_port, web=worker.web)

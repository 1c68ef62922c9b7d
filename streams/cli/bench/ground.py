"""What benchmarks stand on: a Kafka and a ClickHouse, of the environment or brought along, and how they report."""

from __future__ import annotations

import logging
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from streams.kafka.cluster import Cluster
from streams.worker.environment import Environment


@contextmanager
def some_cluster(folder: Path) -> Iterator[Cluster]:
    """The cluster of the environment, or an embedded broker while the block runs; under a prefix of its own."""
    environment = Environment()
    prefix = f"bench{uuid.uuid4().hex[:8]}."
    if environment.kafka_bootstrap_servers:
        yield Cluster(environment.kafka_bootstrap_servers, environment.security(), prefix)
        return
    from streams.embedded.broker import Broker  # only where nothing was named

    with Broker(folder / "kafka") as broker:
        yield Cluster(broker.bootstrap, prefix=prefix)


@dataclass(frozen=True, slots=True)
class Warehouse:
    """A ClickHouse to measure; `pid` of its process, 0 where it runs elsewhere."""

    url: str
    user: str = ""
    password: str = ""
    pid: int = 0


@contextmanager
def some_warehouse(folder: Path) -> Iterator[Warehouse]:
    """The ClickHouse of the environment, or an embedded one while the block runs."""
    environment = Environment()
    if environment.clickhouse_url:
        password = environment.clickhouse_password.get_secret_value()
        yield Warehouse(environment.clickhouse_url, environment.clickhouse_user, password)
        return
    from streams.embedded.clickhouse import ClickHouse

    with ClickHouse(folder / "clickhouse") as server:
        yield Warehouse(server.url, pid=server.pid)


@contextmanager
def only_warnings() -> Iterator[None]:
    """Workers run in this process log warnings alone, on stderr, while the block runs."""
    before = structlog.get_config()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    try:
        yield
    finally:
        structlog.configure(**before)


@contextmanager
def bar(console: Console, text: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar while the block runs, told how many of `total` are done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(text, total=total)
        yield lambda done: progress.update(task, completed=done)


def aloud(text: str) -> None:
    """Says how far it is, on stderr."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201  # progress


def quiet(text: str) -> None:
    """Says nothing: stdout is for JSON."""

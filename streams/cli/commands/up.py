"""`clickfold up` and `clickfold down`: the embedded system in the background, on a folder that lasts."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from clickhouse_connect.driver.client import Client
from rich.console import Console

from schemas.errors import SettingsError
from streams.cli.commands import options
from streams.embedded.clickhouse import ClickHouse
from streams.embedded.stack import PARTS, WORKERS, Stack, require_embedded
from streams.kafka.cluster import Cluster
from streams.warehouse.client import connect
from streams.worker.environment import Environment

DEFAULT_DATA_DIR = Path(".clickfold/data")
DataDir = Annotated[Path, typer.Option(envvar="CLICKFOLD_DATA_DIR", help="Folder of the embedded system; it lasts.")]


def up(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    partitions: Annotated[int, typer.Option(min=1, max=64, help="Partitions, when the topics are made.")] = 4,
    window: options.Window = "30m",
    skew: options.Skew = "5s",
    lateness: options.Lateness = "2m",
    negative_rate: options.NegativeRate = 0.05,
) -> None:
    """Start Kafka, ClickHouse and all workers in the background; what runs already is left alone."""
    require_embedded()
    options.join_bounds(
        window=window, skew=skew, lateness=lateness, future="60s", dedupe="", negative_rate=negative_rate
    )
    console = Console()
    join_options = ["--window", window, "--skew", skew, "--lateness", lateness, "--negative-rate", str(negative_rate)]
    stack = Stack.attach(data_dir) or Stack(data_dir)
    running = stack.running()
    stack.configure(partitions=partitions, options={"join": join_options})
    with console.status("starting …") as status:
        try:
            stack.start(status.update, detached=True)
        except BaseException:
            stack.undo_start()
            raise
    if len(running) == len(PARTS):
        console.print("already running")
    console.print(f"Kafka       {stack.broker.bootstrap}")
    console.print(f"ClickHouse  {stack.clickhouse.url}")
    for name in WORKERS:
        console.print(f"{name:<11} {stack.url(name)}")
    console.print(
        f"Logs and data in {stack.folder}. Produce to ads.impressions and ads.clicks; `clickfold query` asks."
    )
    if data_dir.absolute() != the_data_dir().absolute():
        console.print("`clickfold query` and `clickfold models` find it by CLICKFOLD_DATA_DIR, set to that folder.")


def down(data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Stop what `clickfold up` started; data stays."""
    console = Console()
    stack = Stack.attach(data_dir)
    if stack is None:
        console.print(f"nothing runs on {data_dir}")
        return
    with console.status("stopping …"):
        stack.stop()
    console.print("stopped")


def the_data_dir() -> Path:
    """The folder of the embedded system for commands that take no --data-dir."""
    return Path(os.environ.get("CLICKFOLD_DATA_DIR") or DEFAULT_DATA_DIR)


def some_cluster() -> Cluster:
    """The Kafka of the environment, or of the running embedded system. Raises SettingsError when there is neither."""
    environment = Environment()
    if not environment.kafka_bootstrap_servers:
        running = Stack.attach(the_data_dir())
        if running is not None:
            return running.cluster
    return environment.cluster()


@contextlib.contextmanager
def some_clickhouse() -> Iterator[Client]:
    """The ClickHouse of the environment, of the running embedded system, or of its last state, opened for the while."""
    environment = Environment()
    if environment.clickhouse_url:
        yield connect(
            environment.clickhouse_url,
            database=environment.clickhouse_database,
            user=environment.clickhouse_user,
            password=environment.clickhouse_password.get_secret_value(),
        )
        return
    folder = the_data_dir().absolute() / "clickhouse"
    if not folder.exists():
        raise SettingsError(
            f"CLICKHOUSE_URL is empty and {the_data_dir()} holds no data; set it, run `clickfold up` first, or name "
            "its --data-dir in CLICKFOLD_DATA_DIR"
        )
    running = ClickHouse.attach(folder)
    if running is not None:
        yield connect(running.url, database="ads")
        return
    with ClickHouse(folder, asks_password=False) as opened:
        yield connect(opened.url, database="ads")

"""The Kafka and ClickHouse a command talks to: those of the environment, or those of the embedded system."""

from __future__ import annotations

import contextlib
import logging
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from schemas.errors import ClickfoldError, SettingsError
from streams.kafka.cluster import Cluster
from streams.worker.environment import Environment

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from streams.warehouse.client import Warehouse

DEFAULT_DATA_DIR: Final = Path(".clickfold/data")
# The server's version, and the address that clickhouse-connect adds.
_TAIL: Final = re.compile(r"\s*\(version [^)]*\).*$")


def data_dir() -> Path:
    """The folder of the embedded system, for commands without --data-dir."""
    return Path(Environment().clickfold_data_dir or DEFAULT_DATA_DIR)


def kafka_cluster() -> Cluster:
    """The Kafka of the environment or of the running embedded system. Raises SettingsError without either."""
    environment = Environment()
    if not environment.kafka_bootstrap_servers:
        from streams.embedded.stack import Stack  # only where the environment names none

        running = Stack.attach(data_dir())
        if running is not None:
            return running.cluster
    return environment.cluster()


def warehouse() -> Warehouse:
    """The ClickHouse of the environment or of the running embedded system. Raises SettingsError without either."""
    return warehouse_if_any() or Environment().warehouse()


def warehouse_if_any() -> Warehouse | None:
    """The ClickHouse of the environment or of the running embedded system; None without either."""
    environment = Environment()
    if environment.clickhouse_url:
        return environment.warehouse()
    from streams.embedded.clickhouse import ClickHouse
    from streams.warehouse.client import Warehouse

    running = ClickHouse.attach(_clickhouse_folder())
    return Warehouse(running.url) if running is not None else None


@contextlib.contextmanager
def clickhouse_client() -> Iterator[Client]:
    """A client of that ClickHouse, closed at the end; its errors within the block are sentences.

    Where the embedded system is down but has left data, its ClickHouse is started for the block. Raises SettingsError
    when there is none.
    """
    with contextlib.ExitStack() as cleanup:
        found = warehouse_if_any()
        if found is None:
            found = cleanup.enter_context(_stopped_warehouse())
        cleanup.enter_context(clickhouse_errors_as_sentences())
        yield cleanup.enter_context(contextlib.closing(found.connect()))


@contextlib.contextmanager
def _stopped_warehouse() -> Iterator[Warehouse]:
    """The data the embedded system has left, served during the block."""
    folder = _clickhouse_folder()
    if not folder.exists():
        raise SettingsError(
            f"CLICKHOUSE_URL is empty and {data_dir()} holds no data; set it, run `clickfold up` first, or name "
            "its --data-dir in CLICKFOLD_DATA_DIR"
        )
    from streams.embedded.clickhouse import ClickHouse
    from streams.warehouse.client import Warehouse

    with ClickHouse(folder, asks_password=False) as server:
        yield Warehouse(server.url)


def _clickhouse_folder() -> Path:
    return data_dir().absolute() / "clickhouse"


@contextlib.contextmanager
def cluster_to_measure(folder: Path) -> Iterator[Cluster]:
    """The cluster of the environment, or a broker that runs in `folder` during the block; with a prefix of its own."""
    environment = Environment()
    prefix = f"bench{uuid.uuid4().hex[:8]}."
    if environment.kafka_bootstrap_servers:
        yield environment.cluster(prefix=prefix)
        return
    from streams.embedded.broker import Broker

    with Broker(folder / "kafka") as broker:
        yield Cluster(broker.bootstrap, prefix=prefix)


@contextlib.contextmanager
def warehouse_to_measure(folder: Path) -> Iterator[tuple[Warehouse, int]]:
    """The ClickHouse of the environment, or one that runs in `folder` during the block; and the id of its process, 0
    where that is not known."""
    environment = Environment()
    if environment.clickhouse_url:
        yield environment.warehouse(), 0
        return
    from streams.embedded.clickhouse import ClickHouse
    from streams.warehouse.client import Warehouse

    with ClickHouse(folder / "clickhouse") as server:
        yield Warehouse(server.url), server.pid


@contextlib.contextmanager
def clickhouse_errors_as_sentences() -> Iterator[None]:
    """Raises errors of ClickHouse within the block as a ClickfoldError of one sentence: its number and what it says."""
    from clickhouse_connect.driver.exceptions import ClickHouseError

    from streams.warehouse.failures import sentence

    # It would log what is raised anyway.
    logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)
    try:
        yield
    except ClickHouseError as failure:
        code = getattr(failure, "code", None)
        # The server's own words come behind clickhouse-connect's, which name the URL and may span lines.
        _, server, text = str(failure).rpartition("DB::Exception: ")
        text = _TAIL.sub("", text.strip().partition("\n")[0]) if server else sentence(failure)
        name = f"ClickHouse error {code}" if code else "ClickHouse"
        raise ClickfoldError(f"{name}: {text or 'no reason given'}") from failure

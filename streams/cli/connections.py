"""The Kafka and ClickHouse that a command uses: those of the environment, or those of the embedded system."""

from __future__ import annotations

import contextlib
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
# The end of an error's text: the server's version, and the address that clickhouse-connect adds.
_VERSION_AND_ADDRESS: Final = re.compile(r"\s*\(version [^)]*\).*$")


def data_dir() -> Path:
    """The folder of the embedded system, for commands without --data-dir."""
    return Path(Environment().clickfold_data_dir or DEFAULT_DATA_DIR)


def kafka_cluster() -> Cluster:
    """The Kafka of the environment or of the running embedded system. Raises SettingsError without either."""
    environment = Environment()
    if not environment.kafka_bootstrap_servers:
        from streams.embedded.stack import Stack  # not needed with a real Kafka

        running = Stack.attach(data_dir())
        if running is not None:
            return running.cluster
    return environment.cluster()


def options_of_up(worker: str) -> list[tuple[str, str]]:
    """The options that `clickfold up` gave a worker, such as `--window`; none unless `kafka_cluster` is its Kafka."""
    if Environment().kafka_bootstrap_servers:
        return []
    from streams.embedded.stack import Stack  # not needed with a real Kafka

    words = ((Stack(data_dir()).kept_options() or {}).get(worker, "")).split()
    return list(zip(words[::2], words[1::2], strict=True))


def notes_of_up() -> set[str]:
    """What `clickfold up` has noted in its folder."""
    from streams.embedded.stack import Stack

    return Stack(data_dir()).kept_notes()


def warehouse() -> Warehouse:
    """The ClickHouse of the environment or of the running embedded system. Raises SettingsError without either."""
    return warehouse_if_any() or Environment().warehouse()


def warehouse_if_any() -> Warehouse | None:
    """The ClickHouse of the environment or of the running embedded system; None without either."""
    environment = Environment()
    if environment.clickhouse_url:
        return environment.warehouse()
    from streams.embedded.clickhouse import ClickHouse

    running = ClickHouse.attach(_clickhouse_folder())
    return running.warehouse if running is not None else None


@contextlib.contextmanager
def clickhouse_client() -> Iterator[Client]:
    """A client of the ClickHouse of the environment or of the embedded system, closed at the end of the block.

    If the embedded system is stopped but has data, its ClickHouse runs during the block. ClickHouse's errors in the
    block become a ClickfoldError of one sentence. Raises SettingsError when there is neither.
    """
    with contextlib.ExitStack() as cleanup:
        clickhouse = warehouse_if_any()
        if clickhouse is None:
            clickhouse = cleanup.enter_context(_stopped_warehouse())
        cleanup.enter_context(clickhouse_errors_as_sentences())
        yield cleanup.enter_context(contextlib.closing(clickhouse.connect()))


@contextlib.contextmanager
def _stopped_warehouse() -> Iterator[Warehouse]:
    """Runs the ClickHouse of the stopped embedded system during the block."""
    folder = _clickhouse_folder()
    if not folder.exists():
        raise SettingsError(
            f"CLICKHOUSE_URL is empty and {data_dir()} holds no data; set it, run `clickfold up` first, or name "
            "its --data-dir in CLICKFOLD_DATA_DIR"
        )
    from streams.embedded.clickhouse import ClickHouse

    with ClickHouse(folder, keeps_password=True) as server:
        yield server.warehouse


def _clickhouse_folder() -> Path:
    return data_dir().absolute() / "clickhouse"


@contextlib.contextmanager
def cluster_to_measure(folder: Path) -> Iterator[Cluster]:
    """The cluster of the environment, or a broker in `folder` during the block; topics get a new random prefix."""
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
    """The ClickHouse of the environment, or one in `folder` during the block; and its process id, 0 when unknown."""
    environment = Environment()
    if environment.clickhouse_url:
        yield environment.warehouse(), 0
        return
    from streams.embedded.clickhouse import ClickHouse

    with ClickHouse(folder / "clickhouse", keeps_password=True) as server:
        yield server.warehouse, server.pid


@contextlib.contextmanager
def clickhouse_errors_as_sentences() -> Iterator[None]:
    """Turns errors of ClickHouse in the block into a ClickfoldError: one sentence with ClickHouse's code and text."""
    from clickhouse_connect.driver.exceptions import ClickHouseError

    from streams.warehouse.failures import sentence

    try:
        yield
    except ClickHouseError as failure:
        code = getattr(failure, "code", None)
        # The server's text follows that of clickhouse-connect, which names the URL and may have several lines.
        _, server, text = str(failure).rpartition("DB::Exception: ")
        text = _VERSION_AND_ADDRESS.sub("", text.strip().partition("\n")[0]) if server else sentence(failure)
        name = f"ClickHouse error {code}" if code else "ClickHouse"
        raise ClickfoldError(f"{name}: {text or 'it gave no reason'}") from failure

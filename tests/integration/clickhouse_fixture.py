"""One embedded ClickHouse for the whole test session, each test in a database of its own; and raw requests to one."""

import http.client
import itertools
import urllib.parse
from collections.abc import Iterable, Iterator

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client

from schemas.clickhouse.migrations import migrate
from streams.embedded.clickhouse import ClickHouse
from tests.golden import insert_golden

_databases = itertools.count(1)


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    """A running server that takes orders for faults; never stop or kill it."""
    with ClickHouse(tmp_path_factory.mktemp("clickhouse"), allow_faults=True) as server:
        yield server


@pytest.fixture
def database(clickhouse: ClickHouse) -> Iterator[Client]:
    """A client in an empty database, dropped afterwards; faults not used up are gone too."""
    name = f"test_{next(_databases)}"
    with clickhouse_connect.get_client(dsn=clickhouse.url) as admin:
        admin.command(f"CREATE DATABASE {name}")
        with clickhouse_connect.get_client(dsn=clickhouse.url, database=name) as client:
            yield client
        clickhouse.order_faults([])
        admin.command(f"DROP DATABASE {name} SYNC")


@pytest.fixture(scope="session")
def golden(clickhouse: ClickHouse) -> Iterator[Client]:
    """A client on a database with the small world of `tests.golden`; for reading only."""
    with clickhouse_connect.get_client(dsn=clickhouse.url) as client:
        migrate(client, database="golden")
        insert_golden(client)
        yield client
        client.command("DROP DATABASE golden SYNC")


def request(
    server: ClickHouse,
    body: bytes | Iterable[bytes] = b"",
    *,
    method: str = "POST",
    path: str = "/",
    headers: dict[str, str] | None = None,
    **query: str,
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """One raw request on a connection of its own: status, headers, body."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        target = path + ("?" + urllib.parse.urlencode(query) if query else "")
        connection.request(method, target, body, headers or {})
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


@pytest.fixture
def ads(database: Client) -> Client:
    """A client on a database with all tables and no rows."""
    migrate(database, database=str(database.database))
    return database

"""One embedded ClickHouse for the whole test session, each test in a database of its own; and raw requests to one."""

import http.client
import itertools
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client

from schemas.clickhouse.migrations import migrate
from streams.embedded.clickhouse import ClickHouse
from tests.golden import insert_golden

_databases = itertools.count(1)


class Migrated:
    """A database that tests use one after another, as long as they change only rows."""

    def __init__(self, server: ClickHouse, name: str) -> None:
        self.name = name
        self._server = server
        with self.connect(name="") as client:
            migrate(client, database=name)
            self._made = self._definitions(client)

    def connect(self, *, name: str) -> Client:
        return clickhouse_connect.get_client(dsn=self._server.url, database=name or None)

    def emptied(self) -> bool:
        """Deletes all rows; False if a test has changed more than rows."""
        with self.connect(name="") as client:
            if self._definitions(client) != self._made:
                return False
            for name, (engine, _) in self._made.items():
                if engine.endswith("MergeTree") and name != "migrations":
                    client.command(f"TRUNCATE TABLE {self.name}.{name} SYNC")
            for engine, statement in self._made.values():
                # A new one has not read the former rows.
                if engine == "Dictionary":
                    client.command(statement.replace("CREATE DICTIONARY", "CREATE OR REPLACE DICTIONARY", 1))
        return True

    def drop(self) -> None:
        with self.connect(name="") as client:
            client.command(f"DROP DATABASE IF EXISTS {self.name} SYNC")

    def _definitions(self, client: Client) -> dict[str, tuple[str, str]]:
        """Engine and statement of each table, and for the table of migrations its rows."""
        sql = f"SELECT name, engine, create_table_query FROM system.tables WHERE database = '{self.name}'"
        found = {str(name): (str(engine), str(query)) for name, engine, query in client.query(sql).result_rows}
        if "migrations" in found:
            rows = client.query(f"SELECT * FROM {self.name}.migrations ORDER BY ALL").result_rows
            found["migrations"] = (found["migrations"][0], repr(rows))
        return found


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


def address(query: Mapping[str, str]) -> str:
    """The path of a request with these parameters, whatever their names are."""
    return "/?" + urllib.parse.urlencode(query)


def multipart(files: dict[str, bytes], fields: dict[str, str]) -> tuple[bytes, dict[str, str]]:
    """A form, and its header."""
    parts = [
        f'; name="{name}"; filename="{name}.tsv"\r\nContent-Type: a/b\r\n\r\n'.encode() + rows
        for name, rows in files.items()
    ]
    parts += [f'; name="{name}"\r\n\r\n{value}'.encode() for name, value in fields.items()]
    body = b"".join(b"--of-form\r\nContent-Disposition: form-data" + part + b"\r\n" for part in parts)
    return body + b"--of-form--\r\n", {"Content-Type": "multipart/form-data; boundary=of-form"}


@pytest.fixture(scope="session")
def migrated() -> list[Migrated]:
    """Databases with all tables and no rows that no test uses now: to make one takes seconds."""
    return []


@pytest.fixture
def ads(clickhouse: ClickHouse, migrated: list[Migrated]) -> Iterator[Client]:
    """A client on a database with all tables and no rows; faults not used up are gone afterwards."""
    own = migrated.pop() if migrated else Migrated(clickhouse, f"ads_{next(_databases)}")
    with own.connect(name=own.name) as client:
        yield client
    clickhouse.order_faults([])
    if own.emptied():
        migrated.append(own)
    else:
        own.drop()

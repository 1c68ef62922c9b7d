"""One embedded ClickHouse for the whole test session, each test in a database of its own; and raw requests to one."""

from __future__ import annotations

import http.client
import itertools
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from schemas.clickhouse.migrations import migrate, migrations
from streams.embedded.clickhouse import ClickHouse
from tests.golden import insert_golden

NAME = "NAME"
ORDER = ("ReplacingMergeTree", "View", "Dictionary", "MaterializedView")
UNKNOWN_TABLE = 60
_databases = itertools.count(1)


class Migrated:
    """A database that tests use one after another, as long as they change only rows."""

    def __init__(self, server: ClickHouse, name: str, *, like: Mapping[str, str] | None = None) -> None:
        """`like` is what `statements` gave of another one: a copy takes a fifth of what all migrations take."""
        self.name = name
        self._server = server
        with self.connect(name="") as client:
            if like is None:
                migrate(client, database=name)
            else:
                self._copy(client, like)
            self._made = self._definitions(client)

    def statements(self) -> dict[str, str]:
        """What made each table and view, tables first, with NAME for this database."""
        made = [(ORDER.index(engine), name, statement) for name, (engine, statement) in self._made.items() if engine]
        return {name: statement.replace(f"{self.name}.", f"{NAME}.") for _, name, statement in sorted(made)}

    def _copy(self, client: Client, statements: Mapping[str, str]) -> None:
        client.command(f"CREATE DATABASE {self.name}")
        client.database = self.name
        waiting = list(statements.values())
        while waiting:
            left = [statement for statement in waiting if not self._created(client, statement)]
            assert len(left) < len(waiting), left
            waiting = left
        rows = [(one.number, one.name, one.digest) for one in migrations()]
        client.insert("migrations", rows, column_names=["number", "name", "digest"])

    def _created(self, client: Client, statement: str) -> bool:
        """False if it reads a view that is still to be made."""
        try:
            client.command(statement.replace(f"{NAME}.", f"{self.name}."))
        except DatabaseError as refused:
            if refused.code != UNKNOWN_TABLE:
                raise
            return False
        return True

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
        """Engine and statement of each table, and the rows of the table of migrations."""
        sql = f"SELECT name, engine, create_table_query FROM system.tables WHERE database = '{self.name}'"
        found = {str(name): (str(engine), str(query)) for name, engine, query in client.query(sql).result_rows}
        if "migrations" in found:
            rows = client.query(f"SELECT * FROM {self.name}.migrations ORDER BY ALL").result_rows
            found["rows of migrations"] = ("", repr(rows))
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
def golden(migrated: Pool) -> Iterator[Client]:
    """A client on a database with the small world of `tests.golden`; for reading only."""
    own = migrated.make("golden")
    with own.connect(name=own.name) as client:
        insert_golden(client)
        yield client
    own.drop()


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


class Pool:
    """Databases with all tables and no rows, which tests take and give back. The first is made by the migrations."""

    def __init__(self, server: ClickHouse) -> None:
        self._server = server
        self._free: list[Migrated] = []
        self._like: Mapping[str, str] | None = None

    def take(self) -> Migrated:
        """One that no test uses now."""
        return self._free.pop() if self._free else self.make(f"ads_{next(_databases)}")

    def make(self, name: str) -> Migrated:
        """One of this name that is not for other tests: whoever makes it drops it."""
        made = Migrated(self._server, name, like=self._like)
        self._like = self._like or made.statements()
        return made

    def give_back(self, used: Migrated) -> None:
        """Keeps it for the next test, or drops it if more than rows was changed."""
        self._server.order_faults([])
        if used.emptied():
            self._free.append(used)
        else:
            used.drop()


@pytest.fixture(scope="session")
def migrated(clickhouse: ClickHouse) -> Pool:
    """Databases for `ads`: all migrations take seconds."""
    return Pool(clickhouse)


@pytest.fixture
def ads(migrated: Pool) -> Iterator[Client]:
    """A client on a database with all tables and no rows; faults not used up are gone afterwards."""
    own = migrated.take()
    with own.connect(name=own.name) as client:
        yield client
    migrated.give_back(own)


@pytest.fixture
def fresh(clickhouse: ClickHouse, migrated: Pool) -> Iterator[Client]:
    """As `ads`, on a database of its own: for tests that change tables and views, or what a view remembers."""
    own = migrated.make(f"fresh_{next(_databases)}")
    with own.connect(name=own.name) as client:
        yield client
    clickhouse.order_faults([])
    own.drop()

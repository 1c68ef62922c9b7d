"""Each error of ClickHouse, a proxy or the network says what to do, under ClickHouse's own names and numbers."""

import threading
from typing import Any

import pytest
from clickhouse_connect.driver.exceptions import (
    ClickHouseError,
    DatabaseError,
    DataError,
    OperationalError,
    ProgrammingError,
)
from urllib3.exceptions import NewConnectionError, ProtocolError, ReadTimeoutError

from streams.warehouse import writer
from streams.warehouse.failures import ErrorAnswer, Trouble, asked_to_wait_s, name_of, trouble
from streams.warehouse.rows import Rows
from streams.warehouse.writer import MEMORY_ATTEMPTS, Writer


def caused(failure: ClickHouseError, cause: Exception) -> ClickHouseError:
    """The failure as clickhouse-connect raises it from another one."""
    failure.__cause__ = cause
    return failure


@pytest.mark.parametrize(
    ("failure", "expected", "name"),
    [
        (DatabaseError("too many parts", code=252), Trouble.PASSING, "TOO_MANY_PARTS"),
        (DatabaseError("", code=319), Trouble.PASSING, "UNKNOWN_STATUS_OF_INSERT"),
        (DatabaseError("no such table", code=60), Trouble.SETUP, "UNKNOWN_TABLE"),
        (DatabaseError("being dropped, or the server stops", code=218), Trouble.PASSING, "TABLE_IS_DROPPED"),
        (DatabaseError("constraint", code=469), Trouble.ROWS, "VIOLATED_CONSTRAINT"),
        (DatabaseError("new in the next release", code=12_345), Trouble.UNKNOWN, "code_12345"),
        (DataError("value out of range"), Trouble.ROWS, "DataError"),
        (OperationalError("connection refused"), Trouble.PASSING, "connection"),
        (caused(OperationalError("?"), ProtocolError("aborted")), Trouble.PASSING, "connection"),
        (caused(OperationalError("?"), ReadTimeoutError(None, "", "")), Trouble.PASSING, "timeout"),  # type: ignore[arg-type]  # no pool
        (caused(OperationalError("?"), NewConnectionError(None, "refused")), Trouble.PASSING, "connection"),  # type: ignore[arg-type]  # no connection
        (caused(OperationalError("?"), ErrorAnswer(503, None, "", 5.0)), Trouble.PASSING, "http_503"),
        (caused(OperationalError("?"), ErrorAnswer(500, 60, "", 5.0)), Trouble.SETUP, "UNKNOWN_TABLE"),
        (ProgrammingError("who knows"), Trouble.UNKNOWN, "ProgrammingError"),
    ],
)
def test_an_error_says_what_to_do_and_has_a_name(failure: ClickHouseError, expected: Trouble, name: str) -> None:
    assert (trouble(failure), name_of(failure)) == (expected, name)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, Trouble.UNKNOWN),
        (401, Trouble.SETUP),
        (403, Trouble.SETUP),
        (404, Trouble.UNKNOWN),
        (408, Trouble.PASSING),
        (413, Trouble.ROWS),
        (429, Trouble.PASSING),
        (500, Trouble.PASSING),
        (501, Trouble.UNKNOWN),
        (502, Trouble.PASSING),
        (503, Trouble.PASSING),
        (504, Trouble.PASSING),
        (520, Trouble.PASSING),
    ],
)
@pytest.mark.parametrize("kind", [DatabaseError, OperationalError])
def test_a_proxy_without_an_error_number_is_judged_by_its_status(
    status: int, expected: Trouble, kind: type[ClickHouseError]
) -> None:
    failure = kind(f"HTTP driver received HTTP status {status}, server response: no (for url http://localhost:1)")
    assert (trouble(failure), name_of(failure)) == (expected, f"http_{status}")


def test_only_an_answer_that_names_a_time_asks_to_wait() -> None:
    assert asked_to_wait_s(caused(OperationalError("?"), ErrorAnswer(429, None, "", 7.5))) == 7.5
    assert asked_to_wait_s(OperationalError("HTTP driver received HTTP status 503")) == 0.0
    assert asked_to_wait_s(None) == 0.0


class SmallServer:
    """A client of a server that has memory for so many rows at a time; the edge, so it may be a fake."""

    def __init__(self, most_rows: int) -> None:
        self._most_rows = most_rows
        self.tried: list[int] = []
        self.stored: list[int] = []

    def insert(self, _table: str, columns: list[list[int]], **_: Any) -> None:
        self.tried.append(len(columns[0]))
        if len(columns[0]) > self._most_rows:
            raise DatabaseError("memory limit exceeded for user", code=241)
        self.stored += columns[0]


def test_an_insert_too_large_for_the_users_memory_is_halved_until_it_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would wait for ever otherwise: such a limit does not pass by itself."""
    monkeypatch.setattr(writer, "_wait_s", lambda _state: 0.0)
    server: Any = SmallServer(most_rows=30)
    rows = Rows("t", ("x",), ("Int64",), [list(range(100))], list(range(100)))
    refused = Writer(lambda: server, give_up=threading.Event()).write(rows)
    assert refused == []
    assert server.stored == list(range(100))
    assert server.tried == [*[100] * MEMORY_ATTEMPTS, *[50] * MEMORY_ATTEMPTS, 25, 25, *[50] * MEMORY_ATTEMPTS, 25, 25]

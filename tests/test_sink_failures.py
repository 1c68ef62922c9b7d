"""Each error of ClickHouse, a proxy or the network says what to do, under ClickHouse's own names and numbers."""

import pytest
from clickhouse_connect.driver.exceptions import (
    ClickHouseError,
    DatabaseError,
    DataError,
    OperationalError,
    ProgrammingError,
)
from urllib3.exceptions import NewConnectionError, ProtocolError, ReadTimeoutError

from streams.warehouse.failures import ErrorAnswer, Trouble, asked_to_wait_s, name_of, trouble


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

"""Connecting to ClickHouse, and reading its errors: what passes, what a row is to blame for, what someone must fix."""

from __future__ import annotations

import re
from enum import Enum
from urllib.parse import unquote, urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DataError, OperationalError

from schemas.errors import SettingsError

CONNECT_TIMEOUT_S = 5
# An insert of 50,000 rows takes 0.1 s; one that takes a minute has lost its server, and may be sent again.
ANSWER_TIMEOUT_S = 60


class Trouble(Enum):
    """What to do about a failed insert."""

    PASSING = "try again for as long as it takes"
    ROWS = "find the rows it does not take and set them aside"
    SETUP = "stop: schema, rights or settings are wrong"
    UNKNOWN = "try again some times, then stop"


# Numbers of ClickHouse's src/Common/ErrorCodes.cpp.
_PASSING = {
    *(159, 160),  # TIMEOUT_EXCEEDED, TOO_SLOW
    *(198, 209, 210, 279),  # DNS_ERROR, SOCKET_TIMEOUT, NETWORK_ERROR, ALL_CONNECTION_TRIES_FAILED
    *(201, 202, 203, 439),  # QUOTA_EXCEEDED, TOO_MANY_SIMULTANEOUS_QUERIES, NO_FREE_CONNECTION, CANNOT_SCHEDULE_TASK
    *(225, 242, 285, 286, 319, 999),  # NO_ZOOKEEPER, TABLE_IS_READ_ONLY, quorum, UNKNOWN_STATUS_OF_INSERT, KEEPER
    *(236, 394),  # ABORTED, QUERY_WAS_CANCELLED: the server is stopping
    *(241, 243, 252),  # MEMORY_LIMIT_EXCEEDED, NOT_ENOUGH_SPACE, TOO_MANY_PARTS
    473,  # DEADLOCK_AVOIDED
}
_ROWS = {
    *(6, 26, 27, 38, 41, 72),  # CANNOT_PARSE_*
    *(69, 70, 117, 131, 321),  # ARGUMENT_OUT_OF_BOUND, CANNOT_CONVERT_TYPE, INCORRECT_DATA, sizes and ranges
    *(349, 407, 469),  # CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN, DECIMAL_OVERFLOW, VIOLATED_CONSTRAINT
}
_SETUP = {
    *(8, 10, 16, 20, 47, 50, 53, 60, 62, 81, 218),  # columns, types, tables, databases that are not there
    *(48, 115, 452),  # NOT_IMPLEMENTED, UNKNOWN_SETTING, SETTING_CONSTRAINT_VIOLATION
    *(164, 192, 193, 194, 291, 497, 516),  # READONLY, users, passwords, rights
}
# clickhouse-connect keeps the status of an answer without a ClickHouse error number in the text alone.
_SERVER_SIDE = re.compile(r"HTTP status 5\d\d")


def trouble(failure: ClickHouseError) -> Trouble:
    """What to do about an exception of clickhouse-connect."""
    code: int | None = getattr(failure, "code", None)
    if code in _PASSING:
        return Trouble.PASSING
    if code in _ROWS:
        return Trouble.ROWS
    if code in _SETUP:
        return Trouble.SETUP
    if code is not None:
        return Trouble.UNKNOWN
    # No number: it never came from ClickHouse. Either a value could not be written as its column's type, or the
    # network or a proxy failed, perhaps after the rows were applied.
    if isinstance(failure, DataError):
        return Trouble.ROWS
    if isinstance(failure, OperationalError) or _SERVER_SIDE.search(str(failure)):
        return Trouble.PASSING
    return Trouble.UNKNOWN


def connect(url: str, *, database: str = "", user: str = "", password: str = "") -> Client:
    """A client for `http(s)://[user:password@]host[:port]`, on `database` unless that is empty; close it when done.

    Raises SettingsError for another kind of address, clickhouse-connect's OperationalError when nobody answers.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError(
            f"ClickHouse address {parts.scheme}://… is not http(s)://host:port, as http://localhost:8123"
        )
    return clickhouse_connect.get_client(
        interface=parts.scheme,
        host=parts.hostname,
        port=parts.port or (8443 if parts.scheme == "https" else 8123),
        username=user or unquote(parts.username or "") or None,
        password=password or unquote(parts.password or ""),
        database=database or None,
        compress="lz4",
        # A session allows one statement at a time, and would be kept by the server for nothing.
        autogenerate_session_id=False,
        connect_timeout=CONNECT_TIMEOUT_S,
        send_receive_timeout=ANSWER_TIMEOUT_S,
        # Closed with the client, not shared with others of this process.
        dedicated_pool=True,
    )

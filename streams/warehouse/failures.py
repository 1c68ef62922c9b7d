"""Sorts ClickHouse's errors: those that pass by themselves, those caused by a row, and those that someone must fix."""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

from clickhouse_connect.driver.exceptions import ClickHouseError, DataError, OperationalError
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ReadTimeoutError


class Trouble(Enum):
    """What to do about a failed insert."""

    PASSING = "try again for as long as it takes"
    ROWS = "find the rows it does not take and set them aside"
    SETUP = "stop: schema, rights or settings are wrong"
    UNKNOWN = "try again some times, then stop"


class ErrorAnswer(HTTPError):
    """An error that clickhouse-connect would not recognise as such, or of which it would lose a part.

    The answer has a Retry-After, or it is the 200 of an insert with an exception in its body. `code` is ClickHouse's
    error number, if there is one. clickhouse-connect raises an error of its own from this one.
    """

    def __init__(self, status: int, code: int | None, text: str, retry_after_s: float) -> None:
        later = f", with Retry-After {retry_after_s:g} s" if retry_after_s else ""
        super().__init__(f"HTTP status {status}{later}: {text}")
        self.status = status
        self.code = code
        self.retry_after_s = retry_after_s


# Numbers and names from ClickHouse's src/Common/ErrorCodes.cpp; a test compares all names with the engine's. An insert
# that may have been applied before it failed (319, 286, a lost answer) is sent again as well: rows are absolute and
# versioned, and all tries carry the same deduplication token.
PASSING: Final = {
    # The body was cut or damaged on the way. A value that cannot be encoded is never sent.
    3: "UNEXPECTED_END_OF_FILE",
    32: "ATTEMPT_TO_READ_AFTER_EOF",
    33: "CANNOT_READ_ALL_DATA",
    40: "CHECKSUM_DOESNT_MATCH",
    271: "CANNOT_DECOMPRESS",
    561: "ZSTD_DECODER_FAILED",
    618: "LZ4_DECODER_FAILED",
    # The network of the server.
    95: "CANNOT_READ_FROM_SOCKET",
    96: "CANNOT_WRITE_TO_SOCKET",
    198: "DNS_ERROR",
    209: "SOCKET_TIMEOUT",
    210: "NETWORK_ERROR",
    279: "ALL_CONNECTION_TRIES_FAILED",
    297: "SHARD_HAS_NO_CONNECTIONS",
    519: "NO_REMOTE_SHARD_AVAILABLE",
    # Too busy, too slow, or over a quota that starts again later.
    159: "TIMEOUT_EXCEEDED",
    160: "TOO_SLOW",
    201: "QUOTA_EXCEEDED",
    202: "TOO_MANY_SIMULTANEOUS_QUERIES",
    203: "NO_FREE_CONNECTION",
    252: "TOO_MANY_PARTS",
    364: "RECEIVED_ERROR_TOO_MANY_REQUESTS",
    439: "CANNOT_SCHEDULE_TASK",
    473: "DEADLOCK_AVOIDED",
    574: "DISTRIBUTED_TOO_MANY_PENDING_BYTES",
    700: "USER_SESSION_LIMIT_EXCEEDED",
    745: "SERVER_OVERLOADED",
    749: "TCP_CONNECTION_LIMIT_REACHED",
    762: "HTTP_CONNECTION_LIMIT_REACHED",
    1019: "QUERY_SLOT_ACQUISITION_TIMEOUT",
    # Memory and disks.
    75: "CANNOT_WRITE_TO_FILE_DESCRIPTOR",
    173: "CANNOT_ALLOCATE_MEMORY",
    204: "CANNOT_FSYNC",
    241: "MEMORY_LIMIT_EXCEEDED",
    243: "NOT_ENOUGH_SPACE",
    499: "S3_ERROR",
    500: "AZURE_BLOB_STORAGE_ERROR",
    693: "AWS_ERROR",
    777: "MEMORY_RESERVATION_KILLED",
    778: "MEMORY_RESERVATION_FAILED",
    1020: "MEMORY_RESERVATION_ACQUISITION_TIMEOUT",
    # Replicas, Keeper, quorum.
    225: "NO_ZOOKEEPER",
    242: "TABLE_IS_READ_ONLY",
    244: "UNEXPECTED_ZOOKEEPER_ERROR",
    254: "NO_ACTIVE_REPLICAS",
    265: "NO_AVAILABLE_REPLICA",
    285: "TOO_FEW_LIVE_REPLICAS",
    286: "UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE",
    289: "REPLICA_IS_NOT_IN_QUORUM",
    319: "UNKNOWN_STATUS_OF_INSERT",
    369: "ALL_REPLICAS_ARE_STALE",
    416: "REPLICA_STATUS_CHANGED",
    999: "KEEPER_EXCEPTION",
    # The server or the table is being stopped, restarted or exchanged. If the table is gone, the next answer is 60.
    218: "TABLE_IS_DROPPED",
    236: "ABORTED",
    394: "QUERY_WAS_CANCELLED",
    733: "TABLE_IS_BEING_RESTARTED",
    734: "CANNOT_WRITE_AFTER_BUFFER_CANCELED",
    735: "QUERY_WAS_CANCELLED_BY_CLIENT",
    # "Permanently" means the setting table_readonly of the table, which whoever set it will remove.
    774: "TABLE_IS_PERMANENTLY_READ_ONLY",
}
ROWS: Final = {
    6: "CANNOT_PARSE_TEXT",
    25: "CANNOT_PARSE_ESCAPE_SEQUENCE",
    26: "CANNOT_PARSE_QUOTED_STRING",
    27: "CANNOT_PARSE_INPUT_ASSERTION_FAILED",
    38: "CANNOT_PARSE_DATE",
    41: "CANNOT_PARSE_DATETIME",
    69: "ARGUMENT_OUT_OF_BOUND",
    70: "CANNOT_CONVERT_TYPE",
    72: "CANNOT_PARSE_NUMBER",
    117: "INCORRECT_DATA",
    128: "TOO_LARGE_ARRAY_SIZE",
    131: "TOO_LARGE_STRING_SIZE",
    153: "ILLEGAL_DIVISION",
    248: "INVALID_PARTITION_VALUE",
    321: "VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE",
    349: "CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN",
    395: "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO",
    407: "DECIMAL_OVERFLOW",
    467: "CANNOT_PARSE_BOOL",
    469: "VIOLATED_CONSTRAINT",
    691: "UNKNOWN_ELEMENT_OF_ENUM",
}
SETUP: Final = {
    # Columns, types, tables, databases.
    8: "THERE_IS_NO_COLUMN",
    10: "NOT_FOUND_COLUMN_IN_BLOCK",
    16: "NO_SUCH_COLUMN_IN_TABLE",
    20: "NUMBER_OF_COLUMNS_DOESNT_MATCH",
    44: "ILLEGAL_COLUMN",
    47: "UNKNOWN_IDENTIFIER",
    50: "UNKNOWN_TYPE",
    53: "TYPE_MISMATCH",
    60: "UNKNOWN_TABLE",
    62: "SYNTAX_ERROR",
    81: "UNKNOWN_DATABASE",
    # Settings and what the server can do.
    48: "NOT_IMPLEMENTED",
    115: "UNKNOWN_SETTING",
    344: "SUPPORT_IS_DISABLED",
    452: "SETTING_CONSTRAINT_VIOLATION",
    # Users and rights.
    164: "READONLY",
    192: "UNKNOWN_USER",
    193: "WRONG_PASSWORD",
    194: "REQUIRED_PASSWORD",
    195: "IP_ADDRESS_NOT_ALLOWED",
    291: "DATABASE_ACCESS_DENIED",
    392: "QUERY_IS_PROHIBITED",
    497: "ACCESS_DENIED",
    516: "AUTHENTICATION_FAILED",
    720: "USER_EXPIRED",
}
# Of the passing ones: the server or the user may have too little memory for an insert of this size, for good.
_MEMORY: Final = frozenset({173, 241, 777, 778, 1020})
_NAMES: Final = PASSING | ROWS | SETUP
_KINDS: Final = {
    **dict.fromkeys(PASSING, Trouble.PASSING),
    **dict.fromkeys(ROWS, Trouble.ROWS),
    **dict.fromkeys(SETUP, Trouble.SETUP),
}

# For an answer without a ClickHouse error number, clickhouse-connect has the status only in its text.
_STATUS = re.compile(r"HTTP status (\d{3})")
# Of proxies and load balancers. 413 means too many bytes: half of the rows may be accepted, as with refused rows.
_STATUS_KINDS: Final = {
    **dict.fromkeys((408, 425, 429), Trouble.PASSING),
    413: Trouble.ROWS,
    **dict.fromkeys((401, 403, 407), Trouble.SETUP),
    **dict.fromkeys((501, 505), Trouble.UNKNOWN),
}


def trouble(failure: ClickHouseError) -> Trouble:
    """What to do about an exception of clickhouse-connect."""
    code = _code(failure)
    if code is not None:
        return _KINDS.get(code, Trouble.UNKNOWN)
    # Without a number it is not ClickHouse's answer. Either a value does not fit the type of its column, or the network
    # or a proxy failed, perhaps after the rows were applied.
    if isinstance(failure, DataError):
        return Trouble.ROWS
    status = _status(failure)
    if status is not None:
        return _STATUS_KINDS.get(status, Trouble.PASSING if status >= 500 else Trouble.UNKNOWN)
    return Trouble.PASSING if isinstance(failure, OperationalError) else Trouble.UNKNOWN


def short_of_memory(failure: ClickHouseError) -> bool:
    """Whether a smaller insert might succeed where this one did not."""
    return _code(failure) in _MEMORY


def name_of(failure: ClickHouseError) -> str:
    """A short name for metrics: ClickHouse's own, `http_503`, `timeout`, `connection` or a class; a hundred or so."""
    code, status = _code(failure), _status(failure)
    if code is not None:
        return _NAMES.get(code, f"code_{code}")
    if status is not None:
        return f"http_{status}"
    cause = _cause(failure)
    # urllib3 wraps an error while connecting once more, and a refused connection is a subclass of its timeout.
    reason = getattr(cause, "reason", None) or cause
    if isinstance(reason, ReadTimeoutError | ConnectTimeoutError) and not isinstance(reason, NewConnectionError):
        return "timeout"
    return "connection" if isinstance(failure, OperationalError) else type(failure).__name__


def asked_to_wait_s(failure: BaseException | None) -> float:
    """Seconds of the answer's Retry-After; 0 without one."""
    cause = failure.__cause__ if failure is not None else None
    return cause.retry_after_s if isinstance(cause, ErrorAnswer) else 0.0


def sentence(failure: BaseException) -> str:
    """What happened, in one line for a log."""
    # clickhouse-connect's text on a broken connection is mostly the URL of the request; the reason is urllib3's.
    cause = _cause(failure)
    reason = getattr(cause, "reason", None) or cause or failure
    return str(reason).partition("\n")[0][:300]


def _cause(failure: BaseException) -> BaseException | None:
    return failure.__cause__


def _code(failure: ClickHouseError) -> int | None:
    cause = _cause(failure)
    code: int | None = cause.code if isinstance(cause, ErrorAnswer) else getattr(failure, "code", None)
    return code


def _status(failure: ClickHouseError) -> int | None:
    cause = _cause(failure)
    if isinstance(cause, ErrorAnswer):
        return cause.status
    match = None if cause is not None else _STATUS.search(str(failure))
    return int(match[1]) if match else None

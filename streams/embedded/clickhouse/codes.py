"""Error numbers of ClickHouse that the front answers itself, by their names there."""

from enum import IntEnum


class Code(IntEnum):
    """What went wrong, as drivers know it."""

    UNSUPPORTED_METHOD = 1
    CANNOT_READ_ALL_DATA = 33
    BAD_ARGUMENTS = 36
    TOO_LARGE_SIZE_COMPRESSED = 39
    CHECKSUM_DOESNT_MATCH = 40
    NOT_IMPLEMENTED = 48
    SYNTAX_ERROR = 62
    CANNOT_PARSE_NUMBER = 72
    UNKNOWN_SETTING = 115
    READONLY = 164
    REQUIRED_PASSWORD = 194
    TOO_MANY_SIMULTANEOUS_QUERIES = 202
    SOCKET_TIMEOUT = 209
    QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING = 216
    MEMORY_LIMIT_EXCEEDED = 241
    NOT_ENOUGH_SPACE = 243
    CORRUPTED_DATA = 246
    CANNOT_DECOMPRESS = 271
    TOO_MANY_BYTES = 307
    INTO_OUTFILE_NOT_ALLOWED = 358
    SESSION_NOT_FOUND = 372
    SESSION_IS_LOCKED = 373
    INVALID_SESSION_TIMEOUT = 374
    UNKNOWN_CODEC = 432
    ACCESS_DENIED = 497
    AUTHENTICATION_FAILED = 516
    SESSION_ID_EMPTY = 744
    PROTOCOL_VERSION_MISMATCH = 902
    UNKNOWN_EXCEPTION = 1002

    def message(self, text: str) -> str:
        """The text as ClickHouse writes it: drivers search for its beginning."""
        return f"Code: {self:d}. DB::Exception: {text} ({self.name})"

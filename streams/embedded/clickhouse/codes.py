"""Error numbers of ClickHouse that the front answers itself, by their names there."""

from enum import IntEnum


class Code(IntEnum):
    """What went wrong, as drivers know it."""

    UNSUPPORTED_METHOD = 1
    CANNOT_READ_ALL_DATA = 33
    TOO_LARGE_SIZE_COMPRESSED = 39
    CHECKSUM_DOESNT_MATCH = 40
    NOT_IMPLEMENTED = 48
    CANNOT_PARSE_NUMBER = 72
    SOCKET_TIMEOUT = 209
    MEMORY_LIMIT_EXCEEDED = 241
    CORRUPTED_DATA = 246
    CANNOT_DECOMPRESS = 271
    TOO_MANY_BYTES = 307
    UNKNOWN_CODEC = 432
    AUTHENTICATION_FAILED = 516
    PROTOCOL_VERSION_MISMATCH = 902

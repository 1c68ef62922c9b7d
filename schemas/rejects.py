"""Bad data as a value: why a record was set aside, and where it is."""

from __future__ import annotations

from enum import StrEnum

import msgspec
import xxhash

_PREFIX_BYTES = 1024


class Reason(StrEnum):
    """Checked in this order; the first that holds is the record's fate."""

    TOMBSTONE = "tombstone"
    TOO_LARGE = "too_large"
    UNDECODABLE = "undecodable"
    KEY = "key"
    FUTURE = "future"
    LATE = "late"
    CONFLICT = "conflict"
    # Rows a sink could not write, whatever was tried.
    UNWRITABLE = "unwritable"


class Rejected(msgspec.Struct, frozen=True):
    """Record of `ads.rejects`: reason, coordinates, and enough of the bytes to recognise it.

    `prefix` holds the first KiB of the value (base64 in JSON), `length` and `xxh3` the whole of it: a reject must stay
    small whatever arrived. `topic`, `partition`, `offset` are where the original can be read while Kafka keeps it.
    """

    reason: Reason
    detail: str
    topic: str
    partition: int
    offset: int
    record_ts_ms: int
    length: int
    xxh3: str
    prefix: bytes


def rejected(
    reason: Reason, detail: str, value: bytes | None, *, topic: str, partition: int, offset: int, record_ts_ms: int
) -> Rejected:
    """The dead letter of one record; never larger than about 2 KiB."""
    whole = value or b""
    return Rejected(
        reason=reason,
        detail=detail[:300],
        topic=topic,
        partition=partition,
        offset=offset,
        record_ts_ms=record_ts_ms,
        length=len(whole),
        xxh3=xxhash.xxh3_64_hexdigest(whole),
        prefix=whole[:_PREFIX_BYTES],
    )

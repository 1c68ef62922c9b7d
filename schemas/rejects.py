"""Bad data as a value: why a record was rejected, and where it is."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final, Literal

import msgspec
import xxhash

from schemas.events import EventMs

# Enough to recognise a record, small enough for a dead letter of at most 2 KiB.
_PREFIX_BYTES = 1024
_DETAIL_CHARS = 300
# As the join says of a late record how far the record that moved the watermark was above it.
MS_AHEAD: Final = re.compile(r"is (\d+) ms ahead of it")


class Reason(StrEnum):
    """Why a record was rejected. They are checked in this order, and the first that applies is the reason."""

    TOMBSTONE = "tombstone"
    """The record has no value."""
    TOO_LARGE = "too_large"
    """The value is longer than 256 KiB."""
    TOO_DEEP = "too_deep"
    """Arrays and objects are nested more than 16 deep."""
    UNDECODABLE = "undecodable"
    """Broken JSON, or a field is missing, of another type or out of bounds."""
    HEADERS = "headers"
    """The headers say of the value what cannot be used: a batch of CloudEvents, a format that is not read, no number of
    a schema; or they are more than 100, or longer than 16 KiB. Of sources of `ingest` with `headers = true`."""
    SCHEMA = "schema"
    """The registry has no schema of the number that the value or a header has, or one that cannot be used. Of sources
    of `ingest`."""
    MAPPING = "mapping"
    """A rule of the mapping refused the record; the detail names file, line and rule. Of sources of `ingest`."""
    KEY = "key"
    """The Kafka key is not the impression id, so impression and click may be in different partitions. Of a campaign: it
    is not the campaign id, or another partition belongs to it."""
    FUTURE = "future"
    """`ts` is more than `--future` above the record's own Kafka timestamp, or more than `--jump` above every record
    before it while most records after it are not."""
    LATE = "late"
    """`ts` is below the watermark: more than `--lateness` below the highest `ts` before in the log's partition."""
    CONFLICT = "conflict"
    """A record with the same id, other content and a `ts` at most `--dedupe` away came before."""
    TIMEZONE = "timezone"
    """A campaign names a time zone that does not exist."""
    VERSION = "version"
    """A campaign has a version that came before with other content, or one below the last accepted."""
    CURRENCY = "currency"
    """A campaign has another currency than before, or none where it had one."""
    TERMS = "terms"
    """The terms of a campaign contradict each other, such as a curve that does not sum to 1, an end before the start, a
    lifetime budget without a flight, dayparts of an unknown day, or a priority without a shared budget."""
    UNWRITABLE = "unwritable"
    """ClickHouse refused the row in every attempt."""


class Rejected(msgspec.Struct, frozen=True):
    """Record of `ads.rejects`: the reason, the coordinates, and enough of the bytes to recognise the record.

    `topic`, `partition` and `offset` are where the original can be read while Kafka keeps it. `prefix` has the first
    KiB of its value (base64 in JSON); `length` and `xxh3` are of the whole value. So a dead letter is small, however
    large the record was.
    """

    reason: Reason
    """Why the record was rejected; see the reasons below."""
    detail: str
    """The field and bound that were violated, at most 300 characters."""
    topic: str
    """Topic of the original."""
    partition: int
    """Partition of the original."""
    offset: int
    """Offset of the original."""
    record_ts_ms: EventMs
    """Kafka's timestamp of the original; -1 where it has none."""
    length: int
    """Bytes of its whole value."""
    xxh3: str
    """xxh3-64 of its whole value, hex."""
    prefix: bytes
    """The first 1,024 bytes of its value, base64."""


class Redriven(msgspec.Struct, frozen=True):
    """Record of `ads.redriven`: a record that had a dead letter was sent to the live log again, mended.

    `clickfold rejects redrive` writes it in the transaction that sends the record. `topic`, `partition`, `offset` and
    `input` are its identity: what is here is not sent again.
    """

    topic: str
    """Topic of the original, as in its dead letter."""
    partition: int
    """Partition of the original."""
    offset: int
    """Offset of the original."""
    input: Literal["impressions", "clicks"]
    """Which input it was sent to."""
    to_partition: int
    """The partition of that input, which is that of the join."""
    reason: Reason
    """Why it was rejected."""
    ts: EventMs
    """Its event time."""
    redriven_ms: EventMs
    """When it was sent, by the clock of the command."""
    mapping: str = ""
    """Digest of the mapping that mended it; empty without one."""


def rejected(
    reason: Reason, detail: str, value: bytes | None, *, topic: str, partition: int, offset: int, record_ts_ms: int
) -> Rejected:
    """The dead letter of one record, of at most about 2 KiB."""
    whole = value or b""
    return Rejected(
        reason=reason,
        detail=detail[:_DETAIL_CHARS],
        topic=topic,
        partition=partition,
        offset=offset,
        record_ts_ms=record_ts_ms,
        length=len(whole),
        xxh3=xxhash.xxh3_64_hexdigest(whole),
        prefix=whole[:_PREFIX_BYTES],
    )

"""From a model to the records of `ads.models`: numbered parts, and a manifest behind them.

A model is written to a *place*, a set of keys. All its records are in one transaction, so each place holds one whole
version at any time, to every reader of committed records: compaction keeps the newest record of each key, and those of
one version became the newest together. What a shorter version leaves of a longer one is parts of another number, which
readers pass over.

A learner writes to the places "even" and "odd" in turn, and once a day of event time to one of seven places for days.
So the topic has the last two versions, of which the former serves a reader that must refuse the newer, and the
first of each of the last seven days, for `clickfold models rollback`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

import cramjam
import msgspec
import xxhash

from schemas.codec import encode
from schemas.frame import Frame
from schemas.models import ModelChoice, ModelManifest
from schemas.records import Out
from schemas.topics import DAY_MS

PART: Final = Frame(magic=b"clkmpart", format=(1).to_bytes(4, "little"))
# Version, number of the part, number of all parts.
PART_HEAD: Final = struct.Struct("<QII")
# A record of 1,000,000 bytes is the most that librdkafka sends by default; the broker takes 1,048,588.
PART_BYTES: Final = 900_000
# The fastest: a higher level saves a tenth, in three times the time.
_LEVEL: Final = 1
_DAYS_KEPT: Final = 7


def packed(data: bytes) -> bytes:
    """A model's bytes, compressed."""
    return bytes(cramjam.zstd.compress(data, level=_LEVEL))


def model_digest(data: bytes) -> str:
    """What a manifest says of the model's bytes."""
    return xxhash.xxh3_128_hexdigest(data)


def place_of(number: int, *, event_ms: int, before_ms: int) -> str:
    """Where the publication with this number goes, if the one before was at event time `before_ms`."""
    day = event_ms // DAY_MS
    if day != before_ms // DAY_MS:
        return f"day{day % _DAYS_KEPT}"
    return "odd" if number % 2 else "even"


def model_records(manifest: ModelManifest, data: bytes, place: str) -> list[Out]:
    """The records of a model in this order, to be written in one transaction. Fills what the manifest says of them."""
    parts = list(_parts(packed(data), manifest.version))
    whole = msgspec.structs.replace(manifest, parts=len(parts), bytes=len(data), digest=model_digest(data))
    key = f"{manifest.model}/{manifest.shard}/{place}"
    records = [Out("models", f"{key}/{number}".encode(), part) for number, part in enumerate(parts)]
    return [*records, Out("models", key.encode(), encode(whole))]


def choice_record(choice: ModelChoice) -> Out:
    """The record of a choice."""
    return Out("models", f"{choice.model}/{choice.shard}/choice".encode(), encode(choice))


def _parts(whole: bytes, version: int) -> Iterator[bytes]:
    starts = range(0, len(whole), PART_BYTES)
    for number, start in enumerate(starts):
        head = PART_HEAD.pack(version, number, len(starts))
        yield PART.wrap(head + whole[start : start + PART_BYTES])

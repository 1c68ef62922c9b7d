"""A learner's state as bytes: its models, the next offset, clicks that wait, and windows that are open.

It is all of the state, or what a turn selects of it: see `turns`.

    'clkmodel' | format, u32 | header length, u32 | header, JSON | columns, end to end | xxh3-128 of all before

The bytes of a whole state are canonical: equal states give equal bytes, so two are equal if the last 16 bytes are.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Final

import msgspec

from online_models.drift import DriftState
from online_models.release import Recent
from online_models.windows import WindowNames
from schemas.codec import decode, encode
from schemas.errors import StateMismatch
from schemas.frame import Frame

# Raise the number when the layout of header or columns changes.
_FRAME: Final = Frame(magic=b"clkmodel", format=(4).to_bytes(4, "little"), checksum_last=True)
_HEADER_LENGTH: Final = struct.Struct("<I")


class LearnerCounts(msgspec.Struct):
    """What became of the records so far: `consumed = learned + waiting + shown + unlabelled + rejected`.

    `learned`: labels, some of whose negatives were learned before. `waiting`: clicks held back until non-clicks of
    their time arrive. `shown`: impressions that wait for their label, or did. `unlabelled`: repeats, orphans, and shown
    impressions that are not followed. `rejected`: not an outcome, or one that contradicts itself. `late`: learned after
    their metrics window closed, so not measured. `reversed`: negatives that were taken back because of a click.
    """

    consumed: int = 0
    learned: int = 0
    waiting: int = 0
    unlabelled: int = 0
    rejected: int = 0
    late: int = 0
    shown: int = 0
    reversed: int = 0


class KeptModel(msgspec.Struct, frozen=True):
    """A model of the snapshot: its name, its settings' digest, and the offset from which it learned."""

    name: str
    digest: str
    start: int


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is not a long column. `columns` are the lengths of the columns in bytes, in order.

    First comes the snapshot of each model, then the rows that each keeps, the waiting clicks, the open impressions, and
    each open window. `recent` has for each model its last windows. `follows`: the log has shown impressions, so they
    are followed.
    """

    model: str
    shard: int
    settings: str
    models: list[KeptModel]
    next_offset: int
    event_ms: int
    latest_ms: int
    follows: bool
    trail: int
    counts: LearnerCounts
    drift: DriftState
    recent: list[list[Recent]]
    closed_ms: int
    windows: list[WindowNames]
    columns: list[int]


def encode_snapshot(header: Header, columns: Sequence[bytes]) -> bytes:
    """The snapshot's bytes; `header.columns` is taken from `columns`."""
    text = encode(msgspec.structs.replace(header, columns=[len(column) for column in columns]))
    return _FRAME.wrap(_HEADER_LENGTH.pack(len(text)), text, *columns)


def decode_snapshot(data: bytes, *, model: str, shard: int, settings: str) -> tuple[Header, list[bytes]]:
    """Header and columns of a snapshot of this model, shard and settings digest.

    Raises DamagedState when the bytes are not what was written, and StateMismatch when they are, but by a newer program
    or for another model, shard or settings.
    """
    body = _FRAME.unwrap(data, f"the model snapshot of {model} shard {shard}")
    (length,) = _HEADER_LENGTH.unpack_from(body)
    start = _HEADER_LENGTH.size + length
    header = decode(bytes(body[_HEADER_LENGTH.size : start]), Header)
    for name, kept, ours, remedy in (
        ("model", header.model, model, "give each model its own state"),
        ("shard", header.shard, shard, "give each shard its own state"),
        ("settings digest", header.settings, settings, "use the former settings, or a new model name to learn anew"),
    ):
        if kept != ours:
            raise StateMismatch(f"model snapshot is of {name} {kept}, this learner is {ours}; {remedy}")
    bounds = accumulate(header.columns, initial=start)
    return header, [bytes(body[start:stop]) for start, stop in pairwise(bounds)]

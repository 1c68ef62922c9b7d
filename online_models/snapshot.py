"""A learner's whole state as one run of bytes: weights, next offset, and what it has not finished counting.

    'clkmodel' | format, u32 | header length, u32 | header, JSON | columns, end to end | xxh3-128 of all before

The bytes are canonical: equal states give equal bytes, so comparing snapshots, or their last 16 bytes, compares states.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Final

import msgspec

from online_models.drift import DriftState
from online_models.features import FEATURES_VERSION
from online_models.windows import WindowNames
from schemas.codec import decode, encode
from schemas.errors import StateMismatch
from schemas.frame import Frame

# Raise the number when the layout of header or columns changes.
_FRAME: Final = Frame(magic=b"clkmodel", format=(1).to_bytes(4, "little"), checksum_last=True)
_HEADER_LENGTH: Final = struct.Struct("<I")


class Counts(msgspec.Struct):
    """What became of the records so far, counted in place: `consumed = learned + waiting + unlabelled + rejected`.

    `waiting`: clicks held until the non-clicks of their time arrive. `unlabelled`: repeats and orphans. `rejected`: not
    an outcome, or one that says something impossible. `late` of the learned came after their metrics window closed.
    """

    consumed: int = 0
    learned: int = 0
    waiting: int = 0
    unlabelled: int = 0
    rejected: int = 0
    late: int = 0


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is not a long column. `columns` are their lengths in bytes, in order.

    The columns: index, z and n of each bucket that learned something (u32, f64, f64, by index); then ts, offset, length
    (i64 each) and bytes of the waiting clicks; then those of each open window.
    """

    model: str
    shard: int
    settings: str
    features_version: str
    next_offset: int
    event_ms: int
    latest_ms: int
    trail: int
    counts: Counts
    drift: DriftState
    closed_ms: int
    windows: list[WindowNames]
    columns: list[int]


def encode_snapshot(header: Header, columns: Sequence[bytes]) -> bytes:
    """The snapshot's bytes; `header.columns` is taken from `columns`."""
    text = encode(msgspec.structs.replace(header, columns=[len(column) for column in columns]))
    return _FRAME.wrap(b"".join((_HEADER_LENGTH.pack(len(text)), text, *columns)))


def decode_snapshot(data: bytes, *, model: str, shard: int, settings: str) -> tuple[Header, list[bytes]]:
    """Header and columns of a snapshot of this model, shard and settings digest.

    Raises DamagedState when the bytes are not what was written, StateMismatch when they are but of another model,
    shard, settings, feature hash or newer program.
    """
    body = _FRAME.unwrap(data, f"the model snapshot of {model} shard {shard}")
    (length,) = _HEADER_LENGTH.unpack_from(body)
    start = _HEADER_LENGTH.size + length
    header = decode(bytes(body[_HEADER_LENGTH.size : start]), Header)
    for name, kept, ours, cure in (
        ("model", header.model, model, "give each model its own state"),
        ("shard", header.shard, shard, "give each shard its own state"),
        ("feature hash", header.features_version, FEATURES_VERSION, "use the former program, or a new model name"),
        ("settings digest", header.settings, settings, "use the former settings, or a new model name to learn anew"),
    ):
        if kept != ours:
            raise StateMismatch(f"model snapshot is of {name} {kept}, this learner is {ours}; {cure}")
    bounds = accumulate(header.columns, initial=start)
    return header, [bytes(body[start:stop]) for start, stop in pairwise(bounds)]

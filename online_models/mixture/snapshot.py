"""The whole state of a mixture as bytes: of each array the lines that are not zero.

    'clkmixtr' | format, u32 | header length, u32 | header, JSON | arrays, end to end | xxh3-128 of all before

Equal states give equal bytes. Arrays are little-endian.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np

from schemas.codec import decode, encode
from schemas.errors import DamagedState, StateMismatch
from schemas.frame import Frame

# Raise the number when the layout of an array changes, or the hash of a slot.
_FRAME: Final = Frame(magic=b"clkmixtr", format=(1).to_bytes(4, "little"), checksum_last=True)
_HEADER_LENGTH: Final = struct.Struct("<I")
# The types of arrays that there are: numbers, and nothing that a reader would run.
_KINDS: Final = ("<f8", "<i8", "<u8", "|u1", "|i1")
# 2^26 lines of pairs, four columns each.
_MOST_CELLS: Final = 1 << 28


class _Kept(msgspec.Struct, frozen=True):
    """One array: its type and shape, and how many of its lines are kept."""

    kind: str
    shape: list[int]
    lines: int


class _Header(msgspec.Struct, frozen=True):
    settings: dict[str, Any]
    arrays: list[_Kept]


def encode_snapshot(settings: dict[str, Any], arrays: Sequence[np.ndarray]) -> bytes:
    """The snapshot's bytes."""
    kept, parts = list[_Kept](), list[bytes]()
    for array in arrays:
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        # By their bits, because a negative zero is kept too.
        bits = little.view(f"u{little.itemsize}").reshape(len(little), -1 if len(little) else 0)
        lines = np.flatnonzero(bits.any(axis=1)).astype("<i8")
        kept.append(_Kept(little.dtype.str, list(little.shape), len(lines)))
        parts += (lines.tobytes(), little[lines].tobytes())
    text = encode(_Header(settings, kept))
    return _FRAME.wrap(b"".join((_HEADER_LENGTH.pack(len(text)), text, *parts)))


def decode_snapshot(data: bytes, settings: dict[str, Any]) -> list[np.ndarray]:
    """The arrays of a snapshot with these settings.

    Raises DamagedState when the bytes are not what was written, and StateMismatch when they are, but by a newer program
    or with other settings.
    """
    body = _FRAME.unwrap(data, "the snapshot of a mixture")
    (length,) = _HEADER_LENGTH.unpack_from(body)
    at = _HEADER_LENGTH.size + length
    header = decode(bytes(body[_HEADER_LENGTH.size : at]), _Header)
    for name, ours in settings.items():
        kept = header.settings.get(name)
        if kept != ours:
            raise StateMismatch(f"snapshot of a mixture has {name} {kept}, this one has {ours}; give the former {name}")
    found = []
    for each in header.arrays:
        if each.kind not in _KINDS or math.prod(each.shape) > _MOST_CELLS:
            raise DamagedState(f"the snapshot of a mixture has an array of {each.kind} and shape {each.shape}")
        array = np.zeros(each.shape, each.kind)
        lines = np.frombuffer(body, "<i8", each.lines, at)
        at += lines.nbytes
        cells = np.frombuffer(body, each.kind, each.lines * math.prod(each.shape[1:]), at)
        at += cells.nbytes
        array[lines] = cells.reshape(each.lines, *each.shape[1:])
        found.append(array)
    return found

"""The state of a mixture as bytes: of each array some lines, by default those that are not zero.

    'clkmixtr' | format, u32 | header length, u32 | header, JSON | arrays, end to end | xxh3-128 of all before

The same arrays and lines give the same bytes. Arrays are little-endian.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from itertools import chain, repeat
from typing import Any, Final, NamedTuple

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


class Lines(NamedTuple):
    """What is kept of one array: its shape, the numbers of the lines, and what is in each."""

    shape: tuple[int, ...]
    numbers: np.ndarray
    cells: np.ndarray

    def whole(self) -> np.ndarray:
        """The array, if all other lines are zero."""
        found = np.zeros(self.shape, self.cells.dtype)
        found[self.numbers] = self.cells
        return found


def encode_snapshot(settings: dict[str, Any], arrays: Sequence[np.ndarray], lines: Sequence[np.ndarray] = ()) -> bytes:
    """The snapshot's bytes. Of the first arrays `lines` are kept, of the others those that are not zero."""
    kept, parts = list[_Kept](), list[memoryview]()
    for array, chosen in zip(arrays, chain(lines, repeat(None)), strict=False):
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        numbers = np.ascontiguousarray(_not_zero(little) if chosen is None else chosen, "<i8")
        kept.append(_Kept(little.dtype.str, list(little.shape), len(numbers)))
        parts += (numbers.data, little[numbers].data)
    text = encode(_Header(settings, kept))
    return _FRAME.wrap(_HEADER_LENGTH.pack(len(text)), text, *parts)


def _not_zero(array: np.ndarray) -> np.ndarray:
    # By their bits, because a negative zero is kept too.
    bits = array.view(f"u{array.itemsize}").reshape(len(array), -1 if len(array) else 0)
    return np.flatnonzero(bits.any(axis=1))


def decode_snapshot(data: bytes, settings: dict[str, Any]) -> list[Lines]:
    """What a snapshot with these settings keeps of each array.

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
        numbers = np.frombuffer(body, "<i8", each.lines, at)
        at += numbers.nbytes
        cells = np.frombuffer(body, each.kind, each.lines * math.prod(each.shape[1:]), at)
        at += cells.nbytes
        found.append(Lines(tuple(each.shape), numbers, cells.reshape(each.lines, *each.shape[1:])))
    return found

"""Where the values of JSON texts are, found by a kernel once for all mappings that read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.codec import encode
from streams.kernels.places import CHILD, ENTRY, LENGTH, MOST_ENTRIES, MOST_STEPS, NAME, NEXT, SLOT, find_places
from streams.kernels.slices import MARGIN, Slices
from streams.mapping.paths import FieldPath

Int64s = npt.NDArray[np.int64]
_NO_SLOT: Final = -1


class Found(NamedTuple):
    """JSON texts, the slots of each as `streams.kernels.places` has them, and whether it is read."""

    values: Slices
    slots: Int64s
    results: npt.NDArray[np.int8]


class Places:
    """The tree of some paths. `slots` are by the text of the path.

    `of` gives None where a path is not one that the kernel follows: to the record itself, from the end of a list, or by
    a name that JSON writes with escapes.
    """

    def __init__(self, entries: Int64s, names: bytes, slots: dict[str, int], width: int) -> None:
        self.slots = slots
        self._entries = entries
        self._names = np.frombuffer(names + bytes(MARGIN), np.uint8)
        self._width = width
        # What the kernel remembers about the order of fields.
        self._after = np.zeros(2 * len(entries), np.int64)

    @classmethod
    def of(cls, paths: Sequence[FieldPath]) -> Places | None:
        """The tree of these paths."""
        rows, names, slots = [[0, 0, _NO_SLOT, 0, 0]], bytearray(), dict[str, int]()
        width = 0
        for path in paths:
            if not 0 < len(path.steps) <= MOST_STEPS or not all(map(_is_followed, path.steps)):
                return None
            entry = 0
            for step in path.steps:
                entry = _child(rows, names, entry, step)
            if rows[entry][SLOT] == _NO_SLOT:
                rows[entry][SLOT] = width
                width += 1
            slots[path.text] = rows[entry][SLOT]
        if len(rows) > MOST_ENTRIES:
            return None
        return cls(np.array(rows, np.int64).reshape(-1, ENTRY), bytes(names), slots, width)

    def found(self, texts: Sequence[bytes | None]) -> Found:
        """Where the values are."""
        values = Slices.of(texts)
        slots = np.empty((len(values), self._width), np.int64)
        results = np.empty(len(values), np.int8)
        # Not kept: several threads may read by one mapping.
        scratch = np.empty(3 * (len(self._entries) + 1), np.int64)
        find_places(*values.arrays, self._entries, self._names, self._after, scratch, slots, results)
        return Found(values, slots, results)


def _is_followed(step: str | int) -> bool:
    return step >= 0 if isinstance(step, int) else encode(step)[1:-1] == step.encode()


def _child(rows: list[list[int]], names: bytearray, parent: int, step: str | int) -> int:
    """The entry of a step, which is added if it is new."""
    text = step.encode() if isinstance(step, str) else None
    last, child = 0, rows[parent][CHILD]
    while child:
        name, length = rows[child][NAME], rows[child][LENGTH]
        if (length < 0 and name == step) if text is None else (length >= 0 and names[name : name + length] == text):
            return child
        last, child = child, rows[child][NEXT]
    rows.append([int(step) if text is None else len(names), -1 if text is None else len(text), _NO_SLOT, 0, 0])
    names += text or b""
    if last:
        rows[last][NEXT] = len(rows) - 1
    else:
        rows[parent][CHILD] = len(rows) - 1
    return len(rows) - 1

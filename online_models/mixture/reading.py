"""Lines of outcomes to rows: by the kernel `scan`, and one by one with msgspec where that is not sure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, overload

import numpy as np

from online_models.mixture.examples import Example, read_example
from online_models.mixture.layout import FIELDS, NAMED, ROW_SLOTS
from online_models.mixture.rows import Fields, Rows, slots_of, text_hash
from online_models.mixture.scan import FORMER, KNOWN, LINE, PLACES, ROW, SLOT, scan
from online_models.mixture.selection import Selection
from online_models.mixture.texts import Texts
from schemas.instructions import PLAIN_BYTES
from schemas.reading import Unreadable

# The shortest feature, `"":1,`, has five bytes. A row has up to six slots besides.
_SLOT_BYTES: Final = 5
_OTHER_SLOTS: Final = len(NAMED) + 1
# Behind the last line and its end, as much as the scanner looks at together.
_MARGIN: Final = b"\n" * (PLAIN_BYTES - 1)


@dataclass(slots=True)
class Batch:
    """Rows, the ids of their impressions as UTF-8, and the key of each field of `NAMED`, 0 where a row has none.

    `served` is the probability that the bidder sent, NaN without one. `partitions` are those of the join, and
    `delays_ms` how long after its impression it was clicked, 0 where an outcome does not say it.
    """

    rows: Rows
    ids: Sequence[bytes]
    named_keys: np.ndarray
    served: np.ndarray
    partitions: np.ndarray
    delays_ms: np.ndarray


class _Ids(Sequence[bytes]):
    """Ids that are cut out of a text when they are asked for: `clickfold learn` asks for none."""

    def __init__(self, joined: bytes, spans: np.ndarray, by_hand: Mapping[int, bytes]) -> None:
        self._joined, self._spans, self._by_hand = joined, spans, by_hand

    def __len__(self) -> int:
        return len(self._spans)

    @overload
    def __getitem__(self, place: int) -> bytes: ...
    @overload
    def __getitem__(self, place: slice) -> list[bytes]: ...
    def __getitem__(self, place: int | slice) -> bytes | list[bytes]:
        if isinstance(place, slice):
            return [self[each] for each in range(len(self))[place]]
        row = range(len(self))[place]
        at, to = self._spans[row].tolist()
        return self._by_hand.get(row) or self._joined[at:to]

    def __iter__(self) -> Iterator[bytes]:
        joined, by_hand = self._joined, self._by_hand
        return iter([by_hand.get(row) or joined[at:to] for row, (at, to) in enumerate(self._spans.tolist())])


class Reader:
    """Reads batches of lines; with `shown`, impressions that were shown are rows too, with the label -1.

    `texts` has the text of each key that a row had of the fields `slices`, which are of `NAMED`.
    """

    def __init__(
        self, known: Fields, selection: Selection | None = None, *, slices: Sequence[str] = (), shown: bool = False
    ) -> None:
        self._known, self._selection, self._shown = known, selection, shown
        self._columns = [NAMED.index(name) for name in slices]
        self.texts = Texts()

    def read(self, lines: Sequence[bytes], refused: Callable[[int, Unreadable | None], None]) -> Batch:
        """The rows of these lines, in order.

        Calls `refused` for each line that is no example, with its place and why; None for a repeat or an orphan.
        """
        joined = b"\n".join((*lines, _MARGIN))
        starts = np.zeros(len(lines) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, lines), np.int64, len(lines)) + 1, out=starts[1:])
        rows, slots = len(lines), len(joined) // _SLOT_BYTES + _OTHER_SLOTS * len(lines) + ROW_SLOTS
        start, labels, weights = np.zeros(rows + 1, np.int64), np.empty(rows, np.int8), np.empty(rows)
        ts, ids, served = np.empty(rows, np.int64), np.zeros((rows, 2), np.int64), np.zeros((rows, 2), np.int64)
        decided = np.zeros((rows, 2), np.int64)
        spans, named = np.zeros((rows, len(NAMED), 2), np.int64), np.zeros((rows, len(NAMED)), np.uint64)
        keys, values, numbers = np.empty(slots, np.uint64), np.empty(slots), np.empty(slots, np.uint8)
        field_of, slot_names = np.empty(slots, np.int64), np.empty(slots, np.uint64)
        text, former = np.frombuffer(joined, np.uint8), np.zeros((PLACES, FORMER), np.uint64)
        state = np.array([0, 0, 0, self._known.count, self._shown], np.int64)
        by_hand: dict[int, bytes] = {}
        sent = dict[int, float]()
        while True:
            scan(
                *(text, starts, state, self._known.hashes, start, keys, values, numbers, field_of, slot_names),
                *(labels, weights, ts, ids, served, decided, spans, named),
                *(former, np.zeros(3, np.uint64), np.zeros(2)),
            )
            self._known.count = int(state[KNOWN])
            line, row, slot = int(state[LINE]), int(state[ROW]), int(state[SLOT])
            if line == len(lines):
                break
            example = read_example(lines[line], shown=self._shown)
            state[LINE] += 1
            if example is None or isinstance(example, Unreadable):
                refused(line, example)
                continue
            found = sorted(slots_of(example, self._known), key=lambda each: each[0])
            end = slot + len(found)
            field_of[slot:end], keys[slot:end], values[slot:end], numbers[slot:end] = zip(*found, strict=True)
            label = -1 if example.label is None else example.label
            labels[row], weights[row], ts[row] = label, example.weight, example.ts or 0
            by_hand[row], served[row] = example.impression_id.encode(), 0
            decided[row] = example.join_partition or 0, example.delay_ms or 0
            if example.pctr is not None:
                sent[row] = example.pctr
            self._name(example, named[row])
            start[row + 1] = end
            state[ROW], state[SLOT], state[KNOWN] = row + 1, end, self._known.count
        for column in self._columns:
            self.texts.take(joined, spans[:row], named[:row], column)
        own, its = slice(row), slice(slot)
        slots_columns = (start[: row + 1], keys[its], values[its], numbers[its], field_of[its])
        if self._selection is not None:
            slots_columns = self._selection.of(self._known, *slots_columns)
        return Batch(
            Rows.of(*slots_columns, labels[own], weights[own], ts[own]),
            _Ids(joined, ids[own], by_hand),
            named[own],
            _served(joined, served[own], sent),
            *(column.copy() for column in decided[own].T),
        )

    def _name(self, example: Example, named: np.ndarray) -> None:
        for number, name in enumerate(NAMED):
            value = getattr(example, name)
            key = text_hash(name, value) if value is not None else 0
            named[number] = key
            if value is not None and number in self._columns:
                self.texts[key] = value


def _served(joined: bytes, spans: np.ndarray, sent: Mapping[int, float]) -> np.ndarray:
    """The probabilities at these places of the text, and those that were read by hand; NaN elsewhere."""
    found = np.full(len(spans), np.nan)
    for row in np.flatnonzero(spans[:, 1]).tolist():
        at, to = spans[row].tolist()
        found[row] = float(joined[at:to])
    for row, value in sent.items():
        found[row] = value
    return np.where((found >= 0.0) & (found <= 1.0), found, np.nan)


assert FIELDS > _OTHER_SLOTS, "fields of `features` have numbers of their own"

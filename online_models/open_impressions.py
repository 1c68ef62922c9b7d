"""Impressions whose label is not known yet, and what each record of the log says about them.

Time is the latest impression time that the log has had. A click is as late as that time is behind its impression, which
is how late a learner sees it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import xxhash
from numpy.typing import NDArray

from online_models.delays import LONGEST_WAIT_MS, Delays
from online_models.turns import EVERYTHING, TURNS, Turn, latest

Policy = Literal["wait", "fake_negative", "reversal", "matched"]
POLICIES: Final[tuple[Policy, ...]] = ("wait", "fake_negative", "reversal", "matched")
# An id is hashed apart from the hash that samples impressions: of all that are sampled, that one is small.
_SEED: Final = 1
DEFAULT_POLICY: Final[Policy] = "matched"
# What an event is: an impression was shown, its negative is due, or its label came.
SHOWN, DUE, CLICKED, UNCLICKED = 0, 1, 2, 3
_NONE: Final = -1


def keys_of(ids: Iterable[bytes]) -> list[int]:
    """What impressions are known by, and what their delays are drawn with: a hash of each id."""
    return [xxhash.xxh3_64_intdigest(each, _SEED) for each in ids]


@dataclass(slots=True)
class _Open:
    serial: int
    ts_ms: int
    due_ms: int
    weight: float
    learned: bool
    # Whether a checkpoint has it, perhaps as it was before.
    saved: bool = False


@dataclass(frozen=True, slots=True)
class Events:
    """What happens in a batch, in order, as columns.

    `serials` number impressions as they were shown, -1 for one that is not open; those of this batch begin at `first`,
    and `born` has the record of each. `records` are numbers in the batch. `learned`: whether the negative was learned
    before, with `weights`.
    """

    whats: NDArray[np.uint8]
    serials: NDArray[np.int64]
    records: NDArray[np.int64]
    learned: NDArray[np.bool_]
    weights: NDArray[np.float64]
    first: int
    born: NDArray[np.int64]


class OpenImpressions:
    """The open impressions of one log, under a policy other than to wait.

    One that gets no label is forgotten 32 days later, so it has those of the longest window at most.
    """

    column_count: Final = 8

    def __init__(self, policy: Policy) -> None:
        self._matched = policy == "matched"
        self.delays = Delays()
        self._open: dict[int, _Open] = {}
        # Due times of negatives, with serial and id. One whose impression has its label by then is passed over.
        self._due: list[tuple[int, int, int]] = []
        self._next_serial = 0
        # Since the last checkpoint: keys of what is new or changed, and serials it has that are not open any more.
        self._unsaved: dict[int, None] = {}
        self._gone: list[int] = []
        # Keys of what is saved, by turn. Those that are not open any more stay until it is their turn.
        self._turns: list[list[int]] = [[] for _ in range(TURNS)]

    def __len__(self) -> int:
        return len(self._open)

    def follow(
        self, keys: Sequence[int], ts: Sequence[int], labels: Sequence[int], weights: Sequence[float], *, latest_ms: int
    ) -> tuple[Events, int]:
        """Takes records in the order of the log; returns what happens, and the latest impression time.

        `keys` are those of `keys_of`. A label is -1 for `shown`.
        """
        found: list[tuple[int, int, int, bool, float]] = []
        first, born = self._next_serial, list[int]()
        for record, (key, ts_ms, label, weight) in enumerate(zip(keys, ts, labels, weights, strict=True)):
            latest_ms = max(latest_ms, ts_ms)
            while self._due and self._due[0][0] <= latest_ms:
                _, serial, due_key = heapq.heappop(self._due)
                due = self._open.get(due_key)
                if due is not None and due.serial == serial:
                    due.learned = True
                    self._unsaved[due_key] = None
                    found.append((DUE, serial, record, False, due.weight))
            own = self._open.get(key)
            if own is not None and own.ts_ms < latest_ms - LONGEST_WAIT_MS:
                own = None
            if label < 0:
                if own is None:
                    found.append((SHOWN, self._next_serial, record, False, weight))
                    born.append(record)
                    self._show(key, ts_ms, weight)
                continue
            if label and self._matched:
                self.delays.add(latest_ms - ts_ms)
            what = CLICKED if label else UNCLICKED
            if own is None:
                found.append((what, _NONE, record, False, 0.0))
            else:
                found.append((what, own.serial, record, own.learned, own.weight))
                self._drop(key)
        whats, serials, records, learned, all_weights = zip(*found, strict=True) if found else ((), (), (), (), ())
        events = Events(
            np.array(whats, np.uint8),
            np.array(serials, np.int64),
            np.array(records, np.int64),
            np.array(learned, np.bool_),
            np.array(all_weights, np.float64),
            first,
            np.array(born, np.int64),
        )
        return events, latest_ms

    def _show(self, key: int, ts_ms: int, weight: float) -> None:
        # An expired one with this id goes first: the order of what is kept is that of serials.
        self._drop(key)
        own = _Open(self._next_serial, ts_ms, ts_ms, weight, learned=not self._matched)
        if self._matched:
            own.due_ms += self.delays.draw(key / 2**64)
            heapq.heappush(self._due, (own.due_ms, own.serial, key))
        self._open[key] = own
        self._unsaved[key] = None
        self._next_serial += 1

    def _drop(self, key: int) -> None:
        gone = self._open.pop(key, None)
        self._unsaved.pop(key, None)
        if gone is not None and gone.saved:
            self._gone.append(gone.serial)

    def forget(self, latest_ms: int) -> None:
        """Forgets impressions that can get no label any more. It changes nothing that `follow` returns."""
        least_ms = latest_ms - LONGEST_WAIT_MS
        # A negative that is not learned yet stays: it is due with the next record.
        for key in [key for key, own in self._open.items() if own.ts_ms < least_ms and own.learned]:
            self._drop(key)

    def serials(self) -> NDArray[np.int64]:
        """Of all open impressions, ascending."""
        return np.array([own.serial for own in self._open.values()], np.int64)

    def columns(self, turn: Turn = EVERYTHING) -> list[bytes]:
        """What the turn selects of the state, as little-endian columns for `restore`."""
        keys = self._open if turn.part is None else [*self._unsaved, *self._of_turn(turn.part)]
        chosen = [(key, self._open[key]) for key in keys]
        return [
            np.array([self._next_serial, *(own.serial for _, own in chosen)], "<i8").tobytes(),
            np.array([key for key, _ in chosen], "<u8").tobytes(),
            np.array([own.ts_ms for _, own in chosen], "<i8").tobytes(),
            np.array([own.due_ms for _, own in chosen], "<i8").tobytes(),
            np.array([own.weight for _, own in chosen], "<f8").tobytes(),
            np.array([own.learned for _, own in chosen], np.uint8).tobytes(),
            np.array([] if turn.part is None else self._gone, "<i8").tobytes(),
            self.delays.clicks.astype("<f8").tobytes(),
        ]

    def _of_turn(self, part: int) -> list[int]:
        """Keys of saved impressions whose turn it is."""
        found = [key for key in self._turns[part] if (own := self._open.get(key)) and own.serial % TURNS == part]
        self._turns[part] = found
        return found

    def saved(self) -> None:
        """What `columns` would give now is saved."""
        for key in self._unsaved:
            self._save(key, self._open[key])
        self._unsaved.clear()
        self._gone.clear()

    def _save(self, key: int, own: _Open) -> None:
        if not own.saved:
            own.saved = True
            self._turns[own.serial % TURNS].append(key)

    def restore(self, saved: Sequence[Sequence[bytes]]) -> None:
        """Takes columns by turns in their order, in place of what there is."""
        kinds = ("<i8", "<u8", "<i8", "<i8", "<f8", "u1", "<i8", "<f8")
        found = [tuple(map(np.frombuffer, columns, kinds)) for columns in saved]
        every = [found_serials[1:] for found_serials, *_ in found]
        gone = np.concatenate([columns[6] for columns in found])
        serials = np.concatenate(every)
        places = latest([serials], np.setdiff1d(serials, gone))
        columns = [np.concatenate([each[number] for each in found])[places].tolist() for number in range(1, 6)]
        numbers, (keys, ts, due, weights, learned) = serials[places].tolist(), columns
        each_own = zip(numbers, ts, due, weights, map(bool, learned), strict=True)
        self._open = {key: _Open(*own) for key, own in zip(keys, each_own, strict=True)}
        self._due = [(own.due_ms, own.serial, key) for key, own in self._open.items() if not own.learned]
        heapq.heapify(self._due)
        self._unsaved, self._turns = dict.fromkeys(self._open), [[] for _ in range(TURNS)]
        self.saved()
        self._next_serial = int(found[-1][0][0])
        self.delays.take(found[-1][7])

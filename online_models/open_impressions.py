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

from online_models.by_serial import BySerial
from online_models.delays import LONGEST_WAIT_MS, Delays
from online_models.turns import EVERYTHING, Turn, latest

Policy = Literal["wait", "fake_negative", "reversal", "matched"]
POLICIES: Final[tuple[Policy, ...]] = ("wait", "fake_negative", "reversal", "matched")
# An id is hashed apart from the hash that samples impressions: of all that are sampled, that one is small.
_SEED: Final = 1
DEFAULT_POLICY: Final[Policy] = "matched"
# What an event is: an impression was shown, its negative is due, or its label came.
SHOWN, DUE, CLICKED, UNCLICKED = 0, 1, 2, 3
_NONE: Final = -1
# What a checkpoint has of each impression and the types, and the serials of those that are not open any more.
_SAVED: Final = {
    "serials": "<i8",
    "keys": "<u8",
    "ts": "<i8",
    "due": "<i8",
    "weights": "<f8",
    "learned": "u1",
    "gone": "<i8",
}


def keys_of(ids: Iterable[bytes]) -> list[int]:
    """What impressions are known by, and what their delays are drawn with: a hash of each id."""
    return [xxhash.xxh3_64_intdigest(each, _SEED) for each in ids]


@dataclass(slots=True)
class _Open:
    serial: int
    ts_ms: int
    weight: float
    learned: bool


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

    column_count: Final = len(_SAVED) + 2

    def __init__(self, policy: Policy) -> None:
        self._matched = policy == "matched"
        self.delays = Delays()
        self._open: dict[int, _Open] = {}
        # Due times of negatives, with serial and id. One whose impression has its label by then is passed over.
        self._due: list[tuple[int, int, int]] = []
        self._next_serial = 0
        # The same as `_open` in columns, for checkpoints.
        self._columns = BySerial(
            {name: np.zeros(0, kind) for name, kind in _SAVED.items() if name not in ("serials", "gone")}
        )
        # Serials of impressions that were forgotten because another one with their id was shown.
        self._replaced: list[int] = []

    def __len__(self) -> int:
        return len(self._open)

    def follow(
        self, keys: Sequence[int], ts: Sequence[int], labels: Sequence[int], weights: Sequence[float], *, latest_ms: int
    ) -> tuple[Events, int]:
        """Takes records in the order of the log; returns what happens, and the latest impression time.

        `keys` are those of `keys_of`. A label is -1 for `shown`.
        """
        found: list[tuple[int, int, int, bool, float]] = []
        first, born, due_ms = self._next_serial, list[int](), list[int]()
        for record, (key, ts_ms, label, weight) in enumerate(zip(keys, ts, labels, weights, strict=True)):
            latest_ms = max(latest_ms, ts_ms)
            while self._due and self._due[0][0] <= latest_ms:
                _, serial, due_key = heapq.heappop(self._due)
                due = self._open.get(due_key)
                if due is not None and due.serial == serial:
                    due.learned = True
                    found.append((DUE, serial, record, False, due.weight))
            own = self._open.get(key)
            if own is not None and own.ts_ms < latest_ms - LONGEST_WAIT_MS:
                own = None
            if label < 0:
                if own is None:
                    found.append((SHOWN, self._next_serial, record, False, weight))
                    born.append(record)
                    due_ms.append(self._show(key, ts_ms, weight))
                continue
            if label and self._matched:
                self.delays.add(latest_ms - ts_ms)
            what = CLICKED if label else UNCLICKED
            if own is None:
                found.append((what, _NONE, record, False, 0.0))
            else:
                found.append((what, own.serial, record, own.learned, own.weight))
                del self._open[key]
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
        self._note(events, keys, ts, due_ms, weights)
        return events, latest_ms

    def _note(
        self, events: Events, keys: Sequence[int], ts: Sequence[int], due_ms: Sequence[int], weights: Sequence[float]
    ) -> None:
        """Does in the columns what was done to `_open`."""
        born = events.born
        self._columns.add(
            events.first + np.arange(len(born)),
            keys=np.array(keys, np.uint64)[born],
            ts=np.array(ts, np.int64)[born],
            due=np.array(due_ms, np.int64),
            weights=np.array(weights, np.float64)[born],
            learned=np.full(len(born), not self._matched),
        )
        self._columns.change(self._columns.find(events.serials[events.whats == DUE])[1], learned=True)
        gone = events.serials[(events.whats >= CLICKED) & (events.serials >= 0)]
        self._close(np.concatenate((gone, np.array(self._replaced, np.int64))))
        self._replaced.clear()

    def _close(self, serials: NDArray[np.int64]) -> None:
        if self._columns.close(self._columns.find(serials)[1]):
            self._columns.keep(self._columns.open())

    def _show(self, key: int, ts_ms: int, weight: float) -> int:
        """Opens an impression; returns when its negative is due."""
        # An expired one with this id goes first: the order of what is kept is that of serials.
        if key in self._open:
            self._replaced.append(self._open.pop(key).serial)
        own, due_ms = _Open(self._next_serial, ts_ms, weight, learned=not self._matched), ts_ms
        if self._matched:
            due_ms += self.delays.draw(key / 2**64)
            heapq.heappush(self._due, (due_ms, own.serial, key))
        self._open[key] = own
        self._next_serial += 1
        return due_ms

    def forget(self, latest_ms: int) -> None:
        """Forgets impressions that can get no label any more. It changes nothing that `follow` returns."""
        least_ms = latest_ms - LONGEST_WAIT_MS
        # A negative that is not learned yet stays: it is due with the next record.
        places = self._columns.open()
        learned, ts = self._columns.column("learned")[places], self._columns.column("ts")[places]
        places = places[(learned != 0) & (ts < least_ms)]
        for key in self._columns.column("keys")[places].tolist():
            del self._open[key]
        self._close(self._columns.column("serials")[places])

    def serials(self) -> NDArray[np.int64]:
        """Of all open impressions, ascending."""
        found: NDArray[np.int64] = self._columns.column("serials")[self._columns.open()]
        return found

    def columns(self, turn: Turn = EVERYTHING) -> list[bytes]:
        """What the turn selects of the state, as little-endian columns for `restore`."""
        places = self._columns.open(turn)
        found = {name: self._columns.column(name)[places] for name in _SAVED if name != "gone"}
        found["gone"] = self._columns.gone(turn)
        columns = [found[name].astype(kind).tobytes() for name, kind in _SAVED.items()]
        return [*columns, np.array([self._next_serial], "<i8").tobytes(), self.delays.clicks.astype("<f8").tobytes()]

    def saved(self) -> None:
        """What `columns` would give now is saved."""
        self._columns.saved()

    def restore(self, saved: Sequence[Sequence[bytes]]) -> None:
        """Takes columns by turns in their order, in place of what there is."""
        found = {
            name: np.concatenate([np.frombuffer(columns[place], kind) for columns in saved])
            for place, (name, kind) in enumerate(_SAVED.items())
        }
        gone, serials = found.pop("gone"), found["serials"]
        places = latest([serials], np.setdiff1d(serials, gone))
        values = {name: column[places] for name, column in found.items()}
        keys, learned = values["keys"].tolist(), values["learned"].astype(bool).tolist()
        own = (values[name].tolist() for name in ("serials", "ts", "weights"))
        self._open = {key: _Open(*each) for key, *each in zip(keys, *own, learned, strict=True)}
        due = zip(values["due"].tolist(), values["serials"].tolist(), keys, learned, strict=True)
        self._due = [(due_ms, serial, key) for due_ms, serial, key, known in due if not known]
        heapq.heapify(self._due)
        self._columns.keep(np.zeros(0, np.int64))
        self._columns.add(values.pop("serials"), **values)
        self.saved()
        *_, next_serial, clicks = saved[-1]
        self._next_serial = int(np.frombuffer(next_serial, "<i8")[0])
        self.delays.take(np.frombuffer(clicks, "<f8"))

"""Impressions whose label is not known yet, and what each record of the log says about them.

Each join partition has a clock of its own, which its labels move (`label_clock`). A click is as late as that clock is
behind its impression, which is how late a learner sees it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray

from online_models.by_serial import BySerial
from online_models.delays import LONGEST_WAIT_MS, Delays
from online_models.label_clock import LabelClock
from online_models.turns import EVERYTHING, Turn, joined, latest

Policy = Literal["wait", "fake_negative", "reversal", "matched"]
POLICIES: Final[tuple[Policy, ...]] = ("wait", "fake_negative", "reversal", "matched")
# An id is hashed apart from the hash that samples impressions: of all that are sampled, that one is small.
_SEED: Final = 1
DEFAULT_POLICY: Final[Policy] = "matched"
# What an event is: an impression was shown, its negative is due, or its label came.
SHOWN, DUE, CLICKED, UNCLICKED = 0, 1, 2, 3
_NONE: Final = -1
# Before a join partition has a label, its clicks may be few or late. Negatives of so many impressions are learned at
# most, as if its clicks were not late: with them a new model predicts .003, and clicks on ads are about as rare.
_UNSEEN_WEIGHT: Final = 100.0
# What a checkpoint has of each impression and the types, and the serials of those that are not open any more.
_SAVED: Final = {
    "serials": "<i8",
    "keys": "<u8",
    "ts": "<i8",
    "due": "<i8",
    "weights": "<f8",
    "partitions": "<i8",
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


class _Partition:
    """The clock of a join partition, and the due times of its negatives, with serial and id, as a heap.

    One whose impression has its label by then is passed over.
    """

    __slots__ = ("clock", "due")

    def __init__(self) -> None:
        self.clock = LabelClock()
        self.due: list[tuple[int, int, int]] = []


class Followed(NamedTuple):
    """Records as columns, in the order of the log. `keys` are those of `keys_of`.

    A label is -1 for `shown`. `partitions` are those of the join; `delays_ms` say how long after its impression it was
    clicked, 0 for what is no click.
    """

    keys: Sequence[int]
    ts: Sequence[int]
    labels: Sequence[int]
    weights: Sequence[float]
    partitions: Sequence[int]
    delays_ms: Sequence[int]


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

    column_count: Final = len(_SAVED) + 3

    def __init__(self, policy: Policy) -> None:
        self._matched = policy == "matched"
        self.delays = Delays()
        self._open: dict[int, _Open] = {}
        self._partitions: dict[int, _Partition] = {}
        self._next_serial = 0
        # The impressions whose negatives were learned although their partition had no label.
        self._unseen_weight = 0.0
        # The same as `_open` in columns, for checkpoints.
        self._columns = BySerial(
            {name: np.zeros(0, kind) for name, kind in _SAVED.items() if name not in ("serials", "gone")}
        )
        # Serials of impressions that were forgotten because another one with their id was shown.
        self._replaced: list[int] = []

    def __len__(self) -> int:
        return len(self._open)

    def follow(self, records: Followed, *, latest_ms: int) -> tuple[Events, int]:
        """Takes records in the order of the log; returns what happens, and the latest impression time."""
        found: list[tuple[int, int, int, bool, float]] = []
        first, born, due_ms = self._next_serial, list[int](), list[int]()
        for record, (key, ts_ms, label, weight, partition, delay_ms) in enumerate(zip(*records, strict=True)):
            latest_ms = max(latest_ms, ts_ms)
            least_ms = latest_ms - LONGEST_WAIT_MS
            if self._matched:
                its = self._move(partition, ts_ms, label, delay_ms)
                found += [(DUE, due.serial, record, False, due.weight) for due in self._due(its, least_ms)]
            own = self._open.get(key)
            if own is not None and own.ts_ms < least_ms:
                own = None
            if label < 0:
                if own is None:
                    found.append((SHOWN, self._next_serial, record, False, weight))
                    born.append(record)
                    due_ms.append(self._show(key, ts_ms, weight, partition))
                continue
            what = CLICKED if label else UNCLICKED
            if own is None:
                found.append((what, _NONE, record, False, 0.0))
            else:
                found.append((what, own.serial, record, own.learned, own.weight))
                del self._open[key]
        whats, serials, numbers, learned, all_weights = zip(*found, strict=True) if found else ((), (), (), (), ())
        events = Events(
            np.array(whats, np.uint8),
            np.array(serials, np.int64),
            np.array(numbers, np.int64),
            np.array(learned, np.bool_),
            np.array(all_weights, np.float64),
            first,
            np.array(born, np.int64),
        )
        self._note(events, records, due_ms)
        return events, latest_ms

    def _move(self, partition: int, ts_ms: int, label: int, delay_ms: int) -> _Partition:
        """Moves the clock of the record's partition, and returns that; learns how late its click is."""
        if (its := self._partitions.get(partition)) is None:
            its = self._partitions[partition] = _Partition()
        if label < 0:
            its.clock.shown(ts_ms)
        elif label:
            its.clock.clicked(ts_ms, ts_ms + min(max(delay_ms, 0), LONGEST_WAIT_MS))
            self.delays.add(its.clock.reached_ms - ts_ms)
        else:
            its.clock.unclicked(ts_ms)
        return its

    def _due(self, its: _Partition, least_ms: int) -> Iterator[_Open]:
        """The impressions of a partition whose negatives are due now."""
        until_ms = its.clock.reached_ms if its.clock.labelled else its.clock.latest_ms
        while its.due and its.due[0][0] <= until_ms:
            if not its.clock.labelled and self._unseen_weight >= _UNSEEN_WEIGHT:
                return
            _, serial, key = heapq.heappop(its.due)
            own = self._open.get(key)
            if own is None or own.serial != serial or own.ts_ms < least_ms:
                continue
            if not its.clock.labelled:
                self._unseen_weight += own.weight
            own.learned = True
            yield own

    def _note(self, events: Events, records: Followed, due_ms: Sequence[int]) -> None:
        """Does in the columns what was done to `_open`."""
        born = events.born
        self._columns.add(
            events.first + np.arange(len(born)),
            keys=np.array(records.keys, np.uint64)[born],
            ts=np.array(records.ts, np.int64)[born],
            due=np.array(due_ms, np.int64),
            weights=np.array(records.weights, np.float64)[born],
            partitions=np.array(records.partitions, np.int64)[born],
            learned=np.full(len(born), not self._matched),
        )
        self._columns.change(self._columns.find(events.serials[events.whats == DUE])[1], learned=True)
        gone = events.serials[(events.whats >= CLICKED) & (events.serials >= 0)]
        self._close(np.concatenate((gone, np.array(self._replaced, np.int64))))
        self._replaced.clear()

    def _close(self, serials: NDArray[np.int64]) -> None:
        if self._columns.close(self._columns.find(serials)[1]):
            self._columns.keep(self._columns.open())

    def _show(self, key: int, ts_ms: int, weight: float, partition: int) -> int:
        """Opens an impression; returns when its negative is due."""
        # An expired one with this id goes first: the order of what is kept is that of serials.
        if key in self._open:
            self._replaced.append(self._open.pop(key).serial)
        own, due_ms = _Open(self._next_serial, ts_ms, weight, learned=not self._matched), ts_ms
        if self._matched:
            due_ms += self.delays.draw(key / 2**64)
            heapq.heappush(self._partitions[partition].due, (due_ms, own.serial, key))
        self._open[key] = own
        self._next_serial += 1
        return due_ms

    def forget(self, latest_ms: int) -> None:
        """Forgets impressions that can get no label any more. It changes nothing that `follow` returns."""
        least_ms = latest_ms - LONGEST_WAIT_MS
        places = self._columns.open()
        places = places[self._columns.column("ts")[places] < least_ms]
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
        clocks = [(partition, *its.clock.state()) for partition, its in self._partitions.items()]
        return [
            *(found[name].astype(kind).tobytes() for name, kind in _SAVED.items()),
            np.array([self._next_serial], "<i8").tobytes(),
            np.array(clocks, "<i8").tobytes(),
            np.array([self._unseen_weight, *self.delays.clicks], "<f8").tobytes(),
        ]

    def saved(self) -> None:
        """What `columns` would give now is saved."""
        self._columns.saved()

    def restore(self, saved: Sequence[Sequence[bytes]]) -> None:
        """Takes columns by turns in their order, in place of what there is."""
        found = dict(zip(_SAVED, joined(saved, _SAVED.values()), strict=True))
        *_, next_serial, clocks, clicks = saved[-1]
        self._next_serial = int(np.frombuffer(next_serial, "<i8")[0])
        self._unseen_weight, *counted = np.frombuffer(clicks, "<f8").tolist()
        self.delays.take(np.array(counted))
        self._partitions = {}
        for partition, *state in np.frombuffer(clocks, "<i8").reshape(-1, 5).tolist():
            self._partitions[partition] = _Partition()
            self._partitions[partition].clock.restore(state)
        gone, serials = found.pop("gone"), found["serials"]
        places = latest(serials, np.setdiff1d(serials, gone))
        values = {name: column[places] for name, column in found.items()}
        keys, learned = values["keys"].tolist(), values["learned"].astype(bool).tolist()
        own = (values[name].tolist() for name in ("serials", "ts", "weights"))
        self._open = {key: _Open(*each) for key, *each in zip(keys, *own, learned, strict=True)}
        due = (values[name].tolist() for name in ("partitions", "due", "serials"))
        for partition, due_ms, serial, key, known in zip(*due, keys, learned, strict=True):
            if not known:
                self._partitions[partition].due.append((due_ms, serial, key))
        for its in self._partitions.values():
            heapq.heapify(its.due)
        self._columns.keep(np.zeros(0, np.int64))
        self._columns.add(values.pop("serials"), **values)
        self.saved()

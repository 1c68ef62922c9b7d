"""Drives models: a fold over one partition of `outcomes`, one shard of the model.

`order` says when it learns under the policy `wait`, `open_impressions` and `policies` say it for the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from online_models.lineup import Lineup
from online_models.measuring import Measuring
from online_models.mixture.kept_rows import KeptRows
from online_models.mixture.layout import NAMED
from online_models.mixture.reading import Batch, Reader
from online_models.mixture.rows import Rows
from online_models.mixture.trail import follow
from online_models.offers import Offers
from online_models.open_impressions import CLICKED, SHOWN, Followed, OpenImpressions, keys_of
from online_models.order import arrivals, learning_order
from online_models.settings import LearnerSettings
from online_models.snapshot import Header, LearnerCounts, decode_snapshot, encode_snapshot
from online_models.turns import EVERYTHING, Turn
from online_models.waiting import WaitingClicks
from online_models.windows import Measured, Windows
from schemas.errors import BrokenInvariant
from schemas.events import MIN_TS_MS
from schemas.outcomes import SHOWN as SHOWN_KIND
from schemas.reading import Unreadable
from schemas.records import Out, Records
from schemas.topics import DAY_MS

_LOG: Final = "outcomes"


class Learner:
    """Learns one shard of a click model from outcomes; `streams.learn.fold` makes it the fold of a worker.

    `step` and `sweep` return the metrics of the windows they close, so each is written once, in the transaction of the
    record that closed the window. `report` returns the model, because only its last version matters.
    """

    def __init__(self, settings: LearnerSettings, *, shard: int) -> None:
        self.settings = settings
        self.shard = shard
        self.lineup = Lineup(settings)
        self.counts = LearnerCounts()
        self._settings_digest = settings.digest()
        self._reader = Reader(self.lineup.known, slices=settings.slices)
        self._columns = [NAMED.index(name) for name in settings.slices]
        self._shown_reader = Reader(self.lineup.known, slices=settings.slices, shown=True)
        self._shown_reader.texts = self._reader.texts
        self._waiting = WaitingClicks()
        self._open = OpenImpressions(settings.policy)
        # Whether impressions are followed. A log of a join that writes none is learned as with the policy `wait`.
        self._follows = False
        self._windows = Windows(
            window_ms=settings.window_ms,
            grace_ms=settings.grace_ms,
            dimensions=settings.slices,
            models=len(self.lineup.entrants),
        )
        self.measuring = Measuring(settings, shard, self.lineup.entrants)
        self.offers = Offers(shard=shard, publish_ms=settings.publish_ms, models=len(self.lineup.entrants))
        self._next_offset = 0
        # The impression time up to which examples are learned, and the latest impression time seen.
        self._event_ms = MIN_TS_MS
        self._latest_ms = MIN_TS_MS
        # A running hash over (offset, prediction) of every example: learners with equal trails learned the same.
        self._trail = np.zeros(1, np.uint64)
        self._ended = False
        # Whether `save` goes on from what was restored: the same models learn.
        self.continues = True

    @property
    def nbytes(self) -> int:
        """Bytes of memory the models take at most."""
        return self.lineup.nbytes

    def step(self, records: Records) -> list[Out]:
        """Learns the records; returns the metrics of windows they close."""
        if not records.offsets:
            return []
        if records.log != _LOG or records.partition != self.shard or records.offsets[0] < self._next_offset:
            raise BrokenInvariant(
                f"learner of {_LOG} {self.shard} at offset {self._next_offset} was given {records.log} "
                f"{records.partition} from offset {records.offsets[0]}; restart it from its snapshot"
            )
        return [out for part in self._between_starts(records) for out in self._step(part)]

    def _between_starts(self, records: Records) -> Iterator[Records]:
        """The records in parts within which no challenger begins."""
        start = 0
        while start < len(records):
            begins = self.lineup.next_start(records.offsets[start])
            stop = len(records) if begins is None else int(np.searchsorted(np.array(records.offsets), begins))
            yield records.slice(start, stop)
            start = stop

    def _step(self, records: Records) -> list[Out]:
        if self.settings.policy == "wait" or self._follows:
            return self._take(records)
        shown = (place for place, value in enumerate(records.values) if value and value.startswith(SHOWN_KIND))
        first = next(shown, None)
        if first is None:
            return self._take(records)
        outs = self._take(records.slice(0, first)) if first else []
        # Clicks that waited wait no longer: negatives will not be late any more.
        self._learn_waiting(self._latest_ms, limit=None, offset=records.offsets[first])
        self._follows = True
        return outs + self._take(records.slice(first, len(records)))

    def _take(self, records: Records) -> list[Out]:
        """Learns records, all of which are followed or none."""
        counts, follows = self.counts, self._follows
        # Records of kind `shown` that are not followed are left out without decoding.
        kept = [
            place
            for place, value in enumerate(records.values)
            if follows or value is None or not value.startswith(SHOWN_KIND)
        ]
        values = [records.values[place] or b"" for place in kept]
        self.offers.read(sum(map(len, values)))
        examples = np.ones(len(values), np.bool_)

        def refused(place: int, why: Unreadable | None) -> None:
            examples[place] = False
            counts.rejected += why is not None
            counts.unlabelled += why is None

        # Texts of slices are needed for as long as a batch is measured.
        self._reader.texts.clear()
        batch = (self._shown_reader if follows else self._reader).read(values, refused)
        counts.consumed += len(records)
        counts.unlabelled += len(records) - len(kept)
        places = np.flatnonzero(examples)
        outs: list[Out] = []
        if len(places):
            offsets = np.array(records.offsets, np.int64)[kept][places]
            if follows:
                outs = self._follow(batch, offsets)
            else:
                outs = self._learn(batch, offsets, [values[each] for each in places])
        self._next_offset = records.next_offset
        return outs

    def _follow(self, batch: Batch, offsets: NDArray[np.int64]) -> list[Out]:
        """Shows and learns what the records of a batch say, in log order; measures rows whose label came."""
        rows, before_ms = batch.rows, self._latest_ms
        columns = (each.tolist() for each in (rows.ts, rows.labels, rows.weights, batch.partitions, batch.delays_ms))
        events, self._latest_ms = self._open.follow(Followed(keys_of(batch.ids), *columns), latest_ms=self._latest_ms)
        predicted, reversed_ = self.lineup.follow(events, rows, offset=int(offsets[0]))
        main = _main(predicted)
        # Each prediction once: when its impression was shown, or when a label came of one that was not.
        first = (events.whats == SHOWN) | (events.serials < 0)
        follow(self._trail, offsets[events.records[first]].astype(np.uint64), main[first].view(np.uint64))
        labelled = events.whats >= CLICKED
        places = events.records[labelled]
        self.counts.learned += len(places)
        self.counts.shown += len(events.born)
        self.counts.unlabelled += len(rows) - len(places) - len(events.born)
        self.counts.reversed += reversed_
        measured = [None if each is None else each[labelled] for each in predicted]
        latest_ms = np.maximum.accumulate(np.maximum(rows.ts, before_ms))[places]
        outs = self._measured_at(batch, places, measured, offsets, latest_ms)
        if self._latest_ms // DAY_MS != before_ms // DAY_MS:
            self._forget()
        return outs

    def _measured_at(
        self,
        batch: Batch,
        places: NDArray[np.int64],
        predicted: list[NDArray[np.float64] | None],
        offsets: NDArray[np.int64],
        latest_ms: NDArray[np.int64],
    ) -> list[Out]:
        """Measures the labels of a batch, and closes windows as labels of their time come.

        `latest_ms` is the latest impression time up to each label.
        """
        rows = batch.rows
        if not len(places):
            return []
        moved = arrivals(rows.ts[places], rows.labels[places], event_ms=self._event_ms, latest_ms=latest_ms)
        self._event_ms = int(moved.event_ms[-1])
        closed = np.concatenate(([self._windows.closed_ms], self._windows.closed_by(moved.event_ms)))
        keys = batch.named_keys[places][:, self._columns]
        examples = Measured(
            rows.ts[places], rows.labels[places], rows.weights[places], batch.served[places], predicted, keys
        )
        self.counts.late += self._windows.add(examples, closed[:-1], self._reader.texts)
        return self._close(closed, offsets[places])

    def _forget(self) -> None:
        self._open.forget(self._latest_ms)
        self.lineup.keep_only(self._open.serials())

    def _learn(self, batch: Batch, offsets: NDArray[np.int64], values: Sequence[bytes]) -> list[Out]:
        """Learns the examples of a batch, in log order, that are due, and clicks that they release."""
        ts = batch.rows.ts
        moved = arrivals(ts, batch.rows.labels, event_ms=self._event_ms, latest_ms=self._latest_ms)
        for place in np.flatnonzero(moved.held).tolist():
            self._waiting.hold(int(ts[place]), offset=int(offsets[place]), value=values[place])
        self._event_ms, self._latest_ms = int(moved.event_ms[-1]), moved.latest_ms
        released, released_offsets = self._release(self._event_ms, None)
        order, arrived = learning_order(moved.event_ms, moved.held, released.rows.ts)
        closed = np.concatenate(([self._windows.closed_ms], self._windows.closed_by(moved.event_ms)))
        self._run(
            batch.rows.followed_by(released.rows).ordered(order),
            np.concatenate((offsets, released_offsets))[order],
            np.concatenate((batch.named_keys, released.named_keys))[order],
            np.concatenate((batch.served, released.served))[order],
            closed[arrived],
            int(offsets[0]),
        )
        return self._close(closed, offsets)

    def _close(self, closed_ms: NDArray[np.int64], offsets: NDArray[np.int64]) -> list[Out]:
        """Closes windows; `closed_ms` is what is closed before the records at these offsets and behind each."""
        outs: list[Out] = []
        for place in np.flatnonzero(np.diff(closed_ms)).tolist():
            for start_ms, window in self._windows.close(int(closed_ms[place + 1])):
                outs += self.measuring.metrics(start_ms, window, version=int(offsets[place]) + 1)
        return outs

    def _release(self, until_ms: int, limit: int | None) -> tuple[Batch, NDArray[np.int64]]:
        """Clicks that waited and are due, read again, with their offsets."""
        due = list(self._waiting.release(until_ms, limit=limit))
        self.counts.waiting = len(self._waiting)

        def refused(place: int, _: Unreadable | None) -> None:
            raise BrokenInvariant(f"the outcome at offset {due[place][0]} waited as a click, and now is none")

        batch = self._reader.read([value for _, value in due], refused)
        return batch, np.array([offset for offset, _ in due], np.int64)

    def _run(
        self,
        rows: Rows,
        offsets: NDArray[np.int64],
        keys: NDArray[np.uint64],
        served: NDArray[np.float64],
        closed_ms: NDArray[np.int64],
        first_offset: int,
    ) -> None:
        """Predicts, then learns, rows in the order of learning, and measures the predictions."""
        predicted = self.lineup.run(rows, offset=first_offset)
        main = _main(predicted)
        follow(self._trail, offsets.astype(np.uint64), main.view(np.uint64))
        self.counts.learned += len(rows)
        examples = Measured(rows.ts, rows.labels, rows.weights, served, predicted, keys[:, self._columns])
        self.counts.late += self._windows.add(examples, closed_ms, self._reader.texts)

    def sweep(self, limit: int) -> list[Out]:
        """After `finish`: learns clicks that still wait, at most `limit`, then closes the windows that are open."""
        outs: list[Out] = []
        if not self._ended:
            return outs
        self._event_ms = max(self._event_ms, self._latest_ms)
        self._learn_waiting(self._event_ms, limit=limit, offset=self._next_offset)
        while not self._waiting and self._windows and len(outs) < limit:
            outs += self.measuring.metrics(*self._windows.close_first(), version=self._next_offset)
        return outs

    def _learn_waiting(self, until_ms: int, *, limit: int | None, offset: int) -> None:
        """Learns clicks that wait, at most `limit`, of impressions up to a time, before the record at this offset."""
        self._reader.texts.clear()
        released, offsets = self._release(until_ms, limit)
        if len(offsets):
            closed_ms = np.full(len(offsets), self._windows.closed_ms)
            self._run(released.rows, offsets, released.named_keys, released.served, closed_ms, offset)

    def can_sweep(self) -> bool:
        """Whether another `sweep` would do something: after `finish`, clicks wait or windows are open."""
        return self._ended and bool(self._waiting or self._windows)

    def report(self, limit: int) -> list[Out]:
        """One of the models as it is now, if it is due and nothing is wrong with it; see `offers`."""
        if limit < 1 or not self.counts.learned or self.can_sweep():
            return []
        return self.offers.due(
            self.lineup.entrants,
            self.measuring.recent,
            counts=self.counts,
            offset=self._next_offset,
            event_ms=self._learned_ms,
            ended=self._ended,
        )

    @property
    def _learned_ms(self) -> int:
        """The impression time up to which something is learned."""
        return self._latest_ms if self._follows else self._event_ms

    @property
    def open(self) -> int:
        """Impressions that were shown and have no label yet."""
        return len(self._open)

    def finish(self) -> None:
        """No more outcomes will come."""
        self._ended = True

    def positions(self) -> dict[str, int]:
        """The next offset of `outcomes`."""
        return {_LOG: self._next_offset}

    def snapshot(self) -> bytes:
        """Everything a restart needs, canonical: equal states give equal bytes."""
        self._forget()
        return self._encoded(EVERYTHING)

    def save(self, turn: Turn) -> bytes:
        """What changed since the last call, and what the turn selects of the rest, for `restore`."""
        found = self._encoded(turn)
        for each in (self.lineup, self._open, self._windows):
            each.saved()
        return found

    def _encoded(self, turn: Turn) -> bytes:
        names, window_columns = self._windows.state(turn)
        header = Header(
            model=self.settings.model,
            shard=self.shard,
            settings=self._settings_digest,
            models=[each.kept() for each in self.lineup.entrants],
            next_offset=self._next_offset,
            event_ms=self._event_ms,
            latest_ms=self._latest_ms,
            follows=self._follows,
            trail=int(self._trail[0]),
            counts=self.counts,
            drift=self.measuring.drift,
            recent=self.measuring.recent,
            closed_ms=self._windows.closed_ms,
            windows=names,
            columns=[],
        )
        late = (*self._waiting.columns(), *self._open.columns(turn))
        return encode_snapshot(header, [*self.lineup.columns(turn), *late, *window_columns])

    def restore(self, *saved: bytes) -> None:
        """Goes on where a snapshot was taken, or where the last of what `save` gave was, in the order of the calls.

        These must be all since the state was empty, or the last `TURNS`, with the same models. Raises StateMismatch or
        DamagedState; it may then have taken a part, and is not to be used.
        """
        found = [
            decode_snapshot(each, model=self.settings.model, shard=self.shard, settings=self._settings_digest)
            for each in saved
        ]
        header, models = found[-1][0], len(found[-1][0].models)
        sizes = (
            models * (1 + KeptRows.column_count),
            self._waiting.column_count,
            self._open.column_count,
            # The windows have all the rest, of which an earlier file may have more.
            max(len(columns) for _, columns in found),
        )
        every = [
            [columns[start:stop] for start, stop in pairwise(accumulate(sizes, initial=0))] for _, columns in found
        ]
        of_models, waiting, open_, windows = zip(*every, strict=True)
        self._open.restore(open_)
        places = self.lineup.restore(header.models, of_models, self._open.serials())
        self.continues = places == list(range(models))
        self._waiting.restore(waiting[-1])
        self._windows.restore(
            [(each.windows, own) for (each, _), own in zip(found, windows, strict=True)],
            closed_ms=header.closed_ms,
            models=places,
        )
        self.measuring.recent = [header.recent[place] if place is not None else [] for place in places]
        self.measuring.drift = header.drift
        self.counts, self._trail[0] = header.counts, header.trail
        self._next_offset, self._event_ms, self._latest_ms = header.next_offset, header.event_ms, header.latest_ms
        self._follows = header.follows

    @property
    def trail(self) -> str:
        """A hash of every example learned, in order, with what was predicted of it: equal for equal histories."""
        return f"{int(self._trail[0]):016x}"


def _main(predicted: Sequence[NDArray[np.float64] | None]) -> NDArray[np.float64]:
    main = predicted[0]
    if main is None:
        raise BrokenInvariant("the main model learns from the first offset on")
    return main

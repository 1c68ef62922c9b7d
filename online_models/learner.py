"""Drives models: a fold over one partition of `outcomes`, one shard of the model. `order` says when it learns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from online_models.lineup import Lineup
from online_models.measuring import Measuring
from online_models.mixture.layout import NAMED
from online_models.mixture.reading import Batch, Reader
from online_models.mixture.rows import Rows
from online_models.mixture.trail import follow
from online_models.offers import Offers
from online_models.order import arrivals, learning_order
from online_models.settings import LearnerSettings
from online_models.snapshot import Header, LearnerCounts, decode_snapshot, encode_snapshot
from online_models.waiting import WaitingClicks
from online_models.windows import Measured, Windows
from schemas.errors import BrokenInvariant
from schemas.events import MIN_TS_MS
from schemas.outcomes import SHOWN
from schemas.reading import Unreadable
from schemas.records import Out, Records

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
        self._reader = Reader(self.lineup.known)
        self._columns = [NAMED.index(name) for name in settings.slices]
        self._waiting = WaitingClicks()
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
        counts = self.counts
        # Records of kind `shown` are left out without decoding: nothing is learned of them.
        kept = [place for place, value in enumerate(records.values) if value is None or not value.startswith(SHOWN)]
        values = [records.values[place] or b"" for place in kept]
        self.offers.read(sum(map(len, values)))
        examples = np.ones(len(values), np.bool_)

        def refused(place: int, why: Unreadable | None) -> None:
            examples[place] = False
            counts.rejected += why is not None
            counts.unlabelled += why is None

        # Texts of slices are needed for as long as a batch is measured.
        self._reader.texts.clear()
        batch = self._reader.read(values, refused)
        counts.consumed += len(records)
        counts.unlabelled += len(records) - len(kept)
        places = np.flatnonzero(examples)
        outs: list[Out] = []
        if len(places):
            offsets = np.array(records.offsets, np.int64)[kept][places]
            outs = self._learn(batch, offsets, [values[each] for each in places])
        self._next_offset = records.next_offset
        return outs

    def _learn(self, batch: Batch, offsets: NDArray[np.int64], values: Sequence[bytes]) -> list[Out]:
        """Learns the examples of a batch, in log order, that are due, and clicks that they release."""
        ts = batch.rows.ts
        moved = arrivals(ts, batch.rows.labels, event_ms=self._event_ms, latest_ms=self._latest_ms)
        for place in np.flatnonzero(moved.held).tolist():
            self._waiting.hold(int(ts[place]), offset=int(offsets[place]), value=values[place])
        self._event_ms, self._latest_ms = int(moved.event_ms[-1]), moved.latest_ms
        released, released_offsets = self._release(None)
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
        outs: list[Out] = []
        for place in np.flatnonzero(np.diff(closed)).tolist():
            for start_ms, window in self._windows.close(int(closed[place + 1])):
                outs += self.measuring.metrics(start_ms, window, version=int(offsets[place]) + 1)
        return outs

    def _release(self, limit: int | None) -> tuple[Batch, NDArray[np.int64]]:
        """Clicks that waited and are due, read again, with their offsets."""
        due = list(self._waiting.release(self._event_ms, limit=limit))
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
        main = predicted[0]
        if main is None:
            raise BrokenInvariant("the main model learns from the first offset on")
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
        self._reader.texts.clear()
        released, offsets = self._release(limit)
        if len(offsets):
            closed_ms = np.full(len(offsets), self._windows.closed_ms)
            self._run(released.rows, offsets, released.named_keys, released.served, closed_ms, self._next_offset)
        while not self._waiting and self._windows and len(outs) < limit:
            outs += self.measuring.metrics(*self._windows.close_first(), version=self._next_offset)
        return outs

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
            event_ms=self._event_ms,
            ended=self._ended,
        )

    def finish(self) -> None:
        """No more outcomes will come."""
        self._ended = True

    def positions(self) -> dict[str, int]:
        """The next offset of `outcomes`."""
        return {_LOG: self._next_offset}

    def snapshot(self) -> bytes:
        """Everything a restart needs, canonical: equal states give equal bytes."""
        names, window_columns = self._windows.state()
        header = Header(
            model=self.settings.model,
            shard=self.shard,
            settings=self._settings_digest,
            models=[each.kept() for each in self.lineup.entrants],
            next_offset=self._next_offset,
            event_ms=self._event_ms,
            latest_ms=self._latest_ms,
            trail=int(self._trail[0]),
            counts=self.counts,
            drift=self.measuring.drift,
            recent=self.measuring.recent,
            closed_ms=self._windows.closed_ms,
            windows=names,
            columns=[],
        )
        return encode_snapshot(header, [*self.lineup.snapshots(), *self._waiting.columns(), *window_columns])

    def restore(self, snapshot: bytes) -> None:
        """Goes on where `snapshot` was taken. Raises StateMismatch or DamagedState, and then changes nothing."""
        header, columns = decode_snapshot(
            snapshot, model=self.settings.model, shard=self.shard, settings=self._settings_digest
        )
        waiting_from = len(header.models)
        windows_from = waiting_from + self._waiting.column_count
        places = self.lineup.restore(header.models, columns[:waiting_from])
        self._waiting.restore(columns[waiting_from:windows_from])
        self._windows.restore(
            closed_ms=header.closed_ms, names=header.windows, columns=columns[windows_from:], models=places
        )
        self.measuring.recent = [header.recent[place] if place is not None else [] for place in places]
        self.measuring.drift = header.drift
        self.counts, self._trail[0] = header.counts, header.trail
        self._next_offset, self._event_ms, self._latest_ms = header.next_offset, header.event_ms, header.latest_ms

    @property
    def trail(self) -> str:
        """A hash of every example learned, in order, with what was predicted of it: equal for equal histories."""
        return f"{int(self._trail[0]):016x}"

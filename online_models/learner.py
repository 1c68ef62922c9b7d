"""Drives a model: a fold over one partition of `outcomes`, which is one shard of the model.

The order of learning. A click is decided at once, a non-click only when its attribution window has passed. So the log
holds the clicks of a minute half an hour before the non-clicks of that minute. Learned in log order, a new model would
see nothing but clicks for half an hour (tried: it then predicted 0.91 where the truth was 0.03), and every rise of
traffic would look like a rise of click probability. The learner therefore holds a click back until a non-click arrives
whose impression is of the same time or later. Both classes are then learned by impression time, one attribution window
late. Where several join partitions feed a shard, the one that is furthest ahead releases the clicks: clicks of a
partition that lags are learned before its non-clicks, by as much time as it lags.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec
import xxhash

from online_models.drift import DriftState
from online_models.examples import read_outcome
from online_models.features import FEATURES_VERSION, hashed_features
from online_models.former import MAX_WEIGHTS, weights_digest
from online_models.model import Model
from online_models.settings import LearnerSettings
from online_models.snapshot import Header, LearnerCounts, decode_snapshot, encode_snapshot
from online_models.waiting import WaitingClicks
from online_models.windows import Window, Windows
from schemas.codec import decode, encode
from schemas.errors import BrokenInvariant
from schemas.events import MIN_TS_MS
from schemas.models import ModelMetrics, ModelVersion
from schemas.outcomes import Outcome
from schemas.reading import Unreadable
from schemas.records import Out, Records

_LOG: Final = "outcomes"
# No join waits longer than 31 days for a click, so one day more is enough. Without a bound, a join that keeps no
# non-clicks at all (negative rate 0) would fill the memory with clicks.
_LONGEST_WAIT_MS: Final = 32 * 86_400_000
_TRAIL: Final = struct.Struct("<Qqd")


class Learner:
    """Learns one shard of a click model from outcomes; `streams.learn.fold` makes it the fold of a worker.

    `model` is a new one; by default the one that the settings name. `step` and `sweep` return the metrics of the
    windows they close, so each is written once, in the transaction of the record that closed the window. `report`
    returns the model, because only its last version matters.

    About 11 µs an outcome with nine features: decode 1.5, features 3, predict and learn 3.5, hold, hash and count 3.
    """

    def __init__(self, settings: LearnerSettings, *, shard: int, model: Model | None = None) -> None:
        self.settings = settings
        self.shard = shard
        self.model = settings.new_model() if model is None else model
        self.counts = LearnerCounts()
        self.drift = DriftState()
        self._settings_digest = settings.digest()
        self._waiting = WaitingClicks()
        self._windows = Windows(window_ms=settings.window_ms, grace_ms=settings.grace_ms, dimensions=settings.slices)
        self._next_offset = 0
        # The impression time up to which examples are learned, and the latest impression time seen.
        self._event_ms = MIN_TS_MS
        self._latest_ms = MIN_TS_MS
        # A running hash over (offset, prediction) of every example: learners with equal trails learned the same.
        self._trail = 0
        self._ended = False
        # Not part of the state: after a restart the current version is published again, which changes nothing.
        self._published_offset = -1
        self._published_ms = MIN_TS_MS

    @property
    def nbytes(self) -> int:
        """Bytes of memory the model takes."""
        return self.model.nbytes

    def step(self, records: Records) -> list[Out]:
        """Learns the records; returns the metrics of windows they close."""
        if not records.offsets:
            return []
        if records.log != _LOG or records.partition != self.shard or records.offsets[0] < self._next_offset:
            raise BrokenInvariant(
                f"learner of {_LOG} {self.shard} at offset {self._next_offset} was given {records.log} "
                f"{records.partition} from offset {records.offsets[0]}; restart it from its snapshot"
            )
        outs: list[Out] = []
        counts = self.counts
        for offset, value in zip(records.offsets, records.values, strict=True):
            self._next_offset = offset + 1
            counts.consumed += 1
            outcome = read_outcome(value)
            if isinstance(outcome, Unreadable) or value is None:
                counts.rejected += 1
                continue
            if outcome.label is None or outcome.ts is None:
                counts.unlabelled += 1
                continue
            ts_ms = outcome.ts
            self._latest_ms = max(self._latest_ms, ts_ms)
            learn_until_ms = self._latest_ms - _LONGEST_WAIT_MS if outcome.label else ts_ms
            if learn_until_ms > self._event_ms:
                outs += self._advance(learn_until_ms)
            if ts_ms > self._event_ms:
                self._waiting.hold(ts_ms, offset=offset, value=value)
                counts.waiting += 1
            else:
                self._learn(outcome, offset=offset)
        return outs

    def sweep(self, limit: int) -> list[Out]:
        """After `finish`: learns clicks that still wait, at most `limit`, then closes the windows that are open."""
        outs: list[Out] = []
        if not self._ended:
            return outs
        self._event_ms = max(self._event_ms, self._latest_ms)
        self._learn_waiting(limit=limit)
        while not self._waiting and self._windows and len(outs) < limit:
            outs += self._metrics(*self._windows.close_first())
        return outs

    def can_sweep(self) -> bool:
        """Whether another `sweep` would do something: after `finish`, clicks wait or windows are open."""
        return self._ended and bool(self._waiting or self._windows)

    def report(self, limit: int) -> list[Out]:
        """The model as it is now, if it has learned since it was last published, and a version is due.

        A version is due `publish_ms` of event time after the last one, and at the end. Its number is the next offset,
        which only grows. After a restart a version may be published again, with the same content.
        """
        learned = self.counts.learned and self._next_offset > self._published_offset
        due = self._ended or self._event_ms - self._published_ms >= self.settings.publish_ms
        if limit < 1 or not (learned and due) or self.can_sweep():
            return []
        self._published_offset, self._published_ms = self._next_offset, self._event_ms
        version = self.version()
        return [Out("models", f"{version.model}/{version.shard}".encode(), encode(version))]

    def finish(self) -> None:
        """No more outcomes will come."""
        self._ended = True

    def positions(self) -> dict[str, int]:
        """The next offset of `outcomes`."""
        return {_LOG: self._next_offset}

    def snapshot(self) -> bytes:
        """Everything a restart needs, canonical: equal states give equal bytes. About 10 ms for a million weights."""
        names, window_columns = self._windows.state()
        header = Header(
            model=self.settings.model,
            shard=self.shard,
            settings=self._settings_digest,
            features_version=FEATURES_VERSION,
            next_offset=self._next_offset,
            event_ms=self._event_ms,
            latest_ms=self._latest_ms,
            trail=self._trail,
            counts=self.counts,
            drift=self.drift,
            closed_ms=self._windows.closed_ms,
            windows=names,
            columns=[],
        )
        return encode_snapshot(header, [*self.model.columns(), *self._waiting.columns(), *window_columns])

    def restore(self, snapshot: bytes) -> None:
        """Goes on where `snapshot` was taken. Raises StateMismatch or DamagedState, and then changes nothing."""
        header, columns = decode_snapshot(
            snapshot, model=self.settings.model, shard=self.shard, settings=self._settings_digest
        )
        waiting_from = self.model.column_count
        windows_from = waiting_from + self._waiting.column_count
        self.model.restore(columns[:waiting_from])
        self._waiting.restore(columns[waiting_from:windows_from])
        self._windows.restore(closed_ms=header.closed_ms, names=header.windows, columns=columns[windows_from:])
        self.counts, self.drift, self._trail = header.counts, header.drift, header.trail
        self._next_offset, self._event_ms, self._latest_ms = header.next_offset, header.event_ms, header.latest_ms

    @property
    def trail(self) -> str:
        """A hash of every example learned, in order, with what was predicted of it: equal for equal histories."""
        return f"{self._trail:016x}"

    def version(self) -> ModelVersion:
        """The model as it is now, as it is published. A large one leaves its smallest weights out."""
        weights = self.model.weights(MAX_WEIGHTS)
        return ModelVersion(
            model=self.settings.model,
            shard=self.shard,
            version=self._next_offset,
            next_offset=self._next_offset,
            event_ms=self._event_ms,
            features_version=FEATURES_VERSION,
            bits=self.settings.bits,
            digest=weights_digest(weights),
            weights=weights,
        )

    def _advance(self, event_ms: int) -> list[Out]:
        self._event_ms = event_ms
        self._learn_waiting(limit=None)
        outs: list[Out] = []
        for start_ms, window in self._windows.advance(event_ms):
            outs += self._metrics(start_ms, window)
        return outs

    def _learn_waiting(self, *, limit: int | None) -> None:
        for offset, value in self._waiting.release(self._event_ms, limit=limit):
            self.counts.waiting -= 1
            self._learn(decode(value, Outcome), offset=offset)

    def _learn(self, outcome: Outcome, *, offset: int) -> None:
        """Predicts, then learns, one labelled outcome."""
        label, ts_ms = outcome.label or 0, outcome.ts or 0
        features = hashed_features(outcome, self.settings.bits)
        prediction = self.model.learn(features, label, outcome.weight)
        self._trail = xxhash.xxh3_64_intdigest(_TRAIL.pack(self._trail, offset, prediction))
        self.counts.learned += 1
        values = [getattr(outcome, name) or "" for name in self.settings.slices]
        if not self._windows.add(ts_ms, prediction, label=label, weight=outcome.weight, values=values):
            self.counts.late += 1

    def _metrics(self, start_ms: int, window: Window) -> list[Out]:
        """The metrics of a window that was just closed, slice 'all' first."""
        settings = self.settings
        outs: list[Out] = []
        for name, scores in window.scores(settings.slices, max_slices=settings.max_slices):
            if name == "all":
                self.drift = self.drift.after(clicks=scores.clicks, predicted_clicks=scores.predicted_clicks)
            metrics = ModelMetrics(
                model=settings.model,
                shard=self.shard,
                version=self._next_offset,
                window_start=start_ms,
                window_end=start_ms + settings.window_ms,
                slice=name,
                **msgspec.structs.asdict(scores),
            )
            key = f"{settings.model}/{self.shard}/{start_ms}/{name}".encode()
            outs.append(Out("model_metrics", key, encode(metrics)))
        return outs

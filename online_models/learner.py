"""The learner: a fold over one partition of `outcomes`, which is one shard of the model.

The order of learning. A click is decided at once, a non-click only when its attribution window has passed, so the
log holds the clicks of a minute half an hour before that minute's non-clicks. Learned in log order a new model would
see nothing but clicks for half an hour (tried: it then predicted 0.91 where the truth was 0.03), and every rise of
traffic would look like a rise of click probability. Clicks therefore wait here until a non-click of their impression's
time or later arrives: both classes are learned by impression time, one attribution window late. Where several join
partitions feed a shard, the leading one releases the clicks: those of a lagging one are learned ahead of its
non-clicks by as much as it lags.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Final, Generic, Protocol, TypeVar

import msgspec
import xxhash

from online_models.drift import DriftState
from online_models.features import FEATURES_VERSION, hashed_features, intercept_index
from online_models.ftrl_core import FtrlCore
from online_models.registry import weights_digest, weights_of
from online_models.settings import LearnerSettings
from online_models.snapshot import Counts, Header, decode_snapshot, encode_snapshot
from online_models.waiting import WaitingClicks
from online_models.windows import Window, Windows
from schemas.codec import decode, encode
from schemas.errors import BrokenInvariant
from schemas.events import MAX_TS_MS, MIN_TS_MS
from schemas.models import ModelMetrics, ModelVersion
from schemas.outcomes import Outcome

_LOG: Final = "outcomes"
# No join waits longer than 31 days for a click; clicks further ahead of the last non-click than that wait no longer,
# or a join that keeps no non-clicks at all (r = 0) would fill the memory.
_LONGEST_WAIT_MS: Final = 32 * 86_400_000
# 1/r of the smallest negative rate anybody should use; a larger weight is a damaged record.
_MAX_WEIGHT: Final = 1e6
_LABELS: Final = {"click": 1, "unclicked": 0, "repeat": None, "orphan": None}
_TRAIL: Final = struct.Struct("<Qqd")

Written = TypeVar("Written")


class OutcomeRecords(Protocol):
    """The part of `schemas.records.Records` a learner reads."""

    @property
    def log(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offsets(self) -> Sequence[int]: ...
    @property
    def values(self) -> Sequence[bytes | None]: ...


class Learner(Generic[Written]):
    """Learns a shard of a click model; `streams.learn.fold` makes a worker's fold of it.

    `out` makes one output of topic role, key, value and partition: `schemas.records.Out`, which this package does not
    know. Metrics are returned by the `step` or `sweep` that closes their window, so that each is written once, in the
    transaction of the record that closed it. Model versions come from `report`, for only the last one matters.

    About 11 µs an outcome with nine features: decode 1.5, features 3, predict and learn 3.5, hold, hash and count 3.
    16 MB at 20 bits, and what waits.
    """

    def __init__(
        self, settings: LearnerSettings, *, shard: int, out: Callable[[str, bytes, bytes, None], Written]
    ) -> None:
        self.settings = settings
        self.shard = shard
        self.counts = Counts()
        self.drift = DriftState()
        self._out = out
        self._settings_digest = settings.digest()
        self._core = FtrlCore(settings.ftrl, size=(1 << settings.bits) + 1, intercept=intercept_index(settings.bits))
        self._waiting = WaitingClicks()
        self._windows = Windows(window_ms=settings.window_ms, grace_ms=settings.grace_ms, dimensions=settings.slices)
        self._next_offset = 0
        # Impression time learned up to, and the latest one heard of.
        self._event_ms = MIN_TS_MS
        self._latest_ms = MIN_TS_MS
        # A running hash over (offset, prediction) of every example: two learners with one trail learned the same.
        self._trail = 0
        self._ended = False
        # Not part of the state: after a restart the present version is published again, which changes nothing.
        self._published_offset = -1
        self._published_ms = MIN_TS_MS

    @property
    def nbytes(self) -> int:
        """Bytes of memory the weights take."""
        return 16 << self.settings.bits

    def step(self, records: OutcomeRecords) -> list[Written]:
        """Learns the records; gives the metrics of windows they close."""
        if not records.offsets:
            return []
        if records.log != _LOG or records.partition != self.shard or records.offsets[0] < self._next_offset:
            raise BrokenInvariant(
                f"learner of {_LOG} {self.shard} at offset {self._next_offset} was given {records.log} "
                f"{records.partition} from offset {records.offsets[0]}; restart it from its snapshot"
            )
        written: list[Written] = []
        counts = self.counts
        for offset, value in zip(records.offsets, records.values, strict=True):
            self._next_offset = offset + 1
            counts.consumed += 1
            outcome = _decoded(value)
            if outcome is None or value is None:
                counts.rejected += 1
                continue
            if outcome.label is None or outcome.ts is None:
                counts.unlabelled += 1
                continue
            ts_ms = outcome.ts
            self._latest_ms = max(self._latest_ms, ts_ms)
            heard_ms = self._latest_ms - _LONGEST_WAIT_MS if outcome.label else ts_ms
            if heard_ms > self._event_ms:
                written += self._advance(heard_ms)
            if ts_ms > self._event_ms:
                self._waiting.hold(ts_ms, offset=offset, value=value)
                counts.waiting += 1
            else:
                self._learn(outcome, offset=offset)
        return written

    def sweep(self, limit: int) -> list[Written]:
        """At the end of a bounded run: learns the clicks still waiting, then closes the windows still open."""
        written: list[Written] = []
        if not self._ended:
            return written
        self._event_ms = max(self._event_ms, self._latest_ms)
        self._learn_waiting(limit=limit)
        while not self._waiting and self._windows and len(written) < limit:
            written += self._closed(*self._windows.close_first())
        return written

    def can_sweep(self) -> bool:
        """Whether the run has ended with clicks waiting or windows open."""
        return self._ended and bool(self._waiting or self._windows)

    def report(self, limit: int) -> list[Written]:
        """The model as it is now, if it learned since the last one and `publish_ms` of event time passed, or it ended.

        Its version is the next offset, which only grows. A version may be given again after a restart, then the same.
        """
        learned = self.counts.learned and self._next_offset > self._published_offset
        due = self._ended or self._event_ms - self._published_ms >= self.settings.publish_ms
        if limit < 1 or not (learned and due) or self.can_sweep():
            return []
        self._published_offset, self._published_ms = self._next_offset, self._event_ms
        version = self.version()
        return [self._out("models", f"{version.model}/{version.shard}".encode(), encode(version), None)]

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
        return encode_snapshot(header, [*self._core.columns(), *self._waiting.columns(), *window_columns])

    def restore(self, snapshot: bytes) -> None:
        """Goes on where `snapshot` was taken. Raises StateMismatch or BrokenInvariant, and then is as before."""
        header, columns = decode_snapshot(
            snapshot, model=self.settings.model, shard=self.shard, settings=self._settings_digest
        )
        self._core.restore(columns[:3])
        self._waiting.restore(columns[3:7])
        self._windows.restore(closed_ms=header.closed_ms, names=header.windows, columns=columns[7:])
        self.counts, self.drift, self._trail = header.counts, header.drift, header.trail
        self._next_offset, self._event_ms, self._latest_ms = header.next_offset, header.event_ms, header.latest_ms

    @property
    def trail(self) -> str:
        """Names the history: every example learned, in order, with what was predicted of it."""
        return f"{self._trail:016x}"

    @property
    def digest(self) -> str:
        """xxh3-128 of all z and n, not only of the weights that are published."""
        return xxhash.xxh3_128_hexdigest(b"".join(self._core.columns()))

    def version(self) -> ModelVersion:
        """The model as it is now; see `registry.weights_of` for which weights are left out of a large one."""
        weights = weights_of(self._core)
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

    def _advance(self, event_ms: int) -> list[Written]:
        self._event_ms = event_ms
        self._learn_waiting(limit=None)
        written: list[Written] = []
        for start_ms, window in self._windows.advance(event_ms):
            written += self._closed(start_ms, window)
        return written

    def _learn_waiting(self, *, limit: int | None) -> None:
        for offset, value in self._waiting.release(self._event_ms, limit=limit):
            self.counts.waiting -= 1
            self._learn(decode(value, Outcome), offset=offset)

    def _learn(self, outcome: Outcome, *, offset: int) -> None:
        """Predicts, then learns, one labelled outcome."""
        label, ts_ms = outcome.label or 0, outcome.ts or 0
        features = hashed_features(outcome, self.settings.bits)
        prediction = self._core.learn(features, label, outcome.weight)
        self._trail = xxhash.xxh3_64_intdigest(_TRAIL.pack(self._trail, offset, prediction))
        self.counts.learned += 1
        values = [getattr(outcome, name) or "" for name in self.settings.slices]
        if not self._windows.add(ts_ms, prediction, label=label, weight=outcome.weight, values=values):
            self.counts.late += 1

    def _closed(self, start_ms: int, window: Window) -> list[Written]:
        """The metrics of a window that just closed, 'all' first."""
        settings = self.settings
        written: list[Written] = []
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
            written.append(self._out("model_metrics", key, encode(metrics), None))
        return written


def _decoded(value: bytes | None) -> Outcome | None:
    """The outcome, or None for what is not one or says something impossible."""
    try:
        outcome = decode(value or b"", Outcome)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if outcome.label != _LABELS[outcome.kind]:
        return None
    if outcome.label is not None:
        shown = outcome.ts is not None and outcome.campaign_id is not None and outcome.creative_id is not None
        if not shown or not MIN_TS_MS <= (outcome.ts or 0) <= MAX_TS_MS or not 0.0 < outcome.weight <= _MAX_WEIGHT:
            return None
    return outcome

"""How far a run has come: what its group has committed, and the stretch of event time decided once and for all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from schemas.bounds import END_OF_TIME_MS, NO_BOUND_MS, JoinBounds
from schemas.errors import SettingsError, StateMismatch
from schemas.events import MAX_TS_MS
from streams.join.mark import JoinMark, read_mark
from streams.join.state import INPUTS
from streams.kafka.cluster import Cluster
from streams.kafka.reads import log_bounds
from streams.kafka.retries import ANSWER_S, patiently
from streams.kafka.settings import group_offsets_settings
from streams.verify.oracle import Key, Truth


@dataclass(frozen=True, slots=True)
class Cut:
    """What is judged of one partition: from `starts` to `offsets`, exclusive, of each input; and the group's mark.

    `committed` are the offsets the mark belongs to, at or behind `offsets`.
    """

    partition: int
    starts: dict[str, int]
    offsets: dict[str, int]
    committed: dict[str, int]
    mark: JoinMark

    @property
    def whole(self) -> bool:
        """Whether both logs are judged from their beginning."""
        return not any(self.starts.values())

    @property
    def short(self) -> bool:
        """Whether more is committed than is judged: the mark's counts and bounds are those of another moment."""
        return self.offsets != self.committed

    def within(self, start: Mapping[str, int], stop: Mapping[str, int]) -> Cut:
        """The part between these offsets."""
        starts = {log: max(at, start[log]) for log, at in self.starts.items()}
        offsets = {log: max(starts[log], min(at, stop[log])) for log, at in self.offsets.items()}
        return Cut(self.partition, starts, offsets, self.committed, self.mark)

    @property
    def ended(self) -> bool:
        """Whether the run was told that its inputs are complete, and has decided everything."""
        reached = self.mark.reached
        return min(reached.close_ms, reached.orphan_ms) > MAX_TS_MS


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of event time, start inclusive, end exclusive.

    Below `to_ms` every impression is closed and every click given up: no record can add an outcome any more. Whole
    minutes and quarter-hours below `final_ms` have reached their last value.
    """

    from_ms: int = NO_BOUND_MS
    to_ms: int = END_OF_TIME_MS
    final_ms: int = END_OF_TIME_MS

    def holds(self, ts_ms: int) -> bool:
        """Whether an outcome at this time is compared."""
        return self.from_ms <= ts_ms < self.to_ms

    def holds_whole(self, start_ms: int, length_ms: int) -> bool:
        """Whether a total of this stretch is compared."""
        return self.from_ms <= start_ms and start_ms + length_ms <= self.final_ms


def settled(cut: Cut, judged: Truth, bounds: JoinBounds, known_from_ms: int, *, ended: bool) -> Span:
    """What no later record can change. `known_from_ms`: see `known_from`."""
    if ended:
        return Span(known_from_ms)
    reached = cut.mark.reached
    to_ms = min(reached.close_ms, reached.orphan_ms)
    if cut.short:
        to_ms = min(to_ms, *allowed(judged, bounds))
    return Span(known_from_ms, to_ms, min(reached.final_ms, to_ms))


def allowed(judged: Truth, bounds: JoinBounds) -> tuple[int, int]:
    """How far impressions may be closed and clicks given up, exclusive, as the judged logs stand."""
    return judged.clicks.watermark_ms - bounds.window_ms, judged.impressions.watermark_ms - bounds.skew_ms


def known_from(highest_lost_ms: int | None, bounds: JoinBounds) -> int:
    """The event time from which a batch run over the end of a log decides what one over the whole log would.

    `highest_lost_ms`: no accepted record before is above it; None: nothing is lost. Above it by the lateness, the
    bound follows from what is left; above it by the dedupe horizon, no id can have been met before; above it by
    window and skew, both sides of every match are there.
    """
    if highest_lost_ms is None:
        return NO_BOUND_MS
    return highest_lost_ms + bounds.lateness_ms + bounds.dedupe_ms + bounds.window_ms + bounds.skew_ms


def committed_cuts(cluster: Cluster, group: str, partitions: Iterable[int]) -> dict[int, Cut]:
    """The last stable commit of each partition. Raises SettingsError when the group has committed nothing of one."""
    wanted = list(partitions)
    consumer = _member_to_be(cluster, group)
    asked = [TopicPartition(cluster.topic(log), partition) for partition in wanted for log in INPUTS]
    try:
        found = {(one.topic, one.partition): one for one in _committed(consumer, asked)}
        return {partition: _cut(cluster, group, partition, found, consumer) for partition in wanted}
    finally:
        consumer.close()


def _cut(
    cluster: Cluster, group: str, partition: int, found: dict[tuple[str, int], TopicPartition], consumer: Consumer
) -> Cut:
    places = {log: found[cluster.topic(log), partition] for log in INPUTS}
    offsets = {log: place.offset for log, place in places.items()}
    marks = {place.metadata for place in places.values() if place.metadata}
    if min(offsets.values()) < 0 or len(marks) != 1:
        raise SettingsError(
            f"group {group} has committed nothing of partition {partition} of {cluster.topic(INPUTS[0])}; name the "
            "join's group with --group, or other --partitions"
        )
    try:
        mark = read_mark(marks.pop().encode())
    except StateMismatch as error:
        raise StateMismatch(f"group {group}: {error}") from error
    starts = {log: log_bounds(consumer, cluster.topic(log), partition)[0] for log in INPUTS}
    return Cut(partition, starts, offsets, offsets, mark)


def committed_offsets(cluster: Cluster, group: str, topic: str, partitions: int) -> dict[int, int]:
    """The group's next offset in each partition of a topic; -1 where it never committed."""
    consumer = _member_to_be(cluster, group)
    try:
        found = _committed(consumer, [TopicPartition(topic, partition) for partition in range(partitions)])
        return {place.partition: place.offset for place in found}
    finally:
        consumer.close()


def _member_to_be(cluster: Cluster, group: str) -> Consumer:
    """A consumer that asks about the group and never joins it; waits for transactions open on its offsets."""
    return Consumer(group_offsets_settings(cluster, group))


def _committed(consumer: Consumer, places: list[TopicPartition]) -> list[TopicPartition]:
    found: list[TopicPartition] = patiently(
        lambda: consumer.committed(places, timeout=ANSWER_S), "the group coordinator"
    )
    return found


def whole(
    totals: Mapping[Key, Any],
    span: Span,
    length_ms: int,
    *,
    at: int,
    but: Callable[[int], bool] = lambda _: False,
) -> dict[Key, Any]:
    """Those of whole settled stretches but some; the start of each is part `at` of its key."""
    return {key: row for key, row in totals.items() if span.holds_whole(key[at], length_ms) and not but(key[at])}

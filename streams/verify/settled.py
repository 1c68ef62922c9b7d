"""Which offsets verify judges, as far as the join's group has committed, and which event time is settled there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from schemas.bounds import END_OF_TIME_MS, NO_BOUND_MS, JoinBounds
from schemas.errors import SettingsError, StateMismatch
from schemas.events import MAX_TS_MS
from schemas.totals import Ledger
from streams.join.mark import JoinMark, read_mark
from streams.join.state import INPUTS
from streams.kafka.cluster import Cluster
from streams.kafka.groups import stable_offsets
from streams.kafka.reads import log_bounds
from streams.kafka.settings import group_offsets_settings
from streams.verify.oracle import Key, Truth


@dataclass(frozen=True, slots=True)
class JudgedRange:
    """The offsets of each input of one partition that are judged, from `starts` to before `stops`, and the mark.

    The mark was committed at the offsets `committed`. Each `stop` is at most that far.
    """

    partition: int
    starts: dict[str, int]
    stops: dict[str, int]
    committed: dict[str, int]
    mark: JoinMark
    # Of a log that is not judged from its first record: the highest on-time `ts` before, where it is known.
    highest_before_ms: Mapping[str, int] = field(default_factory=dict)

    @property
    def from_first_record(self) -> bool:
        """Whether both logs are judged from offset 0."""
        return not any(self.starts.values())

    @property
    def ends_before_commit(self) -> bool:
        """Whether more is committed than is judged. Then the mark's counts and bounds are not those at `stops`."""
        return self.stops != self.committed

    def within(self, start: Mapping[str, int], stop: Mapping[str, int]) -> JudgedRange:
        """The part between these offsets."""
        starts = {log: max(offset, start[log]) for log, offset in self.starts.items()}
        stops = {log: max(starts[log], min(offset, stop[log])) for log, offset in self.stops.items()}
        return replace(self, starts=starts, stops=stops)

    def from_cut(self, ledgers: Iterable[Ledger], bounds: JoinBounds) -> JudgedRange:
        """The part from the first cut in it that a ledger describes, where nothing waited for confirmation.

        There both watermarks are known, so every later record is judged as it was, whatever the logs held before. The
        range itself when it begins with the first records, or no ledger lies in it.
        """
        if self.from_first_record:
            return self
        for ledger in sorted(ledgers, key=lambda each: each.version):
            cut = {"impressions": ledger.impressions_next_offset, "clicks": ledger.clicks_next_offset}
            held = ledger.impressions.held + ledger.clicks.held
            if not held and all(self.starts[log] <= cut[log] <= self.stops[log] for log in INPUTS):
                highest_ms = {
                    "impressions": ledger.impressions_watermark_ms + bounds.lateness_ms,
                    "clicks": ledger.clicks_watermark_ms + bounds.lateness_ms,
                }
                return replace(self, starts=cut, highest_before_ms=highest_ms)
        return self

    @property
    def ended(self) -> bool:
        """Whether the worker was told that its inputs are complete, and has decided everything."""
        reached = self.mark.reached
        return min(reached.close_ms, reached.orphan_ms) > MAX_TS_MS


@dataclass(frozen=True, slots=True)
class SettledTime:
    """The event time for which figures are compared, from `from_ms` on.

    Below `to_ms` (exclusive) every impression is closed, and every click is matched or an orphan: no record can add an
    outcome. Minutes and quarter-hours that end at or before `final_ms` have their last value.
    """

    from_ms: int = NO_BOUND_MS
    to_ms: int = END_OF_TIME_MS
    final_ms: int = END_OF_TIME_MS

    def has_outcomes_at(self, ts_ms: int) -> bool:
        """Whether outcomes of this time are compared."""
        return self.from_ms <= ts_ms < self.to_ms

    def has_totals_of(self, start_ms: int, length_ms: int) -> bool:
        """Whether the total of this minute, quarter-hour or day is compared."""
        return self.from_ms <= start_ms and start_ms + length_ms <= self.final_ms


def settled_time(
    judged_range: JudgedRange, judged: Truth, bounds: JoinBounds, known_from_ms: int, *, ended: bool
) -> SettledTime:
    """The event time that no later record can change. For `known_from_ms` see `first_known_ms`."""
    if ended:
        return SettledTime(known_from_ms)
    reached = judged_range.mark.reached
    to_ms = min(reached.close_ms, reached.orphan_ms)
    if judged_range.ends_before_commit:
        to_ms = min(to_ms, *highest_bounds_ms(judged, bounds))
    return SettledTime(known_from_ms, to_ms, min(reached.final_ms, to_ms))


def highest_bounds_ms(judged: Truth, bounds: JoinBounds) -> tuple[int, int]:
    """The highest close bound and orphan bound that the judged logs allow; those of the beginning always."""
    close_ms, orphan_ms = (
        judged.clicks.watermark_ms - bounds.window_ms,
        judged.impressions.watermark_ms - bounds.skew_ms,
    )
    return max(NO_BOUND_MS, close_ms), max(NO_BOUND_MS, orphan_ms)


def first_known_ms(highest_lost_ms: int | None, bounds: JoinBounds) -> int:
    """The event time from which the end of a log gives the same outcomes as the whole log.

    `highest_lost_ms` is a bound of all `ts` accepted in the part that is not read; None when all is read. Above it by
    the lateness, the lateness bound follows from the records that are read. Above it by the dedupe horizon too, no id
    can have a copy in the other part. Above it by window and skew too, both records of every match are read.
    """
    if highest_lost_ms is None:
        return NO_BOUND_MS
    return highest_lost_ms + bounds.lateness_ms + bounds.dedupe_ms + bounds.window_ms + bounds.skew_ms


def committed_ranges(cluster: Cluster, group: str, partitions: Iterable[int]) -> dict[int, JudgedRange]:
    """By partition, what Kafka keeps of the inputs below the group's last stable commit.

    Raises SettingsError when the group has committed nothing of a partition.
    """
    wanted = list(partitions)
    consumer = _consumer_outside(cluster, group)
    inputs = [TopicPartition(cluster.topic(log), partition) for partition in wanted for log in INPUTS]
    try:
        commits = {(commit.topic, commit.partition): commit for commit in stable_offsets(consumer, inputs)}
        return {partition: _committed_range(cluster, group, partition, commits, consumer) for partition in wanted}
    finally:
        consumer.close()


def _committed_range(
    cluster: Cluster, group: str, partition: int, commits: dict[tuple[str, int], TopicPartition], consumer: Consumer
) -> JudgedRange:
    by_input = {log: commits[cluster.topic(log), partition] for log in INPUTS}
    offsets = {log: commit.offset for log, commit in by_input.items()}
    marks = {commit.metadata for commit in by_input.values() if commit.metadata}
    if min(offsets.values()) < 0 or len(marks) != 1:
        raise SettingsError(
            f"group {group} has committed nothing of partition {partition} of {cluster.topic(INPUTS[0])}; name the "
            "join's group with --group, or other --partitions"
        )
    try:
        mark = read_mark(marks.pop().encode())
    except StateMismatch as error:
        raise StateMismatch(f"group {group}: {error}") from error
    starts = {
        # Records below were judged by the rules of the version before.
        log: max(log_bounds(consumer, cluster.topic(log), partition)[0], mark.of(log).moved_offset)
        for log in INPUTS
    }
    return JudgedRange(partition, starts, offsets, offsets, mark)


def committed_offsets(cluster: Cluster, group: str, topic: str, partitions: int) -> dict[int, int]:
    """The group's next offset in each partition of a topic; -1 where it never committed."""
    consumer = _consumer_outside(cluster, group)
    try:
        commits = stable_offsets(consumer, [TopicPartition(topic, partition) for partition in range(partitions)])
        return {commit.partition: commit.offset for commit in commits}
    finally:
        consumer.close()


def _consumer_outside(cluster: Cluster, group: str) -> Consumer:
    """A consumer that reads the group's offsets and never joins it. It waits for open transactions on them."""
    return Consumer(group_offsets_settings(cluster, group))


def settled_totals(
    totals: Mapping[Key, Any],
    settled: SettledTime,
    length_ms: int,
    *,
    time_index: int,
    left_out: Callable[[int], bool] = lambda _: False,
) -> dict[Key, Any]:
    """The totals of minutes, or quarter-hours, that are wholly in the settled time and not `left_out`.

    Part `time_index` of a key is the start of its minute or quarter-hour.
    """
    return {
        key: row
        for key, row in totals.items()
        if settled.has_totals_of(key[time_index], length_ms) and not left_out(key[time_index])
    }

"""Compares a run with the batch truth, one join partition after the other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clickhouse_connect.driver.client import Client

from schemas.bounds import JoinBounds
from schemas.dimensions import ExtraDimension
from schemas.errors import SettingsError
from schemas.reading import Unreadable, read_seal
from schemas.records import Record
from schemas.seals import Seal, SealRecord
from schemas.totals import DIMENSIONS, MEASURES, MINUTE_MS, QUARTER_MS
from streams.join.identity import JoinIdentity
from streams.join.mapped import InputMaps
from streams.join.state import INPUTS
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.ranges import resolve_range
from streams.kafka.reads import read_log, stream_log
from streams.kafka.topic_watch import TopicWatch
from streams.kafka.watched import join_topics
from streams.verify import written
from streams.verify.campaigns import CampaignHistory
from streams.verify.check import Check, Checks, HashedValues, compare_hashed, hash_of
from streams.verify.clickhouse_rows import ClickHouseRows
from streams.verify.decisions import check_decisions
from streams.verify.downstream import SinkChecks, WaitPolicy, compare_paced, paced_measures
from streams.verify.mapped import mapped_records
from streams.verify.oracle import Key, Truth, truth
from streams.verify.pacing_counters import CampaignSums, PacingCounters
from streams.verify.settled import (
    JudgedRange,
    SettledTime,
    committed_ranges,
    first_known_ms,
    highest_bounds_ms,
    settled_time,
    settled_totals,
)

_FATES = ("accepted", "late", "duplicate", "rejected", "late_by_seal")
_DECISIONS = ("closed", "unclicked", "billable", "repeat", "orphan")
_OPEN = ("open", "pending")


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyRequest:
    """What to verify: the join's group, the settings it ran with, and the part of the logs."""

    bounds: JoinBounds
    group: str
    dimensions: Sequence[str] = DIMENSIONS
    extra: Sequence[ExtraDimension] = ()
    maps: InputMaps = field(default_factory=InputMaps)
    # None: all.
    partitions: Sequence[int] | None = None
    # Offsets, record times, or earliest and latest, as `resolve_range` reads them.
    from_text: str = "earliest"
    to_text: str = "latest"
    # The worker was told that its inputs are complete: everything is decided.
    ended: bool = False
    # How long to wait for the sink and pacing.
    wait_s: float = 0.0
    # How many differences of each check to show.
    max_shown: int = 5


class Verification:
    """Reads what a join has committed, computes what it must have written, and compares.

    Beside live workers, what is not settled or not yet in ClickHouse is left out. In a run that was ended it is a
    difference. `events` counts the records of each input that were judged.
    """

    def __init__(
        self,
        cluster: Cluster,
        request: VerifyRequest,
        *,
        clickhouse: Client | None = None,
        sink_group: str = "",
        pacing: PacingCounters | None = None,
        on_read: Callable[[int], None] = lambda _: None,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_read` is called with how many input records were read since its last call, about each 1,000.

        `meanwhile` is called during the waits.
        """
        self._cluster = cluster
        self._request = request
        self._client = clickhouse
        self._pacing = pacing
        self._on_read = on_read
        self._wait = WaitPolicy(wait_s=request.wait_s, ended=request.ended, meanwhile=meanwhile)
        self._sink_group = sink_group or f"{cluster.prefix}sink"
        TopicWatch(cluster, join_topics(cluster, request.group)).compare()
        admin = Admin(cluster)
        self._count = admin.check(
            ("impressions", "clicks"),
            ("outcomes", "totals", "campaign_totals", "seals", "campaigns", "campaign_history"),
        )
        self._shards = admin.partition_counts()[cluster.topic("outcomes")]
        ids = admin.topic_ids(INPUTS)
        topics = (*ids, str(self._count), str(self._shards))
        maps = request.maps
        self._digest = JoinIdentity(request.bounds, request.dimensions, request.extra, topics, maps.digest).digest
        self._extra = [dimension.name for dimension in request.extra]
        self.partitions = self._chosen_partitions()
        range_ = resolve_range(cluster, request.from_text, request.to_text, inputs=INPUTS, partitions=self._count)
        self._ranges = {
            partition: self._range_from_cut(committed.within(range_.start[partition], range_.stop[partition]))
            for partition, committed in committed_ranges(cluster, request.group, self.partitions).items()
        }
        self.events = dict.fromkeys(INPUTS, 0)
        self._checks = Checks(request.max_shown)

    def _range_from_cut(self, range_: JudgedRange) -> JudgedRange:
        if range_.from_first_record:
            return range_
        return range_.from_cut(written.ledgers(self._cluster, range_.partition), self._request.bounds)

    def _chosen_partitions(self) -> list[int]:
        wanted = self._request.partitions
        chosen = range(self._count) if wanted is None else sorted(set(wanted))
        wrong = [partition for partition in chosen if not 0 <= partition < self._count]
        if wrong:
            raise SettingsError(f"there is no partition {wrong[0]}; the inputs have 0 to {self._count - 1}")
        return list(chosen)

    @property
    def records(self) -> int:
        """How many offsets of the inputs are judged: at least the records that will be read."""
        return sum(judged.stops[log] - judged.starts[log] for judged in self._ranges.values() for log in INPUTS)

    def checks(self) -> list[Check]:
        """Compares everything; call it once. Raises Transient when Kafka or the pacing worker does not answer."""
        self._check_settings()
        sink = self._sink_checks()
        sink_offsets = sink.offsets if sink else {}
        settled_times: list[SettledTime] = []
        outcomes = written.Outcomes(self._cluster, self._shards, sink_offsets.get("outcomes", {}))
        rejects: defaultdict[int, list[Key]] = defaultdict(list)
        for partition, key in written.rejects(self._cluster):
            rejects[partition].append(key)
        campaigns = written.CampaignTotals(self._cluster, self._count)
        quarters: list[tuple[str, int, CampaignSums]] = []
        for partition, range_ in self._ranges.items():
            judged = self._truth(range_)
            settled = self._settled_time(range_, judged)
            settled_times.append(settled)
            self._check_bounds(range_, judged)
            self._check_outcomes(judged, outcomes, partition, settled)
            wanted = self._run_totals(judged.totals)
            totals = written.Totals(
                self._cluster,
                partition,
                sink_offset=sink_offsets.get("totals", {}).get(partition),
                extra=self._extra,
            )
            self._check_totals("minute totals", totals.measures(), wanted, settled, MINUTE_MS, time_index=0)
            by_campaign = _measures(judged.campaigns)
            self._check_totals(
                "campaign totals", campaigns.measures(partition), by_campaign, settled, QUARTER_MS, time_index=1
            )
            self._check_rejects(range_, judged, rejects[partition])
            self._check_ledger(range_, judged)
            if sink is not None:
                sink.compare_totals(self._checks, totals, wanted, partition, settled)
                sink.compare_outcomes(self._checks, judged, outcomes.hashes_to_sink[partition], partition, settled)
            quarters += [(key[0], key[1], paced_measures(row)) for key, row in by_campaign.items()]
        if sink is not None:
            sink.note_tombstones(self._checks.named("rejects"))
        history = self._check_campaigns(sink)
        self._check_pacing(quarters, campaigns, settled_times, history)
        return list(self._checks)

    def _sink_checks(self) -> SinkChecks | None:
        if self._client is None:
            return None
        counts = {"totals": self._count, "outcomes": self._shards, "campaign_history": self._count}
        return SinkChecks(
            self._cluster, self._sink_group, counts, ClickHouseRows.open(self._client, self._extra), self._wait
        )

    def _check_campaigns(self, sink: SinkChecks | None) -> CampaignHistory:
        history = CampaignHistory(self._cluster, self._count)
        history.compare_with_source(self._checks.named("campaign history"))
        if sink is not None:
            check = self._checks.named("campaign history in ClickHouse")
            history.compare_clickhouse(check, sink.rows, sink.offsets["campaign_history"], self._wait)
        if self._pacing is not None:
            history.compare_pacing(self._checks.named("campaigns in pacing"), self._pacing, self._wait)
            check = self._checks.named("pacing decisions")
            check_decisions(check, self._cluster, self._count, history.in_force())
        return history

    def _check_pacing(
        self,
        quarters: Iterable[tuple[str, int, CampaignSums]],
        campaigns: written.CampaignTotals,
        settled_times: Sequence[SettledTime],
        history: CampaignHistory,
    ) -> None:
        if self._pacing is None:
            return
        check = self._checks.named("pacing counters")
        if len(self.partitions) < self._count:
            check.notes.append("not compared: they are sums over all partitions")
            return
        settled_in_all = SettledTime(
            max(settled.from_ms for settled in settled_times),
            min(settled.to_ms for settled in settled_times),
            min(settled.final_ms for settled in settled_times),
        )
        zones = history.time_zones()
        compare_paced(check, self._pacing, quarters, campaigns.last, zones, settled_in_all, self._wait)

    # ---- the truth --------------------------------------------------------------------------------------------------

    def _truth(self, range_: JudgedRange) -> Truth:
        reached = range_.mark.reached
        return truth(
            self._records("impressions", range_),
            self._records("clicks", range_),
            self._request.bounds,
            seals=self._seals(range_),
            partition=range_.partition,
            ended=self._ended(range_),
            close_below_ms=reached.close_ms,
            orphan_below_ms=reached.orphan_ms,
            highest_before_ms=range_.highest_before_ms,
            extra=self._request.extra,
        )

    def _ended(self, range_: JudgedRange) -> bool:
        return self._request.ended and not range_.ends_before_commit

    def _records(self, log: str, range_: JudgedRange) -> Iterator[Record]:
        read = 0
        for record in mapped_records(self._stream(log, range_), self._request.maps.of.get(log)):
            read += 1
            if read % 1_000 == 0:
                self._on_read(1_000)
            yield record
        self._on_read(read % 1_000)
        self.events[log] += read

    def _stream(self, log: str, range_: JudgedRange) -> Iterator[Record]:
        topic = self._cluster.topic(log)
        return stream_log(self._cluster, topic, range_.partition, start=range_.starts[log], stop=range_.stops[log])

    def _seals(self, range_: JudgedRange) -> Iterator[SealRecord]:
        for record in read_log(self._cluster, "seals", range_.partition):
            seal = read_seal(record.key, record.value, range_.partition)
            if isinstance(seal, Unreadable):
                continue  # it changes nothing
            # A seal that takes effect above the judged range has not raised a watermark in it.
            if not isinstance(seal, Seal) or seal.next_offset <= range_.stops[seal.input]:
                yield seal

    def _settled_time(self, range_: JudgedRange, judged: Truth) -> SettledTime:
        if range_.highest_before_ms:
            known_from_ms = first_known_ms(max(range_.highest_before_ms.values()), self._request.bounds)
            return settled_time(range_, judged, self._request.bounds, known_from_ms, ended=self._ended(range_))
        highest_lost_ms: int | None = None
        for log in INPUTS:
            if range_.starts[log] == 0:
                continue
            first = next(self._stream(log, range_), None)
            # The `ts` of an accepted record is at most the future bound above its Kafka timestamp. Those ascend. A
            # range without records bounds nothing: 2^53 is above all times.
            lost_ms = first.record_ts_ms + self._request.bounds.future_ms if first is not None else 2**53
            highest_lost_ms = lost_ms if highest_lost_ms is None else max(highest_lost_ms, lost_ms)
        known_from_ms = first_known_ms(highest_lost_ms, self._request.bounds)
        return settled_time(range_, judged, self._request.bounds, known_from_ms, ended=self._ended(range_))

    def _run_totals(self, totals: Mapping[Key, Mapping[str, int]]) -> dict[Key, tuple[int, ...]]:
        """The totals summed over the dimensions that the run does not keep; those are empty in its keys."""
        kept = [True, *(name in self._request.dimensions for name in DIMENSIONS), *(True for _ in self._extra)]
        if all(kept):
            return _measures(totals)
        sums: dict[Key, tuple[int, ...]] = {}
        for key, row in _measures(totals).items():
            run_key = tuple(part if keep else "" for part, keep in zip(key, kept, strict=True))
            before = sums.get(run_key, (0,) * len(MEASURES))
            sums[run_key] = tuple(map(sum, zip(before, row, strict=True)))
        return sums

    # ---- Kafka ------------------------------------------------------------------------------------------------------

    def _check_settings(self) -> None:
        check = self._checks.named("settings")
        for partition, range_ in self._ranges.items():
            check.compared += 1
            if range_.mark.digest != self._digest:
                check.differ(
                    f"partition {partition} was joined under settings {range_.mark.digest}, these are {self._digest}: "
                    "give the worker's own window, skew, lateness, future, dedupe, jump, negative rate, dimensions, "
                    "extra dimensions and input map"
                )
            if not range_.from_first_record:
                check.notes.append(
                    f"partition {partition} is judged from offsets {range_.starts}; what depends on earlier records "
                    "is left out"
                )

    def _check_bounds(self, range_: JudgedRange, judged: Truth) -> None:
        """The worker has closed and orphaned no further than its logs allow; in a run that was ended, everything."""
        if range_.ends_before_commit:
            return
        check = self._checks.named("bounds")
        check.compared += 1
        reached, bounds, partition = range_.mark.reached, self._request.bounds, range_.partition
        if self._request.ended:
            if not range_.ended:
                check.differ(
                    f"partition {partition} was not ended: impressions are closed only below {reached.close_ms}"
                )
            for log, stop in range_.stops.items():
                if next(stream_log(self._cluster, self._cluster.topic(log), partition, start=stop), None):
                    check.differ(f"{log}[{partition}] was not read to its end: offset {stop} is committed")
            return
        close_ms, orphan_ms = highest_bounds_ms(judged, bounds)
        if reached.close_ms > close_ms or reached.orphan_ms > orphan_ms:
            remedy = "; if the run was ended, give --ended" if range_.ended else ""
            check.differ(
                f"partition {partition} has closed impressions below {reached.close_ms} and orphaned clicks below "
                f"{reached.orphan_ms}; its logs allow {close_ms} and {orphan_ms}{remedy}"
            )

    def _check_outcomes(self, judged: Truth, outcomes: written.Outcomes, partition: int, settled: SettledTime) -> None:
        wanted = HashedValues()
        for outcome in judged.outcomes:
            wanted.add(outcome, at_ms=written.event_ms(outcome))

        def values(hashes: Collection[int]) -> Iterable[tuple[int, Any]]:
            yield from outcomes.with_hashes(hashes)
            yield from ((hash_of(outcome), outcome) for outcome in judged.outcomes)

        wanted = wanted.between(settled.from_ms, settled.to_ms)
        compare_hashed(self._checks.named("outcomes"), outcomes.settled(partition, settled), wanted, values=values)

    def _check_totals(
        self,
        name: str,
        found: Mapping[Key, Any],
        wanted: Mapping[Key, Any],
        settled: SettledTime,
        length_ms: int,
        *,
        time_index: int,
    ) -> None:
        sides = [settled_totals(side, settled, length_ms, time_index=time_index) for side in (found, wanted)]
        self._checks.named(name).compare(*sides, names=MEASURES)

    def _check_rejects(self, range_: JudgedRange, judged: Truth, found: Iterable[Key]) -> None:
        # What is in conflict depends on records before the range; so does all else if no ledger tells the watermarks.
        not_compared: tuple[str, ...] = ()
        if not range_.from_first_record:
            not_compared = ("conflict",) if range_.highest_before_ms else ("late", "conflict", "future")
        logs = (("impressions", judged.impressions), ("clicks", judged.clicks))
        wanted = {(log, offset, str(reason)): 1 for log, log_truth in logs for offset, reason in log_truth.rejects}
        counted: defaultdict[Key, int] = defaultdict(int)
        for log, offset, reason in found:
            if range_.starts[log] <= offset < range_.stops[log]:
                counted[log, offset, reason] += 1
        sides = [
            {
                (log, range_.partition, offset, reason): times
                for (log, offset, reason), times in side.items()
                if reason not in not_compared
            }
            for side in (counted, wanted)
        ]
        self._checks.named("rejects").compare(*sides)

    def _check_ledger(self, range_: JudgedRange, judged: Truth) -> None:
        check = self._checks.named("ledger")
        if not range_.from_first_record or range_.ends_before_commit:
            check.notes.append(
                f"partition {range_.partition}: not compared, as it counts all records that the group has committed"
            )
            return
        found: dict[Key, int] = {}
        wanted: dict[Key, int] = {}
        for log, log_truth in (("impressions", judged.impressions), ("clicks", judged.clicks)):
            for fate in _FATES:
                found[range_.partition, log, fate] = getattr(range_.mark.of(log).fates, fate)
                wanted[range_.partition, log, fate] = log_truth.counts[fate]
        for decision in _DECISIONS:
            found[range_.partition, decision] = getattr(range_.mark.decisions, decision)
            wanted[range_.partition, decision] = judged.counts[decision]
        check.compare(found, wanted)
        self._check_last_ledger(range_, judged, check)

    def _check_last_ledger(self, range_: JudgedRange, judged: Truth, check: Check) -> None:
        """The last record of `ads.ledger` balances; in a run that was ended it equals the truth."""
        partition = range_.partition
        ledger = written.last_ledgers(self._cluster, [partition]).get(partition)
        if ledger is None:
            return
        if imbalance := ledger.imbalance():
            check.differ(f"partition {partition}: {imbalance}")
        if not self._request.ended:
            return
        for log, log_truth in (("impressions", judged.impressions), ("clicks", judged.clicks)):
            fates = {fate: getattr(getattr(ledger, log), fate) for fate in ("consumed", *_FATES)}
            keyed = {("ads.ledger", partition, log, fate): count for fate, count in fates.items()}
            check.compare(keyed, {key: log_truth.counts[key[-1]] for key in keyed})
        decisions = {("ads.ledger", partition, name): getattr(ledger, name) for name in (*_DECISIONS, *_OPEN)}
        check.compare(decisions, {key: judged.counts[key[-1]] for key in decisions})


def _measures(totals: Mapping[Key, Mapping[str, int]]) -> dict[Key, tuple[int, ...]]:
    return {key: tuple(row.get(name, 0) for name in MEASURES) for key, row in totals.items()}

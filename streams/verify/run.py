"""One run held against the batch truth, a join partition at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clickhouse_connect.driver.client import Client

from schemas.bounds import JoinBounds
from schemas.codec import decoder
from schemas.errors import SettingsError
from schemas.records import Record
from schemas.seals import Seal, SealRecord
from schemas.totals import DIMENSIONS, MEASURES, MINUTE_MS, QUARTER_MS
from streams.join.state import INPUTS
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.ranges import resolve_range
from streams.kafka.reads import read_all, stream_log
from streams.verify import written
from streams.verify.behind import Patience, Sinking, compare_paced, paced_measures
from streams.verify.check import Check, Checks, Pile, compare_piles, hash_of
from streams.verify.cut import Cut, Span, allowed, committed_cuts, known_from, settled, whole
from streams.verify.oracle import Key, Truth, truth
from streams.verify.paced import Paced, Sums, time_zones
from streams.verify.sunk import Sunk

_FATES = ("accepted", "late", "duplicate", "rejected")
_DECISIONS = ("closed", "unclicked", "billable", "repeat", "orphan")
_OPEN = ("open", "pending")
# What of the campaign totals pacing counts.


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What to verify: whose run, made with which settings, and which part of it."""

    bounds: JoinBounds
    group: str
    dimensions: Sequence[str] = DIMENSIONS
    # None: all.
    partitions: Sequence[int] | None = None
    # As `kafka.ranges` reads them: offsets, record times, or ends.
    from_text: str = "earliest"
    to_text: str = "latest"
    # The run was told that its inputs are complete: everything is decided, nothing is on its way.
    ended: bool = False
    # How long to wait for what is written behind the join.
    wait_s: float = 0.0
    # Differences to name in each check.
    most: int = 5


class Verification:
    """Reads what is committed, computes what it must have come to, and compares. `checks` does all of it once.

    Beside live workers, what is not yet settled or not yet acknowledged is left out; in a run that was ended it is a
    difference. `events` counts the records of each input that were judged.
    """

    def __init__(
        self,
        cluster: Cluster,
        asked: Asked,
        *,
        clickhouse: Client | None = None,
        sink_group: str = "",
        paced: Paced | None = None,
        on_read: Callable[[int], None] = lambda _: None,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_read` hears of each 1,000 records read, `meanwhile` is called while it waits."""
        self._cluster = cluster
        self._asked = asked
        self._client = clickhouse
        self._paced = paced
        self._on_read = on_read
        self._patience = Patience(wait_s=asked.wait_s, ended=asked.ended, meanwhile=meanwhile)
        self._sink_group = sink_group or f"{cluster.prefix}sink"
        admin = Admin(cluster)
        self._count = admin.check(("impressions", "clicks"), ("outcomes", "totals", "campaign_totals", "seals"))
        self._shards = admin.partition_counts()[cluster.topic("outcomes")]
        ids = admin.topic_ids(INPUTS)
        self._digest = asked.bounds.digest(*asked.dimensions, *ids, str(self._count), str(self._shards))
        self.partitions = self._chosen()
        range_ = resolve_range(cluster, asked.from_text, asked.to_text, inputs=INPUTS, partitions=self._count)
        self.cuts = {
            partition: cut.within(range_.start[partition], range_.stop[partition])
            for partition, cut in committed_cuts(cluster, asked.group, self.partitions).items()
        }
        self.events = dict.fromkeys(INPUTS, 0)
        self._checks = Checks(asked.most)

    def _chosen(self) -> list[int]:
        chosen = range(self._count) if self._asked.partitions is None else sorted(set(self._asked.partitions))
        wrong = [partition for partition in chosen if not 0 <= partition < self._count]
        if wrong:
            raise SettingsError(f"there is no partition {wrong[0]}; the inputs have 0 to {self._count - 1}")
        return list(chosen)

    @property
    def records(self) -> int:
        """Records of the inputs that will be read."""
        return sum(cut.offsets[log] - cut.starts[log] for cut in self.cuts.values() for log in INPUTS)

    def checks(self) -> list[Check]:
        """Everything compared, in the order it was. Raises Transient when Kafka does not answer."""
        self._settings()
        sinking = self._sinking()
        sunk_to = sinking.offsets if sinking else {}
        spans: list[Span] = []
        outcomes = written.Outcomes(self._cluster, self._shards, sunk_to.get("outcomes", {}))
        rejects: defaultdict[int, list[Key]] = defaultdict(list)
        for partition, key in written.rejects(self._cluster):
            rejects[partition].append(key)
        campaigns = written.CampaignTotals(self._cluster, self._count)
        quarters: list[tuple[str, int, Sums]] = []
        for partition, cut in self.cuts.items():
            judged = self._truth(cut)
            span = self._span(cut, judged)
            spans.append(span)
            self._bounds(cut, judged)
            self._outcomes(judged, outcomes, partition, span)
            wanted = self._masked(judged.totals)
            totals = written.Totals(self._cluster, partition, sunk=sunk_to.get("totals", {}).get(partition))
            self._totals("minute totals", totals.measures(), wanted, span, MINUTE_MS, at=0)
            by_campaign = _measures(judged.campaigns)
            self._totals("campaign totals", campaigns.measures(partition), by_campaign, span, QUARTER_MS, at=1)
            self._rejects(cut, judged, rejects[partition])
            self._ledger(cut, judged)
            if sinking is not None:
                sinking.compare_totals(self._checks, totals, wanted, partition, span)
                sinking.compare_outcomes(self._checks, judged, outcomes.not_sunk[partition], partition, span)
            quarters += [(key[0], key[1], paced_measures(row)) for key, row in by_campaign.items()]
        self._pacing(quarters, campaigns, spans)
        return list(self._checks)

    def _sinking(self) -> Sinking | None:
        if self._client is None:
            return None
        counts = {"totals": self._count, "outcomes": self._shards}
        return Sinking(self._cluster, self._sink_group, counts, Sunk.open(self._client), self._patience)

    def _pacing(
        self, quarters: Iterable[tuple[str, int, Sums]], campaigns: written.CampaignTotals, spans: Sequence[Span]
    ) -> None:
        if self._paced is None:
            return
        check = self._checks.named("pacing counters")
        if len(self.partitions) < self._count:
            check.notes.append("not compared: they are sums over all partitions")
            return
        # What all partitions have settled.
        span = Span(
            max(one.from_ms for one in spans),
            min(one.to_ms for one in spans),
            min(one.final_ms for one in spans),
        )
        zones = time_zones(self._cluster, self._count)
        compare_paced(check, self._paced, quarters, campaigns.last, zones, span, self._patience)

    # ---- the truth --------------------------------------------------------------------------------------------------

    def _truth(self, cut: Cut) -> Truth:
        reached = cut.mark.reached
        return truth(
            self._records("impressions", cut),
            self._records("clicks", cut),
            self._asked.bounds,
            seals=self._seals(cut),
            partition=cut.partition,
            ended=self._ended(cut),
            close_below_ms=reached.close_ms,
            give_up_below_ms=reached.orphan_ms,
        )

    def _ended(self, cut: Cut) -> bool:
        return self._asked.ended and not cut.short

    def _records(self, log: str, cut: Cut) -> Iterator[Record]:
        read = 0
        for record in self._stream(log, cut):
            read += 1
            if read % 1_000 == 0:
                self._on_read(1_000)
            yield record
        self._on_read(read % 1_000)
        self.events[log] += read

    def _stream(self, log: str, cut: Cut) -> Iterator[Record]:
        topic = self._cluster.topic(log)
        return stream_log(self._cluster, topic, cut.partition, start=cut.starts[log], stop=cut.offsets[log])

    def _seals(self, cut: Cut) -> Iterator[SealRecord]:
        for value in read_all(self._cluster, "seals", cut.partition):
            seal: SealRecord = decoder(SealRecord).decode(value)
            # One that holds from behind the cut on has moved nothing yet.
            if not isinstance(seal, Seal) or seal.next_offset <= cut.offsets[seal.input]:
                yield seal

    def _span(self, cut: Cut, judged: Truth) -> Span:
        lost_ms: int | None = None
        for log in INPUTS:
            if cut.starts[log] == 0:
                continue
            first = next(self._stream(log, cut), None)
            # No accepted record is further above its Kafka timestamp than the future bound, and those ascend.
            at_ms = first.record_ts_ms + self._asked.bounds.future_ms if first is not None else 2**53
            lost_ms = at_ms if lost_ms is None else max(lost_ms, at_ms)
        known_from_ms = known_from(lost_ms, self._asked.bounds)
        return settled(cut, judged, self._asked.bounds, known_from_ms, ended=self._ended(cut))

    def _masked(self, totals: Mapping[Key, Mapping[str, int]]) -> dict[Key, tuple[int, ...]]:
        """Totals by the dimensions the run keeps apart."""
        kept = [True, *(name in self._asked.dimensions for name in DIMENSIONS)]
        if all(kept):
            return _measures(totals)
        sums: dict[Key, tuple[int, ...]] = {}
        for key, row in _measures(totals).items():
            masked = tuple(part if keep else "" for part, keep in zip(key, kept, strict=True))
            before = sums.get(masked, (0,) * len(MEASURES))
            sums[masked] = tuple(map(sum, zip(before, row, strict=True)))
        return sums

    # ---- Kafka ------------------------------------------------------------------------------------------------------

    def _settings(self) -> None:
        check = self._checks.named("settings")
        for partition, cut in self.cuts.items():
            check.compared += 1
            if cut.mark.digest != self._digest:
                check.differ(
                    f"partition {partition} was joined under settings {cut.mark.digest}, these are {self._digest}: "
                    "give the worker's own window, skew, lateness, future, dedupe, negative rate and dimensions"
                )
            if not cut.whole:
                check.notes.append(
                    f"partition {partition} is judged from offsets {cut.starts}; what depends on earlier records is "
                    "left out"
                )

    def _bounds(self, cut: Cut, judged: Truth) -> None:
        """The worker has acted on no bound its logs do not give, and on both to the end in a run that was ended."""
        if cut.short:
            return
        check = self._checks.named("bounds")
        check.compared += 1
        reached, bounds = cut.mark.reached, self._asked.bounds
        if self._asked.ended:
            if not cut.ended:
                check.differ(f"partition {cut.partition} was not ended: it has closed below {reached.close_ms} only")
            for log, at in cut.offsets.items():
                if next(stream_log(self._cluster, self._cluster.topic(log), cut.partition, start=at), None):
                    check.differ(f"{log}[{cut.partition}] was not read to its end: committed is offset {at}")
            return
        close_ms, give_up_ms = allowed(judged, bounds)
        if reached.close_ms > close_ms or reached.orphan_ms > give_up_ms:
            asked = "; if its run was ended, say --ended" if cut.ended else ""
            check.differ(
                f"partition {cut.partition} has closed below {reached.close_ms}, given up below {reached.orphan_ms}; "
                f"its logs allow {close_ms} and {give_up_ms}{asked}"
            )

    def _outcomes(self, judged: Truth, outcomes: written.Outcomes, partition: int, span: Span) -> None:
        wanted = Pile()
        for one in judged.outcomes:
            wanted.add(one, at_ms=written.event_ms(one))

        def values(hashes: Collection[int]) -> Iterable[tuple[int, Any]]:
            yield from outcomes.named(hashes)
            yield from ((hash_of(one), one) for one in judged.outcomes)

        due = wanted.between(span.from_ms, span.to_ms)
        compare_piles(self._checks.named("outcomes"), outcomes.settled(partition, span), due, values=values)

    def _totals(
        self, name: str, found: Mapping[Key, Any], wanted: Mapping[Key, Any], span: Span, length_ms: int, *, at: int
    ) -> None:
        sides = [whole(side, span, length_ms, at=at) for side in (found, wanted)]
        self._checks.named(name).compare(*sides, names=MEASURES)

    def _rejects(self, cut: Cut, judged: Truth, found: Iterable[Key]) -> None:
        # What is late or in conflict depends on records Kafka may no longer keep.
        passed_over = () if cut.whole else ("late", "conflict")
        logs = (("impressions", judged.impressions), ("clicks", judged.clicks))
        wanted = {(log, offset, str(reason)): 1 for log, one in logs for offset, reason in one.rejects}
        counted: defaultdict[Key, int] = defaultdict(int)
        for log, offset, reason in found:
            if cut.starts[log] <= offset < cut.offsets[log]:
                counted[log, offset, reason] += 1
        sides = [
            {(log, cut.partition, *rest): times for (log, *rest), times in side.items() if rest[1] not in passed_over}
            for side in (counted, wanted)
        ]
        self._checks.named("rejects").compare(*sides)

    def _ledger(self, cut: Cut, judged: Truth) -> None:
        check = self._checks.named("ledger")
        if not cut.whole or cut.short:
            check.notes.append(f"partition {cut.partition}: not compared, as it counts all the group has committed")
            return
        found: dict[Key, int] = {}
        wanted: dict[Key, int] = {}
        for log, one in (("impressions", judged.impressions), ("clicks", judged.clicks)):
            for fate in _FATES:
                found[cut.partition, log, fate] = getattr(cut.mark.of(log).fates, fate)
                wanted[cut.partition, log, fate] = one.counts[fate]
        for decision in _DECISIONS:
            found[cut.partition, decision] = getattr(cut.mark.decisions, decision)
            wanted[cut.partition, decision] = judged.counts[decision]
        check.compare(found, wanted)
        self._last_ledger(cut, judged, check)

    def _last_ledger(self, cut: Cut, judged: Truth, check: Check) -> None:
        """The last record of `ads.ledger` balances; in a run that was ended it says what the truth says."""
        ledger = written.last_ledgers(self._cluster, [cut.partition]).get(cut.partition)
        if ledger is None:
            return
        if trouble := ledger.imbalance():
            check.differ(f"partition {cut.partition}: {trouble}")
        if not self._asked.ended:
            return
        for log, one in (("impressions", judged.impressions), ("clicks", judged.clicks)):
            fates = {fate: getattr(getattr(ledger, log), fate) for fate in ("consumed", *_FATES)}
            keyed = {("ads.ledger", cut.partition, log, fate): count for fate, count in fates.items()}
            check.compare(keyed, {key: one.counts[key[-1]] for key in keyed})
        decisions = {("ads.ledger", cut.partition, name): getattr(ledger, name) for name in (*_DECISIONS, *_OPEN)}
        check.compare(decisions, {key: judged.counts[key[-1]] for key in decisions})


def _measures(totals: Mapping[Key, Mapping[str, int]]) -> dict[Key, tuple[int, ...]]:
    return {key: tuple(row.get(name, 0) for name in MEASURES) for key, row in totals.items()}

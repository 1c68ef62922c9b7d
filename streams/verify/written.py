"""What a join has written to Kafka."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import attrgetter
from typing import TypeVar

from schemas.codec import decode
from schemas.outcomes import Outcome
from schemas.rejects import Rejected
from schemas.totals import DIMENSIONS, MEASURES, CampaignTotal, Ledger, MinuteTotal, MinuteTotals
from streams.join.state import INPUTS
from streams.kafka.cluster import Cluster
from streams.kafka.reads import read_all, stream_log
from streams.verify.check import Pile, hash_of
from streams.verify.cut import Span
from streams.verify.oracle import Key

Row = TypeVar("Row", MinuteTotal, CampaignTotal, Ledger)
_dimensions = attrgetter(*DIMENSIONS)
_measures = attrgetter(*MEASURES)


class Outcomes:
    """The outcomes there are, by join partition, 16 bytes each; and which of them a sink still has to write."""

    def __init__(self, cluster: Cluster, shards: int, sunk: Mapping[int, int]) -> None:
        """`sunk`: the sink's next offset in each shard; empty when there is none."""
        self._cluster = cluster
        self._shards = shards
        self._piles: defaultdict[int, Pile] = defaultdict(Pile)
        # Hashes of `row_of`.
        self.not_sunk: defaultdict[int, set[int]] = defaultdict(set)
        for shard, offset, one in self._read():
            self._piles[one.join_partition].add(one, at_ms=event_ms(one))
            if sunk and offset >= sunk[shard]:
                self.not_sunk[one.join_partition].add(hash_of(row_of(one)))

    def _read(self) -> Iterator[tuple[int, int, Outcome]]:
        for shard in range(self._shards):
            for record in stream_log(self._cluster, self._cluster.topic("outcomes"), shard):
                yield shard, record.offset, decode(record.value or b"", Outcome)

    def settled(self, partition: int, span: Span) -> Pile:
        """Those of one join partition that are compared."""
        return self._piles[partition].between(span.from_ms, span.to_ms)

    def named(self, hashes: Iterable[int]) -> Iterator[tuple[int, Outcome]]:
        """Those of these hashes, read once more."""
        wanted = set(hashes)
        for _, _, one in self._read():
            if hash_of(one) in wanted:
                yield hash_of(one), one


def event_ms(outcome: Outcome) -> int:
    """The impression's time; the click's, where there is no impression."""
    return outcome.ts if outcome.ts is not None else outcome.click_ts or 0


def row_of(outcome: Outcome) -> Key:
    """What an outcome is known by in ClickHouse: kind, impression, click, click time."""
    return outcome.kind, outcome.impression_id, outcome.click_id or "", outcome.click_ts or 0


class Totals:
    """Minute totals of one join partition, each at its highest version, and the minutes a sink has still to write."""

    def __init__(self, cluster: Cluster, partition: int, *, sunk: int | None) -> None:
        """`sunk`: the sink's next offset in this partition of the topic; None when there is none."""
        self.not_sunk: set[int] = set()
        self.behind = 0
        self._latest: dict[Key, MinuteTotal] = {}
        for record in stream_log(cluster, cluster.topic("totals"), partition):
            packed = decode(record.value or b"", MinuteTotals)
            _keep_latest(self._latest, packed.rows(), lambda row: (row.minute, *_dimensions(row)))
            if sunk is not None and record.offset >= sunk:
                self.not_sunk.add(packed.minute)
                self.behind += 1

    def measures(self) -> dict[Key, tuple[int, ...]]:
        """(minute, *dimensions) -> measures."""
        return {key: _measures(row) for key, row in self._latest.items()}


class CampaignTotals:
    """Campaign totals of all join partitions, each at its highest version; `last` offset by campaign and partition."""

    def __init__(self, cluster: Cluster, partitions: int) -> None:
        self._latest: dict[Key, CampaignTotal] = {}
        # By campaign: the partition of the topic it is in, and the offset of its last record.
        self.last: dict[str, tuple[int, int]] = {}
        for partition in range(partitions):
            for record in stream_log(cluster, cluster.topic("campaign_totals"), partition):
                row = decode(record.value or b"", CampaignTotal)
                _keep_latest(self._latest, [row], lambda row: (row.join_partition, row.campaign_id, row.quarter))
                self.last[row.campaign_id] = partition, record.offset

    def measures(self, partition: int) -> dict[Key, tuple[int, ...]]:
        """(campaign, quarter-hour) -> measures, of one join partition."""
        return {key[1:]: _measures(row) for key, row in self._latest.items() if key[0] == partition}


def rejects(cluster: Cluster) -> Iterator[tuple[int, Key]]:
    """(input partition, (input, offset, reason)) of every dead letter of the inputs."""
    for log, letter in dead_letters(cluster):
        yield letter.partition, (log, letter.offset, str(letter.reason))


def dead_letters(cluster: Cluster) -> Iterator[tuple[str, Rejected]]:
    """Every dead letter of the inputs, with the input it is of."""
    logs = {cluster.topic(role): role for role in INPUTS}
    for value in read_all(cluster, "rejects", 0):
        letter = decode(value, Rejected)
        if letter.topic in logs:
            yield logs[letter.topic], letter


def last_ledgers(cluster: Cluster, partitions: Iterable[int]) -> dict[int, Ledger]:
    """The last ledger of each partition that has one."""
    latest: dict[Key, Ledger] = {}
    for partition in partitions:
        rows = (decode(value, Ledger) for value in read_all(cluster, "ledger", partition))
        _keep_latest(latest, rows, lambda row: (row.join_partition,))
    return {key[0]: row for key, row in latest.items()}


def summed_totals(cluster: Cluster, partitions: Iterable[int]) -> dict[Key, dict[str, int]]:
    """(minute, *dimensions) -> measures by name, summed over join partitions."""
    sums: defaultdict[Key, Counter[str]] = defaultdict(Counter)
    for partition in partitions:
        for key, row in Totals(cluster, partition, sunk=None).measures().items():
            sums[key].update(dict(zip(MEASURES, row, strict=True)))
    return {key: {name: row[name] for name in MEASURES} for key, row in sums.items()}


def _keep_latest(latest: dict[Key, Row], rows: Iterable[Row], key_of: Callable[[Row], Key]) -> None:
    """Of the rows of each key, the one of the highest version; of equal ones the last."""
    for row in rows:
        key = key_of(row)
        if key not in latest or latest[key].version <= row.version:
            latest[key] = row

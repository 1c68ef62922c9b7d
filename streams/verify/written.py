"""What the join has written to Kafka."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import TypeVar

from schemas.codec import decode, decoder
from schemas.outcomes import Outcome
from schemas.packed import campaign_totals, minute_totals
from schemas.reading import Unreadable, read
from schemas.rejects import Rejected
from schemas.totals import DIMENSIONS, MEASURES, CampaignTotal, Ledger, MinuteTotal
from streams.join.state import INPUTS
from streams.kafka.cluster import Cluster
from streams.kafka.reads import read_all, stream_log
from streams.verify.check import HashedValues, hash_of
from streams.verify.oracle import Key
from streams.verify.settled import SettledTime

Row = TypeVar("Row", MinuteTotal, CampaignTotal, Ledger)
_dimensions = attrgetter(*DIMENSIONS)
_measures = attrgetter(*MEASURES)


class Outcomes:
    """All outcomes in Kafka as hashes, by join partition, and which of them the sink has not written yet."""

    def __init__(self, cluster: Cluster, shards: int, sink_offsets: Mapping[int, int]) -> None:
        """`sink_offsets`: the sink's next offset in each shard; empty when ClickHouse is not compared."""
        self._cluster = cluster
        self._shards = shards
        self._hashed: defaultdict[int, HashedValues] = defaultdict(HashedValues)
        # By join partition, the hashes of `row_of`.
        self.hashes_to_sink: defaultdict[int, set[int]] = defaultdict(set)
        for shard, offset, outcome in self._read():
            self._hashed[outcome.join_partition].add(outcome, at_ms=event_ms(outcome))
            if sink_offsets and offset >= sink_offsets[shard] and outcome.kind != "shown":
                self.hashes_to_sink[outcome.join_partition].add(hash_of(row_of(outcome)))

    def _read(self) -> Iterator[tuple[int, int, Outcome]]:
        for shard in range(self._shards):
            for record in stream_log(self._cluster, self._cluster.topic("outcomes"), shard):
                yield shard, record.offset, decode(record.value or b"", Outcome)

    def settled(self, partition: int, settled: SettledTime) -> HashedValues:
        """The outcomes of one join partition in the settled time."""
        return self._hashed[partition].between(settled.from_ms, settled.to_ms)

    def with_hashes(self, hashes: Iterable[int]) -> Iterator[tuple[int, Outcome]]:
        """(hash, outcome) of all outcomes with these hashes. Reads the topic again."""
        wanted = set(hashes)
        for _, _, outcome in self._read():
            if hash_of(outcome) in wanted:
                yield hash_of(outcome), outcome


def event_ms(outcome: Outcome) -> int:
    """The time of the impression; without an impression, that of the click."""
    return outcome.ts if outcome.ts is not None else outcome.click_ts or 0


def row_of(outcome: Outcome) -> Key:
    """What identifies an outcome in ClickHouse: kind, impression, click, click time."""
    return outcome.kind, outcome.impression_id, outcome.click_id or "", outcome.click_ts or 0


class Totals:
    """Minute totals of one join partition, each in its highest version, and which the sink has not written yet."""

    def __init__(self, cluster: Cluster, partition: int, *, sink_offset: int | None, extra: Sequence[str] = ()) -> None:
        """`sink_offset`: the sink's next offset in this partition of `ads.totals`; None without ClickHouse.

        `extra`: the run's extra dimensions, which records from before lack.
        """
        self.minutes_to_sink: set[int] = set()
        self.records_to_sink = 0
        self._latest: dict[Key, MinuteTotal] = {}
        for record in stream_log(cluster, cluster.topic("totals"), partition):
            packed = minute_totals(record.value or b"")
            _keep_latest(self._latest, packed.rows(extra), lambda row: (row.minute, *_dimensions(row), *row.extra))
            if sink_offset is not None and record.offset >= sink_offset:
                self.minutes_to_sink.add(packed.minute)
                self.records_to_sink += 1

    def measures(self) -> dict[Key, tuple[int, ...]]:
        """(minute, *dimensions) -> measures."""
        return {key: _measures(row) for key, row in self._latest.items()}


class CampaignTotals:
    """Campaign totals of all join partitions, each in its highest version."""

    def __init__(self, cluster: Cluster, partitions: int) -> None:
        self._latest: dict[Key, CampaignTotal] = {}
        # By campaign: its partition of `ads.campaign_totals`, and the offset of its last record there.
        self.last: dict[str, tuple[int, int]] = {}
        for partition in range(partitions):
            for record in stream_log(cluster, cluster.topic("campaign_totals"), partition):
                rows = campaign_totals(record.value or b"")
                _keep_latest(self._latest, rows, lambda row: (row.join_partition, row.campaign_id, row.quarter))
                self.last.update((row.campaign_id, (partition, record.offset)) for row in rows)

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


def ledgers(cluster: Cluster, partition: int) -> Iterator[Ledger]:
    """The good records of the ledger of one partition, in log order."""
    for value in read_all(cluster, "ledger", partition):
        ledger = read(value, decoder(Ledger).decode)
        if not isinstance(ledger, Unreadable):
            yield ledger


def last_ledgers(cluster: Cluster, partitions: Iterable[int]) -> dict[int, Ledger]:
    """By join partition, the ledger with the highest version; without partitions that have none."""
    latest: dict[Key, Ledger] = {}
    for partition in partitions:
        _keep_latest(latest, ledgers(cluster, partition), lambda row: (row.join_partition,))
    return {key[0]: row for key, row in latest.items()}


def summed_totals(cluster: Cluster, partitions: Iterable[int]) -> dict[Key, dict[str, int]]:
    """(minute, *dimensions) -> measures by name, summed over join partitions."""
    sums: defaultdict[Key, Counter[str]] = defaultdict(Counter)
    for partition in partitions:
        for key, row in Totals(cluster, partition, sink_offset=None).measures().items():
            sums[key].update(dict(zip(MEASURES, row, strict=True)))
    return {key: {name: row[name] for name in MEASURES} for key, row in sums.items()}


def _keep_latest(latest: dict[Key, Row], rows: Iterable[Row], key_of: Callable[[Row], Key]) -> None:
    """Keeps of each key the row with the highest version; of equal versions the last."""
    for row in rows:
        key = key_of(row)
        if key not in latest or latest[key].version <= row.version:
            latest[key] = row

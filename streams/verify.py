"""Holds what a run left in Kafka, ClickHouse and the pacing counters against the batch truth of its inputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from clickhouse_connect.driver.client import Client

from schemas.bounds import JoinBounds
from schemas.codec import decode, decoder
from schemas.events import Campaign
from schemas.outcomes import Outcome
from schemas.rejects import Rejected
from schemas.seals import SealRecord
from schemas.totals import DIMENSIONS, MEASURES, CampaignTotal, Ledger, MinuteTotal, MinuteTotals
from streams.cluster import Cluster, read_all, read_log
from streams.oracle import Key, Truth, truth

_SHOWN = 5
DaysOf = Callable[[str], Mapping[int, tuple[int, int, int]]]
_FATES = ("consumed", "accepted", "late", "duplicate", "rejected")
_DECISIONS = ("open", "closed", "unclicked", "billable", "repeat", "orphan", "pending")
Row = TypeVar("Row", MinuteTotal, CampaignTotal, Ledger)


@dataclass
class Check:
    """One comparison: how many values were compared, and the first that differ (empty: all agree)."""

    name: str
    compared: int = 0
    differing: int = 0
    first: list[str] = field(default_factory=list)

    def differ(self, text: str) -> None:
        """Notes a difference."""
        self.differing += 1
        if len(self.first) < _SHOWN:
            self.first.append(text)


class Run:
    """A finished or stopped run: its inputs' truth by partition, and what it wrote to Kafka."""

    def __init__(self, cluster: Cluster, bounds: JoinBounds, *, partitions: int, shards: int, ended: bool) -> None:
        self._cluster = cluster
        self._partitions = partitions
        self.truths: dict[int, Truth] = {
            partition: truth(
                read_log(cluster, "impressions", partition),
                read_log(cluster, "clicks", partition),
                bounds,
                seals=map(decoder(SealRecord).decode, read_all(cluster, "seals", partition)),
                partition=partition,
                ended=ended,
            )
            for partition in range(partitions)
        }
        self.outcomes = [
            decode(value, Outcome) for shard in range(shards) for value in read_all(cluster, "outcomes", shard)
        ]

    def checks(self) -> list[Check]:
        """Outcomes, totals, campaign totals, rejects and ledger in Kafka against the truth."""
        return [self._outcomes(), self._totals(), self._campaign_totals(), self._rejects(), self._ledgers()]

    def clickhouse_checks(self, client: Client) -> list[Check]:
        """The same in ClickHouse, through the views readers use."""
        names = ", ".join(DIMENSIONS)
        sums = ", ".join(f"sum({measure})" for measure in MEASURES)
        rows = client.query(f"SELECT toUnixTimestamp(minute) * 1000, {names}, {sums} FROM ads.minutes GROUP BY ALL")
        width = 1 + len(DIMENSIONS)
        totals = {tuple(row[:width]): dict(zip(MEASURES, row[width:], strict=True)) for row in rows.result_rows}
        kept = client.query(
            "SELECT kind, impression_id, click_id, toUnixTimestamp64Milli(click_time) FROM ads.outcomes"
        ).result_rows
        found = Counter(map(tuple, kept))
        wanted = Counter(
            (one.kind, one.impression_id, one.click_id or "", one.click_ts or 0)
            for judged in self.truths.values()
            for one in judged.outcomes
        )
        return [
            _compared("minute totals in ClickHouse", totals, _summed(judged.totals for judged in self.truths.values())),
            _compared("outcomes in ClickHouse", found, wanted),
        ]

    def pacing_check(self, days_of: DaysOf, campaigns: Iterable[Campaign]) -> Check:
        """Pacing counters against the truth: (impressions, clicks, spend) of each campaign's local days."""
        zones = {campaign.campaign_id: campaign.timezone for campaign in campaigns}
        wanted: dict[Key, list[int]] = {}
        for judged in self.truths.values():
            for (campaign_id, quarter), row in judged.campaigns.items():
                day = _midnight_ms(quarter, zones.get(campaign_id, "UTC"))
                sums = wanted.setdefault((campaign_id, day), [0, 0, 0])
                for at, measure in enumerate(("impressions", "clicks", "spend_micros")):
                    sums[at] += row[measure]
        found = {
            (campaign_id, day): list(sums)
            for campaign_id in {key[0] for key in wanted}
            for day, sums in days_of(campaign_id).items()
        }
        return _compared("pacing counters", found, wanted)

    def ledgers(self) -> dict[int, Ledger]:
        """The last ledger of each partition."""
        rows = (decode(value, Ledger) for value in self._read("ledger"))
        return {key[0]: row for key, row in _latest(rows, lambda row: (row.join_partition,)).items()}

    def totals(self) -> dict[Key, dict[str, int]]:
        """(minute, *dimensions) -> measures, summed over join partitions, each at its highest version."""
        rows = (row for value in self._read("totals") for row in decode(value, MinuteTotals).rows())
        dimensions = attrgetter(*DIMENSIONS)
        return _over_partitions(_latest(rows, lambda row: (row.join_partition, row.minute, *dimensions(row))))

    def _read(self, role: str) -> Iterator[bytes]:
        for partition in range(self._partitions):
            yield from read_all(self._cluster, role, partition)

    def _outcomes(self) -> Check:
        wanted = Counter(repr(one) for judged in self.truths.values() for one in judged.outcomes)
        return _compared("outcomes", Counter(map(repr, self.outcomes)), wanted)

    def _totals(self) -> Check:
        return _compared("minute totals", self.totals(), _summed(judged.totals for judged in self.truths.values()))

    def _campaign_totals(self) -> Check:
        rows = (decode(value, CampaignTotal) for value in self._read("campaign_totals"))
        latest = _latest(rows, lambda row: (row.join_partition, row.campaign_id, row.quarter))
        wanted = _summed(judged.campaigns for judged in self.truths.values())
        return _compared("campaign totals", _over_partitions(latest), wanted)

    def _rejects(self) -> Check:
        logs = {self._cluster.topic(role): role for role in ("impressions", "clicks")}
        letters = [decode(value, Rejected) for value in read_all(self._cluster, "rejects", 0)]
        found = Counter(
            (logs[one.topic], one.partition, one.offset, str(one.reason)) for one in letters if one.topic in logs
        )
        wanted = Counter(
            (role, partition, offset, str(reason))
            for partition, judged in self.truths.items()
            for role, log in (("impressions", judged.impressions), ("clicks", judged.clicks))
            for offset, reason in log.rejects
        )
        return _compared("rejects", found, wanted)

    def _ledgers(self) -> Check:
        found: dict[Key, int] = {}
        wanted: dict[Key, int] = {}
        for partition, ledger in self.ledgers().items():
            if trouble := ledger.imbalance():
                return Check("ledger", compared=1, differing=1, first=[trouble])
            for role in ("impressions", "clicks"):
                for fate in _FATES:
                    found[partition, role, fate] = getattr(getattr(ledger, role), fate)
            for decision in _DECISIONS:
                found[partition, decision] = getattr(ledger, decision)
        for partition, judged in self.truths.items():
            for role, log in (("impressions", judged.impressions), ("clicks", judged.clicks)):
                for fate in _FATES:
                    wanted[partition, role, fate] = log.counts[fate]
            for decision in _DECISIONS:
                wanted[partition, decision] = judged.counts[decision]
        return _compared("ledger", found, wanted)


def _compared(name: str, found: Mapping[Any, Any], wanted: Mapping[Any, Any]) -> Check:
    check = Check(name, compared=len(wanted))
    for key in wanted.keys() | found.keys():
        if found.get(key) != wanted.get(key):
            check.differ(f"{key}: found {found.get(key)}, the truth is {wanted.get(key)}")
    return check


def _latest(rows: Iterable[Row], key_of: Callable[[Row], Key]) -> dict[Key, Row]:
    """Of the rows of each key, the one of the highest version; of equal ones the last."""
    latest: dict[Key, Row] = {}
    for row in rows:
        key = key_of(row)
        if key not in latest or latest[key].version <= row.version:
            latest[key] = row
    return latest


def _over_partitions(latest: Mapping[Key, MinuteTotal] | Mapping[Key, CampaignTotal]) -> dict[Key, dict[str, int]]:
    """Measures by key without the join partition in front of it, summed."""
    return _summed({key[1:]: _measures(row)} for key, row in latest.items())


def _measures(row: MinuteTotal | CampaignTotal) -> Counter[str]:
    return Counter({name: getattr(row, name) for name in MEASURES})


def _summed(parts: Iterable[Mapping[Key, Counter[str]]]) -> dict[Key, dict[str, int]]:
    sums: dict[Key, Counter[str]] = {}
    for part in parts:
        for key, row in part.items():
            sums.setdefault(key, Counter()).update(row)
    return {key: {name: row[name] for name in MEASURES} for key, row in sums.items()}


def _midnight_ms(ts_ms: int, zone: str) -> int:
    local = datetime.fromtimestamp(ts_ms / 1_000, ZoneInfo(zone))
    return int(local.replace(hour=0, minute=0, second=0, microsecond=0).timestamp() * 1_000)

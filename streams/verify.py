"""Holds what a run left in Kafka, ClickHouse and the pacing counters against the batch truth of its inputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
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

    def pacing_check(
        self, days_of: Callable[[str], Mapping[int, tuple[int, int, int]]], campaigns: Iterable[Campaign]
    ) -> Check:
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
        found: dict[int, Ledger] = {}
        for partition in range(self._partitions):
            for value in read_all(self._cluster, "ledger", partition):
                ledger = decode(value, Ledger)
                if partition not in found or found[partition].version <= ledger.version:
                    found[partition] = ledger
        return found

    def totals(self) -> dict[Key, dict[str, int]]:
        """(minute, *dimensions) -> measures, summed over join partitions, each at its highest version."""
        latest: dict[Key, MinuteTotal] = {}
        for partition in range(self._partitions):
            for value in read_all(self._cluster, "totals", partition):
                for total in decode(value, MinuteTotals).rows():
                    key = (partition, total.minute, *(getattr(total, name) for name in DIMENSIONS))
                    if key not in latest or latest[key].version <= total.version:
                        latest[key] = total
        return _summed({key[1:]: _measures(row)} for key, row in latest.items())

    def _outcomes(self) -> Check:
        wanted = Counter(repr(one) for judged in self.truths.values() for one in judged.outcomes)
        return _compared("outcomes", Counter(map(repr, self.outcomes)), wanted)

    def _totals(self) -> Check:
        return _compared("minute totals", self.totals(), _summed(judged.totals for judged in self.truths.values()))

    def _campaign_totals(self) -> Check:
        latest: dict[Key, CampaignTotal] = {}
        for partition in range(self._partitions):
            for value in read_all(self._cluster, "campaign_totals", partition):
                total = decode(value, CampaignTotal)
                key = (total.join_partition, total.campaign_id, total.quarter)
                if key not in latest or latest[key].version <= total.version:
                    latest[key] = total
        found = _summed({key[1:]: _measures(row)} for key, row in latest.items())
        return _compared("campaign totals", found, _summed(judged.campaigns for judged in self.truths.values()))

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
                for fate in ("consumed", "accepted", "late", "duplicate", "rejected"):
                    found[partition, role, fate] = getattr(getattr(ledger, role), fate)
            for decision in ("open", "closed", "unclicked", "billable", "repeat", "orphan", "pending"):
                found[partition, decision] = getattr(ledger, decision)
        for partition, judged in self.truths.items():
            for role, log in (("impressions", judged.impressions), ("clicks", judged.clicks)):
                for fate in ("consumed", "accepted", "late", "duplicate", "rejected"):
                    wanted[partition, role, fate] = log.counts[fate]
            for decision in ("open", "closed", "unclicked", "billable", "repeat", "orphan", "pending"):
                wanted[partition, decision] = judged.counts[decision]
        return _compared("ledger", found, wanted)


def _compared(name: str, found: Mapping[Any, Any], wanted: Mapping[Any, Any]) -> Check:
    check = Check(name, compared=len(wanted))
    for key in wanted.keys() | found.keys():
        if found.get(key) != wanted.get(key):
            check.differ(f"{key}: found {found.get(key)}, the truth is {wanted.get(key)}")
    return check


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

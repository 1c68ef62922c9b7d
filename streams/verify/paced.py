"""What the pacing worker has counted: asked of its JSON view, or read back from its changelog."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol

import orjson

from schemas.codec import decode
from schemas.errors import Transient
from schemas.events import Campaign
from streams.kafka.cluster import Cluster
from streams.kafka.reads import read_all, stream_log
from streams.pacing.local_day import zone
from streams.pacing.shard import Shard
from streams.verify.oracle import Key

Sums = tuple[int, int, int]


class Paced(Protocol):
    """The counters of a pacing worker as of now."""

    def next_offsets(self) -> dict[int, int]:
        """By partition of campaign totals: all below this offset is counted."""
        ...

    def days(self, campaign_id: str) -> dict[int, Sums]:
        """Local midnight, ms UTC -> (impressions, clicks, spend in micros)."""
        ...


class View:
    """The JSON view of one worker that owns all partitions, at `http://host:port/pacing`."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def next_offsets(self) -> dict[int, int]:
        """As the worker says; nothing while it does not answer or partitions move."""
        found: dict[str, int] = _json(self._url)["next_offsets"]
        return {int(partition): offset for partition, offset in found.items()}

    def days(self, campaign_id: str) -> dict[int, Sums]:
        """Asked of the worker; nothing for a campaign it does not know."""
        try:
            view = _json(f"{self._url}/{urllib.request.pathname2url(campaign_id)}")
        except urllib.error.HTTPError:
            return {}
        return {day["day_start"]: (day["impressions"], day["clicks"], day["spend_micros"]) for day in view["days"]}


class Changelog:
    """The state a pacing worker would come back with, whether or not one runs."""

    def __init__(self, cluster: Cluster, topic: str, partitions: int) -> None:
        self._cluster = cluster
        self._topic = topic
        self._partitions = partitions
        self._shards: dict[int, Shard] = {}

    def next_offsets(self) -> dict[int, int]:
        """As the last rows say; reads them all again."""
        self._shards = {}
        for partition in range(self._partitions):
            shard = self._shards[partition] = Shard()
            for record in stream_log(self._cluster, self._topic, partition):
                shard.restore(record.key or b"", record.value)
            # Only here, in memory: nothing is written.
            shard.open(epoch_s=0, owner=0)
        return {partition: shard.position for partition, shard in self._shards.items()}

    def days(self, campaign_id: str) -> dict[int, Sums]:
        """As read by the last `next_offsets`."""
        for shard in self._shards.values():
            if shard.head(campaign_id) is not None:
                found = shard.days(campaign_id)
                return {
                    day.start_ms: (day.measures.impressions, day.measures.clicks, day.measures.spend_micros)
                    for day in found
                }
        return {}


def time_zones(cluster: Cluster, partitions: int) -> dict[str, str]:
    """The time zone of each announced campaign; a newer version may have changed it."""
    latest: dict[str, Campaign] = {}
    for partition in range(partitions):
        for value in read_all(cluster, "campaigns", partition):
            try:
                campaign = decode(value, Campaign)
            except ValueError:
                continue  # pacing passes it over as well
            known = latest.get(campaign.campaign_id)
            if zone(campaign.timezone) is not None and (known is None or known.version < campaign.version):
                latest[campaign.campaign_id] = campaign
    return {name: campaign.timezone for name, campaign in latest.items()}


def local_days(quarters: Iterable[tuple[str, int, Sums]], zones: Mapping[str, str]) -> dict[Key, tuple[int, Sums]]:
    """(campaign, local midnight) -> (the next midnight, sums) of (campaign, quarter-hour, sums)."""
    sums: defaultdict[Key, list[int]] = defaultdict(lambda: [0, 0, 0])
    ends: dict[Key, int] = {}
    for campaign_id, quarter, measures in quarters:
        start_ms, end_ms = _day(quarter, zones.get(campaign_id, "UTC"))
        key = campaign_id, start_ms
        ends[key] = end_ms
        for at, measure in enumerate(measures):
            sums[key][at] += measure
    return {key: (ends[key], (row[0], row[1], row[2])) for key, row in sums.items()}


def _day(ts_ms: int, name: str) -> tuple[int, int]:
    local = datetime.fromtimestamp(ts_ms / 1_000, zone(name))
    start = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    return int(start.timestamp() * 1_000), int((start + timedelta(days=1)).timestamp() * 1_000)


def _json(url: str) -> Any:
    try:
        with urllib.request.urlopen(url, timeout=10.0) as answer:
            return orjson.loads(answer.read())
    except urllib.error.HTTPError:
        raise
    except OSError as error:
        raise Transient(f"the pacing worker at {url} does not answer: {error}") from error

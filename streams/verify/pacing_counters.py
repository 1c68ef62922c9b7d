"""The counters and campaigns of the pacing worker, read from its JSON view or from its changelog."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol

import msgspec
import orjson

from schemas.errors import Transient
from schemas.events import Campaign
from schemas.zones import zone
from streams.kafka.cluster import Cluster
from streams.kafka.reads import stream_log
from streams.pacing.shard import Shard
from streams.verify.oracle import Key

# Impressions, clicks, spend in micros.
CampaignSums = tuple[int, int, int]


class PacingCounters(Protocol):
    """What a pacing worker knows now."""

    def next_offsets(self) -> dict[int, int]:
        """By partition of campaign totals, the offset below which all totals are counted."""
        ...

    def days(self, campaign_id: str) -> dict[int, CampaignSums]:
        """Local midnight, ms UTC -> sums of that day; empty for a campaign that is not known."""
        ...

    def campaign(self, campaign_id: str) -> tuple[int, Campaign | None]:
        """The number of the last change taken of a campaign, and what has been in force since; (0, None) before it."""
        ...


class PacingView:
    """The JSON view, at `http://host:port/pacing`, of a worker that owns all partitions."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def next_offsets(self) -> dict[int, int]:
        """As the worker answers. Raises Transient when it does not answer."""
        found: dict[str, int] = _get_json(self._url)["next_offsets"]
        return {int(partition): offset for partition, offset in found.items()}

    def days(self, campaign_id: str) -> dict[int, CampaignSums]:
        """As the worker answers now. Raises Transient when it does not answer."""
        view = self._view_of(campaign_id)
        days = view["days"] if view is not None else []
        return {day["day_start"]: (day["impressions"], day["clicks"], day["spend_micros"]) for day in days}

    def campaign(self, campaign_id: str) -> tuple[int, Campaign | None]:
        """As the worker answers now. Raises Transient when it does not answer."""
        view = self._view_of(campaign_id)
        return (0, None) if view is None else (view["change"], msgspec.convert(view["campaign"], Campaign | None))

    def _view_of(self, campaign_id: str) -> Any:
        try:
            return _get_json(f"{self._url}/{urllib.request.pathname2url(campaign_id)}")
        except urllib.error.HTTPError:
            return None


class PacingChangelog:
    """The state that a pacing worker restores at its start. No worker has to run."""

    def __init__(self, cluster: Cluster, topic: str, partitions: int) -> None:
        self._cluster = cluster
        self._topic = topic
        self._partitions = partitions
        self._shards: dict[int, Shard] = {}

    def next_offsets(self) -> dict[int, int]:
        """Reads the whole changelog again."""
        self._shards = {}
        for partition in range(self._partitions):
            shard = self._shards[partition] = Shard()
            for record in stream_log(self._cluster, self._topic, partition):
                shard.restore(record.key or b"", record.value)
            # In memory only: nothing is written.
            shard.open(epoch_s=0, owner=0)
        return {partition: shard.position for partition, shard in self._shards.items()}

    def days(self, campaign_id: str) -> dict[int, CampaignSums]:
        """As the last call of `next_offsets` read it."""
        for shard in self._shards.values():
            if shard.head(campaign_id) is not None:
                found = shard.days(campaign_id)
                return {
                    day.start_ms: (day.measures.impressions, day.measures.clicks, day.measures.spend_micros)
                    for day in found
                }
        return {}

    def campaign(self, campaign_id: str) -> tuple[int, Campaign | None]:
        """As the last call of `next_offsets` read it."""
        heads = (shard.head(campaign_id) for shard in self._shards.values())
        head = next((head for head in heads if head is not None), None)
        return (head.change, head.campaign) if head is not None else (0, None)


def local_days(
    quarters: Iterable[tuple[str, int, CampaignSums]], zones: Mapping[str, str]
) -> dict[Key, tuple[int, CampaignSums]]:
    """(campaign, local midnight) -> (the next local midnight, sums), in ms UTC.

    Made from (campaign, quarter-hour, sums). A campaign without a time zone in `zones` is in UTC.
    """
    sums: defaultdict[Key, list[int]] = defaultdict(lambda: [0, 0, 0])
    ends: dict[Key, int] = {}
    for campaign_id, quarter_ms, measures in quarters:
        start_ms, end_ms = _local_day(quarter_ms, zones.get(campaign_id, "UTC"))
        key = campaign_id, start_ms
        ends[key] = end_ms
        for index, measure in enumerate(measures):
            sums[key][index] += measure
    return {key: (ends[key], (row[0], row[1], row[2])) for key, row in sums.items()}


def _local_day(ts_ms: int, zone_name: str) -> tuple[int, int]:
    local = datetime.fromtimestamp(ts_ms / 1_000, zone(zone_name))
    start = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    return int(start.timestamp() * 1_000), int((start + timedelta(days=1)).timestamp() * 1_000)


def _get_json(url: str) -> Any:
    try:
        with urllib.request.urlopen(url, timeout=10.0) as answer:
            return orjson.loads(answer.read())
    except urllib.error.HTTPError:
        raise
    except OSError as error:
        raise Transient(f"the pacing worker at {url} does not answer: {error}") from error

"""Campaigns as Kafka has them, read and changed from outside the worker `pace`: by a command, or by `clickfold serve`.

A look judges as the gate does, by the same fold: first `ads.campaign_history`, then the records of `ads.campaigns` that
the gate may not have judged yet. So a change is made on top of one that waits. Two that are written at the same moment
have one version, and the gate accepts the first: `written` says so to the second.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import Final, Literal, NamedTuple

from schemas.campaigns import CampaignChange
from schemas.codec import decoder, encode
from schemas.events import MAX_OWN_RECORD_BYTES, Campaign
from schemas.reading import Unreadable, read
from streams.campaigns.gate import HISTORY, INPUT, GateFold, GateMark
from streams.campaigns.judge import Campaigns
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.partitioners import java_partition
from streams.kafka.reads import bounds_consumer, log_bounds, read_side_log, stream_log
from streams.kafka.sender import Sender

_LOOK_S: Final = 0.2


class Written(NamedTuple):
    """What became of a record: 'accepted' since `in_force_ms`, 'overtaken' by another of its version, or 'waiting'.

    It waits while the worker `pace` does not run.
    """

    fate: Literal["accepted", "overtaken", "waiting"]
    in_force_ms: int = -1


class Book:
    """The campaigns of a cluster. Each look reads the history of a partition from its beginning.

    Raises SettingsError when a topic is missing, Transient when Kafka does not answer.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._partitions = Admin(cluster).require((INPUT, HISTORY))[cluster.topic(HISTORY)]

    def of(self, campaign_id: str) -> Campaigns:
        """The campaigns of the partition that this one is in."""
        return self._judged(self._home(campaign_id))

    def all(self) -> Iterator[Campaigns]:
        """The campaigns of each partition."""
        return map(self._judged, range(self._partitions))

    def history(self, campaign_id: str) -> list[CampaignChange]:
        """Every accepted change of a campaign, in order."""
        changes = self._changes(self._home(campaign_id), 0)
        return [change for _, change in changes if change.campaign_id == campaign_id]

    def decisions(self, campaign_id: str | None = None) -> Iterator[tuple[bytes | None, bytes | None]]:
        """Key and value of each record of `ads.pacing`, in order; only those of the partition of one campaign, if it is
        given."""
        topic = self._cluster.topic("pacing")
        partitions = Admin(self._cluster).require(("pacing",))[topic]
        home = range(partitions) if campaign_id is None else (java_partition(campaign_id.encode(), partitions),)
        for partition in home:
            for record in stream_log(self._cluster, topic, partition):
                yield record.key, record.value

    def write(self, campaign: Campaign, *, wait_s: float) -> Written:
        """Writes a version, and waits at most so long until the gate has judged it."""
        partition = self._home(campaign.campaign_id)
        topic = self._cluster.topic(HISTORY)
        with closing(bounds_consumer(self._cluster)) as asking:
            _, start = log_bounds(asking, topic, partition)
        with Sender(self._cluster) as sender:
            sender.send(INPUT, [(campaign.campaign_id.encode(), encode(campaign), -1)])
        until = time.monotonic() + wait_s
        while True:
            for offset, change in self._changes(partition, start):
                start = offset + 1
                same = change.campaign_id == campaign.campaign_id and change.campaign is not None
                if same and change.campaign == campaign:
                    return Written("accepted", change.in_force_ms)
                if same and change.campaign is not None and change.campaign.version >= campaign.version:
                    return Written("overtaken")
            if time.monotonic() >= until:
                return Written("waiting")
            time.sleep(_LOOK_S)

    def _home(self, campaign_id: str) -> int:
        return java_partition(campaign_id.encode(), self._partitions)

    def _judged(self, partition: int) -> Campaigns:
        fold = GateFold(
            partition=partition,
            topic=self._cluster.topic(INPUT),
            belongs=partial(java_partition, partitions=self._partitions),
        )
        fold.take_side_log(read_side_log(self._cluster, HISTORY, partition))
        fold.begin(encode(GateMark(fold.campaigns.judged_below)), offsets={}, epoch=0)
        fold.step(read_side_log(self._cluster, INPUT, partition))
        return fold.campaigns

    def _changes(self, partition: int, start: int) -> Iterator[tuple[int, CampaignChange]]:
        for record in stream_log(self._cluster, self._cluster.topic(HISTORY), partition, start=start):
            change = read(record.value, decoder(CampaignChange).decode, max_bytes=MAX_OWN_RECORD_BYTES)
            if not isinstance(change, Unreadable):
                yield record.offset, change

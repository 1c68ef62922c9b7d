"""The history of campaigns: read whole by who takes partitions over, then record by record.

Campaigns change a few times a day, and reading all changes again is what makes a zombie's row of an older campaign
harmless. The first decision knows every change that was accepted before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from confluent_kafka import Message

from schemas.campaigns import CampaignChange
from schemas.codec import decoder
from schemas.events import MAX_OWN_RECORD_BYTES
from schemas.reading import Unreadable, read
from schemas.zones import zone
from streams.kafka.cluster import Cluster
from streams.kafka.reads import read_to_end
from streams.pacing.changelog import BEGINNING
from streams.pacing.shard import Shard

ROLE: Final = "campaign_history"


def take_change(shard: Shard, key: bytes | None, value: bytes | None, passed_over: Counter[str]) -> None:
    """Gives a shard the change in a record; one that cannot be taken is counted."""
    change = read(value, decoder(CampaignChange).decode, max_bytes=MAX_OWN_RECORD_BYTES)
    if isinstance(change, Unreadable):
        passed_over[change.reason.value] += 1
    elif key != change.campaign_id.encode():
        passed_over["wrong_key"] += 1
    elif change.campaign is not None and zone(change.campaign.timezone) is None:
        # The gate that accepted it runs on a machine that knows more time zones.
        passed_over["unknown_timezone"] += 1
    else:
        shard.change(change)


def read_history(
    cluster: Cluster, shards: Mapping[int, Shard], passed_over: Counter[str], goes_on: Callable[[], bool]
) -> dict[int, int]:
    """Gives the shards, by partition, all changes that are committed now; the next offset of each partition.

    For a thread. Raises Transient.
    """

    def take(partition: int, message: Message) -> None:
        take_change(shards[partition], message.key(), message.value(), passed_over)

    return read_to_end(cluster, cluster.topic(ROLE), dict.fromkeys(shards, BEGINNING), take, goes_on=goes_on)

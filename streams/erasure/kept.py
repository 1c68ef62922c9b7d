"""Where a user id is besides ClickHouse, and until when: topics of Kafka by their retention, kept state by its age."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, NamedTuple

import orjson

from schemas.codec import decode
from schemas.events import MAX_TS_MS
from schemas.rejects import Rejected
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.reads import stream_log

# The topics whose records hold a user id, and what of it.
HOLDING: Final = {
    "impressions": "the id, in your records",
    "outcomes": "the id, beside what was decided",
    "rejects": "the first KiB of refused records",
}
_SOURCE: Final = "the id, in records that ingest reads"
# How often a broker looks for old segments, and how long it keeps their files: its defaults.
_BROKER_MS: Final = 300_000 + 60_000


class KeptTopic(NamedTuple):
    """One topic that holds ids. `records` of the users and the time of their newest, None where it was not read.

    `until_ms`: when Kafka has deleted all that was written before now; None if it never does, or does not say it.
    """

    topic: str
    holds: str
    retention: str
    records: int | None
    newest_ms: int | None
    until_ms: int | None


def kept_in_kafka(
    cluster: Cluster,
    users: Collection[str],
    *,
    now_ms: int,
    scan: bool,
    sources: Sequence[str] = (),
    on_read: Callable[[int], object] = lambda _: None,
) -> list[KeptTopic]:
    """What Kafka keeps of users, by topic. `scan` reads the topics to count the records. Raises Transient.

    `sources` are topics of ingest, which are not read: their records may be of any form.
    """
    admin = Admin(cluster)
    counts = admin.partition_counts()
    topics = {cluster.topic(role): holds for role, holds in HOLDING.items()} | dict.fromkeys(sources, _SOURCE)
    topics = {topic: holds for topic, holds in topics.items() if topic in counts}
    configs = admin.configs(list(topics))
    kept = []
    for topic, holds in topics.items():
        read = scan and topic not in sources
        records, newest_ms = _scanned(cluster, topic, counts[topic], users, on_read) if read else (None, None)
        last_ms = now_ms if newest_ms is None else newest_ms
        until_ms = None if records == 0 else gone_by_ms(configs[topic], last_ms)
        kept.append(KeptTopic(topic, holds, _retention(configs[topic]), records, newest_ms, until_ms))
    return kept


def gone_by_ms(config: Mapping[str, str], written_ms: int) -> int | None:
    """When a record of this time is deleted at the latest; None for never, or where the settings are not shown.

    Kafka deletes segments as a whole, once their newest record is older than `retention.ms`. A segment takes records
    for up to `segment.ms`.
    """
    retention_ms, segment_ms = int(config.get("retention.ms", -1)), int(config.get("segment.ms", -1))
    if "delete" not in config.get("cleanup.policy", "") or retention_ms < 0 or segment_ms < 0:
        return None
    until_ms = written_ms + retention_ms + segment_ms + _BROKER_MS
    # Some write "for ever" as the largest number.
    return until_ms if until_ms <= MAX_TS_MS else None


def state_until_ms(*, now_ms: int, window_ms: int, dedupe_ms: int) -> int:
    """Until when the join's checkpoints may have an impression of now, while traffic goes on.

    A segment of open impressions is dropped when its last row is closed and below the dedupe horizon: after at most
    7/3 of the longer of window and dedupe horizon (docs/concepts/state.md).
    """
    return now_ms - (-7 * max(window_ms, dedupe_ms) // 3)


def _retention(config: Mapping[str, str]) -> str:
    if not config:
        return "not shown to this user"
    names = ("cleanup.policy", "retention.ms", "segment.ms")
    return ", ".join(f"{name}={config.get(name, '?')}" for name in names)


def _scanned(
    cluster: Cluster, topic: str, partitions: int, users: Collection[str], on_read: Callable[[int], object]
) -> tuple[int, int | None]:
    """How many records name one of the users, and the time of the newest."""
    # As JSON writes a text, with and without escapes.
    named = {form for user in users for form in (orjson.dumps(user), json.dumps(user).encode())}
    records, newest_ms = 0, None
    for partition in range(partitions):
        for read, record in enumerate(stream_log(cluster, topic, partition), 1):
            value = record.value or b""
            if topic == cluster.topic("rejects"):
                letter = decode(value, Rejected)
                value = letter.prefix + letter.detail.encode()
            if any(name in value for name in named):
                records += 1
                newest_ms = max(newest_ms or 0, record.record_ts_ms)
            if read % 1_000 == 0:
                on_read(1_000)
    return records, newest_ms

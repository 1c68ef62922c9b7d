"""Until when live work is final: what the join has decided for good, and whether ClickHouse has all of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from typing import Final, NamedTuple

from schemas.errors import SettingsError, Transient
from schemas.events import MAX_TS_MS
from streams.export.tables import MINUTES, Exported
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.reads import bounds_consumer, log_bounds
from streams.verify.settled import committed_offsets, committed_ranges

_LOOK_S: Final = 0.2


class FinalTime(NamedTuple):
    """Below `until_ms` (exclusive) no record can change a row. The join partition that is furthest behind says so.

    `ends` are the ends of the topic's partitions: what is decided below `until_ms` lies before them.
    """

    until_ms: int
    partition: int
    ends: dict[int, int]


def final_now(cluster: Cluster, group: str, table: Exported) -> FinalTime:
    """Until when the join of `group` has decided everything. Raises SettingsError when it has committed nothing."""
    counts = Admin(cluster).partition_counts()
    for role in ("impressions", table.role):
        if cluster.topic(role) not in counts:
            raise SettingsError(f"there is no topic {cluster.topic(role)}; run `clickfold init`, or set the prefix")
    marks = committed_ranges(cluster, group, range(counts[cluster.topic("impressions")]))
    reached = {partition: judged.mark.reached for partition, judged in marks.items()}
    # Impressions below the close bound and clicks below the orphan bound have all their outcomes.
    until = {
        partition: each.final_ms if table is MINUTES else min(each.close_ms, each.orphan_ms)
        for partition, each in reached.items()
    }
    slowest = min(until, key=lambda partition: until[partition])
    # Asked after the marks: what they say is decided was written before them. A run that was ended is final for ever.
    until_ms = min(until[slowest], MAX_TS_MS + 1)
    return FinalTime(until_ms, slowest, topic_ends(cluster, table.role, counts[cluster.topic(table.role)]))


def topic_ends(cluster: Cluster, role: str, partitions: int) -> dict[int, int]:
    """The end of each partition of a topic."""
    with closing(bounds_consumer(cluster)) as consumer:
        return {partition: log_bounds(consumer, cluster.topic(role), partition)[1] for partition in range(partitions)}


def wait_for_sink(
    cluster: Cluster,
    group: str,
    table: Exported,
    ends: dict[int, int],
    *,
    wait_s: float,
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Returns once the sink has written everything below these ends. Raises Transient after `wait_s`."""
    topic = cluster.topic(table.role)
    until_s = time.monotonic() + wait_s
    while missing := _missing(cluster, group, topic, ends):
        if time.monotonic() >= until_s:
            raise Transient(
                f"ClickHouse lacks {missing:,} records of {topic} that group {group} has yet to write; start the sink "
                "or wait for it (--wait), or export from the log (--source log)"
            )
        meanwhile()
        time.sleep(_LOOK_S)


def _missing(cluster: Cluster, group: str, topic: str, ends: dict[int, int]) -> int:
    committed = committed_offsets(cluster, group, topic, len(ends))
    return sum(max(0, end - max(0, committed[partition])) for partition, end in ends.items())

"""Which topics the workers of each kind depend on, and what to do when one of them has changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from streams.kafka.cluster import Cluster
from streams.kafka.topic_facts import WatchedTopics

_NEW_GROUP: Final = "start its workers with another --group, which is a new run"
_NEW_TOPICS: Final = (
    "stop producers and workers, make topics with another prefix and the new count (CLICKFOLD_TOPIC_PREFIX, "
    "clickfold init --partitions), and start all of them with that prefix"
)


def join_topics(cluster: Cluster, group: str) -> WatchedTopics:
    """Those of join workers. A key of impressions must stay in its partition, a campaign in its shard of outcomes."""
    inputs = [cluster.topic("impressions"), cluster.topic("clicks")]
    seals, outcomes, campaign_totals = map(cluster.topic, ("seals", "outcomes", "campaign_totals"))
    return WatchedTopics(
        group=group,
        same=[*inputs, seals],
        counted=[*inputs, outcomes, campaign_totals],
        noted_on=[*inputs, seals, outcomes],
        renew=f"its records are other ones, so {_NEW_GROUP}; to keep figures apart use another topic prefix",
        grown=f"keys now belong to other partitions, so an impression and its click may not meet; {_NEW_TOPICS}",
        offsets=f"without them everything would be written twice; {_NEW_GROUP}, after you have read what that repeats "
        "(docs/operate/limits.md), or use another topic prefix",
    )


def ingest_topics(cluster: Cluster, group: str, sources: Sequence[str]) -> WatchedTopics:
    """Those of ingest workers, which go on where a source has more partitions, as its records may have any keys."""
    outputs = [cluster.topic("impressions"), cluster.topic("clicks")]
    return WatchedTopics(
        group=group,
        same=[*sources],
        counted=outputs,
        noted_on=[*sources, *outputs],
        renew=f"its records are other ones, so {_NEW_GROUP}; the join knows ids again for --dedupe",
        grown=f"keys now belong to other partitions, so an impression and its click may not meet; {_NEW_TOPICS}",
        offsets=f"without them its records would be written twice; {_NEW_GROUP}: it maps again all that Kafka keeps, "
        "and the join drops what it knows (--dedupe)",
    )


def learn_topics(cluster: Cluster, group: str) -> WatchedTopics:
    """Those of learners: a partition of outcomes is a model shard."""
    outcomes = cluster.topic("outcomes")
    return WatchedTopics(
        group=group,
        same=[outcomes],
        counted=[outcomes],
        noted_on=[outcomes, cluster.topic("models")],
        renew=f"its records are other ones than the models were learned from, so {_NEW_GROUP}",
        grown=f"campaigns now belong to other model shards, so {_NEW_GROUP}",
        offsets=f"the models were learned up to there, so {_NEW_GROUP}: it learns again from all that Kafka keeps",
    )


def pace_topics(cluster: Cluster, group: str, *, changelog: str) -> WatchedTopics:
    """Those of pacing workers. Their state is the changelog, and so the note goes with it."""
    inputs = [cluster.topic("campaign_totals"), cluster.topic("campaign_history")]
    remedy = (
        f"stop the pacing workers and delete topic {changelog}: the next start counts again from "
        f"{inputs[0]} what Kafka has of it"
    )
    return WatchedTopics(
        group=group,
        same=[*inputs, changelog],
        counted=[*inputs, cluster.topic("pacing"), changelog],
        noted_on=[changelog],
        renew=f"its records are other ones than were counted; {remedy}",
        grown=f"a campaign now belongs to another partition; give {inputs[0]}, {inputs[1]} and "
        f"{cluster.topic('pacing')} one count, then {remedy}",
    )


def gate_topics(cluster: Cluster, group: str) -> WatchedTopics:
    """Those of the gate of campaign records. Records that it judges again change nothing."""
    names = [cluster.topic("campaigns"), cluster.topic("campaign_history")]
    remedy = (
        f"stop the pacing workers, delete the consumer groups {group} and {group}.topics and the folders {group} below "
        f"--state-dir: the next start judges what Kafka has of {names[0]}"
    )
    return WatchedTopics(
        group=group,
        same=names,
        counted=names,
        noted_on=names,
        renew=f"its records are other ones than were judged; {remedy}",
        grown=f"a campaign now belongs to another partition; give {names[0]} and {names[1]} one count, then {remedy}",
    )


def sink_topics(cluster: Cluster, group: str, roles: Sequence[str]) -> WatchedTopics:
    """Those of sinks, which go on with more partitions, and insert again what they have no offsets of."""
    names = [cluster.topic(role) for role in roles]
    return WatchedTopics(
        group=group,
        same=names,
        counted=[],
        noted_on=names,
        renew="start the sink with another --group: it inserts all that Kafka has, and the views do not change by "
        "rows that come twice",
        grown="",
    )

"""What is wrong with the settings of topics that exist, asked by `clickfold init` and by every worker at its start."""

from __future__ import annotations

from collections.abc import Mapping

from schemas.errors import SettingsError
from schemas.topics import TOPICS, Topic
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster

Configs = Mapping[str, Mapping[str, str]]


def check_topic_settings(admin: Admin, cluster: Cluster, *, worker: str = "") -> list[str]:
    """Warnings about the topics a worker reads or writes, or about all topics; one that does not exist has no fault.

    Raises SettingsError for a topic from which compaction or age would remove records that are needed, Transient when
    Kafka does not answer.
    """
    topics = {
        cluster.topic(topic.role): topic
        for topic in TOPICS.values()
        if not worker or worker in (*topic.readers, *topic.writers)
    }
    found = admin.configs([name for name in admin.partition_counts() if name in topics])
    refuse_compaction(topics, found)
    refuse_ageing(topics, found)
    hidden = [name for name, config in found.items() if not config]
    warnings = [producers_times(topics, found, worker=worker), *records_that_age(topics, found)]
    if hidden:
        warnings.append(
            f"Kafka does not show this user the settings of {', '.join(hidden)}; allow DescribeConfigs, or make sure "
            "that impressions, clicks and all topics of records have cleanup.policy=delete"
        )
    return [warning for warning in warnings if warning]


def refuse_compaction(topics: Mapping[str, Topic], found: Configs) -> None:
    """Raises SettingsError for a compacted topic of records that do not replace each other."""
    for name, config in found.items():
        policy = config.get("cleanup.policy", "")
        if "compact" in policy and "compact" not in topics[name].config["cleanup.policy"]:
            raise SettingsError(
                f"topic {name} has cleanup.policy={policy}: compaction keeps only the last record of each key, and "
                "clickfold needs all; set cleanup.policy=delete for it, and produce again what is removed already"
            )


def refuse_ageing(topics: Mapping[str, Topic], found: Configs) -> None:
    """Raises SettingsError for a topic that must be kept for ever, of which Kafka deletes old records."""
    for name, config in found.items():
        for limit in ("retention.ms", "retention.bytes"):
            if topics[name].config.get(limit) == "-1" != config.get(limit, "-1"):
                raise SettingsError(
                    f"topic {name} has {limit}={config[limit]}: Kafka deletes its old records, and nothing else says "
                    f"what was in force of a campaign; set {limit}=-1 for it"
                )


def producers_times(topics: Mapping[str, Topic], found: Configs, *, worker: str = "") -> str:
    """A warning about inputs whose timestamps are not the broker's; empty when there are none, or `worker` reads none.

    It is no error: history that is loaded again has to keep its own times.
    """
    named = [
        name
        for name, config in found.items()
        if config.get("message.timestamp.type") == "CreateTime"
        and topics[name].config.get("message.timestamp.type") == "LogAppendTime"
        and (not worker or worker in topics[name].readers)
    ]
    if not named:
        return ""
    return (
        f"{' and '.join(named)} {'has' if len(named) == 1 else 'have'} message.timestamp.type=CreateTime: the times of "
        "the records are the producers' word, so a wrong clock passes the rule for records in the future; set "
        "LogAppendTime, unless you load history"
    )


def records_that_age(topics: Mapping[str, Topic], found: Configs) -> list[str]:
    """A warning for each topic of lasting values, such as campaigns, that Kafka deletes by their age."""
    return [
        f"topic {name} has cleanup.policy={config['cleanup.policy']}: Kafka deletes its records after "
        f"retention.ms={config['retention.ms']}, and with them values that still hold; set cleanup.policy=compact"
        for name, config in found.items()
        if "delete" in config.get("cleanup.policy", "")
        and config.get("retention.ms", "-1") != "-1"
        and topics[name].config["cleanup.policy"] == "compact"
    ]

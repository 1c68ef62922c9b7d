"""A Kafka cluster as every part of clickfold is given it."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field

from schemas.topics import topic_name


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where Kafka is: bootstrap servers, librdkafka's security settings by their names, and the prefix of topic names.

    `streams.kafka.settings` makes the settings of every client from it.
    """

    bootstrap: str
    _: KW_ONLY
    security: dict[str, str] = field(default_factory=dict, repr=False)
    prefix: str = "ads."

    def topic(self, role: str) -> str:
        """The topic of a role."""
        return topic_name(role, self.prefix)

    def group(self, worker: str) -> str:
        """The default consumer group of a worker.

        It holds the prefix, because transactional ids follow the group: workers of two prefixes on one cluster must
        not fence each other.
        """
        return f"{self.prefix}{worker}"

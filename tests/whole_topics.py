"""Topics read whole by one consumer: a read of one partition after the other takes half a second apiece."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from streams.kafka.cluster import Cluster
from streams.kafka.settings import reader_settings


def whole_topic(cluster: Cluster, role: str, partitions: int) -> Iterator[Message]:
    """Everything committed to a topic so far, each partition in its order."""
    with closing(Consumer(reader_settings(cluster))) as consumer:
        consumer.assign([TopicPartition(cluster.topic(role), partition, 0) for partition in range(partitions)])
        ended: set[int | None] = set()
        while len(ended) < partitions:
            for message in consumer.consume(10_000, 0.05):
                error = message.error()
                if error is None:
                    yield message
                else:
                    assert error.code() == KafkaError._PARTITION_EOF, error
                    ended.add(message.partition())

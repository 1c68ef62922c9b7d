"""What a producer of ours reports as delivered is in the log, also where Kafka refused its first batch for a moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from streams.kafka.cluster import Cluster
from streams.kafka.settings import (
    bounds_settings,
    bulk_producer_settings,
    letter_producer_settings,
    transactional_producer_settings,
)
from tests.mock_coordinator import PRODUCE, mock_cluster

RECORDS = 20
MADE: list[Callable[[Cluster], dict[str, Any]]] = [
    lambda cluster: transactional_producer_settings(cluster, "join"),
    lambda cluster: bulk_producer_settings(cluster, queued_messages=1_000),
    letter_producer_settings,
]


@pytest.mark.parametrize("settings", MADE, ids=["transactional", "bulk", "letters"])
@pytest.mark.parametrize("refused", [KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.UNKNOWN_TOPIC_OR_PART])
def test_first_batch_that_is_refused_for_a_moment_is_not_lost(
    settings: Callable[[Cluster], dict[str, Any]], refused: int
) -> None:
    """Kafka takes any batch as the first of a producer it does not know, as the mock does. With several requests under
    way librdkafka then reports the refused ones as delivered."""
    with mock_cluster() as kafka:
        kafka.create("clicks")
        cluster = Cluster(kafka.bootstrap)
        given = settings(cluster)
        producer = Producer({**given, "linger.ms": 0, "batch.num.messages": 1})
        transactional = "transactional.id" in given
        if transactional:
            producer.init_transactions(10.0)
            producer.begin_transaction()
        kafka.fail(PRODUCE, refused)
        for number in range(RECORDS):
            producer.produce("clicks", b"%d" % number, b"key", partition=0)
        assert producer.flush(20.0) == 0
        if transactional:
            producer.commit_transaction(10.0)
        # A commit takes an offset.
        asking = Consumer(bounds_settings(cluster))
        assert asking.get_watermark_offsets(TopicPartition("clicks", 0), timeout=10.0) == (0, RECORDS + transactional)
        asking.close()

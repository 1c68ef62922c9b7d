"""Writes some records in one transaction, for commands: a reader sees all of them or none."""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import KafkaException, Producer

from schemas.errors import Transient
from schemas.records import Out
from streams.kafka.cluster import Cluster
from streams.kafka.retries import ANSWER_S, patiently
from streams.kafka.settings import transactional_producer_settings


def write_together(cluster: Cluster, transactional_id: str, outs: Sequence[Out]) -> None:
    """Commits the records, or none. A second writer with this id ends the first. Raises Transient."""
    producer = Producer(transactional_producer_settings(cluster, transactional_id))
    patiently(lambda: producer.init_transactions(ANSWER_S), "the transaction coordinator")
    try:
        producer.begin_transaction()
        for out in outs:
            producer.produce(cluster.topic(out.topic), out.value, out.key)
            producer.poll(0)
        patiently(lambda: producer.commit_transaction(ANSWER_S), "the transaction coordinator")
    except (KafkaException, BufferError) as error:
        raise Transient(f"nothing was written to {cluster.bootstrap}: {error}; run the command again") from error

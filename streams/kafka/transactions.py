"""Transactions of one producer, each seen through in the background while records are folded on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, wait
from threading import Thread
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from schemas.errors import TaskLost
from schemas.records import Out
from streams.kafka.cluster import ANSWER_S, Cluster, patiently

_TRANSACTION_TIMEOUT_MS = 15_000
# More than twice as long as the coordinator lets a transaction live, and longer than any one call is given.
_STUCK_S = 35.0


class Transactions:
    """One transaction at a time: outputs, offsets and marks, all or nothing. `transactional_id` is one process's own.

    Raises Transient when no coordinator answers at its start.
    """

    def __init__(self, cluster: Cluster, transactional_id: str) -> None:
        self._cluster = cluster
        self._transactional_id = transactional_id
        self._under_way: Future[None] | None = None
        # Stuck ones. Kept, as taking one apart waits for it.
        self._abandoned: list[Producer] = []
        self._producer = self._new_producer()

    def _new_producer(self) -> Producer:
        producer = Producer(
            self._cluster.client(
                transactional_id=self._transactional_id,
                transaction_timeout_ms=_TRANSACTION_TIMEOUT_MS,
                linger_ms=20,
                batch_size=1 << 20,
                compression_type="lz4",
                # Java's: users' producers, Faust and these outputs must agree on a campaign's partition.
                partitioner="murmur2_random",
                queue_buffering_max_messages=1_000_000,
                queue_buffering_max_kbytes=512 << 10,
            )
        )
        patiently(lambda: producer.init_transactions(ANSWER_S), "the transaction coordinator")
        return producer

    def begin(self, outs: Sequence[Out], offsets: list[TopicPartition], generation: Any) -> None:
        """Hands one over to a thread; the one before must have been settled. `generation`: of the group, as of now."""
        under_way, producer = Future[None](), self._producer

        def see_through() -> None:
            try:
                self._transact(producer, outs, offsets, generation)
            except Exception as error:  # noqa: BLE001  # raised again by `settle`
                under_way.set_exception(error)
            else:
                under_way.set_result(None)

        # A thread for each, which costs 0.1 ms: a process waits at its end for those of a pool, stuck ones too.
        Thread(target=see_through, name="commit", daemon=True).start()
        self._under_way = under_way

    def settle(self) -> None:
        """Waits for the transaction under way. Raises TaskLost when it was aborted or fenced, or does not end."""
        if self._under_way is None:
            return
        under_way, self._under_way = self._under_way, None
        try:
            under_way.result(_STUCK_S)
        except TimeoutError:
            self._abandon()

    def close(self) -> None:
        """Lets go of the producer, once the transaction under way has ended."""
        if self._under_way is not None:
            wait([self._under_way], _STUCK_S)
        self._producer.flush(1.0)

    def _abandon(self) -> None:
        """Replaces a producer that does not come back; the new one fences it. Always raises TaskLost.

        `send_offsets_to_transaction` of librdkafka 2.16 was seen to wait for ever, its timeout notwithstanding, after
        the broker had restarted.
        """
        self._abandoned.append(self._producer)
        self._producer = self._new_producer()
        raise TaskLost(f"the transaction did not end within {_STUCK_S:.0f} s")

    # The thread's part.

    def _transact(
        self, producer: Producer, outs: Sequence[Out], offsets: list[TopicPartition], generation: Any
    ) -> None:
        try:
            producer.begin_transaction()
            self._produce(producer, outs)
            producer.send_offsets_to_transaction(offsets, generation, ANSWER_S)
            _commit(producer)
        except KafkaException as error:
            self._abort(producer, error.args[0])

    def _produce(self, producer: Producer, outs: Sequence[Out]) -> None:
        """Queues all; what does not fit the local, bounded queue waits for what is on its way.

        One by one: `produce_batch` of 2.16 takes a dict a record, which costs twice what the calls do.
        """
        topics = {role: self._cluster.topic(role) for role in {out.topic for out in outs}}
        until = time.monotonic() + ANSWER_S
        for role, key, value, partition in outs:
            while True:
                try:
                    producer.produce(topics[role], value, key, -1 if partition is None else partition)
                    break
                except BufferError as error:
                    if time.monotonic() > until:
                        raise KafkaException(
                            KafkaError(KafkaError._TIMED_OUT, "the producer's queue is full")
                        ) from error
                    producer.poll(0.05)

    def _abort(self, producer: Producer, error: KafkaError) -> None:
        """Ends the transaction; a fenced or broken producer is replaced. Always raises TaskLost."""
        try:
            if error.fatal():
                raise KafkaException(error)
            producer.abort_transaction(ANSWER_S)
        except KafkaException:
            # Unless it was abandoned meanwhile: then its successor must not be fenced by another one.
            if producer is self._producer:
                self._producer = self._new_producer()
        raise TaskLost(f"the transaction was aborted: {error.str()}")


def _commit(producer: Producer) -> None:
    until = time.monotonic() + ANSWER_S
    while True:
        try:
            producer.commit_transaction(ANSWER_S)
            return
        except KafkaException as error:
            # Answer lost or late: asking again is answered with what became of the first try.
            if not error.args[0].retriable() or time.monotonic() > until:
                raise

"""Transactions of one producer. A thread carries each one out while the worker goes on folding records."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from threading import Thread
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from schemas.errors import ClickfoldError, TaskLost
from schemas.records import Out
from streams.kafka.cluster import Cluster
from streams.kafka.retries import ANSWER_S, patiently
from streams.kafka.settings import TRANSACTION_TIMEOUT_MS, transactional_producer_settings

# More than twice as long as the coordinator lets a transaction live, and longer than any one call is given.
_STUCK_S = 35.0
assert 2 * TRANSACTION_TIMEOUT_MS / 1_000 < _STUCK_S > ANSWER_S
_FENCED = (KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH)
# `settle` waits for a transaction and then for a new producer, which asks again until ANSWER_S is over, and the last
# time for as long.
LONGEST_SETTLE_S = _STUCK_S + 2 * ANSWER_S


class Transactions:
    """One transaction at a time, of outputs, offsets and marks. No other process has this `transactional_id`.

    Raises Transient when no coordinator answers at its start.
    """

    def __init__(
        self, cluster: Cluster, transactional_id: str, fenced: Callable[[], ClickfoldError | None] = lambda: None
    ) -> None:
        """`fenced` is called when another producer has taken the id; what it returns ends the worker."""
        self._cluster = cluster
        self._fenced = fenced
        self._transactional_id = transactional_id
        self._under_way: Future[None] | None = None
        # Hung producers. They are kept, because destroying one blocks.
        self._abandoned: list[Producer] = []
        self._producer = self._new_producer()

    def _new_producer(self) -> Producer:
        producer = Producer(transactional_producer_settings(self._cluster, self._transactional_id))
        patiently(lambda: producer.init_transactions(ANSWER_S), "the transaction coordinator")
        return producer

    def begin(self, outs: Sequence[Out], offsets: list[TopicPartition], generation: Any) -> None:
        """Hands a transaction to a thread; the one before must have been settled.

        `generation` is the group's, as of now.
        """
        under_way, producer = Future[None](), self._producer

        def carry_out() -> None:
            try:
                self._transact(producer, outs, offsets, generation)
            except Exception as error:  # noqa: BLE001  # raised again by `settle`
                under_way.set_exception(error)
            else:
                under_way.set_result(None)

        # A thread for each, which costs 0.1 ms. At its end a process waits for the threads of a pool, hung ones too.
        Thread(target=carry_out, name="commit", daemon=True).start()
        self._under_way = under_way

    def settled(self) -> bool:
        """Whether no transaction is under way: then `settle` does not wait."""
        return self._under_way is None or self._under_way.done()

    def settle(self) -> None:
        """Waits for the transaction under way. Raises TaskLost when it was aborted or fenced, or does not end.

        Raises SlotTaken when another worker fences this one again and again.
        """
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
        # A fenced producer raises that again; whoever waited for its transaction was told.
        with contextlib.suppress(KafkaException):
            self._producer.flush(1.0)

    def _abandon(self) -> None:
        """Replaces a producer that hangs; the new one fences it. Always raises TaskLost.

        After a broker's restart `send_offsets_to_transaction` of librdkafka 2.16 was seen to wait for ever, in spite of
        its timeout.
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
        """Queues all outputs; waits while the local, bounded queue is full.

        One call for each record: `produce_batch` of 2.16 takes a dict a record, which costs twice as much.
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
        """Ends the transaction; a fenced or broken producer is replaced. Raises TaskLost, or what `fenced` says."""
        if error.code() in _FENCED and producer is self._producer and (end := self._fenced()) is not None:
            raise end
        try:
            if error.fatal():
                raise KafkaException(error)
            producer.abort_transaction(ANSWER_S)
        except KafkaException:
            # Not if it was abandoned meanwhile: another producer would fence its successor.
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
            # The answer was lost or late. Asking again gives the result of the first try.
            if not error.args[0].retriable() or time.monotonic() > until:
                raise

"""Repeats a request to Kafka until its answer is stable."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from schemas.errors import Transient

# Long enough for the coordinator to time out a dead worker's open transaction (15 s) before its offsets are stable.
ANSWER_S = 30.0
_NOT_STABLE = (
    KafkaError.UNSTABLE_OFFSET_COMMIT,
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    # For some moments after a broker's start.
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError._TIMED_OUT,
    KafkaError._WAIT_COORD,
    # A client that has just started knows a topic, and not yet its partitions.
    KafkaError._UNKNOWN_PARTITION,
    KafkaError._TRANSPORT,
)


def patiently(ask: Callable[[], Any], whom: str) -> Any:
    """The answer of `ask`, which is called again while a coordinator moves, loads or waits for a transaction to end.

    Raises Transient, naming `whom` was asked, after 30 s or an error that asking again does not mend.
    """
    until = time.monotonic() + ANSWER_S
    while True:
        try:
            return ask()
        except KafkaException as error:
            problem: KafkaError = error.args[0]
            if problem.code() not in _NOT_STABLE and not problem.retriable():
                raise Transient(f"{whom} answered: {problem.str()}") from error
            if time.monotonic() > until:
                raise Transient(f"{whom} did not answer within {ANSWER_S:.0f} s: {problem.str()}") from error
            time.sleep(0.1)

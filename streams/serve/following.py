"""Reads `ads.models` and `ads.pacing` from their beginning, and then what follows. No group shares the records out."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from typing import Final

import structlog
from confluent_kafka import Consumer, TopicPartition

from schemas.records import Records
from streams.kafka.admin import Admin
from streams.kafka.consumer import Reading
from streams.kafka.settings import follower_settings
from streams.serve.progress import Serving
from streams.serve.settings import ServeSettings

ROLES: Final = ("models", "pacing")
# A batch has at most so many records, which are taken before the next beat; 0.2 s of decisions.
_BATCH: Final = 10_000
_LOOK_S: Final = 0.1
_BEAT_S: Final = 1.0


def follow(
    settings: ServeSettings,
    serving: Serving,
    stopped: Callable[[], bool],
    beat: Callable[[], None],
    log: structlog.stdlib.BoundLogger,
) -> None:
    """Takes records until `stopped`; `beat` is called at each turn. While Kafka is away what was read goes on serving.

    Raises SettingsError when a topic is missing, Transient for faults of Kafka: another call goes on from there.
    """
    cluster = settings.cluster
    existing = Admin(cluster).require(ROLES)
    topics = {cluster.topic(role): role for role in ROLES}
    places = [
        TopicPartition(name, number, serving.next_offsets.get((name, number), 0))
        for name in topics
        for number in range(existing[name])
    ]
    reading = Reading(topics, taken="", remedy="start again")
    with closing(Consumer(follower_settings(cluster))) as consumer:
        consumer.assign(places)
        reading.begin(places)
        while not stopped():
            for records in reading.columns(consumer.consume(_BATCH, _LOOK_S)):
                if records.log == "models":
                    _take_models(records, serving, beat, log)
                else:
                    _take_decisions(records, serving, log)
                serving.next_offsets[cluster.topic(records.log), records.partition] = records.next_offset
            if not serving.caught_up and all(reading.met_end(each.topic, each.partition) >= 0 for each in places):
                serving.caught_up = True
                log.info("caught up", campaigns=len(serving.decisions), model=_version(serving))
            beat()


def _take_models(
    records: Records, serving: Serving, beat: Callable[[], None], log: structlog.stdlib.BoundLogger
) -> None:
    before = _version(serving)
    for key, value in zip(records.keys, records.values, strict=True):
        serving.models.take(key, value)
    with ThreadPoolExecutor(1) as thread:
        updating = thread.submit(serving.models.update)
        # A large model takes longer than the loop may be silent. Meanwhile the former serves.
        while not wait((updating,), timeout=_BEAT_S).done:
            beat()
    for text in updating.result():
        serving.refused[records.log] += 1
        log.warning("model refused", text=text, serves=before)
    if _version(serving) != before:
        serving.swaps += 1
        log.info("model", version=_version(serving), former=before)


def _take_decisions(records: Records, serving: Serving, log: structlog.stdlib.BoundLogger) -> None:
    for offset, key, value in zip(records.offsets, records.keys, records.values, strict=True):
        refused = serving.decisions.take(key, value)
        if refused is not None:
            serving.refused[records.log] += 1
            log.warning("decision refused", partition=records.partition, offset=offset, text=refused.detail)


def _version(serving: Serving) -> int | None:
    served = serving.models.served
    return served.facts.version if served is not None else None

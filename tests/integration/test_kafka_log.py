"""The real log on the real broker, where the simulated one copies it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product

import pytest
from confluent_kafka import Producer

from schemas.errors import Transient
from streams.embedded.broker import Broker
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.consumer import Gap
from streams.kafka.log import KafkaLog
from streams.kafka.reads import read_all
from streams.kafka.settings import EXACT_DELIVERY, client_settings
from tests.slots import slot_zero
from tests.waiting import eventually

INPUTS = ("impressions", "clicks")


class Noting:
    """An owner that notes what it owns."""

    def __init__(self) -> None:
        self.owned: list[int] = []

    def assigned(self, partitions: Iterable[int]) -> None:
        self.owned += partitions

    def revoked(self, partitions: Iterable[int]) -> None:
        """Gives up nothing."""

    def lost(self, partitions: Iterable[int]) -> None:
        """Loses nothing."""


pytestmark = pytest.mark.broker


@pytest.fixture(params=[True, False], ids=["in bulk", "by message"])
def in_bulk(request: pytest.FixtureRequest) -> bool:
    """Which reader a log has."""
    return bool(request.param)


def test_a_marker_behind_where_reading_began_is_no_lag(broker: Broker, topic_prefix: str, in_bulk: bool) -> None:
    """A worker started again behind the last record of a transactional producer would wait for one more for ever."""
    cluster = Cluster(broker.bootstrap, prefix=topic_prefix)
    Admin(cluster).create(partitions=1)
    producer = Producer(client_settings(cluster, **EXACT_DELIVERY, transactional_id=f"{topic_prefix}user"))
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(cluster.topic("impressions"), b"{}", b"i")
    producer.commit_transaction(20)
    log, owner = (
        KafkaLog(
            cluster,
            f"{topic_prefix}group",
            INPUTS,
            slot=slot_zero(cluster, f"{topic_prefix}group"),
            in_bulk=in_bulk,
        ),
        Noting(),
    )

    def assigned() -> list[int]:
        assert log.poll(10, 0.1) == []
        return owner.owned

    def ends() -> Mapping[str, int]:
        assert log.poll(10, 0.1) == []
        return log.ends(0)

    log.join(owner)
    try:
        eventually(assigned, equals=[0])
        log.seek(0, {"impressions": 1, "clicks": 0})
        log.resume(0, INPUTS)
        eventually(ends, equals={"impressions": 1, "clicks": 0})
    finally:
        log.leave()


def test_records_of_an_open_transaction_are_lag_and_a_reader_waits_for_them(broker: Broker, topic_prefix: str) -> None:
    """Otherwise an input would be idle while a producer fills a transaction, and its records would be late."""
    cluster = Cluster(broker.bootstrap, prefix=topic_prefix)
    Admin(cluster).create(partitions=1)
    topic = cluster.topic("impressions")
    producer = Producer(client_settings(cluster, **EXACT_DELIVERY, transactional_id=f"{topic_prefix}user"))
    producer.init_transactions(20)
    producer.begin_transaction()
    for number in range(10):
        producer.produce(topic, b"%d" % number, b"i")
    assert producer.flush(20) == 0
    log = KafkaLog(
        cluster,
        f"{topic_prefix}group",
        INPUTS,
        slot=slot_zero(cluster, f"{topic_prefix}group"),
    )
    with ThreadPoolExecutor(1) as pool:
        try:
            assert log.ends(0) == {"impressions": 10, "clicks": 0}
            values = pool.submit(read_all, cluster, "impressions", 0)
            with pytest.raises(TimeoutError):
                values.result(1.0)
            producer.commit_transaction(20)
            assert values.result(20) == [b"%d" % number for number in range(10)]
        finally:
            log.leave()


def test_a_partition_sought_at_the_moment_of_its_assignment_is_read_from_there(
    broker: Broker, topic_prefix: str, in_bulk: bool
) -> None:
    """librdkafka went on at the end of a partition that had been assigned at its end a moment before."""
    cluster = Cluster(broker.bootstrap, prefix=topic_prefix)
    Admin(cluster).create(partitions=8)
    produce(cluster, partitions=8)
    for number in range(6):
        slot = slot_zero(cluster, f"{topic_prefix}group-{number}")
        log = KafkaLog(cluster, slot.group, INPUTS, slot=slot, in_bulk=in_bulk)
        log.join(Seeking(log))
        try:
            firsts = partial(_first_offsets, log, {})
            eventually(firsts, equals=dict.fromkeys(product(INPUTS, range(8)), 0))
        finally:
            log.leave()


class Seeking(Noting):
    """An owner that reads each partition from its beginning as soon as it has it."""

    def __init__(self, log: KafkaLog) -> None:
        super().__init__()
        self._log = log

    def assigned(self, partitions: Iterable[int]) -> None:
        super().assigned(partitions)
        for partition in partitions:
            self._log.seek(partition, dict.fromkeys(INPUTS, 0))
            self._log.resume(partition, INPUTS)


Firsts = dict[tuple[str, int], int]


def _first_offsets(log: KafkaLog, firsts: Firsts) -> Firsts:
    """Polls, and returns the offset that each partition was read from first."""
    for records in log.poll(1_000, 0.05):
        firsts.setdefault((records.log, records.partition), records.offsets[0])
    return firsts


def test_records_passed_over_where_reading_begins_stop_the_worker_and_a_marker_does_not(
    broker: Broker, topic_prefix: str
) -> None:
    cluster = Cluster(broker.bootstrap, prefix=topic_prefix)
    Admin(cluster).create(partitions=1)
    produce(cluster, partitions=1, transaction=f"{topic_prefix}user")
    produce(cluster, partitions=1, transaction=f"{topic_prefix}user")
    log = KafkaLog(cluster, f"{topic_prefix}group", INPUTS, slot=slot_zero(cluster, f"{topic_prefix}group"))
    topic = cluster.topic("impressions")
    try:
        # One record, its marker, one more: the second record has offset 2.
        log.check_gap(Gap(topic, 0, began=1, first=2))
        with pytest.raises(Transient, match=r"began to read .* at offset 2, but offset 0 was to be read"):
            log.check_gap(Gap(topic, 0, began=0, first=2))
    finally:
        log.leave()


def produce(cluster: Cluster, *, partitions: int, transaction: str | None = None) -> None:
    """One record to each partition of both inputs."""
    producer = Producer(client_settings(cluster, **EXACT_DELIVERY, transactional_id=transaction))
    if transaction is not None:
        producer.init_transactions(20)
        producer.begin_transaction()
    for role in INPUTS:
        for partition in range(partitions):
            producer.produce(cluster.topic(role), b"{}", b"i", partition)
    if transaction is not None:
        producer.commit_transaction(20)
    assert producer.flush(20) == 0

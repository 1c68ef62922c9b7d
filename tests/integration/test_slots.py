"""A member of a group that is fenced by its own id."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator

import pytest
from confluent_kafka import Consumer

from schemas.errors import Transient
from streams.embedded.broker import Broker
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.log import KafkaLog

pytestmark = pytest.mark.broker
BOUND_S = 30.0


class Anyone:
    """An owner that reads nothing and keeps nothing."""

    def assigned(self, partitions: Iterable[int]) -> None:
        pass

    def revoked(self, partitions: Iterable[int]) -> None:
        pass

    def lost(self, partitions: Iterable[int]) -> None:
        pass


@pytest.fixture
def cluster(broker: Broker, topic_prefix: str) -> Cluster:
    made = Cluster(broker.bootstrap, prefix=topic_prefix)
    Admin(made).create(partitions=1)
    return made


@pytest.fixture
def log(cluster: Cluster) -> Iterator[KafkaLog]:
    opened = KafkaLog(cluster, f"{cluster.prefix}join", ("impressions", "clicks"), slot="0")
    opened.join(Anyone())
    yield opened
    opened.leave()


def test_member_fenced_by_its_own_id_begins_again(cluster: Cluster, log: KafkaLog) -> None:
    # A broker's restart can do that to a member nobody has replaced; as an error nobody handled it ended the worker.
    group = f"{cluster.prefix}join"
    same = {"group_instance_id": f"{group}-0", "partition_assignment_strategy": "cooperative-sticky"}
    other = Consumer(cluster.client(group_id=group, **same))
    until = time.monotonic() + BOUND_S

    def both_poll() -> None:
        for turn in itertools.count():
            log.poll(1, 0.05)
            if turn == 40:
                other.subscribe([cluster.topic("impressions")])
            if turn > 40:
                other.poll(0.05)
            assert time.monotonic() < until, f"not fenced within {BOUND_S} s"

    try:
        with pytest.raises(Transient, match="the group knows another member in slot 0"):
            both_poll()
    finally:
        other.close()

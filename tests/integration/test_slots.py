"""A member of a group that is fenced by its own id."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import pytest
from confluent_kafka import Consumer

from schemas.errors import Transient
from streams.embedded.broker import Broker
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.log import KafkaLog
from streams.kafka.settings import client_settings
from tests.slots import slot_zero
from tests.waiting import eventually

pytestmark = pytest.mark.broker


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
    opened = KafkaLog(
        cluster,
        f"{cluster.prefix}join",
        ("impressions", "clicks"),
        slot=slot_zero(cluster, f"{cluster.prefix}join"),
    )
    opened.join(Anyone())
    yield opened
    opened.leave()


def test_member_fenced_by_its_own_id_begins_again(cluster: Cluster, log: KafkaLog) -> None:
    # A broker's restart can do that to a member nobody has replaced; as an error nobody handled it ended the worker.
    group = f"{cluster.prefix}join"
    same = {"group_instance_id": f"{group}-0", "partition_assignment_strategy": "cooperative-sticky"}
    other = Consumer(client_settings(cluster, group_id=group, **same))
    turns = itertools.count()

    def both_poll() -> bool:
        turn = next(turns)
        log.poll(1, 0.05)
        if turn == 40:
            other.subscribe([cluster.topic("impressions")])
        if turn > 40:
            other.poll(0.05)
        return False

    try:
        with pytest.raises(Transient, match="the group knows another member in slot 0"):
            eventually(both_poll, what="the end of the first member")
    finally:
        other.close()

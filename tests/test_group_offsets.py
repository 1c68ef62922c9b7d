"""Offsets of a group asked for and committed from outside, while its coordinator is not the one that is asked."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from confluent_kafka import KafkaError, TopicPartition

from streams.kafka.cluster import Cluster
from streams.kafka.groups import commit_for, offsets_now
from tests.mock_coordinator import OFFSET_COMMIT, OFFSET_FETCH, MockCluster, mock_cluster

PLACES = [TopicPartition("clicks", 0, 5, "note")]
PASSING = (KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.COORDINATOR_LOAD_IN_PROGRESS)


@pytest.fixture
def kafka() -> Iterator[MockCluster]:
    with mock_cluster() as running:
        running.create("clicks")
        yield running


@pytest.mark.parametrize("code", PASSING)
def test_coordinator_that_is_not_the_one_now_is_asked_again(kafka: MockCluster, code: int) -> None:
    """librdkafka's AdminClient ends the process at such an answer."""
    cluster = Cluster(kafka.bootstrap)
    kafka.fail(OFFSET_COMMIT, code, code)
    assert commit_for(cluster, "g", PLACES)
    kafka.fail(OFFSET_FETCH, code, code)
    found = offsets_now(cluster, "g", PLACES)
    assert found is not None
    assert [(place.offset, place.error) for place in found] == [(5, None)]


def test_user_who_may_not_use_the_group_is_told_so(kafka: MockCluster) -> None:
    cluster = Cluster(kafka.bootstrap)
    kafka.fail(OFFSET_COMMIT, KafkaError.GROUP_AUTHORIZATION_FAILED)
    assert not commit_for(cluster, "g", PLACES)
    kafka.fail(OFFSET_FETCH, KafkaError.GROUP_AUTHORIZATION_FAILED)
    assert offsets_now(cluster, "g", PLACES) is None

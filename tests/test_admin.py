"""What a worker is told of a Kafka that is away."""

from __future__ import annotations

from unittest.mock import patch

import pytest

from schemas.errors import Transient
from streams.kafka import admin
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster


def test_kafka_that_does_not_answer_is_waited_for_by_a_worker_that_begins_again() -> None:
    # As settings that cannot work it ended each worker that began again while its broker restarted.
    with patch.object(admin, "_FIRST_ANSWER_S", 0.2), pytest.raises(Transient, match="no Kafka broker answers at"):
        Admin(Cluster("127.0.0.1:1")).partition_counts()

"""One running Kafka for the whole session, and names nobody else uses."""

import uuid
from collections.abc import Iterator

import pytest

from streams.embedded.broker import Broker


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A running Kafka, shared: create topics and groups below ``topic_prefix``, and never stop it."""
    with Broker(tmp_path_factory.mktemp("kafka")) as running:
        yield running


@pytest.fixture
def topic_prefix() -> str:
    """Start of topic, group and transactional id names that no other test has; ends with a dot."""
    return f"t{uuid.uuid4().hex[:12]}."

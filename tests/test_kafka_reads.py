"""Plain reads of partitions, with a consumer that is made up."""

from __future__ import annotations

import time
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from schemas.errors import Transient
from streams.kafka import reads
from streams.kafka.cluster import Cluster
from streams.kafka.reads import stream_messages

CLUSTER = Cluster("127.0.0.1:1")


class Log:
    """A consumer of a log with some records, one a call."""

    def __init__(self, count: int) -> None:
        self._left = list(range(count))

    def assign(self, _: Any) -> None:
        """Takes the partition."""

    def consume(self, _: int, __: float) -> list[SimpleNamespace]:
        offsets, self._left = self._left[:1], self._left[1:]
        return [SimpleNamespace(error=lambda: None, offset=partial(int, offset)) for offset in offsets]

    def close(self) -> None:
        """Ends."""


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    log = Log(3)
    monkeypatch.setattr(reads, "ANSWER_S", 0.1)
    monkeypatch.setattr(reads, "bounds_consumer", lambda _: log)
    monkeypatch.setattr(reads, "log_bounds", lambda *_: (0, 4))
    monkeypatch.setattr(reads, "Consumer", lambda _: log)
    return log


@pytest.mark.usefixtures("log")
def test_time_that_the_reader_takes_is_not_time_without_an_answer() -> None:
    found = []
    for message in stream_messages(CLUSTER, "t", 0, stop=3):
        found.append(message.offset())
        time.sleep(0.15)
    assert found == [0, 1, 2]


@pytest.mark.usefixtures("log")
def test_without_an_answer_a_log_is_not_readable() -> None:
    messages = stream_messages(CLUSTER, "t", 0)
    assert [next(messages).offset() for _ in range(3)] == [0, 1, 2]
    with pytest.raises(Transient, match="not readable to offset 4"):
        next(messages)

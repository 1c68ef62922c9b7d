"""librdkafka's own mock of a Kafka cluster, whose next answers to one kind of request can be errors."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from streams.kafka.librdkafka import FUNCTIONS, Functions, typed

# Numbers of requests in Kafka's protocol.
PRODUCE: Final = 0
OFFSET_COMMIT: Final = 8
OFFSET_FETCH: Final = 9
_PRODUCER: Final = 0


class MockCluster:
    """One broker in this process. `bootstrap` is its address."""

    def __init__(self, library: ctypes.CDLL, handle: int) -> None:
        self._library = library
        self._handle = handle
        self.bootstrap: str = library.rd_kafka_mock_cluster_bootstraps(handle).decode()

    def create(self, topic: str) -> None:
        """A topic of one partition."""
        self._library.rd_kafka_mock_topic_create(self._handle, topic.encode(), 1, 1)

    def fail(self, request: int, *codes: int) -> None:
        """The next requests of this kind are answered with these error codes."""
        self._library.rd_kafka_mock_push_request_errors(self._handle, request, len(codes), *codes)


@contextmanager
def mock_cluster() -> Iterator[MockCluster]:
    """A cluster that ends with the block."""
    library = typed({**FUNCTIONS, **_MOCK})
    error = ctypes.create_string_buffer(512)
    settings = library.rd_kafka_conf_new()
    # The mock lives in a client. That one has no broker, and need not say so.
    library.rd_kafka_conf_set(settings, b"log_level", b"0", error, len(error))
    client = library.rd_kafka_new(_PRODUCER, settings, error, len(error))
    assert client, error.value
    cluster = library.rd_kafka_mock_cluster_new(client, 1)
    try:
        yield MockCluster(library, cluster)
    finally:
        library.rd_kafka_mock_cluster_destroy(cluster)
        library.rd_kafka_destroy(client)


_POINTER, _SIZE = ctypes.c_void_p, ctypes.c_size_t
_MOCK: Final[Functions] = {
    "destroy": (None, (_POINTER,)),
    "mock_cluster_new": (_POINTER, (_POINTER, ctypes.c_int)),
    "mock_cluster_destroy": (None, (_POINTER,)),
    "mock_cluster_bootstraps": (ctypes.c_char_p, (_POINTER,)),
    "mock_topic_create": (ctypes.c_int, (_POINTER, ctypes.c_char_p, ctypes.c_int, ctypes.c_int)),
    # The codes follow, as C's variable arguments.
    "mock_push_request_errors": (None, (_POINTER, ctypes.c_int16, _SIZE)),
}

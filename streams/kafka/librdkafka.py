"""A reading client of librdkafka itself, of the library that confluent-kafka brings: whole batches, no object a record.

Only functions of librdkafka's public header are called. What confluent-kafka calls a Consumer is the same client; it
makes a Python object of each message, which takes half of the time of reading.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from confluent_kafka import KafkaError, KafkaException, TopicPartition, cimpl

_CONSUMER: Final = 1
_OK: Final = 0
_TEXT_BYTES: Final = 512

_POINTER, _TEXT, _INT, _INT32, _INT64, _SIZE = (
    *(ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_int32, ctypes.c_int64, ctypes.c_size_t),
)
# Name without `rd_kafka_`: what it returns, and its arguments.
Functions = Mapping[str, tuple[Any, tuple[Any, ...]]]
FUNCTIONS: Final[Functions] = {
    "conf_new": (_POINTER, ()),
    "conf_set": (_INT, (_POINTER, _TEXT, _TEXT, _POINTER, _SIZE)),
    "conf_destroy": (None, (_POINTER,)),
    "new": (_POINTER, (_INT, _POINTER, _POINTER, _SIZE)),
    "destroy_flags": (None, (_POINTER, _INT)),
    "poll_set_consumer": (_INT, (_POINTER,)),
    "queue_get_consumer": (_POINTER, (_POINTER,)),
    "queue_destroy": (None, (_POINTER,)),
    "consume_batch_queue": (ctypes.c_ssize_t, (_POINTER, _INT, _POINTER, _SIZE)),
    "topic_partition_list_new": (_POINTER, (_INT,)),
    "topic_partition_list_add": (_POINTER, (_POINTER, _TEXT, _INT32)),
    "topic_partition_list_set_offset": (_INT, (_POINTER, _TEXT, _INT32, _INT64)),
    "topic_partition_list_destroy": (None, (_POINTER,)),
    "incremental_assign": (_POINTER, (_POINTER, _POINTER)),
    "incremental_unassign": (_POINTER, (_POINTER, _POINTER)),
    "pause_partitions": (_INT, (_POINTER, _POINTER)),
    "resume_partitions": (_INT, (_POINTER, _POINTER)),
    "get_watermark_offsets": (_INT, (_POINTER, _TEXT, _INT32, _POINTER, _POINTER)),
    "error_code": (_INT, (_POINTER,)),
    "error_string": (_TEXT, (_POINTER,)),
    "error_destroy": (None, (_POINTER,)),
    "topic_name": (_TEXT, (_POINTER,)),
    "message_errstr": (_TEXT, (_POINTER,)),
    "message_timestamp": (_INT64, (_POINTER, _POINTER)),
    "message_destroy": (None, (_POINTER,)),
}
# Closing would wait for a coordinator, which such a client never needs.
_NO_CONSUMER_CLOSE: Final = 0x8


@functools.cache
def library() -> ctypes.CDLL | None:
    """The functions; None where confluent-kafka does not show those of its librdkafka."""
    try:
        return typed(FUNCTIONS)
    except AttributeError:
        return None


def typed(functions: Functions) -> ctypes.CDLL:
    """confluent-kafka's librdkafka with the types of these functions. Raises AttributeError where one is not shown."""
    # The extension module: what it is linked to is found through it, wherever that is.
    linked = ctypes.CDLL(cimpl.__file__)
    for name, (answer, arguments) in functions.items():
        function = getattr(linked, f"rd_kafka_{name}")
        function.restype, function.argtypes = answer, arguments
    return linked


class RawConsumer:
    """A client that reads partitions from given offsets, and takes part in no group. One thread uses it."""

    def __init__(self, functions: ctypes.CDLL, settings: Mapping[str, Any]) -> None:
        """Raises KafkaException for settings that cannot work."""
        self._of = functions
        text = ctypes.create_string_buffer(_TEXT_BYTES)
        configuration = functions.rd_kafka_conf_new()
        for name, value in settings.items():
            said = str(value).lower() if isinstance(value, bool) else str(value)
            if functions.rd_kafka_conf_set(configuration, name.encode(), said.encode(), text, _TEXT_BYTES) != _OK:
                functions.rd_kafka_conf_destroy(configuration)
                raise KafkaException(KafkaError(KafkaError._INVALID_ARG, text.value.decode()))
        self._client = functions.rd_kafka_new(_CONSUMER, configuration, text, _TEXT_BYTES)
        if not self._client:
            functions.rd_kafka_conf_destroy(configuration)
            raise KafkaException(KafkaError(KafkaError._INVALID_ARG, text.value.decode()))
        functions.rd_kafka_poll_set_consumer(self._client)
        self._queue = functions.rd_kafka_queue_get_consumer(self._client)
        # For kernels.
        self.time_of = _address(functions.rd_kafka_message_timestamp)
        self.destroy = _address(functions.rd_kafka_message_destroy)

    def close(self) -> None:
        """Ends the client; nothing may be called after that."""
        self._of.rd_kafka_queue_destroy(self._queue)
        self._of.rd_kafka_destroy_flags(self._client, _NO_CONSUMER_CLOSE)

    def consume(self, messages: npt.NDArray[np.int64], limit: int, wait_s: float) -> int:
        """Fills in the addresses of up to `limit` messages, errors included, and returns how many there are."""
        assert limit <= len(messages)
        # The pointer that numpy gives is a reference cycle: with thirty reads a second the process grew by 20 MB in
        # half an hour, until Python looked for cycles.
        count: int = self._of.rd_kafka_consume_batch_queue(
            self._queue, int(wait_s * 1_000), ctypes.c_void_p(messages.ctypes.data), limit
        )
        return max(count, 0)

    def topic_of(self, topic: int) -> str:
        """The name of the topic at an address, while a message of it is not destroyed."""
        name: bytes = self._of.rd_kafka_topic_name(topic)
        return name.decode()

    def error_of(self, message: int, code: int) -> KafkaError:
        """The error that a message has."""
        text: bytes | None = self._of.rd_kafka_message_errstr(message)
        return KafkaError(code, (text or b"").decode(errors="replace"))

    def assign(self, places: Sequence[TopicPartition]) -> None:
        """Reads more partitions, each from its offset."""
        self._change(self._of.rd_kafka_incremental_assign, places)

    def unassign(self, places: Sequence[TopicPartition]) -> None:
        """Reads these no longer; what was fetched of them is dropped."""
        self._change(self._of.rd_kafka_incremental_unassign, places)

    def pause(self, places: Sequence[TopicPartition]) -> None:
        """Fetches these no longer until `resume`."""
        with _Places(self._of, places) as chosen:
            self._of.rd_kafka_pause_partitions(self._client, chosen)

    def resume(self, places: Sequence[TopicPartition]) -> None:
        """Fetches these again."""
        with _Places(self._of, places) as chosen:
            self._of.rd_kafka_resume_partitions(self._client, chosen)

    def high(self, topic: str, partition: int) -> int:
        """The high watermark that came with the last fetch, below 0 before the first."""
        low, high = ctypes.c_int64(), ctypes.c_int64()
        code = self._of.rd_kafka_get_watermark_offsets(
            self._client, topic.encode(), partition, ctypes.byref(low), ctypes.byref(high)
        )
        return high.value if code == _OK else -1

    def _change(self, function: Any, places: Sequence[TopicPartition]) -> None:
        with _Places(self._of, places) as chosen:
            error = function(self._client, chosen)
        if error:
            code, text = self._of.rd_kafka_error_code(error), self._of.rd_kafka_error_string(error).decode()
            self._of.rd_kafka_error_destroy(error)
            raise KafkaException(KafkaError(code, text))


class _Places:
    """A list of partitions as librdkafka has it, for the length of a block."""

    def __init__(self, functions: ctypes.CDLL, places: Sequence[TopicPartition]) -> None:
        self._of = functions
        self._list = functions.rd_kafka_topic_partition_list_new(len(places))
        for place in places:
            functions.rd_kafka_topic_partition_list_add(self._list, place.topic.encode(), place.partition)
            functions.rd_kafka_topic_partition_list_set_offset(
                self._list, place.topic.encode(), place.partition, place.offset
            )

    def __enter__(self) -> int:
        handle: int = self._list
        return handle

    def __exit__(self, *_: object) -> None:
        self._of.rd_kafka_topic_partition_list_destroy(self._list)


def _address(function: Any) -> int:
    address = ctypes.cast(function, ctypes.c_void_p).value
    assert address is not None
    return address

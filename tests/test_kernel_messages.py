"""Messages of librdkafka, made by hand, as the kernels that copy them see them."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from streams.kernels.messages import COLUMNS, ERROR, OFFSET, PARTITION, TOPIC, look, take

# That of a message in librdkafka's public header.
MESSAGE = np.dtype(
    [
        *(("error", "<i4"), ("pad", "<i4"), ("topic", "<i8"), ("partition", "<i4"), ("pad2", "<i4"), ("value", "<i8")),
        *(("value_length", "<i8"), ("key", "<i8"), ("key_length", "<i8"), ("offset", "<i8"), ("private", "<i8")),
    ]
)
TIMES: dict[int, int] = {}
DESTROYED: list[int] = []


def time_of(message: int, kind: int | None) -> int:
    """In place of `rd_kafka_message_timestamp`."""
    assert kind is None
    return TIMES[message]


def destroy(message: int) -> None:
    """In place of `rd_kafka_message_destroy`."""
    DESTROYED.append(message)


FUNCTIONS = (
    ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)(time_of),
    ctypes.CFUNCTYPE(None, ctypes.c_int64)(destroy),
)
TIME_OF, DESTROY = (ctypes.cast(function, ctypes.c_void_p).value or 0 for function in FUNCTIONS)


class Fetched:
    """What a consumer has fetched: (key, value, error) of messages, with offsets from 70 on and times from 1000 on."""

    def __init__(self, *messages: tuple[bytes | None, bytes | None, int]) -> None:
        self.rows = np.zeros(len(messages), MESSAGE)
        self.kept: list[npt.NDArray[np.uint8]] = []
        DESTROYED.clear()
        TIMES.clear()
        start = self.rows.ctypes.data
        self.addresses = start + MESSAGE.itemsize * np.arange(len(messages), dtype=np.int64)
        for number, (row, (key, value, error)) in enumerate(zip(self.rows, messages, strict=True)):
            row["error"], row["topic"], row["partition"], row["offset"] = error, 2**40 + number, 3, 70 + number
            row["pad"] = row["pad2"] = row["private"] = -1
            row["key"], row["key_length"] = self._put(key)
            row["value"], row["value_length"] = self._put(value)
            TIMES[int(self.addresses[number])] = 1_000 + number

    def _put(self, text: bytes | None) -> tuple[int, int]:
        if text is None:
            return 0, 9  # a length without an address counts for nothing
        self.kept.append(np.frombuffer(text + b"|", np.uint8))
        return self.kept[-1].ctypes.data, len(text)

    def taken(
        self, room: int, *, rows: tuple[int, int, int] | None = None, count: int | None = None, size: int | None = None
    ) -> tuple[Any, ...]:
        """Buffer, spans of keys and values, and times, as `take` has written them; -7 where it wrote nothing.

        Keys end at `size`, by default at the end of the buffer.
        """
        number = len(self.rows)
        keys, values, times = rows or (number, number, number)
        buffer = np.full(room, ord("?"), np.uint8)
        found = np.full((keys, 2), -7, np.int64), np.full((values, 2), -7, np.int64), np.full(times, -7, np.int64)
        count, size = number if count is None else count, room if size is None else size
        take(self.addresses, count, size, TIME_OF, DESTROY, buffer, *found)
        return buffer.tobytes(), *(each.tolist() for each in found)


def test_look_writes_what_each_message_is_and_counts_the_bytes_of_those_without_an_error() -> None:
    fetched = Fetched((b"k1", b"value", 0), (None, b"xy", 0), (b"abc", None, 0), (b"lost", b"lost", -191))
    columns = np.zeros((4, COLUMNS), np.int64)
    assert look(fetched.addresses, 4, columns) == len(b"k1value") + len(b"xy") + len(b"abc")
    assert columns[:, ERROR].tolist() == [0, 0, 0, -191]
    assert columns[:, TOPIC].tolist() == [2**40, 2**40 + 1, 2**40 + 2, 2**40 + 3]
    assert columns[:, PARTITION].tolist() == [3, 3, 3, 3]
    assert columns[:, OFFSET].tolist() == [70, 71, 72, 73]


def test_look_reads_no_more_messages_than_it_is_asked_for() -> None:
    fetched = Fetched((b"k", b"v", 0), (b"k", b"v", 0))
    columns = np.full((2, COLUMNS), -7, np.int64)
    assert look(fetched.addresses, 1, columns) == 2
    assert columns[1].tolist() == [-7] * COLUMNS
    assert look(fetched.addresses, 0, columns) == 0
    with pytest.raises(IndexError, match="shorter than the messages"):
        look(fetched.addresses, 3, np.zeros((3, COLUMNS), np.int64))
    with pytest.raises(IndexError, match="shorter than the messages"):
        look(fetched.addresses, 2, columns[:1])


def test_take_copies_values_one_behind_the_other_and_keys_from_the_end_and_destroys_every_message() -> None:
    fetched = Fetched(
        (b"k1", b"value", 0), (None, b"xy", 0), (b"lost", b"lost", -191), (b"abc", None, 0), (b"", b"z", 0)
    )
    text = b"valuexyzabck1"
    buffer, keys, values, times = fetched.taken(len(text))
    assert buffer == text
    assert keys == [[11, 2], [11, -1], [-7, -7], [8, 3], [8, 0]]
    assert values == [[0, 5], [5, 2], [-7, -7], [7, -1], [7, 1]]
    assert times == [1_000, 1_001, -7, 1_003, 1_004]
    assert fetched.addresses.tolist() == DESTROYED


def test_take_writes_nothing_beyond_what_it_copies() -> None:
    assert Fetched((b"k", b"v", 0)).taken(4)[0] == b"v??k"
    assert Fetched((b"k", b"v", 0)).taken(4, size=2)[0] == b"vk??"


@pytest.mark.parametrize("message", [(b"k1", b"value", 0), (b"k1value", None, 0), (None, b"k1value", 0)])
def test_take_destroys_nothing_when_the_buffer_is_a_byte_too_short(message: tuple[Any, Any, int]) -> None:
    fetched = Fetched(message)
    with pytest.raises(IndexError, match="buffer is shorter"):
        fetched.taken(6)
    assert DESTROYED == []
    fetched.taken(7)


def test_take_refuses_a_negative_length() -> None:
    fetched = Fetched((b"k", b"v", 0))
    fetched.rows["value_length"] = -1
    with pytest.raises(IndexError, match="buffer is shorter"):
        fetched.taken(64)


@pytest.mark.parametrize("rows", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_take_refuses_arrays_that_are_shorter_than_the_messages_are_many(rows: tuple[int, int, int]) -> None:
    fetched = Fetched((b"k", b"v", 0))
    with pytest.raises(IndexError, match="shorter than the messages"):
        fetched.taken(64, rows=rows)
    with pytest.raises(IndexError, match="shorter than the messages"):
        fetched.taken(64, rows=(2, 2, 2), count=2)
    with pytest.raises(IndexError, match="shorter than the messages"):
        fetched.taken(64, size=65)
    assert DESTROYED == []

"""Batches of librdkafka's messages, made here as its public header describes them, become columns of one buffer."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest

from streams.kernels.messages import COLUMNS, ERROR, OFFSET, PARTITION, TOPIC, look, take
from streams.kernels.slices import MARGIN, Slices

FIELDS = 8
destroyed: list[int] = []


def offset_in_seconds(message: int, _kind: int) -> int:
    """The time of a message."""
    return 1_000 * ctypes.c_int64.from_address(message + 56).value


# As librdkafka's own.
time_of = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)(offset_in_seconds)
destroy = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(destroyed.append)


def address(function: Any) -> int:
    found = ctypes.cast(function, ctypes.c_void_p).value
    assert found is not None
    return found


class Batch:
    """Messages (key, value, error) with ascending offsets, of topic 7 and partition 3."""

    def __init__(self, *messages: tuple[bytes | None, bytes | None, int]) -> None:
        destroyed.clear()
        self._texts = [
            ctypes.create_string_buffer(text) for key, value, _ in messages for text in (key or b"", value or b"")
        ]
        self._structs = np.zeros((len(messages), FIELDS), np.int64)
        for number, (key, value, error) in enumerate(messages):
            found = [ctypes.addressof(text) for text in self._texts[2 * number : 2 * number + 2]]
            self._structs[number] = [
                *(error, 7, 3, 0 if value is None else found[1], len(value or b"")),
                *(0 if key is None else found[0], len(key or b""), number),
            ]
        self.addresses = self._structs.ctypes.data + 8 * FIELDS * np.arange(len(messages))
        self.columns = np.zeros((len(messages), COLUMNS), np.int64)
        self.size = look(self.addresses, len(messages), self.columns)

    def taken(self, room: int | None = None) -> tuple[Slices, Slices, list[int]]:
        """Keys, values and times."""
        count = len(self.addresses)
        buffer = np.zeros((self.size if room is None else room) + MARGIN, np.uint8)
        keys, values = np.zeros((count, 2), np.int64), np.zeros((count, 2), np.int64)
        times = np.zeros(count, np.int64)
        arrays = buffer, keys, values, times
        take(self.addresses, count, self.size, address(time_of), address(destroy), *arrays)
        return Slices(buffer, keys), Slices(buffer, values), times.tolist()


def test_values_lie_one_behind_the_other_and_keys_behind_them() -> None:
    batch = Batch((b"k1", b"value 1", 0), (b"key 2", b"v2", 0), (b"", b"", 0), (b"k4", b"v4", 0))
    keys, values, times = batch.taken()
    assert list(keys) == [b"k1", b"key 2", b"", b"k4"]
    assert list(values) == [b"value 1", b"v2", b"", b"v4"]
    assert values.spans[:, 0].tolist() == [0, 7, 9, 9]
    assert bytes(values.buffer[:11]) == b"value 1v2v4"
    assert times == [0, 1_000, 2_000, 3_000]
    assert destroyed == batch.addresses.tolist()


def test_null_keys_and_values_are_none() -> None:
    keys, values, _ = Batch((None, b"v", 0), (b"k", None, 0)).taken()
    assert list(keys) == [None, b"k"]
    assert list(values) == [b"v", None]


def test_messages_with_an_error_are_told_and_given_back_but_not_copied() -> None:
    batch = Batch((b"k", b"v", 0), (b"key", b"a long text of the error", -191))
    assert batch.columns[:, ERROR].tolist() == [0, -191]
    assert batch.columns[:, [TOPIC, PARTITION, OFFSET]].tolist() == [[7, 3, 0], [7, 3, 1]]
    assert batch.size == 2
    keys, values, _ = batch.taken()
    assert (keys[0], values[0]) == (b"k", b"v")
    assert len(destroyed) == 2


def test_a_buffer_that_is_too_short_is_refused_before_a_message_is_given_back() -> None:
    batch = Batch((b"key", b"value", 0))
    with pytest.raises(IndexError):
        batch.taken(room=-MARGIN)
    batch.size -= 1
    with pytest.raises(IndexError, match="shorter than the keys and values"):
        batch.taken()
    assert destroyed == []

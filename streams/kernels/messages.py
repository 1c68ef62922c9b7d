"""Messages of librdkafka copied into one buffer: no Python object for each.

The layout of a message is that of librdkafka's public header, which all versions 2 keep.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from schemas.compiled import INT64, kernel, part, read, written
from streams.kernels.machine import Int, copy, message_destroyed, message_time, signed_half, signed_word, start_of

Int64s = npt.NDArray[np.int64]

# Where a message has what: error, topic, partition, value, its length, key, its length, offset.
_ERROR, _TOPIC, _PARTITION, _VALUE, _VALUE_LENGTH, _KEY, _KEY_LENGTH, _OFFSET = 0, 8, 16, 24, 32, 40, 48, 56
# Columns of what `look` writes of each message.
ERROR: Final = 0
TOPIC: Final = 1
PARTITION: Final = 2
OFFSET: Final = 3
COLUMNS: Final = 4


@kernel(read("i8"), INT64, written("i8", 2))
def look(messages: Int64s, count: int, columns: Int64s) -> int:
    """Writes error, topic, partition and offset of each message, and returns the bytes of the keys and values of those
    without an error. `messages` are addresses.

    Raises IndexError when an array has fewer than `count` rows.
    """
    if count > len(messages) or count > len(columns):
        raise IndexError("an array is shorter than the messages are many")
    total = 0
    for number in range(count):
        message = messages[number]
        columns[number, 0] = signed_half(message + _ERROR)
        columns[number, 1] = signed_word(message + _TOPIC)
        columns[number, 2] = signed_half(message + _PARTITION)
        columns[number, 3] = signed_word(message + _OFFSET)
        if columns[number, 0] == 0:
            if signed_word(message + _KEY) != 0:
                total += signed_word(message + _KEY_LENGTH)
            if signed_word(message + _VALUE) != 0:
                total += signed_word(message + _VALUE_LENGTH)
    return total


@part
def _copied(at_address: Int, at_length: Int, target: Int, end: Int, room: Int) -> Int:
    """Copies a string behind the first `end` of `room` bytes and returns its length, -1 for none. Address and length of
    the string are read at two addresses.
    """
    address, length = signed_word(at_address), signed_word(at_length)
    if address == 0:
        return np.int64(-1)
    if length < 0 or end + length > room:
        raise IndexError("the buffer is shorter than the keys and values")
    copy(target + end, address, length)
    return length


@kernel(read("i8"), INT64, INT64, INT64, written("u1"), written("i8", 2), written("i8", 2), written("i8"))
def take(
    messages: Int64s,
    count: int,
    time_of: int,
    destroy: int,
    buffer: npt.NDArray[np.uint8],
    keys: Int64s,
    values: Int64s,
    times: Int64s,
) -> None:
    """Copies key and value of each message without an error into the buffer, writes their spans (length -1 for none)
    and the message's time, ms, and destroys all messages. `time_of` and `destroy` are addresses of librdkafka's
    functions.

    Raises IndexError, before it destroys anything, when an array is too short.
    """
    if count > len(messages) or count > len(keys) or count > len(values) or count > len(times):
        raise IndexError("an array is shorter than the messages are many")
    target, end = start_of(buffer), np.int64(0)
    for number in range(count):
        message = messages[number]
        if signed_half(message + _ERROR) != 0:
            continue
        length = _copied(message + _KEY, message + _KEY_LENGTH, target, end, len(buffer))
        keys[number, 0], keys[number, 1] = end, length
        end += max(length, 0)
        length = _copied(message + _VALUE, message + _VALUE_LENGTH, target, end, len(buffer))
        values[number, 0], values[number, 1] = end, length
        end += max(length, 0)
        times[number] = message_time(time_of, message)
    for number in range(count):
        message_destroyed(destroy, messages[number])

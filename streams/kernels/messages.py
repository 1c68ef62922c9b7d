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
def _length(at_address: Int, at_length: Int) -> Int:
    """The length of a string whose address and length are read at two addresses; -1 for none."""
    if signed_word(at_address) == 0:
        return np.int64(-1)
    length = signed_word(at_length)
    if length < 0:
        raise IndexError("the buffer is shorter than the keys and values")
    return length


@kernel(read("i8"), INT64, INT64, INT64, INT64, written("u1"), written("i8", 2), written("i8", 2), written("i8"))
def take(
    messages: Int64s,
    count: int,
    size: int,
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

    The values lie one behind the other, as a file wants them. The keys fill `size` bytes, which `look` has returned,
    from the end. Raises IndexError, before it destroys anything, when an array is too short.
    """
    if count > len(messages) or count > len(keys) or count > len(values) or count > len(times) or size > len(buffer):
        raise IndexError("an array is shorter than the messages are many")
    target, end, key_start = start_of(buffer), np.int64(0), np.int64(size)
    for number in range(count):
        message = messages[number]
        if signed_half(message + _ERROR) != 0:
            continue
        key_length = _length(message + _KEY, message + _KEY_LENGTH)
        length = _length(message + _VALUE, message + _VALUE_LENGTH)
        key_start -= max(key_length, 0)
        keys[number, 0], keys[number, 1] = key_start, key_length
        values[number, 0], values[number, 1] = end, length
        if end + max(length, 0) > key_start:
            raise IndexError("the buffer is shorter than the keys and values")
        if key_length > 0:
            copy(target + key_start, signed_word(message + _KEY), key_length)
        if length > 0:
            copy(target + end, signed_word(message + _VALUE), length)
            end += length
        times[number] = message_time(time_of, message)
    for number in range(count):
        message_destroyed(destroy, messages[number])

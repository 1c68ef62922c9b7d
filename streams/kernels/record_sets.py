"""Record batches of Kafka's format 2, decompressed, taken apart into columns: no Python object for a record."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from schemas.compiled import BYTES, INT64, kernel, part, read, written
from streams.kernels.machine import Int, byte, copy, start_of

Int64s = npt.NDArray[np.int64]

# Columns of a batch: where its records begin and end in the buffer, how many there are, the first offset, the first
# timestamp, ms, and the broker's own timestamp, which all records have then, or -1.
START: Final = 0
STOP: Final = 1
COUNT: Final = 2
OFFSET: Final = 3
TIME: Final = 4
APPENDED: Final = 5
BATCH: Final = 6
# The shortest record: a byte each for length, attributes, two deltas, two lengths and the number of headers.
LEAST_RECORD_BYTES: Final = 7
_LAST_SHIFT: Final = np.uint64(63)


@part
def _number(at: Int, stop: Int) -> tuple[Int, Int]:
    """A zigzag number of variable length at an address, and the address behind it: 0 if it does not end before
    `stop`."""
    bits, shift = np.uint64(0), np.uint64(0)
    while at < stop and shift <= _LAST_SHIFT:
        low = np.uint64(byte(at))
        at += 1
        bits |= (low & np.uint64(127)) << shift
        if low < np.uint64(128):
            return np.int64(bits >> np.uint64(1)) ^ -np.int64(bits & np.uint64(1)), at
        shift += np.uint64(7)
    return np.int64(0), np.int64(0)


@kernel(
    *(BYTES, read("i8", 2), INT64, written("u1"), INT64, INT64),
    *(written("i8"), written("i8"), written("i8", 2), written("i8", 2), written("i8", 2)),
)
def take_apart(
    source: npt.NDArray[np.uint8],
    batches: Int64s,
    wanted: int,
    buffer: npt.NDArray[np.uint8],
    start: int,
    stop: int,
    offsets: Int64s,
    times: Int64s,
    keys: Int64s,
    values: Int64s,
    headers: Int64s,
) -> int:
    """Copies keys and values of the records from offset `wanted` on to `start` to `stop` of the buffer, and writes
    offset, time and the spans of key and value (length -1 for none) of each.

    The values lie one behind the other from `start`, as a file wants them, the keys before `stop`. Headers are passed
    over, unless `headers` has rows: then those of each record are copied as they are, before its key, and their span is
    written. Returns how many records there are, or -1 minus the number of the first batch that is malformed: its
    records do not fill it exactly, or their offsets do not ascend. Raises IndexError for a batch that is not within the
    source, and when the room in the buffer or an array is too short.
    """
    begin, target, done, last = start_of(source), start_of(buffer), 0, np.int64(-1)
    room, wants_headers = min(len(offsets), len(times), len(keys), len(values)), len(headers) > 0
    if wants_headers:
        room = min(room, len(headers))
    if start < 0 or start > stop or stop > len(buffer):
        raise IndexError("the room for keys and values is not within its buffer")
    value_end, key_start = np.int64(start), np.int64(stop)
    for number in range(len(batches)):
        first, until, count = batches[number, START], batches[number, STOP], batches[number, COUNT]
        first_ms, appended_ms = batches[number, TIME], batches[number, APPENDED]
        if first < 0 or first > until or until > len(source) or count < 0 or count > room - done:
            raise IndexError("a batch is not within its source, or an array is shorter than the records are many")
        at, until = begin + first, begin + until
        for _ in range(count):
            length, at = _number(at, until)
            if at == 0 or length > until - at:
                return -1 - number
            # Behind a byte of attributes, which has no meaning yet. For a length below 1 no number follows.
            end = at + length
            delta_ms, at = _number(at + 1, end)
            if at == 0:
                return -1 - number
            delta, at = _number(at, end)
            if at == 0:
                return -1 - number
            key_length, key = _number(at, end)
            if key == 0 or key_length < -1 or key_length > end - key:
                return -1 - number
            value_length, value = _number(key + max(key_length, 0), end)
            if value == 0 or value_length < -1 or value_length > end - value:
                return -1 - number
            offset = batches[number, OFFSET] + delta
            if offset <= last:
                return -1 - number
            last, at = offset, end
            if offset < wanted:
                continue
            key_start -= max(key_length, 0)
            key_at, rest = key_start, value + max(value_length, 0)
            if wants_headers:
                key_start -= end - rest
            if value_end + max(value_length, 0) > key_start:
                raise IndexError("the room for keys and values is too short")
            if wants_headers:
                copy(target + key_start, rest, end - rest)
                headers[done, 0], headers[done, 1] = key_start, end - rest
            if key_length > 0:
                copy(target + key_at, key, key_length)
            if value_length > 0:
                copy(target + value_end, value, value_length)
            offsets[done] = offset
            times[done] = first_ms + delta_ms if appended_ms < 0 else appended_ms
            keys[done, 0], keys[done, 1] = key_at, key_length
            values[done, 0], values[done, 1] = value_end, value_length
            value_end += max(value_length, 0)
            done += 1
        if at != until:
            return -1 - number
    return done

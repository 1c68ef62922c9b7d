"""Impressions read in place: a strict subset of JSON. A record that is not in it is left to msgspec.

The subset: one object; text is UTF-8 without escapes; whole numbers of at most 16 digits without fraction or exponent
in integer fields; decimals of at most 15 digits without exponent, which one division makes the nearest double; each
known field at most once; `features` of strings, booleans and such numbers; unknown fields of strings, booleans, nulls
and numbers. All of the subset is decoded to the same values by msgspec. A value that is out of its bounds is left to
msgspec as well, which says why. A test holds this for mutated records.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from schemas.compiled import BYTES, inlined, kernel, part, read, written
from schemas.digits import TENS, whole
from schemas.events import MAX_FEATURE_CHARS, MAX_FEATURES, MAX_ID_CHARS, MAX_PRICE_MICROS, MAX_TS_MS, MIN_TS_MS
from schemas.instructions import same_bytes, word
from schemas.totals import DIMENSIONS
from streams.kernels.hashing import xxh3
from streams.kernels.machine import (
    TEXT_BYTES,
    Int,
    byte,
    put_double,
    put_half,
    put_int,
    put_word,
    start_of,
)
from streams.kernels.slices import MARGIN
from streams.kernels.tokens import (
    FLOAT_TENS,
    literal_end,
    number_end,
    space_end,
    text_end,
)

assert MARGIN >= TEXT_BYTES, "a string is looked at in blocks, the last of which goes beyond its end"

# Known fields by number: the dimensions of totals come first, in their order.
_REST: Final = ("impression_id", "ts", "price_micros", "pctr", "bid_micros", "user_id", "model_version", "features")
NAMES: Final = (*DIMENSIONS, *_REST)
DIMS = len(DIMENSIONS)
ID, TS, PRICE, PCTR, BID, USER, MODEL, FEATURES = range(DIMS, len(NAMES))
UNKNOWN = FIELDS = len(NAMES)
CAMPAIGN, CREATIVE = DIMENSIONS.index("campaign_id"), DIMENSIONS.index("creative_id")
REQUIRED = np.int64(sum(1 << field for field in (ID, TS, PRICE, CAMPAIGN, CREATIVE)))

# What is read of a record: event time, price, pCTR (nan for none), xxh3 of the id, and of each dimension where its text
# is in the value, `start << 16 | length`, 0 for absent, null or empty.
ROW: Final = np.dtype(
    [("ts", "<i8"), ("price", "<i8"), ("pctr", "<f8"), ("hash", "<u8"), ("spans", "<u4", len(DIMENSIONS))]
)
ROW_BYTES = ROW.itemsize
AT_TS, AT_PRICE, AT_PCTR, AT_HASH, AT_SPANS = (ROW.fields[name][1] for name in ROW.names)  # type: ignore[index,union-attr]
# A start must fit 16 bits.
LONGEST = 65_535
# PLAIN: it is read, and it has no unknown field.
LEFT, READ, PLAIN = 0, 1, 2
_MIN_TS_MS, _MAX_TS_MS, _MAX_MICROS = np.int64(MIN_TS_MS), np.int64(MAX_TS_MS), np.int64(MAX_PRICE_MICROS)
_MAX_TEXT, _MAX_FEATURE_TEXT, _MAX_FEATURES = (
    np.int64(MAX_ID_CHARS),
    np.int64(MAX_FEATURE_CHARS),
    np.int64(MAX_FEATURES),
)


def _padded(text: bytes) -> tuple[int, int, int, int]:
    """The first eight bytes and which of them count, the next eight and which count."""
    masks = ((1 << 8 * min(len(text), 8)) - 1, (1 << 8 * max(len(text) - 8, 0)) - 1)
    first, second = (int.from_bytes(text[at : at + 8], "little") for at in (0, 8))
    return first, masks[0], second, masks[1]


# A row for each name, with the quote behind it, and its length. The last row is equal to nothing.
_NAME_BYTES = 40
_TABLE = np.array(
    [(*_padded(f'{name}"'.encode()), len(name)) for name in NAMES] + [(1, 0, 0, 0, 0)],
    np.uint64,
)
assert max(map(len, NAMES)) < 16, "a name is compared as two words"


@inlined
def _is_name(at: Int, name: Int) -> Int:
    return (word(at) & word(name + 8)) == word(name) and (word(at + 8) & word(name + 24)) == word(name + 16)


@part
def _field(at: Int, names: Int) -> Int:
    """The number of the field whose name begins at `at`."""
    for number in range(UNKNOWN):
        if _is_name(at, names + _NAME_BYTES * number):
            return np.int64(number)
    return np.int64(UNKNOWN)


@part
def _features_end(at: Int, stop: Int) -> Int:
    """Where an object of usable features ends; -1 if msgspec must look at it."""
    at = space_end(at + 1, stop)
    if at < stop and byte(at) == 125:
        return at + 1
    for _ in range(_MAX_FEATURES):
        if at >= stop or byte(at) != 34:
            break
        end = text_end(at + 1, stop)
        if end < 0 or end - at - 1 > _MAX_TEXT:
            break
        at = space_end(end + 1, stop)
        if at >= stop or byte(at) != 58:
            break
        at = space_end(at + 1, stop)
        if at >= stop:
            break
        first = byte(at)
        if first == 34:
            end = text_end(at + 1, stop)
            if end < 0 or end - at - 1 > _MAX_FEATURE_TEXT:
                break
            at = end + 1
        elif first == 116 or first == 102:
            at = literal_end(at, stop)
        else:
            at = number_end(at, stop)
        if at < 0:
            break
        at = space_end(at, stop)
        if at >= stop:
            break
        closing = byte(at)
        if closing == 125:
            return at + 1
        if closing != 44:
            break
        at = space_end(at + 1, stop)
    return np.int64(-1)


@part
def _scan_one(value: Int, stop: Int, key: Int, key_length: Int, row: Int, after: Int, names: Int) -> Int:
    """READ or PLAIN, and then its row is written; or LEFT. All of the value and MARGIN bytes beyond can be read.

    The id must be the key, unless `key_length` is negative. `after` remembers which field followed which: a producer
    writes them in one order nearly always.
    """
    at = space_end(value, stop)
    if at >= stop or byte(at) != 123:
        return LEFT
    at = space_end(at + 1, stop)
    seen = np.int64(0)
    for number in range(DIMS):
        put_half(row + AT_SPANS + 4 * number, np.int64(0))
    put_double(row + AT_PCTR, np.nan)
    field = np.int64(UNKNOWN)
    while True:
        if at >= stop or byte(at) != 34:
            return LEFT
        at += 1
        place = after + 8 * field
        field = np.int64(word(place))
        if not _is_name(at, names + _NAME_BYTES * field):
            field = _field(at, names)
            put_int(place, field)
        if field != UNKNOWN:
            at += np.int64(word(names + _NAME_BYTES * field + 32))
        else:
            at = text_end(at, stop)
            if at < 0:
                return LEFT
        at = space_end(at + 1, stop)
        if at >= stop or byte(at) != 58:
            return LEFT
        at = space_end(at + 1, stop)
        if at >= stop or (seen >> field & 1 and field != UNKNOWN):
            return LEFT
        seen |= np.int64(1) << field
        first = byte(at)
        if first == 34:
            at += 1
            end = text_end(at, stop)
            length = end - at
            if end < 0 or (field != UNKNOWN and length > _MAX_TEXT):
                return LEFT
            if field < DIMS:
                if length == 0 and (field == CAMPAIGN or field == CREATIVE):
                    return LEFT
                if length > 0:
                    put_half(row + AT_SPANS + 4 * field, (at - value) << 16 | length)
            elif field == ID:
                if length == 0 or (key_length >= 0 and (length != key_length or not same_bytes(at, key, length))):
                    return LEFT
            elif field != USER and field != MODEL and field != UNKNOWN:
                return LEFT
            at = end + 1
        elif first == 110 or field == UNKNOWN:
            if 48 <= first <= 57 or first == 45:
                at = number_end(at, stop)
            else:
                at = literal_end(at, stop)
            if at < 0 or REQUIRED >> field & 1:
                return LEFT
        elif field == TS or field == PRICE or field == BID:
            count, number = whole(at)
            if count == 0 or count > 16 or (first == 48 and count > 1):
                return LEFT
            # What follows a number is looked at below: a dot or an exponent is no comma.
            at += count
            if field == TS:
                if number < _MIN_TS_MS or number > _MAX_TS_MS:
                    return LEFT
                put_int(row + AT_TS, number)
            elif number > _MAX_MICROS:
                return LEFT
            elif field == PRICE:
                put_int(row + AT_PRICE, number)
        elif field == PCTR:
            count, number = whole(at)
            # A share has one digit before the dot, 0 or 1: with 15 behind it, it is a whole number below 2^53.
            if count != 1:
                return LEFT
            at += 1
            share = np.float64(number)
            if at < stop and byte(at) == 46:
                places, rest = whole(at + 1)
                if places == 0 or places > 15:
                    return LEFT
                at += 1 + places
                # Both are exact, so the quotient is the double nearest to what is written.
                share = np.float64(number * TENS[places] + rest) / FLOAT_TENS[places]
            if share > 1.0:
                return LEFT
            put_double(row + AT_PCTR, share)
        elif field == FEATURES and first == 123:
            at = _features_end(at, stop)
            if at < 0:
                return LEFT
        else:
            return LEFT
        at = space_end(at, stop)
        if at >= stop:
            return LEFT
        closing = byte(at)
        at = space_end(at + 1, stop)
        if closing == 44:
            continue
        if closing != 125 or at != stop or (seen & REQUIRED) != REQUIRED:
            return LEFT
        return READ if seen >> UNKNOWN & 1 else PLAIN


Int64s = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]


@inlined
def _require_fields(after: Int) -> Int:
    if len(after) < FIELDS + 1:
        raise IndexError("an array is shorter than the fields are many")
    for number in range(len(after)):
        if after[number] < 0 or after[number] > FIELDS:
            raise IndexError("no field has such a number")
    return len(after)


@kernel(BYTES, read("i8", 2), BYTES, read("i8", 2), written(ROW), written("i1"), written("i8"))
def scan(
    values: Bytes,
    value_spans: Int64s,
    keys: Bytes,
    key_spans: Int64s,
    rows: npt.NDArray[np.void],
    results: npt.NDArray[np.int8],
    after: Int64s,
) -> int:
    """Reads records of which the key is the impression id. `results` says of each LEFT, READ or PLAIN.

    Returns how many are not LEFT. `values` and `keys` have `MARGIN` bytes beyond each of their spans. `after` has
    FIELDS + 1 numbers, at first all FIELDS; it is memory from call to call. Raises IndexError for a span that is not
    within its buffer.
    """
    count = len(value_spans)
    if len(key_spans) < count or len(rows) < count or len(results) < count:
        raise IndexError("an array is shorter than the records are many")
    _require_fields(after)
    value_base, key_base, row_base = start_of(values), start_of(keys), start_of(rows)
    follows, names, found = start_of(after), start_of(_TABLE), 0
    for number in range(count):
        start, length = value_spans[number, 0], value_spans[number, 1]
        key_start, key_length = key_spans[number, 0], key_spans[number, 1]
        result = LEFT
        if length > 0 and length <= LONGEST and key_length > 0:
            if start < 0 or start + length + MARGIN > len(values):
                raise IndexError("a value is not within its buffer")
            if key_start < 0 or key_start + key_length + MARGIN > len(keys):
                raise IndexError("a key is not within its buffer")
            value, key, row = value_base + start, key_base + key_start, row_base + ROW_BYTES * number
            result = _scan_one(value, value + length, key, key_length, row, follows, names)
            if result != LEFT:
                put_word(row + AT_HASH, xxh3(key, key_length))
                found += 1
        results[number] = result
    return found


@kernel(BYTES, read("i8", 2), written(ROW), written("i1"), written("i8"))
def scan_stored(
    values: Bytes, spans: Int64s, rows: npt.NDArray[np.void], results: npt.NDArray[np.int8], after: Int64s
) -> None:
    """Reads impressions that were accepted before: as `scan`, but whatever their ids, whose hashes are left at 0."""
    count = len(spans)
    if len(rows) < count or len(results) < count:
        raise IndexError("an array is shorter than the records are many")
    _require_fields(after)
    base, row, follows, names = start_of(values), start_of(rows), start_of(after), start_of(_TABLE)
    for number in range(count):
        start, length = spans[number, 0], spans[number, 1]
        result = LEFT
        if length > 0 and length <= LONGEST:
            if start < 0 or start + length + MARGIN > len(values):
                raise IndexError("a value is not within its buffer")
            value = base + start
            result = _scan_one(value, value + length, np.int64(0), np.int64(-1), row, follows, names)
            put_word(row + AT_HASH, np.uint64(0))
        results[number] = result
        row += ROW_BYTES

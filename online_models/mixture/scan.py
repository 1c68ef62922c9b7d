"""The kernel that reads outcomes in place: bytes of JSON to hashed slots, without a Python object for a row.

It reads a strict subset of JSON, and leaves every other line to msgspec: one object; ASCII without escapes; numbers of
at most 15 digits without exponent, which one division makes the nearest double; each known name once; `features` of
strings, booleans and such numbers. A line that is read gives what `rows.slots_of` gives, to the bit. A test holds this.
Each line ends with a byte below a space, which no loop passes. Up to `PLAIN_BYTES - 1` bytes behind the last one are
read, so that many must follow.
"""

from __future__ import annotations

import math

import numpy as np

from online_models.mixture.layout import FIELDS, HOUR, NAMED
from online_models.mixture.rows import BOUND, PRIME, SEED, text_hash
from online_models.mixture.tokens import (
    CLOSE,
    COLON,
    COMMA,
    FALSE,
    LEFT,
    NULL,
    OPEN,
    QUOTE,
    TRUE,
    number_end,
    read_number,
    space_end,
    text_end,
    value_end,
    word_end,
)
from schemas.compiled import BYTES, inlined, kernel, part, read, written
from schemas.events import MAX_FEATURE_CHARS, MAX_FEATURES, MAX_ID_CHARS, MAX_TS_MS, MIN_TS_MS
from schemas.instructions import PLAIN_BYTES, Int, byte, same_bytes
from schemas.outcomes import MAX_WEIGHT
from schemas.totals import HOUR_MS

# Where a scan stands: the next line, rows so far, slots so far, fields that have a number. Then 1 if impressions that
# were shown are rows.
LINE, ROW, SLOT, KNOWN, WITH_SHOWN = 0, 1, 2, 3, 4
# Known names of an outcome by number: those of slots come first.
_OTHERS = ("kind", "impression_id", "ts", "label", "weight", "features", "pctr", "join_partition", "delay_ms")
_KIND, _ID, _TS, _LABEL, _WEIGHT, _FEATURES, _PCTR, _PARTITION, _DELAY = range(len(NAMED), len(NAMED) + len(_OTHERS))
_UNKNOWN = _DELAY + 1
_NAMES = np.array([text_hash(name) for name in (*NAMED, *_OTHERS)], np.uint64)
_NEEDED = sum(1 << number for number in (_KIND, _ID, _TS))
# The kind of each label; a row without one has the label -1, and the kind of a shown impression.
_CLICK, _UNCLICKED = np.uint64(text_hash("", "click")), np.uint64(text_hash("", "unclicked"))
_SHOWN = np.uint64(text_hash("", "shown"))
_HOURS = np.array([text_hash("hour", str(hour)) for hour in range(24)], np.uint64)
# Most numbers are counts.
_LOGARITHMS = np.array([math.log1p(number) for number in range(1_024)])
_SEED, _PRIME, _BOUND = np.uint64(SEED), np.uint64(PRIME), np.uint64(BOUND)
_NAMELESS = np.uint64(text_hash(""))
_DOTTED = np.uint64(text_hash("."))
# `former`, a list of names in the order of rows, one line for each: what it was hashed from, where it begins and how
# long it is, its hash and what `text_end` gives besides, its number among the known names, and the line behind it, 0
# for none. Line 0 stands before the first name, and has how many are listed; further ones are not.
_SEEDED, _BEGIN, _LENGTH, _HASH, _GROUP, _NUMBER, _NEXT = range(7)
_LISTED = _BEGIN
FORMER, PLACES = 7, 128
# Names of other rows that a row may lack between two that it has.
_TRIES = 4


@part
def _known_name(name: np.uint64, guess: Int) -> Int:
    """The number of a name of an outcome."""
    if guess < _UNKNOWN and _NAMES[guess] == name:
        return guess
    for number in range(_UNKNOWN):
        if _NAMES[number] == name:
            return int(number)
    return _UNKNOWN


@inlined
def _field(name: np.uint64, guess: Int, names: np.ndarray, state: np.ndarray) -> Int:
    """The number of a field, given if it is new.

    Names come in the same order in most rows, so `guess` is tried first.
    """
    known = state[KNOWN]
    found: Int = guess
    if guess >= known or names[guess] != name:
        found = np.int64(0)
        while found < known and names[found] != name:
            found += 1
        if found == known:
            if known >= FIELDS - 1:
                found = np.int64(FIELDS - 1)
            else:
                names[known] = name
                state[KNOWN] += 1
    return found


@inlined
def _name_end(at: Int, entry: Int, seed: np.uint64, hashed: np.ndarray, former: np.ndarray) -> Int:
    """The end of the name that begins at `at`, or LEFT; `hashed` as `text_end` leaves it, then its entry in `former`.

    Rows have nearly the same names in the same order. So `former` lists names in that order, and it is compared with
    the few that stand behind `entry`, which the name before has; an end quote is compared too. A new name is put behind
    it.
    """
    found: Int
    end: Int
    found, tries = np.int64(former[entry, _NEXT]), 0
    while (
        found != 0
        and tries < _TRIES
        and not (
            former[found, _SEEDED] == seed
            and same_bytes(at, np.int64(former[found, _BEGIN]), np.int64(former[found, _LENGTH]) + 1)
        )
    ):
        found, tries = np.int64(former[found, _NEXT]), tries + 1
    if found != 0 and tries < _TRIES:
        hashed[0], hashed[1] = former[found, _HASH], former[found, _GROUP]
        end = at + np.int64(former[found, _LENGTH])
    else:
        hashed[0] = seed
        end = text_end(at, hashed)
        listed, found = np.int64(former[0, _LISTED]), np.int64(1)
        while found <= listed and (former[found, _SEEDED] != seed or former[found, _HASH] != hashed[0]):
            found += 1
        if end == LEFT or found == PLACES:
            found = entry
        elif found > listed:
            former[found, _SEEDED], former[found, _BEGIN], former[found, _LENGTH] = seed, at, end - at
            former[found, _HASH], former[found, _GROUP] = hashed[0], hashed[1]
            former[found, _NEXT], former[entry, _NEXT] = former[entry, _NEXT], found
            former[0, _LISTED] = found
    hashed[2] = found
    return end


@inlined
def _feature(
    at: Int,
    entry: Int,
    slot: int,
    guess: int,
    former: np.ndarray,
    hashed: np.ndarray,
    value: np.ndarray,
    names: np.ndarray,
    state: np.ndarray,
    keys: np.ndarray,
    values: np.ndarray,
    numbers: np.ndarray,
    field_of: np.ndarray,
    slot_names: np.ndarray,
) -> int:
    """The end of a feature whose name begins at `at`, and its slot filled; or LEFT."""
    end = _name_end(at, entry, _DOTTED, hashed, former)
    good = end != LEFT and end - at <= MAX_ID_CHARS
    if good:
        name, group = hashed[0], hashed[1]
        end = space_end(end + 1)
        good = byte(end) == COLON
    if good:
        end = space_end(end + 1)
        slot_names[slot], numbers[slot], values[slot] = name, 0, 1.0
        first = byte(end)
        if first == QUOTE:
            hashed[0] = (name ^ _BOUND) * _PRIME
            start = end + 1
            end = value_end(start, hashed)
            good = end != LEFT and end - start <= MAX_FEATURE_CHARS
            keys[slot] = hashed[0]
            end += 1
        elif first == TRUE or first == FALSE:
            end = word_end(end)
            good = end != LEFT
            keys[slot] = ((name ^ _BOUND) * _PRIME ^ np.uint64(first)) * _PRIME
            if group != 0:
                name = group
        else:
            end = read_number(end, value)
            good = end != LEFT
            keys[slot], numbers[slot] = name, 1
            number = value[0]
            if value[1] == 1.0 and 0.0 <= number < len(_LOGARITHMS):
                values[slot] = _LOGARITHMS[np.int64(number)]
            else:
                values[slot] = math.copysign(math.log1p(abs(number)), number)
        if good:
            field_of[slot] = _field(name, guess, names, state)
    return end if good else LEFT


@inlined
def _sort(
    first: int,
    last: int,
    keys: np.ndarray,
    values: np.ndarray,
    numbers: np.ndarray,
    field_of: np.ndarray,
    slot_names: np.ndarray,
) -> bool:
    """Sorts the slots of a row by field, as they are nearly; False if a feature is there twice."""
    shared = False
    for slot in range(first + 1, last):
        place = slot
        while place > first and field_of[place - 1] > field_of[place]:
            before = place - 1
            keys[place], keys[before] = keys[before], keys[place]
            values[place], values[before] = values[before], values[place]
            numbers[place], numbers[before] = numbers[before], numbers[place]
            field_of[place], field_of[before] = field_of[before], field_of[place]
            slot_names[place], slot_names[before] = slot_names[before], slot_names[place]
            place = before
        shared = shared or (place > first and field_of[place - 1] == field_of[place])
    once = True
    for slot in range(first + 1, last if shared else first):
        other = slot - 1
        while once and other >= first and field_of[other] == field_of[slot]:
            once = slot_names[other] != slot_names[slot]
            other -= 1
    return once


@kernel(
    *(BYTES, read("i8"), written("i8"), written("u8")),
    *(written("i8"), written("u8"), written("f8"), written("u1"), written("i8"), written("u8")),
    *(written("i1"), written("f8"), written("i8"), written("i8", 2), written("i8", 2)),
    *(written("i8", 2), written("i8", 3), written("u8", 2), written("u8", 2), written("u8"), written("f8")),
    allocates=False,
)
def scan(
    text: np.ndarray,
    line_starts: np.ndarray,
    state: np.ndarray,
    names: np.ndarray,
    start: np.ndarray,
    keys: np.ndarray,
    values: np.ndarray,
    numbers: np.ndarray,
    field_of: np.ndarray,
    slot_names: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    ts: np.ndarray,
    ids: np.ndarray,
    served: np.ndarray,
    decided: np.ndarray,
    named_spans: np.ndarray,
    named_keys: np.ndarray,
    former: np.ndarray,
    hashed: np.ndarray,
    value: np.ndarray,
) -> None:
    """Reads lines from `state[LINE]` on, until one is left to msgspec or the lines end. Moves `state`.

    `ids` has where the impression's id begins and ends in `text`, `served` the same for `pctr`, 0 and 0 without one,
    `named_spans` for each field of `NAMED`, and `named_keys` their keys, 0 for none. `decided` has the partition of the
    join and the delay of the click, 0 without one.
    `former` begins with zeros, and a name that it has is in this text; `hashed` and `value` are for numbers in between.
    """
    if line_starts[0] < 0 or line_starts[len(line_starts) - 1] + PLAIN_BYTES - 1 > len(text):
        raise IndexError("there is no margin behind the last line")
    address = np.int64(text.ctypes.data)
    entry: Int
    while state[LINE] < len(line_starts) - 1:
        row, first = state[ROW], state[SLOT]
        known_before = state[KNOWN]
        # Fields of `features` stand behind the hour, whose slot is filled when the line is read.
        hour_slot = np.int64(-1)
        at, slot, seen, features, guess, entry = address + line_starts[state[LINE]], first, 0, 0, HOUR + 1, 0
        kind = np.uint64(0)
        labels[row], weights[row] = -1, 1.0
        served[row, 0], served[row, 1] = 0, 0
        decided[row, 0], decided[row, 1] = 0, 0
        for number in range(len(NAMED)):
            named_keys[row, number] = 0
        inside, good = False, byte(at) == OPEN
        at = space_end(at + 1) if good else at
        # Each turn reads a name and its value, or closes an object. `inside`: within `features`.
        while good:
            if byte(at) != QUOTE:
                good = False
                break
            field = _UNKNOWN
            if inside:
                at = _feature(
                    at + 1, entry, slot, guess, former, hashed, value, names, state, keys, values,
                    numbers, field_of, slot_names,
                )  # fmt: skip
                features, entry = features + 1, np.int64(hashed[2])
                good = at != LEFT and features <= MAX_FEATURES
                if not good:
                    break
                guess = field_of[slot] + 1
                slot += 1
            else:
                at = _name_end(at + 1, entry, _SEED, hashed, former)
                if at == LEFT:
                    good = False
                    break
                entry = np.int64(hashed[2])
                field = _known_name(hashed[0], np.int64(former[entry, _NUMBER]))
                former[entry, _NUMBER] = field
                good = field == _UNKNOWN or (seen >> field) & 1 == 0
                if field != _UNKNOWN:
                    seen |= 1 << field
                at = space_end(at + 1)
                if not good or byte(at) != COLON:
                    good = False
                    break
                at = space_end(at + 1)
                letter = byte(at)
                if letter == OPEN and field == _FEATURES:
                    inside = True
                    hour_slot = slot
                    slot += 1
                    at = space_end(at + 1)
                    if byte(at) != CLOSE:
                        continue
                elif letter == QUOTE:
                    begin = at + 1
                    name = hashed[0]
                    hashed[0] = ((_NAMELESS if field == _KIND else name) ^ _BOUND) * _PRIME
                    at = value_end(begin, hashed)
                    good = at != LEFT and (field <= _ID or field == _UNKNOWN)
                    if not good:
                        break
                    if field < len(NAMED):
                        keys[slot], values[slot], numbers[slot], field_of[slot] = hashed[0], 1.0, 0, field
                        slot_names[slot] = name
                        named_keys[row, field] = hashed[0]
                        named_spans[row, field, 0], named_spans[row, field, 1] = begin - address, at - address
                        slot += 1
                    elif field == _KIND:
                        kind = hashed[0]
                    elif field == _ID:
                        ids[row, 0], ids[row, 1] = begin - address, at - address
                    at += 1
                elif letter == TRUE or letter == FALSE or letter == NULL:
                    at = word_end(at)
                    # Null stands for an absent optional field; a boolean for none that is known.
                    optional = field < _KIND or field >= _FEATURES
                    good = at != LEFT and (field == _UNKNOWN or (letter == NULL and optional))
                    if not good:
                        break
                elif field == _UNKNOWN or field == _PCTR:
                    begin = at
                    at = number_end(at)
                    good = at != LEFT
                    if not good:
                        break
                    if field == _PCTR:
                        served[row, 0], served[row, 1] = begin - address, at - address
                else:
                    at = read_number(at, value)
                    whole = field == _TS or field == _LABEL or field >= _PARTITION
                    good = at != LEFT and (field == _WEIGHT or (whole and value[1] == 1.0))
                    if not good:
                        break
                    if field == _TS:
                        ts[row] = np.int64(value[0])
                        good = MIN_TS_MS <= ts[row] <= MAX_TS_MS
                    elif field == _LABEL:
                        good = value[0] == 0.0 or value[0] == 1.0
                        labels[row] = 1 if value[0] == 1.0 else 0
                    elif field == _WEIGHT:
                        weights[row] = value[0]
                        good = 0.0 < value[0] <= MAX_WEIGHT
                    else:
                        decided[row, field - _PARTITION] = np.int64(value[0])
                    if not good:
                        break
            at = space_end(at)
            if inside and byte(at) == CLOSE:
                inside = False
                at = space_end(at + 1)
            if byte(at) == COMMA:
                at = space_end(at + 1)
            else:
                good = not inside and byte(at) == CLOSE
                break
        if good:
            at = space_end(at + 1)
            if labels[row] == -1:
                agrees = kind == _SHOWN and state[WITH_SHOWN] != 0
            else:
                agrees = kind == (_CLICK if labels[row] == 1 else _UNCLICKED)
            good = at == address + line_starts[state[LINE] + 1] - 1 and agrees and seen & _NEEDED == _NEEDED
        if good:
            hour = ts[row] // HOUR_MS % 24
            if hour_slot < 0:
                hour_slot = slot
                slot += 1
            keys[hour_slot], values[hour_slot], numbers[hour_slot] = _HOURS[hour], 1.0, 0
            field_of[hour_slot], slot_names[hour_slot] = HOUR, _HOURS[hour]
            good = _sort(first, slot, keys, values, numbers, field_of, slot_names)
        if not good:
            # Names that only this line has given a number lose it: msgspec decides.
            while state[KNOWN] > known_before:
                state[KNOWN] -= 1
                names[state[KNOWN]] = 0
            break
        start[row + 1] = slot
        state[LINE], state[ROW], state[SLOT] = state[LINE] + 1, row + 1, slot

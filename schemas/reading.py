"""Bytes of a record to a value, or why not: the one rule for every topic that a worker reads, internal ones too.

The checks in this order: a value is there, it is not too large, it is not nested too deeply, it decodes into its type.
Nesting is bounded before anything is decoded. Decoders recurse, so how deep they get depends on how deep the caller's
stack is already: without the bound a record could be good when it is folded live and bad when it is folded again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from schemas.codec import decoder, encode
from schemas.events import (
    MAX_FEATURES,
    MAX_ID_CHARS,
    MAX_RECORD_BYTES,
    MAX_TS_MS,
    Click,
    FeatureValue,
    Impression,
    decode_event,
)
from schemas.rejects import Reason
from schemas.seals import Seal, SealRecord

T = TypeVar("T")

# No record of clickfold's own types nests deeper than 3. Fields that clickfold does not know may nest this deep.
MAX_NESTING: Final = 16
# A string, or a bracket outside of strings. A string that does not end is taken whole: such a record does not decode.
_TOKENS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[{]|[\]}]', re.DOTALL)
_decode_seal = decoder(SealRecord).decode
_decode_fields = decoder(dict[str, msgspec.Raw]).decode
_decode_feature = decoder(FeatureValue).decode


class Unreadable(NamedTuple):
    """Why a record was refused by itself, and which field or bound it broke."""

    reason: Reason
    detail: str


class ReadImpression(NamedTuple):
    """An impression with usable features only, bytes that decode to it, and how many features were left out."""

    impression: Impression
    payload: bytes
    features_left_out: int


def read(
    value: bytes | None, decode: Callable[[bytes], T], *, max_bytes: int = MAX_RECORD_BYTES, packed: bool = False
) -> T | Unreadable:
    """The decoded value. `decode` raises ValueError for bytes that are not of its type. Raises nothing itself.

    `packed`: what does not begin as an object of JSON is MessagePack, of a type that refuses fields it does not know.
    So it nests no deeper than the type does, and brackets among its bytes mean nothing.
    """
    if value is None:
        return Unreadable(Reason.TOMBSTONE, "the record has no value")
    if len(value) > max_bytes:
        return Unreadable(Reason.TOO_LARGE, f"{len(value)} bytes, more than {max_bytes}")
    if not (packed and value[:1] != b"{") and too_deep(value):
        return Unreadable(Reason.TOO_DEEP, f"arrays and objects are nested more than {MAX_NESTING} deep")
    try:
        return decode(value)
    except ValueError as error:
        return Unreadable(Reason.UNDECODABLE, str(error))


def too_deep(value: bytes) -> bool:
    """Whether arrays and objects are nested more than `MAX_NESTING` deep. Takes time linear in the length."""
    # Most records have few brackets at all, and counting them takes a hundredth of walking through them.
    if value.count(b"{") + value.count(b"[") <= MAX_NESTING:
        return False
    depth = 0
    for token in _TOKENS.finditer(value):
        match value[token.start()]:
            case 0x5B | 0x7B:  # [ {
                depth += 1
                if depth > MAX_NESTING:
                    return True
            case 0x5D | 0x7D:  # ] }
                depth -= 1
    return False


def all_flat(values: Sequence[bytes]) -> bool:
    """Whether no value can be nested too deeply, because none has so many brackets. False is no verdict."""
    braces = max(map(bytes.count, values, repeat(b"{")), default=0)
    return braces + max(map(bytes.count, values, repeat(b"[")), default=0) <= MAX_NESTING


def read_impression(value: bytes | None) -> ReadImpression | Unreadable:
    """An impression. Features that the model cannot use are left out and counted; the impression stays good."""
    return read(value, _impression)


def read_click(value: bytes | None) -> Click | Unreadable:
    """A click, or why the record is none."""
    return read(value, _click)


def event_of(log: str, value: bytes | None) -> Impression | Click | Unreadable:
    """The event that the join reads from a record of 'impressions' or 'clicks', or why there is none."""
    if log == "clicks":
        return read_click(value)
    found = read_impression(value)
    return found if isinstance(found, Unreadable) else found.impression


def _click(value: bytes) -> Click:
    return decode_event(value, Click)


def read_seal(key: bytes | None, value: bytes | None, partition: int) -> SealRecord | Unreadable:
    """A record of `ads.seals`, or why it is none of this partition."""
    seal: SealRecord | Unreadable = read(value, _decode_seal)
    if isinstance(seal, Unreadable):
        return seal
    if key != str(partition).encode():
        return Unreadable(Reason.KEY, f"the Kafka key is not the partition, {partition}")
    if isinstance(seal, Seal) and seal.partition != partition:
        return Unreadable(Reason.KEY, f"the seal is one of partition {seal.partition}, not {partition}")
    if isinstance(seal, Seal) and max(seal.floor_ms, seal.confirmed_ms) > MAX_TS_MS:
        return Unreadable(Reason.FUTURE, f"floor_ms and confirmed_ms must be at most {MAX_TS_MS}")
    return seal


def _impression(value: bytes) -> ReadImpression:
    try:
        return ReadImpression(decode_event(value, Impression), value, 0)
    except ValueError:
        fields: dict[str, Any] = _decode_fields(value)
        raw = fields.pop("features", None)
        # Raises for every other field that is missing or bad.
        impression = decode_event(encode(fields), Impression)
    features, left_out = _usable(raw)
    impression = msgspec.structs.replace(impression, features=features or None)
    return ReadImpression(impression, encode(impression), left_out)


def _usable(raw: bytes | None) -> tuple[dict[str, Any], int]:
    """The features of which a model can make a number, and how many are left out; those of no object count as one."""
    if raw is None or bytes(raw) == b"null":
        return {}, 0
    try:
        given: dict[str, bytes] = _decode_fields(raw)
    except ValueError:
        return {}, 1
    usable: dict[str, Any] = {}
    for name, text in given.items():
        if len(name) > MAX_ID_CHARS or len(usable) == MAX_FEATURES:
            continue
        try:
            feature = _decode_feature(text)
        except ValueError:
            continue
        if not isinstance(feature, float) or math.isfinite(feature):
            usable[name] = feature
    return usable, len(given) - len(usable)

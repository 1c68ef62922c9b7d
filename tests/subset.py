"""The subset of JSON that the scanner reads (`streams.kernels.scan`), said once more in plain Python.

Without it the fuzzer would not notice a scanner that leaves more to msgspec than it must, which is only slower.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from schemas.events import MAX_FEATURES, MAX_ID_CHARS, MAX_PRICE_MICROS, MAX_TS_MS, MIN_TS_MS
from schemas.totals import DIMENSIONS
from streams.kernels.scan import LONGEST, NAMES

_SPACE: Final = rb"[ \t\n\r]*"
# Without escapes and control characters.
_TEXT: Final = rb'"[^"\\\x00-\x1f]*"'
_NUMBER: Final = rb"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]+)?"
_USABLE: Final = rb"(?:%b|true|false|%b)" % (_TEXT, _NUMBER)
_FEATURE: Final = rb"%b%b:%b%b%b" % (_TEXT, _SPACE, _SPACE, _USABLE, _SPACE)
_FEATURES: Final = rb"\{%b(?:%b(?:,%b%b)*)?\}" % (_SPACE, _FEATURE, _SPACE, _FEATURE)
_ONE_FEATURE: Final = re.compile(rb"(%b)%b:%b(%b)" % (_TEXT, _SPACE, _SPACE, _USABLE))
_VALUE: Final = rb"%b|true|false|null|%b|%b" % (_TEXT, _FEATURES, _NUMBER)
_MEMBER: Final = re.compile(rb"(%b)%b:%b(%b)%b" % (_TEXT, _SPACE, _SPACE, _VALUE, _SPACE))
_FIRST: Final = re.compile(rb"%b\{%b" % (_SPACE, _SPACE))
_NEXT: Final = re.compile(rb",%b" % _SPACE)
_LAST: Final = re.compile(rb"\}%b" % _SPACE)
_REQUIRED: Final = {"impression_id", "ts", "campaign_id", "creative_id", "price_micros"}
_LONGEST_NUMBER: Final = 32
_LONGEST_FEATURE: Final = 1_024


def in_subset(key: bytes | None, value: bytes | None) -> bool:
    """Whether the scanner reads this record. Quick to read rather than to run."""
    if not key or not value or len(value) > LONGEST:
        return False
    members = _members(value)
    if members is None:
        return False
    names = [name for name, _ in members]
    known = [name for name in names if name in NAMES]
    return (
        len(known) == len(set(known))
        and set(known) >= _REQUIRED
        and all(_allowed(name, text, key) for name, text in members)
    )


def _members(value: bytes) -> list[tuple[str, bytes]] | None:
    """Names and values of the one object, None if it is not that."""
    found = []
    begun = _FIRST.match(value)
    at = begun.end() if begun else 0
    while begun and (member := _MEMBER.match(value, at)):
        try:
            found.append((member[1][1:-1].decode(), member[2]))
            member[2].decode()
        except UnicodeDecodeError:
            return None
        at = member.end()
        if following := _NEXT.match(value, at):
            at = following.end()
        else:
            return found if _LAST.fullmatch(value, at) else None
    return None


def _allowed(name: str, value: bytes, key: bytes) -> bool:
    if name not in NAMES:
        return not value.startswith(b"{") and _usable(value)
    if value == b"null":
        return name not in _REQUIRED
    return _RULES.get(name, _label)(value, key)


def _usable(value: bytes) -> bool:
    return value.startswith(b'"') or len(value) <= _LONGEST_NUMBER


def _label(value: bytes, _key: bytes) -> bool:
    return value.startswith(b'"') and len(value) - 2 <= MAX_ID_CHARS


def _name(value: bytes, key: bytes) -> bool:
    return _label(value, key) and len(value) > 2


def _integer(low: int, high: int) -> Callable[[bytes, bytes], bool]:
    return lambda value, _key: value.isdigit() and len(value) <= 16 and low <= int(value) <= high


def _share(value: bytes, _key: bytes) -> bool:
    return re.fullmatch(rb"0(\.[0-9]{1,15})?|1(\.0{1,15})?", value) is not None


def _features(value: bytes, _key: bytes) -> bool:
    if not value.startswith(b"{"):
        return False
    found = _ONE_FEATURE.findall(value)
    return len(found) <= MAX_FEATURES and all(
        len(name) - 2 <= MAX_ID_CHARS and _usable(each) and (each[:1] != b'"' or len(each) - 2 <= _LONGEST_FEATURE)
        for name, each in found
    )


_RULES: Final[dict[str, Callable[[bytes, bytes], bool]]] = {
    "impression_id": lambda value, key: _name(value, key) and value[1:-1] == key,
    "ts": _integer(MIN_TS_MS, MAX_TS_MS),
    "price_micros": _integer(0, MAX_PRICE_MICROS),
    "bid_micros": _integer(0, MAX_PRICE_MICROS),
    "pctr": _share,
    "features": _features,
    "campaign_id": _name,
    "creative_id": _name,
}
assert _RULES.keys() | {*DIMENSIONS, "user_id", "model_version"} == set(NAMES)

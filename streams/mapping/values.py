"""Values as they are in files to texts and numbers, or why not."""

from __future__ import annotations

import hmac
import json
import math
import re
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from schemas.events import MAX_ID_CHARS

_SHOWN_CHARS: Final = 60
_HASH_CHARS: Final = 32
# Points stand between thousands, or nothing does.
_WITH_COMMA: Final = re.compile(r"[+-]?(\d{1,3}(\.\d{3})+|\d+)(,\d+)?", re.ASCII)
# Beyond what a float has (1e308, 5e-324). Whole numbers and fractions of more digits take minutes or all memory.
_MOST_EXPONENT: Final = 400
# What JSON, and so an event, has as it is.
PLAIN: Final = frozenset({str, int, float, bool, dict, list, type(None)})


class Unfit(ValueError):
    """A value that a rule cannot use; the text says why, with the value."""


class Ms(int):
    """A moment of a typed column, ms UTC."""


class LocalMs(int):
    """A moment of a typed column without a time zone: ms since 1970 on the clock of its place."""


def shown(value: Any) -> str:
    """The value as JSON writes it, cut to what fits a line."""
    text = str(value) if isinstance(value, Decimal) else json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"


def hashed(salt: bytes, found: str) -> str:
    """What `hash_with` makes of a text."""
    return hmac.new(salt, found.encode(), "sha256").hexdigest()[:_HASH_CHARS]


def text(value: Any) -> str:
    """The text of an id or a label; the digits of a whole number. Raises Unfit."""
    if isinstance(value, bool | dict | list):
        raise Unfit(f"{shown(value)} is no text and no number")
    if isinstance(value, float | Decimal):
        if isinstance(value, Decimal) and _is_endless(value):
            raise Unfit(f"{shown(value)} has more digits than an id")
        if not math.isfinite(value) or value != int(value):
            raise Unfit(f"{shown(value)} has a fraction; an id is a text or a whole number")
        if isinstance(value, float) and abs(value) > 2.0**53:
            raise Unfit(f"{shown(value)} is a number with more digits than a float keeps; write the id as text")
        value = int(value)
    if isinstance(value, bytes):
        try:
            found = value.decode()
        except UnicodeDecodeError:
            found = value.hex()
    else:
        found = str(value)
    if len(found) > MAX_ID_CHARS:
        raise Unfit(f"{shown(value)} has {len(found):,} characters; at most {MAX_ID_CHARS} are taken")
    return found


def texts(values: Any, types: set[type]) -> list[str] | None:
    """Many texts at once; None where each must be looked at."""
    if types == {int}:
        return list(map(str, values))
    if types == {str} and max(map(len, values)) <= MAX_ID_CHARS:
        return list(values)
    return None


def number(value: Any) -> int | Decimal:
    """The number, with the digits that are written. Raises Unfit."""
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, float):
        # The shortest text that reads as this float is what was written, unless that had more than 17 digits.
        found = Decimal(repr(value))
    elif isinstance(value, Decimal):
        found = value
    elif isinstance(value, str):
        try:
            found = Decimal(value.strip())
        except ArithmeticError as error:
            raise Unfit(f"{shown(value)} is no number") from error
    else:
        raise Unfit(f"{shown(value)} is no number")
    if not found.is_finite() or _is_endless(found):
        raise Unfit(f"{shown(value)} is no number")
    return int(found) if found == int(found) else found


def comma_number(value: Any) -> int | Decimal:
    """The same of a text with a comma before its fraction. Raises Unfit."""
    if not isinstance(value, str):
        return number(value)
    if not _WITH_COMMA.fullmatch(value.strip()):
        raise Unfit(f"{shown(value)} is no number with a decimal comma")
    return number(value.replace(".", "").replace(",", "."))


def _is_endless(value: Decimal) -> bool:
    return value.is_finite() and value != 0 and abs(value.adjusted()) > _MOST_EXPONENT


def plain(value: Any) -> Any:
    """A value of a typed file as JSON has it: moments as ms or ISO 8601, decimals as numbers, bytes as text."""
    if isinstance(value, Ms | LocalMs):
        return int(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, dict):
        return {str(name): plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value if type(value) in PLAIN else str(value)

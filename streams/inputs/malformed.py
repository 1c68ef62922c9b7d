"""What is wrong with a line that is no JSON: which bytes, at which place, and what they probably were meant to be."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

from streams.inputs.texts import objects_in

_AROUND_CHARS: Final = 20
_SHOWN_CHARS: Final = 60
# Words of other languages for values that JSON writes otherwise or cannot write.
_WORDS: Final = {
    "None": "JSON writes null",
    "True": "JSON writes true",
    "False": "JSON writes false",
    "undefined": "JSON writes null",
    "nan": "JSON has no such number; leave the field out",
    "inf": "JSON has no such number; leave the field out",
}
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class _Constant:
    """NaN or Infinity, which Python's decoder takes for JSON."""

    def __init__(self, name: str) -> None:
        self.name = name


def malformed(line: bytes, detail: str) -> str:
    """The sentence for a line that the join could not decode as JSON; `detail` is what the join said of it."""
    if line and not line.strip(b"\x00"):
        return f"the line is {len(line):,} NUL bytes, as a crash or a copy without data leaves behind; delete it"
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        return _no_utf8(line, error)
    try:
        fields = json.loads(text, parse_float=Decimal, parse_constant=_Constant)
    except json.JSONDecodeError as error:
        return _no_json(line, text, error)
    except (ValueError, RecursionError):
        return f"{_shown(text)} is no JSON object: {detail}"
    what = "cannot be used" if isinstance(fields, dict) else "is no JSON object"
    return _no_value(fields) or f"{_shown(text)} {what}: {detail}"


def _no_utf8(line: bytes, error: UnicodeDecodeError) -> str:
    byte = line[error.start]
    where = f"byte {byte:#04x} at column {error.start + 1}"
    # What CESU-8 and Java's modified UTF-8 write for characters outside of the basic plane.
    if byte == 0xED and error.start + 1 < len(line) and line[error.start + 1] >= 0xA0:
        return f"the line is not UTF-8: {where} begins half of a surrogate pair; write the character as UTF-8"
    near = line[max(0, error.start - _AROUND_CHARS) : error.start + _AROUND_CHARS].decode("cp1252", "replace")
    return (
        f"the line is not UTF-8: {where}; as Latin-1 it reads {near!r}; write the file as UTF-8: "
        "`iconv -f LATIN1 -t UTF-8`"
    )


def _no_json(line: bytes, text: str, error: json.JSONDecodeError) -> str:
    objects = objects_in(line)
    if objects > 1:
        return "several objects are on one line; give one object a line"
    if objects and text[error.pos :].strip() == ",":
        return "a comma ends the line, as within a JSON array; give one object a line without a comma between them"
    if text.startswith("\ufeff"):
        return "a byte order mark is before the object, as where files were joined; delete it"
    if not text.lstrip().startswith("{"):
        return f"{_shown(text)} is no JSON object; give one object a line"
    if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated"):
        return f"the line ends within its object: {text[-_SHOWN_CHARS:]!r}; a record must be whole and on one line"
    word = re.match(r"-?(\w+)", text[error.pos :])
    hint = f"; {_WORDS[word[1]]}" if word is not None and word[1] in _WORDS else ""
    before = text[max(0, error.pos - _AROUND_CHARS) : error.pos]
    after = text[error.pos : error.pos + _AROUND_CHARS]
    return f"the line is no JSON at column {error.pos + 1}: after {before!r} comes {after!r}{hint}"


def _no_value(fields: Any) -> str | None:
    """A value that Python's decoder takes and JSON, or a number of 64 bits, does not have."""
    for name, value in _values(fields, ""):
        if isinstance(value, _Constant):
            return f"{name} is {value.name}, which JSON does not have; leave it out, or give a number"
        if isinstance(value, str) and _SURROGATE.search(value):
            return f"{name} has half of a surrogate pair, {json.dumps(value)[:_SHOWN_CHARS]}; write whole characters"
        if isinstance(value, Decimal) and not math.isfinite(float(value)):
            return f"{name} is {value}, too large for a number of 64 bits"
    return None


def _values(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """All values within a value, with their names such as features.age."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield f"{name}.{key}".lstrip("."), key
            yield from _values(inner, f"{name}.{key}".lstrip("."))
    elif isinstance(value, list):
        for inner in value:
            yield from _values(inner, name)
    else:
        yield name or "the value", value


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…")

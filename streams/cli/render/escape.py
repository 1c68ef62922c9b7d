"""Text from records, escaped for a terminal: control characters of an id must not move its cursor or hide text."""

from __future__ import annotations

import re
from typing import Any, Final

from schemas.clickhouse.queries import Table

# Control characters of ASCII and Latin-1 (ESC and CSI among them), marks that change the direction of text, separators
# of lines, invisible characters and single surrogates. Not U+200C and U+200D, which scripts and emojis need.
_UNSAFE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)
_LINES: Final = re.compile(f"(?!\n){_UNSAFE.pattern}")


def escaped(text: str) -> str:
    """The text on one line; a backslash and the number of the character stand for each unsafe character."""
    return _UNSAFE.sub(_escape, text)


def escaped_lines(text: str) -> str:
    """The same for a text of several lines, which keeps its line breaks."""
    return _LINES.sub(_escape, text)


def escaped_json(text: str) -> str:
    """JSON that means the same, without unsafe characters; its line breaks are kept."""
    return _LINES.sub(_escape_json, text)


def escaped_table(table: Table) -> Table:
    """An answer of ClickHouse with every text in it escaped."""
    rows = [[_value(value) for value in row] for row in table.rows]
    return Table(tuple(map(escaped, table.columns)), table.types, rows)


def _value(value: Any) -> Any:
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, list):
        return [_value(each) for each in value]
    if isinstance(value, dict):
        return {_value(key): _value(each) for key, each in value.items()}
    return value


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    short = {0x09: r"\t", 0x0A: r"\n", 0x0D: r"\r"}.get(code)
    return short or (f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}")


def _escape_json(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code <= 0xFFFF:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"

"""On which line of a TOML file a key is: the parser does not say it."""

from __future__ import annotations

import re
import tomllib
from typing import Final

from schemas.errors import SettingsError

_NAME: Final = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_HEADER: Final = re.compile(rf"\s*\[\s*({_NAME}(?:\s*\.\s*{_NAME})*)\s*\]")
_KEY: Final = re.compile(rf"\s*({_NAME}(?:\s*\.\s*{_NAME})*)\s*=")
_AT: Final = re.compile(r"\(at line (\d+), column \d+\)")
_TWICE: Final = ("Cannot overwrite a value", "Cannot declare", "Duplicate inline table key")


class Lines:
    """The lines of the keys of one file, which has the name `file` in messages."""

    def __init__(self, text: str, file: str) -> None:
        self._file = file
        self._lines = text.split("\n")
        self._of: dict[tuple[str, ...], int] = {}
        table: tuple[str, ...] = ()
        for number, line in enumerate(self._lines, 1):
            if header := _HEADER.match(line):
                table = _names(header[1])
                self._of.setdefault(table, number)
            elif key := _KEY.match(line):
                self._of.setdefault((*table, *_names(key[1])), number)

    def place(self, *key: str) -> str:
        """The file and line of a key, or of what is around it."""
        for length in range(len(key), 0, -1):
            if key[:length] in self._of:
                return f"{self._file} line {self._of[key[:length]]}"
        return self._file

    def wrong_toml(self, error: tomllib.TOMLDecodeError) -> SettingsError:
        """The error for a file that is no TOML; a key that is there twice is named."""
        at = _AT.search(str(error))
        line = int(at[1]) if at else len(self._lines)
        if str(error).startswith(_TWICE):
            # The parser is behind the value when it finds the key again.
            for number in range(min(line, len(self._lines)), 0, -1):
                if key := (_KEY.match(self._lines[number - 1]) or _HEADER.match(self._lines[number - 1])):
                    return SettingsError(f"{self._file} line {number}: there are two rules for {key[1]}; keep one")
        return SettingsError(f"{self._file} line {line} is no TOML: {_AT.sub('', str(error)).strip()}")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name[1:-1] if name[0] in "\"'" else name for name in re.findall(_NAME, text))

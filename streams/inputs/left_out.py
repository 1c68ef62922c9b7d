"""Features that no model can use: how many a log has, and where the first of them is."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from schemas.events import MAX_FEATURES
from schemas.reading import ReadImpression, read_impression
from streams.inputs.files import FileLog
from streams.inputs.refusals import shown

_USABLE: Final = (
    f"a model takes strings of up to 1,024 characters, booleans and numbers of 64 bits, at most {MAX_FEATURES} an "
    "impression"
)


@dataclass(slots=True)
class LeftOut:
    """Features of one log that were left out: their number, and the offset and line of the first impression."""

    count: int = 0
    offset: int = -1
    line: bytes = b""

    def look(self, lines: Iterable[tuple[int, bytes | None]], *, all_lines: bool) -> None:
        """Looks at lines with their offsets for the first impression; with `all_lines` it counts in all of them."""
        for offset, line in lines:
            if line is None or b'"features"' not in line:
                continue
            read = read_impression(line)
            if not isinstance(read, ReadImpression) or not read.features_left_out:
                continue
            if self.offset < 0:
                self.offset, self.line = offset, line
            if not all_lines:
                return
            self.count += read.features_left_out

    def sentence(self, log: FileLog) -> str:
        """How many were left out, the first file and line, and its value; empty when none was."""
        if not self.count:
            return ""
        are = "1 feature is" if self.count == 1 else f"{self.count:,} features are"
        first = f", first {log.place(self.offset)}: {_first(self.line)}" if self.offset >= 0 else ""
        return f"{log.log}: {are} left out{first}; {_USABLE}"


def _first(line: bytes) -> str:
    """The first feature of an impression that was left out, with its value."""
    read = read_impression(line)
    usable = read.impression.features or {} if isinstance(read, ReadImpression) else {}
    given = json.loads(line, parse_float=Decimal)["features"]
    if not isinstance(given, dict):
        return f"features is {shown(given)}, no object"
    name = next(name for name in given if name not in usable)
    if isinstance(given[name], str):
        return f"{shown(name)} is {shown(given[name])}, {len(given[name]):,} characters"
    if len(usable) == MAX_FEATURES:
        return f"{shown(name)}, behind {MAX_FEATURES} others"
    return f"{shown(name)} is {shown(given[name])}"

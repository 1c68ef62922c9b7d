"""CSV and TSV: the dialect found by the first lines, names from the first of them or given, cells as text."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import BinaryIO, Final, NamedTuple

from schemas.errors import SettingsError
from streams.formats.texts import batches as batches_of

DELIMITERS: Final = {",": "CSV", "\t": "TSV", ";": "CSV with semicolons", "|": "CSV with bars"}
_SEEN_LINES: Final = 20


class Cells(NamedTuple):
    """Rows of text. `numbers` count from 0 within the file, the first line included; `broken` is by place."""

    numbers: list[int]
    columns: dict[str, Sequence[str]]
    broken: dict[int, str]


def delimiter(text: str, *, whole: bool) -> str:
    """The delimiter for which most lines have as many cells as the first, at least two; empty when there is none."""
    lines = text.split("\n")
    lines = [line for line in (lines if whole else lines[:-1]) if line.strip()][:_SEEN_LINES] or [text]
    for found in DELIMITERS:
        try:
            widths = [len(row) for row in csv.reader(lines, delimiter=found)]
        except csv.Error:
            continue
        if widths and widths[0] > 1 and 2 * widths.count(widths[0]) > len(widths):
            return found
    return ""


def batches(stream: BinaryIO, found: str, names: Sequence[str], most: int) -> Iterator[Cells]:
    """The rows by column, `most` at a time. `names` are of a file without a first line of names.

    A row with another number of cells is broken, as is one whose quotes do not end; the rows behind it are read.
    """
    text = io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline="")
    try:
        yield from _batches(_rows(csv.reader(text, delimiter=found, strict=True)), names, most)
    finally:
        # The stream belongs to the caller.
        text.detach()


def _batches(rows: Iterator[list[str] | str], names: Sequence[str], most: int) -> Iterator[Cells]:
    number = 0
    if not names:
        first = next(rows, None)
        if first is None or isinstance(first, str):
            return
        names, number = [name.strip() for name in first], 1
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise SettingsError(f"two columns have the name {min(twice)!r}; give names in the mapping's table")
        if not _is_utf8(names):
            raise SettingsError("the line of names is not UTF-8; write the file as UTF-8, as by iconv")
    width = len(names)
    for read in batches_of(rows, most):
        batch: list[list[str]] = []
        numbers: list[int] = []
        broken: dict[int, str] = {}
        for row in read:
            number += 1
            if row == []:
                continue
            if isinstance(row, str) or len(row) != width:
                why = row if isinstance(row, str) else f"the row has {len(row)} cells, not {width}"
                broken[len(batch)] = why
                row = [""] * width
            batch.append(row)
            numbers.append(number - 1)
        if not _is_utf8(chain.from_iterable(batch)):
            for place, row in enumerate(batch):
                if not _is_utf8(row):
                    broken[place], batch[place] = "the row is not UTF-8", [""] * width
        if batch:
            yield Cells(numbers, dict(zip(names, zip(*batch, strict=True), strict=True)), broken)


def _is_utf8(cells: Iterable[str]) -> bool:
    """Whether no byte was kept as a surrogate."""
    try:
        "".join(cells).encode()
    except UnicodeEncodeError:
        return False
    return True


def _rows(reader: Iterator[list[str]]) -> Iterator[list[str] | str]:
    """The rows, and in place of one that cannot be read why not."""
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield f"the row is no CSV: {error}"

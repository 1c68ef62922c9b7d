"""Batches of records of one file as rows for a mapping, whatever its format."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, get_args, get_type_hints

import msgspec

from schemas.auctions import LoggedImpression
from schemas.codec import encode
from schemas.events import Campaign
from schemas.outcomes import Outcome
from streams.formats.avro import Records
from streams.formats.columnar import Columns, PythonColumns
from streams.formats.delimited import batches as delimited
from streams.formats.kinds import TABLE
from streams.formats.texts import batches as text_batches
from streams.formats.texts import texts_of
from streams.inputs.opening import Source
from streams.mapping.compiled import Compiled
from streams.mapping.language import Table, own_form
from streams.mapping.rows import ObjectRows, Rows, TableRows
from streams.mapping.values import plain

BATCH_ROWS: Final = 10_000
# Files whose records have fields that no mapping makes.
_PLAIN: Final[dict[str, Any]] = {"campaigns": Campaign, "outcomes": Outcome, "auctions": LoggedImpression}


@dataclass(slots=True)
class Count:
    """How many records of a file were read, blank ones included."""

    done: int = 0


class Batch(NamedTuple):
    """Rows with their numbers from 0 within the file. `names` are the columns of a file that says them, else None."""

    numbers: Sequence[int]
    rows: Rows
    names: Sequence[str] | None


@functools.cache
def own_compiled(log: str) -> Compiled:
    """The mapping of files with columns of clickfold's own names."""
    return Compiled(own_form(log))


def rows_of(source: Source, mapping: Compiled, count: Count, most: int = BATCH_ROWS) -> Iterator[Batch]:
    """The records of a file, a batch at a time. Raises Damaged, after all records before the damage."""
    with source.open() as file:
        if source.form.is_json:
            for batch in text_batches(texts_of(file, source.form.kind), most):
                numbers: Sequence[int] = range(count.done, count.done + len(batch))
                count.done += len(batch)
                if not all(batch) or any(map(bytes.isspace, batch)):
                    numbers = [number for number, text in zip(numbers, batch, strict=True) if text.strip()]
                    batch = [text for text in batch if text.strip()]
                yield Batch(numbers, mapping.reader.rows(batch), None)
        else:
            wanted = {str(path.steps[0]) for path in mapping.paths()} | {path.text for path in mapping.paths()}
            has_patterns = bool(mapping.mapping.patterns)
            for numbers, rows, names in tables(
                source, file, count, most, mapping.mapping.table, None if has_patterns else wanted
            ):
                yield Batch(numbers, rows, names)


def tables(
    source: Source, file: Any, count: Count, most: int, table: Table, wanted: set[str] | None
) -> Iterator[tuple[Sequence[int], ObjectRows | TableRows, Sequence[str]]]:
    """The rows of a file that is no JSON, their numbers, and the names of its columns."""
    if source.form.kind == TABLE:
        for cells in delimited(file, source.form.delimiter, table.names, most):
            rows = TableRows(cells.columns, len(cells.numbers), cells.broken)
            count.done = cells.numbers[-1] + 1
            yield cells.numbers, rows, list(cells.columns)
        return
    opened: Any
    if source.form.kind == "Avro":
        opened = Records(file)
        if opened.names:
            yield (), ObjectRows([]), opened.names
        for batch in opened.batches(most):
            first, count.done = count.done, count.done + len(batch)
            yield range(first, count.done), ObjectRows(batch), opened.names
        return
    opened = Columns(file, source.form.kind)
    yield (), TableRows({}, 0), opened.names
    for arrow in opened.batches(None if wanted is None else sorted(wanted), most):
        first, count.done = count.done, count.done + arrow.num_rows
        yield range(first, count.done), TableRows(PythonColumns(arrow), arrow.num_rows), opened.names


def plain_lines(source: Source, log: str, count: Count) -> Iterator[Iterator[tuple[int, bytes]]]:
    """Records of a table as JSON of the same names, for logs that have no mapping: campaigns and outcomes."""
    numeric = _numeric(_PLAIN[log])
    is_text = source.form.kind == TABLE
    with source.open() as file:
        for numbers, rows, _ in tables(source, file, count, BATCH_ROWS, Table(), None):
            records = [rows.record(place) for place in range(len(rows))]
            if is_text:
                records = [_typed(each, numeric) for each in records]
            values = [encode(plain(each)) for each in records]
            yield zip(numbers, values, strict=True)


def _numeric(kind: Any) -> frozenset[str]:
    """Fields that hold no text."""
    hints = get_type_hints(kind)
    return frozenset(name for name, hint in hints.items() if str not in (hint, *get_args(hint)))


def _typed(cells: Mapping[str, Any], numeric: frozenset[str]) -> dict[str, Any]:
    """The cells of a row that hold something, numbers as numbers."""
    typed: dict[str, Any] = {}
    for name, cell in cells.items():
        if cell == "":
            continue
        typed[name] = cell
        if name in numeric:
            with suppress(ValueError):  # the join says what is wrong with it
                typed[name] = msgspec.json.decode(cell)
    return typed

"""Values of one topic to typed columns of its table. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from schemas.codec import decoder
from schemas.rejects import Reason
from streams.sink.shapes import SHAPES, Shape


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that will not become a row: its index among the values given, why, and which field and bound."""

    index: int
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Rows:
    """Columns of equal length for one table; `sources` are the indexes of the values the rows were made of."""

    table: str
    names: tuple[str, ...]
    types: tuple[str, ...]
    columns: list[Sequence[Any]]
    sources: Sequence[int]

    def __len__(self) -> int:
        return len(self.sources)

    def slice(self, start: int, stop: int) -> Rows:
        """The rows from `start` up to, not including, `stop`."""
        cut = slice(start, stop)
        return Rows(self.table, self.names, self.types, [column[cut] for column in self.columns], self.sources[cut])


def rows_of(role: str, values: Sequence[bytes | None], *, run: str) -> tuple[Rows, list[Refused]]:
    """The rows of `values` in their order, and those refused. Values of a compacted topic that are None are neither.

    About 2.3 µs a total, decoding included. Raises KeyError for a role that has no table.
    """
    shape = SHAPES[role]
    records, sources, refused = _decoded(shape, values)
    columns: list[Sequence[Any]] = [[run] * len(records)]
    for field in shape.fields:
        taken = map(field.of, records)
        columns.append(list(taken) if field.change is None else field.change(taken))
    names = ("run", *(field.name for field in shape.fields))
    types = ("LowCardinality(String)", *(field.type for field in shape.fields))
    return Rows(shape.table, names, types, columns, sources), refused


def _decoded(shape: Shape, values: Sequence[bytes | None]) -> tuple[list[Any], Sequence[int], list[Refused]]:
    decode = decoder(shape.kind).decode
    try:
        # Nearly always all are good: then nothing but C runs for each record.
        return list(map(decode, values)), range(len(values)), []  # type: ignore[arg-type]  # None raises TypeError
    except (ValueError, TypeError, RecursionError):
        return _decoded_one_by_one(shape, values)


def _decoded_one_by_one(shape: Shape, values: Sequence[bytes | None]) -> tuple[list[Any], list[int], list[Refused]]:
    decode = decoder(shape.kind).decode
    records: list[Any] = []
    sources: list[int] = []
    refused: list[Refused] = []
    for index, value in enumerate(values):
        if value is None:
            if not shape.compacted:
                refused.append(Refused(index, Reason.TOMBSTONE, "no value"))
            continue
        try:
            records.append(decode(value))
        # msgspec's errors are ValueErrors, and so is that of text which isn't UTF-8, which msgspec passes on.
        except ValueError as failure:
            refused.append(Refused(index, Reason.UNDECODABLE, str(failure)))
        except RecursionError:
            refused.append(Refused(index, Reason.UNDECODABLE, "nested too deeply"))
        else:
            sources.append(index)
    return records, sources, refused

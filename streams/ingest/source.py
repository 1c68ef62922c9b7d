"""One source: a topic, and the mapping that makes impressions and clicks of its records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from schemas.errors import SettingsError
from schemas.reading import Unreadable
from schemas.rejects import Reason
from streams.ingest.framed import schema_of
from streams.mapping.compiled import Compiled, Mapped, Refused
from streams.mapping.rows import JsonReader, Rows


@dataclass(slots=True)
class Taken:
    """What records became: events by log, and why others were refused, by their place. `others` were left out by the
    conditions of every log."""

    events: dict[str, Mapped] = field(default_factory=dict)
    refused: dict[int, Unreadable] = field(default_factory=dict)
    others: int = 0


class Decoders(Protocol):
    """`streams.ingest.schemas.Schemas`, which asks a registry; here it only decodes."""

    def rows(
        self, values: Sequence[bytes], json: Callable[[Sequence[bytes]], Rows]
    ) -> tuple[Rows, Mapping[int, Unreadable]]:
        """The records of these values, whose schemas are known, and why some are none."""
        ...


class Source:
    """A topic with its mapping made ready, by log. `name` and `digest` are the mapping's.

    Values are JSON, or with `schemas` also what their schemas say; those of all values must be learned.
    """

    def __init__(
        self,
        topic: str,
        inputs: Mapping[str, Compiled],
        *,
        name: str,
        digest: str,
        schemas: Decoders | None = None,
    ) -> None:
        self.topic = topic
        self.name = name
        self.digest = digest
        self._inputs = dict(inputs)
        self._schemas = schemas
        # One for all logs, so that a record is decoded once.
        self._reader = JsonReader(
            [path for each in inputs.values() for path in each.paths()],
            [pattern for each in inputs.values() for pattern in each.mapping.patterns],
        )

    def take(self, values: Sequence[bytes | None]) -> Taken:
        """What these records become. Pure: the same values become the same."""
        taken = Taken()
        places: Sequence[int] | None = None
        if None in values:
            for place, value in enumerate(values):
                if value is None:
                    taken.refused[place] = Unreadable(Reason.TOMBSTONE, "the record has no value")
            places = [place for place in range(len(values)) if place not in taken.refused]
            values = [values[place] for place in places]
        there = [value for value in values if value is not None]
        rows, unreadable = self._rows(there)
        untouched = set(range(len(rows)))
        for log, mapping in self._inputs.items():
            mapped = mapping.map(rows)
            untouched -= {*mapped.places, *mapped.refused}
            for place, refused in mapped.refused.items():
                at = place if places is None else places[place]
                why = unreadable.get(place) or _unreadable(refused, there[place])
                # The first reason counts, where a record is of both logs.
                taken.refused.setdefault(at, why)
            if places is not None:
                mapped.places = [places[place] for place in mapped.places]
            taken.events[log] = mapped
        taken.others = len(untouched)
        return taken

    def wrong_with(self, values: Sequence[bytes | None]) -> list[SettingsError]:
        """The rules that find nothing in a sample of records, or refuse all of them; see `Compiled.never_matching`."""
        rows, _ = self._rows([value for value in values if value is not None])
        return [error for mapping in self._inputs.values() for error in mapping.never_matching(rows)]

    def _rows(self, values: Sequence[bytes]) -> tuple[Rows, Mapping[int, Unreadable]]:
        if self._schemas is None:
            return self._reader.rows(values), {}
        return self._schemas.rows(values, self._reader.rows)


def _unreadable(refused: Refused, value: bytes) -> Unreadable:
    """Why a record was refused, by a rule or because it is no record at all."""
    if refused.rule:
        return Unreadable(Reason.MAPPING, refused.detail)
    framed = schema_of(value)
    detail = (
        f"it is no JSON; if schema {framed[0]} of a registry describes it, set SCHEMA_REGISTRY_URL"
        if framed is not None
        else refused.detail
    )
    return Unreadable(Reason.UNDECODABLE, detail)

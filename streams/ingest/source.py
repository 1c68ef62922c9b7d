"""One source: a topic, and the mapping that makes impressions and clicks of its records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from schemas.errors import SettingsError
from schemas.reading import Unreadable
from schemas.rejects import Reason
from streams.mapping.compiled import Compiled, Mapped
from streams.mapping.rows import JsonReader, Rows


@dataclass(slots=True)
class Taken:
    """What records became: events by log, and why others were refused, by their place. `others` were left out by the
    conditions of every log."""

    events: dict[str, Mapped] = field(default_factory=dict)
    refused: dict[int, Unreadable] = field(default_factory=dict)
    others: int = 0


class Source:
    """A topic with its mapping made ready, by log. `name` and `digest` are the mapping's."""

    def __init__(self, topic: str, inputs: Mapping[str, Compiled], *, name: str, digest: str) -> None:
        self.topic = topic
        self.name = name
        self.digest = digest
        self._inputs = dict(inputs)
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
        rows = self._rows([value for value in values if value is not None])
        untouched = set(range(len(rows)))
        for log, mapping in self._inputs.items():
            mapped = mapping.map(rows)
            untouched -= {*mapped.places, *mapped.refused}
            for place, refused in mapped.refused.items():
                at = place if places is None else places[place]
                reason = Reason.MAPPING if refused.rule else Reason.UNDECODABLE
                # The first reason counts, where a record is of both logs.
                taken.refused.setdefault(at, Unreadable(reason, refused.detail))
            if places is not None:
                mapped.places = [places[place] for place in mapped.places]
            taken.events[log] = mapped
        taken.others = len(untouched)
        return taken

    def wrong_with(self, values: Sequence[bytes | None]) -> list[SettingsError]:
        """The rules that find nothing in a sample of records, or refuse all of them; see `Compiled.never_matching`."""
        rows = self._rows([value for value in values if value is not None])
        return [error for mapping in self._inputs.values() for error in mapping.never_matching(rows)]

    def _rows(self, values: Sequence[bytes]) -> Rows:
        return self._reader.rows(values)

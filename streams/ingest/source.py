"""One source: a topic, and the mapping that makes impressions and clicks of its records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from schemas.errors import SettingsError
from schemas.reading import Unreadable
from schemas.records import Headers
from schemas.rejects import Reason
from streams.ingest.values import Values
from streams.mapping.compiled import Compiled, Mapped


@dataclass(slots=True)
class Taken:
    """What records became: events by log, and why others were refused, by their place. `others` were left out by the
    conditions of every log."""

    events: dict[str, Mapped] = field(default_factory=dict)
    refused: dict[int, Unreadable] = field(default_factory=dict)
    others: int = 0


class Source:
    """A topic with its mapping made ready, by log. `name` and `digest` are the mapping's.

    `values` reads the values, and `with_headers` says whether it needs the headers of the records too. The schemas of
    the values must be known when it does.
    """

    def __init__(
        self,
        topic: str,
        inputs: Mapping[str, Compiled],
        values: Values,
        *,
        name: str,
        digest: str,
        with_headers: bool = False,
    ) -> None:
        self.topic = topic
        self.name = name
        self.digest = digest
        self.with_headers = with_headers
        self._inputs = dict(inputs)
        # One for all logs, so that a record is decoded once.
        self._values = values

    def take(self, values: Sequence[bytes | None], headers: Sequence[Headers] | None = None) -> Taken:
        """What these records become. Pure: the same values and headers become the same."""
        taken = Taken()
        rows, unreadable = self._values.rows(values, headers)
        is_other = np.ones(len(rows), np.bool_)
        for log, mapping in self._inputs.items():
            mapped = mapping.map(rows)
            is_other[np.asarray(mapped.places, np.int64)] = False
            for place, refused in mapped.refused.items():
                is_other[place] = False
                # The first reason counts, where a record is of both logs.
                taken.refused.setdefault(place, unreadable.get(place) or Unreadable(Reason.MAPPING, refused.detail))
            taken.events[log] = mapped
        taken.others = int(is_other.sum())
        return taken

    def wrong_with(
        self, values: Sequence[bytes | None], headers: Sequence[Headers] | None = None
    ) -> list[SettingsError]:
        """The rules that find nothing in a sample of records, or refuse all of them; see `Compiled.never_matching`."""
        rows, _ = self._values.rows(values, headers)
        return [error for mapping in self._inputs.values() for error in mapping.never_matching(rows)]

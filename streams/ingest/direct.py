"""Inputs that the join reads through a mapping itself, because their topics are keyed by the impression id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from schemas.errors import SettingsError
from schemas.reading import Unreadable, event_of
from schemas.rejects import Reason
from streams.ingest.values import Values
from streams.mapping.compiled import Compiled
from streams.mapping.language import MappingFile


class DirectInput:
    """The values of one input as a mapping makes them. Pure: the same values become the same.

    A value that the mapping refuses and that is good as it is stays so, such as one that was redriven.
    """

    def __init__(self, log: str, mapping: Compiled) -> None:
        self._log = log
        self._mapping = mapping
        self._values = Values((mapping,))

    def __call__(self, values: Sequence[bytes | None]) -> tuple[Sequence[bytes | None], Mapping[int, Unreadable]]:
        """Values of clickfold's own form, None for those that are refused, and why."""
        rows, unreadable = self._values.rows(values)
        mapped = self._mapping.map(rows)
        if len(mapped.places) == len(values):
            return mapped.values, {}
        made: list[bytes | None] = [None] * len(values)
        for place, value in zip(mapped.places, mapped.values, strict=True):
            made[place] = value
        refused: dict[int, Unreadable] = {}
        for place, why in mapped.refused.items():
            if isinstance(event_of(self._log, values[place]), Unreadable):
                refused[place] = unreadable.get(place) or Unreadable(Reason.MAPPING, why.detail)
            else:
                made[place] = values[place]
        return made, refused

    def wrong_with(self, values: Sequence[bytes | None]) -> list[SettingsError]:
        """The rules that find nothing in a sample of records, or refuse all of them."""
        return self._mapping.never_matching(self._values.rows(values)[0])


def require_direct(file: MappingFile, option: str) -> None:
    """Raises SettingsError for a mapping by which the join cannot read: it decides from a record's value alone, and
    each record has a fate."""
    ingest = "give it to `clickfold worker ingest --source`, which can"
    if file.headers:
        raise SettingsError(f"{option} {file.name} says headers = true, and the join reads no headers: {ingest}")
    for log, one in file.inputs.items():
        if one.where:
            _, _, place = one.where[0]
            raise SettingsError(f"{place}: {option} reads each record of {log}, so it takes no conditions: {ingest}")

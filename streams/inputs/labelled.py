"""Batches of labelled outcomes from files, and the lines that are none, by why and where."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from online_models.mixture.reading import Batch, Reader
from schemas.reading import Unreadable
from schemas.rejects import Reason
from streams.inputs.files import FileLog, Place
from streams.inputs.refusals import why


class Refusal(NamedTuple):
    """Lines that were refused alike: how many, where the first one is, and what is wrong with it."""

    lines: int
    reason: Reason
    first: Place
    detail: str


@dataclass(slots=True)
class LabelledLog:
    """The outcomes of files with a label, in order; `without_label` and `refusals` count the other lines."""

    files: FileLog
    without_label: int = 0
    _refused: dict[tuple[Reason, str], Refusal] = field(default_factory=dict)

    def batch(self, lines: Iterator[tuple[int, bytes]], most: int, reader: Reader) -> Batch | None:
        """The rows of the next lines, at most so many; None at the end."""
        numbered = list(islice(lines, most))
        if not numbered:
            return None

        def refused(place: int, why_not: Unreadable | None) -> None:
            if why_not is None:
                self.without_label += 1
            else:
                self._refuse(*numbered[place], why_not)

        return reader.read([line for _, line in numbered], refused)

    def refusals(self) -> list[Refusal]:
        """The reasons of refused lines, the most frequent first."""
        return sorted(self._refused.values(), key=lambda refusal: -refusal.lines)

    def _refuse(self, number: int, line: bytes, refused: Unreadable) -> None:
        # Lines refused for one field and one bound are alike, whatever their values.
        key = refused.reason, re.sub(r"-?\d+(\.\d+)?", "N", refused.detail)
        known = self._refused.get(key)
        if known is None:
            detail = why("outcomes", line, refused.reason, refused.detail)
            known = Refusal(0, refused.reason, self.files.place(number), detail)
        self._refused[key] = known._replace(lines=known.lines + 1)

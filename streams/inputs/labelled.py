"""Batches of labelled outcomes from files, and the lines that are none, by why and where."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from online_models.mixture.reading import Batch, Reader
from schemas.reading import Unreadable
from streams.inputs.files import FileLog
from streams.inputs.tally import Tally

# Weights have fractions, and times may have a sign.
_VALUES: Final = r"-?\d+(\.\d+)?"


@dataclass(slots=True)
class LabelledLog:
    """The outcomes of files with a label, in order; `without_label` counts repeats and orphans, `refused` the rest."""

    files: FileLog
    without_label: int = 0
    refused: Tally = field(default_factory=lambda: Tally(_VALUES))

    def batch(self, lines: Iterator[tuple[int, bytes]], most: int, reader: Reader) -> Batch | None:
        """The rows of the next lines, at most so many; None at the end."""
        numbered = list(islice(lines, most))
        if not numbered:
            return None

        def refuse(place: int, why: Unreadable | None) -> None:
            if why is None:
                self.without_label += 1
            else:
                number, line = numbered[place]
                self.refused.add("outcomes", reason=why.reason, detail=why.detail, offset=number, line=line)

        batch = reader.read([line for _, line in numbered], refuse)
        self.files.order.add_times(batch.rows.ts)
        return batch

"""Inputs of another form: a mapping makes events of their values before anything is decided, live and in every replay.

The fold keeps the records as they are: what is held and what becomes a dead letter is the value that Kafka has. Only
what is decoded, stored and counted is the event that the mapping makes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from schemas.reading import Unreadable
from schemas.records import Records
from schemas.rejects import Reason
from streams.join.decode import DecodedBatch

# The values of an input in clickfold's own form, None where there is none, and why, by place. Pure.
OwnForm = Callable[[Sequence[bytes | None]], tuple[Sequence[bytes | None], Mapping[int, Unreadable]]]
_REMEDY: Final = "; `clickfold worker ingest` reads topics with any keys"


@dataclass(frozen=True, slots=True)
class InputMaps:
    """What makes events of inputs of another form, by input, and the digest of what it says; nothing by default."""

    of: Mapping[str, OwnForm] = field(default_factory=dict)
    digest: str = ""


class Decoder(Protocol):
    """`ImpressionDecoder` or `ClickDecoder`."""

    def decode(self, records: Records) -> DecodedBatch[Any]:
        """The good events and the refused records."""
        ...


class MappedDecoder:
    """Decodes an input of another form: as its decoder would what the mapping makes of it."""

    def __init__(self, decoder: Decoder, own_form: OwnForm) -> None:
        self._decoder = decoder
        self._own_form = own_form

    def decode(self, records: Records) -> DecodedBatch[Any]:
        """Refuses in this order: what the mapping refuses, then what the decoder does."""
        values, unreadable = self._own_form(records.values)
        if not unreadable:
            return self._remedied(self._decoder.decode(replace(records, values=values)), range(len(records)), [])
        rows = [row for row in range(len(records)) if row not in unreadable]
        mapped = Records(
            *(records.log, records.partition),
            [records.offsets[row] for row in rows],
            [records.timestamps[row] for row in rows],
            [records.keys[row] for row in rows],
            [values[row] for row in rows],
        )
        refused = [(row, why.reason, why.detail) for row, why in unreadable.items()]
        return self._remedied(self._decoder.decode(mapped), rows, refused)

    def _remedied(
        self, batch: DecodedBatch[Any], rows: Sequence[int], refused: list[tuple[int, Reason, str]]
    ) -> DecodedBatch[Any]:
        """The batch of the records at these rows, with those refused before."""
        refused += [
            (rows[row], reason, detail + _REMEDY if reason is Reason.KEY else detail)
            for row, reason, detail in batch.refused
        ]
        return replace(batch, rows=[rows[row] for row in batch.rows], refused=sorted(refused))

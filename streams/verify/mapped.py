"""Records of an input that the join reads through a mapping, as the oracle judges them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Final

from schemas.records import Record
from streams.join.mapped import OwnForm
from streams.verify.oracle import Unmapped

_BATCH: Final = 5_000


def mapped_records(records: Iterable[Record], own_form: OwnForm | None) -> Iterator[Record]:
    """The records with values of clickfold's own form; those that the mapping refuses say why. None: as they are."""
    if own_form is None:
        yield from records
        return
    rest = iter(records)
    while batch := list(islice(rest, _BATCH)):
        values, unreadable = own_form([record.value for record in batch])
        for place, record in enumerate(batch):
            why = unreadable.get(place)
            if why is None:
                yield replace(record, value=values[place])
            else:
                yield Unmapped(record.offset, record.record_ts_ms, record.key, record.value, reason=why.reason)

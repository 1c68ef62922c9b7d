"""Events of clickfold's own form from columns of Arrow, without a look at single values where none is needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
import numpy as np

from schemas.events import MAX_PRICE_MICROS, MAX_TS_MS, MIN_TS_MS
from streams.formats.arrow_texts import (
    Piece,
    as_bytes,
    as_texts,
    moments,
    number,
    objects,
    optional_objects,
    plain,
    text,
    whole,
)
from streams.formats.columnar import PythonColumns
from streams.mapping.compiled import Mapped
from streams.mapping.language import EVENTS, kind_of
from streams.mapping.rows import Rows, TableRows

_TIME: Final = (MIN_TS_MS, MAX_TS_MS)
_MONEY: Final = (0, MAX_PRICE_MICROS)
_SHARE: Final = (0.0, 1.0)


def own_events(rows: Rows, log: str) -> Mapped | None:
    """The events of a batch; None when its values must be looked at one by one, as where one is refused."""
    if not isinstance(rows, TableRows) or not isinstance(rows.columns, PythonColumns):
        return None
    batch = rows.columns.batch
    if any(name.startswith("features.") for name in batch.schema.names):
        return None
    made: dict[str, Piece] = {}
    for field in msgspec.structs.fields(EVENTS[log]):
        column = batch.column(field.name) if field.name in batch.schema.names else None
        if column is None or column.null_count == len(column):
            if field.required:
                return None
            continue
        piece = _READERS["features" if field.name == "features" else kind_of(field.name)](column)
        if piece is None or (field.required and column.null_count):
            return None
        made[field.name] = piece
    # As in `columnar`: the method of pyarrow is slower by far.
    times_ms = np.from_dlpack(moments(batch.column("ts"))).tolist()
    values = as_bytes(objects(made.items()))
    keys = list(map(str.encode, as_texts(made["impression_id"].column)))
    return Mapped(range(len(values)), keys, times_ms, values)


def _features(column: Any) -> Piece | None:
    """Objects of the features that are there; None when they are no struct of plain values."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_struct(column.type) or not column.type.num_fields:
        return None
    # With the nulls of the struct itself.
    places = range(column.type.num_fields)
    pieces = {column.type.field(place).name: plain(pc.struct_field(column, [place])) for place in places}
    found = [(name, piece) for name, piece in pieces.items() if piece is not None]
    return optional_objects(found) if len(found) == len(places) else None


_READERS: Final[dict[str, Callable[[Any], Piece | None]]] = {
    "text": text,
    "time": lambda column: whole(moments(column), _TIME),
    "money": lambda column: whole(column, _MONEY),
    "share": lambda column: number(column, _SHARE),
    "features": _features,
}

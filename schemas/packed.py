"""Totals as they are in Kafka: many in one record, by columns, in MessagePack.

There may be as many totals as impressions. As JSON a total took 78 bytes; in these columns it takes 32. A name is
written once in a record, and a column of numbers has the width that its largest number needs.

Until 0.3 readers also take the form of 0.1: JSON, with one campaign total a record. The first byte tells the two apart.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.codec import decode, unpack
from schemas.dimensions import MAX_EXTRA, NAME_PATTERN
from schemas.events import EventMs
from schemas.totals import DIMENSIONS, MEASURES, CampaignTotal, MinuteTotals

# The version of the form, in the field `form`. A reader refuses one that it does not know.
FORM: Final = 2
# Totals in a record. The join writes up to 1,000; a record that claims more than this is refused before room is made.
MAX_TOTALS: Final = 65_536
# Bytes of a number: little-endian, unsigned. In none all numbers are 0.
_TYPES: Final[dict[int, np.dtype[Any]]] = {
    width: np.dtype(name) for width, name in ((1, "<u1"), (2, "<u2"), (4, "<u4"), (8, "<i8"))
}

Int64s = npt.NDArray[np.int64]


Name = Annotated[str, msgspec.Meta(pattern=f"^{NAME_PATTERN}$")]


class NameColumn(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """The names of one dimension, each once, and which of them each total has."""

    names: list[str]
    """The different names; the empty one where an impression has none."""
    places: bytes
    """For each total the place of its name among `names`, from 0; numbers as in `measures`."""


class PackedMinuteTotals(
    msgspec.Struct,
    frozen=True,
    gc=False,
    kw_only=True,
    tag_field="form",
    tag=FORM,
    forbid_unknown_fields=True,
    omit_defaults=True,
):
    """Totals so far of one minute and join partition, many at once: record of `ads.totals`, keyed by minute."""

    minute: EventMs
    """Start of the minute."""
    join_partition: int
    """Partition of the join that counted. Sum over it."""
    version: int
    """The highest version of a key is valid."""
    final: bool
    """No accepted record can change these totals any more."""
    rows: Annotated[int, msgspec.Meta(ge=0, le=MAX_TOTALS)]
    """How many totals these are."""
    dimensions: list[NameColumn]
    """A column of names for each dimension, in their order."""
    measures: list[bytes]
    """A column of numbers for each measure, in their order: unsigned, little-endian, of 1, 2, 4 or 8 bytes each, as the
    length of the column shows. Where all numbers are 0 the column is empty."""
    extra_dimensions: Annotated[list[Name], msgspec.Meta(max_length=MAX_EXTRA)] = []
    """The names of the run's extra dimensions, whose columns follow in `dimensions`; absent without any."""


class PackedCampaignTotals(
    msgspec.Struct, frozen=True, gc=False, kw_only=True, tag_field="form", tag=FORM, forbid_unknown_fields=True
):
    """The totals so far of campaigns in one UTC quarter-hour and join partition: record of `ads.campaign_totals`.

    Keyed by the quarter-hour. A campaign is in the partition that murmur2 gives its id. By quarter-hour, because
    midnight falls on one in every time zone.
    """

    quarter: EventMs
    """Start of the quarter-hour."""
    join_partition: int
    """Partition of the join that counted. Sum over it."""
    version: int
    """The highest version of a key is valid."""
    final: bool
    """No accepted record can change these totals any more."""
    campaigns: list[str]
    """The `campaign_id` of each total."""
    measures: list[bytes]
    """A column of numbers for each measure, as in `ads.totals`."""


def minute_totals(value: bytes) -> MinuteTotals:
    """The totals in a record of `ads.totals`. Raises ValueError for one that contradicts itself."""
    if _is_json(value):
        totals = decode(value, MinuteTotals)
        _require_columns(len(totals.dimensions), len(totals.measures), extra=len(totals.extra_dimensions))
        lengths = {*map(len, totals.dimensions), *map(len, totals.measures)}
        if len(lengths) > 1:
            raise ValueError(f"columns of different lengths: {min(lengths)} to {max(lengths)}")
        return totals
    packed = unpack(value, PackedMinuteTotals)
    _require_columns(len(packed.dimensions), len(packed.measures), extra=len(packed.extra_dimensions))
    rows = packed.rows
    return MinuteTotals(
        packed.minute,
        packed.join_partition,
        packed.version,
        packed.final,
        [_names(column, rows) for column in packed.dimensions],
        [wide(column, rows).tolist() for column in packed.measures],
        packed.extra_dimensions,
    )


def campaign_totals(value: bytes) -> list[CampaignTotal]:
    """The totals in a record of `ads.campaign_totals`. Raises ValueError for one that contradicts itself."""
    if _is_json(value):
        return [decode(value, CampaignTotal)]
    packed = unpack(value, PackedCampaignTotals)
    _require_columns(len(DIMENSIONS), len(packed.measures))
    columns = [wide(column, len(packed.campaigns)).tolist() for column in packed.measures]
    head = packed.quarter, packed.join_partition, packed.version, packed.final
    return [
        CampaignTotal(campaign_id, *head, *numbers)
        for campaign_id, *numbers in zip(packed.campaigns, *columns, strict=True)
    ]


def wide(data: bytes, count: int) -> Int64s:
    """`count` numbers of a column. Raises ValueError when the length is not that of so many."""
    if not data:
        return np.zeros(count, np.int64)
    width, rest = divmod(len(data), count) if count else (0, len(data))
    if rest or width not in _TYPES:
        raise ValueError(f"a column of {len(data)} bytes is not one of {count} numbers of 1, 2, 4 or 8 bytes each")
    numbers: Int64s = np.frombuffer(data, _TYPES[width]).astype(np.int64)
    return numbers


def _names(column: NameColumn, rows: int) -> list[str]:
    places = wide(column.places, rows)
    if rows and not 0 <= places.min() <= places.max() < len(column.names):
        raise ValueError(f"a place among {len(column.names)} names is {places.min()} or {places.max()}")
    return list(map(column.names.__getitem__, places.tolist()))


def _is_json(value: bytes) -> bool:
    return value[:1] == b"{"


def _require_columns(dimensions: int, measures: int, *, extra: int = 0) -> None:
    if (dimensions, measures) != (len(DIMENSIONS) + extra, len(MEASURES)):
        raise ValueError(
            f"{dimensions} dimensions and {measures} measures, not {len(DIMENSIONS) + extra} and {len(MEASURES)}"
        )

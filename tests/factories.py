"""Records as users and clickfold write them, with every field filled in that a test is silent about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
import orjson

from schemas.campaigns import CampaignChange
from schemas.codec import encode
from schemas.events import Campaign
from schemas.packed import NameColumn, PackedCampaignTotals, PackedMinuteTotals
from schemas.records import Record
from schemas.totals import DIMENSIONS, MEASURES, CampaignTotal, MinuteTotals
from tests.world import HOUR_MS, MINUTE_MS

T0: Final = 1_700_000_000_000


def impression_json(impression_id: object = "a", ts: object = T0, **more: object) -> bytes:
    """An impression, or what someone takes for one. `more` are further fields, or others in place of the usual."""
    fields = {"impression_id": impression_id, "ts": ts, "campaign_id": "c", "creative_id": "x", "price_micros": 5}
    return orjson.dumps({**fields, **more})


def click_json(click_id: object, impression_id: object = "a", ts: object = T0) -> bytes:
    """A click, or what someone takes for one."""
    return orjson.dumps({"click_id": click_id, "impression_id": impression_id, "ts": ts})


def impression(impression_id: str, ts: int, *, offset: int = 0, **more: object) -> Record:
    """An impression in its log, without a timestamp of Kafka's."""
    return Record(offset, -1, impression_id.encode(), impression_json(impression_id, ts, **more))


def click(click_id: str, impression_id: str, ts: int, *, offset: int = 0) -> Record:
    """A click in its log, without a timestamp of Kafka's."""
    return Record(offset, -1, impression_id.encode(), click_json(click_id, impression_id, ts))


def numbered(records: list[Record]) -> list[Record]:
    """The records as a log of their own, from offset 0."""
    return [Record(at, record.record_ts_ms, record.key, record.value) for at, record in enumerate(records)]


def record_value(record: object) -> bytes:
    """A record of clickfold's own as its worker writes it."""
    if isinstance(record, MinuteTotals):
        return pack_minute_totals(record)
    return pack_campaign_total(record) if isinstance(record, CampaignTotal) else encode(record)


def pack_campaign_total(total: CampaignTotal) -> bytes:
    """The record of one campaign's total; the join packs those of a partition together."""
    return msgspec.msgpack.encode(
        PackedCampaignTotals(
            quarter=total.quarter,
            join_partition=total.join_partition,
            version=total.version,
            final=total.final,
            campaigns=[total.campaign_id],
            measures=[narrow(np.array([getattr(total, name)], np.int64)) for name in MEASURES],
        )
    )


def pack_minute_totals(totals: MinuteTotals) -> bytes:
    """The record of these totals, from plain lists. The join makes the same of its own columns."""
    return msgspec.msgpack.encode(
        PackedMinuteTotals(
            minute=totals.minute,
            join_partition=totals.join_partition,
            version=totals.version,
            final=totals.final,
            rows=len(totals.measures[0]),
            dimensions=[_name_column(names) for names in totals.dimensions],
            measures=[narrow(np.array(numbers, np.int64)) for numbers in totals.measures],
            extra_dimensions=totals.extra_dimensions,
        )
    )


def narrow(numbers: np.ndarray[Any, np.dtype[np.int64]]) -> bytes:
    """A column of numbers from 0 to 2^63 - 1, as narrow as the largest allows."""
    largest = int(numbers.max(initial=0))
    width = next(width for width in (0, 1, 2, 4, 8) if largest < 256**width)
    return b"".join(number.to_bytes(width, "little") for number in numbers.tolist()) if width else b""


def _name_column(names: Sequence[str]) -> NameColumn:
    places = {name: place for place, name in enumerate(dict.fromkeys(names))}
    return NameColumn(list(places), narrow(np.array([places[name] for name in names], np.int64)))


def change(
    campaign: Campaign | None, *, campaign_id: str = "c1", number: int = 1, in_force_ms: int = T0
) -> CampaignChange:
    """An accepted change; of the campaign `campaign_id` where it is withdrawn."""
    named = campaign.campaign_id if campaign is not None else campaign_id
    return CampaignChange(named, number, in_force_ms, 0, number - 1, campaign)


def total(minute: int, *, version: int, final: bool = False, partition: int = 0, **more: Any) -> MinuteTotals:
    """A total of the minute-th minute of the hour; dimensions and measures not given are empty or 0."""
    given = {"campaign_id": "k1", **more}
    assert given.keys() <= {*DIMENSIONS, *MEASURES}
    return MinuteTotals(
        minute=HOUR_MS + minute * MINUTE_MS,
        join_partition=partition,
        version=version,
        final=final,
        dimensions=[[given.get(name, "")] for name in DIMENSIONS],
        measures=[[given.get(name, 0)] for name in MEASURES],
    )

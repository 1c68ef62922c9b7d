"""Records as users and clickfold write them, with every field filled in that a test is silent about."""

from __future__ import annotations

from typing import Final

import orjson

from schemas.campaigns import CampaignChange
from schemas.events import Campaign
from schemas.records import Record

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


def change(
    campaign: Campaign | None, *, campaign_id: str = "c1", number: int = 1, in_force_ms: int = T0
) -> CampaignChange:
    """An accepted change; of the campaign `campaign_id` where it is withdrawn."""
    named = campaign.campaign_id if campaign is not None else campaign_id
    return CampaignChange(named, number, in_force_ms, 0, number - 1, campaign)

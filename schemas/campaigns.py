"""What was in force of each campaign, and since when: the record of `ads.campaign_history`."""

from __future__ import annotations

import msgspec

from schemas.events import Campaign, EventMs, Id


class CampaignChange(msgspec.Struct, frozen=True):
    """One accepted record of `ads.campaigns`: from `in_force_ms` on the campaign was as `campaign` says.

    The gate in the worker `pace` writes it, in a transaction with the offset that it has judged. So each change is
    here once, in the order of its log. The topic is never compacted: it is all that says what was in force earlier.
    """

    campaign_id: Id
    """Names the campaign; also the key of the record."""
    number: int
    """1 for the first change of a campaign, one more for each later one."""
    in_force_ms: EventMs
    """Kafka's timestamp of the record in `ads.campaigns`; -1 where it has none."""
    partition: int
    """Partition of that record; the same as of this one."""
    offset: int
    """Offset of that record."""
    campaign: Campaign | None
    """What was announced; null when the campaign was withdrawn by a tombstone."""

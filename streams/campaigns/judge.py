"""What is known of the campaigns of one partition, and whether a further record of a campaign may come into force.

All of it follows from `ads.campaign_history`: `take` the changes in their order.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import xxhash

from schemas.campaigns import CampaignChange
from schemas.codec import encode
from schemas.events import Campaign
from schemas.reading import Unreadable
from schemas.rejects import Reason
from schemas.zones import zone
from streams.campaigns.terms import contradiction_of


class Place(NamedTuple):
    """Where a record of `ads.campaigns` is, and Kafka's timestamp of it."""

    partition: int
    offset: int
    record_ts_ms: int


class _Known:
    """One campaign: its last change, its last content also while it is withdrawn, and a hash of each version's."""

    __slots__ = ("contents", "last", "number")

    def __init__(self) -> None:
        self.number = 0
        self.last: Campaign | None = None
        self.contents: dict[int, int] = {}


class Campaigns:
    """The accepted campaigns of one partition. A version takes about 100 bytes, a campaign about 1 KB."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._in_force: dict[str, Campaign] = {}
        # Every record of `ads.campaigns` below this offset is judged; later ones may be.
        self.judged_below = 0
        # Of all campaigns; the fold is asked for its memory ten times a second.
        self._versions = 0

    def take(self, change: CampaignChange) -> None:
        """Takes the next accepted change. One that was taken before changes nothing."""
        self.judged_below = max(self.judged_below, change.offset + 1)
        known = self._known.setdefault(change.campaign_id, _Known())
        if change.number <= known.number:
            return
        known.number = change.number
        if change.campaign is None:
            self._in_force.pop(change.campaign_id, None)
            return
        known.last = self._in_force[change.campaign_id] = change.campaign
        self._versions -= len(known.contents)
        known.contents[change.campaign.version] = _hash(change.campaign)
        self._versions += len(known.contents)

    def announced(self, campaign: Campaign, place: Place) -> CampaignChange | Unreadable | None:
        """The change that the record makes, why it is refused, or None where it says again what was accepted."""
        known = self._known.get(campaign.campaign_id)
        if known is None or known.last is None:
            return self._first(campaign, place)
        last, content = known.last, known.contents.get(campaign.version)
        if content is not None and content != _hash(campaign):
            return Unreadable(
                Reason.VERSION,
                f"version {campaign.version} came before with other content; give other content a higher version",
            )
        withdrawn = campaign.campaign_id not in self._in_force
        if content is not None and not (withdrawn and campaign.version == last.version):
            return None
        return self._refusal(campaign, last) or self._change(campaign.campaign_id, campaign, place)

    def withdrawn(self, campaign_id: str, place: Place) -> CampaignChange | None:
        """The change that a tombstone makes; None where the campaign is not in force."""
        if campaign_id not in self._in_force:
            return None
        return self._change(campaign_id, None, place)

    def __iter__(self) -> Iterator[Campaign]:
        """The campaigns in force, by their ids."""
        return iter(sorted(self._in_force.values(), key=lambda campaign: campaign.campaign_id))

    def in_force(self, campaign_id: str) -> Campaign | None:
        """The campaign as it is in force; None for one that is not announced or was withdrawn."""
        return self._in_force.get(campaign_id)

    def last(self, campaign_id: str) -> Campaign | None:
        """What was announced last, also of a withdrawn campaign; None for one that was never announced."""
        known = self._known.get(campaign_id)
        return known.last if known is not None else None

    def state_bytes(self) -> int:
        """Memory of all of it, bytes."""
        return 1_000 * len(self._known) + 100 * self._versions

    def _first(self, campaign: Campaign, place: Place) -> CampaignChange | Unreadable:
        return self._refusal(campaign, None) or self._change(campaign.campaign_id, campaign, place)

    def _refusal(self, campaign: Campaign, last: Campaign | None) -> Unreadable | None:
        if zone(campaign.timezone) is None:
            return Unreadable(
                Reason.TIMEZONE,
                f"no time zone has the name {campaign.timezone!r}; give an IANA name, such as Asia/Tokyo",
            )
        contradiction = contradiction_of(campaign)
        if contradiction:
            return Unreadable(Reason.TERMS, contradiction)
        if last is None:
            return None
        if campaign.version < last.version:
            return Unreadable(
                Reason.VERSION,
                f"version {campaign.version} is below {last.version}, the last accepted; give it a higher version",
            )
        if last.currency is not None and campaign.currency != last.currency:
            given = "no currency" if campaign.currency is None else f"currency {campaign.currency!r}"
            return Unreadable(
                Reason.CURRENCY,
                f"{given} in place of {last.currency!r}, that of version {last.version}; a campaign keeps its "
                "currency: announce another campaign",
            )
        return None

    def _change(self, campaign_id: str, campaign: Campaign | None, place: Place) -> CampaignChange:
        known = self._known.get(campaign_id)
        return CampaignChange(
            campaign_id=campaign_id,
            number=known.number + 1 if known is not None else 1,
            in_force_ms=place.record_ts_ms,
            partition=place.partition,
            offset=place.offset,
            campaign=campaign,
        )


def _hash(campaign: Campaign) -> int:
    return xxhash.xxh3_64_intdigest(encode(campaign))

"""Campaigns in memory, judged by the real rules, in place of Kafka."""

from __future__ import annotations

from schemas.campaigns import CampaignChange
from schemas.events import Campaign
from streams.campaigns.book import Written
from streams.campaigns.judge import Campaigns, Place
from tests.factories import T0

TOKEN = "t0ken-of-sixteen-or-more"


class MemoryBook:
    """`fate` is what becomes of the next record; only an accepted one comes into force."""

    def __init__(self) -> None:
        self.fate: Written = Written("accepted", T0)
        self.wrote: list[Campaign] = []
        self._campaigns = Campaigns()
        self._changes: list[CampaignChange] = []

    def of(self, _campaign_id: str) -> Campaigns:
        return self._campaigns

    def all(self) -> list[Campaigns]:
        return [self._campaigns]

    def history(self, campaign_id: str) -> list[CampaignChange]:
        return [change for change in self._changes if change.campaign_id == campaign_id]

    def write(self, campaign: Campaign, *, wait_s: float) -> Written:
        assert wait_s < 10
        self.wrote.append(campaign)
        change = self._campaigns.announced(campaign, Place(0, len(self.wrote), T0))
        assert isinstance(change, CampaignChange)
        if self.fate.fate == "accepted":
            self._campaigns.take(change)
            self._changes.append(change)
        return self.fate

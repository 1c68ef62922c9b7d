"""Decisions as records of `ads.outcomes`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xxhash

from schemas.codec import encode
from schemas.events import Click, Impression
from schemas.outcomes import Outcome
from schemas.records import Out
from streams.join.scanned import ScannedImpressions

Int64s = npt.NDArray[np.int64]

_BEFORE_ID = len(b'{"impression_id":')


class _Around(NamedTuple):
    """The text around an id, and that before all fields of an impression: what differs between outcomes of one kind
    is their impression alone."""

    before_id: bytes
    behind_id: bytes
    before_all: bytes

    @classmethod
    def of(cls, outcome: Outcome) -> _Around:
        """That of an outcome whose id is empty."""
        before, behind = encode(outcome)[:-1].split(b'""')
        return cls(before, behind, before.removesuffix(b'"impression_id":') + behind.removeprefix(b",") + b",")


class Outcomes:
    """Writes outcomes of one join partition to the model shard of their campaign; orphans go to shard 0."""

    def __init__(self, partition: int, shards: int, *, sampled_weight: float) -> None:
        self._partition = partition
        self._shards = shards
        self._keys = [str(shard).encode() for shard in range(shards)]
        self._around_shown = _Around.of(Outcome("shown", "", partition, weight=sampled_weight))
        self._around_unclicked = _Around.of(Outcome("unclicked", "", partition, weight=sampled_weight, label=0))

    def clicked(self, impression: Impression, click: Click, *, repeat: bool) -> Out:
        """The billable click of an impression, or a later one."""
        own = Outcome(
            "repeat" if repeat else "click",
            impression.impression_id,
            self._partition,
            weight=1.0,
            label=None if repeat else 1,
            click_id=click.click_id,
            click_ts=click.ts,
            delay_ms=click.ts - impression.ts,
        )
        shard = _shard(impression.campaign_id.encode(), self._shards)
        return Out("outcomes", self._keys[shard], encode(own)[:-1] + _texts(impression)[1], shard)

    def shown(self, impressions: ScannedImpressions, places: Int64s) -> list[Out]:
        """The impressions at these places are accepted; nothing is decided about them yet."""
        return self._sampled(impressions, places, self._around_shown)

    def unclicked(self, impressions: ScannedImpressions, places: Int64s) -> list[Out]:
        """Their window passed without a billable click."""
        return self._sampled(impressions, places, self._around_unclicked)

    def orphan(self, click: Click) -> Out:
        """No impression matches this click."""
        outcome = Outcome("orphan", click.impression_id, self._partition, click_id=click.click_id, click_ts=click.ts)
        return Out("outcomes", b"0", encode(outcome), 0)

    def _sampled(self, impressions: ScannedImpressions, places: Int64s, around: _Around) -> list[Out]:
        outs = []
        for place, plain in zip(places.tolist(), impressions.plain(places), strict=True):
            if plain is None:
                impression = impressions[place]
                campaign = impression.campaign_id.encode()
                impression_id, after_id = _texts(impression)
                value = around.before_id + impression_id + around.behind_id + after_id
            else:
                campaign, fields = plain
                value = around.before_all + fields
            shard = _shard(campaign, self._shards)
            outs.append(Out("outcomes", self._keys[shard], value, shard))
        return outs


def shard_of(campaign_id: str | None, shards: int) -> int:
    """The model shard of the outcomes of a campaign; that of orphans, which have none, is 0."""
    return _shard(campaign_id.encode(), shards) if campaign_id is not None else 0


def _shard(campaign: bytes, shards: int) -> int:
    return 0 if shards == 1 else xxhash.xxh3_64_intdigest(campaign) % shards


def _texts(impression: Impression) -> tuple[bytes, bytes]:
    """The id as JSON, and the text of all fields after it.

    They are the last fields of an outcome, in the same order. To copy their text takes a third of the time of a struct
    with all of them.
    """
    impression_id, text = encode(impression.impression_id), encode(impression)
    return impression_id, text[_BEFORE_ID + len(impression_id) :]

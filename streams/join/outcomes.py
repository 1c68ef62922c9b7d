"""Decisions as records of `ads.outcomes`."""

from __future__ import annotations

import xxhash

from schemas.codec import encode
from schemas.events import Click, Impression
from schemas.outcomes import Outcome
from schemas.records import Out

_BEFORE_ID = len(b'{"impression_id":')


class Outcomes:
    """Writes outcomes of one join partition to the model shard of their campaign; orphans go to shard 0."""

    def __init__(self, partition: int, shards: int, *, sampled_weight: float) -> None:
        self._partition = partition
        self._shards = shards
        # The texts around the id, which is all that differs: 5 % of impressions become one of each.
        self._around_shown = _around_id(Outcome("shown", "", partition, weight=sampled_weight))
        self._around_unclicked = _around_id(Outcome("unclicked", "", partition, weight=sampled_weight, label=0))
        before, behind = self._around_shown
        self._before_plain = before.removesuffix(b'"impression_id":') + behind.removeprefix(b",") + b","

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
        shard = self._shard(impression)
        return Out("outcomes", str(shard).encode(), encode(own)[:-1] + _texts(impression)[1], shard)

    def shown(self, impression: Impression) -> Out:
        """The impression is accepted; nothing is decided about it yet."""
        return self._sampled(impression, self._around_shown)

    def shown_plain(self, campaign: bytes, text: bytes) -> Out:
        """The same of an impression that is this JSON object of known fields. It takes a fifth of the time."""
        shard = xxhash.xxh3_64_intdigest(campaign) % self._shards
        return Out("outcomes", str(shard).encode(), self._before_plain + text[1:], shard)

    def unclicked(self, impression: Impression) -> Out:
        """The window passed without a billable click."""
        return self._sampled(impression, self._around_unclicked)

    def orphan(self, click: Click) -> Out:
        """No impression matches this click."""
        outcome = Outcome("orphan", click.impression_id, self._partition, click_id=click.click_id, click_ts=click.ts)
        return Out("outcomes", b"0", encode(outcome), 0)

    def _sampled(self, impression: Impression, around: tuple[bytes, bytes]) -> Out:
        impression_id, after_id = _texts(impression)
        shard, (before, behind) = self._shard(impression), around
        return Out("outcomes", str(shard).encode(), before + impression_id + behind + after_id, shard)

    def _shard(self, impression: Impression) -> int:
        if self._shards == 1:
            return 0
        return xxhash.xxh3_64_intdigest(impression.campaign_id.encode()) % self._shards


def _around_id(outcome: Outcome) -> tuple[bytes, bytes]:
    """The text before and after the id of an outcome whose id is empty."""
    before, behind = encode(outcome)[:-1].split(b'""')
    return before, behind


def _texts(impression: Impression) -> tuple[bytes, bytes]:
    """The id as JSON, and the text of all fields after it.

    They are the last fields of an outcome, in the same order. To copy their text takes a third of the time of a struct
    with all of them.
    """
    impression_id, text = encode(impression.impression_id), encode(impression)
    return impression_id, text[_BEFORE_ID + len(impression_id) :]

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

    def __init__(self, partition: int, shards: int, *, unclicked_weight: float) -> None:
        self._partition = partition
        self._shards = shards
        # The text of an unclicked one around its id, which is all that differs: 5 % of impressions become one.
        own = Outcome("unclicked", "", partition, weight=unclicked_weight, label=0)
        self._around = encode(own)[:-1].split(b'""')

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

    def unclicked(self, impression: Impression) -> Out:
        """The window passed without a billable click."""
        impression_id, after_id = _texts(impression)
        shard, before, behind = self._shard(impression), *self._around
        return Out("outcomes", str(shard).encode(), before + impression_id + behind + after_id, shard)

    def orphan(self, click: Click) -> Out:
        """No impression matches this click."""
        outcome = Outcome("orphan", click.impression_id, self._partition, click_id=click.click_id, click_ts=click.ts)
        return Out("outcomes", b"0", encode(outcome), 0)

    def _shard(self, impression: Impression) -> int:
        if self._shards == 1:
            return 0
        return xxhash.xxh3_64_intdigest(impression.campaign_id.encode()) % self._shards


def _texts(impression: Impression) -> tuple[bytes, bytes]:
    """The id as JSON, and the text of all fields after it.

    They are the last fields of an outcome, in the same order. To copy their text takes a third of the time of a struct
    with all of them.
    """
    impression_id, text = encode(impression.impression_id), encode(impression)
    return impression_id, text[_BEFORE_ID + len(impression_id) :]

"""Decisions as records of `ads.outcomes`."""

from __future__ import annotations

import xxhash

from schemas.codec import encode
from schemas.events import Click, Impression
from schemas.outcomes import Outcome, OutcomeKind
from schemas.records import Out

_BEFORE_ID = len(b'{"impression_id":')


class Outcomes:
    """Writes outcomes of one join partition to the model shard of their campaign; orphans go to shard 0."""

    def __init__(self, partition: int, shards: int, *, unclicked_weight: float) -> None:
        self._partition = partition
        self._shards = shards
        self._unclicked_weight = unclicked_weight

    def clicked(self, impression: Impression, click: Click, *, repeat: bool) -> Out:
        """The billable click of an impression, or a later one."""
        return self._out(impression, "repeat" if repeat else "click", None if repeat else 1, click)

    def unclicked(self, impression: Impression) -> Out:
        """The window passed without a billable click."""
        return self._out(impression, "unclicked", 0, None)

    def orphan(self, click: Click) -> Out:
        """No impression matches this click."""
        outcome = Outcome("orphan", click.impression_id, self._partition, click_id=click.click_id, click_ts=click.ts)
        return Out("outcomes", b"0", encode(outcome), 0)

    def _out(self, impression: Impression, kind: OutcomeKind, label: int | None, click: Click | None) -> Out:
        own = Outcome(
            kind,
            impression.impression_id,
            self._partition,
            weight=self._unclicked_weight if kind == "unclicked" else 1.0,
            label=label,
            click_id=click.click_id if click else None,
            click_ts=click.ts if click else None,
            delay_ms=click.ts - impression.ts if click else None,
        )
        # The fields of an impression after its id are the last ones of an outcome, in the same order. To copy their
        # text takes a third of the time of a struct with all of them.
        after_id = encode(impression)[_BEFORE_ID + len(encode(impression.impression_id)) :]
        shard = xxhash.xxh3_64_intdigest(impression.campaign_id.encode()) % self._shards
        return Out("outcomes", str(shard).encode(), encode(own)[:-1] + after_id, shard)

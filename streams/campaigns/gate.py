"""The gate as a fold: records of `ads.campaigns` in; `ads.campaign_history` and dead letters out.

Its state is `ads.campaign_history` itself, which is the fold's side log: an owner of a partition reads all of it before
it judges. So a checkpoint holds an offset only, and a replay up to the committed offset judges nothing: what came of
those records is in the history already, or among the dead letters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from schemas.campaigns import CampaignChange
from schemas.codec import decode, decoder, encode
from schemas.events import MAX_OWN_RECORD_BYTES, Campaign, decode_event
from schemas.frame import Frame
from schemas.reading import Unreadable, read
from schemas.records import Out, Records
from schemas.rejects import Reason, rejected
from streams.campaigns.judge import Campaigns, Place
from streams.engine.fold import Fold

INPUT: Final = "campaigns"
HISTORY: Final = "campaign_history"
_FRAME: Final = Frame(magic=b"clickfold gate", format=b" 1")


class GateMark(msgspec.Struct, frozen=True):
    """Commit metadata of the gate: the next offset of `ads.campaigns`."""

    next_offset: int


class GateFold(Fold):
    """One partition of `ads.campaigns`.

    `topic` is the name of its topic. `belongs` returns the partition of a key. `counts` is counted on: records by fate,
    which is accepted, unchanged (says again what was accepted) or the reason of a refusal. `campaigns` are those of the
    partition, as judged so far.
    """

    def __init__(
        self, *, partition: int, topic: str, belongs: Callable[[bytes], int], counts: Counter[str] | None = None
    ) -> None:
        self._partition = partition
        self._topic = topic
        self._belongs = belongs
        self._counts = Counter[str]() if counts is None else counts
        self.campaigns = Campaigns()
        self._next_offset = 0
        # Records below are judged.
        self._judged_below = 0

    def step(self, records: Records) -> list[Out]:
        """Judges records that were not judged before."""
        outs: list[Out] = []
        for row, offset in enumerate(records.offsets):
            self._next_offset = offset + 1
            if offset >= self._judged_below:
                outs += self._judge(records, row)
        return outs

    def positions(self) -> dict[str, int]:
        """The next offset of `ads.campaigns`."""
        return {INPUT: self._next_offset}

    def state_bytes(self) -> int:
        """Memory of the campaigns."""
        return self.campaigns.state_bytes()

    def begin(self, mark: bytes | None, *, offsets: dict[str, int], epoch: int) -> list[Out]:  # noqa: ARG002
        """Takes ownership. The group fences former owners, so no epoch is needed."""
        if mark is None:
            self._next_offset = offsets[INPUT]
        self._judged_below = self._next_offset if mark is None else decode(mark, GateMark).next_offset
        return []

    def take_side_log(self, records: Records) -> None:
        """Takes the history. A record that is none is passed over, as by all who read the topic."""
        for value in records.values:
            change = read(value, decoder(CampaignChange).decode, max_bytes=MAX_OWN_RECORD_BYTES)
            if not isinstance(change, Unreadable):
                self.campaigns.take(change)

    def mark(self) -> bytes:
        """The next offset."""
        return encode(GateMark(max(self._next_offset, self._judged_below)))

    def resume(self, mark: bytes) -> None:
        """Nothing is left to decide."""

    def rebuild_offsets(self, mark: bytes) -> dict[str, int]:
        """The committed offset: no record before it is needed."""
        return {INPUT: decode(mark, GateMark).next_offset}

    def rebuild(self, mark: bytes) -> None:
        """Goes on at the committed offset."""
        self._next_offset = decode(mark, GateMark).next_offset

    def skip_to(self, offsets: Mapping[str, int]) -> None:
        """Goes on at a later offset: records that Kafka deleted before they were judged came into force never."""
        self._next_offset = offsets[INPUT]

    def snapshot(self) -> bytes:
        """The next offset."""
        return _FRAME.wrap(self.mark())

    def restore(self, snapshot: bytes) -> None:
        """Goes on at the offset of a snapshot."""
        self._next_offset = decode(bytes(_FRAME.unwrap(snapshot, "the checkpoint of the gate")), GateMark).next_offset

    def _judge(self, records: Records, row: int) -> list[Out]:
        key, value = records.keys[row], records.values[row]
        place = Place(self._partition, records.offsets[row], records.timestamps[row])
        judged = self._judged(key, value, place)
        if judged is None:
            self._counts["unchanged"] += 1
            return []
        if isinstance(judged, CampaignChange):
            self._counts["accepted"] += 1
            self.campaigns.take(judged)
            return [Out(HISTORY, judged.campaign_id.encode(), encode(judged), self._partition)]
        self._counts[judged.reason.value] += 1
        letter = rejected(judged.reason, judged.detail, value, topic=self._topic, **place._asdict())
        return [Out("rejects", None, encode(letter), 0)]

    def _judged(self, key: bytes | None, value: bytes | None, place: Place) -> CampaignChange | Unreadable | None:
        if value is None and key is not None:
            return self.campaigns.withdrawn(key.decode(errors="replace"), place)
        campaign = read(value, _campaign)
        if isinstance(campaign, Unreadable):
            return campaign
        if key != campaign.campaign_id.encode():
            return Unreadable(Reason.KEY, "the Kafka key is not the campaign id")
        if (partition := self._belongs(key)) != self._partition:
            return Unreadable(
                Reason.KEY,
                f"the key belongs to partition {partition}; produce with Java's partitioner (librdkafka: "
                "partitioner=murmur2_random)",
            )
        return self.campaigns.announced(campaign, place)


def _campaign(value: bytes) -> Campaign:
    # As in files: a whole number may be written as 5e6.
    return decode_event(value, Campaign)

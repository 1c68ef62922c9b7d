"""How a decision reaches the ad server: its version, its key, and how it is sent.

    campaign (budget, plan, flight) ──┐
    counters of its local day ────────┼─→ law ─→ worth a record? ─→ publish ─→ `ads.pacing`
    what the join has counted ────────┘

`Paced.tick` decides on every campaign once a tick and returns what is worth a record. The topic is compacted and keyed
by campaign: an ad server reads it from the start and keeps the last record of each campaign (`gate` does it). A
tombstone says that a campaign is forgotten.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from schemas.codec import encode
from schemas.pacing import PacingDecision

ROLE: Final = "pacing"
# A version is the epoch of the partition's owner (seconds since 1970) and the number of the tick, 20 bits: a decision
# of a former owner is never newer than one of its successor. After 2^20 ticks, 12 days, versions go on as those of the
# next epoch; a successor's is then days later, and it is above the versions in the changelog whatever its clock says.
_TICK_BITS: Final = 20

# Sends records (partition, key, value) to a topic, and returns when Kafka has acknowledged all of them.
Send = Callable[[str, Iterable[tuple[int, bytes, bytes | None]]], Awaitable[None]]


def first_version(epoch: int) -> int:
    """Below the versions of all decisions that the owner of this epoch makes, and above those before it."""
    return epoch << _TICK_BITS


def epoch_above(version: int) -> int:
    """The lowest epoch whose versions are all above this one."""
    return (version >> _TICK_BITS) + 1


async def publish(
    decisions: Iterable[tuple[int, PacingDecision]], forgotten: Iterable[tuple[int, str]], topic: str, send: Send
) -> None:
    """Sends decisions, and tombstones of forgotten campaigns, each with the partition its campaign has in every topic
    of pacing. Returns when all are acknowledged."""
    records = [(partition, decision.campaign_id.encode(), encode(decision)) for partition, decision in decisions]
    await send(topic, [*records, *((partition, campaign_id.encode(), None) for partition, campaign_id in forgotten)])

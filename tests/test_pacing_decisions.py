"""How a decision reaches the ad server: its version, its key, and the record that is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from msgspec.structs import replace

from schemas.codec import decode
from schemas.pacing import PacingDecision
from streams.pacing.decisions import next_version, publish

DECISION = PacingDecision("c1", 7, 1_000, 0, "on_plan", 0.5, 100, 40, 41, 9, 2)


def test_versions_grow_with_every_decision_and_every_owner() -> None:
    epoch = 1_700_000_000
    first = next_version(None, epoch=epoch)
    assert first == epoch << 20
    assert next_version(replace(DECISION, version=first), epoch=epoch) == first + 1
    assert next_version(replace(DECISION, version=first + 900), epoch=epoch + 1) == (epoch + 1) << 20
    # The clock of the next owner may be behind.
    assert next_version(replace(DECISION, version=first), epoch=1) == first + 1


def test_decisions_are_sent_at_once_keyed_by_campaign_to_the_partition_of_the_campaign() -> None:
    sent: list[tuple[str, list[tuple[int, bytes, bytes | None]]]] = []

    async def send(topic: str, records: Iterable[tuple[int, bytes, bytes | None]]) -> None:
        sent.append((topic, list(records)))

    other = replace(DECISION, campaign_id="ä")
    asyncio.run(publish([(3, DECISION), (0, other)], "ads.pacing", send))
    [(topic, records)] = sent
    assert topic == "ads.pacing"
    assert [record[:2] for record in records] == [(3, b"c1"), (0, "ä".encode())]
    assert [decode(value or b"", PacingDecision) for _, _, value in records] == [DECISION, other]

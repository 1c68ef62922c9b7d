"""How a decision reaches the ad server: its version, its key, and the record that is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from msgspec.structs import replace

from schemas.codec import decode
from schemas.pacing import PacingDecision
from streams.pacing.decisions import epoch_above, first_version, publish

DECISION = PacingDecision("c1", 7, 1_000, 0, "on_plan", 0.5, 100, 40, 41, 9, 2)


def test_versions_of_a_later_owner_are_above_those_of_the_one_before() -> None:
    epoch = 1_700_000_000
    assert first_version(epoch) == epoch << 20
    for tick in (0, 1, (1 << 20) - 1, 1 << 20, 5 << 20):
        version = first_version(epoch) + tick
        assert first_version(epoch_above(version)) > version
        assert epoch_above(version) > epoch


def test_decisions_are_sent_at_once_keyed_by_campaign_to_the_partition_of_the_campaign() -> None:
    sent: list[tuple[str, list[tuple[int, bytes, bytes | None]]]] = []

    async def send(topic: str, records: Iterable[tuple[int, bytes, bytes | None]]) -> None:
        sent.append((topic, list(records)))

    other = replace(DECISION, campaign_id="ä")
    asyncio.run(publish([(3, DECISION), (0, other)], [(2, "gone")], "ads.pacing", send))
    [(topic, records)] = sent
    assert topic == "ads.pacing"
    assert [record[:2] for record in records] == [(3, b"c1"), (0, "ä".encode()), (2, b"gone")]
    assert [decode(value or b"", PacingDecision) for _, _, value in records[:2]] == [DECISION, other]
    assert records[2][2] is None

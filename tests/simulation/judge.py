"""What must hold after any schedule: committed outputs equal the batch truth, and each log is sound in itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable

from schemas.codec import decode
from schemas.packed import campaign_totals, minute_totals
from schemas.records import Out
from schemas.totals import DIMENSIONS, MEASURES, Ledger
from streams.verify.oracle import truth
from tests.judging import assert_agrees, partition_of
from tests.simulation.world import World


def check(world: World) -> None:
    """Raises AssertionError with the first difference."""
    assert not world.distrusted, world.distrusted[0]
    outs: dict[int, list[Out]] = defaultdict(list)
    for out in world.broker.outputs():
        outs[partition_of(out)].append(out)
    for partition in range(world.partitions):
        seals = world.broker.seals(partition)
        judged = truth(
            world.records("impressions", partition),
            world.records("clicks", partition),
            world.bounds,
            seals=seals,
            partition=partition,
            ended=world.ended,
            extra=world.extra,
        )
        check_order(outs[partition])
        assert_agrees(outs[partition], judged)


def check_order(outs: list[Out]) -> None:
    """In committed order each total's and ledger's version grows, nothing follows what is final, ledgers balance."""
    last: dict[Hashable, tuple[int, bool]] = {}
    consumed = (0, 0)

    def grows(key: Hashable, version: int, *, final: bool) -> None:
        before, was_final = last.get(key, (-1, False))
        assert version > before, f"{key} was sent with version {version} after {before}"
        assert not was_final, f"{key} was sent again, with version {version}, after it was final"
        last[key] = version, final

    for out in outs:
        if out.topic == "totals":
            for row in minute_totals(out.value or b"").rows():
                grows(
                    (row.minute, *(getattr(row, name) for name in DIMENSIONS), row.extra), row.version, final=row.final
                )
                assert any(getattr(row, name) for name in MEASURES), f"an empty total was sent: {row}"
        elif out.topic == "campaign_totals":
            for total in campaign_totals(out.value or b""):
                grows((total.campaign_id, total.quarter), total.version, final=total.final)
        elif out.topic == "ledger":
            ledger = decode(out.value or b"", Ledger)
            grows("ledger", ledger.version, final=False)
            assert ledger.imbalance() == ""
            now = ledger.impressions.consumed, ledger.clicks.consumed
            assert all(after >= before for after, before in zip(now, consumed, strict=True)), (
                f"the ledger went back from {consumed} to {now}"
            )
            consumed = now

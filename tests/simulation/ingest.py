"""Histories of ingest: the workers of `world`, each a real Runner with real ingest folds, on the partitions of a topic.

What must hold after any of them: each record of the source became what a direct mapping makes of it, once, in order.
"""

from __future__ import annotations

from collections import Counter
from random import Random

from schemas.codec import decode
from schemas.records import Out, Record
from schemas.rejects import Rejected
from streams.engine.fold import Fold
from streams.engine.ports import Disk
from streams.ingest.fold import IngestFold
from tests.ingesting import TOPIC, directly, source, traffic
from tests.simulation.broker import Broker
from tests.simulation.later import no_threads
from tests.simulation.world import World

_SOURCE = source()


class SourceProducers:
    """Appends a few records a call to some partitions of the source."""

    def __init__(self, broker: Broker, random: Random) -> None:
        self._broker = broker
        self._random = random
        self._values = traffic(100_000, random.randrange(2**32))

    def produce(self) -> None:
        for log in self._broker.inputs.values():
            for _ in range(self._random.choice([0, 0, 1, 4])):
                # Now and then the marker of a producer's own transaction.
                offset = log.end + self._random.choice([0, 0, 0, 1])
                log.append(Record(offset, 1_000 + offset, b"any", next(self._values)))


class IngestWorld(World):
    """Everything of one schedule of ingest workers."""

    roles = (TOPIC,)
    counts = False

    def make_producers(self) -> SourceProducers:
        return SourceProducers(self.broker, self.random)

    def make_fold(self, partition: int, disk: Disk) -> Fold:
        return IngestFold(_SOURCE, partition=partition)


def run(seed: int) -> tuple[IngestWorld, AssertionError | None]:
    """One history, and what is wrong with it."""
    world = IngestWorld(seed)
    try:
        with no_threads():
            world.history()
            check(world)
    except AssertionError as error:
        return world, error
    return world, None


def check(world: IngestWorld) -> None:
    """Raises AssertionError with the first difference."""
    found = list(world.broker.outputs())
    wanted: list[Out] = []
    for (_, partition), log in world.broker.inputs.items():
        values = [record.value for record in log.records]
        wanted += directly(values, partition=partition, offsets=[record.offset for record in log.records])
    differing = _compared(found) - _compared(wanted), _compared(wanted) - _compared(found)
    assert differing == (Counter(), Counter()), f"written more than once, or wrongly, and missing: {differing}"


def _compared(outs: list[Out]) -> Counter[tuple[str, bytes | None, object]]:
    return Counter((out.topic, out.key, _place(out) if out.topic == "rejects" else out.value) for out in outs)


def _place(out: Out) -> tuple[object, ...]:
    letter = decode(out.value or b"", Rejected)
    return letter.reason, letter.partition, letter.offset, letter.xxh3

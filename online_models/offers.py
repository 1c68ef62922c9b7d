"""The versions that a learner publishes: of each model when it is due, unless something is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence

from online_models.lineup import Entrant
from online_models.mixture.rows import HASH_VERSION
from online_models.publishing import model_digest, model_records, place_of
from online_models.release import Held, Publisher, Recent, measured
from online_models.snapshot import LearnerCounts
from schemas.models import MODEL_FORMAT, ModelManifest
from schemas.records import Out


class Offers:
    """What was published of each model; not part of the state."""

    def __init__(self, *, shard: int, publish_ms: int, models: int) -> None:
        self._shard, self._publish_ms = shard, publish_ms
        self._publishers = [Publisher() for _ in range(models)]

    def read(self, length: int) -> None:
        """So many bytes of outcomes were read."""
        for publisher in self._publishers:
            publisher.read(length)

    def resumed(self, offset: int) -> None:
        """The state is the one that was committed, so what was due at its offset is published already."""
        for publisher in self._publishers:
            publisher.tried(offset=offset, event_ms=0)

    def due(
        self,
        entrants: Sequence[Entrant],
        recent: Sequence[Sequence[Recent]],
        *,
        counts: LearnerCounts,
        offset: int,
        event_ms: int,
        ended: bool,
    ) -> list[Out]:
        """The records of one model that is due, with its measures from `recent`; the one that waits longest goes first.

        So a transaction has one model at most, however many challengers there are. A version is due some event time
        after the last one, and at the end. Its number is twice the next offset, and one more at the end: then clicks
        that waited are learned at an offset that may have been published.
        """
        for publisher in self._publishers:
            publisher.starve(consumed=counts.consumed, learned=counts.learned)
        for number in sorted(range(len(entrants)), key=lambda number: self._publishers[number].event_ms):
            publisher = self._publishers[number]
            if publisher.is_due(offset=offset, event_ms=event_ms, publish_ms=self._publish_ms, ended=ended):
                place = place_of(publisher.published, event_ms=event_ms, before_ms=publisher.event_ms)
                publisher.tried(offset=offset, event_ms=event_ms, ended=ended)
                version = self._version(entrants[number], recent[number], offset=offset, event_ms=event_ms, ended=ended)
                records = self._offered(entrants[number], publisher, version, recent[number], counts.learned, place)
                if records:
                    return records
        return []

    def _version(
        self, entrant: Entrant, recent: Sequence[Recent], *, offset: int, event_ms: int, ended: bool
    ) -> ModelManifest:
        """The manifest of a model as it is now, without what its bytes decide."""
        return ModelManifest(
            format=MODEL_FORMAT,
            model=entrant.name,
            shard=self._shard,
            version=2 * offset + ended,
            next_offset=offset,
            event_ms=event_ms,
            kind=entrant.model.kind,
            hash_version=HASH_VERSION,
            settings=entrant.model.config(),
            parts=0,
            bytes=0,
            digest="",
            measures=measured(recent),
        )

    def _offered(
        self,
        entrant: Entrant,
        publisher: Publisher,
        version: ModelManifest,
        recent: Sequence[Recent],
        learned: int,
        place: str,
    ) -> list[Out]:
        """The records of a version; none if something is wrong with it, or nothing was learned since the last one."""
        fault: Held = entrant.model.fault()
        data = entrant.model.snapshot() if not fault else b""
        digest = model_digest(data)
        if not publisher.judge(digest, learned=learned, fault=fault, recent=recent):
            return []
        records = model_records(version, data, place)
        publisher.sent(digest, learned=learned, length=sum(len(record.value or b"") for record in records))
        return records

    def held(self, entrants: Sequence[Entrant]) -> dict[str, Held]:
        """Why the last version of each model was not published; empty if it was."""
        return {each.name: publisher.held for each, publisher in zip(entrants, self._publishers, strict=True)}

    def published(self, entrants: Sequence[Entrant]) -> dict[str, int]:
        """How many versions of each model were published since the start."""
        return {each.name: publisher.published for each, publisher in zip(entrants, self._publishers, strict=True)}

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
        """The records of every model that is due, with its measures from `recent`.

        A version is due some event time after the last one, and at the end. Its number is twice the next offset, and
        one more at the end: then clicks that waited are learned at an offset that may have been published.
        """
        outs: list[Out] = []
        for entrant, publisher, windows in zip(entrants, self._publishers, recent, strict=True):
            publisher.starve(consumed=counts.consumed, learned=counts.learned)
            if not publisher.is_due(offset=offset, event_ms=event_ms, publish_ms=self._publish_ms, ended=ended):
                continue
            place = place_of(publisher.published, event_ms=event_ms, before_ms=publisher.event_ms)
            publisher.tried(offset=offset, event_ms=event_ms, ended=ended)
            fault: Held = entrant.model.fault()
            data = entrant.model.snapshot() if not fault else b""
            digest = model_digest(data)
            if not publisher.judge(digest, learned=counts.learned, fault=fault, recent=windows):
                continue
            manifest = ModelManifest(
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
                digest=digest,
                measures=measured(windows),
            )
            records = model_records(manifest, data, place)
            publisher.sent(digest, learned=counts.learned, length=sum(len(record.value or b"") for record in records))
            outs += records
        return outs

    def held(self, entrants: Sequence[Entrant]) -> dict[str, Held]:
        """Why the last version of each model was not published; empty if it was."""
        return {each.name: publisher.held for each, publisher in zip(entrants, self._publishers, strict=True)}

    def published(self, entrants: Sequence[Entrant]) -> dict[str, int]:
        """How many versions of each model were published since the start."""
        return {each.name: publisher.published for each, publisher in zip(entrants, self._publishers, strict=True)}

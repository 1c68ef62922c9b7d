"""Compares what ingest has written with a direct mapping of its sources, as far as it has committed them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from typing import Any, Final

from schemas.codec import decode
from schemas.errors import SettingsError
from schemas.records import Record
from schemas.rejects import Rejected
from streams.ingest.schemas import Schemas
from streams.ingest.source import Source
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.reads import bounds_consumer, log_bounds, stream_log
from streams.verify.check import Check, HashedValues, hash_of
from streams.verify.settled import committed_offsets

_LOGS: Final = ("impressions", "clicks")
_BATCH: Final = 5_000


class IngestVerification:
    """Reads the sources and the outputs of a group. Workers may keep running.

    What was committed before the outputs are read must be in them; of what is committed afterwards, some may be. Other
    records of the outputs, which other producers have written, are passed over.
    """

    def __init__(self, cluster: Cluster, group: str, sources: Sequence[Source], schemas: Schemas | None) -> None:
        """Raises SettingsError for a source that does not exist."""
        self._cluster = cluster
        self._group = group
        self._sources = sources
        self._schemas = schemas
        self._counts = Admin(cluster).require((*_LOGS, "rejects"))
        for source in sources:
            if source.topic not in self._counts:
                raise SettingsError(f"--source {source.topic}: there is no such topic; correct the name")

    def check(self, *, max_shown: int) -> Check:
        """Each record of the sources became what it must, once."""
        check = Check("ingest", max_shown=max_shown)
        before = self._committed()
        found, first_kept_ms = self._written()
        after = self._committed()
        must, may = HashedValues(), HashedValues()
        for source in self._sources:
            for partition in range(self._counts[source.topic]):
                place = source.topic, partition
                for record, value in self._mapped(source, partition, after[place]):
                    may.add(value)
                    if record.offset < before[place] and record.record_ts_ms >= first_kept_ms:
                        must.add(value)
        check.compared = len(must)
        missing = {hash_: -count for hash_, count in found.surplus_over(must).items() if count < 0}
        repeated = {hash_: count for hash_, count in found.surplus_over(may).items() if count > 0}
        of_sources = may.among(repeated)
        repeated = {hash_: count for hash_, count in repeated.items() if hash_ in of_sources}
        shown = dict(self._values({*missing, *repeated}, after)) if missing or repeated else {}
        for what, differing in (("missing", missing), ("too many", repeated)):
            for hash_, count in sorted(differing.items()):
                check.differ(f"{count} {what}: {shown.get(hash_, f'hash {hash_:016x}')}", times=count)
        if first_kept_ms:
            check.notes.append("records of the sources before the first that Kafka keeps of the outputs are left out")
        return check

    def _committed(self) -> dict[tuple[str, int], int]:
        return {
            (source.topic, partition): offset
            for source in self._sources
            for partition, offset in committed_offsets(
                self._cluster, self._group, source.topic, self._counts[source.topic]
            ).items()
        }

    def _written(self) -> tuple[HashedValues, int]:
        """The outputs, and the time of the first that Kafka keeps where it has deleted some, else 0."""
        found, first_kept_ms = HashedValues(), 0
        topics = {source.topic for source in self._sources}
        with closing(bounds_consumer(self._cluster)) as asking:
            for log in (*_LOGS, "rejects"):
                topic = self._cluster.topic(log)
                for partition in range(self._counts[topic]):
                    deleted = log_bounds(asking, topic, partition)[0] > 0
                    for record in stream_log(self._cluster, topic, partition):
                        if deleted:
                            first_kept_ms, deleted = max(first_kept_ms, record.record_ts_ms), False
                        if (value := _output(log, record, topics)) is not None:
                            found.add(value)
        return found, first_kept_ms

    def _mapped(self, source: Source, partition: int, stop: int) -> Iterator[tuple[Record, tuple[Any, ...]]]:
        """What the records of a partition must have become, each with the record."""
        records = stream_log(
            self._cluster, source.topic, partition, stop=max(stop, 0), with_headers=source.with_headers
        )
        while batch := list(islice(records, _BATCH)):
            values = [record.value for record in batch]
            headers = [record.headers for record in batch] if source.with_headers else None
            if self._schemas is not None:
                self._schemas.learn_all(values, headers)
            taken = source.take(values, headers)
            for log, events in taken.events.items():
                for place, key, value in zip(events.places, events.keys, events.values, strict=True):
                    yield batch[place], (log, key.decode(), value.decode())
            for place in taken.refused:
                yield batch[place], ("rejects", source.topic, partition, batch[place].offset)

    def _values(
        self, hashes: Collection[int], stops: dict[tuple[str, int], int]
    ) -> Iterable[tuple[int, tuple[Any, ...]]]:
        """(hash, value) for hashes of what the sources' records became, to name them."""
        for source in self._sources:
            for partition in range(self._counts[source.topic]):
                for record, value in self._mapped(source, partition, stops[source.topic, partition]):
                    if (hash_ := hash_of(value)) in hashes:
                        yield hash_, (*value, f"of {source.topic}[{partition}] offset {record.offset}")


def _output(log: str, record: Record, topics: Collection[str]) -> tuple[Any, ...] | None:
    if log != "rejects":
        return log, (record.key or b"").decode("utf-8", "replace"), (record.value or b"").decode("utf-8", "replace")
    try:
        letter = decode(record.value or b"", Rejected)
    except ValueError:
        return None
    return ("rejects", letter.topic, letter.partition, letter.offset) if letter.topic in topics else None

"""The ingest worker: its settings, what it checks at its start, and how its folds are made."""

from __future__ import annotations

import contextlib
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from prometheus_client.core import Metric

from schemas.compiled import load_kernels
from schemas.errors import SettingsError, Transient
from schemas.records import Headers
from schemas.topics import TOPICS
from streams.engine.fold import Fold
from streams.engine.layout import Independent
from streams.engine.pace import RunnerProgress
from streams.engine.ports import Disk, Log
from streams.engine.runner import Runner
from streams.ingest.awaiting import AwaitingLog, Waiting
from streams.ingest.fold import IngestFold
from streams.ingest.said import passed_over
from streams.ingest.schemas import Schemas
from streams.ingest.source import Source
from streams.kafka.admin import Admin
from streams.kafka.groups import has_begun
from streams.kafka.log import KafkaLog
from streams.kafka.reads import sample_records
from streams.kafka.topic_watch import TopicWatch
from streams.kafka.watched import ingest_topics
from streams.state.disk import Folder
from streams.worker.memory import collect_rarely, return_freed
from streams.worker.metrics import ingest_metrics
from streams.worker.runners import SystemClock, WorkerSettings, held_folder, slot_of
from streams.worker.workers import RunnerWorker

OUTPUTS: Final = ("impressions", "clicks", "rejects")
# So many of the newest records of each source show at the first start whether its mapping is one of them.
_SAMPLED: Final = 1_000

Counts = Mapping[str, Counter[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestSettings(WorkerSettings):
    """An ingest worker: the sources, of different topics. `new_mapping`: see `IngestFold`."""

    sources: Sequence[Source]
    # Of the values of all sources; None where they are plain JSON.
    schemas: Schemas | None = None
    new_mapping: bool = False
    # A static member that comes back gets the partitions it had, and none that a source was given meanwhile. Nothing is
    # kept of a partition, so one that moves costs nothing.
    static: bool = False
    group: str = "clickfold-ingest"
    # What became of the records, by source; counted on by every try.
    waiting: Waiting = field(default_factory=Waiting)
    counts: Counts = field(default_factory=lambda: defaultdict(Counter))


class IngestWorker(RunnerWorker):
    """A runner over sources, with what became of their records."""

    def __init__(self, settings: IngestSettings) -> None:
        super().__init__("ingest", partial(ingest_runner, settings))
        self._settings = settings

    def ready(self) -> bool:
        """Whether the runner works on all its partitions and waits for no registry."""
        return super().ready() and not self._settings.waiting.why

    def metrics(self) -> Iterator[Metric]:
        """Those of a runner, and by source what became of the records."""
        yield from super().metrics()
        yield from ingest_metrics(self._settings.counts, waiting=bool(self._settings.waiting.why))


@contextlib.contextmanager
def ingest_runner(
    settings: IngestSettings,
    warn: Callable[[str], None],
    *,
    progress: RunnerProgress | None = None,
    beat: Callable[[], None] = lambda: None,
) -> Iterator[Runner]:
    """A runner over the partitions of all sources, each by itself. Raises SettingsError before it reads.

    `progress` and `beat` are given to the Runner.
    """
    return_freed()
    collect_rarely()
    sources = {source.topic: source for source in settings.sources}
    watch = TopicWatch(settings.cluster, ingest_topics(settings.cluster, settings.group, list(sources)), warn)
    # First, because other checks would name what follows from the change.
    watch.look()
    check_sources(settings, warn)
    layout = Independent({topic: topic for topic in sources})
    load_kernels()
    slot = slot_of(settings)
    with held_folder(settings, slot, warn, beat) as folder, watch:

        def make(task: int) -> tuple[Fold, Disk]:
            (place,) = layout.places(task)
            fold = IngestFold(
                sources[place.topic],
                partition=place.partition,
                new_mapping=settings.new_mapping,
                counts=settings.counts[place.topic],
            )
            return fold, Folder(folder / f"{place.topic}-{place.partition}")

        with_headers = [source.topic for source in settings.sources if source.with_headers]
        log: Log = KafkaLog(
            *(settings.cluster, settings.group, layout),
            slot=slot,
            watch=watch,
            in_bulk=True,
            with_headers=with_headers,
        )
        if settings.schemas is not None:
            log = AwaitingLog(log, settings.schemas, settings.waiting, clock_s=time.monotonic, warn=warn)
        yield Runner(
            *(log, SystemClock(), make, settings.pace, warn),
            accept_loss=settings.accept_loss,
            progress=progress,
            beat=beat,
            layout=layout,
        )


def check_sources(settings: IngestSettings, warn: Callable[[str], None]) -> None:
    """Raises SettingsError for a source that cannot be read, or that its mapping is none of."""
    cluster = settings.cluster
    counts = Admin(cluster).require(OUTPUTS)
    own = {cluster.topic(role) for role in TOPICS}
    for source in settings.sources:
        if source.topic in own:
            raise SettingsError(f"--source {source.topic} is a topic of clickfold itself; name one of yours")
        if source.topic not in counts:
            raise SettingsError(f"--source {source.topic}: there is no such topic; make it, or correct the name")
        partitions = counts[source.topic]
        # Later, records of some minutes that are all wrong are dead letters, and no reason to stop.
        if settings.new_mapping or not has_begun(cluster, settings.group, source.topic, partitions):
            sample = sample_records(cluster, source.topic, partitions, most=_SAMPLED)
            values = [record.value for record in sample]
            headers = [record.headers for record in sample]
            read = headers if source.with_headers else None
            if not sample or not _learned(settings.schemas, values, read, warn):
                continue
            if wrong := source.wrong_with(values, read):
                hint = "" if source.with_headers else passed_over(headers)
                raise SettingsError(f"topic {source.topic}: {'; '.join(map(str, wrong))}{hint}")


def _learned(
    schemas: Schemas | None,
    values: Sequence[bytes | None],
    headers: Sequence[Headers] | None,
    warn: Callable[[str], None],
) -> bool:
    try:
        if schemas is not None:
            schemas.learn(values, headers)
    except Transient as error:
        warn(f"{error}: the mapping is not tried on a sample")
        return False
    return True

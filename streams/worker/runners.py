"""The workers that are a Runner over folds: their settings, what each reads, and how its folds are made."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from online_models.settings import LearnerSettings
from schemas.bounds import JoinBounds
from schemas.compiled import load_kernels
from schemas.dimensions import ExtraDimension
from schemas.errors import SettingsError, Transient
from schemas.totals import DIMENSIONS, known_dimensions
from streams.engine.fold import Fold
from streams.engine.pace import Pace, RunnerProgress
from streams.engine.ports import Disk
from streams.engine.recovery import Share
from streams.engine.runner import Runner
from streams.join.fold import JoinFold
from streams.join.identity import JoinIdentity
from streams.join.keys import KeySample
from streams.join.mapped import InputMaps
from streams.join.state import INPUTS
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.log import KafkaLog
from streams.kafka.partitioners import PARTITIONERS, keyed_apart, not_known, possible
from streams.kafka.reads import sample_keys
from streams.kafka.settings import SESSION_TIMEOUT_MS
from streams.kafka.slots import Slot
from streams.kafka.topic_watch import TopicWatch
from streams.kafka.watched import join_topics, learn_topics
from streams.learn.fold import LearnFold
from streams.state.disk import Folder
from streams.worker.input_maps import check_input_maps
from streams.worker.memory import collect_rarely, return_freed
from streams.worker.slot_folder import held_slot

_JOIN_OUTPUTS = ("outcomes", "totals", "campaign_totals", "rejects", "ledger", "seals")


class SystemClock:
    """`streams.engine.ports.Clock` of this machine."""

    def monotonic(self) -> float:
        return time.monotonic()

    def now_s(self) -> int:
        return int(time.time())


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """Settings of them all. `slot` distinguishes the workers of a group on one machine and names them to Kafka.

    With `static` the group keeps a slot's partitions for it while it restarts.
    """

    cluster: Cluster
    state_dir: Path
    group: str
    slot: str = "0"
    static: bool = True
    pace: Pace = field(default_factory=Pace)
    # A location all machines reach, as fsspec names it; empty: snapshots are not shared.
    snapshots: str = ""
    snapshot_every_s: float = 60.0
    accept_loss: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinSettings(WorkerSettings):
    """A join worker: the bounds of the join, and the dimensions that its totals are broken down by.

    Features that are dimensions too are `extra`.
    """

    bounds: JoinBounds = field(default_factory=JoinBounds)
    dimensions: Sequence[str] = DIMENSIONS
    extra: Sequence[ExtraDimension] = ()
    # Of inputs that are of another form.
    maps: InputMaps = field(default_factory=InputMaps)
    group: str = "clickfold-join"

    def __post_init__(self) -> None:
        known_dimensions(self.dimensions)


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnSettings(WorkerSettings):
    """A learning worker."""

    model: LearnerSettings = field(default_factory=LearnerSettings)
    group: str = "clickfold-learn"


@contextlib.contextmanager
def join_runner(
    settings: JoinSettings,
    warn: Callable[[str], None],
    *,
    progress: RunnerProgress | None = None,
    beat: Callable[[], None] = lambda: None,
) -> Iterator[Runner]:
    """A runner over impressions and clicks, checked against the cluster. Raises SettingsError before it reads.

    `progress` and `beat` are given to the Runner.
    """
    # Before the clients start their threads, each of which would have a heap of its own.
    return_freed()
    collect_rarely()
    watch = TopicWatch(settings.cluster, join_topics(settings.cluster, settings.group), warn)
    # First, because other checks would name what follows from the change.
    watch.look()
    admin = Admin(settings.cluster)
    partitions = admin.check(("impressions", "clicks"), _JOIN_OUTPUTS)
    counts = admin.partition_counts()
    shards = counts[settings.cluster.topic("outcomes")]
    check_input_maps(settings.cluster, settings.group, settings.maps, partitions)
    ids = admin.topic_ids(("impressions", "clicks"))
    known = _sampled_keys(settings.cluster, partitions, warn)
    partitioners = {name: partial(of, partitions=partitions) for name, of in PARTITIONERS.items()}
    topics = (*ids, str(partitions), str(shards))
    identity = JoinIdentity(settings.bounds, settings.dimensions, settings.extra, topics, settings.maps.digest)
    names = {role: settings.cluster.topic(role) for role in ("impressions", "clicks")}
    share = _share(settings, warn)
    # Before the group waits for this worker: they may have to be compiled.
    load_kernels()
    slot = slot_of(settings)
    with held_folder(settings, slot, warn, beat) as folder, watch:

        def make(partition: int) -> tuple[Fold, Disk]:
            disk = Folder(folder / str(partition))
            fold = JoinFold(
                settings.bounds,
                disk,
                partition=partition,
                shards=shards,
                campaign_partitions=counts[settings.cluster.topic("campaign_totals")],
                dimensions=settings.dimensions,
                extra=settings.extra,
                names=names,
                digest=identity.digest,
                formers=(identity.former, *identity.before),
                maps=settings.maps,
                keys={name: KeySample(partitioners, partition, of.get(partition, ())) for name, of in known.items()},
            )
            return fold, disk

        log = KafkaLog(
            settings.cluster,
            settings.group,
            ("impressions", "clicks"),
            slot=slot,
            side_log="seals",
            watch=watch,
            in_bulk=True,
        )
        yield Runner(
            *(log, SystemClock(), make, settings.pace, warn, share),
            accept_loss=settings.accept_loss,
            progress=progress,
            beat=beat,
        )


def _sampled_keys(cluster: Cluster, partitions: int, warn: Callable[[str], None]) -> dict[str, dict[int, list[bytes]]]:
    """The newest keys of each input by partition. Raises SettingsError if different partitioners wrote them.

    The newest, so that a join can start once its producers are corrected, whatever is still in Kafka.
    """
    with ThreadPoolExecutor(2) as both:
        found = both.map(lambda log: sample_keys(cluster, log, partitions, newest=True), INPUTS)
        sampled = dict(zip(INPUTS, found, strict=True))
    impressions, clicks = (possible(sampled[log], partitions) for log in INPUTS)
    if partitions > 1 and (apart := keyed_apart(impressions, clicks)):
        raise SettingsError(apart)
    if unknown := not_known(impressions, clicks):
        warn(unknown)
    by_partition: dict[str, dict[int, list[bytes]]] = {log: defaultdict(list) for log in INPUTS}
    for log, keys in sampled.items():
        for partition, key in keys:
            by_partition[log][partition].append(key)
    return by_partition


@contextlib.contextmanager
def learn_runner(
    settings: LearnSettings,
    warn: Callable[[str], None],
    *,
    progress: RunnerProgress | None = None,
    beat: Callable[[], None] = lambda: None,
) -> Iterator[Runner]:
    """A runner over outcomes, one model shard a partition. `progress` and `beat` are given to the Runner."""
    watch = TopicWatch(settings.cluster, learn_topics(settings.cluster, settings.group), warn)
    watch.look()
    Admin(settings.cluster).check(("outcomes",), ("models", "model_metrics"))
    share = _share(settings, warn)
    # Before the group waits for this worker: they may have to be compiled.
    load_kernels()
    slot = slot_of(settings)
    with held_folder(settings, slot, warn, beat) as folder, watch:

        def make(partition: int) -> tuple[Fold, Disk]:
            disk = Folder(folder / str(partition))
            return LearnFold(settings.model, shard=partition, disk=disk), disk

        log = KafkaLog(
            settings.cluster,
            settings.group,
            ("outcomes",),
            slot=slot,
            watch=watch,
        )
        yield Runner(
            *(log, SystemClock(), make, settings.pace, warn, share),
            accept_loss=settings.accept_loss,
            progress=progress,
            beat=beat,
        )


def _share(settings: WorkerSettings, warn: Callable[[str], None]) -> Share:
    """Where each partition's snapshots are shared. Raises SettingsError for a location that cannot be used."""
    if not settings.snapshots:
        return lambda _: None
    from streams.state.objects import ObjectStore  # fsspec and a client of the store
    from streams.state.sharing import Location

    store = ObjectStore(settings.snapshots)
    location = Location(store, settings.group, every_s=settings.snapshot_every_s, warn=warn)
    try:
        store.check()
    except Transient as error:
        location.failed(error)
    return location.share


def slot_of(settings: WorkerSettings, *, decides: bool = True) -> Slot:
    """The worker's slot in its group; transactional id and static member are named after it. `decides`: see `Slot`."""
    instance_id = f"{settings.group}-{settings.slot}" if settings.static else None
    return Slot(settings.cluster, group=settings.group, name=settings.slot, instance_id=instance_id, decides=decides)


@contextlib.contextmanager
def held_folder(
    settings: WorkerSettings, slot: Slot, warn: Callable[[str], None], beat: Callable[[], None]
) -> Iterator[Path]:
    """Holds the slot while the block runs, and gives its folder."""
    folder = settings.state_dir / settings.group / settings.slot
    session_timeout_s = SESSION_TIMEOUT_MS / 1_000
    with held_slot(slot, folder, session_timeout_s=session_timeout_s, warn=warn, beat=beat):
        yield folder

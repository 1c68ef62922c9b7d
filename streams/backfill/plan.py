"""The plan of a backfill: its options and the offsets they stand for. It is kept in the state folder of the run."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple

import msgspec
import orjson
from clickhouse_connect.driver.client import Client

from online_models.settings import LearnerSettings
from schemas.bounds import JoinBounds
from schemas.codec import decoder
from schemas.dimensions import ExtraDimension, digest_texts
from schemas.errors import SettingsError
from schemas.reading import Unreadable, read
from schemas.totals import DIMENSIONS, Ledger
from streams.backfill.mending import refused_offsets
from streams.backfill.ownership import InputRange, ReadStart
from streams.backfill.warmup import LedgerCut, ledger_cuts, warm_up
from streams.join.identity import JoinIdentity
from streams.join.state import INPUTS
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.ranges import Range, resolve_range
from streams.kafka.reads import stream_log
from streams.runs.record import RunRecord, checked_name, find_run
from streams.state.disk import Folder

_PLAN: Final = "plan.json"
Warn = Callable[[str], None]


class BackfillPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One backfill: by partition and input, where to begin to read, the range, and the offsets to read to."""

    run: str
    kind: Literal["join", "models"]
    # The options of its first start, as text. A later start must give the same ones.
    options: dict[str, str]
    # The settings that its figures depend on, for the run's record.
    settings: dict[str, str]
    ranges: dict[int, dict[str, InputRange]]
    ends: dict[int, dict[str, int]]
    complete: bool
    bounds: JoinBounds = msgspec.field(default_factory=JoinBounds)
    dimensions: tuple[str, ...] = DIMENSIONS
    extra: tuple[ExtraDimension, ...] = ()
    model: LearnerSettings = msgspec.field(default_factory=LearnerSettings)
    shards: int = 1
    digest: str = ""
    started_ms: int = 0
    # The mapping that mends refused records: its name and text, and by partition and input their offsets.
    mapping_name: str = ""
    mapping_text: str = ""
    mended: dict[int, dict[str, list[int]]] = {}
    # The mapping that inputs are read through: its name and text; empty without one.
    input_map_name: str = ""
    input_map_text: str = ""

    def record(self, state: Literal["running", "complete"], from_minute_ms: int, to_minute_ms: int) -> RunRecord:
        """The run's record in this state, as of now."""
        now_ms = time.time_ns() // 1_000_000
        inputs = next(iter(self.ranges.values()))
        return RunRecord(
            run=self.run,
            kind=self.kind,
            state=state,
            from_minute_ms=from_minute_ms,
            to_minute_ms=to_minute_ms,
            settings=self.settings,
            offsets={
                log: {
                    str(partition): [by_log[log].start, by_log[log].stop] for partition, by_log in self.ranges.items()
                }
                for log in inputs
            },
            started_ms=self.started_ms,
            finished_ms=now_ms if state == "complete" else 0,
            version=now_ms,
        )


class JoinOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The options of a backfill of the join. `live_lateness_ms`: lateness of the live work whose ledger is read.

    `mapping`: digest of the mapping that mends refused records; `input_map`: of the one that inputs are read through;
    each empty without one. Without extra dimensions its texts say nothing of them, as those of earlier versions.
    """

    run: str
    from_: str
    to: str
    bounds: JoinBounds
    dimensions: tuple[str, ...]
    live_lateness_ms: int
    complete: bool
    mapping: str = ""
    extra: tuple[ExtraDimension, ...] = ()
    input_map: str = ""


class ModelsOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a backfill of the model."""

    run: str
    from_: str
    to: str
    model: LearnerSettings


class MappingText(NamedTuple):
    """A mapping as a plan keeps it; empty without one."""

    name: str = ""
    text: str = ""


_NONE: Final = MappingText()


def join_plan(
    options: JoinOptions,
    cluster: Cluster,
    warn: Warn,
    *,
    mapping: MappingText = _NONE,
    input_map: MappingText = _NONE,
) -> BackfillPlan:
    """The plan of a join backfill for what Kafka keeps now. Raises SettingsError when no minute would be owned."""
    admin = Admin(cluster)
    partitions = admin.check(INPUTS, ("outcomes", "ledger", "seals"))
    shards = admin.partition_counts()[cluster.topic("outcomes")]
    offsets = resolve_range(cluster, options.from_, options.to, inputs=INPUTS, partitions=partitions)
    ranges = {partition: _input_ranges(options, cluster, offsets, partition, warn) for partition in range(partitions)}
    topics = (*admin.topic_ids(INPUTS), str(partitions), str(shards))
    settings = {name: str(value) for name, value in msgspec.structs.asdict(options.bounds).items()}
    settings["dimensions"] = ",".join(options.dimensions)
    if options.mapping:
        settings["mapping"] = options.mapping
    if options.input_map:
        settings["input_map"] = options.input_map
    if options.extra:
        settings["extra_dimensions"] = ",".join(digest_texts(options.extra))
    return BackfillPlan(
        run=checked_name(options.run),
        kind="join",
        options=option_texts(options, cluster),
        settings=settings,
        ranges=ranges,
        ends=offsets.stop if options.complete else offsets.end,
        complete=options.complete,
        bounds=options.bounds,
        dimensions=options.dimensions,
        extra=options.extra,
        shards=shards,
        digest=JoinIdentity(options.bounds, options.dimensions, options.extra, topics, options.input_map).digest,
        started_ms=time.time_ns() // 1_000_000,
        mapping_name=mapping.name,
        mapping_text=mapping.text,
        mended=refused_offsets(cluster, INPUTS) if mapping.text else {},
        input_map_name=input_map.name,
        input_map_text=input_map.text,
    )


def models_plan(options: ModelsOptions, cluster: Cluster) -> BackfillPlan:
    """The plan of a model backfill: learning starts empty at `--from`, without a warm-up."""
    shards = Admin(cluster).check(("outcomes",), ())
    offsets = resolve_range(cluster, options.from_, options.to, inputs=("outcomes",), partitions=shards)
    ranges = {
        partition: {
            log: InputRange(ReadStart(start), start, offsets.stop[partition][log]) for log, start in starts.items()
        }
        for partition, starts in offsets.start.items()
    }
    return BackfillPlan(
        run=checked_name(options.run),
        kind="models",
        options=option_texts(options, cluster),
        settings={name: str(value) for name, value in msgspec.structs.asdict(options.model).items()},
        ranges=ranges,
        ends=offsets.stop,
        complete=True,
        model=options.model,
        started_ms=time.time_ns() // 1_000_000,
    )


def _input_ranges(
    options: JoinOptions, cluster: Cluster, offsets: Range, partition: int, warn: Warn
) -> dict[str, InputRange]:
    start, first = offsets.start[partition], offsets.first[partition]
    cuts: list[LedgerCut] = []
    if any(first.values()) or start != first:
        records = stream_log(cluster, cluster.topic("ledger"), partition)
        ledgers = (read(record.value, decoder(Ledger).decode) for record in records)
        # A replay that began where records waited for confirmation would not know them.
        good = (each for each in ledgers if not isinstance(each, Unreadable) and not _held(each))
        cuts = ledger_cuts(good, lateness_ms=options.live_lateness_ms)
    ranges = warm_up(cuts, start=start, stop=offsets.stop[partition], first=first, bounds=options.bounds)
    if ranges is None:
        raise SettingsError(
            f"partition {partition} of the inputs begins at {first} in Kafka, and no ledger of live work bounds the "
            "earlier records: no minute is known to be right; keep the ledger as long as the inputs, or restore their "
            "first records"
        )
    if not all(input_range.read_from.exact for input_range in ranges.values()):
        warn(
            f"partition {partition}: Kafka keeps too little before --from for a whole warm-up, so the run owns only "
            "minutes that are far enough above the first record kept"
        )
    return ranges


def load_or_make_plan(
    folder: Path, options: Mapping[str, str], client: Client, make: Callable[[], BackfillPlan]
) -> BackfillPlan:
    """The plan in the run's folder; without one, a new plan, which is then kept there.

    Raises SettingsError when the plan has other options or is of another version, or when the run exists without it.
    """
    run = options["run"]
    recorded = find_run(client, checked_name(run))
    remedy = f"give another --run, or drop this one by `clickfold runs drop {run}`"
    try:
        kept = msgspec.json.decode((folder / _PLAN).read_bytes(), type=BackfillPlan)
    except FileNotFoundError:
        kept = None
    except msgspec.ValidationError as error:
        raise SettingsError(f"run {run} was begun with another version of clickfold ({error}): {remedy}") from error
    if kept is not None and recorded is None:
        # The run was dropped, so its state is of no use.
        shutil.rmtree(folder)
        kept = None
    if kept is not None:
        for name in {**kept.options, **options}:
            if kept.options.get(name) != options.get(name):
                before, now = kept.options.get(name), options.get(name)
                raise SettingsError(f"run {run} was begun with {name} {before!r}, this is {now!r}: {remedy}")
        return kept
    if recorded is not None:
        raise SettingsError(f"run {run} exists, but its state is not in {folder}: {remedy}")
    made = make()
    disk = Folder(folder)
    disk.replace(_PLAN, msgspec.json.encode(made))
    disk.close()
    return made


def option_texts(options: JoinOptions | ModelsOptions, cluster: Cluster) -> dict[str, str]:
    """The options as text, with those of nested structs beside the others.

    The topic prefix is one of them, because a backfill of other topics is another one.
    """
    flat: dict[str, str] = {"topics": cluster.prefix}
    for name, value in msgspec.to_builtins(options).items():
        values = value if isinstance(value, dict) else {name.rstrip("_"): value}
        flat.update(
            {key: part if isinstance(part, str) else orjson.dumps(part).decode() for key, part in values.items()}
        )
    return flat


def split_partitions(partitions: Sequence[int], processes: int) -> list[list[int]]:
    """The partitions of each process. There are at most `processes`, and each has at least one partition."""
    return [list(partitions[first::processes]) for first in range(min(processes, len(partitions)))]


def _held(ledger: Ledger) -> int:
    return ledger.impressions.held + ledger.clicks.held

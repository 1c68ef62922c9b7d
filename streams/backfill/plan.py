"""The plan of a backfill: what was asked for and the offsets that means, kept in its state folder to go on from."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec
import orjson
from clickhouse_connect.driver.client import Client

from online_models.settings import LearnerSettings
from schemas.bounds import JoinBounds
from schemas.codec import decode
from schemas.errors import SettingsError
from schemas.totals import DIMENSIONS, Ledger
from streams.backfill.ownership import InputRange, ReadStart
from streams.backfill.warmup import LedgerCut, ledger_cuts, warm_up
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
    """One backfill: by partition and input where to begin reading, the range, and where to stop reading."""

    run: str
    kind: Literal["join", "models"]
    # The options it was started with, as text: the command that goes on with it must give the same ones.
    asked: dict[str, str]
    # The settings that decide its figures, for the run's record.
    settings: dict[str, str]
    ranges: dict[int, dict[str, InputRange]]
    ends: dict[int, dict[str, int]]
    complete: bool
    bounds: JoinBounds = msgspec.field(default_factory=JoinBounds)
    dimensions: tuple[str, ...] = DIMENSIONS
    model: LearnerSettings = msgspec.field(default_factory=LearnerSettings)
    shards: int = 1
    digest: str = ""
    started_ms: int = 0

    def record(self, state: Literal["running", "complete"], from_minute_ms: int, to_minute_ms: int) -> RunRecord:
        """The run's record as of now."""
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
                log: {str(number): [by_log[log].start, by_log[log].stop] for number, by_log in self.ranges.items()}
                for log in inputs
            },
            started_ms=self.started_ms,
            finished_ms=now_ms if state == "complete" else 0,
            version=now_ms,
        )


class JoinAsked(msgspec.Struct, frozen=True, kw_only=True):
    """A backfill of the join as asked for. `live_lateness_ms` is that of the live work whose ledger is read."""

    run: str
    from_: str
    to: str
    bounds: JoinBounds
    dimensions: tuple[str, ...]
    live_lateness_ms: int
    complete: bool


class ModelsAsked(msgspec.Struct, frozen=True, kw_only=True):
    """A backfill of the model as asked for."""

    run: str
    from_: str
    to: str
    model: LearnerSettings


def join_plan(asked: JoinAsked, cluster: Cluster, warn: Warn) -> BackfillPlan:
    """The plan of a join backfill, as Kafka is now. Raises SettingsError when it could own no minute."""
    admin = Admin(cluster)
    partitions = admin.check(INPUTS, ("outcomes", "ledger", "seals"))
    shards = admin.partition_counts()[cluster.topic("outcomes")]
    offsets = resolve_range(cluster, asked.from_, asked.to, inputs=INPUTS, partitions=partitions)
    ranges = {number: _ranges(asked, cluster, offsets, number, warn) for number in range(partitions)}
    ids = admin.topic_ids(INPUTS)
    settings = {name: str(value) for name, value in msgspec.structs.asdict(asked.bounds).items()}
    settings["dimensions"] = ",".join(asked.dimensions)
    return BackfillPlan(
        run=checked_name(asked.run),
        kind="join",
        asked=asked_texts(asked, cluster),
        settings=settings,
        ranges=ranges,
        ends=offsets.stop if asked.complete else offsets.end,
        complete=asked.complete,
        bounds=asked.bounds,
        dimensions=asked.dimensions,
        shards=shards,
        digest=asked.bounds.digest(*asked.dimensions, *ids, str(partitions), str(shards)),
        started_ms=time.time_ns() // 1_000_000,
    )


def models_plan(asked: ModelsAsked, cluster: Cluster) -> BackfillPlan:
    """The plan of learning again from the first offset asked for to the last one."""
    shards = Admin(cluster).check(("outcomes",), ())
    offsets = resolve_range(cluster, asked.from_, asked.to, inputs=("outcomes",), partitions=shards)
    ranges = {
        number: {log: InputRange(ReadStart(start), start, offsets.stop[number][log]) for log, start in starts.items()}
        for number, starts in offsets.start.items()
    }
    return BackfillPlan(
        run=checked_name(asked.run),
        kind="models",
        asked=asked_texts(asked, cluster),
        settings={name: str(value) for name, value in msgspec.structs.asdict(asked.model).items()},
        ranges=ranges,
        ends=offsets.stop,
        complete=True,
        model=asked.model,
        started_ms=time.time_ns() // 1_000_000,
    )


def _ranges(asked: JoinAsked, cluster: Cluster, offsets: Range, partition: int, warn: Warn) -> dict[str, InputRange]:
    start, first = offsets.start[partition], offsets.first[partition]
    cuts: list[LedgerCut] = []
    if any(first.values()) or start != first:
        records = stream_log(cluster, cluster.topic("ledger"), partition)
        ledgers = (decode(record.value, Ledger) for record in records if record.value is not None)
        cuts = ledger_cuts(ledgers, lateness_ms=asked.live_lateness_ms)
    ranges = warm_up(cuts, start=start, stop=offsets.stop[partition], first=first, bounds=asked.bounds)
    if ranges is None:
        raise SettingsError(
            f"Kafka keeps partition {partition} of the inputs from {first} and no ledger of live work says what was "
            "before: no minute could be vouched for; keep the ledger longer, or restore the inputs' first records"
        )
    if not all(each.begin.known for each in ranges.values()):
        warn(
            f"partition {partition}: what Kafka keeps before --from does not tell all that matters to it; only minutes "
            "far enough above the first record kept are owned"
        )
    return ranges


def settled_plan(
    folder: Path, asked: Mapping[str, str], client: Client, make: Callable[[], BackfillPlan]
) -> BackfillPlan:
    """The plan kept in a run's folder if it was made for the same options; else a new one, kept from now on.

    Raises SettingsError when the run was begun with other options or another version, or exists without this folder.
    """
    run = asked["run"]
    recorded = find_run(client, checked_name(run))
    remedy = f"give another --run, or drop this one by `clickfold runs drop {run}`"
    try:
        kept = msgspec.json.decode((folder / _PLAN).read_bytes(), type=BackfillPlan)
    except FileNotFoundError:
        kept = None
    except msgspec.ValidationError as error:
        raise SettingsError(f"run {run} was begun by another version of clickfold ({error}): {remedy}") from error
    if kept is not None and recorded is None:
        # The run was dropped since: what is left here belongs to no run.
        shutil.rmtree(folder)
        kept = None
    if kept is not None:
        for name in {**kept.asked, **asked}:
            if kept.asked.get(name) != asked.get(name):
                raise SettingsError(
                    f"run {run} was begun with {name} {kept.asked.get(name)!r}, this is {asked.get(name)!r}: {remedy}"
                )
        return kept
    if recorded is not None:
        raise SettingsError(f"run {run} exists, and its state is not in {folder}: {remedy}")
    made = make()
    disk = Folder(folder)
    disk.replace(_PLAN, msgspec.json.encode(made))
    disk.close()
    return made


def asked_texts(asked: JoinAsked | ModelsAsked, cluster: Cluster) -> dict[str, str]:
    """The options, flat and as text. The topic prefix is one of them: other topics are another backfill."""
    flat: dict[str, str] = {"topics": cluster.prefix}
    for name, value in msgspec.to_builtins(asked).items():
        parts = value if isinstance(value, dict) else {name.rstrip("_"): value}
        flat.update(
            {key: part if isinstance(part, str) else orjson.dumps(part).decode() for key, part in parts.items()}
        )
    return flat


def shared_out(partitions: Sequence[int], processes: int) -> list[list[int]]:
    """The partitions dealt out to at most so many processes, at least one partition each."""
    return [list(partitions[first::processes]) for first in range(min(processes, len(partitions)))]

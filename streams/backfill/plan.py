"""What a backfill was asked for and what that came to; kept in its state folder, so that the same command goes on."""

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
from streams.backfill.ownership import Begin, Span
from streams.backfill.warmup import LedgerCut, ledger_cuts, warm_up
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster, stream_log
from streams.kafka.ranges import Range, resolve_range
from streams.runs.record import RunRecord, checked_name, find_run
from streams.state.disk import Folder

INPUTS: Final = ("impressions", "clicks")
_PLAN: Final = "plan.json"
Warn = Callable[[str], None]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One backfill, resolved: by partition and input where to read from, the range, and where to stop reading."""

    run: str
    kind: Literal["join", "models"]
    # What it was asked for, as text: whoever goes on with it must ask for the same.
    asked: dict[str, str]
    # What decides its figures, for the run's record.
    settings: dict[str, str]
    spans: dict[int, dict[str, Span]]
    ends: dict[int, dict[str, int]]
    complete: bool
    bounds: JoinBounds = msgspec.field(default_factory=JoinBounds)
    dimensions: tuple[str, ...] = DIMENSIONS
    model: LearnerSettings = msgspec.field(default_factory=LearnerSettings)
    shards: int = 1
    digest: str = ""
    started_ms: int = 0

    def record(self, state: Literal["running", "complete"], from_minute_ms: int, to_minute_ms: int) -> RunRecord:
        """The run's record as it stands now."""
        now_ms = time.time_ns() // 1_000_000
        inputs = next(iter(self.spans.values()))
        return RunRecord(
            run=self.run,
            kind=self.kind,
            state=state,
            from_minute_ms=from_minute_ms,
            to_minute_ms=to_minute_ms,
            settings=self.settings,
            offsets={
                log: {str(at): [spans[log].start, spans[log].stop] for at, spans in self.spans.items()}
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


def join_plan(asked: JoinAsked, cluster: Cluster, warn: Warn) -> Plan:
    """What a backfill of the join comes to now. Raises SettingsError when it could own nothing."""
    admin = Admin(cluster)
    partitions = admin.check(INPUTS, ("outcomes", "ledger", "seals"))
    shards = admin.partition_counts()[cluster.topic("outcomes")]
    found = resolve_range(cluster, asked.from_, asked.to, inputs=INPUTS, partitions=partitions)
    spans = {at: _spans(asked, cluster, found, at, warn) for at in range(partitions)}
    ids = admin.topic_ids(INPUTS)
    settings = {name: str(value) for name, value in msgspec.structs.asdict(asked.bounds).items()}
    settings["dimensions"] = ",".join(asked.dimensions)
    return Plan(
        run=checked_name(asked.run),
        kind="join",
        asked=asked_texts(asked, cluster),
        settings=settings,
        spans=spans,
        ends=found.stop if asked.complete else found.end,
        complete=asked.complete,
        bounds=asked.bounds,
        dimensions=asked.dimensions,
        shards=shards,
        digest=asked.bounds.digest(*asked.dimensions, *ids, str(partitions), str(shards)),
        started_ms=time.time_ns() // 1_000_000,
    )


def models_plan(asked: ModelsAsked, cluster: Cluster) -> Plan:
    """What learning anew comes to now: read from the first offset to the last, and no further."""
    shards = Admin(cluster).check(("outcomes",), ())
    found = resolve_range(cluster, asked.from_, asked.to, inputs=("outcomes",), partitions=shards)
    spans = {
        at: {log: Span(Begin(start), start, found.stop[at][log]) for log, start in starts.items()}
        for at, starts in found.start.items()
    }
    return Plan(
        run=checked_name(asked.run),
        kind="models",
        asked=asked_texts(asked, cluster),
        settings={name: str(value) for name, value in msgspec.structs.asdict(asked.model).items()},
        spans=spans,
        ends=found.stop,
        complete=True,
        model=asked.model,
        started_ms=time.time_ns() // 1_000_000,
    )


def _spans(asked: JoinAsked, cluster: Cluster, found: Range, partition: int, warn: Warn) -> dict[str, Span]:
    start, first = found.start[partition], found.first[partition]
    cuts: list[LedgerCut] = []
    if any(first.values()) or start != first:
        records = stream_log(cluster, cluster.topic("ledger"), partition)
        ledgers = (decode(record.value, Ledger) for record in records if record.value is not None)
        cuts = ledger_cuts(ledgers, lateness_ms=asked.live_lateness_ms)
    spans = warm_up(cuts, start=start, stop=found.stop[partition], first=first, bounds=asked.bounds)
    if spans is None:
        raise SettingsError(
            f"Kafka keeps partition {partition} of the inputs from {first} and no ledger of live work says what was "
            "before: no minute could be vouched for; keep the ledger longer, or restore the inputs' first records"
        )
    if not all(span.begin.known for span in spans.values()):
        warn(
            f"partition {partition}: what Kafka keeps before --from does not tell all that matters to it; only minutes "
            "far enough above the first record kept are owned"
        )
    return spans


def settled_plan(folder: Path, asked: Mapping[str, str], client: Client, make: Callable[[], Plan]) -> Plan:
    """The plan kept in a run's folder if it is of what is asked, else a new one, kept from now on.

    Raises SettingsError when the run was asked for otherwise, or exists without this folder.
    """
    run = asked["run"]
    recorded = find_run(client, checked_name(run))
    remedy = f"give another --run, or drop this one by `clickfold runs drop {run}`"
    try:
        kept = msgspec.json.decode((folder / _PLAN).read_bytes(), type=Plan)
    except FileNotFoundError:
        kept = None
    if kept is not None and recorded is None:
        # Dropped since: what is left here is nobody's.
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
    """What was asked for, flat and as text; another cluster's topics are another thing to ask for."""
    flat: dict[str, str] = {"topics": cluster.prefix}
    for name, value in msgspec.to_builtins(asked).items():
        parts = value if isinstance(value, dict) else {name.rstrip("_"): value}
        flat.update(
            {key: part if isinstance(part, str) else orjson.dumps(part).decode() for key, part in parts.items()}
        )
    return flat


def shared_out(partitions: Sequence[int], processes: int) -> list[list[int]]:
    """The partitions in turn over at most so many processes, none without one."""
    return [list(partitions[at::processes]) for at in range(min(processes, len(partitions)))]

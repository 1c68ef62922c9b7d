"""`clickfold bench growth`: speed and memory of the join while one thing grows and all others stay as they are."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Final

import orjson
import typer
from rich.console import Console
from rich.table import Table

from schemas.errors import SettingsError
from streams.cli.bench.measuring import in_own_process, join_speed
from streams.cli.bench.reporting import print_nothing, print_progress
from streams.cli.connections import cluster_to_measure
from streams.inputs.traffic import Traffic, fill
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster

# All impressions stay open for so long with the default window; clicks come up to ten minutes later.
_OPEN_SPAN_MS: Final = 19 * 60_000
_PARTITIONS: Final = 4


@dataclass(frozen=True, slots=True)
class Point:
    """One measurement: what grows, how far, and what it is measured with. Speeds are of all events of both logs."""

    axis: str
    value: float
    impressions: int
    events_per_s: int = 0
    cpu_us_per_event: float = 0.0
    peak_mb: int = 0
    open_impressions: int = 0


@dataclass(frozen=True, slots=True)
class _Plan:
    """What the topics are filled with for a point."""

    point: Point
    traffic: Traffic
    partitions: int = _PARTITIONS


def growth(
    quick: Annotated[bool, typer.Option("--quick", help="Two points of each axis, of few events.")] = False,
    axes: Annotated[
        str, typer.Option(help="Only these axes: open, partitions, size, clicks, keys, duplicates.")
    ] = "open,partitions,size,clicks,keys,duplicates",
    json: Annotated[bool, typer.Option("--json", help="Only JSON on stdout.")] = False,
) -> None:
    """Measure speed and memory of the join as state, partitions, sizes, clicks, keys and duplicates grow."""
    say = print_nothing if json else print_progress
    plans, measured = list(_plans(quick=quick)), list[Point]()
    known, wanted = {plan.point.axis for plan in plans}, {part.strip() for part in axes.split(",")}
    if wanted - known:
        raise SettingsError(f"--axes {axes}: {min(wanted - known)!r} is none of {', '.join(sorted(known))}")
    for plan in [plan for plan in plans if plan.point.axis in wanted]:
        say(f"{plan.point.axis} {plan.point.value:,g}: {plan.traffic.impressions:,} impressions …")
        with (
            tempfile.TemporaryDirectory(prefix="clickfold-bench-") as folder,
            cluster_to_measure(Path(folder)) as cluster,
        ):
            measured.append(_measure(plan, cluster, Path(folder)))
    if json:
        typer.echo(orjson.dumps([asdict(point) for point in measured]))
    else:
        Console(width=100).print(_table(measured))


def _measure(plan: _Plan, cluster: Cluster, folder: Path) -> Point:
    Admin(cluster).create(partitions=plan.partitions)
    # The join refuses events of the future, and those that came too long ago close at once.
    filled = fill(cluster, replace(plan.traffic, end_ms=round(time.time() * 1_000)))
    events = filled.impressions + filled.clicks
    speed = in_own_process(join_speed, cluster, folder / "state", events)
    return replace(
        plan.point,
        events_per_s=round(events / speed.took_s),
        cpu_us_per_event=round(speed.cpu_s / events * 1e6, 2),
        peak_mb=round(speed.peak_mb),
        open_impressions=speed.open,
    )


def _plans(*, quick: bool) -> Iterator[_Plan]:
    """The points of each axis, ascending."""
    usual = 100_000 if quick else 1_000_000
    plain = Traffic(impressions=usual, seed=7, end_ms=0)

    def values(*points: float) -> tuple[float, ...]:
        return (points[0], points[-1]) if quick else points

    for count in (20_000, 200_000) if quick else (100_000, 1_000_000, 3_000_000, 10_000_000, 30_000_000):
        traffic = replace(plain, impressions=count, span_ms=_OPEN_SPAN_MS)
        yield _Plan(Point("open", count, count), traffic)
    for partitions in values(1, 4, 16, 64):
        yield _Plan(Point("partitions", partitions, usual), plain, int(partitions))
    for size in values(300, 500, 1_000, 2_000, 4_000):
        yield _Plan(Point("size", size, usual // 2), replace(plain, impressions=usual // 2, more_bytes=int(size) - 300))
    for rate in values(0.001, 0.01, 0.05, 0.2):
        yield _Plan(Point("clicks", rate, usual), replace(plain, click_rate=rate))
    for keys in values(1_000, 10_000, 100_000, 1_000_000, 5_000_000):
        yield _Plan(Point("keys", keys, usual), replace(plain, keys=int(keys)))
    for share in values(0.0, 0.1, 0.25, 0.5):
        yield _Plan(Point("duplicates", share, usual), replace(plain, duplicates=share))


def _table(measured: list[Point]) -> Table:
    table = Table(caption="speed and CPU of the whole worker process, over all events of both logs")
    for head in ("axis", "value", "impressions", "events/s", "µs CPU", "peak MB", "open"):
        table.add_column(head, justify="left" if head == "axis" else "right", no_wrap=True)
    before = ""
    for point in measured:
        if before and before != point.axis:
            table.add_section()
        before = point.axis
        table.add_row(
            *(point.axis, f"{point.value:,g}", f"{point.impressions:,}", f"{point.events_per_s:,}"),
            *(f"{point.cpu_us_per_event:.2f}", f"{point.peak_mb:,}", f"{point.open_impressions:,}"),
        )
    return table

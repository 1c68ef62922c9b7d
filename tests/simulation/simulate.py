"""Runs histories by seed, over all cores; the command behind `make simulate`."""

from __future__ import annotations

import os
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tests.simulation.judge import check
from tests.simulation.later import no_threads
from tests.simulation.process import DURABLE
from tests.simulation.world import World
from tests.sizes import small_sizes

W = TypeVar("W", bound=World)
# Seeds handed to a process at once: about a second's work.
_CHUNK = 20


@dataclass
class Summary:
    """What many histories went through, and those that failed: seed -> first difference."""

    seeds: int = 0
    steps: Counter[str] = field(default_factory=Counter)
    crashes: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    failures: dict[int, str] = field(default_factory=dict)

    def add(self, other: Summary) -> None:
        self.seeds += other.seeds
        self.steps += other.steps
        self.crashes += other.crashes
        self.events += other.events
        self.failures |= other.failures


@contextmanager
def tiny_joins() -> Iterator[None]:
    """Joins of a few rows a segment, and without a thread of their own."""
    with small_sizes(), no_threads():
        yield


def run(seed: int) -> tuple[World, AssertionError | None]:
    """One history, and what is wrong with it."""
    return played(World(seed))


def played(world: W) -> tuple[W, AssertionError | None]:
    """The history of a world, and what is wrong with it."""
    try:
        with tiny_joins():
            world.history()
            check(world)
    except AssertionError as error:
        return world, error
    return world, None


def run_some(first: int, stop: int, one: Callable[[int], tuple[World, AssertionError | None]] = run) -> Summary:
    """The histories of these seeds, here. `one` runs that of a seed."""
    summary = Summary()
    for seed in range(first, stop):
        world, error = one(seed)
        summary.seeds += 1
        summary.steps += world.steps
        summary.crashes += world.crashes
        summary.events += world.events
        if error is not None:
            summary.failures[seed] = str(error)
    return summary


def run_all(first: int, stop: int, done: Callable[[Summary], None] = lambda _: None) -> Summary:
    """The histories of these seeds, in as many processes as there are cores."""
    summary = Summary()
    # Spawned: a fork of a process that has librdkafka open hangs.
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        chunks = [pool.submit(run_some, at, min(at + _CHUNK, stop)) for at in range(first, stop, _CHUNK)]
        for chunk in as_completed(chunks):
            found = chunk.result()
            summary.add(found)
            done(found)
    return summary


def reproduce(seed: int) -> str:
    """The line that runs just this history again."""
    return f"make simulate SEED={seed}"


def main(
    seeds: Annotated[int, typer.Option(help="How many histories to run.")] = 2_000,
    start: Annotated[int, typer.Option("--from", help="The first seed.")] = 0,
    seed: Annotated[int | None, typer.Option(help="Only this one, with its last events.")] = None,
) -> None:
    """Crashes, freezes and moves join workers at every durable step and compares all they committed with the truth."""
    console = Console()
    if seed is not None:
        raise typer.Exit(_show(console, seed))
    began_s = time.monotonic()
    columns = TextColumn("simulating"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}")
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        bar = progress.add_task("", total=seeds, rate="")

        def done(some: Summary) -> None:
            rate = (progress.tasks[0].completed + some.seeds) / (time.monotonic() - began_s)
            progress.update(bar, advance=some.seeds, rate=f"{rate:.0f} seeds/s")
            for failed, difference in sorted(some.failures.items()):
                progress.console.print(f"[red]{reproduce(failed)}[/red]  {difference[:200]}", highlight=False)

        summary = run_all(start, start + seeds, done)
    _print(console, summary)
    raise typer.Exit(bool(summary.failures))


def _show(console: Console, seed: int) -> int:
    """One history with its last events; 1 when it fails."""
    world, error = run(seed)
    for seconds, who, what, about in world.trace:
        console.print(f"{seconds:9.2f}  {who:<24} {what} {about}", highlight=False, markup=False)
    for name, count in sorted(world.events.items()):
        console.print(f"{count:9}  {name}", highlight=False)
    if error is None:
        console.print(f"seed {seed}: {world.partitions} partitions agree with the batch truth", highlight=False)
        return 0
    if error.__cause__ is not None:
        console.print("".join(traceback.format_exception(error.__cause__)), highlight=False, markup=False)
    console.print(f"seed {seed}: {error}", style="red", highlight=False, markup=False)
    return 1


def _print(console: Console, summary: Summary) -> None:
    steps = Table("durable step", "taken", "crashed before", "crashed after", title="Steps crashed and survived")
    for column in steps.columns[1:]:
        column.justify = "right"
    for name in dict.fromkeys(step.split(" ", 1)[1] for step in DURABLE):
        before, after = f"before {name}", f"after {name}"
        counts = summary.steps[before], summary.crashes[before], summary.crashes[after]
        steps.add_row(name, *(f"{count:,}" for count in counts))
    events = Table("event", "times", title="What befell the workers")
    events.columns[1].justify = "right"
    for name, count in sorted(summary.events.items()):
        events.add_row(name, f"{count:,}")
    console.print(steps, events)
    console.print(f"{summary.seeds:,} histories, {len(summary.failures)} of them wrong", highlight=False)


if __name__ == "__main__":
    typer.run(main)

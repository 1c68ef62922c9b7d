"""`python -m tests.mutants`: tries mutants of the join's code on its unit tests. `make mutate` calls it."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tests.mutants import report
from tests.mutants.areas import deciding_tests
from tests.mutants.checkout import ROOT, Checkout
from tests.mutants.plan import Mutant, Operators, sample, telling
from tests.mutants.trial import Tried, UnusableTests, Verdict, check_baseline, digest, try_mutant


def main(
    size: Annotated[int, typer.Option("--sample", help="How many mutants to try.")] = 300,
    seed: Annotated[int, typer.Option(help="Which ones: the same seed draws the same mutants.")] = 1,
    only: Annotated[str, typer.Option(help="Only of files whose path begins so.")] = "",
    every: Annotated[bool, typer.Option("--all", help="All mutants: many hours.")] = False,
    jobs: Annotated[int, typer.Option(help="Processes that run tests.")] = 1,
    listed: Annotated[bool, typer.Option("--list", help="Name the mutants and try none.")] = False,
    results: Annotated[Path, typer.Option(help="Results are kept here; the next run goes on from them.")] = Path(
        "mutants.json"
    ),
) -> None:
    """Changes the code in one small place at a time and says which changes no test notices."""
    console = Console()
    operators = Operators(ROOT, console.print)
    mutants = telling(operators.mutants(only), lambda path: (ROOT / path).read_text())
    chosen = mutants if every else sample(mutants, size, seed)
    console.print(f"{len(chosen):,} of {len(mutants):,} mutants, seed {seed}", highlight=False)
    if listed:
        for mutant in chosen:
            console.print(mutant.name, highlight=False)
        return
    kept = {one.mutant: one for one in report.read(results)}
    done = {mutant: kept[mutant] for mutant in chosen if mutant in kept and still_holds(kept[mutant])}
    left = [mutant for mutant in chosen if mutant not in done]
    if left:
        texts = dict(zip(left, operators.texts(left), strict=True))
        for one in tried(console, left, texts, jobs, already=list(done.values())):
            done[one.mutant] = kept[one.mutant] = one
            report.write(results, kept.values())
    few = report.show(console, list(done.values()), report.PAGE.read_text())
    raise typer.Exit(not few)


def still_holds(one: Tried) -> bool:
    """Whether a result needs no new trial: its file is the same, and if it survived, so are its tests."""
    path = one.mutant.path
    if digest(ROOT, [path]) != one.source:
        return False
    return one.verdict is not Verdict.SURVIVED or digest(ROOT, deciding_tests(path)) == one.tests


def tried(
    console: Console, mutants: Sequence[Mutant], texts: dict[Mutant, str], jobs: int, *, already: Sequence[Tried]
) -> Iterator[Tried]:
    """Tries each mutant on its tests, so many at once. Raises UnusableTests when tests fail without a mutant."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    alive = sum(one.verdict is Verdict.SURVIVED for one in already)
    with checkouts(min(jobs, len(mutants))) as free, Progress(*columns, console=console) as progress:
        areas = sorted({deciding_tests(mutant.path) for mutant in mutants})
        bar = progress.add_task("without a mutant", total=len(areas))
        copy = free.get()
        for tests in areas:
            check_baseline(copy, tests)
            progress.advance(bar)
        free.put(copy)
        progress.reset(bar, total=len(mutants), description=f"{alive} survived")

        def one(mutant: Mutant) -> Tried:
            mine = free.get()
            try:
                return try_mutant(mine, mutant, texts[mutant])
            finally:
                free.put(mine)

        with ThreadPoolExecutor(jobs) as pool:
            pending = [pool.submit(one, mutant) for mutant in mutants]
            try:
                for future in as_completed(pending):
                    found = future.result()
                    alive += found.verdict is Verdict.SURVIVED
                    progress.update(bar, advance=1, description=f"{alive} survived")
                    yield found
            finally:
                # After an interruption those that have not begun are left out.
                pool.shutdown(cancel_futures=True)


@contextmanager
def checkouts(count: int) -> Iterator[SimpleQueue[Checkout]]:
    """Copies of the sources, with compiled kernels; removed in the end."""
    free = SimpleQueue[Checkout]()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copies = []
        for number in range(count):
            home = Path(folder) / str(number)
            home.mkdir()
            copies.append(Checkout(home))
        copies[0].compile()
        for other in copies[1:]:
            shutil.copytree(copies[0].kernels, other.kernels)
        for each in copies:
            free.put(each)
        yield free


def interrupted(*_: object) -> None:
    """A signal to end: the copies are removed on the way out."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, interrupted)
    signal.signal(signal.SIGINT, interrupted)
    try:
        typer.run(main)
    except UnusableTests as error:
        sys.exit(str(error))

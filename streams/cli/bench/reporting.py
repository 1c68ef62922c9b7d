"""Progress of benchmarks, on stderr: stdout is for results."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


@contextmanager
def only_warnings() -> Iterator[None]:
    """During the block, workers in this process log only warnings, on stderr."""
    before = structlog.get_config()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    try:
        yield
    finally:
        structlog.configure(**before)


@contextmanager
def progress_bar(console: Console, text: str, total: int) -> Iterator[Callable[[int], None]]:
    """Shows a progress bar during the block; gives the function that sets how many of `total` are done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(text, total=total)
        yield lambda done: progress.update(task, completed=done)


def print_progress(text: str) -> None:
    """Prints a line on stderr."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201  # progress


def print_nothing(text: str) -> None:
    """Prints nothing, for runs whose caller reads only the JSON."""

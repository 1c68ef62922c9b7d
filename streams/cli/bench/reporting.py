"""How benchmarks say how far they are: on stderr, as stdout is for results."""

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
    """Workers run in this process log warnings alone, on stderr, while the block runs."""
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
def bar(console: Console, text: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar during the block; call what it gives with how many of `total` are done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(text, total=total)
        yield lambda done: progress.update(task, completed=done)


def aloud(text: str) -> None:
    """Says how far it is, on stderr."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201  # progress


def quiet(text: str) -> None:
    """Says nothing: stdout is for JSON."""

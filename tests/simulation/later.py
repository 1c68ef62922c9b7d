"""Runs the work of background threads without threads, so that the seed alone decides when it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Generic, TypeVar
from unittest.mock import patch

import streams.engine.recovery

Made = TypeVar("Made")


class Later(Generic[Made]):
    """A Future that is done at the third call of `done`."""

    def __init__(self, work: Callable[[], Made]) -> None:
        self._work = work
        self._asked = 0

    def done(self) -> bool:
        self._asked += 1
        return self._asked > 2

    def result(self) -> Made:
        return self._work()

    def exception(self) -> None:
        """None: the work runs, and raises, in `result`."""


class NoThreads:
    """The part of ThreadPoolExecutor that the product uses."""

    def __init__(self, *_: object, **__: object) -> None:
        """Takes the arguments of the real one."""

    def submit(self, work: Callable[..., Made], *args: object) -> Later[Made]:
        return Later(partial(work, *args))

    def shutdown(self) -> None:
        """Nothing runs."""


@contextmanager
def no_threads() -> Iterator[None]:
    """During the block, background work runs in the call of `result`."""
    with patch.object(streams.engine.recovery, "ThreadPoolExecutor", NoThreads):
        yield

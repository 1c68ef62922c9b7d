"""Work for a background thread, done without one: when it ends is part of the schedule, not of the machine's mood."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Generic, TypeVar
from unittest.mock import patch

import streams.engine.recovery
import streams.join.index

Made = TypeVar("Made")


class Later(Generic[Made]):
    """A Future that is found done when asked for the third time."""

    def __init__(self, work: Callable[[], Made]) -> None:
        self._work = work
        self._asked = 0

    def done(self) -> bool:
        self._asked += 1
        return self._asked > 2

    def result(self) -> Made:
        return self._work()

    def exception(self) -> None:
        """None: what it raises it raises when asked for its result."""


class NoThreads:
    """What the product uses of ThreadPoolExecutor."""

    def __init__(self, *_: object, **__: object) -> None:
        """Takes the arguments of the real one."""

    def submit(self, work: Callable[..., Made], *args: object) -> Later[Made]:
        return Later(partial(work, *args))

    def shutdown(self) -> None:
        """Nothing runs."""


@contextmanager
def no_threads() -> Iterator[None]:
    """Within the block, what runs in the background runs when its result is asked for."""
    with (
        patch.object(streams.join.index, "ThreadPoolExecutor", NoThreads),
        patch.object(streams.engine.recovery, "ThreadPoolExecutor", NoThreads),
    ):
        yield

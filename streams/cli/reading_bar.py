"""How much of the files was read, on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection
from types import TracebackType
from typing import Final, Self

from streams.inputs.files import FileLog

_WIDTH: Final = 30
_REDRAW_EVERY_S: Final = 0.2


class ReadingBar:
    """A bar on standard error while files are read; nothing where that is no terminal, or results go to one.

    `beside_output` says that results come after the bar, so that they may go to the same terminal.
    """

    def __init__(self, logs: Collection[FileLog], *, beside_output: bool = False) -> None:
        self._logs = logs
        self._is_on = bool(logs) and sys.stderr.isatty() and (beside_output or not sys.stdout.isatty())
        self._last_s = self._start_s = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._is_on:
            sys.stderr.write("\r\x1b[K")

    def show(self) -> None:
        """Draws the bar if it is time."""
        now_s = time.monotonic()
        if not self._is_on or now_s - self._last_s < _REDRAW_EVERY_S:
            return
        self._last_s = now_s
        part = sum(log.part_read for log in self._logs) / len(self._logs)
        left = f", {(now_s - self._start_s) * (1 - part) / part:,.0f} s left" if part else ""
        sys.stderr.write(f"\r{bar(part)} {part:.0%}{left}\x1b[K")
        sys.stderr.flush()


def bar(part: float) -> str:
    """A bar of which this part is done."""
    done = round(part * _WIDTH)
    return "█" * done + "░" * (_WIDTH - done)

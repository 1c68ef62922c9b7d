"""Idle inputs: when an input without records stops holding back the decisions that wait for it.

The watermark of a silent log does not rise, so every decision that waits for it waits on. When an input has been silent
for `idle_s`, the broker is asked for its end. If nothing is left to read, the fold writes a *seal*: a durable record
that raises the watermark of the silent input. The seal is a record of a log, so a replay decides the same without a
clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from schemas.records import Out
from streams.engine.fold import Fold


class Silence:
    """Since when each input of a task has given no record, in seconds of the runner's clock."""

    def __init__(self) -> None:
        self._since_s: dict[str, float] = {}

    def begin(self, logs: Iterable[str], now_s: float) -> None:
        """These inputs are read from now on."""
        self._since_s = dict.fromkeys(logs, now_s)

    def reset(self, log: str, now_s: float) -> None:
        """The input gave a record, or the broker was asked for its end: its silence starts again."""
        self._since_s[log] = now_s

    def silent_for(self, idle_s: float, now_s: float) -> list[str]:
        """The inputs silent for `idle_s` or longer."""
        return [log for log, since_s in self._since_s.items() if now_s - since_s >= idle_s]


def idle_seals(
    fold: Fold, silence: Silence, ends: Callable[[], Mapping[str, int]], *, idle_s: float, now_s: float
) -> list[Out]:
    """Seals for the inputs that have been silent for `idle_s` and have no lag. `ends` asks the broker for the log ends.

    The broker is asked about a silent input once per `idle_s`, whatever it answers.
    """
    silent = silence.silent_for(idle_s, now_s)
    if not silent:
        return []
    log_ends, positions = ends(), fold.positions()
    outs: list[Out] = []
    for log in silent:
        silence.reset(log, now_s)
        if positions[log] >= log_ends[log]:
            outs += fold.seal(log)
    return outs

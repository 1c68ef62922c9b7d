"""Idle inputs: when inputs without records stop holding back the decisions that wait for them.

A log that falls silent holds back its watermark, and with it every decision that waits for that watermark. So the fold
writes *seals*: durable records that raise the watermark of a silent input. Because a seal is a record of a log, a
replay decides the same without a clock.

One input silent for `idle_s` while another goes on: a seal raises its watermark to that of the other. All inputs silent
for `close_idle_s`: seals raise both by the time that has passed. In either case the broker, asked then, must say that
nothing is left to read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from schemas.records import Out
from streams.engine.fold import Fold


class Silence:
    """Since when each input of a task has given no record, in seconds of the runner's clock."""

    def __init__(self) -> None:
        self._last_record_s: dict[str, float] = {}
        self._looked_at_s: dict[str, float] = {}
        self._advanced_s = 0.0

    def begin(self, logs: Iterable[str], now_s: float) -> None:
        """These inputs are read from now on."""
        self._last_record_s = dict.fromkeys(logs, now_s)
        self._looked_at_s = dict(self._last_record_s)
        self._advanced_s = now_s

    def reset(self, log: str, now_s: float) -> None:
        """The input gave a record."""
        self._last_record_s[log] = self._looked_at_s[log] = self._advanced_s = now_s

    def to_look_at(self, idle_s: float, now_s: float) -> list[str]:
        """The inputs that gave no record and were not looked at for `idle_s` or longer. They count as looked at now."""
        due = [log for log, looked_at_s in self._looked_at_s.items() if now_s - looked_at_s >= idle_s]
        self._looked_at_s.update(dict.fromkeys(due, now_s))
        return due

    def to_advance(self, close_idle_s: float, now_s: float) -> float:
        """How long all inputs have been silent, in seconds, once per `close_idle_s`; else 0."""
        if not close_idle_s or now_s - self._advanced_s < close_idle_s:
            return 0.0
        self._advanced_s = now_s
        return now_s - max(self._last_record_s.values(), default=now_s)


def idle_seals(
    fold: Fold,
    silence: Silence,
    ends: Callable[[], Mapping[str, int]],
    *,
    idle_s: float,
    close_idle_s: float,
    now_s: float,
    wall_s: int,
) -> list[Out]:
    """Seals for inputs that have been silent and have no lag. `ends` asks the broker for the log ends.

    `now_s` is the runner's clock, `wall_s` UTC; `close_idle_s` 0: a task of which all inputs are silent stays as it is.
    """
    silent = silence.to_look_at(idle_s, now_s)
    silent_s = silence.to_advance(close_idle_s, now_s)
    if not silent and not silent_s:
        return []
    log_ends, positions = ends(), fold.positions()
    read = {log for log in positions if positions[log] >= log_ends[log]}
    outs: list[Out] = []
    for log in silent:
        if log in read:
            outs += fold.seal(log, now_ms=wall_s * 1000)
    if silent_s and read == positions.keys():
        outs += fold.advance(silent_ms=int(silent_s * 1000), now_ms=wall_s * 1000)
    return outs

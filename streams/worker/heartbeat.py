"""Whether a worker's loop turns: one heartbeat for `/livez`, `/readyz` and the watchdog, the same for all workers."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

import structlog

from streams.kafka.transactions import LONGEST_SETTLE_S

# Beats come after each batch, each transaction and each wait for Kafka. The longest of these waits that has an end is
# a transaction that does not end, and then a new producer: 95 s with Kafka frozen.
STUCK_S: Final = 120.0
assert STUCK_S > LONGEST_SETTLE_S + 20.0
# A worker that does what it is for beats several times a second. One that is silent for so long waits for Kafka. The
# learner notices a frozen Kafka 5 s late, at its next commit, and /readyz must say so within 15 s.
QUIET_S: Final = 6.0
# The codes that a worker ends with by itself are 0, 1 and 2.
STUCK_EXIT_CODE: Final = 3


class Heartbeat:
    """When a worker's loop last turned. `beat` may be called from any thread.

    The loop is *stuck* once it has been silent for `stuck_s`: it neither turns nor waits for Kafka within a bound. Of a
    worker with several loops, see `loops`, the most silent one counts.
    """

    def __init__(self, *, stuck_s: float = STUCK_S, clock_s: Callable[[], float] = time.monotonic) -> None:
        self.stuck_s = stuck_s
        self._clock_s = clock_s
        self._beats_s = [clock_s()]

    def beat(self) -> None:
        """The loop has turned, or a wait for Kafka is over; of several loops, each of them."""
        self._beats_s = [self._clock_s()] * len(self._beats_s)

    def loops(self, count: int) -> list[Callable[[], None]]:
        """The beats of the loops of a worker that has so many. Call it once, before the first of them turns."""
        self._beats_s = [self._clock_s()] * count
        return [partial(self._beat_loop, number) for number in range(count)]

    def _beat_loop(self, number: int) -> None:
        self._beats_s[number] = self._clock_s()

    @property
    def silent_s(self) -> float:
        """Seconds since the last beat, of several loops the longest."""
        return self._clock_s() - min(self._beats_s)

    def stuck(self) -> bool:
        """Whether only a new process helps."""
        return self.silent_s >= self.stuck_s

    def quiet(self) -> bool:
        """Whether the loop waits, and so does not do what the worker is for."""
        return self.silent_s >= QUIET_S


@contextlib.contextmanager
def watched(
    heartbeat: Heartbeat, log: structlog.stdlib.BoundLogger, *, end: Callable[[int], None] = os._exit
) -> Iterator[None]:
    """Ends the process with `STUCK_EXIT_CODE` when the loop is stuck while the block runs; stderr says where it is.

    A supervisor that asks `/livez` has a quarter of `stuck_s` to act before that. A process that was frozen as a whole
    is not stuck when it goes on.
    """
    over = threading.Event()
    look_s, frozen_s = heartbeat.stuck_s / 60, heartbeat.stuck_s / 4

    def watch() -> None:
        looked_s = time.monotonic()
        while not over.wait(look_s):
            now_s = time.monotonic()
            if now_s - looked_s > frozen_s:
                heartbeat.beat()
            looked_s = now_s
            if heartbeat.silent_s >= 1.25 * heartbeat.stuck_s:
                log.error("stuck: the process ends, to be started again", silent_s=round(heartbeat.silent_s))
                faulthandler.dump_traceback(sys.stderr)
                end(STUCK_EXIT_CODE)
                return

    thread = threading.Thread(target=watch, name="watchdog", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()

"""The life of a worker's process, the same for all workers: signals, start, health and metrics, new tries, the end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from types import FrameType
from typing import Final, Protocol

import structlog
from prometheus_client.core import Metric

from schemas.errors import ClickfoldError, Fenced, TaskLost, Transient
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.slots import Fences, taken_twice
from streams.kafka.topic_settings import check_topic_settings
from streams.worker.heartbeat import Heartbeat, watched
from streams.worker.metrics import OF_RUN
from streams.worker.observe import Collected, Health, log_to_stderr, require_free_port, served

Log = structlog.stdlib.BoundLogger
# A worker that fails to come back this often in a row ends, so that whoever supervises it can see.
MOST_TRIES: Final = 20
_LONGEST_WAIT_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Signals:
    """What a worker was asked by signal.

    `stop`, by SIGTERM or SIGINT: drain, commit, checkpoint, leave. A second one of these ends the process at once.
    `ended`, by SIGUSR1: the inputs hold all there will ever be. The join and the learner read them to their ends,
    decide all and leave; other workers ignore it.
    """

    stop: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    def catch(self) -> None:
        """From now on the process's signals set the events. For the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop_or_die)
        signal.signal(signal.SIGUSR1, lambda _number, _frame: self.ended.set())

    def _stop_or_die(self, number: int, _frame: FrameType | None) -> None:
        if self.stop.is_set():
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.stop.set()


# Serves something while its block runs, health and metrics with it.
Web = Callable[[Health, Collected], AbstractContextManager[object]]


class Worker(Protocol):
    """What the lifecycle needs of a worker."""

    @property
    def name(self) -> str:
        """Its name in the log: join, learn, pace, sink, serve."""
        ...

    def work(self, signals: Signals, log: Log) -> None:
        """One try: from what is committed, until a signal. Raises Transient or TaskLost when another may succeed."""
        ...

    @property
    def heartbeat(self) -> Heartbeat:
        """Beats while its loop turns or waits for Kafka."""
        ...

    def advanced(self) -> bool:
        """Whether the last try got anything done."""
        ...

    def ready(self) -> bool:
        """Whether it does now what it is for, as far as it can see; a silent loop counts as not ready anyway."""
        ...

    def metrics(self) -> Iterator[Metric]:
        """Its numbers as of now, those that count since the process began also between two tries."""
        ...


def run_worker(
    worker: Worker,
    cluster: Cluster,
    *,
    metrics_host: str,
    metrics_port: int,
    web: Web | None = None,
) -> None:
    """Runs a worker until a signal ends it; serves its health and metrics unless the port is 0.

    `web` serves what the worker has beside them, while it works. A worker that is stuck ends its process, see
    `heartbeat.watched`.

    Raises SettingsError, Transient when no broker answers at the start, ClickfoldError after too many faults in a row.
    """
    log = log_to_stderr().bind(worker=worker.name)
    for text in check_topic_settings(Admin(cluster), cluster, worker=worker.name):
        log.warning("topic settings", text=text)
    require_free_port("--metrics-port", metrics_host, metrics_port)
    signals = Signals()
    signals.catch()
    heartbeat = worker.heartbeat
    health = Health(live=lambda: not heartbeat.stuck(), ready=lambda: worker.ready() and not heartbeat.quiet())
    collected = Collected(worker.metrics, of_run=OF_RUN)
    with ExitStack() as stack:
        stack.enter_context(served(host=metrics_host, port=metrics_port, health=health, collected=collected))
        if web is not None:
            stack.enter_context(web(health, collected))
        stack.enter_context(watched(heartbeat, log))
        persistently(
            lambda: worker.work(signals, log), signals.stop, log, advanced=worker.advanced, beat=heartbeat.beat
        )


def persistently(
    work: Callable[[], None],
    stop: threading.Event,
    log: Log,
    *,
    advanced: Callable[[], bool],
    beat: Callable[[], None] = lambda: None,
) -> None:
    """Does `work` until it returns or `stop` is set, and again after a passing fault; `beat` before each wait and try.

    Raises ClickfoldError after too many faults in a row between which nothing `advanced`, and SlotTaken when another
    worker has fenced this one twice within a minute.
    """
    tries = 0
    fences = Fences()
    while not stop.is_set():
        beat()
        try:
            work()
        except (Transient, TaskLost) as error:
            if isinstance(error, Fenced) and fences.twice():
                raise taken_twice("its slot") from error
            tries = 1 if advanced() else tries + 1
            if tries >= MOST_TRIES:
                raise ClickfoldError(f"gave up after {tries} tries in a row: {error}") from error
            wait_s = min(_LONGEST_WAIT_S, getattr(error, "retry_after_s", 1.0) * 2 ** min(tries - 1, 5))
            log.warning("trying again", after_s=wait_s, why=str(error))
            beat()
            stop.wait(wait_s)
        else:
            return

"""The workers as the lifecycle runs them: how each does one try, and what it says about itself meanwhile."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Final

import orjson
from prometheus_client.core import Metric

from streams.engine.runner import Runner
from streams.pacing.settings import PacingProgress, PacingSettings
from streams.sink.settings import Progress, SinkSettings
from streams.state.disk import Folder
from streams.worker.lifecycle import Log, Signals
from streams.worker.memory import collect_rarely, trim
from streams.worker.metrics import pace_metrics, runner_metrics, sink_metrics
from streams.worker.observe import require_free_port

# A turn of the loop takes well under a second; a recovery that loads a large checkpoint may take some.
_STUCK_S: Final = 60.0
# `trim` takes 6 to 22 ms each time.
_TRIM_EVERY_S: Final = 10.0
_VIEW_S: Final = 2.0


class RunnerWorker:
    """A worker that is a runner over folds: the join, and the learner. `open_runner` is given a function to warn."""

    def __init__(
        self, name: str, open_runner: Callable[[Callable[[str], None]], AbstractContextManager[Runner]]
    ) -> None:
        self.name = name
        self._open_runner = open_runner
        self._runner: Runner | None = None
        self._turned_s = self._trimmed_s = time.monotonic()

    def work(self, signals: Signals, log: Log) -> None:
        """Opens a runner and lets it work until a signal."""

        def stopped() -> bool:
            self._turn()
            return signals.stop.is_set()

        self._runner = None
        with self._open_runner(lambda text: log.warning("recovery", text=text)) as runner:
            self._runner = runner
            log.info("started")
            runner.run(stopped, signals.ended.is_set)
            log.info("stopped", commits=runner.progress.commits, records=runner.progress.records)

    def _turn(self) -> None:
        self._turned_s = time.monotonic()
        if self._turned_s - self._trimmed_s > _TRIM_EVERY_S:
            trim()
            self._trimmed_s = self._turned_s

    def advanced(self) -> bool:
        """Whether the last try has committed."""
        return self._runner is not None and self._runner.progress.commits > 0

    def live(self) -> bool:
        """Whether its loop turns."""
        return time.monotonic() - self._turned_s < _STUCK_S

    def ready(self) -> bool:
        """Whether the runner has its partitions and works on all of them."""
        runner = self._runner  # replaced by another thread
        return runner is not None and runner.ready()

    def metrics(self) -> Iterator[Metric]:
        """Those of the runner; none while there is no runner."""
        runner = self._runner
        if runner is not None:
            yield from runner_metrics(runner)


class SinkWorker:
    """The sink."""

    name = "sink"

    def __init__(self, settings: SinkSettings) -> None:
        self._settings = settings
        self._progress = Progress()
        self._inserts_before = 0
        collect_rarely()

    def work(self, signals: Signals, log: Log) -> None:
        """Reads and inserts until a signal."""
        from streams.sink.worker import run  # each worker imports only its own

        self._inserts_before = self._progress.inserts
        log.info("started")
        run(self._settings, signals.stop, self._progress)
        log.info("stopped", inserts=self._progress.inserts)

    def advanced(self) -> bool:
        """Whether ClickHouse has acknowledged an insert in the last try."""
        return self._progress.inserts > self._inserts_before

    def live(self) -> bool:
        """Always: the sink waits for ClickHouse as long as it takes."""
        return True

    def ready(self) -> bool:
        """Whether it has partitions and ClickHouse takes rows."""
        return self._progress.partitions > 0 and not self._progress.waiting_for

    def metrics(self) -> Iterator[Metric]:
        """Those of the sink."""
        return sink_metrics(self._progress)


class PacingWorker:
    """The pacing worker. Raises SettingsError when its folder cannot be written or its port is taken."""

    name = "pace"

    def __init__(self, settings: PacingSettings) -> None:
        self._settings = settings
        self._progress = PacingProgress()
        self._ticks_before = 0
        Folder(settings.data_dir).close()
        require_free_port("--web-port", settings.web_host, settings.web_port)

    def work(self, signals: Signals, log: Log) -> None:
        """Counts and decides until a signal."""
        from streams.pacing.worker import run  # Faust takes a second to import

        self._ticks_before = self._progress.ticks
        log.info("started")
        run(self._settings, signals.stop, self._progress)
        log.info("stopped", ticks=self._progress.ticks)

    def advanced(self) -> bool:
        """Whether it has decided on its partitions in the last try."""
        return self._progress.ticks > self._ticks_before

    def live(self) -> bool:
        """Whether its view answers, once it is ready."""
        return not self._progress.ready or bool(self._view())

    def ready(self) -> bool:
        """Whether it has read its state back."""
        return self._progress.ready

    def metrics(self) -> Iterator[Metric]:
        """Those of its view; none before it is ready."""
        if self._progress.ready:
            yield from pace_metrics(self._view())

    def _view(self) -> dict[str, Any]:
        # Over HTTP, so that the app's own thread reads its state.
        address = f"http://{self._settings.web_host}:{self._settings.web_port}/pacing"
        with urllib.request.urlopen(address, timeout=_VIEW_S) as answer:
            view: dict[str, Any] = orjson.loads(answer.read())
            return view

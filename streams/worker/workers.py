"""The workers as the lifecycle runs them: how each does one try, and what it says about itself meanwhile."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Final, Protocol

from prometheus_client.core import Metric

from schemas.codec import encode
from streams.engine.pace import RunnerProgress
from streams.engine.runner import Runner
from streams.kafka.topic_watch import TopicWatch
from streams.kafka.watched import pace_topics
from streams.pacing.settings import PacingProgress, PacingSettings
from streams.sink.settings import Progress, SinkSettings
from streams.state.disk import Folder
from streams.worker.heartbeat import QUIET_S, Heartbeat
from streams.worker.held import HeldWatch
from streams.worker.keys_watch import KeysWatch
from streams.worker.late import LateWatch
from streams.worker.lifecycle import Log, Signals
from streams.worker.memory import collect, collect_rarely, return_freed, trim
from streams.worker.metrics import pace_metrics, runner_metrics, sink_metrics
from streams.worker.observe import Answer, Collected, Health, Page, require_free_port, served
from streams.worker.slot_folder import held_slot

if TYPE_CHECKING:
    from streams.pacing.view import Summary

# `trim` takes 6 to 22 ms each time.
_TRIM_EVERY_S: Final = 10.0
# `collect` takes about 0.1 s.
_COLLECT_EVERY_S: Final = 60.0


class OpenRunner(Protocol):
    """Opens a runner for one try. See `Runner` for what it is given."""

    def __call__(
        self, warn: Callable[[str], None], *, progress: RunnerProgress, beat: Callable[[], None]
    ) -> AbstractContextManager[Runner]: ...


class RunnerWorker:
    """A worker that is a runner over folds: the join, and the learner."""

    def __init__(self, name: str, open_runner: OpenRunner, heartbeat: Heartbeat | None = None) -> None:
        self.name = name
        self.heartbeat = heartbeat or Heartbeat()
        self._open_runner = open_runner
        self._runner: Runner | None = None
        # Of all tries.
        self._progress = RunnerProgress()
        self._tries = self._commits_before = 0
        self._trimmed_s = time.monotonic()

    def work(self, signals: Signals, log: Log) -> None:
        """Opens a runner and lets it work until a signal."""

        watches = (
            LateWatch(lambda text: log.warning("late records", text=text)),
            HeldWatch(lambda text: log.warning("model", text=text)),
            KeysWatch(lambda text: log.warning("keys", text=text)),
        )

        def stopped() -> bool:
            self._now_and_then(watches)
            return signals.stop.is_set()

        def warn(text: str) -> None:
            log.warning("recovery", text=text)

        progress = self._progress
        progress.recoveries += self._tries > 0
        self._tries += 1
        self._commits_before = progress.commits
        with self._open_runner(warn, progress=progress, beat=self.heartbeat.beat) as runner:
            self._runner = runner
            try:
                log.info("started")
                runner.run(stopped, signals.ended.is_set)
                log.info("stopped", commits=progress.commits, records=progress.records)
            finally:
                self._runner = None

    def _now_and_then(self, watches: Sequence[LateWatch | HeldWatch | KeysWatch]) -> None:
        now_s = time.monotonic()
        if now_s - self._trimmed_s > _TRIM_EVERY_S:
            trim()
            if self._runner is not None:
                for watch in watches:
                    watch.look(self._runner.folds())
            self._trimmed_s = now_s

    def advanced(self) -> bool:
        """Whether the last try has committed."""
        return self._progress.commits > self._commits_before

    def ready(self) -> bool:
        """Whether the runner has its partitions and works on all of them."""
        runner = self._runner  # replaced by another thread
        return runner is not None and runner.ready()

    def metrics(self) -> Iterator[Metric]:
        """What was counted since the process began, and what the runner of this try says."""
        return runner_metrics(self._progress, self._runner)


class SinkWorker:
    """The sink."""

    name = "sink"

    def __init__(self, settings: SinkSettings, heartbeat: Heartbeat | None = None) -> None:
        self.heartbeat = heartbeat or Heartbeat()
        self._settings = settings
        self._progress = Progress()
        self._tries = self._inserts_before = 0
        self._collected_s = time.monotonic()
        collect_rarely()

    def work(self, signals: Signals, log: Log) -> None:
        """Reads and inserts until a signal."""
        from streams.sink.worker import run  # each worker imports only its own

        self._progress.recoveries += self._tries > 0
        self._tries += 1
        self._inserts_before = self._progress.inserts
        log.info("started")
        run(self._settings, signals.stop, self._progress, self._beat)
        log.info("stopped", inserts=self._progress.inserts)

    def _beat(self) -> None:
        self.heartbeat.beat()
        now_s = time.monotonic()
        if now_s - self._collected_s > _COLLECT_EVERY_S:
            collect()
            self._collected_s = now_s

    def advanced(self) -> bool:
        """Whether ClickHouse has acknowledged an insert in the last try."""
        return self._progress.inserts > self._inserts_before

    def ready(self) -> bool:
        """Whether it has partitions and ClickHouse takes rows."""
        since_s = self._progress.insert_since_s  # changed by another thread
        waits = since_s is not None and time.monotonic() - since_s > QUIET_S
        return self._progress.partitions > 0 and not self._progress.waiting_for and not waits

    def metrics(self) -> Iterator[Metric]:
        """Those of the sink."""
        return sink_metrics(self._progress)


class PacingWorker:
    """The pacing worker. Raises SettingsError when its folder cannot be written or its port is taken."""

    name = "pace"

    def __init__(self, settings: PacingSettings, heartbeat: Heartbeat | None = None) -> None:
        self.heartbeat = heartbeat or Heartbeat()
        self._settings = settings
        self._counting, self._gating = self.heartbeat.loops(2)
        self._progress = PacingProgress()
        self._judged = Counter[str]()
        self._tries = self._ticks_before = 0
        self._summary: Summary | None = None
        Folder(settings.data_dir).close()
        require_free_port("--web-port", settings.web_host, settings.web_port)

    def work(self, signals: Signals, log: Log) -> None:
        """Judges campaigns, counts and decides until a signal."""
        from streams.pacing.join_progress import JoinProgress
        from streams.pacing.topics import prepare_topics
        from streams.pacing.worker import run  # Faust takes a second to import
        from streams.worker.gate import Gate

        return_freed()
        collect_rarely()
        self._progress.recoveries += self._tries > 0
        self._tries += 1
        self._ticks_before = self._progress.ticks

        def warn(text: str) -> None:
            log.warning("gate", text=text)

        settings = self._settings
        watched = pace_topics(settings.cluster, settings.group, changelog=settings.changelog)
        watch = TopicWatch(settings.cluster, watched, lambda text: log.warning("topics", text=text))
        # First, because other checks would name what follows from the change.
        watch.look()
        # Before a record is judged.
        partitions = prepare_topics(settings)
        gate = Gate(settings, partitions, self._judged, warn, beat=self._gating, meanwhile=self._counting)
        join = JoinProgress(settings.cluster, lambda text: log.warning("join progress", text=text))
        with self._held(log), watch, join, gate:
            log.info("started")

            def stopped() -> bool:
                return signals.stop.is_set() or gate.failed()

            run(settings, partitions, stopped, self._progress, self._counting, watch, join)
            log.info("stopped", ticks=self._progress.ticks)

    def _held(self, log: Log) -> AbstractContextManager[None]:
        settings = self._settings
        if not settings.slot:
            return nullcontext()
        return held_slot(
            settings.slot_in_group(),
            settings.data_dir,
            session_timeout_s=settings.session_timeout_s,
            warn=lambda text: log.warning("slot", text=text),
            beat=self._counting,
        )

    def advanced(self) -> bool:
        """Whether it has decided on its partitions in the last try."""
        return self._progress.ticks > self._ticks_before

    def ready(self) -> bool:
        """Whether it has read its state back, and Kafka answers it."""
        answered_s = time.monotonic() - self._progress.answered_s
        return self._progress.ready and answered_s < self._settings.session_timeout_s

    def metrics(self) -> Iterator[Metric]:
        """What was counted since the process began, and the last summary of its campaigns."""
        views = self._progress.views  # replaced by another thread
        if views is not None:
            self._summary = views.summary() or self._summary
        return pace_metrics(self._progress.recoveries, self._judged, self._summary)

    def web(self, health: Health, collected: Collected) -> AbstractContextManager[None]:
        """Serves `/pacing` with all campaigns of this worker, and `/pacing/{campaign_id}` with the days of one."""
        pages: dict[str, Page] = {"/pacing": self._worker_page, "/pacing/{campaign_id}": self._campaign_page}
        host, port = self._settings.web_host, self._settings.web_port
        return served(host=host, port=port, health=health, collected=collected, pages=pages)

    def _worker_page(self, _: Mapping[str, str]) -> Answer:
        views = self._progress.views
        view = views.worker() if views is not None else None
        return _not_now() if view is None else Answer(200, encode(view))

    def _campaign_page(self, names: Mapping[str, str]) -> Answer:
        views = self._progress.views
        view = views.campaign(names["campaign_id"]) if views is not None else None
        if view is None:
            return _not_now()
        if view.campaign is None:
            return Answer(404, encode({"error": f"campaign {names['campaign_id']} is not known to this worker"}))
        return Answer(200, encode(view.campaign))


def _not_now() -> Answer:
    return Answer(503, encode({"error": "the worker is not ready; try again"}))

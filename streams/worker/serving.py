"""The server of predictions as the lifecycle runs it. Apart from the other workers, which load no kernels of models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client.core import Metric

from schemas.compiled import load_kernels
from streams.campaigns.book import Book
from streams.serve.application import application
from streams.serve.campaigns import CampaignCalls
from streams.serve.following import follow
from streams.serve.limits import GRACE_S
from streams.serve.models import Models
from streams.serve.progress import Serving
from streams.serve.server import server_config
from streams.serve.settings import ServeSettings
from streams.worker.heartbeat import Heartbeat
from streams.worker.lifecycle import Log, Signals
from streams.worker.memory import collect_rarely
from streams.worker.metrics import serve_metrics
from streams.worker.observe import Collected, Health, health_routes, listening, require_free_port


class ServeWorker:
    """The server of predictions. Raises SettingsError when its port is taken."""

    name = "serve"

    def __init__(self, settings: ServeSettings, heartbeat: Heartbeat | None = None) -> None:
        self.heartbeat = heartbeat or Heartbeat()
        self._settings = settings
        self._serving = Serving(Models(settings.model, settings.shard))
        self._tries = 0
        self._stopping = False
        require_free_port("--port", settings.host, settings.port)

    def work(self, signals: Signals, log: Log) -> None:
        """Follows models and decisions until a signal."""
        self._serving.recoveries += self._tries > 0
        self._tries += 1
        log.info("started")
        follow(self._settings, self._serving, signals.stop.is_set, self.heartbeat.beat, log)
        # Calls under way are finished when the block of `web` ends.
        self._stopping = True
        log.info("stopping", requests=sum(self._serving.requests.values()))

    def advanced(self) -> bool:
        """Whether there is a model: then it serves on, however often Kafka fails."""
        return self._serving.models.served is not None

    def ready(self) -> bool:
        """Whether calls have an answer."""
        return self._serving.ready() and not self._stopping

    def metrics(self) -> Iterator[Metric]:
        """What was served since the process began, and which model serves."""
        return serve_metrics(self._serving)

    @contextmanager
    def web(self, health: Health, collected: Collected) -> Iterator[None]:
        """Serves the application."""
        load_kernels()
        # A look at all objects takes longer than a call may.
        collect_rarely()
        settings = self._settings
        campaigns = CampaignCalls(settings.campaigns_token, lambda: Book(settings.cluster), self._serving.decisions)
        routes = [*campaigns.routes(), *health_routes(health, collected)]
        config = server_config(application(self._serving, routes), host=settings.host, port=settings.port)
        with listening(config, stop_s=GRACE_S + 1.0) as server:
            self._serving.connections = server.server_state.connections
            yield

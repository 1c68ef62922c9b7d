"""How to see what a running worker does: structured log lines, Prometheus metrics, and whether it is live and ready."""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import structlog
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.samples import Sample
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from schemas.errors import SettingsError


def log_to_stderr() -> structlog.stdlib.BoundLogger:
    """One JSON line an event on stderr; a terminal gets the readable form."""
    renderer = (
        structlog.dev.ConsoleRenderer(colors=True) if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    logger: structlog.stdlib.BoundLogger = structlog.get_logger()
    return logger


@dataclass(frozen=True, slots=True)
class Health:
    """Called at every request: whether the worker makes progress, and whether it is at work."""

    live: Callable[[], bool]
    ready: Callable[[], bool]


class Answer(NamedTuple):
    """What a page says: an HTTP status and a JSON document."""

    status: int
    body: bytes


# Given the names in its path.
Page = Callable[[Mapping[str, str]], Answer]


class Collected:
    """Metrics read from the worker at each request, not pushed on the hot path. One family a name.

    Counters never fall while the process runs. A worker that begins again counts from 0, which is added to what it had
    counted before. Counts of a whole run (`of_run`) go back to the last commit and come again: the highest is shown.
    """

    def __init__(self, collect: Callable[[], Iterator[Metric]], *, of_run: Iterable[str] = ()) -> None:
        self._collect = collect
        self._of_run = frozenset(of_run)
        self._lock = threading.Lock()
        # By name and labels: the last value, and what is added to it.
        self._seen: dict[tuple[str, ...], tuple[float, float]] = {}

    def collect(self) -> Iterable[Metric]:
        """The families, samples of one name together as the format wants them."""
        families: dict[str, Metric] = {}
        with self._lock:
            for metric in self._collect():
                if metric.type == "counter":
                    metric.samples = [self._never_falling(metric.name, sample) for sample in metric.samples]
                families.setdefault(metric.name, metric)
                if families[metric.name] is not metric:
                    families[metric.name].samples += metric.samples
        return families.values()

    def _never_falling(self, name: str, sample: Sample) -> Sample:
        key = (name, *sample.labels.values())
        last, before = self._seen.get(key, (0.0, 0.0))
        value = max(last, sample.value) if name in self._of_run else sample.value
        if value < last:
            before += last
        self._seen[key] = value, before
        return sample._replace(value=value + before)


def require_free_port(option: str, host: str, port: int) -> None:
    """Raises SettingsError, naming the option, unless the port can be listened on now: a server would print a stack.

    0 means that nothing is served.
    """
    if port == 0:
        return
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        why = str(error.strerror).partition(" (")[0]  # create_server says the address again
        raise SettingsError(f"{option} {port} on {host} cannot be served ({why}); give another") from error


def health_routes(health: Health, collected: Collected) -> list[Route]:
    """/livez, /readyz and /metrics. Plain functions run in threads of their own, so that a slow one holds up none."""
    registry = CollectorRegistry()
    registry.register(collected)

    def probe(good: Callable[[], bool]) -> Callable[[Request], Response]:
        def answer(_: Request) -> Response:
            fine = good()
            return PlainTextResponse("ok\n" if fine else "not yet\n", 200 if fine else 503)

        return answer

    def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return [
        Route("/livez", probe(health.live)),
        Route("/readyz", probe(health.ready)),
        Route("/metrics", metrics),
    ]


@contextlib.contextmanager
def served(
    *,
    host: str,
    port: int,
    health: Health,
    collected: Collected,
    pages: Mapping[str, Page] | None = None,
) -> Iterator[None]:
    """Serves /metrics, /livez, /readyz and the `pages` by path while the block runs; nothing when `port` is 0."""
    if port == 0:
        yield
        return

    def page(answer: Page) -> Callable[[Request], Response]:
        def respond(request: Request) -> Response:
            status, body = answer(request.path_params)
            return Response(body, status, media_type="application/json")

        return respond

    routes = [*health_routes(health, collected), *(Route(path, page(answer)) for path, answer in (pages or {}).items())]
    # Named, because with uvloop and httptools installed uvicorn would take those, for nothing.
    config = uvicorn.Config(
        Starlette(routes=routes),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        loop="asyncio",
        http="h11",
    )
    with listening(config, stop_s=5.0):
        yield


@contextlib.contextmanager
def listening(config: uvicorn.Config, *, stop_s: float) -> Iterator[uvicorn.Server]:
    """A server in a thread of its own while the block runs; its end is waited for so long."""
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="http", daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.02)
        if not thread.is_alive():
            raise SettingsError(f"port {config.port} on {config.host} cannot be served; give another one")
    try:
        yield server
    finally:
        server.should_exit = True
        thread.join(stop_s)

"""Runs the pacing worker in this process until it is told to stop."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable

import structlog
from aiokafka.errors import KafkaConnectionError  # type: ignore[import-untyped]  # aiokafka publishes no types

from schemas.errors import Transient
from streams.pacing.app import PaceWorker
from streams.pacing.settings import PacingSettings, prepare_topics

log = structlog.get_logger("pace")

_LOOK_S = 0.05
STOP_BOUND_S = 10.0


def run(
    settings: PacingSettings, on_ready: Callable[[], None] | None = None, stop: threading.Event | None = None
) -> None:
    """Works until SIGTERM, SIGINT or `stop`. Raises what stopped it otherwise: start again, or read what it says.

    `on_ready` is called once, when state is read back and records are about to be. Signals are only caught in the main
    thread; elsewhere give `stop`.
    """
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(serve(settings, on_ready=on_ready, stop=stop))
    finally:
        _close(loop)


async def serve(
    settings: PacingSettings, *, on_ready: Callable[[], None] | None = None, stop: threading.Event | None = None
) -> None:
    """The same in the running event loop."""
    told = stop or threading.Event()
    loop = asyncio.get_running_loop()
    caught = (signal.SIGTERM, signal.SIGINT) if threading.current_thread() is threading.main_thread() else ()
    for number in caught:
        loop.add_signal_handler(number, told.set)
    try:
        partitions = await asyncio.to_thread(prepare_topics, settings)
        worker = PaceWorker(settings, partitions=partitions, on_ready=on_ready)
        app = worker.app
        # Not through faust.Worker: it would set up logging, change folder and title of the process, and exit it.
        app.in_worker = True
        try:
            try:
                await app.start()
            except KafkaConnectionError as failure:
                # Faust's producer asks only once.
                raise Transient(f"no Kafka broker answers at {settings.bootstrap_servers}: {failure}") from failure
            # A thread waiting for `told` could not be called off when the app crashes.
            while not told.is_set() and not app.should_stop:  # noqa: ASYNC110
                await asyncio.sleep(_LOOK_S)
            if not app.should_stop:
                await worker.drain()
        finally:
            # Faust waits for whatever it has started, also for what will not end once a part of it crashed.
            await asyncio.wait([asyncio.ensure_future(app.stop())], timeout=STOP_BOUND_S)
        if app.crash_reason is not None:
            raise app.crash_reason
        log.info("stopped")
    finally:
        for number in caught:
            loop.remove_signal_handler(number)


def _close(loop: asyncio.AbstractEventLoop) -> None:
    # asyncio.run waits for every task to end after its cancellation; some of Faust's begin anew.
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=1.0))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()

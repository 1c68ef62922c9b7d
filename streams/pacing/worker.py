"""Runs the pacing worker in this process until it is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import faust
from aiokafka.errors import KafkaConnectionError, KafkaError  # type: ignore[import-untyped]  # it publishes no types
from faust.exceptions import ConsumerNotStarted, ProducerSendError

from schemas.errors import ClickfoldError, Transient
from streams.kafka.topic_watch import TopicWatch
from streams.pacing.app import PacingApp
from streams.pacing.join_progress import JoinProgress
from streams.pacing.settings import PacingProgress, PacingSettings
from streams.pacing.views import Views

_LOOK_S: Final = 0.05
# Stopping takes 0.25 s (2026-11-29), on a machine with nine busy processes a core some seconds. A part that has not
# stopped after a hundred times the usual waits for something that does not come.
_STOP_BOUND_S: Final = 30.0
# What ends the app when Kafka fails it; Faust wraps some of aiokafka's errors.
_KAFKA_FAULTS: Final = (KafkaError, ProducerSendError, ConsumerNotStarted)


def run(
    settings: PacingSettings,
    partitions: int,
    stopped: Callable[[], bool],
    progress: PacingProgress,
    beat: Callable[[], None],
    watch: TopicWatch,
    join: JoinProgress,
) -> None:
    """Works until `stopped` says so, then counts and decides on what was received, and leaves.

    `partitions`: see `topics.prepare_topics`. `beat` is called at each turn, and while it waits for Kafka.
    Raises SettingsError, TopicsChanged, LostHistory, and Transient for faults of Kafka: another call goes on from the
    changelog. Any other exception is a bug.
    """
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(_serve(settings, partitions, stopped, progress, beat, watch, join))
    finally:
        progress.ready = False
        _close(loop)


async def _serve(
    settings: PacingSettings,
    partitions: int,
    stopped: Callable[[], bool],
    progress: PacingProgress,
    beat: Callable[[], None],
    watch: TopicWatch,
    join: JoinProgress,
) -> None:
    worker = PacingApp(settings, partitions=partitions, progress=progress, beat=beat, watch=watch, join=join)
    app = worker.app
    # Not through faust.Worker: it would set up logging, change folder and title of the process, and exit it.
    app.in_worker = True
    progress.views = Views(worker, asyncio.get_running_loop())
    keeping = asyncio.ensure_future(_keep_slot(settings))

    def check() -> None:
        # Before it has partitions Faust does not see either of the two, and waits for ever.
        if keeping.done():
            keeping.result()
        if worker.group_error is not None:
            raise Transient(f"Kafka failed: {worker.group_error!r}") from worker.group_error

    starting = asyncio.ensure_future(app.start())
    try:
        # A thread waiting for an event could not be cancelled when the app crashes.
        while not stopped() and not app.should_stop:
            check()
            if not progress.ready:
                beat()  # it reads its state back
            if starting.done() and starting.exception() is not None:
                break
            await asyncio.sleep(_LOOK_S)
        if starting.done():
            _raise_start(starting, settings)
            if not app.should_stop:
                await worker.drain()
    finally:
        starting.cancel()
        keeping.cancel()
        progress.views = None
        beat()
        ended = await _stop(app)
        beat()
    # Parts of the app that end with it may have given their own errors as the reason.
    watch.check()
    if app.crash_reason is None:
        return
    if not isinstance(app.crash_reason, (*_KAFKA_FAULTS, Transient)):
        raise app.crash_reason
    if not ended:
        # Its threads still run: only a new process can go on.
        raise ClickfoldError(f"pacing failed ({app.crash_reason!r}) and did not stop; start it again")
    raise Transient(f"Kafka failed: {app.crash_reason!r}") from app.crash_reason


def _raise_start(starting: asyncio.Future[None], settings: PacingSettings) -> None:
    """Raises what the start of the app failed with."""
    try:
        starting.result()
    except KafkaConnectionError as failure:
        # Faust's producer asks only once.
        raise Transient(f"no Kafka broker answers at {settings.cluster.bootstrap}: {failure}") from failure


async def _keep_slot(settings: PacingSettings) -> None:
    """Raises SlotTaken once another process was seen in this worker's slot twice within a minute.

    aiokafka says nothing of it: its heartbeats do not name the static member, so it joins again under a new id, or it
    is refused with a code that it does not know and waits for ever.
    """
    if not settings.watches_slot:
        await asyncio.Event().wait()
    slot = settings.slot_in_group()
    while True:
        await asyncio.sleep(settings.session_timeout_s)
        taken = await asyncio.to_thread(slot.fenced)
        if taken is not None:
            raise taken


async def _stop(app: faust.App) -> bool:
    """Stops the app and all its parts, for a bounded time; whether that was enough.

    A crash cancels whatever waits for the part that crashed, `app.stop` among it. So each part is stopped by itself
    afterwards: consumer and producer.
    """
    stops = [app.stop, *(part.stop for part in reversed(app._children))]
    until_s = asyncio.get_running_loop().time() + _STOP_BOUND_S
    stopped = True
    for stop in stops:
        # Faust waits for all that it has started, also for parts that never end once another part has crashed.
        left_s = until_s - asyncio.get_running_loop().time()
        _, unfinished = await asyncio.wait([asyncio.ensure_future(stop())], timeout=max(0.0, left_s))
        stopped = stopped and not unfinished
    return stopped


def _close(loop: asyncio.AbstractEventLoop) -> None:
    # asyncio.run waits for every task to end after its cancellation; some of Faust's begin anew.
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=1.0))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()

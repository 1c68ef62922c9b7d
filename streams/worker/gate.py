"""The gate of campaign records, which works in a thread of the pacing worker's process."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Final, Self

from streams.campaigns.gate import HISTORY, INPUT, GateFold
from streams.engine.fold import Fold
from streams.engine.pace import Pace
from streams.engine.ports import Disk
from streams.engine.runner import Runner
from streams.kafka.log import KafkaLog
from streams.kafka.partitioners import PARTITIONERS
from streams.kafka.topic_watch import TopicWatch
from streams.kafka.watched import gate_topics
from streams.pacing.settings import PacingSettings
from streams.state.disk import Folder
from streams.worker.runners import SystemClock, WorkerSettings, held_folder, slot_of

# A checkpoint is one offset, which the group has too: it is written at the end, so that the next start reports no
# rebuild.
_PACE: Final = Pace(checkpoint_s=3_600.0)


class Gate:
    """A gate that works while the block runs. `partitions`: see `topics.prepare_topics`; `counts`: see `GateFold`.

    `beat` is called at each turn of its own loop, `meanwhile` each second in which the block waits for its end.

    `failed` says that it has ended by itself; leaving the block then raises what ended it, unless the block raises.
    """

    def __init__(
        self,
        settings: PacingSettings,
        partitions: int,
        counts: Counter[str],
        warn: Callable[[str], None],
        *,
        beat: Callable[[], None],
        meanwhile: Callable[[], None],
    ) -> None:
        self._settings = WorkerSettings(
            cluster=settings.cluster,
            state_dir=settings.data_dir,
            group=settings.cluster.group("gate"),
            # A worker without a slot is a dynamic member, but its transactions need a name that no other worker has.
            slot=settings.slot or settings.data_dir.name,
            static=bool(settings.slot),
            pace=_PACE,
        )
        # Where the group of pace looks who has the slot, it decides.
        self._decides = not settings.watches_slot
        self._partitions = partitions
        self._counts = counts
        self._beat = beat
        self._meanwhile = meanwhile
        self._warn = warn
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="gate", daemon=True)

    def failed(self) -> bool:
        """Whether the gate has failed."""
        return self._failure is not None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        while self._thread.is_alive():
            self._thread.join(1.0)
            self._meanwhile()
        if error is None and self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        try:
            self._run()
        except Exception as failure:  # noqa: BLE001  # raised again by the thread that started this one
            self._failure = failure

    def _run(self) -> None:
        settings, slot = self._settings, slot_of(self._settings, decides=self._decides)
        watch = TopicWatch(settings.cluster, gate_topics(settings.cluster, settings.group), self._warn)
        watch.look()
        with held_folder(settings, slot, self._warn, self._beat) as folder, watch:

            def make(partition: int) -> tuple[Fold, Disk]:
                fold = GateFold(
                    partition=partition,
                    topic=settings.cluster.topic(INPUT),
                    belongs=partial(PARTITIONERS["murmur2"], partitions=self._partitions),
                    counts=self._counts,
                )
                return fold, Folder(folder / str(partition))

            log = KafkaLog(
                settings.cluster,
                settings.group,
                (INPUT,),
                slot=slot,
                side_log=HISTORY,
                watch=watch,
            )
            # Nothing is lost with records that Kafka deleted before they were judged but what they would have changed.
            runner = Runner(log, SystemClock(), make, settings.pace, self._warn, accept_loss=True, beat=self._beat)
            runner.run(self._stop.is_set)

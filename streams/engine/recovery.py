"""How a task comes back: from its own checkpoint, from a shared one, or from the input logs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event, Lock, Thread

from schemas.errors import DamagedState, LostHistory, StateMismatch
from streams.engine.checkpoint import discard_checkpoint, read_checkpoint
from streams.engine.fold import Fold
from streams.engine.layout import BY_PARTITION, Layout
from streams.engine.ports import Commit, Disk, Log, Shared
from streams.engine.task import Task

Make = Callable[[int], tuple[Fold, Disk]]
Share = Callable[[int], Shared | None]
Warn = Callable[[str], None]
Offsets = Mapping[str, int]
# A shared snapshot replaces a checkpoint that is this many records older. To fold so many takes some seconds, and so
# does fetching the state of so many impressions.
_WORTH_RECORDS = 1_000_000
# Loading reads from the disk, then hashes and sorts. Two at once keep disk and processor busy; more would wait.
_AT_ONCE = 2

Loaded = tuple[Task, dict[str, int]]


class Loading:
    """A task that is being loaded by a thread of the pool."""

    def __init__(self, pool: ThreadPoolExecutor, load: Callable[[], Loaded], folder_lock: Lock) -> None:
        self._load = load
        self._folder_lock = folder_lock
        self._loaded: Loaded | None = None
        self._abandoned = Event()
        self._lock = Lock()
        self._future = pool.submit(self._work)

    def loaded(self) -> Loaded | None:
        """The task and the offsets to read its inputs from; None while it loads. Raises what loading raised."""
        if not self._future.done():
            return None
        self._future.result()
        return self._loaded

    def abandon(self) -> None:
        """The partition is gone: the task is closed as soon as it is loaded."""
        with self._lock:
            self._abandoned.set()
        if self._loaded is not None:
            self._loaded[0].close()

    def _work(self) -> None:
        with self._folder_lock:
            if self._abandoned.is_set():
                return
            loaded = self._load()
            with self._lock:
                if not self._abandoned.is_set():
                    self._loaded = loaded
                    return
            loaded[0].close()


class Loader:
    """Loads the tasks of partitions. `accept_loss`: also when Kafka no longer keeps records that are needed."""

    def __init__(
        self,
        make: Make,
        log: Log,
        warn: Warn,
        share: Share = lambda _: None,
        *,
        accept_loss: bool = False,
        layout: Layout = BY_PARTITION,
    ) -> None:
        self._make = make
        self._log = log
        self._warn = warn
        self._share = share
        self._accept_loss = accept_loss
        self._layout = layout
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="load")
        # One lock per folder: a partition that goes and comes back must not be loaded twice at a time.
        self._folder_locks: defaultdict[int, Lock] = defaultdict(Lock)

    def begin(self, partition: int) -> Loading:
        """Begins to load the task of a partition in a thread."""
        return Loading(self._pool, partial(self.load, partition), self._folder_locks[partition])

    def close(self, beat: Callable[[], None] = lambda: None) -> None:
        """Waits for the loads that have begun; `beat` is called each second meanwhile, as a load may take minutes."""
        closing = Thread(target=self._pool.shutdown, name="loads")
        closing.start()
        while closing.is_alive():
            closing.join(1.0)
            beat()

    def load(self, partition: int) -> Loaded:
        """The task of a partition, and the offsets to read its inputs from: the restored cut, or further back.

        Raises LostHistory when Kafka no longer keeps what is needed and the loss is not accepted, StateMismatch when
        the state is another run's or its commits are gone. Both leave the state as it was.
        """
        committed = self._log.committed(partition)
        first_offsets = self._log.starts(partition)
        shared = self._share(partition)
        fold, disk = self._make(partition)
        if committed is None:
            if read_checkpoint(disk) is not None:
                fold.close()
                disk.close()
                raise StateMismatch(
                    f"the group has committed nothing of {self._layout.name(partition)}, but the state folder has a "
                    "checkpoint of it: its offsets were deleted or have expired, or this Kafka is new; start a new run "
                    "with another --group, or, if all topics are new, empty the state folder"
                )
            return Task(fold, disk, None, shared), first_offsets
        cut = self._from_checkpoint(partition, fold, disk, committed, first_offsets)
        while shared is not None and shared.fetch(disk, partial(self._worth_it, committed, first_offsets, cut)):
            fold, disk = self._anew(partition, fold, disk)
            cut = self._from_checkpoint(partition, fold, disk, committed, first_offsets)
            if cut is not None:
                self._warn(f"{self._layout.name(partition)} goes on from a shared snapshot at {cut}")
                break
        if cut is None:
            fold, disk = self._anew(partition, fold, disk)
        offsets = cut or fold.rebuild_offsets(committed.mark)
        lost = self._lost(partition, offsets, first_offsets)
        if cut is None:
            # The manifest must go before the rebuild writes other files under the same names.
            discard_checkpoint(disk)
            fold.rebuild(committed.mark)
            self._warn(f"{self._layout.name(partition)} has no usable checkpoint: rebuilding from {offsets}")
        if lost:
            fold.skip_to(lost)
        return Task(fold, disk, committed, shared), {**offsets, **lost}

    def _lost(self, partition: int, offsets: Offsets, first_offsets: Offsets) -> dict[str, int]:
        """Inputs whose needed offset Kafka no longer keeps, and the first one it keeps. Raises LostHistory."""
        lost = {log: first_offsets[log] for log, offset in offsets.items() if offset < first_offsets[log]}
        needed = ", ".join(
            f"{self._layout.where(log, partition)} is needed from offset {offsets[log]}, Kafka keeps it from {first}"
            for log, first in lost.items()
        )
        if lost and not self._accept_loss:
            raise LostHistory(
                f"{needed}: restore the topic's retention, start a new run with another --group, or go on without what "
                "is lost by --accept-loss"
            )
        if lost:
            self._warn(
                f"loss accepted: {needed}; totals that are not final yet may lack the lost records, the ledger counts "
                "what is missing"
            )
        return lost

    def _worth_it(self, committed: Commit, first_offsets: Offsets, own_cut: Offsets | None, cut: Offsets) -> bool:
        """Whether a shared cut can be restored, and is so far ahead of the own one that fetching it is faster."""
        if cut.keys() != committed.offsets.keys() or any(cut[log] > committed.offsets[log] for log in cut):
            return False
        if self._too_old(cut, first_offsets):
            return False
        return own_cut is None or sum(cut.values()) - sum(own_cut.values()) > _WORTH_RECORDS

    def _too_old(self, cut: Offsets, first_offsets: Offsets) -> bool:
        """Whether Kafka no longer keeps the records after the cut. If loss is accepted, no cut is too old."""
        return not self._accept_loss and any(cut[log] < first_offsets[log] for log in cut)

    def _anew(self, partition: int, fold: Fold, disk: Disk) -> tuple[Fold, Disk]:
        fold.close()
        disk.close()
        return self._make(partition)

    def _from_checkpoint(
        self, partition: int, fold: Fold, disk: Disk, committed: Commit, first_offsets: Offsets
    ) -> dict[str, int] | None:
        """Restores the fold and returns its cut; None when there is no checkpoint that can be used."""
        manifest = read_checkpoint(disk)
        if manifest is None:
            return None
        try:
            fold.restore(manifest)
        except (DamagedState, StateMismatch) as error:
            # Damaged, or of another task, settings or program. If the mark is of other settings too, reading it raises.
            self._warn(f"checkpoint of {self._layout.name(partition)} is not used: {error}")
            return None
        cut = fold.positions()
        if any(offset > committed.offsets[log] for log, offset in cut.items()):
            raise StateMismatch(
                f"the checkpoint of {self._layout.name(partition)} is at {cut}, ahead of the committed "
                f"{committed.offsets}: the group's offsets were reset or belong to another cluster; clear the state "
                "folder or use another --group"
            )
        if not fold.needs_replay():
            fold.skip_to(committed.offsets)
            return committed.offsets
        if self._too_old(cut, first_offsets):
            self._warn(
                f"checkpoint of {self._layout.name(partition)} at {cut} is older than Kafka's first offsets "
                f"{first_offsets}"
            )
            return None
        return cut

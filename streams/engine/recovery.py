"""How a task comes back: from its own checkpoint, a shared one, or the input logs; and when it cannot."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event, Lock

from schemas.errors import DamagedState, LostHistory, StateMismatch
from streams.engine.fold import Fold
from streams.engine.ports import Commit, Disk, Log, Shared
from streams.engine.task import MANIFEST, Task

Make = Callable[[int], tuple[Fold, Disk]]
Share = Callable[[int], Shared | None]
Warn = Callable[[str], None]
Offsets = Mapping[str, int]
# A shared snapshot is fetched in place of a checkpoint that is older by more: folding them takes some seconds, as
# fetching a state of as many impressions does.
_WORTH_RECORDS = 1_000_000
# Loading is reading, hashing and sorting, which let another run; more at once would only wait for the same disk.
_AT_ONCE = 2


class Loading:
    """A task on its way."""

    def __init__(self, pool: ThreadPoolExecutor, load: Callable[[], tuple[Task, dict[str, int]]], folder: Lock) -> None:
        self._load = load
        self._folder = folder
        self._found: tuple[Task, dict[str, int]] | None = None
        self._abandoned = Event()
        self._lock = Lock()
        self._future = pool.submit(self._work)

    def loaded(self) -> tuple[Task, dict[str, int]] | None:
        """The task and where to read its inputs from; None while it is on its way. Raises what loading it raised."""
        if not self._future.done():
            return None
        self._future.result()
        return self._found

    def abandon(self) -> None:
        """Nobody will ask for it any more: it is closed as soon as it is there."""
        with self._lock:
            self._abandoned.set()
        if self._found is not None:
            self._found[0].close()

    def _work(self) -> None:
        with self._folder:
            if self._abandoned.is_set():
                return
            found = self._load()
            with self._lock:
                if not self._abandoned.is_set():
                    self._found = found
                    return
            found[0].close()


class Loader:
    """Loads tasks as they were left. `accept_loss`: also when records that are needed are no longer in Kafka."""

    def __init__(
        self, make: Make, log: Log, warn: Warn, share: Share = lambda _: None, *, accept_loss: bool = False
    ) -> None:
        self._make = make
        self._log = log
        self._warn = warn
        self._share = share
        self._accept_loss = accept_loss
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="load")
        # A folder is never loaded twice at a time, not even when its partition goes and comes back.
        self._folders: defaultdict[int, Lock] = defaultdict(Lock)

    def begin(self, number: int) -> Loading:
        """Begins to load the task of a partition, while others work on."""
        return Loading(self._pool, partial(self.load, number), self._folders[number])

    def close(self) -> None:
        """Waits for what has begun."""
        self._pool.shutdown()

    def load(self, number: int) -> tuple[Task, dict[str, int]]:
        """The task of a partition, and where to read its inputs from: the cut of what it restored, or further back.

        Raises LostHistory when Kafka no longer keeps what is needed and the loss is not accepted, StateMismatch when
        what was kept is another run's. Then all that was kept is still there.
        """
        committed = self._log.committed(number)
        starts = self._log.starts(number)
        shared = self._share(number)
        fold, disk = self._make(number)
        if committed is None:
            return Task(fold, disk, None, shared), starts
        cut = self._from_checkpoint(number, fold, disk, committed, starts)
        while shared is not None and shared.fetch(disk, partial(self._worth_it, committed, starts, cut)):
            fold, disk = self._anew(number, fold, disk)
            cut = self._from_checkpoint(number, fold, disk, committed, starts)
            if cut is not None:
                self._warn(f"partition {number} goes on from a shared snapshot at {cut}")
                break
        if cut is None:
            fold, disk = self._anew(number, fold, disk)
        offsets = cut or fold.needed(committed.mark)
        lost = self._lost(number, offsets, starts)
        if cut is None:
            # Of no use now, and of less once files of the same names hold something else.
            disk.delete(MANIFEST)
            fold.rebuild(committed.mark)
            self._warn(f"partition {number} has no usable checkpoint: rebuilding from {offsets}")
        if lost:
            fold.lose(lost)
        return Task(fold, disk, committed, shared), {**offsets, **lost}

    def _lost(self, number: int, offsets: Offsets, starts: Offsets) -> dict[str, int]:
        """Inputs that cannot be read from where they should be, and where they begin. Raises LostHistory."""
        lost = {name: starts[name] for name, offset in offsets.items() if offset < starts[name]}
        needed = ", ".join(
            f"{name}[{number}] is needed from offset {offsets[name]}, Kafka keeps it from {start}"
            for name, start in lost.items()
        )
        if lost and not self._accept_loss:
            raise LostHistory(
                f"{needed}: restore the topic's retention, start a new run with another --group, or go on without what "
                "is lost by --accept-loss"
            )
        if lost:
            self._warn(f"loss accepted: {needed}; totals not final yet may lack what was there, the ledger says more")
        return lost

    def _worth_it(self, committed: Commit, starts: Offsets, at: Offsets | None, cut: Offsets) -> bool:
        """Whether a cut can be restored, and is so far ahead of the one at hand that folding there takes longer."""
        if cut.keys() != committed.offsets.keys() or any(cut[log] > committed.offsets[log] for log in cut):
            return False
        if self._too_old(cut, starts):
            return False
        return at is None or sum(cut.values()) - sum(at.values()) > _WORTH_RECORDS

    def _too_old(self, cut: Offsets, starts: Offsets) -> bool:
        """Kafka no longer has what follows the cut. Where that loss is accepted, state at a cut is all there is."""
        return not self._accept_loss and any(cut[log] < starts[log] for log in cut)

    def _anew(self, number: int, fold: Fold, disk: Disk) -> tuple[Fold, Disk]:
        fold.close()
        disk.close()
        return self._make(number)

    def _from_checkpoint(
        self, number: int, fold: Fold, disk: Disk, committed: Commit, starts: Offsets
    ) -> dict[str, int] | None:
        """Restores the fold; None when there is no checkpoint that can be used."""
        if MANIFEST not in disk.names():
            return None
        try:
            fold.restore(disk.read(MANIFEST, 0, 1 << 40))
        except (DamagedState, StateMismatch) as error:
            # Damaged, of another task, settings or program: if the group's own mark is of other settings, it says so.
            self._warn(f"checkpoint of partition {number} is not used: {error}")
            return None
        cut = fold.positions()
        if any(at > committed.offsets[log] for log, at in cut.items()):
            raise StateMismatch(
                f"the checkpoint of partition {number} is at {cut}, ahead of the committed {committed.offsets}: the "
                "group's offsets were reset or belong to another cluster; clear the state folder or use another --group"
            )
        if self._too_old(cut, starts):
            self._warn(f"checkpoint of partition {number} at {cut} is older than Kafka's first offsets {starts}")
            return None
        return cut

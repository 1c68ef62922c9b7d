"""Drives folds: the one loop behind live work, recovery and replay.

The runner is given a Log, Disks and a Clock and uses nothing else. A turn polls, folds, and at intervals commits:
outputs and positions in one transaction, then a checkpoint. A task begins by taking ownership (its epoch), then folds
from its checkpoint's cut to the committed offsets with outputs suppressed; from there on the same calls are live.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

from schemas.errors import DamagedState, TaskLost
from schemas.records import Out, Records
from streams.engine.backpressure import Backpressure
from streams.engine.checkpoint import discard_checkpoint, write_checkpoint
from streams.engine.fold import Fold
from streams.engine.idle import idle_seals
from streams.engine.layout import BY_PARTITION, Layout
from streams.engine.pace import Pace, RunnerProgress
from streams.engine.ports import Clock, Commit, Log, SharedProgress
from streams.engine.recovery import Loader, Loading, Make, Share
from streams.engine.task import Task, TaskState

# Folding goes on for so many commit intervals while a transaction is under way: one of a busy broker takes that long,
# and what is folded meanwhile is lost time otherwise.
_PATIENT_INTERVALS: Final = 4


class Runner:
    """Works on the partitions the log assigns, until it is stopped."""

    def __init__(
        self,
        log: Log,
        clock: Clock,
        make: Make,
        pace: Pace = Pace(),  # noqa: B008  # frozen
        warn: Callable[[str], None] = lambda _: None,
        share: Share = lambda _: None,
        *,
        accept_loss: bool = False,
        progress: RunnerProgress | None = None,
        beat: Callable[[], None] = lambda: None,
        layout: Layout = BY_PARTITION,
    ) -> None:
        """`accept_loss`: goes on without needed records that Kafka no longer keeps, instead of stopping.

        `progress` is counted on, when another runner of this process had it before. `beat` is called after each step
        that may take seconds: whoever hears nothing for two minutes may take the runner for stuck. `layout` names
        tasks in messages and metrics.
        """
        self._log = log
        self._clock = clock
        self._loader = Loader(make, log, warn, share, accept_loss=accept_loss, layout=layout)
        self.layout = layout
        self._pace = pace
        self._warn = warn
        self._tasks: dict[int, Task] = {}
        self._loading: dict[int, Loading] = {}
        self._outs: list[Out] = []
        self._folded = False
        # Tasks of a transaction that was handed over and not yet settled.
        self._in_flight: list[Task] = []
        self._handed_over_s = 0.0
        self._next_commit_s = self._next_report_s = self._next_checkpoint_s = 0.0
        self.progress = progress or RunnerProgress()
        self._beat = beat
        self.backpressure = Backpressure(log, pace.state_bytes)

    def run(self, stopped: Callable[[], bool], ended: Callable[[], bool] = lambda: False) -> None:
        """Works until `stopped`, then commits, checkpoints and leaves the group.

        When `ended` says that the inputs are complete, it reads them to their ends, decides and reports what is left,
        and leaves. Nothing can be added to such a run.
        """
        self._log.join(self)
        try:
            while not stopped() and not (ended() and self._read_all() and self._end()):
                self.turn()
            self._finish()
        finally:
            # Drop the tasks first: leaving revokes, and after a broken invariant nothing more may be committed.
            self._drop([*self._tasks, *self._loading])
            self._outs.clear()
            self._loader.close(self._beat)
            self._beat()
            self._log.leave()
            self._beat()

    def _read_all(self) -> bool:
        """Whether every owned partition is live and read to its end."""
        if not self.ready():
            return False
        return all(
            task.fold.positions()[log] >= end
            for partition, task in self._tasks.items()
            for log, end in self._log.ends(partition).items()
        )

    def _end(self) -> bool:
        """Lets every fold decide and report what is left. Returns False if that was not committed."""
        try:
            for task in self._tasks.values():
                task.fold.finish()
            self._commit_all()
        except TaskLost as error:
            self._recover(error)
            return False
        return True

    def _finish(self) -> None:
        """A last report, commit and checkpoint. The next owner repeats what cannot be committed any more."""
        try:
            self._commit_all()
            self._checkpoint(list(self._tasks), leaving=True)
        except TaskLost as error:
            self._warn(f"stopped without a last commit, the next start goes on from the one before: {error}")

    def turn(self) -> None:
        """One poll and what follows from it. On TaskLost the tasks concerned start again from the last commit."""
        self._beat()
        try:
            self._take_loaded()
            self._start_assigned()
        except TaskLost as error:
            # Why, only a poll tells: that another worker has the partition now, or that this one is not in the group.
            self._recover(error)
        try:
            for records in self._log.poll(self._pace.poll_records, self._pace.poll_wait_s):
                self._fold(records)
                self._beat()
            now_s = self._clock.monotonic()
            if self._is_time_to_commit(now_s):
                self._commit(report=now_s >= self._next_report_s)
                if now_s >= self._next_checkpoint_s:
                    self._checkpoint_one()
        except TaskLost as error:
            self._recover(error)

    def folds(self) -> dict[int, Fold]:
        """The live folds by partition, for the shell's gauges."""
        return {partition: task.fold for partition, task in self._tasks.items() if task.live}

    def shared(self) -> dict[int, SharedProgress]:
        """RunnerProgress of shared snapshots by partition; empty where they are not shared."""
        return {number: task.shared.progress for number, task in self._tasks.items() if task.shared is not None}

    def ready(self) -> bool:
        """Whether every partition assigned is live."""
        return bool(self._tasks) and not self._loading and all(task.live for task in self._tasks.values())

    def lag(self, partition: int) -> dict[str, int]:
        """Records of each input not yet folded, by the ends of the last fetches."""
        task = self._tasks.get(partition)
        if task is None:
            return {}
        ends = self._log.cached_ends(partition)
        return {log: max(0, ends[log] - offset) for log, offset in task.fold.positions().items() if log in ends}

    def paused(self, partition: int) -> str | None:
        """The input that waits for the other one to catch up in event time, or None."""
        task = self._tasks.get(partition)
        return task.paused if task else None

    # ---- partitions come and go -------------------------------------------------------------------------------------

    def assigned(self, partitions: Iterable[int]) -> None:
        """Begins to load the state of each partition; the other partitions go on meanwhile."""
        for partition in partitions:
            self._loading[partition] = self._loader.begin(partition)
            self.progress.tasks[partition] = "loading"

    def revoked(self, partitions: Iterable[int]) -> None:
        """Commits, checkpoints and drops the partitions."""
        self._drop([partition for partition in partitions if partition in self._loading])
        gone = [partition for partition in partitions if partition in self._tasks]
        if not gone:
            return
        try:
            self._commit_all()
            self._checkpoint(gone, leaving=True)
        except TaskLost as error:
            self._warn(f"gave up {', '.join(map(self.layout.name, gone))} without a last commit: {error}")
            self._drop(gone)
            self._recover(error)
        self._drop(gone)

    def lost(self, partitions: Iterable[int]) -> None:
        """Drops the partitions; the open transaction belongs to a generation of the group that has ended."""
        self._drop(partitions)
        self._recover(TaskLost("another worker owns the partitions"))

    def _take_loaded(self) -> None:
        """Takes the tasks whose state is loaded, and seeks their inputs."""
        for partition, loading in list(self._loading.items()):
            loaded = loading.loaded()
            if loaded is not None:
                del self._loading[partition]
                task, offsets = loaded
                task.silence.begin(offsets, self._clock.monotonic())
                self._tasks[partition] = task
                self._log.seek(partition, offsets)

    def _start_assigned(self) -> None:
        """Gives new tasks their epoch, in one transaction, and starts to read them."""
        fresh = {partition: task for partition, task in self._tasks.items() if task.state is TaskState.LOADED}
        if not fresh:
            return
        self._commit(report=False)
        self._settle()
        outs: list[Out] = []
        commits: dict[int, Commit] = {}
        for partition, task in fresh.items():
            offsets = task.fold.positions() if task.committed else self._log.starts(partition)
            mark = task.committed.mark if task.committed else None
            outs += task.fold.begin(mark, offsets=offsets, epoch=self._clock.now_s())
            commits[partition] = Commit(task.committed.offsets if task.committed else offsets, task.fold.mark())
        self._hand_over(outs, commits, list(fresh.values()))
        self._settle()
        for partition, task in fresh.items():
            self._enter(partition, TaskState.REPLAYING)
            task.fold.take_side_log(self._log.side_log(partition))
            self._beat()
            self._log.resume(partition, list(commits[partition].offsets))
            self._go_live_if_replayed(partition, task)

    def _enter(self, partition: int, state: TaskState) -> None:
        self._tasks[partition].enter(state)
        self.progress.tasks[partition] = state.value

    def _go_live_if_replayed(self, partition: int, task: Task) -> None:
        if task.live or not task.replayed():
            return
        if task.committed is not None:
            with self._distrusting(partition):
                task.fold.resume(task.committed.mark)
        self._enter(partition, TaskState.LIVE)
        self._log.resume(partition, list(task.fold.positions()))
        held, task.held = task.held, []
        for records in held:
            self._fold(records)

    def _drop(self, partitions: Iterable[int]) -> None:
        for partition in partitions:
            self.progress.tasks.pop(partition, None)
            if (loading := self._loading.pop(partition, None)) is not None:
                loading.abandon()
            if (task := self._tasks.pop(partition, None)) is not None:
                task.close()

    def _recover(self, error: TaskLost) -> None:
        """Live tasks start again from their checkpoints: what was not committed has not happened.

        A task that replays has written nothing and goes on, because a rebuild that takes minutes must not begin anew at
        every rebalance. A task whose start was not committed starts again too.
        """
        self.progress.recoveries += 1
        self._warn(f"starting again from the last commit: {error}")
        if self._in_flight:
            # Whether it is committed, the offsets that are read next will show.
            self._in_flight = []
            self._beat()
            with contextlib.suppress(TaskLost):
                self._log.settle()
            self._beat()
        self._outs.clear()
        self._folded = False
        # After damage every task starts again: records polled together with the damaged task's were not folded.
        every = isinstance(error, DamagedState)
        partitions = [number for number, task in self._tasks.items() if every or task.live]
        for partition in partitions:
            self._log.pause(partition, list(self._tasks[partition].fold.positions()))
        self._drop(partitions)
        self.assigned(partitions)

    @contextlib.contextmanager
    def _distrusting(self, partition: int) -> Iterator[None]:
        """Discards the checkpoint when the fold meets damaged state, so that the next start rebuilds the fold."""
        try:
            yield
        except DamagedState:
            task = self._tasks[partition]
            discard_checkpoint(task.disk, task.shared)
            raise

    # ---- records, commits, checkpoints ------------------------------------------------------------------------------

    def _fold(self, records: Records) -> None:
        task = self._tasks.get(records.partition)
        if task is None or task.state is TaskState.LOADED or not len(records):
            return
        if not task.live:
            with self._distrusting(records.partition):
                replayed = task.replay(records)
            self.progress.replayed += replayed
            if replayed < len(records):
                # This input has caught up. Pause it: the records held must not grow while the other one replays.
                self._log.pause(records.partition, [records.log])
            self._go_live_if_replayed(records.partition, task)
            return
        with self._distrusting(records.partition):
            self._outs += task.fold.step(records)
        self._folded = True
        task.silence.reset(records.log, self._clock.monotonic())
        self.progress.records += len(records)

    def _is_time_to_commit(self, now_s: float) -> bool:
        """Also once outputs are as many as a transaction takes. While the transaction before is under way, folding goes
        on for some commit intervals, as a commit would wait for it.
        """
        if len(self._outs) >= self._pace.transaction_outs:
            return True
        patience_s = 0.0 if self._log.settled() else _PATIENT_INTERVALS * self._pace.commit_s
        return now_s >= self._next_commit_s + patience_s

    def _commit(self, *, report: bool) -> bool:
        """Hands over one transaction with all that was folded, swept and reported; False if there is nothing.

        It is settled before the next one. Records that are folded meanwhile wait for the next transaction.
        """
        self._settle()
        now_s = self._clock.monotonic()
        self._next_commit_s = now_s + self._pace.commit_s
        live = {partition: task for partition, task in self._tasks.items() if task.live}
        seals: list[Out] = []
        for partition, task in live.items():
            # A sweep moves the bounds even if it writes nothing; a checkpoint must not hold more than is committed.
            self._folded |= task.fold.can_sweep()
            self._beat()
            with self._distrusting(partition):
                # A quarter of a transaction: the outputs of steps, both kinds of decisions and the report share it.
                self._outs += task.fold.sweep(max(1, self._pace.transaction_outs // (4 * len(live))))
            ends = partial(self._log.ends, partition)
            seals += idle_seals(
                task.fold,
                task.silence,
                ends,
                idle_s=self._pace.idle_s,
                close_idle_s=self._pace.close_idle_s,
                now_s=now_s,
                wall_s=self._clock.now_s(),
            )
            if report:
                self._outs += task.fold.report(max(1, self._pace.transaction_outs // len(live)))
        self.backpressure.adjust(live)
        if report:
            self._next_report_s = now_s + self._pace.report_s
        outs = self._outs + seals
        if not live or not (outs or self._folded):
            return False
        self._outs, self._folded = [], False
        commits = {number: Commit(task.fold.positions(), task.fold.mark()) for number, task in live.items()}
        self._hand_over(outs, commits, list(live.values()))
        if seals:
            # A seal holds from this offset on: no further record may be judged before it is committed.
            self._settle()
        if any(task.fold.can_sweep() for task in live.values()):
            self._next_commit_s = now_s
        return True

    def _commit_all(self) -> None:
        """Commits until nothing is left: each sweep and report is bounded, and nothing new is read meanwhile."""
        while self._commit(report=True):
            pass

    def _hand_over(self, outs: list[Out], commits: Mapping[int, Commit], tasks: list[Task]) -> None:
        self._handed_over_s = self._clock.monotonic()
        self._in_flight = tasks
        self._log.transact(outs, commits)
        self.progress.outs += len(outs)

    def _settle(self) -> None:
        """Waits until the transaction under way is committed. Raises TaskLost when it is not."""
        if not self._in_flight:
            return
        tasks, self._in_flight = self._in_flight, []
        self._beat()
        self._log.settle()
        self._beat()
        self.progress.commits += 1
        self.progress.last_commit_s = self._clock.monotonic()
        self.progress.commit_took_s = self.progress.last_commit_s - self._handed_over_s
        for task in tasks:
            task.fold.committed()

    def _checkpoint_one(self) -> None:
        """Makes the state durable of the live task whose last checkpoint is the oldest.

        One after the other, spread over the interval: all at once would hold up folding for as long as all take.
        """
        live = [partition for partition, task in self._tasks.items() if task.live]
        self._next_checkpoint_s = self._clock.monotonic() + self._pace.checkpoint_s / max(1, len(live))
        live.sort(key=lambda partition: self._tasks[partition].checkpointed_s)
        self._checkpoint(live[:1], leaving=False)

    def _checkpoint(self, partitions: Sequence[int], *, leaving: bool) -> None:
        """Makes the state of these live tasks durable; its cut is what was just committed, never ahead of it.

        If they are `leaving`, it is shared for their next owner, as long as that takes only seconds.
        """
        self._settle()
        if self._folded or self._outs:
            return
        for partition in partitions:
            task = self._tasks[partition]
            if task.live:
                write_checkpoint(task, last=leaving)
                self._beat()
                self.progress.checkpoints += 1
                self.progress.last_checkpoint_s = task.checkpointed_s = self._clock.monotonic()
        for partition in partitions if leaving else ():
            shared = self._tasks[partition].shared
            if shared is not None:
                shared.drain()

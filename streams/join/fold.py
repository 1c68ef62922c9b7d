"""One partition's join as a fold: impressions, clicks and seals in; outcomes, totals, rejects and the ledger out.

`matching` decides. This module adds reports, ownership by epochs, seals and recovery.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from schemas.bounds import END_OF_TIME_MS, NO_BOUND_MS, JoinBounds
from schemas.codec import encode
from schemas.dimensions import ExtraDimension
from schemas.errors import BrokenInvariant, StateMismatch
from schemas.reading import Unreadable, read_seal
from schemas.records import Out, Records
from schemas.seals import Seal, Start
from schemas.totals import DIMENSIONS, Ledger
from streams.engine.fold import Fold
from streams.engine.ports import Disk
from streams.join.identity import JoinIdentity
from streams.join.keys import KeySample
from streams.join.mapped import InputMaps
from streams.join.mark import JoinMark, make_mark, read_mark
from streams.join.matching import Matching
from streams.join.seen import Seen
from streams.join.snapshot import read_snapshot, restore_state, take_snapshot
from streams.join.state import CLICKS, IMPRESSIONS, INPUTS, JoinState, LogState
from streams.join.watermark import Floor

# A version is `epoch << 32 | sequence`: one epoch reports less than 2^32 times, 136 years at once a second.
_SEQUENCE_BITS = 32
_AS_THEY_ARE = InputMaps()


class JoinFold(Fold):
    """The join of one partition. `names` gives each input's topic, for dead letters."""

    def __init__(
        self,
        bounds: JoinBounds,
        disk: Disk,
        *,
        partition: int = 0,
        shards: int = 1,
        campaign_partitions: int = 1,
        dimensions: Sequence[str] = DIMENSIONS,
        extra: Sequence[ExtraDimension] = (),
        names: dict[str, str] | None = None,
        digest: str = "",
        formers: Collection[str] = (),
        keys: Mapping[str, KeySample] | None = None,
        shown: bool = True,
        maps: InputMaps = _AS_THEY_ARE,
    ) -> None:
        """`formers`: digests of groups that `clickfold upgrade` can move to these settings. `keys`: a sample of each
        input's, by which misplaced orphans are counted; without them none is. Without `shown` no outcomes of that kind
        are put out: only a learner reads them. `maps`: of inputs of another form.
        """
        self.state = JoinState(
            *(bounds, disk, dimensions),
            partition=partition,
            campaign_partitions=campaign_partitions,
            extra=extra,
        )
        self.keys = keys or {}
        self._rules = Matching(
            *(self.state, bounds),
            partition=partition,
            shards=shards,
            names=names,
            keys=self.keys,
            shown=shown,
            maps=maps,
        )
        self._bounds = bounds
        self._partition = partition
        self._digest = digest or JoinIdentity(bounds, dimensions, extra, (), maps.digest).digest
        self._formers = formers
        self._committed_final_ms = NO_BOUND_MS
        self._rebuilt = self._lossy = False
        # What the former owner committed, until this one has caught up with it.
        self._committed: JoinMark | None = None
        self._epoch = 1
        self._sequence = 0
        # Seals written and not committed yet.
        self._sealing: list[Seal] = []
        # Both logs have ended: nothing can be added to this run any more.
        self._finished = False
        # Dead letters and decisions that the next sweep puts out.
        self._staged: list[Out] = []
        # Bad seals below this offset of the side log have their dead letter.
        self._seals_next_offset = 0
        self.bad_seals = 0

    # ---- decisions and reports --------------------------------------------------------------------------------------

    def step(self, records: Records) -> list[Out]:
        """Folds in impressions or clicks of this partition."""
        return self._rules.step(records)

    def can_sweep(self) -> bool:
        """Whether another `sweep` would decide or put out something."""
        return bool(self._staged) or self._rules.can_sweep()

    def sweep(self, limit: int) -> list[Out]:
        """Closes impressions and orphans clicks, about `limit` of each, as far as the logs' bounds allow."""
        staged, self._staged = self._staged, []
        return staged + self._rules.sweep(limit)

    def finish(self) -> None:
        """Both logs have ended: held records are decided, and the bounds are at infinity."""
        self._finish(self._staged)

    def _finish(self, outs: list[Out]) -> None:
        self._finished = True
        for log in self.state.logs.values():
            self._rules.end(log, outs)
            self._rules.schedule_seals(log, [Floor(log.next_offset, END_OF_TIME_MS)], outs)

    def report(self, limit: int, *, final_only: bool = False) -> list[Out]:
        """Totals that changed or became final, and the ledger. With `final_only`, of totals only final minutes."""
        state = self.state
        if not state.changed:
            return []
        self._sequence += 1
        final_ms = max(min(state.reached.orphan_ms, state.reached.close_ms), state.reached.final_ms)
        outs, state.reached.final_ms, state.changed = state.counting.report(
            self._partition, self._version, final_ms=final_ms, limit=limit, final_only=final_only
        )
        ledger = self.ledger()
        imbalance = ledger.imbalance()
        if imbalance:
            raise BrokenInvariant(f"the ledger of partition {self._partition} does not balance: {imbalance}")
        outs.append(Out("ledger", self._key, encode(ledger), self._partition))
        return outs

    def committed(self) -> None:
        """Final totals are in Kafka, so they are dropped; seals that were written apply."""
        state = self.state
        if state.reached.final_ms > self._committed_final_ms:
            self._committed_final_ms = state.reached.final_ms
            state.counting.drop_final(self._committed_final_ms)
        for seal in self._sealing:
            self._rules.schedule_seals(state.logs[seal.input], [_floor(seal)], self._staged)
            state.changed = True
        self._sealing.clear()

    def ledger(self) -> Ledger:
        """The conservation counts as they are now; `version` is that of the last report."""
        return self.state.ledger(self._partition, self._version)

    @property
    def final_ms(self) -> int:
        """Totals of minutes that end at or before it were reported as final."""
        return self.state.reached.final_ms

    @property
    def misplaced(self) -> int:
        """Orphans, since start, whose impressions belong in another partition: the inputs are keyed apart."""
        return self._rules.misplaced

    @property
    def features_left_out(self) -> int:
        """Features of accepted impressions, since start, that no model can use."""
        return self._rules.features_left_out

    def state_bytes(self) -> int:
        """Memory of open impressions, clicks and totals."""
        return self.state.nbytes()

    @property
    def _version(self) -> int:
        return self._epoch << _SEQUENCE_BITS | self._sequence

    @property
    def _key(self) -> bytes:
        return str(self._partition).encode()

    # ---- inputs that wait for each other ----------------------------------------------------------------------------

    def input_ahead(self, *, tight: bool) -> str | None:
        """The input whose bound is more than half a window above the other's; with `tight`, above it at all.

        Half a window, so that clicks cannot close impressions that are not read yet: those would close one by one
        instead of in sweeps.
        """
        impressions_ms, clicks_ms = self.state.impressions.watermark.ms, self.state.clicks.watermark.ms
        if not tight and NO_BOUND_MS in (impressions_ms, clicks_ms):
            return None
        lead_ms = 0 if tight else self._bounds.window_ms // 2
        if impressions_ms - clicks_ms > lead_ms:
            return IMPRESSIONS
        return CLICKS if clicks_ms - impressions_ms > lead_ms else None

    def take_side_log(self, records: Records) -> None:
        """All seals of this partition in log order: those reached hold, the others from their offset on.

        A bad seal changes nothing; it becomes a dead letter once.
        """
        epoch = 0
        floors: dict[str, list[Floor]] = {log: [] for log in INPUTS}
        for row, (key, value) in enumerate(zip(records.keys, records.values, strict=True)):
            seal = read_seal(key, value, self._partition)
            if isinstance(seal, Unreadable):
                self._refuse_seal(records, row, seal)
            elif isinstance(seal, Start):
                epoch = max(epoch, seal.epoch)
            elif seal.epoch >= epoch:
                # A seal of an epoch below an earlier start record is void: another owner had taken over.
                floors[seal.input].append(_floor(seal))
        if len(records):
            self._seals_next_offset = max(self._seals_next_offset, records.next_offset)
        for name, log in self.state.logs.items():
            # What a seal let go on was put out in the seal's transaction.
            self._rules.schedule_seals(log, floors[name], [])

    def _refuse_seal(self, records: Records, row: int, why: Unreadable) -> None:
        self.bad_seals += 1
        if records.offsets[row] >= self._seals_next_offset:
            self._rules.reject(records, row, why.reason, why.detail, self._staged)

    def seal(self, log: str, *, now_ms: int) -> list[Out]:
        """`log` is idle at its position: the other log's bound becomes its floor. [] if that changes nothing.

        Its held records that are near that bound, or not above `now_ms`, need no confirmation any more.
        """
        idle, other = self.state.logs[log], self.state.logs[INPUTS[1 - INPUTS.index(log)]]
        floor_ms = other.watermark.ms if other.watermark.ms < END_OF_TIME_MS else NO_BOUND_MS
        return self._seal(idle, max(floor_ms, idle.watermark.ms), now_ms)

    def advance(self, *, silent_ms: int, now_ms: int) -> list[Out]:
        """Both logs are read to their ends and silent: event time has gone on as far as the clock has since.

        Never above `now_ms` less the lateness: a record that is under way is not late because of it.
        """
        highest_ms = max(log.watermark.highest_ms for log in self.state.logs.values())
        floor_ms = min(highest_ms + silent_ms, now_ms - self._bounds.lateness_ms)
        return [out for log in self.state.logs.values() for out in self._seal(log, floor_ms, now_ms)]

    def _seal(self, log: LogState, floor_ms: int, now_ms: int) -> list[Out]:
        held = [record.ts for record in log.confirmation.held if record.ts <= now_ms]
        if log.watermark.ms >= END_OF_TIME_MS or (floor_ms <= log.watermark.ms and not held):
            return []
        seal = Seal(
            log.name,  # type: ignore[arg-type]  # a Literal
            self._partition,
            log.next_offset,
            floor_ms,
            self._epoch,
            confirmed_ms=max(held, default=0),
        )
        self._sealing.append(seal)
        outs = [Out("seals", self._key, encode(seal), self._partition)]
        # In one transaction with the seal: whoever reads the seal finds decided what it let go on.
        self._rules.confirm_held(log, _floor(seal), outs)
        return outs

    # ---- ownership and recovery -------------------------------------------------------------------------------------

    def positions(self) -> dict[str, int]:
        """The next offset of each input."""
        return {name: log.next_offset for name, log in self.state.logs.items()}

    def mark(self) -> bytes:
        """Commit metadata: a `JoinMark`. Until the fold is live, it is the committed one with the new epoch."""
        if self._committed is not None:
            return encode(msgspec.structs.replace(self._committed, epoch=self._epoch))
        return make_mark(
            self.state,
            self._bounds,
            epoch=self._epoch,
            sequence=self._sequence,
            digest=self._digest,
            seals_next_offset=self._seals_next_offset,
            finished=self._finished,
        )

    def begin(self, mark: bytes | None, *, offsets: dict[str, int], epoch: int) -> list[Out]:
        """Takes ownership with a higher epoch. The start record makes later seals of former owners void."""
        committed = self._checked(mark) if mark is not None else None
        self._epoch = max(epoch, committed.epoch + 1) if committed else epoch
        self._sequence = 0
        if committed is None:
            self.skip_to(offsets, lossy=False)
        else:
            self._committed = committed
            self._seals_next_offset = committed.seals_next_offset
        return [Out("seals", self._key, encode(Start(self._epoch)), self._partition)]

    def start_at(self, highest_ms: Mapping[str, int]) -> None:
        """For a fold that begins in the middle of its logs: takes the highest `ts` accepted before, by input."""
        for log, before_ms in highest_ms.items():
            self.state.logs[log].watermark.accept(before_ms)

    def rebuild_offsets(self, mark: bytes) -> dict[str, int]:
        """The oldest record of each input that still mattered at `mark`, and those that decided about it."""
        committed = self._checked(mark)
        return {log: committed.of(log).rebuild_offset for log in INPUTS}

    def rebuild(self, mark: bytes) -> None:
        """Starts empty at the rebuild offsets of `mark`, because there is no checkpoint."""
        committed = self._checked(mark)
        self.state.store.clear()
        self.state.conflicts = Seen()
        self.state.counting.clear()
        self._rebuilt = True
        for name, log in self.state.logs.items():
            log.next_offset = committed.of(name).rebuild_offset
            log.watermark.accept(committed.of(name).rebuild_highest_ms)
            log.confirmation.held = []
            log.moved_offset = committed.of(name).moved_offset

    def skip_to(self, offsets: Mapping[str, int], *, lossy: bool = True) -> None:
        """Goes on at later offsets. Open totals may lack the records between; the ledger counts what is lost."""
        self._lossy |= lossy
        for log, offset in offsets.items():
            self.state.logs[log].next_offset = offset

    def resume(self, mark: bytes) -> None:
        """Replay has reached the committed offsets: makes the decisions that the last owner had made, without outputs.

        Raises BrokenInvariant if the counts are not the committed ones: then the state or a log has changed.
        """
        committed, state = self._checked(mark), self.state
        if committed.finished:
            self._finish([])
        self._rules.sweep_to(committed.reached.close_ms, committed.reached.orphan_ms, 2**62, [])
        state.reached.final_ms = self._committed_final_ms = committed.reached.final_ms
        state.counting.drop_final(committed.reached.final_ms)
        state.counting.all_dirty()
        if self._rebuilt or self._lossy:
            self._take_counts(committed)
        else:
            self._compare_counts(committed)
        self._rebuilt = self._lossy = False
        self._committed = None
        state.changed = True

    def _take_counts(self, committed: JoinMark) -> None:
        """Takes the counts of the mark: a rebuild has folded only the last part of the logs."""
        state, decisions = self.state, committed.decisions
        was_open = committed.impressions.fates.accepted - decisions.closed - decisions.lost_impressions
        matched = decisions.billable + decisions.repeat + decisions.orphan
        was_pending = committed.clicks.fates.accepted - matched - decisions.lost_clicks
        lost_impressions = was_open - state.open
        lost_clicks = was_pending - state.accepted_clicks.pending
        if (lost_impressions or lost_clicks) and not self._lossy:
            raise BrokenInvariant(
                f"rebuilding partition {self._partition} came to {lost_impressions} open impressions and {lost_clicks} "
                "pending clicks less than were committed"
            )
        for name, log in state.logs.items():
            log.fates = committed.of(name).fates
        state.decisions = decisions
        state.decisions.lost_impressions += lost_impressions
        state.decisions.lost_clicks += lost_clicks

    def _compare_counts(self, committed: JoinMark) -> None:
        own: tuple[object, ...] = (*(log.fates for log in self.state.logs.values()), self.state.decisions)
        theirs: tuple[object, ...] = (committed.impressions.fates, committed.clicks.fates, committed.decisions)
        if own != theirs:
            raise BrokenInvariant(
                f"recovery of partition {self._partition} came to other counts than were committed: {own}, committed "
                f"{theirs}"
            )

    def _checked(self, mark: bytes) -> JoinMark:
        committed = read_mark(mark)
        self._check_digest(committed.digest, "the committed offsets")
        return committed

    def _check_digest(self, digest: str, what: str) -> None:
        if digest in self._formers:
            raise StateMismatch(
                f"{what} of partition {self._partition}: written by the version before, or without some of these extra "
                "dimensions; stop all workers of the group, run `clickfold upgrade` with the options of this worker, "
                "and start it again"
            )
        if digest != self._digest:
            raise StateMismatch(
                f"{what} of partition {self._partition}: made under settings {digest}, but these are {self._digest}; "
                "window, skew, lateness, future, dedupe, jump, negative rate, dimensions, extra dimensions, input map "
                "or topics differ; restore them or start a new run with another --group"
            )

    # ---- checkpoints ------------------------------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """The whole state; the segments and journals it names are durable."""
        return take_snapshot(self.state, digest=self._digest, partition=self._partition)

    def restore(self, snapshot: bytes) -> None:
        """Takes a snapshot's state. Raises StateMismatch for one of other settings or programs, or DamagedState."""
        decoded = read_snapshot(snapshot, partition=self._partition)
        self._check_digest(decoded.digest, "the checkpoint")
        restore_state(self.state, decoded)

    def files(self) -> Mapping[str, int]:
        """Rows and payloads of the segments, and the journals of totals, that the last snapshot names."""
        return {**self.state.store.files(), **self.state.counting.files()}

    def snapshot_kept(self) -> None:
        """Files that only earlier snapshots name may be deleted."""
        self.state.store.snapshot_kept()
        self.state.counting.snapshot_kept()


def _floor(seal: Seal) -> Floor:
    return Floor(seal.next_offset, seal.floor_ms, seal.confirmed_ms)

"""One partition's join as a fold: impressions, clicks and seals in; outcomes, totals, rejects and the ledger out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec
import xxhash

from schemas.bounds import END_OF_TIME_MS, NO_BOUND_MS, JoinBounds
from schemas.codec import decode, decoder, encode
from schemas.errors import BrokenInvariant, DamagedState, StateMismatch
from schemas.records import Out, Records
from schemas.seals import Seal, SealRecord, Start
from schemas.totals import DIMENSIONS, MINUTE_MS, QUARTER_MS, Ledger, LogCounts
from streams.engine.ports import Disk
from streams.join.matching import INPUTS, Matching
from streams.join.state import Counts, JoinMark, JoinSnapshot, Rebuild

_SEQUENCE_BITS = 32
# Raised when a manifest or a file it names is laid out otherwise.
_MAGIC = b"clickfold join "
_FORMAT = _MAGIC + b"02\n"
_decode_seal = decoder(SealRecord).decode


class JoinFold:
    """The join of one partition, as `streams.engine.fold.Fold`. `names` gives each input's topic, for dead letters."""

    def __init__(
        self,
        bounds: JoinBounds,
        disk: Disk,
        *,
        partition: int = 0,
        shards: int = 1,
        dimensions: Sequence[str] = DIMENSIONS,
        names: dict[str, str] | None = None,
        digest: str = "",
        belongs: Callable[[bytes], int] | None = None,
    ) -> None:
        """`belongs`: the partition a key should be in, if known; orphans that should be elsewhere are told apart."""
        self._join = Matching(
            bounds, disk, partition=partition, shards=shards, dimensions=dimensions, names=names, belongs=belongs
        )
        self._bounds = bounds
        self._partition = partition
        self._digest = digest or bounds.digest(*dimensions)
        self._committed_final_ms = NO_BOUND_MS
        self._rebuilt = self._lossy = False
        # What the former owner committed, while this one has not caught up with it.
        self._committed: JoinMark | None = None
        self._epoch = 1
        self._sequence = 0
        self._sealing: list[Seal] = []

    def step(self, records: Records) -> list[Out]:
        """Folds in impressions or clicks of this partition."""
        return self._join.step(records)

    def sweep(self, limit: int) -> list[Out]:
        """Closes impressions and gives up clicks, about `limit` of each, as far as the logs' bounds allow."""
        return self._join.sweep(limit)

    def behind(self) -> bool:
        """Whether another `sweep` would decide something."""
        return self._join.behind()

    def finish(self) -> None:
        """Both logs have ended: their bounds are at infinity."""
        for watermark in self._join.watermarks.values():
            watermark.schedule([(0, END_OF_TIME_MS)], 0)

    @property
    def misplaced(self) -> int:
        """Orphans, since start, whose key another partition's impressions have: the inputs are keyed apart."""
        return self._join.misplaced

    def watermark_ms(self, log: str) -> int:
        """The lateness bound of an input."""
        return self._join.watermarks[log].ms

    def highest_ms(self, log: str) -> int:
        """The highest `ts` accepted of an input; below `NO_BOUND_MS` + lateness before the first."""
        return self._join.watermarks[log].highest_ms

    @property
    def final_ms(self) -> int:
        """Totals of minutes that end at or before it were reported as final."""
        return self._join.decided.final_ms

    def ahead(self, *, tight: bool) -> str | None:
        """The input whose bound is more than half a window above the other's, if one is; `tight`: above it at all.

        Half, so that clicks cannot close impressions that are still to be read, one by one, instead of in sweeps.
        """
        impressions_ms, clicks_ms = map(self.watermark_ms, INPUTS)
        if not tight and NO_BOUND_MS in (impressions_ms, clicks_ms):
            return None
        apart_ms = 0 if tight else self._bounds.window_ms // 2
        if impressions_ms - clicks_ms > apart_ms:
            return "impressions"
        return "clicks" if clicks_ms - impressions_ms > apart_ms else None

    def state_bytes(self) -> int:
        """Memory of open impressions, totals and clicks."""
        return self._join.store.nbytes + self._join.counting.nbytes + self._join.clicks.nbytes

    def report(self, limit: int, *, final_only: bool = False) -> list[Out]:
        """Totals that changed or became final, and the ledger; `final_only`: of totals only final ones of minutes."""
        if not self._join.changed:
            return []
        version = self._version()
        target_ms = min(self._join.decided.orphan_ms, self._join.decided.close_ms)
        outs, self._join.decided.final_ms, self._join.changed = self._join.counting.report(
            self._partition,
            version,
            final_ms=max(target_ms, self._join.decided.final_ms),
            limit=limit,
            final_only=final_only,
        )
        ledger = self.ledger()
        trouble = ledger.imbalance()
        if trouble:
            raise BrokenInvariant(f"the ledger of partition {self._partition} does not balance: {trouble}")
        outs.append(Out("ledger", str(self._partition).encode(), encode(ledger), self._partition))
        return outs

    def ledger(self) -> Ledger:
        """The conservation counts as they stand; `version` is that of the last report."""
        counts = self._join.counts
        return Ledger(
            join_partition=self._partition,
            version=self._epoch << _SEQUENCE_BITS | self._sequence,
            impressions=_log_counts(counts, "impressions"),
            clicks=_log_counts(counts, "clicks"),
            open=counts.impressions_accepted - counts.closed - counts.lost_impressions,
            closed=counts.closed,
            unclicked=counts.unclicked,
            billable=counts.billable,
            repeat=counts.repeat,
            orphan=counts.orphan,
            pending=self._join.clicks.pending,
            impressions_next_offset=self._join.next["impressions"],
            clicks_next_offset=self._join.next["clicks"],
            impressions_watermark_ms=self._join.watermarks["impressions"].ms,
            clicks_watermark_ms=self._join.watermarks["clicks"].ms,
            lost_impressions=counts.lost_impressions,
            lost_clicks=counts.lost_clicks,
        )

    def _version(self) -> int:
        self._sequence += 1
        return self._epoch << _SEQUENCE_BITS | self._sequence

    def committed(self) -> None:
        """Final totals have reached Kafka and may go; seals that were written hold."""
        if self._join.decided.final_ms > self._committed_final_ms:
            self._committed_final_ms = self._join.decided.final_ms
            self._join.counting.drop_final(self._committed_final_ms)
        for seal in self._sealing:
            self._join.watermarks[seal.input].schedule([(seal.next_offset, seal.floor_ms)], self._join.next[seal.input])
            self._join.changed = True
        self._sealing.clear()

    # ---- ownership, seals, recovery ---------------------------------------------------------------------------------

    def positions(self) -> dict[str, int]:
        """The next offset of each input."""
        return dict(self._join.next)

    def mark(self) -> bytes:
        """Commit metadata: a `JoinMark`. Until the fold is live, what was committed before, under the new epoch."""
        if self._committed is not None:
            return encode(msgspec.structs.replace(self._committed, epoch=self._epoch))
        impressions_ms, clicks_ms = self._matters_from()
        return encode(
            JoinMark(
                epoch=self._epoch,
                sequence=self._sequence,
                digest=self._digest,
                decided=self._join.decided,
                counts=self._join.counts,
                rebuild_impressions=self._rebuild("impressions", impressions_ms),
                rebuild_clicks=self._rebuild("clicks", clicks_ms),
            )
        )

    def _matters_from(self) -> tuple[int, int]:
        """The lowest `ts` that an open impression, a waiting click, a later duplicate or a total not final needs."""
        bounds, decided = self._bounds, self._join.decided
        # A quarter ends up to 15 minutes, a minute up to one, after what it counts.
        counted_ms = decided.final_ms - decided.final_ms % QUARTER_MS - MINUTE_MS
        impressions_ms = min(
            counted_ms - bounds.window_ms,
            decided.close_ms,
            self._join.watermarks["impressions"].ms - max(bounds.dedupe_ms, bounds.skew_ms + bounds.window_ms),
        )
        clicks_ms = min(
            counted_ms - bounds.window_ms - bounds.skew_ms,
            decided.close_ms - bounds.skew_ms,
            decided.orphan_ms,
            self._join.watermarks["clicks"].ms - bounds.dedupe_ms,
        )
        return impressions_ms, clicks_ms

    def _rebuild(self, log: str, ts_ms: int) -> Rebuild:
        found = self._join.trails[log].rebuild_from(ts_ms)
        return Rebuild(*found) if found else Rebuild(self._join.next[log], self._join.watermarks[log].highest_ms)

    def begin(self, mark: bytes | None, *, offsets: dict[str, int], epoch: int) -> list[Out]:
        """Takes ownership with a higher epoch; the start record makes former owners' later seals void."""
        known = self._known(mark) if mark is not None else None
        self._epoch = max(epoch, known.epoch + 1) if known else epoch
        self._sequence = 0
        if known is None:
            self._join.next = dict(offsets)
        else:
            self._committed = known
        return [Out("seals", str(self._partition).encode(), encode(Start(self._epoch)), self._partition)]

    def start_at(self, highest_ms: Mapping[str, int]) -> None:
        """Begun in the middle of its logs: the highest `ts` accepted before, of inputs that have a past."""
        for log, before_ms in highest_ms.items():
            self._join.watermarks[log].accept(before_ms)

    def standing(self, side: Sequence[bytes]) -> None:
        """All seals of this partition in log order: those reached hold, the rest when their offset is reached."""
        epoch = 0
        floors: dict[str, list[tuple[int, int]]] = {log: [] for log in INPUTS}
        for value in side:
            seal: SealRecord = _decode_seal(value)
            if isinstance(seal, Start):
                epoch = max(epoch, seal.epoch)
            elif seal.epoch >= epoch:
                floors[seal.input].append((seal.next_offset, seal.floor_ms))
        for log in INPUTS:
            self._join.watermarks[log].schedule(floors[log], self._join.next[log])

    def seal(self, log: str) -> list[Out]:
        """`log` was seen idle at its position: the other log's bound becomes its floor. [] if that changes nothing.

        The seal holds once `committed` is called.
        """
        other = INPUTS[1 - INPUTS.index(log)]
        floor_ms = self._join.watermarks[other].ms
        if floor_ms <= self._join.watermarks[log].ms or floor_ms >= END_OF_TIME_MS:
            return []
        seal = Seal(log, self._partition, self._join.next[log], floor_ms, self._epoch)  # type: ignore[arg-type]  # a Literal
        self._sealing.append(seal)
        return [Out("seals", str(self._partition).encode(), encode(seal), self._partition)]

    def needed(self, mark: bytes) -> dict[str, int]:
        """The oldest record of each input that still mattered at `mark`, and those that decided about it."""
        known = self._known(mark)
        return {"impressions": known.rebuild_impressions.offset, "clicks": known.rebuild_clicks.offset}

    def rebuild(self, mark: bytes) -> None:
        """Starts empty where `mark` says, for want of a checkpoint."""
        known = self._known(mark)
        self._join.store.clear()
        self._join.counting.clear()
        self._rebuilt = True
        for log, start in (("impressions", known.rebuild_impressions), ("clicks", known.rebuild_clicks)):
            self._join.next[log] = start.offset
            self._join.watermarks[log].accept(start.highest_ms)

    def resume(self, mark: bytes) -> None:
        """The committed offsets are reached: decides, in silence, just what the last owner had decided, and goes live.

        Raises BrokenInvariant if this does not come to the counts that were committed: then state or log is not what
        it was.
        """
        known = self._known(mark)
        self._join.sweep_to(known.decided.close_ms, known.decided.orphan_ms, 2**62, [])
        self._join.decided.final_ms = self._committed_final_ms = known.decided.final_ms
        self._join.counting.drop_final(known.decided.final_ms)
        self._join.counting.all_dirty()
        lost = self._lost_since(known.counts) if self._rebuilt or self._lossy else (0, 0)
        if lost != (0, 0) and not self._lossy:
            raise BrokenInvariant(
                f"rebuilding partition {self._partition} came to {lost[0]} open impressions and {lost[1]} pending "
                "clicks less than were committed"
            )
        if self._rebuilt or self._lossy:
            self._join.counts = known.counts
            self._join.counts.lost_impressions += lost[0]
            self._join.counts.lost_clicks += lost[1]
        elif self._join.counts != known.counts:
            raise BrokenInvariant(
                f"recovery of partition {self._partition} came to {self._join.counts}, committed was {known.counts}"
            )
        self._rebuilt = self._lossy = False
        self._committed = None
        self._join.changed = True

    def lose(self, starts: Mapping[str, int]) -> None:
        """Reads on at later offsets. Totals that are not final may lack what was before; the ledger says how much."""
        self._lossy = True
        self._join.next.update(starts)

    def _lost_since(self, counts: Counts) -> tuple[int, int]:
        """Open impressions and pending clicks that were committed and are not here."""
        own = self._join.counts
        is_open = own.impressions_accepted - own.closed - own.lost_impressions
        was_open = counts.impressions_accepted - counts.closed - counts.lost_impressions
        matched = counts.billable + counts.repeat + counts.orphan
        was_pending = counts.clicks_accepted - matched - counts.lost_clicks
        return was_open - is_open, was_pending - self._join.clicks.pending

    def _known(self, mark: bytes) -> JoinMark:
        known = decode(mark, JoinMark)
        self._check_digest(known.digest, "the committed offsets")
        return known

    def _check_digest(self, digest: str, what: str) -> None:
        if digest != self._digest:
            raise StateMismatch(
                f"{what} of partition {self._partition}: made under settings {digest}, but these are {self._digest}; "
                "window, skew, lateness, future, dedupe, negative rate, dimensions or topics differ; restore them or "
                "start a new run with another --group"
            )

    def snapshot(self) -> bytes:
        """A `JoinSnapshot`, checksummed; the segments it names are durable."""
        seen, waiting = self._join.clicks.snapshot()
        impressions, clicks = self._join.watermarks["impressions"], self._join.watermarks["clicks"]
        body = msgspec.msgpack.encode(
            JoinSnapshot(
                digest=self._digest,
                partition=self._partition,
                impressions_next=self._join.next["impressions"],
                clicks_next=self._join.next["clicks"],
                impressions_highest_ms=impressions.highest_ms,
                impressions_floor_ms=impressions.floor_ms,
                clicks_highest_ms=clicks.highest_ms,
                clicks_floor_ms=clicks.floor_ms,
                decided=self._join.decided,
                counts=self._join.counts,
                segments=self._join.store.snapshot(),
                seen_clicks=seen,
                waiting_clicks=waiting,
                quarters=self._join.counting.snapshot(),
                impressions_trail=self._join.trails["impressions"].snapshot(),
                clicks_trail=self._join.trails["clicks"].snapshot(),
            )
        )
        return _FORMAT + xxhash.xxh3_128_digest(body) + body

    def files(self) -> Mapping[str, int]:
        """Rows and payloads of the segments, and the journals of totals, that the last snapshot names."""
        return {**self._join.store.files(), **self._join.counting.files()}

    def snapshot_kept(self) -> None:
        """Files only earlier snapshots name may go."""
        self._join.store.snapshot_kept()
        self._join.counting.snapshot_kept()

    def restore(self, snapshot: bytes) -> None:
        """Takes a snapshot's state. Raises StateMismatch for one of other settings or programs, or DamagedState."""
        state = self._decoded(snapshot)
        self._check_digest(state.digest, "the checkpoint")
        if state.partition != self._partition:
            raise StateMismatch(f"the checkpoint of partition {self._partition} is that of {state.partition}")
        self._join.store.restore(state.segments)
        self._join.clicks.restore(state.seen_clicks, state.waiting_clicks)
        self._join.counting.restore(state.quarters)
        self._join.next = {"impressions": state.impressions_next, "clicks": state.clicks_next}
        self._join.watermarks["impressions"].accept(state.impressions_highest_ms)
        self._join.watermarks["impressions"].floor_ms = state.impressions_floor_ms
        self._join.watermarks["clicks"].accept(state.clicks_highest_ms)
        self._join.watermarks["clicks"].floor_ms = state.clicks_floor_ms
        self._join.decided = state.decided
        self._join.counts = state.counts
        self._join.trails["impressions"].restore(state.impressions_trail)
        self._join.trails["clicks"].restore(state.clicks_trail)

    def _decoded(self, snapshot: bytes) -> JoinSnapshot:
        form, checksum, body = snapshot[: len(_FORMAT)], snapshot[len(_FORMAT) :][:16], snapshot[len(_FORMAT) + 16 :]
        if form != _FORMAT and form.startswith(_MAGIC):
            raise StateMismatch(f"the checkpoint is of format {form!r}, this program writes and reads {_FORMAT!r}")
        if form != _FORMAT or xxhash.xxh3_128_digest(body) != checksum:
            raise DamagedState(f"the checkpoint of partition {self._partition} is not what was written")
        return msgspec.msgpack.decode(body, type=JoinSnapshot)

    def close(self) -> None:
        """Ends the store's merge thread."""
        self._join.store.close()


def _log_counts(counts: Counts, log: str) -> LogCounts:
    fates = {name: getattr(counts, f"{log}_{name}") for name in ("accepted", "late", "duplicate", "rejected")}
    return LogCounts(consumed=sum(fates.values()), **fates)

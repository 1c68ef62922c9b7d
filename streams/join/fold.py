"""One partition's join as a fold: impressions, clicks and seals in; outcomes, totals, rejects and the ledger out."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import xxhash

from schemas.bounds import END_OF_TIME_MS, NO_BOUND_MS, JoinBounds
from schemas.codec import decode, encode
from schemas.errors import BrokenInvariant, StateMismatch
from schemas.events import Click, Impression
from schemas.rejects import Reason, rejected
from schemas.seals import Seal, SealRecord, Start
from schemas.totals import DIMENSIONS, MINUTE_MS, QUARTER_MS, Ledger, LogCounts
from streams.disk import Disk
from streams.fold import Out, Records
from streams.join.counting import Counting
from streams.join.impressions import judge_impressions, stored_impression
from streams.join.intake import Intake, Taken
from streams.join.judge import Fate, Fates, judge_each
from streams.join.outcomes import Outcomes
from streams.join.pending import Clicks, matches
from streams.join.state import Counts, Decided, JoinMark, JoinSnapshot, Rebuild
from streams.join.store import Store
from streams.join.trail import Trail
from streams.join.watermark import Watermark

INPUTS = ("impressions", "clicks")
_SEQUENCE_BITS = 32
_hash = xxhash.xxh3_64_intdigest


class JoinFold:
    """The join of one partition, as `streams.fold.Fold`. `names` gives each input's topic, for dead letters."""

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
    ) -> None:
        self._bounds = bounds
        self._partition = partition
        self._names = names or {name: name for name in INPUTS}
        self._digest = digest or bounds.digest(*dimensions)
        self._store = Store(disk)
        self._clicks = Clicks(bounds)
        self._counting = Counting(dimensions)
        self._outcomes = Outcomes(partition, shards, bounds)
        self._impression_intake = Intake(Impression, bounds)
        self._click_intake = Intake(Click, bounds)
        self._marks = {name: Watermark(bounds.lateness_ms) for name in INPUTS}
        self._trails = {name: Trail(judged_with_ms=bounds.lateness_ms + bounds.dedupe_ms) for name in INPUTS}
        self._next = dict.fromkeys(INPUTS, 0)
        self._decided = Decided()
        self._committed_final_ms = NO_BOUND_MS
        self._counts = Counts()
        self._rebuilt = False
        self._epoch = 1
        self._sequence = 0
        self._changed = True
        self._ended = False
        self._sealing: list[Seal] = []

    # ---- records in -------------------------------------------------------------------------------------------------

    def step(self, records: Records) -> list[Out]:
        """Folds in impressions or clicks of this partition."""
        if not len(records):
            return []
        if records.offsets[0] < self._next[records.log]:
            raise BrokenInvariant(
                f"{records.log}[{self._partition}] gave offset {records.offsets[0]} again; next is "
                f"{self._next[records.log]}"
            )
        outs: list[Out] = []
        watermark = self._marks[records.log]
        for span in watermark.spans(records):
            watermark.reach(span.offsets[0])
            before_ms = watermark.highest_ms
            fold = self._impressions if records.log == "impressions" else self._clicks_in
            highest_ms = fold(span, watermark, outs)
            self._trails[records.log].add(
                span.offsets[0], highest_before_ms=before_ms, highest_ms=highest_ms, records=len(span)
            )
        self._next[records.log] = records.next_offset
        watermark.reach(records.next_offset)
        self._changed = True
        return outs

    def _impressions(self, records: Records, watermark: Watermark, outs: list[Out]) -> int:
        taken = self._impression_intake.take(records)
        self._refuse(records, taken, outs)
        if not taken.events:
            return NO_BOUND_MS
        # The key of a good record is its impression id.
        keys = [records.keys[row] for row in taken.rows] if taken.refused else records.keys
        hashes = np.fromiter(map(_hash, keys), np.uint64, len(keys))  # type: ignore[arg-type]  # so it is never None
        fates = judge_impressions(watermark, self._store, taken.events, taken.ts, hashes, self._bounds)
        accepted = self._sort_out(records, taken, fates, outs)
        if not len(accepted):
            return int(taken.ts.max())
        events: list[Impression] = taken.events
        ts = taken.ts
        payloads: Sequence[bytes] = records.values  # type: ignore[assignment]  # a tombstone is never taken
        if len(accepted) < len(records):
            chosen = accepted.tolist()
            events, ts, hashes = [events[at] for at in chosen], ts[accepted], hashes[accepted]
            payloads = [records.values[taken.rows[at]] for at in chosen]  # type: ignore[misc]  # likewise
        positions = self._store.append(ts, hashes, payloads)
        self._counting.add_impressions(events, ts)
        for at in self._clicks.awaited(events):
            for click in self._clicks.take(events[at]):
                self._match(events[at], int(positions[at]), click, outs)
        self._close_at_once(events, ts, hashes, positions, outs)
        return int(taken.ts.max())

    def _clicks_in(self, records: Records, watermark: Watermark, outs: list[Out]) -> int:
        taken = self._click_intake.take(records)
        self._refuse(records, taken, outs)
        if not taken.events:
            return NO_BOUND_MS
        fates = judge_each(
            watermark,
            taken.events,
            lambda at, bound_ms: self._clicks.twin(taken.events[at], bound_ms),
            lambda at: self._clicks.accept(taken.events[at]),
        )
        accepted = [taken.events[at] for at in self._sort_out(records, taken, fates, outs).tolist()]
        hashes = np.fromiter((_hash(click.impression_id.encode()) for click in accepted), np.uint64, len(accepted))
        hits: dict[int, list[int]] = {}
        for asked, position in zip(*(column.tolist() for column in self._store.find(hashes)), strict=True):
            hits.setdefault(asked, []).append(position)
        for at, click in enumerate(accepted):
            self._meet(click, hits.get(at, ()), outs)
        return int(taken.ts.max())

    def _meet(self, click: Click, positions: Sequence[int], outs: list[Out]) -> None:
        """An accepted click meets its impression, is an orphan, or waits."""
        for position in positions:
            if matches(self._store.ts(position), click.ts, self._bounds):
                impression = stored_impression(self._store, position)
                if impression.impression_id == click.impression_id:
                    self._match(impression, position, click, outs)
                    return
        if click.ts < self._decided.orphan_ms:
            self._orphan(click, outs)
        else:
            self._clicks.wait(click)

    def _refuse(self, records: Records, taken: Taken[Impression] | Taken[Click], outs: list[Out]) -> None:
        for row, reason, detail in taken.refused:
            self._reject(records, row, reason, detail, outs)
        self._count(records.log, "rejected", len(taken.refused))

    def _sort_out(
        self, records: Records, taken: Taken[Impression] | Taken[Click], fates: Fates, outs: list[Out]
    ) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Counts the fates, writes dead letters, and returns the places of the accepted."""
        accepted = np.flatnonzero(fates == Fate.ACCEPTED)
        self._count(records.log, "accepted", len(accepted))
        if len(accepted) < len(fates):
            for at in np.flatnonzero((fates == Fate.LATE) | (fates == Fate.CONFLICT)).tolist():
                event = taken.events[at]
                if fates[at] == Fate.LATE:
                    detail = f"ts {event.ts} was below the lateness bound of its log"
                    self._reject(records, taken.rows[at], Reason.LATE, detail, outs)
                else:
                    detail = "the same id was accepted with other content"
                    self._reject(records, taken.rows[at], Reason.CONFLICT, detail, outs)
            self._count(records.log, "late", int((fates == Fate.LATE).sum()))
            self._count(records.log, "duplicate", int((fates == Fate.DUPLICATE).sum()))
            self._count(records.log, "rejected", int((fates == Fate.CONFLICT).sum()))
        return accepted

    def _reject(self, records: Records, row: int, reason: Reason, detail: str, outs: list[Out]) -> None:
        letter = rejected(
            reason,
            detail,
            records.values[row],
            topic=self._names[records.log],
            partition=records.partition,
            offset=records.offsets[row],
            record_ts_ms=records.timestamps[row],
        )
        outs.append(Out("rejects", None, encode(letter), 0))

    def _count(self, log: str, fate: str, more: int) -> None:
        if more:
            name = f"{log}_{fate}"
            setattr(self._counts, name, getattr(self._counts, name) + more)

    # ---- decisions --------------------------------------------------------------------------------------------------

    def _match(self, impression: Impression, position: int, click: Click, outs: list[Out]) -> None:
        repeat = not self._store.click(position)
        if repeat:
            self._counts.repeat += 1
        else:
            self._counts.billable += 1
        self._counting.add_click(impression, click.ts, repeat=repeat)
        outs.append(self._outcomes.clicked(impression, click, repeat=repeat))

    def _orphan(self, click: Click, outs: list[Out]) -> None:
        self._counts.orphan += 1
        outs.append(self._outcomes.orphan(click))

    def _close_at_once(
        self,
        events: Sequence[Impression],
        ts: np.ndarray[tuple[int], np.dtype[np.int64]],
        hashes: np.ndarray[tuple[int], np.dtype[np.uint64]],
        positions: np.ndarray[tuple[int], np.dtype[np.int64]],
        outs: list[Out],
    ) -> None:
        """Impressions accepted below the close bound: no acceptable click can come for them any more."""
        for at in np.flatnonzero(ts < self._decided.close_ms).tolist():
            self._counts.closed += 1
            if not self._store.clicked(int(positions[at])):
                self._counts.unclicked += 1
                if self._bounds.keeps_unclicked(int(hashes[at])):
                    outs.append(self._outcomes.unclicked(events[at]))

    def behind(self) -> bool:
        """Whether another `sweep` would decide something."""
        return self._decided.close_ms < self._close_target() or self._decided.orphan_ms < self._orphan_target()

    def sweep(self, limit: int) -> list[Out]:
        """Closes impressions and gives up clicks, about `limit` of each, as far as the logs' bounds allow."""
        outs: list[Out] = []
        self._sweep_to(self._close_target(), self._orphan_target(), limit, outs)
        watermarks = self._marks["impressions"].ms, self._marks["clicks"].ms
        closed_ms = min(self._decided.close_ms, watermarks[1] - self._bounds.window_ms)
        self._store.drop_below(min(closed_ms, watermarks[0] - self._bounds.dedupe_ms))
        self._clicks.forget_below(watermarks[1] - self._bounds.dedupe_ms)
        return outs

    def _sweep_to(self, close_ms: int, orphan_ms: int, limit: int, outs: list[Out]) -> None:
        decided = self._decided
        if decided.orphan_ms < orphan_ms:
            orphans, decided.orphan_ms = self._clicks.orphans_below(orphan_ms, limit)
            for click in orphans:
                self._orphan(click, outs)
            self._changed = True
        if decided.close_ms < close_ms:
            reached_ms = self._store.bound_for(decided.close_ms, close_ms, limit)
            count, unclicked, kept = self._store.unclicked_between(
                decided.close_ms, reached_ms, self._bounds.keep_below
            )
            self._counts.closed += count
            self._counts.unclicked += unclicked
            outs.extend(self._outcomes.unclicked(stored_impression(self._store, position)) for position in kept)
            decided.close_ms = reached_ms
            self._changed = True

    def _close_target(self) -> int:
        return self._marks["clicks"].ms - self._bounds.window_ms

    def _orphan_target(self) -> int:
        return self._marks["impressions"].ms - self._bounds.skew_ms

    def finish(self) -> None:
        """Both logs have ended: their bounds are at infinity."""
        for watermark in self._marks.values():
            watermark.schedule([(0, END_OF_TIME_MS)], 0)
        self._ended = True

    # ---- what is reported -------------------------------------------------------------------------------------------

    def report(self, limit: int) -> list[Out]:
        """Totals that changed or became final, and the ledger."""
        if not self._changed:
            return []
        version = self._version()
        target_ms = min(self._decided.orphan_ms, self._decided.close_ms)
        outs, self._decided.final_ms = self._counting.report(
            self._partition, version, final_ms=max(target_ms, self._decided.final_ms), limit=limit
        )
        self._changed = self._decided.final_ms < target_ms
        ledger = self.ledger()
        trouble = ledger.imbalance()
        if trouble:
            raise BrokenInvariant(f"the ledger of partition {self._partition} does not balance: {trouble}")
        outs.append(Out("ledger", str(self._partition).encode(), encode(ledger), self._partition))
        return outs

    def ledger(self) -> Ledger:
        """The conservation counts as they stand; `version` is that of the last report."""
        counts = self._counts
        return Ledger(
            join_partition=self._partition,
            version=self._epoch << _SEQUENCE_BITS | self._sequence,
            impressions=_log_counts(counts, "impressions"),
            clicks=_log_counts(counts, "clicks"),
            open=counts.impressions_accepted - counts.closed,
            closed=counts.closed,
            unclicked=counts.unclicked,
            billable=counts.billable,
            repeat=counts.repeat,
            orphan=counts.orphan,
            pending=self._clicks.pending,
            impressions_next_offset=self._next["impressions"],
            clicks_next_offset=self._next["clicks"],
            impressions_watermark_ms=self._marks["impressions"].ms,
            clicks_watermark_ms=self._marks["clicks"].ms,
        )

    def _version(self) -> int:
        self._sequence += 1
        return self._epoch << _SEQUENCE_BITS | self._sequence

    def committed(self) -> None:
        """Final totals have reached Kafka and may go; seals that were written hold."""
        if self._decided.final_ms > self._committed_final_ms:
            self._committed_final_ms = self._decided.final_ms
            self._counting.drop_final(self._committed_final_ms)
        for seal in self._sealing:
            self._marks[seal.input].schedule([(seal.next_offset, seal.floor_ms)], self._next[seal.input])
            self._changed = True
        self._sealing.clear()

    # ---- ownership, seals, recovery ---------------------------------------------------------------------------------

    def positions(self) -> dict[str, int]:
        """The next offset of each input."""
        return dict(self._next)

    def mark(self) -> bytes:
        """Commit metadata: a `JoinMark`."""
        impressions_ms, clicks_ms = self._matters_from()
        return encode(
            JoinMark(
                epoch=self._epoch,
                sequence=self._sequence,
                digest=self._digest,
                decided=self._decided,
                counts=self._counts,
                rebuild_impressions=self._rebuild("impressions", impressions_ms),
                rebuild_clicks=self._rebuild("clicks", clicks_ms),
            )
        )

    def _matters_from(self) -> tuple[int, int]:
        """The lowest `ts` that an open impression, a waiting click, a later duplicate or a total not final needs."""
        bounds, decided = self._bounds, self._decided
        # A quarter ends up to 15 minutes, a minute up to one, after what it counts.
        counted_ms = decided.final_ms - decided.final_ms % QUARTER_MS - MINUTE_MS
        impressions_ms = min(
            counted_ms - bounds.window_ms,
            decided.close_ms,
            self._marks["impressions"].ms - max(bounds.dedupe_ms, bounds.skew_ms + bounds.window_ms),
        )
        clicks_ms = min(
            counted_ms - bounds.window_ms - bounds.skew_ms,
            decided.close_ms - bounds.skew_ms,
            decided.orphan_ms,
            self._marks["clicks"].ms - bounds.dedupe_ms,
        )
        return impressions_ms, clicks_ms

    def _rebuild(self, log: str, ts_ms: int) -> Rebuild:
        found = self._trails[log].rebuild_from(ts_ms)
        return Rebuild(*found) if found else Rebuild(self._next[log], self._marks[log].highest_ms)

    def begin(self, epoch: int) -> list[Out]:
        """This owner's epoch: the start record that makes earlier owners' later seals void."""
        self._epoch = epoch
        self._sequence = 0
        return [Out("seals", str(self._partition).encode(), encode(Start(epoch)), self._partition)]

    def standing(self, seals: Sequence[SealRecord]) -> None:
        """All seals of this partition in log order: those reached hold, the rest when their offset is reached."""
        epoch = 0
        floors: dict[str, list[tuple[int, int]]] = {log: [] for log in INPUTS}
        for seal in seals:
            if isinstance(seal, Start):
                epoch = max(epoch, seal.epoch)
            elif seal.epoch >= epoch:
                floors[seal.input].append((seal.next_offset, seal.floor_ms))
        for log in INPUTS:
            self._marks[log].schedule(floors[log], self._next[log])

    def seal(self, log: str) -> list[Out]:
        """`log` was seen idle at its position: the other log's bound becomes its floor. [] if that changes nothing.

        The seal holds once `committed` is called.
        """
        other = INPUTS[1 - INPUTS.index(log)]
        floor_ms = self._marks[other].ms
        if floor_ms <= self._marks[log].ms or floor_ms >= END_OF_TIME_MS:
            return []
        seal = Seal(log, self._partition, self._next[log], floor_ms, self._epoch)  # type: ignore[arg-type]  # a Literal
        self._sealing.append(seal)
        return [Out("seals", str(self._partition).encode(), encode(seal), self._partition)]

    def rebuild(self, mark: bytes) -> dict[str, int]:
        """Starts empty where `mark` says, for want of a checkpoint; returns the offsets to read from."""
        known = self._known(mark)
        self._store.clear()
        self._rebuilt = True
        for log, start in (("impressions", known.rebuild_impressions), ("clicks", known.rebuild_clicks)):
            self._next[log] = start.offset
            self._marks[log].accept(start.highest_ms)
        return self.positions()

    def resume(self, mark: bytes) -> None:
        """The committed offsets are reached: decides, in silence, just what the last owner had decided, and goes live.

        Raises BrokenInvariant if this does not come to the counts that were committed: then state or log is not what
        it was.
        """
        known = self._known(mark)
        self._sweep_to(known.decided.close_ms, known.decided.orphan_ms, 2**62, [])
        self._decided.final_ms = self._committed_final_ms = known.decided.final_ms
        self._counting.drop_final(known.decided.final_ms)
        self._counting.all_dirty()
        if self._rebuilt:
            self._check_rebuilt(known.counts)
            self._counts = known.counts
        elif self._counts != known.counts:
            raise BrokenInvariant(
                f"recovery of partition {self._partition} came to {self._counts}, committed was {known.counts}"
            )
        self._rebuilt = False
        self._changed = True

    def _check_rebuilt(self, counts: Counts) -> None:
        found = self._counts.impressions_accepted - self._counts.closed, self._clicks.pending
        matched = counts.billable + counts.repeat + counts.orphan
        wanted = counts.impressions_accepted - counts.closed, counts.clicks_accepted - matched
        if found != wanted:
            raise BrokenInvariant(
                f"rebuilding partition {self._partition} came to {found} open impressions and pending clicks, "
                f"committed were {wanted}"
            )

    def _known(self, mark: bytes) -> JoinMark:
        known = decode(mark, JoinMark)
        self._check_digest(known.digest, "the committed offsets")
        return known

    def _check_digest(self, digest: str, what: str) -> None:
        if digest != self._digest:
            raise StateMismatch(
                f"{what} of partition {self._partition} were made under settings {digest}, these are {self._digest}: "
                "window, skew, lateness, future, dedupe, negative rate, dimensions or topics differ; restore them or "
                "start a new run with another --group"
            )

    def snapshot(self) -> bytes:
        """A `JoinSnapshot`, checksummed; the segments it names are durable."""
        minutes, quarters = self._counting.snapshot()
        seen, waiting = self._clicks.snapshot()
        impressions, clicks = self._marks["impressions"], self._marks["clicks"]
        body = msgspec.msgpack.encode(
            JoinSnapshot(
                digest=self._digest,
                impressions_next=self._next["impressions"],
                clicks_next=self._next["clicks"],
                impressions_highest_ms=impressions.highest_ms,
                impressions_floor_ms=impressions.floor_ms,
                clicks_highest_ms=clicks.highest_ms,
                clicks_floor_ms=clicks.floor_ms,
                decided=self._decided,
                counts=self._counts,
                segments=self._store.snapshot(),
                seen_clicks=seen,
                waiting_clicks=waiting,
                minutes=minutes,
                quarters=quarters,
                impressions_trail=self._trails["impressions"].snapshot(),
                clicks_trail=self._trails["clicks"].snapshot(),
            )
        )
        return xxhash.xxh3_128_digest(body) + body

    def snapshot_kept(self) -> None:
        """Files only earlier snapshots name may go."""
        self._store.snapshot_kept()

    def restore(self, snapshot: bytes) -> None:
        """Takes a snapshot's state. Raises StateMismatch for other settings, BrokenInvariant for damage."""
        checksum, body = snapshot[:16], snapshot[16:]
        if xxhash.xxh3_128_digest(body) != checksum:
            raise BrokenInvariant(f"the checkpoint of partition {self._partition} is damaged")
        state = msgspec.msgpack.decode(body, type=JoinSnapshot)
        self._check_digest(state.digest, "the checkpoint")
        self._store.restore(state.segments)
        self._clicks.restore(state.seen_clicks, state.waiting_clicks)
        self._counting.restore(state.minutes, state.quarters)
        self._next = {"impressions": state.impressions_next, "clicks": state.clicks_next}
        self._marks["impressions"].accept(state.impressions_highest_ms)
        self._marks["impressions"].floor_ms = state.impressions_floor_ms
        self._marks["clicks"].accept(state.clicks_highest_ms)
        self._marks["clicks"].floor_ms = state.clicks_floor_ms
        self._decided = state.decided
        self._counts = state.counts
        self._trails["impressions"].restore(state.impressions_trail)
        self._trails["clicks"].restore(state.clicks_trail)

    def close(self) -> None:
        """Ends the store's merge thread."""
        self._store.close()


def _log_counts(counts: Counts, log: str) -> LogCounts:
    fates = {name: getattr(counts, f"{log}_{name}") for name in ("accepted", "late", "duplicate", "rejected")}
    return LogCounts(consumed=sum(fates.values()), **fates)

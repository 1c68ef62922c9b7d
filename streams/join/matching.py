"""What is decided: records of both logs judged, matched, closed, given up and counted. Knows nothing of commits."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import xxhash

from schemas.bounds import NO_BOUND_MS, JoinBounds
from schemas.codec import encode
from schemas.errors import BrokenInvariant
from schemas.events import Click, Impression
from schemas.records import Out, Records
from schemas.rejects import Reason, rejected
from schemas.totals import DIMENSIONS
from streams.engine.ports import Disk
from streams.join.decode import Intake, Taken
from streams.join.impressions import judge_impressions, stored_impression
from streams.join.index import Hashes
from streams.join.judge import Fate, Fates, Int64s, judge_each
from streams.join.outcomes import Outcomes
from streams.join.pending import Clicks, matches
from streams.join.state import Counts, Decided
from streams.join.store import Store
from streams.join.totals.counting import Counting
from streams.join.trail import Trail
from streams.join.watermark import Watermark

INPUTS = ("impressions", "clicks")
_hash = xxhash.xxh3_64_intdigest


class Matching:
    """The state of one partition's join and the rules that move it. `names` gives each input's topic."""

    def __init__(
        self,
        bounds: JoinBounds,
        disk: Disk,
        *,
        partition: int = 0,
        shards: int = 1,
        dimensions: Sequence[str] = DIMENSIONS,
        names: dict[str, str] | None = None,
        belongs: Callable[[bytes], int] | None = None,
    ) -> None:
        self.bounds = bounds
        self.partition = partition
        self.store = Store(disk, bounds.kept)
        self.clicks = Clicks(bounds)
        self.counting = Counting(disk, dimensions)
        self.watermarks = {name: Watermark(bounds.lateness_ms) for name in INPUTS}
        self.trails = {name: Trail(judged_with_ms=bounds.lateness_ms + bounds.dedupe_ms) for name in INPUTS}
        self.next = dict.fromkeys(INPUTS, 0)
        self.decided = Decided()
        self.counts = Counts()
        # Whether anything was decided or counted since this was last set to False.
        self.changed = True
        # Of no weight for what is decided, and so neither kept nor committed.
        self.misplaced = 0
        self._belongs = belongs
        self._names = names or {name: name for name in INPUTS}
        self._outcomes = Outcomes(partition, shards, bounds)
        self._impression_intake = Intake(Impression, bounds)
        self._click_intake = Intake(Click, bounds)

    # ---- records in -------------------------------------------------------------------------------------------------

    def step(self, records: Records) -> list[Out]:
        """Folds in impressions or clicks of this partition."""
        if not len(records):
            return []
        if records.offsets[0] < self.next[records.log]:
            raise BrokenInvariant(
                f"{records.log}[{self.partition}] gave offset {records.offsets[0]} again; next is "
                f"{self.next[records.log]}"
            )
        outs: list[Out] = []
        watermark = self.watermarks[records.log]
        for span in watermark.spans(records):
            watermark.reach(span.offsets[0])
            before_ms = watermark.highest_ms
            fold = self._impressions if records.log == "impressions" else self._clicks_in
            highest_ms = fold(span, watermark, outs)
            self.trails[records.log].add(
                span.offsets[0], highest_before_ms=before_ms, highest_ms=highest_ms, records=len(span)
            )
        self.counting.flush()
        self.next[records.log] = records.next_offset
        watermark.reach(records.next_offset)
        self.changed = True
        return outs

    def _impressions(self, records: Records, watermark: Watermark, outs: list[Out]) -> int:
        taken = self._impression_intake.take(records)
        self._refuse(records, taken, outs)
        if not taken.events:
            return NO_BOUND_MS
        # The key of a good record is its impression id.
        keys = [records.keys[row] for row in taken.rows] if taken.refused else records.keys
        hashes = np.fromiter(map(_hash, keys), np.uint64, len(keys))  # type: ignore[arg-type]  # so it is never None
        fates = judge_impressions(watermark, self.store, taken.events, taken.ts, hashes, self.bounds)
        accepted = self._sort_out(records, taken, fates, outs)
        if not len(accepted):
            return int(taken.ts.max())
        events: list[Impression] = taken.events
        ts = taken.ts
        payloads: Sequence[bytes] = records.values  # type: ignore[assignment]  # a tombstone is never taken
        if len(accepted) < len(records):
            chosen = accepted.tolist()
            events, ts, hashes = [events[at] for at in chosen], ts[accepted], hashes[accepted]
            payloads = [records.values[taken.rows[at]] for at in chosen]
        positions = self.store.append(ts, hashes, payloads)
        self.counting.add_impressions(events, ts)
        clicked = []
        for at in self.clicks.awaited(events):
            taken_clicks = self.clicks.take(events[at])
            clicked += [at] if taken_clicks else []
            for click in taken_clicks:
                self._match(events[at], int(positions[at]), click, outs)
        self._close_at_once(events, ts, hashes, clicked, outs)
        return int(taken.ts.max())

    def _clicks_in(self, records: Records, watermark: Watermark, outs: list[Out]) -> int:
        taken = self._click_intake.take(records)
        self._refuse(records, taken, outs)
        if not taken.events:
            return NO_BOUND_MS
        fates = judge_each(
            watermark,
            taken.events,
            lambda at, bound_ms: self.clicks.twin(taken.events[at], bound_ms),
            lambda at: self.clicks.accept(taken.events[at]),
        )
        accepted = [taken.events[at] for at in self._sort_out(records, taken, fates, outs).tolist()]
        hashes = np.fromiter((_hash(click.impression_id.encode()) for click in accepted), np.uint64, len(accepted))
        hits: dict[int, list[int]] = {}
        for asked, position in zip(*(column.tolist() for column in self.store.find(hashes)), strict=True):
            hits.setdefault(asked, []).append(position)
        for at, click in enumerate(accepted):
            self._meet(click, hits.get(at, ()), outs)
        return int(taken.ts.max())

    def _meet(self, click: Click, positions: Sequence[int], outs: list[Out]) -> None:
        """An accepted click meets its impression, is an orphan, or waits."""
        for position in positions:
            if matches(self.store.ts(position), click.ts, self.bounds):
                impression = stored_impression(self.store, position)
                if impression.impression_id == click.impression_id:
                    self._match(impression, position, click, outs)
                    return
        if click.ts < self.decided.orphan_ms:
            self._orphan(click, outs)
        else:
            self.clicks.wait(click)

    def _refuse(self, records: Records, taken: Taken[Impression] | Taken[Click], outs: list[Out]) -> None:
        for row, reason, detail in taken.refused:
            self._reject(records, row, reason, detail, outs)
        self._count(records.log, "rejected", len(taken.refused))

    def _sort_out(
        self, records: Records, taken: Taken[Impression] | Taken[Click], fates: Fates, outs: list[Out]
    ) -> Int64s:
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
            setattr(self.counts, name, getattr(self.counts, name) + more)

    # ---- decisions --------------------------------------------------------------------------------------------------

    def _match(self, impression: Impression, position: int, click: Click, outs: list[Out]) -> None:
        repeat = not self.store.click(position)
        if repeat:
            self.counts.repeat += 1
        else:
            self.counts.billable += 1
        self.counting.add_click(impression, click.ts, repeat=repeat)
        outs.append(self._outcomes.clicked(impression, click, repeat=repeat))

    def _orphan(self, click: Click, outs: list[Out]) -> None:
        self.counts.orphan += 1
        if self._belongs is not None and self._belongs(click.impression_id.encode()) != self.partition:
            self.misplaced += 1
        outs.append(self._outcomes.orphan(click))

    def _close_at_once(
        self, events: Sequence[Impression], ts: Int64s, hashes: Hashes, clicked: Sequence[int], outs: list[Out]
    ) -> None:
        """Impressions accepted below the close bound: no acceptable click can come for them any more.

        `clicked` are the places of those whose clicks had been waiting.
        """
        silent = ts < self.decided.close_ms
        self.counts.closed += int(silent.sum())
        silent[clicked] = False
        self.counts.unclicked += int(silent.sum())
        kept = np.flatnonzero(silent & self.bounds.kept(hashes)).tolist()
        outs.extend(self._outcomes.unclicked(events[at]) for at in kept)

    def behind(self) -> bool:
        """Whether another `sweep` would decide something."""
        return self.decided.close_ms < self._close_target() or self.decided.orphan_ms < self._orphan_target()

    def sweep(self, limit: int) -> list[Out]:
        """Closes impressions and gives up clicks, about `limit` of each, as far as the logs' bounds allow."""
        outs: list[Out] = []
        self.sweep_to(self._close_target(), self._orphan_target(), limit, outs)
        watermarks = self.watermarks["impressions"].ms, self.watermarks["clicks"].ms
        closed_ms = min(self.decided.close_ms, watermarks[1] - self.bounds.window_ms)
        self.store.drop_below(min(closed_ms, watermarks[0] - self.bounds.dedupe_ms))
        self.clicks.forget_below(watermarks[1] - self.bounds.dedupe_ms)
        return outs

    def sweep_to(self, close_ms: int, orphan_ms: int, limit: int, outs: list[Out]) -> None:
        """Closes impressions below `close_ms` and gives up clicks below `orphan_ms`, about `limit` of each."""
        decided = self.decided
        if decided.orphan_ms < orphan_ms:
            orphans, decided.orphan_ms = self.clicks.orphans_below(orphan_ms, limit)
            for click in orphans:
                self._orphan(click, outs)
            self.changed = True
        if decided.close_ms < close_ms:
            reached_ms = self.store.bound_for(decided.close_ms, close_ms, limit)
            count, unclicked, kept = self.store.unclicked_between(decided.close_ms, reached_ms)
            self.counts.closed += count
            self.counts.unclicked += unclicked
            outs.extend(self._outcomes.unclicked(stored_impression(self.store, position)) for position in kept)
            decided.close_ms = reached_ms
            self.changed = True

    def _close_target(self) -> int:
        return self.watermarks["clicks"].ms - self.bounds.window_ms

    def _orphan_target(self) -> int:
        return self.watermarks["impressions"].ms - self.bounds.skew_ms

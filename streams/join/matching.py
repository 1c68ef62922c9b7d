"""The rules of the join: records are judged, matched, closed, orphaned and counted. Commits are elsewhere.

`docs/concepts/join.md` states the rules as inequalities.
"""

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
from streams.join.decode import DecodedBatch, EventDecoder
from streams.join.impressions import judge_impressions, stored_impression
from streams.join.index import Hashes
from streams.join.judge import Fate, Fates, Int64s, judge_each
from streams.join.negatives import Negatives
from streams.join.outcomes import Outcomes
from streams.join.pending import matches
from streams.join.state import CLICKS, IMPRESSIONS, INPUTS, JoinState, LogState

_hash = xxhash.xxh3_64_intdigest


class Matching:
    """Applies the rules to the state of one partition. `names` gives each input's topic, for dead letters."""

    def __init__(
        self,
        state: JoinState,
        bounds: JoinBounds,
        *,
        partition: int = 0,
        shards: int = 1,
        names: dict[str, str] | None = None,
        belongs: Callable[[bytes], int] | None = None,
    ) -> None:
        """`belongs` gives the partition that a key belongs in; None if the partitioner is not known."""
        self.state = state
        self.bounds = bounds
        self.partition = partition
        # Orphans since start whose key belongs in another partition. It decides nothing, so no snapshot has it.
        self.misplaced = 0
        self._belongs = belongs
        self._names = names or {name: name for name in INPUTS}
        self._negatives = Negatives(bounds.negative_rate)
        self._outcomes = Outcomes(partition, shards, unclicked_weight=self._negatives.weight)
        self._impression_decoder = EventDecoder(Impression, bounds)
        self._click_decoder = EventDecoder(Click, bounds)

    # ---- records in -------------------------------------------------------------------------------------------------

    def step(self, records: Records) -> list[Out]:
        """Folds in impressions or clicks of this partition."""
        if not len(records):
            return []
        log = self.state.logs[records.log]
        if records.offsets[0] < log.next_offset:
            raise BrokenInvariant(
                f"{log.name}[{self.partition}] gave offset {records.offsets[0]} again; next is {log.next_offset}"
            )
        outs: list[Out] = []
        fold = self._fold_impressions if log.name == IMPRESSIONS else self._fold_clicks
        for piece in log.watermark.pieces(records):
            log.watermark.reach(piece.offsets[0])
            before_ms = log.watermark.highest_ms
            highest_ms = fold(piece, log, outs)
            log.trail.add(piece.offsets[0], highest_before_ms=before_ms, highest_ms=highest_ms, records=len(piece))
        self.state.counting.flush()
        log.next_offset = records.next_offset
        log.watermark.reach(records.next_offset)
        self.state.changed = True
        return outs

    def _fold_impressions(self, records: Records, log: LogState, outs: list[Out]) -> int:
        """Returns the highest `ts` of the decoded records, accepted or not."""
        state = self.state
        batch = self._impression_decoder.decode(records)
        self._refuse(records, batch, log, outs)
        if not batch.events:
            return NO_BOUND_MS
        # The key of a good record is its impression id.
        keys = [records.keys[row] for row in batch.rows] if batch.refused else records.keys
        hashes = np.fromiter(map(_hash, keys), np.uint64, len(keys))  # type: ignore[arg-type]  # so it is never None
        fates = judge_impressions(log.watermark, state.store, batch.events, batch.ts, hashes, self.bounds)
        accepted = self._sort_out(records, batch, fates, log, outs)
        if not len(accepted):
            return int(batch.ts.max())
        events: list[Impression] = batch.events
        ts = batch.ts
        payloads: Sequence[bytes] = records.values  # type: ignore[assignment]  # a tombstone is never decoded
        if len(accepted) < len(records):
            chosen = accepted.tolist()
            events, ts, hashes = [events[place] for place in chosen], ts[accepted], hashes[accepted]
            payloads = [records.values[batch.rows[place]] for place in chosen]
        positions = state.store.append(ts, hashes, payloads)
        state.counting.add_impressions(events, ts)
        clicked = []
        for place in state.accepted_clicks.awaited(events):
            clicks = state.accepted_clicks.take(events[place])
            clicked += [place] if clicks else []
            for click in clicks:
                self._match(events[place], int(positions[place]), click, outs)
        self._close_at_once(events, ts, hashes, clicked, outs)
        return int(batch.ts.max())

    def _fold_clicks(self, records: Records, log: LogState, outs: list[Out]) -> int:
        """Returns the highest `ts` of the decoded records, accepted or not."""
        state = self.state
        batch = self._click_decoder.decode(records)
        self._refuse(records, batch, log, outs)
        if not batch.events:
            return NO_BOUND_MS
        fates = judge_each(
            log.watermark,
            batch.events,
            lambda place, bound_ms: state.accepted_clicks.twin(batch.events[place], bound_ms),
            lambda place: state.accepted_clicks.accept(batch.events[place]),
        )
        accepted = [batch.events[place] for place in self._sort_out(records, batch, fates, log, outs).tolist()]
        hashes = np.fromiter((_hash(click.impression_id.encode()) for click in accepted), np.uint64, len(accepted))
        hits: dict[int, list[int]] = {}
        for place, position in zip(*(column.tolist() for column in state.store.find(hashes)), strict=True):
            hits.setdefault(place, []).append(position)
        for place, click in enumerate(accepted):
            self._match_or_wait(click, hits.get(place, ()), outs)
        return int(batch.ts.max())

    def _match_or_wait(self, click: Click, positions: Sequence[int], outs: list[Out]) -> None:
        """An accepted click matches an open impression, is an orphan, or waits."""
        state = self.state
        for position in positions:
            if matches(state.store.ts(position), click.ts, self.bounds):
                impression = stored_impression(state.store, position)
                if impression.impression_id == click.impression_id:
                    self._match(impression, position, click, outs)
                    return
        if click.ts < state.reached.orphan_ms:
            self._orphan(click, outs)
        else:
            state.accepted_clicks.wait(click)

    def _refuse(
        self, records: Records, batch: DecodedBatch[Impression] | DecodedBatch[Click], log: LogState, outs: list[Out]
    ) -> None:
        for row, reason, detail in batch.refused:
            self._reject(records, row, reason, detail, outs)
        log.fates.rejected += len(batch.refused)

    def _sort_out(
        self,
        records: Records,
        batch: DecodedBatch[Impression] | DecodedBatch[Click],
        fates: Fates,
        log: LogState,
        outs: list[Out],
    ) -> Int64s:
        """Counts the fates, writes dead letters, and returns the places of the accepted."""
        accepted = np.flatnonzero(fates == Fate.ACCEPTED)
        log.fates.accepted += len(accepted)
        if len(accepted) < len(fates):
            for place in np.flatnonzero((fates == Fate.LATE) | (fates == Fate.CONFLICT)).tolist():
                event = batch.events[place]
                if fates[place] == Fate.LATE:
                    detail = f"ts {event.ts} was below the watermark of its log"
                    self._reject(records, batch.rows[place], Reason.LATE, detail, outs)
                else:
                    detail = "the same id was accepted with other content"
                    self._reject(records, batch.rows[place], Reason.CONFLICT, detail, outs)
            log.fates.late += int((fates == Fate.LATE).sum())
            log.fates.duplicate += int((fates == Fate.DUPLICATE).sum())
            log.fates.rejected += int((fates == Fate.CONFLICT).sum())
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

    # ---- decisions --------------------------------------------------------------------------------------------------

    def _match(self, impression: Impression, position: int, click: Click, outs: list[Out]) -> None:
        repeat = not self.state.store.click(position)
        if repeat:
            self.state.decisions.repeat += 1
        else:
            self.state.decisions.billable += 1
        self.state.counting.add_click(impression, click.ts, repeat=repeat)
        outs.append(self._outcomes.clicked(impression, click, repeat=repeat))

    def _orphan(self, click: Click, outs: list[Out]) -> None:
        self.state.decisions.orphan += 1
        if self._belongs is not None and self._belongs(click.impression_id.encode()) != self.partition:
            self.misplaced += 1
        outs.append(self._outcomes.orphan(click))

    def _close_at_once(
        self, events: Sequence[Impression], ts: Int64s, hashes: Hashes, clicked: Sequence[int], outs: list[Out]
    ) -> None:
        """Closes accepted impressions below the close bound: no acceptable click can come for them any more.

        `clicked` are the places of those that pending clicks have matched.
        """
        unclicked = ts < self.state.reached.close_ms
        self.state.decisions.closed += int(unclicked.sum())
        unclicked[clicked] = False
        self.state.decisions.unclicked += int(unclicked.sum())
        sampled = np.flatnonzero(unclicked & self._negatives.sampled(hashes)).tolist()
        outs.extend(self._outcomes.unclicked(events[place]) for place in sampled)

    def can_sweep(self) -> bool:
        """Whether another `sweep` would decide something."""
        reached = self.state.reached
        return reached.close_ms < self._close_target_ms() or reached.orphan_ms < self._orphan_target_ms()

    def sweep(self, limit: int) -> list[Out]:
        """Closes impressions and orphans clicks, about `limit` of each, as far as the logs' bounds allow."""
        outs: list[Out] = []
        self.sweep_to(self._close_target_ms(), self._orphan_target_ms(), limit, outs)
        self._forget()
        return outs

    def sweep_to(self, close_ms: int, orphan_ms: int, limit: int, outs: list[Out]) -> None:
        """Closes impressions below `close_ms` and orphans clicks below `orphan_ms`, about `limit` of each."""
        state = self.state
        reached = state.reached
        if reached.orphan_ms < orphan_ms:
            orphans, reached.orphan_ms = state.accepted_clicks.orphans_below(orphan_ms, limit)
            for click in orphans:
                self._orphan(click, outs)
            state.changed = True
        if reached.close_ms < close_ms:
            reached_ms = state.store.bound_for(reached.close_ms, close_ms, limit)
            closed, unclicked, sampled = state.store.unclicked_between(reached.close_ms, reached_ms)
            state.decisions.closed += closed
            state.decisions.unclicked += unclicked
            outs.extend(self._outcomes.unclicked(stored_impression(state.store, position)) for position in sampled)
            reached.close_ms = reached_ms
            state.changed = True

    def _forget(self) -> None:
        """Drops impressions and click ids that no later record can need."""
        state = self.state
        impressions_ms, clicks_ms = state.impressions.watermark.ms, state.clicks.watermark.ms
        closed_ms = min(state.reached.close_ms, self._close_target_ms())
        state.store.drop_below(min(closed_ms, impressions_ms - self.bounds.dedupe_ms))
        state.accepted_clicks.forget_below(clicks_ms - self.bounds.dedupe_ms)

    def _close_target_ms(self) -> int:
        return self.state.logs[CLICKS].watermark.ms - self.bounds.window_ms

    def _orphan_target_ms(self) -> int:
        return self.state.logs[IMPRESSIONS].watermark.ms - self.bounds.skew_ms

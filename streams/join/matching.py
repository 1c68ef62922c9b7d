"""The rules of the join: records are judged, matched, closed, orphaned and counted. Commits are elsewhere.

`docs/concepts/join.md` states the rules as inequalities.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import xxhash

from schemas.bounds import END_OF_TIME_MS, JoinBounds
from schemas.codec import encode
from schemas.errors import BrokenInvariant
from schemas.events import Click, Impression
from schemas.records import Out, Records
from schemas.rejects import Reason, rejected
from streams.join.confirm import Sifted, contradiction
from streams.join.decode import ClickDecoder, DecodedBatch
from streams.join.former import judge_former
from streams.join.impressions import Twins, stored_impression, stored_impressions
from streams.join.index import Hashes
from streams.join.judge import Fate, Int64s, Judged, judge
from streams.join.keys import KeySample
from streams.join.mapped import Decoder, InputMaps, MappedDecoder
from streams.join.negatives import Negatives
from streams.join.outcomes import Outcomes
from streams.join.pending import matches
from streams.join.scanned import ImpressionDecoder, ScannedImpressions
from streams.join.state import CLICKS, IMPRESSIONS, INPUTS, JoinState, Leader, LogState
from streams.join.watermark import Floor

_hash = xxhash.xxh3_64_intdigest


class Matching:
    """Applies the rules to the state of one partition. `names` gives each input's topic, for dead letters."""

    def __init__(
        self,
        state: JoinState,
        bounds: JoinBounds,
        *,
        partition: int,
        shards: int,
        names: dict[str, str] | None,
        keys: Mapping[str, KeySample],
        shown: bool,
        maps: InputMaps,
    ) -> None:
        """`keys`: a sample of each input's, or none."""
        self.state = state
        self.bounds = bounds
        self.partition = partition
        # Orphans since start whose impressions belong in another partition: by the partitioner of the impressions, so
        # that an orphan is none where both inputs have the same one. It decides nothing, so no snapshot has it.
        self.misplaced = 0
        # Features since start that no model can use; the cleaned impression is what is kept and compared.
        self.features_left_out = 0
        self._keys = keys
        self._shown = shown
        self._names = names or {name: name for name in INPUTS}
        self._negatives = Negatives(bounds.negative_rate)
        self._outcomes = Outcomes(partition, shards, sampled_weight=self._negatives.weight)
        self._decoders: dict[str, Decoder] = {IMPRESSIONS: ImpressionDecoder(bounds), CLICKS: ClickDecoder(bounds)}
        for name, own_form in maps.of.items():
            self._decoders[name] = MappedDecoder(self._decoders[name], own_form)
        self._former_decoders: dict[str, ImpressionDecoder | ClickDecoder] = {
            IMPRESSIONS: ImpressionDecoder(bounds, former=True),
            CLICKS: ClickDecoder(bounds, former=True),
        }

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
        for piece in log.watermark.pieces(records, log.moved_offset):
            self._reach(log, piece.offsets[0], outs)
            self._fold_piece(piece, log, outs)
        log.next_offset = records.next_offset
        self._reach(log, records.next_offset, outs)
        self.state.changed = True
        return outs

    def schedule_seals(self, log: LogState, floors: Iterable[Floor], outs: list[Out]) -> None:
        """Seals of a log: those up to its next offset apply at once, the others when they are reached."""
        log.watermark.schedule(floors)
        self._reach(log, log.next_offset, outs)

    def confirm_held(self, log: LogState, floor: Floor, outs: list[Out]) -> None:
        """Judges the held records that a seal lets go on. They come before the seal, so its floor is not theirs."""
        reference_ms = max(log.watermark.highest_ms, log.watermark.floor_ms, floor.floor_ms)
        confirmed = log.confirmation.confirm(reference_ms=reference_ms, confirmed_ms=floor.confirmed_ms)
        if confirmed is not None:
            self._fold_held(Sifted(confirmed, ()), log, outs)

    def end(self, log: LogState, outs: list[Out]) -> None:
        """Decides all held records of a log, because it has ended."""
        sifted = log.confirmation.end()
        if sifted is not None:
            self._fold_held(sifted, log, outs)

    def _fold_held(self, sifted: Sifted, log: LogState, outs: list[Out]) -> None:
        self._fold_sifted(sifted, log, outs)
        log.trail.raise_last(log.watermark.highest_ms)
        self.state.changed = True

    def _reach(self, log: LogState, next_offset: int, outs: list[Out]) -> None:
        """Moves to this next offset: the seals up to it apply."""
        while (floor := log.watermark.next_seal(next_offset)) is not None:
            self.confirm_held(log, floor, outs)
            log.watermark.reach_seal()

    def _fold_piece(self, records: Records, log: LogState, outs: list[Out]) -> None:
        """Folds in records between which no seal begins to hold."""
        if log.name in self._keys:
            self._keys[log.name].add(records.keys)
        before_ms, holding = log.watermark.highest_ms, bool(log.confirmation.held)
        former = records.offsets[0] < log.moved_offset
        batch = self._decode(records, log, former=former)
        for row, reason, detail in batch.refused:
            self.reject(records, row, reason, detail, outs)
        log.fates.rejected += len(batch.refused)
        self.features_left_out += batch.features_left_out
        reference_ms = max(before_ms, log.watermark.floor_ms)
        sifted = None if former else log.confirmation.sift(records, batch.rows, batch.ts, reference_ms)
        if sifted is None:
            self._judge(records, batch, log, outs, former=former)
        else:
            self._fold_sifted(sifted, log, outs)
        log.trail.add(
            records.offsets[0],
            highest_before_ms=before_ms,
            highest_ms=log.watermark.highest_ms,
            records=len(records),
            holding=holding,
        )

    def _fold_sifted(self, sifted: Sifted, log: LogState, outs: list[Out]) -> None:
        """Judges the records that go on, after those whose clock is wrong became dead letters."""
        for held in sifted.contradicted:
            record = Records(log.name, self.partition, [held.offset], [held.record_ts_ms], [held.key], [held.value])
            self.reject(record, 0, Reason.FUTURE, contradiction(held), outs)
        log.fates.rejected += len(sifted.contradicted)
        if len(sifted.passed):
            self._judge(sifted.passed, self._decode(sifted.passed, log), log, outs)

    def _decode(self, records: Records, log: LogState, *, former: bool = False) -> DecodedBatch[Any]:
        if former:
            return self._former_decoders[log.name].decode(records)
        return self._decoders[log.name].decode(records)

    def _judge(
        self,
        records: Records,
        batch: DecodedBatch[Any],
        log: LogState,
        outs: list[Out],
        *,
        former: bool = False,
    ) -> None:
        """Judges events beside the earlier ones of their log, and folds in the accepted ones."""
        if log.name == IMPRESSIONS:
            self._judge_impressions(records, batch, log, outs, former=former)
        else:
            self._judge_clicks(records, batch, log, outs, former=former)

    def _judge_impressions(
        self, records: Records, batch: DecodedBatch[Impression], log: LogState, outs: list[Out], *, former: bool
    ) -> None:
        state, events = self.state, batch.events
        assert isinstance(events, ScannedImpressions)
        hashes = events.hashes
        twins = Twins(state.store, state.conflicts, events, hashes, self.bounds)
        if former:
            judged = judge_former(
                log.watermark,
                events,
                dedupe_ms=self.bounds.dedupe_ms,
                accepted_of=lambda place: twins.earlier(place, within_ms=END_OF_TIME_MS),
                accept=twins.accept,
            )
        else:
            judged = judge(log.watermark, batch.ts, twins.suspects, twins.judge)
        accepted = self._sort_out(records, batch, judged, log, outs)
        if not len(accepted):
            return
        ts = batch.ts
        if len(accepted) < len(events):
            ts, hashes = ts[accepted], hashes[accepted]
        positions = state.store.append(ts, hashes, events.payloads(accepted))
        state.counting.add_impressions(events, accepted, ts)
        if self._shown and not former:
            # Before what is decided about them: a reader of outcomes meets each impression first.
            outs += self._outcomes.shown(events, self._sampled(accepted, hashes))
        clicked = []
        for number in state.accepted_clicks.awaited(hashes):
            impression = events[int(accepted[number])]
            clicks = state.accepted_clicks.take(impression)
            clicked += [number] if clicks else []
            for click in clicks:
                self._match(impression, int(positions[number]), click, outs)
        self._close_at_once(events, accepted, hashes, clicked, outs)

    def _judge_clicks(
        self, records: Records, batch: DecodedBatch[Click], log: LogState, outs: list[Out], *, former: bool
    ) -> None:
        state, events, clicks = self.state, batch.events, self.state.accepted_clicks
        if former:
            judged = judge_former(
                log.watermark,
                events,
                dedupe_ms=self.bounds.dedupe_ms,
                accepted_of=lambda place: clicks.same_id(events[place]),
                accept=lambda place: clicks.remember(events[place]),
            )
        else:
            judged = judge(log.watermark, batch.ts, range(len(events)), lambda place: clicks.judge(events[place]))
        accepted = [events[place] for place in self._sort_out(records, batch, judged, log, outs).tolist()]
        hashes = np.fromiter((_hash(click.impression_id.encode()) for click in accepted), np.uint64, len(accepted))
        hits: dict[int, list[int]] = {}
        for place, position in zip(*(column.tolist() for column in state.store.find(hashes)), strict=True):
            hits.setdefault(place, []).append(position)
        for place, click in enumerate(accepted):
            self._match_or_wait(click, hits.get(place, ()), outs)

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

    def _sort_out(
        self,
        records: Records,
        batch: DecodedBatch[Impression] | DecodedBatch[Click],
        judged: Judged,
        log: LogState,
        outs: list[Out],
    ) -> Int64s:
        """Counts the fates, writes dead letters, and returns the places of the accepted."""
        fates = judged.fates
        accepted = np.flatnonzero(fates == Fate.ACCEPTED)
        log.fates.accepted += len(accepted)
        highest = np.maximum.accumulate(batch.ts)
        if len(accepted) < len(fates):
            for place in np.flatnonzero((fates == Fate.LATE) | (fates == Fate.CONFLICT)).tolist():
                event = batch.events[place]
                if fates[place] == Fate.LATE:
                    detail = _late_detail(event.ts, _leader_before(place, highest, records, batch, log))
                    self.reject(records, batch.rows[place], Reason.LATE, detail, outs)
                else:
                    detail = "the same id came before with other content"
                    self.reject(records, batch.rows[place], Reason.CONFLICT, detail, outs)
            log.fates.late += int((fates == Fate.LATE).sum())
            log.fates.late_by_seal += judged.late_by_seal
            log.fates.duplicate += int((fates == Fate.DUPLICATE).sum())
            log.fates.rejected += int((fates == Fate.CONFLICT).sum())
        log.leader = _leader_before(len(fates), highest, records, batch, log)
        return accepted

    def reject(self, records: Records, row: int, reason: Reason, detail: str, outs: list[Out]) -> None:
        """Writes the dead letter of a record."""
        letter = rejected(
            reason,
            detail,
            records.values[row],
            topic=self._names.get(records.log, records.log),
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
        if IMPRESSIONS in self._keys and self._keys[IMPRESSIONS].elsewhere(click.impression_id.encode()):
            self.misplaced += 1
        outs.append(self._outcomes.orphan(click))

    def _close_at_once(
        self, events: ScannedImpressions, accepted: Int64s, hashes: Hashes, clicked: Sequence[int], outs: list[Out]
    ) -> None:
        """Closes accepted impressions below the close bound: no acceptable click can come for them any more.

        `hashes` are those of the accepted; `clicked` are indexes of those that pending clicks have matched.
        """
        unclicked = events.ts[accepted] < self.state.reached.close_ms
        self.state.decisions.closed += int(unclicked.sum())
        unclicked[clicked] = False
        self.state.decisions.unclicked += int(unclicked.sum())
        outs += self._outcomes.unclicked(events, self._sampled(accepted[unclicked], hashes[unclicked]))

    def _sampled(self, places: Int64s, hashes: Hashes) -> Int64s:
        return places[self._negatives.sampled(hashes)]

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
            for stored in stored_impressions(state.store, sampled):
                outs += self._outcomes.unclicked(stored, np.arange(len(stored)))
            reached.close_ms = reached_ms
            state.changed = True

    def _forget(self) -> None:
        """Drops impressions and click ids that no later record can need."""
        state = self.state
        impressions_ms, clicks_ms = state.impressions.watermark.ms, state.clicks.watermark.ms
        closed_ms = min(state.reached.close_ms, self._close_target_ms())
        state.store.drop_below(min(closed_ms, impressions_ms - self.bounds.dedupe_ms))
        state.conflicts.forget_below(impressions_ms - self.bounds.dedupe_ms)
        state.accepted_clicks.forget_below(clicks_ms - self.bounds.dedupe_ms)

    def _close_target_ms(self) -> int:
        return self.state.logs[CLICKS].watermark.ms - self.bounds.window_ms

    def _orphan_target_ms(self) -> int:
        return self.state.logs[IMPRESSIONS].watermark.ms - self.bounds.skew_ms


def _leader_before(
    place: int, highest: Int64s, records: Records, batch: DecodedBatch[Any], log: LogState
) -> Leader | None:
    """The record with the highest `ts` of the log before this place of the batch; None if this process saw none.

    `highest` is the highest `ts` of the batch up to each place.
    """
    if not place:
        return log.leader
    ts_ms = int(highest[place - 1])
    if log.leader is not None and ts_ms <= log.leader.ts:
        return log.leader
    # The first place that has it: they ascend.
    return Leader(records.offsets[batch.rows[int(np.searchsorted(highest, ts_ms))]], ts_ms)


def _late_detail(ts_ms: int, leader: Leader | None) -> str:
    """Why a record is late, for its dead letter: the record that moved the watermark so far, if it is known."""
    if leader is None or leader.ts <= ts_ms:
        return f"ts {ts_ms} was below the watermark of its log"
    return (
        f"ts {ts_ms} was below the watermark of its log: the record at offset {leader.offset}, with ts {leader.ts}, is "
        f"{leader.ts - ts_ms} ms ahead of it"
    )

"""Which minutes of a replay are correct, and the join's fold that writes only those.

A replay begins to read in the middle of both logs, so it does not know the records that were accepted before. One of
them may have the id of a record that is read, or be the impression or click that it belongs to. Let `u` be the highest
`ts` of the unread records of an input. Records below its watermark are late.

Once the watermark is above `u + dedupe`, no record can be the twin of an unread one, and every record is judged as it
would be with the whole log: what a record is follows from the on-time records at most one horizon below the watermark,
whatever their own fates are (`streams.join.seen`). Minutes that begin more than `window` (for clicks `window + skew`)
above the highest `ts` at that time consist of such records only.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from schemas.bounds import END_OF_TIME_MS, NO_BOUND_MS, JoinBounds
from schemas.codec import decoder, unpack
from schemas.dimensions import ExtraDimension
from schemas.events import MIN_TS_MS
from schemas.records import Out, Records
from schemas.totals import DIMENSIONS, MINUTE_MS
from streams.engine.ports import Disk
from streams.join.fold import JoinFold
from streams.join.mapped import InputMaps
from streams.join.mark import JoinMark

# How many dedupe horizons have to pass.
HORIZONS: Final = 1


class ReadStart(msgspec.Struct, frozen=True):
    """The offset from which an input is read.

    `highest_ms`: an upper bound of all `ts` accepted below it; None when nothing was accepted. `exact`: it is the
    highest `ts` itself, so that lateness can be judged by it.
    """

    offset: int
    highest_ms: int | None = None
    exact: bool = True


class InputRange(msgspec.Struct, frozen=True):
    """One input of one partition: where to begin to read, and the range [start, stop).

    `horizon_offsets`: offsets, ascending, at which the fold checks whether a dedupe horizon has passed.
    """

    read_from: ReadStart
    start: int
    stop: int
    horizon_offsets: tuple[int, ...] = ()


class InputState(msgspec.Struct):
    """What a replay has found out about an input so far.

    `horizons_passed`: how many dedupe horizons have passed. `horizon_from_ms`: the next one is counted from here, the
    highest `ts` when the last one had passed. `before_range_ms`: the highest accepted `ts` where the range begins.
    `end_bound_ms`: the watermark where the range ends. The last two are None until that offset is read.
    """

    horizons_passed: int
    horizon_from_ms: int
    before_range_ms: int | None = None
    end_bound_ms: int | None = None


class OwnedState(msgspec.Struct):
    """What decides the owned minutes so far, and the outputs that are held."""

    inputs: dict[str, InputState]
    # (minute, output) whose minute may turn out to be owned.
    held: list[tuple[int, Out]] = []
    # The first and the last minute of which an output was written.
    lowest_written_ms: int = END_OF_TIME_MS
    highest_written_ms: int = NO_BOUND_MS


class OwningMark(msgspec.Struct, frozen=True):
    """What a replay commits: the join's mark, and the state of ownership."""

    join: bytes
    owned: OwnedState


class _OutcomeTimes(msgspec.Struct):
    ts: int | None = None
    click_ts: int | None = None


class _RejectedRecord(msgspec.Struct):
    topic: str
    offset: int


_AS_THEY_ARE: Final = InputMaps()


class OwningFold(JoinFold):
    """The join of one partition that writes only the outputs its range owns.

    These are the final totals and the outcomes of owned minutes, the rejects of the range, and the ledger. It writes no
    seals, because only live work decides that an input is idle.
    """

    def __init__(
        self,
        bounds: JoinBounds,
        disk: Disk,
        ranges: Mapping[str, InputRange],
        *,
        complete: bool = False,
        partition: int = 0,
        shards: int = 1,
        dimensions: Sequence[str] = DIMENSIONS,
        extra: Sequence[ExtraDimension] = (),
        names: dict[str, str] | None = None,
        digest: str = "",
        maps: InputMaps = _AS_THEY_ARE,
    ) -> None:
        """`complete`: the inputs end where the range ends, and `finish` will be called."""
        super().__init__(
            *(bounds, disk),
            partition=partition,
            shards=shards,
            dimensions=dimensions,
            extra=extra,
            names=names,
            digest=digest,
            # ClickHouse, which keeps what a replay writes, has no rows of them.
            shown=False,
            maps=maps,
        )
        self._complete = complete
        self._dedupe_ms, self._window_ms, self._skew_ms = bounds.dedupe_ms, bounds.window_ms, bounds.skew_ms
        self._ranges = ranges
        self._role_of = {topic: role for role, topic in (names or {}).items()} or {log: log for log in ranges}
        self.owned = OwnedState(
            {
                log: InputState(HORIZONS, NO_BOUND_MS)
                if input_range.read_from.highest_ms is None
                else InputState(0, input_range.read_from.highest_ms)
                for log, input_range in ranges.items()
            }
        )
        # The state of the last commit, until this start has read up to it again.
        self._committed_owned: OwnedState | None = None

    # ---- which minutes are owned ------------------------------------------------------------------------------------

    @property
    def first_ms(self) -> int:
        """The first minute that is correct; until `first_known`, a lower bound of it."""
        above_ms = max(self._first_minute_above())
        # Nothing was accepted below the range of either input: every minute is correct.
        return NO_BOUND_MS if above_ms < MIN_TS_MS else above_ms - above_ms % MINUTE_MS + MINUTE_MS

    @property
    def first_known(self) -> bool:
        """Whether both inputs are read to their range, and all horizons have passed."""
        return all(
            state.before_range_ms is not None and state.horizons_passed == HORIZONS
            for state in self.owned.inputs.values()
        )

    @property
    def range_end_ms(self) -> int | None:
        """The end, exclusive, of the minutes inside the range; None until both inputs are read to it."""
        bounds_ms = [state.end_bound_ms for state in self.owned.inputs.values() if state.end_bound_ms is not None]
        if len(bounds_ms) < len(self.owned.inputs):
            return None
        return min(bounds_ms) // MINUTE_MS * MINUTE_MS

    @property
    def end_ms(self) -> int:
        """The end, exclusive, of the owned minutes so far, those that are final; at most `first_ms` when none is."""
        range_end_ms = self.range_end_ms
        final_ms = self.final_ms // MINUTE_MS * MINUTE_MS
        return NO_BOUND_MS if range_end_ms is None or not self.first_known else min(range_end_ms, final_ms)

    @property
    def done(self) -> bool:
        """Whether every minute inside the range is final, so that further records change nothing."""
        range_end_ms = self.range_end_ms
        if range_end_ms is None:
            return False
        return self.final_ms >= range_end_ms or (self.first_known and self.first_ms >= range_end_ms)

    def inputs_ended(self) -> None:
        """Nothing is left to read: the ranges begin and end here at the latest."""
        for log in self._ranges:
            self._note_bounds(log, END_OF_TIME_MS)

    def _first_minute_above(self) -> Iterable[int]:
        """Times, ms, above all of which the first owned minute begins."""
        for log, state in self.owned.inputs.items():
            highest_ms = self._highest_ms(log)
            yield highest_ms if state.before_range_ms is None else state.before_range_ms
            if self._ranges[log].read_from.highest_ms is not None:
                skew_ms = self._skew_ms if log == "clicks" else 0
                judged_right_from_ms = state.horizon_from_ms if state.horizons_passed == HORIZONS else highest_ms
                yield judged_right_from_ms + self._window_ms + skew_ms

    def _note_bounds(self, log: str, offset: int) -> None:
        """Notes what is known of the input before its first record at or after `offset`."""
        state, input_range = self.owned.inputs[log], self._ranges[log]
        watermark_ms = self.state.logs[log].watermark.ms
        while state.horizons_passed < HORIZONS and watermark_ms > state.horizon_from_ms + self._dedupe_ms:
            state.horizon_from_ms = self._highest_ms(log)
            state.horizons_passed += 1
        if state.before_range_ms is None and offset >= input_range.start:
            state.before_range_ms = self._highest_ms(log)
        if state.end_bound_ms is None and offset >= input_range.stop:
            state.end_bound_ms = END_OF_TIME_MS if self._complete else watermark_ms

    def _highest_ms(self, log: str) -> int:
        return self.state.logs[log].watermark.highest_ms

    # ---- what is written --------------------------------------------------------------------------------------------

    def _owned_outs(self, outs: Iterable[Out]) -> list[Out]:
        """The owned ones of these outputs and of the held ones. It holds those that may still turn out to be owned."""
        first_known, first_ms, range_end_ms = self.first_known, self.first_ms, self.range_end_ms
        written: list[Out] = []
        held, self.owned.held = self.owned.held, []
        for minute, out in [*held, *self._with_minutes(outs, written)]:
            if minute < first_ms or (range_end_ms is not None and minute >= range_end_ms):
                continue
            if first_known:
                written.append(out)
                self.owned.lowest_written_ms = min(self.owned.lowest_written_ms, minute)
                self.owned.highest_written_ms = max(self.owned.highest_written_ms, minute)
            else:
                self.owned.held.append((minute, out))
        return written

    def _with_minutes(self, outs: Iterable[Out], written: list[Out]) -> Iterable[tuple[int, Out]]:
        """(minute, output) of the outputs that belong to a minute.

        Ledgers and the rejects of the range belong to none: they are added to `written`.
        """
        for out in outs:
            if out.topic == "totals":
                # `report` gives only final minutes here. The key is the minute.
                yield int(out.key or b""), out
            elif out.topic == "outcomes":
                times: _OutcomeTimes = decoder(_OutcomeTimes).decode(out.value or b"")
                ts_ms = times.ts if times.ts is not None else times.click_ts or 0
                yield ts_ms - ts_ms % MINUTE_MS, out
            elif out.topic == "rejects":
                reject: _RejectedRecord = decoder(_RejectedRecord).decode(out.value or b"")
                role = self._role_of.get(reject.topic)
                # Dead letters of seals are live work's.
                if role is not None and (input_range := self._ranges[role]).start <= reject.offset < input_range.stop:
                    written.append(out)
            elif out.topic == "ledger":
                written.append(out)

    # ---- the fold ---------------------------------------------------------------------------------------------------

    def step(self, records: Records) -> list[Out]:
        """Folds in records. Notes the bounds where the range begins and ends, and where a horizon may have passed."""
        input_range, outs = self._ranges[records.log], list[Out]()
        for part in _split_at(records, sorted({*input_range.horizon_offsets, input_range.start, input_range.stop})):
            self._note_bounds(records.log, part.offsets[0])
            outs += super().step(part)
        self._note_bounds(records.log, records.next_offset)
        return self._owned_outs(outs)

    def sweep(self, limit: int) -> list[Out]:
        """As the join, but only the owned outcomes."""
        return self._owned_outs(super().sweep(limit))

    def report(self, limit: int, *, final_only: bool = True) -> list[Out]:
        """The final totals of owned minutes, and the ledger."""
        return self._owned_outs(super().report(limit, final_only=final_only))

    def finish(self) -> None:
        """The inputs end where the range ends: everything is decided and final."""
        self.inputs_ended()
        super().finish()

    def seal(self, log: str, *, now_ms: int) -> list[Out]:  # noqa: ARG002
        """Nothing: a replay does not decide who is idle."""
        return []

    def advance(self, *, silent_ms: int, now_ms: int) -> list[Out]:  # noqa: ARG002
        """Nothing, for the same reason."""
        return []

    def begin(self, mark: bytes | None, *, offsets: dict[str, int], epoch: int) -> list[Out]:
        """As the join, but without a start record.

        The first start takes the highest `ts` below `offsets` from the ranges.
        """
        super().begin(mark, offsets=offsets, epoch=epoch)
        if mark is not None:
            self._committed_owned = _read_owning_mark(mark).owned
        else:
            starts = {log: input_range.read_from for log, input_range in self._ranges.items()}
            self.start_at(
                {log: start.highest_ms for log, start in starts.items() if start.highest_ms is not None and start.exact}
            )
        return []

    def mark(self) -> bytes:
        """The join's mark and the state of ownership. It may have any length, because no broker keeps it."""
        return msgspec.msgpack.encode(OwningMark(super().mark(), self._committed_owned or self.owned))

    def resume(self, mark: bytes) -> None:
        """As the join. The committed state of ownership replaces the one found while reading again, which is equal."""
        super().resume(mark)
        self.owned, self._committed_owned = _read_owning_mark(mark).owned, None

    def _checked(self, mark: bytes) -> JoinMark:
        return super()._checked(_read_owning_mark(mark).join)


def _read_owning_mark(mark: bytes) -> OwningMark:
    return unpack(mark, OwningMark)


def _split_at(records: Records, offsets: Sequence[int]) -> Iterable[Records]:
    """The records in parts: a part begins with the first record at or after each of `offsets`, which ascend."""
    start = 0
    for offset in offsets:
        stop = start
        if start < len(records) and records.offsets[-1] >= offset > records.offsets[start]:
            stop = bisect_left(records.offsets, offset, start)
        if stop > start:
            yield records.slice(start, stop)
            start = stop
    if start < len(records):
        yield records.slice(start, len(records))


def finished(fold: OwningFold, ends: Mapping[str, int]) -> bool:
    """Whether the partition needs no more records. `ends`: the offsets at which the replay ends.

    It tells a fold that has read all inputs to their ends so.
    """
    if all(fold.positions()[log] >= end for log, end in ends.items()):
        fold.inputs_ended()
        return True
    return fold.done

"""Which minutes of a replay are correct, told from what was read: the join's fold that writes only what it owns.

A replay begins in the middle of two logs. It does not know the records accepted before: one of them may be the twin of
a record that is read, or the impression or click that belongs to it. Take an input whose unread records reach up to
`u`.

- A record met while the lateness bound is above `u + dedupe` cannot have an unread twin. `v` is the highest `ts` then.
- A record read before that may have been accepted wrongly. A copy does no harm: it says what its unread twin said. An
  id used again with other content stands in the way of a later use up to `dedupe` above `v`. So the horizon is waited
  out again from `v`, and once more for what that use may have done.

From then on every record is judged as a reader of the whole log judges it. A minute that begins more than `window`
(clicks: `window + skew`) above the highest `ts` by then is made of nothing else. One case is left: an id used five
times, each time within the horizon of the time before and with other content, the first of them unread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from schemas.bounds import END_OF_TIME_MS, NO_BOUND_MS, JoinBounds
from schemas.codec import decoder
from schemas.events import MIN_TS_MS
from schemas.records import Out, Records
from schemas.totals import DIMENSIONS, MINUTE_MS
from streams.engine.ports import Disk
from streams.join.fold import JoinFold
from streams.join.mark import JoinMark

# How many dedupe horizons are waited out. With each further one, an id must be used once more to make a minute wrong.
HORIZONS: Final = 3


class ReadStart(msgspec.Struct, frozen=True):
    """Where an input is read from, and what is known of it there.

    `highest_ms`: the highest `ts` accepted before, or a bound above it; None when nothing was. `known`: whether that is
    the log's own maximum, by which lateness can be judged, or only a bound.
    """

    offset: int
    highest_ms: int | None = None
    known: bool = True


class InputRange(msgspec.Struct, frozen=True):
    """One input of one partition: where reading begins, the range [start, stop), and offsets to look at on the way."""

    begin: ReadStart
    start: int
    stop: int
    looks: tuple[int, ...] = ()


class Seen(msgspec.Struct):
    """What was seen of an input on the way.

    `settled`: how many horizons are waited out. `doubt_ms`: the highest `ts` when the last one was. `before_ms`: the
    highest accepted `ts` where the range begins, `bound_ms`: the lateness bound where it ends; None until read so far.
    """

    settled: int
    doubt_ms: int
    before_ms: int | None = None
    bound_ms: int | None = None


class Owned(msgspec.Struct):
    """The minutes a replay owns so far, and what of its outputs is written."""

    seen: dict[str, Seen]
    # Outputs of minutes that may turn out to be owned, with their minutes.
    held: list[tuple[int, Out]] = []
    # The first and last minute of which anything was written.
    lowest_ms: int = END_OF_TIME_MS
    highest_ms: int = NO_BOUND_MS


class OwningMark(msgspec.Struct, frozen=True):
    """What is committed: the join's mark and what was seen."""

    join: bytes
    owned: Owned


class _OutcomeTimes(msgspec.Struct):
    ts: int | None = None
    click_ts: int | None = None


class _Coordinates(msgspec.Struct):
    topic: str
    offset: int


class OwningFold(JoinFold):
    """One partition's join that writes only what its range owns.

    That is: final totals and outcomes of owned minutes, rejects of the range, the ledger. It writes no seals, as only
    live work decides who is idle.
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
        names: dict[str, str] | None = None,
        digest: str = "",
    ) -> None:
        """`complete`: the inputs hold nothing after the range; `finish` will be called."""
        super().__init__(
            bounds, disk, partition=partition, shards=shards, dimensions=dimensions, names=names, digest=digest
        )
        self._complete = complete
        self._dedupe_ms, self._window_ms, self._skew_ms = bounds.dedupe_ms, bounds.window_ms, bounds.skew_ms
        self._ranges = ranges
        self._role_of = {topic: role for role, topic in (names or {}).items()} or {log: log for log in ranges}
        self.owned = Owned(
            {
                log: Seen(HORIZONS, NO_BOUND_MS) if each.begin.highest_ms is None else Seen(0, each.begin.highest_ms)
                for log, each in ranges.items()
            }
        )
        # What the last commit says, until this start has caught up with it.
        self._committed_owned: Owned | None = None

    # ---- which minutes are owned ------------------------------------------------------------------------------------

    @property
    def first_ms(self) -> int:
        """The first minute that is correct, or a bound below it until `first_known`."""
        floor_ms = max(self._floors())
        # The maximum of a log before its first record is below any time there can be.
        return NO_BOUND_MS if floor_ms < MIN_TS_MS else floor_ms - floor_ms % MINUTE_MS + MINUTE_MS

    @property
    def first_known(self) -> bool:
        """Whether both inputs are read to the range, and to where every record is judged right."""
        return all(seen.before_ms is not None and seen.settled == HORIZONS for seen in self.owned.seen.values())

    @property
    def last_ms(self) -> int | None:
        """The end, exclusive, of the minutes inside the range; None before both inputs are read to it."""
        bounds_ms = [seen.bound_ms for seen in self.owned.seen.values() if seen.bound_ms is not None]
        if len(bounds_ms) < len(self.owned.seen):
            return None
        return min(bounds_ms) // MINUTE_MS * MINUTE_MS

    @property
    def end_ms(self) -> int:
        """The end, exclusive, of the minutes inside the range that are final; at most `first_ms` when none is."""
        last_ms = self.last_ms
        final_ms = self.final_ms // MINUTE_MS * MINUTE_MS
        return NO_BOUND_MS if last_ms is None or not self.first_known else min(last_ms, final_ms)

    @property
    def done(self) -> bool:
        """Whether every minute inside the range is final, so that reading on changes nothing."""
        last_ms = self.last_ms
        if last_ms is None:
            return False
        return self.final_ms >= last_ms or (self.first_known and self.first_ms >= last_ms)

    def read_out(self) -> None:
        """The inputs are read to their ends: what the range still waits for is decided by what is there now."""
        for log in self._ranges:
            self._look(log, END_OF_TIME_MS)

    def _floors(self) -> Iterable[int]:
        for log, seen in self.owned.seen.items():
            highest_ms = self._highest_ms(log)
            yield highest_ms if seen.before_ms is None else seen.before_ms
            if self._ranges[log].begin.highest_ms is not None:
                skew_ms = self._skew_ms if log == "clicks" else 0
                yield (seen.doubt_ms if seen.settled == HORIZONS else highest_ms) + self._window_ms + skew_ms

    def _look(self, log: str, offset: int) -> None:
        """Before the first record at or after `offset`: notes the maximum and the bound if they are wanted there."""
        seen, its_range = self.owned.seen[log], self._ranges[log]
        watermark_ms = self.state.logs[log].watermark.ms
        while seen.settled < HORIZONS and watermark_ms > seen.doubt_ms + self._dedupe_ms:
            seen.doubt_ms = self._highest_ms(log)
            seen.settled += 1
        if seen.before_ms is None and offset >= its_range.start:
            seen.before_ms = self._highest_ms(log)
        if seen.bound_ms is None and offset >= its_range.stop:
            seen.bound_ms = END_OF_TIME_MS if self._complete else watermark_ms

    def _highest_ms(self, log: str) -> int:
        return self.state.logs[log].watermark.highest_ms

    # ---- what is written --------------------------------------------------------------------------------------------

    def _owned_of(self, outs: Iterable[Out]) -> list[Out]:
        """Those of these outputs and of the held ones that are owned; undecided ones are held."""
        first_known, first_ms, last_ms = self.first_known, self.first_ms, self.last_ms
        written: list[Out] = []
        held, self.owned.held = self.owned.held, []
        for minute, out in [*held, *self._with_minutes(outs, written)]:
            if minute < first_ms or (last_ms is not None and minute >= last_ms):
                continue
            if first_known:
                written.append(out)
                self.owned.lowest_ms = min(self.owned.lowest_ms, minute)
                self.owned.highest_ms = max(self.owned.highest_ms, minute)
            else:
                self.owned.held.append((minute, out))
        return written

    def _with_minutes(self, outs: Iterable[Out], written: list[Out]) -> Iterable[tuple[int, Out]]:
        """Outputs that belong to a minute, with it. Ledgers and rejects of the range belong to none: into `written`."""
        for out in outs:
            if out.topic == "totals":
                # `report` gives only minutes that are final here; their key is the minute.
                yield int(out.key or b""), out
            elif out.topic == "outcomes":
                times: _OutcomeTimes = decoder(_OutcomeTimes).decode(out.value or b"")
                ts = times.ts if times.ts is not None else times.click_ts or 0
                yield ts - ts % MINUTE_MS, out
            elif out.topic == "rejects":
                reject: _Coordinates = decoder(_Coordinates).decode(out.value or b"")
                its_range = self._ranges[self._role_of[reject.topic]]
                if its_range.start <= reject.offset < its_range.stop:
                    written.append(out)
            elif out.topic == "ledger":
                written.append(out)

    # ---- the fold ---------------------------------------------------------------------------------------------------

    def step(self, records: Records) -> list[Out]:
        """Folds in records, and notes on the way where the range begins and ends."""
        its_range, outs = self._ranges[records.log], list[Out]()
        for piece in _pieces(records, sorted({*its_range.looks, its_range.start, its_range.stop})):
            self._look(records.log, piece.offsets[0])
            outs += super().step(piece)
        self._look(records.log, records.next_offset)
        return self._owned_of(outs)

    def sweep(self, limit: int) -> list[Out]:
        """As the join; of the outcomes those that are owned."""
        return self._owned_of(super().sweep(limit))

    def report(self, limit: int, *, final_only: bool = True) -> list[Out]:
        """Final totals that are owned, and the ledger."""
        return self._owned_of(super().report(limit, final_only=final_only))

    def finish(self) -> None:
        """The range ends where the inputs end: everything in it closes and is final."""
        self.read_out()
        super().finish()

    def seal(self, log: str) -> list[Out]:  # noqa: ARG002
        """Nothing: a replay does not decide who is idle."""
        return []

    def begin(self, mark: bytes | None, *, offsets: dict[str, int], epoch: int) -> list[Out]:
        """As the join, without a start record. At its first start it is told the maxima before `offsets`."""
        super().begin(mark, offsets=offsets, epoch=epoch)
        if mark is not None:
            self._committed_owned = _read_owning_mark(mark).owned
        else:
            begins = {log: each.begin for log, each in self._ranges.items()}
            self.start_at(
                {log: each.highest_ms for log, each in begins.items() if each.highest_ms is not None and each.known}
            )
        return []

    def mark(self) -> bytes:
        """The join's mark and what was seen: of any length, as no broker keeps it."""
        return msgspec.msgpack.encode(OwningMark(super().mark(), self._committed_owned or self.owned))

    def resume(self, mark: bytes) -> None:
        """As the join; what was seen on the way is replaced by what was committed, which is the same."""
        super().resume(mark)
        self.owned, self._committed_owned = _read_owning_mark(mark).owned, None

    def _checked(self, mark: bytes) -> JoinMark:
        return super()._checked(_read_owning_mark(mark).join)


def _read_owning_mark(mark: bytes) -> OwningMark:
    return msgspec.msgpack.decode(mark, type=OwningMark)


def _pieces(records: Records, offsets: Sequence[int]) -> Iterable[Records]:
    """The records split before the first one at or after each of `offsets`, ascending."""
    start = 0
    for offset in offsets:
        stop = start
        if start < len(records) and records.offsets[-1] >= offset > records.offsets[start]:
            stop = next(row for row in range(start, len(records)) if records.offsets[row] >= offset)
        if stop > start:
            yield records.slice(start, stop)
            start = stop
    if start < len(records):
        yield records.slice(start, len(records))


def finished(fold: OwningFold, ends: Mapping[str, int]) -> bool:
    """Whether nothing is left to read for this partition; `ends` are where its logs end for this replay."""
    if all(fold.positions()[log] >= end for log, end in ends.items()):
        fold.read_out()
        return True
    return fold.done

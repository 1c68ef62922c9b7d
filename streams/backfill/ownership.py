"""Which minutes of a replay may be believed, told from what was read: the join's fold with its ends looked after.

A replay begins in the middle of two logs. What it does not know are the records accepted before: they may be the twin
of one that is read, or the impression or click it belongs to. Of an input whose unread records reach up to `u`,

- no record met while the lateness bound is above `u + dedupe` can have an unread twin; `v` is the highest `ts` then;
- one read before that may have been accepted wrongly. A copy does no harm: it says what its unread twin said. An id
  used again with other content stands in the way of a later use up to `dedupe` above `v`; so the horizon is waited out
  again from `v`, and once more for what that use may have done.

From then on all is judged as a reader of the whole log judges it, and a minute that begins more than `window` (clicks:
`window + skew`) above the highest `ts` by then is made of nothing else. Left is an id used five times, each time within
the horizon of the time before and with other content, the first of them unread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from schemas.bounds import END_OF_TIME_MS, NO_BOUND_MS, JoinBounds
from schemas.codec import decoder
from schemas.events import MIN_TS_MS
from schemas.records import Out, Records
from schemas.totals import MINUTE_MS
from streams.join.fold import JoinFold

# How many horizons of doubt are waited out; each more takes an id used once more to tell the two apart.
HORIZONS: Final = 3


class Begin(msgspec.Struct, frozen=True):
    """Where an input is read from and what is known of it there.

    `highest_ms`: the highest `ts` accepted before, or a bound above it; None when nothing was. `known`: whether that
    is the log's own maximum, so that lateness can be judged by it, or only a bound of what may have been.
    """

    offset: int
    highest_ms: int | None = None
    known: bool = True


class Span(msgspec.Struct, frozen=True):
    """One input of one partition: where reading begins, the range, and offsets to look up at on the way."""

    begin: Begin
    start: int
    stop: int
    looks: tuple[int, ...] = ()


class Seen(msgspec.Struct):
    """What was seen of an input on the way."""

    # How often the horizon was passed, and the highest `ts` when it last was.
    settled: int
    doubt_ms: int
    # Highest accepted `ts` where the range begins; the lateness bound where it ends. None: not yet there.
    before_ms: int | None = None
    bound_ms: int | None = None


class Owned(msgspec.Struct):
    """The minutes a replay may vouch for, so far: what of its outputs is let through."""

    seen: dict[str, Seen]
    # Outputs of minutes of which it is not known yet, with their minutes.
    held: list[tuple[int, Out]] = []
    # The first and last minute of which anything was let through.
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


class OwningFold:
    """`streams.engine.fold.Fold`: one partition's join, letting through only what the range owns.

    That is: final totals and outcomes of owned minutes, rejects of the range, the ledger; no seals, as only live work
    decides who is idle. `names` gives each input's topic.
    """

    def __init__(
        self,
        fold: JoinFold,
        bounds: JoinBounds,
        spans: Mapping[str, Span],
        *,
        names: Mapping[str, str] | None = None,
        complete: bool = False,
    ) -> None:
        """`complete`: the inputs hold nothing behind the range, which will be told by `finish`."""
        self._complete = complete
        self._fold = fold
        self._bounds = bounds
        self._spans = spans
        self._role_of = {topic: role for role, topic in (names or {}).items()} or {log: log for log in spans}
        self.owned = Owned(
            {
                log: Seen(HORIZONS, NO_BOUND_MS) if span.begin.highest_ms is None else Seen(0, span.begin.highest_ms)
                for log, span in spans.items()
            }
        )
        # What the commit before says, while this start has not caught up with it.
        self._committed: Owned | None = None

    # ---- what is known of the minutes -------------------------------------------------------------------------------

    @property
    def first_ms(self) -> int:
        """The first minute that may be believed, or a bound below it while `first_known` does not hold."""
        floor_ms = max(self._floors())
        # The maximum of a log before its first record stands below any time there can be.
        return NO_BOUND_MS if floor_ms < MIN_TS_MS else floor_ms - floor_ms % MINUTE_MS + MINUTE_MS

    @property
    def first_known(self) -> bool:
        """Whether both inputs have come to the range, and to where all is judged right."""
        return all(seen.before_ms is not None and seen.settled == HORIZONS for seen in self.owned.seen.values())

    @property
    def last_ms(self) -> int | None:
        """The end, exclusive, of the minutes that lie inside the range; None before both inputs have come to it."""
        bounds_ms = [seen.bound_ms for seen in self.owned.seen.values() if seen.bound_ms is not None]
        if len(bounds_ms) < len(self.owned.seen):
            return None
        return min(bounds_ms) // MINUTE_MS * MINUTE_MS

    @property
    def end_ms(self) -> int:
        """The end, exclusive, of the minutes inside the range that are final; at most `first_ms` when none is."""
        last_ms = self.last_ms
        final_ms = self._fold.final_ms // MINUTE_MS * MINUTE_MS
        return NO_BOUND_MS if last_ms is None or not self.first_known else min(last_ms, final_ms)

    @property
    def done(self) -> bool:
        """Whether every minute inside the range is final, so that reading on changes nothing."""
        last_ms = self.last_ms
        if last_ms is None:
            return False
        return self._fold.final_ms >= last_ms or (self.first_known and self.first_ms >= last_ms)

    def read_out(self) -> None:
        """The inputs were read to the end there is: what the range still waits to see is what stands there."""
        for log in self._spans:
            self._look(log, END_OF_TIME_MS)

    def _floors(self) -> Iterable[int]:
        for log, seen in self.owned.seen.items():
            now_ms = self._fold.highest_ms(log)
            yield now_ms if seen.before_ms is None else seen.before_ms
            if self._spans[log].begin.highest_ms is not None:
                skew_ms = self._bounds.skew_ms if log == "clicks" else 0
                yield (seen.doubt_ms if seen.settled == HORIZONS else now_ms) + self._bounds.window_ms + skew_ms

    def _look(self, log: str, offset: int) -> None:
        """Before the first record at or behind `offset`: notes what stands here."""
        seen, span = self.owned.seen[log], self._spans[log]
        while seen.settled < HORIZONS and self._fold.watermark_ms(log) > seen.doubt_ms + self._bounds.dedupe_ms:
            seen.doubt_ms = self._fold.highest_ms(log)
            seen.settled += 1
        if seen.before_ms is None and offset >= span.start:
            seen.before_ms = self._fold.highest_ms(log)
        if seen.bound_ms is None and offset >= span.stop:
            seen.bound_ms = END_OF_TIME_MS if self._complete else self._fold.watermark_ms(log)

    # ---- what is let through ----------------------------------------------------------------------------------------

    def _let(self, outs: Iterable[Out]) -> list[Out]:
        """Of these and those held, what is owned; what cannot be told yet is held."""
        known, first_ms, last_ms = self.first_known, self.first_ms, self.last_ms
        found: list[Out] = []
        held, self.owned.held = self.owned.held, []
        for minute, out in [*held, *self._dated(outs, found)]:
            if minute < first_ms or (last_ms is not None and minute >= last_ms):
                continue
            if known:
                found.append(out)
                self.owned.lowest_ms = min(self.owned.lowest_ms, minute)
                self.owned.highest_ms = max(self.owned.highest_ms, minute)
            else:
                self.owned.held.append((minute, out))
        return found

    def _dated(self, outs: Iterable[Out], found: list[Out]) -> Iterable[tuple[int, Out]]:
        """Outputs that belong to a minute; those of none that are let through go to `found`."""
        for out in outs:
            if out.topic == "totals":
                # Of minutes that are final, as it was asked for: the key is the minute.
                yield int(out.key or b""), out
            elif out.topic == "outcomes":
                times: _OutcomeTimes = decoder(_OutcomeTimes).decode(out.value or b"")
                ts = times.ts if times.ts is not None else times.click_ts or 0
                yield ts - ts % MINUTE_MS, out
            elif out.topic == "rejects":
                at: _Coordinates = decoder(_Coordinates).decode(out.value or b"")
                span = self._spans[self._role_of[at.topic]]
                if span.start <= at.offset < span.stop:
                    found.append(out)
            elif out.topic == "ledger":
                found.append(out)

    # ---- streams.engine.fold.Fold -----------------------------------------------------------------------------------

    def step(self, records: Records) -> list[Out]:
        """Folds in records, looking up where the range begins and ends."""
        span, outs = self._spans[records.log], list[Out]()
        for piece in _pieces(records, sorted({*span.looks, span.start, span.stop})):
            self._look(records.log, piece.offsets[0])
            outs += self._fold.step(piece)
        self._look(records.log, records.next_offset)
        return self._let(outs)

    def sweep(self, limit: int) -> list[Out]:
        """Closes and gives up, as the join does."""
        return self._let(self._fold.sweep(limit))

    def behind(self) -> bool:
        """Whether another `sweep` would decide something."""
        return self._fold.behind()

    def report(self, limit: int) -> list[Out]:
        """Final totals and the ledger."""
        return self._let(self._fold.report(limit, final_only=True))

    def finish(self) -> None:
        """The range ends where the inputs end: everything in it closes, is given up and is final."""
        self.read_out()
        self._fold.finish()

    def committed(self) -> None:
        """All that was returned is written."""
        self._fold.committed()

    def positions(self) -> dict[str, int]:
        """The next offset of each input."""
        return self._fold.positions()

    def ahead(self, *, tight: bool) -> str | None:
        """The input too far ahead of the other."""
        return self._fold.ahead(tight=tight)

    def state_bytes(self) -> int:
        """The join's; what was seen and is held is next to nothing."""
        return self._fold.state_bytes()

    def mark(self) -> bytes:
        """The join's mark and what was seen: of any length, as no broker keeps it."""
        return msgspec.msgpack.encode(OwningMark(self._fold.mark(), self._committed or self.owned))

    def begin(self, mark: bytes | None, *, offsets: dict[str, int], epoch: int) -> list[Out]:
        """As the join; at its first start it is told what stands before `offsets`. Nothing is written of it."""
        if mark is not None:
            committed = _marked(mark)
            self._committed = committed.owned
            self._fold.begin(committed.join, offsets=offsets, epoch=epoch)
        else:
            self._fold.begin(None, offsets=offsets, epoch=epoch)
            self._fold.start_at(
                {
                    log: span.begin.highest_ms
                    for log, span in self._spans.items()
                    if span.begin.highest_ms is not None and span.begin.known
                }
            )
        return []

    def standing(self, side: Sequence[bytes]) -> None:
        """The seals of live work."""
        self._fold.standing(side)

    def seal(self, log: str) -> list[Out]:  # noqa: ARG002
        """A replay decides nothing about who is idle."""
        return []

    def resume(self, mark: bytes) -> None:
        """As the join; what was seen on the way there again is what was committed."""
        committed = _marked(mark)
        self._fold.resume(committed.join)
        self.owned, self._committed = committed.owned, None

    def needed(self, mark: bytes) -> dict[str, int]:
        """As the join."""
        return self._fold.needed(_marked(mark).join)

    def rebuild(self, mark: bytes) -> None:
        """As the join."""
        self._fold.rebuild(_marked(mark).join)

    def lose(self, starts: Mapping[str, int]) -> None:
        """As the join."""
        self._fold.lose(starts)

    def snapshot(self) -> bytes:
        """The join's: what was seen is in the mark."""
        return self._fold.snapshot()

    def files(self) -> Mapping[str, int]:
        """As the join."""
        return self._fold.files()

    def snapshot_kept(self) -> None:
        """As the join."""
        self._fold.snapshot_kept()

    def restore(self, snapshot: bytes) -> None:
        """As the join."""
        self._fold.restore(snapshot)

    def close(self) -> None:
        """As the join."""
        self._fold.close()


def _marked(mark: bytes) -> OwningMark:
    return msgspec.msgpack.decode(mark, type=OwningMark)


def _pieces(records: Records, offsets: Sequence[int]) -> Iterable[Records]:
    """The records cut in front of the first one at or behind each of `offsets`, ascending."""
    done = 0
    for offset in offsets:
        at = done
        if done < len(records) and records.offsets[-1] >= offset > records.offsets[done]:
            at = next(row for row in range(done, len(records)) if records.offsets[row] >= offset)
        if at > done:
            yield records.slice(done, at)
            done = at
    if done < len(records):
        yield records.slice(done, len(records))


def finished(fold: OwningFold, ends: Mapping[str, int]) -> bool:
    """Whether nothing is left to read for this partition; `ends` are where its logs end for this replay."""
    if all(fold.positions()[log] >= end for log, end in ends.items()):
        fold.read_out()
        return True
    return fold.done

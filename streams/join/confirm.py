"""Confirmation: a record far ahead of its log waits until the records after it show whether its clock is right.

Where the producers set the times of records, nothing else says whether a `ts` far ahead is the end of a gap or the
fault of one clock. If one such record raised the watermark, every record after it would be late.

Let H be the highest on-time `ts` of the log so far, or the floor of its seals if that is higher. A record is *held* iff
`ts > H + jump_ms`. Each later record of the log that is good by itself then counts for or against it: for it iff
`later ts >= held ts - jump_ms`, against it otherwise. A held record goes on to be judged once `EVIDENCE` records count
for it, once `ts <= H + jump_ms`, or once a seal of the log says `ts <= confirmed_ms`. It is rejected as `future` once
`EVIDENCE` records count against it. So it is decided after at most `2 * EVIDENCE - 1` further records. At the end of
the log it is rejected iff more records count against it than for it.

All of this follows from the records and seals of the log alone, so live work and replay decide alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.records import Records

# With ten on either side, wrong clocks in a quarter of the records are told from a gap in 99 of 100 cases (binomial).
EVIDENCE: Final = 10


class HeldRecord(msgspec.Struct):
    """A record that waits, and how many later ones count for and against it."""

    offset: int
    record_ts_ms: int
    key: bytes
    value: bytes
    ts: int
    supporters: int = 0
    opponents: int = 0


class Sifted(NamedTuple):
    """Records to judge now, in this order, and those whose clock is wrong. Offsets of `passed` need not ascend."""

    passed: Records
    contradicted: Sequence[HeldRecord]


class Confirmation:
    """The held records of one log, in log order. `jump_ms` 0: no record is ever held."""

    def __init__(self, log: str, partition: int, jump_ms: int) -> None:
        self._log = log
        self._partition = partition
        self._jump_ms = jump_ms
        self.held: list[HeldRecord] = []

    def sift(
        self, records: Records, rows: Sequence[int], ts: npt.NDArray[np.int64], reference_ms: int
    ) -> Sifted | None:
        """Sorts the rows that are good by themselves, with these `ts`. None: all of them are to be judged as they are.

        `reference_ms` is H of the rule, before the first of the records.
        """
        if not self._jump_ms or not len(ts):
            return None
        if not self.held and int(ts.max()) <= reference_ms + self._jump_ms:
            return None
        passed: list[HeldRecord] = []
        contradicted: list[HeldRecord] = []
        for row, ts_ms in zip(rows, ts.tolist(), strict=True):
            for held in self.held:
                if ts_ms >= held.ts - self._jump_ms:
                    held.supporters += 1
                else:
                    held.opponents += 1
            key, value = records.keys[row], records.values[row]
            assert key is not None  # the key of a good record is its id
            assert value is not None
            record = HeldRecord(records.offsets[row], records.timestamps[row], key, value, ts_ms)
            if ts_ms > reference_ms + self._jump_ms:
                self.held.append(record)
            else:
                passed.append(record)
                reference_ms = max(reference_ms, ts_ms)
            while (decided := self._next_decided(reference_ms)) is not None:
                self.held.remove(decided)
                if decided.opponents >= EVIDENCE:
                    contradicted.append(decided)
                else:
                    passed.append(decided)
                    reference_ms = max(reference_ms, decided.ts)
        return Sifted(self._columns(passed), contradicted)

    def confirm(self, *, reference_ms: int, confirmed_ms: int) -> Records | None:
        """Those that a seal lets go on: H of the rule becomes `reference_ms`. None: there are none.

        Each of them may raise H, and so let others go on. Asking again changes nothing.
        """
        confirmed: list[HeldRecord] = []
        while near := [held for held in self.held if held.ts <= max(reference_ms + self._jump_ms, confirmed_ms)]:
            self.held.remove(near[0])
            confirmed.append(near[0])
            reference_ms = max(reference_ms, near[0].ts)
        return self._columns(confirmed) if confirmed else None

    def end(self) -> Sifted | None:
        """Decides all, because the log has ended: a record that nothing contradicts goes on. None: there are none."""
        decided, self.held = self.held, []
        if not decided:
            return None
        passed = [held for held in decided if held.opponents <= held.supporters]
        return Sifted(self._columns(passed), [held for held in decided if held.opponents > held.supporters])

    def _next_decided(self, reference_ms: int) -> HeldRecord | None:
        """The first held record that can be decided: contradicted, confirmed, or no longer ahead of the log."""
        for held in self.held:
            if max(held.supporters, held.opponents) >= EVIDENCE or held.ts <= reference_ms + self._jump_ms:
                return held
        return None

    def _columns(self, chosen: Sequence[HeldRecord]) -> Records:
        return Records(
            self._log,
            self._partition,
            [held.offset for held in chosen],
            [held.record_ts_ms for held in chosen],
            [held.key for held in chosen],
            [held.value for held in chosen],
        )


def contradiction(held: HeldRecord) -> str:
    """Why a held record was rejected, for its dead letter."""
    return (
        f"ts {held.ts} is more than --jump ahead of its log, and of the records after it {held.opponents} are below "
        f"and {held.supporters} near it: one clock is wrong"
    )

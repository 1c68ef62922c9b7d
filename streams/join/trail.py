"""The offset from which a log must be read again to rebuild the state that still matters."""

from __future__ import annotations

from collections.abc import Sequence

# A rebuild reads whole blocks. Larger blocks would save little memory: a block takes about 0.2 KB.
BLOCK_RECORDS = 4_096


class Trail:
    """Blocks of consecutive records of one log: first offset, maximum before it, highest `ts` within, count."""

    def __init__(self, *, judged_with_ms: int) -> None:
        """`judged_with_ms`: how far below the maximum a record may be and still decide about a later one (L + D)."""
        self._judged_with_ms = judged_with_ms
        self._blocks: list[list[int]] = []

    def add(self, first_offset: int, *, highest_before_ms: int, highest_ms: int, records: int, holding: bool) -> None:
        """Adds records that were just folded; `highest_ms` is the highest on-time `ts` up to their end.

        `holding`: records before them were still held (`streams.join.confirm`). A rebuild that began in between would
        not know those, so no block begins there.
        """
        if self._blocks and (holding or self._blocks[-1][3] + records <= BLOCK_RECORDS):
            block = self._blocks[-1]
            block[2] = max(block[2], highest_ms)
            block[3] += records
        else:
            self._blocks.append([first_offset, highest_before_ms, highest_ms, records])

    def raise_last(self, highest_ms: int) -> None:
        """Held records of the last block were judged after it: the highest `ts` up to its end is known now."""
        if self._blocks:
            self._blocks[-1][2] = max(self._blocks[-1][2], highest_ms)

    def rebuild_from(self, ts_ms: int, *, holding: bool) -> tuple[int, int] | None:
        """(offset, maximum before it) to read from so that every record at or above `ts_ms` is judged as it was.

        That is the first block that reaches `ts_ms`, and the blocks before it that hold possible twins. `holding`: some
        of the last block's records are held, so it matters in any case. None if nothing that was read matters any more.
        Earlier blocks are forgotten, so `ts_ms` may only grow.
        """
        first = next((block for block in self._blocks if block[2] >= ts_ms), self._blocks[-1] if holding else None)
        if first is None:
            self._blocks = self._blocks[-1:]
            return None
        warm_ms = min(ts_ms, first[1] - self._judged_with_ms)
        start = next(number for number, block in enumerate(self._blocks) if block[2] >= warm_ms)
        if start:
            del self._blocks[:start]
        return self._blocks[0][0], self._blocks[0][1]

    def snapshot(self) -> list[list[int]]:
        """The blocks, oldest first."""
        return [list(block) for block in self._blocks]

    def restore(self, blocks: Sequence[Sequence[int]]) -> None:
        """Takes the blocks of a snapshot."""
        self._blocks = [list(block) for block in blocks]

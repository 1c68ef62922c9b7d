"""From which offset a log must be read again to rebuild what still matters of it."""

from __future__ import annotations

from collections.abc import Sequence

# A block is read whole on a rebuild; fewer, larger ones would only save memory that is not missed.
BLOCK_RECORDS = 4_096


class Trail:
    """Blocks of consecutive records of one log: first offset, maximum before it, highest `ts` within, count."""

    def __init__(self, *, judged_with_ms: int) -> None:
        """`judged_with_ms`: how far below the maximum an earlier record decides about a later one (L + D)."""
        self._judged_with_ms = judged_with_ms
        self._blocks: list[list[int]] = []

    def add(self, first_offset: int, *, highest_before_ms: int, highest_ms: int, records: int) -> None:
        """Records that were just folded; `highest_ms` is their highest `ts`, refused ones included.

        Refused ones count, because a rebuild that starts behind the record they were refused for would accept them.
        """
        if self._blocks and self._blocks[-1][3] + records <= BLOCK_RECORDS:
            block = self._blocks[-1]
            block[2] = max(block[2], highest_ms)
            block[3] += records
        else:
            self._blocks.append([first_offset, highest_before_ms, highest_ms, records])

    def rebuild_from(self, ts_ms: int) -> tuple[int, int] | None:
        """(offset, maximum before it) to read from so that all at or above `ts_ms` is judged as it was.

        That is the first block that reaches `ts_ms`, and before it those that hold its possible duplicates.
        None: nothing that was read matters. Blocks in front are forgotten: `ts_ms` may only grow.
        """
        first = next((block for block in self._blocks if block[2] >= ts_ms), None)
        if first is None:
            self._blocks = self._blocks[-1:]
            return None
        warm_ms = min(ts_ms, first[1] - self._judged_with_ms)
        start = next(at for at, block in enumerate(self._blocks) if block[2] >= warm_ms)
        if start:
            del self._blocks[:start]
        return self._blocks[0][0], self._blocks[0][1]

    def snapshot(self) -> list[list[int]]:
        """The blocks, oldest first."""
        return [list(block) for block in self._blocks]

    def restore(self, blocks: Sequence[Sequence[int]]) -> None:
        """Takes the blocks of a snapshot."""
        self._blocks = [list(block) for block in blocks]

"""Records that a mapping refused: how many by rule, where the first one is, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from streams.mapping.compiled import Mapped


@dataclass(slots=True)
class _Group:
    count: int
    offset: int
    detail: str


@dataclass(slots=True)
class Unmapped:
    """Counts the refused records of one log by rule, of those from the offset `begin` on.

    `others` are records that its conditions leave to another log.
    """

    begin: int = 0
    count: int = 0
    others: int = 0
    _groups: dict[str, _Group] = field(default_factory=dict)

    def add(self, events: Mapped, numbers: Sequence[int]) -> None:
        """Counts what was refused of a batch; `numbers` are the offsets of its records, wanted when there is any."""
        self.others += events.others
        for place, why in sorted(events.refused.items()):
            if numbers[place] < self.begin:
                continue
            self.count += 1
            group = self._groups.setdefault(why.rule, _Group(0, numbers[place], why.detail))
            group.count += 1

    def groups(self) -> Iterator[tuple[int, int, str]]:
        """How many, the offset of the first, and why it was refused, the most frequent first."""
        for group in sorted(self._groups.values(), key=lambda each: (-each.count, each.offset)):
            yield group.count, group.offset, group.detail


class _Log(Protocol):
    unmapped: Unmapped


def with_unmapped(counts: Mapping[str, Mapping[str, int]], logs: Mapping[str, _Log]) -> dict[str, dict[str, int]]:
    """The counts of a run by log, with the records that the mapping refused: they were consumed and rejected too."""
    sums = {log: dict(of_log) for log, of_log in counts.items()}
    for log, files in logs.items():
        for name in ("consumed", "rejected"):
            sums[log][name] += files.unmapped.count
    return sums

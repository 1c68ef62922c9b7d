"""In which order of event time a log's lines are: what is said of files that are newest first or overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import numpy as np
import numpy.typing as npt

# A log counts as newest first when nearly all of its steps go back in time.
_MOSTLY: Final = 9
_MOST_OVERLAPS: Final = 3
NEWEST_FIRST: Final = "the log is not in the order of time but newest first; sort it by ts, oldest first, as `tac` does"


@dataclass(slots=True)
class Order:
    """Counts the steps between event times of consecutive lines. All times are ms."""

    rising: int = 0
    falling: int = 0
    most_behind_ms: int = 0
    overlaps: list[str] = field(default_factory=list)
    _last_ms: int | None = None
    _highest_ms: int | None = None
    # The first file that begins with a record, by the hash of the record.
    _beginnings: dict[int, str] = field(default_factory=dict)
    _file: str = ""
    _file_before: str = ""
    _begun: bool = True

    def next_file(self, name: str) -> None:
        """The following lines are those of this file."""
        self._file_before, self._file, self._begun = self._file, name, False

    def add(self, ts_ms: int, line: bytes) -> None:
        """The next line, with its event time."""
        if not self._begun:
            self._begin(ts_ms, line)
        if self._highest_ms is None or self._last_ms is None:
            self._highest_ms = ts_ms
        else:
            self.rising += ts_ms > self._last_ms
            self.falling += ts_ms < self._last_ms
            self.most_behind_ms = max(self.most_behind_ms, self._highest_ms - ts_ms)
            self._highest_ms = max(self._highest_ms, ts_ms)
        self._last_ms = ts_ms

    def add_run(self, times_ms: Sequence[int], lines: Sequence[bytes]) -> None:
        """The next lines of one file, with their event times: as `add` of each."""
        if not times_ms:
            return
        self.add(times_ms[0], lines[0])
        if len(times_ms) == 1:
            return
        times = np.array(times_ms, np.int64)
        assert self._highest_ms is not None
        behind = np.maximum(np.maximum.accumulate(times), self._highest_ms) - times
        self.most_behind_ms = max(self.most_behind_ms, int(behind.max()))
        self._highest_ms = max(self._highest_ms, int(times.max()))
        self._last_ms = int(times[-1])
        self.add_times(times)

    def add_times(self, times_ms: npt.NDArray[np.int64]) -> None:
        """The event times of many lines, in order, of which only the direction is noted."""
        steps = np.diff(times_ms)
        self.rising += int((steps > 0).sum())
        self.falling += int((steps < 0).sum())

    @property
    def is_newest_first(self) -> bool:
        """Whether event time goes back from line to line."""
        return self.falling >= 2 and self.falling > _MOSTLY * self.rising

    def notes(self) -> list[str]:
        """Sentences on files that begin before the one in front of them ended, or as another one begins."""
        more = len(self.overlaps) - _MOST_OVERLAPS
        shown = self.overlaps[:_MOST_OVERLAPS]
        return [*shown, f"and {more} more files begin so"] if more > 0 else shown

    def _begin(self, ts_ms: int, line: bytes) -> None:
        self._begun = True
        other = self._beginnings.setdefault(hash(line), self._file)
        if other != self._file:
            self.overlaps.append(
                f"{self._file} begins with the same record as {other}; leave one out if both hold the same log"
            )
        elif self._last_ms is not None and ts_ms < self._last_ms:
            self.overlaps.append(
                f"{self._file} begins at {_utc(ts_ms)}, before {self._file_before} in front of it ends, at "
                f"{_utc(self._last_ms)}; give files in the order of time"
            )


def _utc(ts_ms: int) -> str:
    return datetime.fromtimestamp(ts_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")

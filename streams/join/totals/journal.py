"""Totals on disk: each quarter-hour has a file, to which a checkpoint appends what changed since the last one.

So the cost of a checkpoint grows with what changed, and not with all totals. A file is deleted with its quarter. When
the same totals change over and over, a file grows to several times its content; then it is written anew, with a new
name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
import xxhash

from schemas.errors import DamagedState
from schemas.totals import DIMENSIONS, MEASURES
from streams.engine.ports import Disk
from streams.join.totals.measures import CLICKED, SHOWN
from streams.join.totals.quarter import Quarter
from streams.join.totals.tables import Table
from streams.state.kept import KeptFiles

_PREFIX = "totals-"
_LENGTH_BYTES = 8
# A file is written anew when it is four times as large as the totals in memory, and larger than 1 MiB.
_WASTE = 4
_SMALL_BYTES = 1 << 20
# An entry ends with the minute that brings it to so many rows, of four bytes each: about 6 MB. Bytes of millions of
# totals at once would be a quarter of a worker's memory.
_ENTRY_ROW_BYTES = 4 * 100_000


class QuarterState(msgspec.Struct, frozen=True):
    """A quarter in a snapshot: its file, the length of that, its checksum, and the minutes not final yet.

    `start` and `minutes` are in ms UTC.
    """

    start: int
    generation: int
    length: int
    xxh3: str
    minutes: list[int]


class MinuteChange(msgspec.Struct, frozen=True):
    """What changed in a minute, arrays as little-endian bytes: the codes of new rows, the measures of changed `rows`.

    `clicked` are indexes into `rows`: of those that have clicks, with `clicked_measures` for each.
    """

    start: int
    codes: bytes
    rows: bytes
    shown: bytes
    clicked: bytes
    clicked_measures: bytes


class QuarterChange(msgspec.Struct, frozen=True):
    """One entry of the journal."""

    names: list[list[str]]
    minutes: list[MinuteChange]
    campaigns: bytes
    campaign_measures: bytes


_decode = msgspec.msgpack.Decoder(QuarterChange).decode


@dataclass
class _File:
    """How far a quarter's file is written, and how many names and rows of the quarter are in it."""

    start_ms: int
    generation: int
    # By dimension; the first name is the empty one, which every quarter has.
    names: list[int]
    length: int = 0
    checksum: xxhash.xxh3_64 = field(default_factory=xxhash.xxh3_64)
    # By minute, ms UTC.
    rows: dict[int, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{_PREFIX}{self.start_ms}-{self.generation}"


class Journal:
    """The files of a partition's totals, which have so many extra dimensions."""

    def __init__(self, disk: Disk, extra: int = 0) -> None:
        self._disk = disk
        self._extra = extra
        self._files: dict[int, _File] = {}
        self._kept = KeptFiles(disk, _PREFIX)

    def files(self) -> dict[str, int]:
        """Each file with the length that the last `save` or `restore` left it at."""
        return {file.name: file.length for file in self._files.values()}

    def save(self, quarters: Mapping[int, Quarter]) -> list[QuarterState]:
        """Appends what changed and makes it durable. Returns what `restore` needs."""
        for start_ms in [start_ms for start_ms in self._files if start_ms not in quarters]:
            self._kept.delete_later(self._files.pop(start_ms).name)
        for start_ms, quarter in quarters.items():
            file = self._files.get(start_ms) or self._begin(start_ms, 0)
            if file.length > _SMALL_BYTES and file.length > _WASTE * quarter.nbytes:
                self._kept.delete_later(file.name)
                file = self._begin(start_ms, file.generation + 1)
                quarter.all_unsaved()
            before = file.length
            for entry in _changes(quarter, file):
                self._append(file, msgspec.msgpack.encode(entry))
            if file.length > before:
                self._disk.sync(file.name)
        self._kept.snapshot()
        return [
            QuarterState(
                start_ms, file.generation, file.length, file.checksum.hexdigest(), list(quarters[start_ms].minutes)
            )
            for start_ms, file in self._files.items()
        ]

    def saved(self) -> None:
        """The last `save` is part of a durable snapshot: files that only earlier ones named are deleted."""
        self._kept.snapshot_kept()

    def restore(self, states: Sequence[QuarterState]) -> dict[int, Quarter]:
        """The quarters of a snapshot. Cuts off what was appended after it. Raises DamagedState."""
        self._files = {}
        for state in states:
            self._begin(state.start, state.generation)
        self._kept.keep_only({file.name for file in self._files.values()})
        return {state.start: self._read(self._files[state.start], state) for state in states}

    def clear(self) -> None:
        """Deletes every file."""
        self._kept.clear()
        self._files.clear()

    def _begin(self, start_ms: int, generation: int) -> _File:
        file = self._files[start_ms] = _File(start_ms, generation, [1] * (len(DIMENSIONS) + self._extra))
        return file

    def _append(self, file: _File, entry: bytes) -> None:
        data = len(entry).to_bytes(_LENGTH_BYTES, "little") + entry
        self._disk.append(file.name, data)
        file.checksum.update(data)
        file.length += len(data)

    def _read(self, file: _File, state: QuarterState) -> Quarter:
        quarter = Quarter(self._extra)
        if not state.length:
            return quarter
        data = self._kept.read(file.name, 0, state.length)
        file.checksum.update(data)
        file.length = state.length
        if len(data) != state.length or file.checksum.hexdigest() != state.xxh3:
            raise DamagedState(f"checkpoint names {file.name}, which is shorter than it was or damaged")
        self._disk.truncate(file.name, state.length)
        try:
            for entry in _entries(data):
                _apply(_decode(entry), quarter, set(state.minutes))
        except ValueError as error:
            # The bytes are what was written, so it was written under other numbers of dimensions or measures.
            raise DamagedState(f"{file.name} was written by a program with other totals: {error}") from error
        file.names = quarter.names.counts
        file.rows = {minute_ms: table.count for minute_ms, table in quarter.minutes.items()}
        quarter.all_saved()
        return quarter


def _entries(data: bytes) -> Iterator[memoryview]:
    """The entries of a file, without their lengths."""
    offset, view = 0, memoryview(data)
    while offset < len(data):
        length = int.from_bytes(view[offset : offset + _LENGTH_BYTES], "little")
        offset += _LENGTH_BYTES + length
        yield view[offset - length : offset]


def _changes(quarter: Quarter, file: _File) -> Iterator[QuarterChange]:
    """What is not in the file yet, in entries of bounded size. From then on it counts as being there: append them."""
    names = [texts[written:] for texts, written in zip(quarter.names.texts, file.names, strict=True)]
    minutes: list[MinuteChange] = []
    for minute_ms, table in quarter.minutes.items():
        if table.unsaved[: table.count].any():
            minutes.append(_minute_change(minute_ms, table, file.rows.get(minute_ms, 0)))
        if sum(len(change.rows) for change in minutes) > _ENTRY_ROW_BYTES:
            yield QuarterChange(names, minutes, b"", b"")
            names, minutes = [[] for _ in names], []
    codes = np.flatnonzero(quarter.campaigns.unsaved).astype("<i4")
    if minutes or len(codes) or any(names):
        measures = quarter.campaigns.measures[:, codes].astype("<i8").tobytes()
        yield QuarterChange(names, minutes, codes.tobytes(), measures)
    file.names = quarter.names.counts
    file.rows = {minute_ms: table.count for minute_ms, table in quarter.minutes.items()}
    quarter.all_saved()


def _minute_change(minute_ms: int, table: Table, written_rows: int) -> MinuteChange:
    rows = np.flatnonzero(table.unsaved[: table.count])
    clicked = np.flatnonzero(table.clicked_column[rows])
    return MinuteChange(
        minute_ms,
        table.codes[written_rows : table.count].astype("<i4").tobytes(),
        rows.astype("<i4").tobytes(),
        table.shown[:, rows].astype("<i8").tobytes(),
        clicked.astype("<i4").tobytes(),
        table.clicked[:, table.clicked_column[rows[clicked]]].astype("<i8").tobytes(),
    )


def _apply(entry: QuarterChange, quarter: Quarter, minutes: set[int]) -> None:
    """Adds an entry to the quarter, without minutes that are not in `minutes`: they have become final since."""
    if len(entry.names) != quarter.names.dimensions:
        raise ValueError(f"names of {len(entry.names)} dimensions")
    for dimension, more in enumerate(entry.names):
        quarter.names.codes_of([dimension] * len(more), more)
    for change in entry.minutes:
        if change.start in minutes:
            rows = np.frombuffer(change.rows, "<i4")
            clicked = np.frombuffer(change.clicked, "<i4")
            table = quarter.table(change.start)
            table.put(
                rows,
                np.frombuffer(change.codes, "<i4").reshape(-1, quarter.names.columns_wide),
                np.frombuffer(change.shown, "<i8").reshape(len(SHOWN), len(rows)),
            )
            table.put_clicked(
                rows[clicked], np.frombuffer(change.clicked_measures, "<i8").reshape(len(CLICKED), len(clicked))
            )
    codes = np.frombuffer(entry.campaigns, "<i4")
    if len(codes):
        quarter.campaigns.fit(int(codes.max()) + 1)
        quarter.campaigns.measures[:, codes] = np.frombuffer(entry.campaign_measures, "<i8").reshape(
            len(MEASURES), len(codes)
        )

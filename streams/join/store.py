"""Open impressions: append-only segments of rows and payloads in arrival order, with an index by hash of the id.

A position is `segment number << 17 | row`. Rows never change. A flag beside a row says whether it was clicked; whether
it is closed follows from its `ts` and the close bound. A segment is dropped when no later record can need any of its
rows. It is finished, and takes no more rows, once it is full or once a quarter of its rows is no longer needed: with a
few impressions a second a full segment would hold hours of them, of which the join needs the last half hour. The
caller's thread appends payloads to a file at once: a write into the page cache costs 0.1 µs an impression, less than
handing it to another thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import xxhash

from schemas.errors import DamagedState
from streams.engine.ports import Disk
from streams.join.index import Hashes, Index, Positions
from streams.kernels.gather import STORED, describe
from streams.kernels.slices import Slices
from streams.state.kept import KeptFiles

Int64s = npt.NDArray[np.int64]
Sampled = Callable[[Hashes], npt.NDArray[np.bool_]]

# 131,072 rows of 22 bytes: 2.9 MB of memory a segment that takes rows. A segment is dropped as a whole.
ROW_BITS = 17
SEGMENT_ROWS = 1 << ROW_BITS
# In memory: ts, end, check, sampled, clicked.
_ROW_BYTES = 8 + 8 + 4 + 1 + 1
# A segment takes no more rows when one row in so many is no longer needed. With 4, rows of one span (the longer of
# window and dedupe horizon) fill a segment for 4/3 of that span, so no row is kept longer than 7/3 of it.
_FINISHED_AT = 4
_check = xxhash.xxh3_64_intdigest
# Bytes that a sweep reads at once: of twenty rows one is sampled, and one long read costs less than many short ones.
_READ_BYTES = 1 << 20


class SegmentState(msgspec.Struct, frozen=True):
    """A segment in a snapshot: its rows and payload bytes, the checksum of the rows, and which are clicked (i32)."""

    number: int
    rows: int
    rows_xxh3: str
    payload_bytes: int
    clicked: bytes


class Segment:
    """Up to `SEGMENT_ROWS` impressions in arrival order, on two append-only files: `.rows` and `.payload`.

    In memory 22 bytes a row. The hash is in the index; a row only says whether it would be sampled as a negative.
    """

    def __init__(self, number: int, prefix: str, sampled: Sampled) -> None:
        self._is_sampled = sampled
        self.number = number
        self.name = f"{prefix}{number:010d}"
        self.count = 0
        self.ts: Int64s = np.empty(SEGMENT_ROWS, np.int64)
        self.end: Int64s = np.empty(SEGMENT_ROWS, np.int64)
        self.check = np.empty(SEGMENT_ROWS, np.uint32)
        self.sampled = np.empty(SEGMENT_ROWS, np.bool_)
        self.clicked = np.zeros(SEGMENT_ROWS, np.bool_)
        self.payload_bytes = 0
        self.min_ts = 0
        self.max_ts = 0
        self.checksum = xxhash.xxh3_64()
        self.finished = False

    @property
    def nbytes(self) -> int:
        """Bytes of memory in use."""
        return len(self.ts) * _ROW_BYTES

    def add_rows(self, rows: npt.NDArray[np.void]) -> None:
        """Takes rows into memory, just appended or read back."""
        start, stop = self.count, self.count + len(rows)
        self.ts[start:stop], self.end[start:stop], self.check[start:stop] = rows["ts"], rows["end"], rows["check"]
        self.sampled[start:stop] = self._is_sampled(rows["hash"])
        low, high = int(rows["ts"].min()), int(rows["ts"].max())
        self.min_ts = min(self.min_ts, low) if start else low
        self.max_ts = max(self.max_ts, high) if start else high
        self.payload_bytes = int(rows["end"][-1])
        self.count = stop
        self.checksum.update(rows.view(np.uint8).data)
        self.finished = stop == SEGMENT_ROWS

    def finish_below(self, ts_ms: int) -> None:
        """Takes no more rows when a quarter of them, or more, is below `ts_ms`."""
        if self.finished or not self.count or self.min_ts >= ts_ms:
            return
        if np.count_nonzero(self.ts[: self.count] < ts_ms) * _FINISHED_AT >= self.count:
            self.finish()

    def finish(self) -> None:
        """Takes no more rows, and gives back the memory that was for them."""
        self.finished = True
        self.ts, self.end = self.ts[: self.count].copy(), self.end[: self.count].copy()
        self.check, self.sampled = self.check[: self.count].copy(), self.sampled[: self.count].copy()
        self.clicked = self.clicked[: self.count].copy()

    def checked(self, rows: Int64s, data: bytes, spans: Int64s) -> Slices:
        """The payloads of rows, which were read at these spans of `data`. Raises DamagedState if one is not what was
        written.
        """
        if int(spans[-1].sum()) > len(data):
            raise self.damaged(int(rows[-1]))
        payloads = Slices.copied(np.frombuffer(data, np.uint8), spans)
        found, zeros = np.empty(len(rows), STORED), np.zeros(len(rows), np.int64)
        describe(*payloads.arrays, zeros, zeros.view(np.uint64), 0, found)
        other = np.flatnonzero(found["check"] != self.check[rows])
        if len(other):
            raise self.damaged(int(rows[other[0]]))
        return payloads

    def damaged(self, row: int) -> DamagedState:
        """What to raise when the payload of a row is shorter than it was, or its checksum is another."""
        return DamagedState(f"row {row} of {self.name}.payload is not what was written")


class Store:
    """The impressions of one partition that a later record can need. `sampled` chooses negatives by the id's hash."""

    def __init__(self, disk: Disk, sampled: Sampled, prefix: str = "seg-") -> None:
        self._disk = disk
        self._sampled = sampled
        self._prefix = prefix
        self._index = Index()
        self._segments: dict[int, Segment] = {}
        self._next_number = 0
        self._dirty: set[str] = set()
        self._kept = KeptFiles(disk, prefix)
        # The files that the last snapshot, taken or restored, names.
        self._files: dict[str, int] = {}

    def __len__(self) -> int:
        return sum(segment.count for segment in self._segments.values())

    @property
    def nbytes(self) -> int:
        """Bytes of memory in use."""
        return sum(segment.nbytes for segment in self._segments.values()) + self._index.nbytes

    def append(self, ts: Int64s, hashes: Hashes, payloads: Slices) -> Positions:
        """Adds impressions in arrival order and returns their positions."""
        positions = np.empty(len(ts), np.int64)
        done = 0
        while done < len(ts):
            segment = self._tail()
            take = slice(done, min(len(ts), done + SEGMENT_ROWS - segment.count))
            size, chosen = take.stop - take.start, payloads[take]
            rows = np.empty(size, STORED)
            describe(*chosen.arrays, ts[take], hashes[take], segment.payload_bytes, rows)
            positions[take] = (segment.number << ROW_BITS) + np.arange(segment.count, segment.count + size)
            self._disk.append(f"{segment.name}.payload", _joined(chosen))
            self._disk.append(f"{segment.name}.rows", rows.view(np.uint8).data)
            self._dirty.add(segment.name)
            segment.add_rows(rows)
            done = take.stop
        self._index.add(hashes, positions, base=self._base())
        return positions

    def find(self, hashes: Hashes) -> tuple[Int64s, Positions]:
        """All rows with these hashes, as (index into `hashes`, position)."""
        return self._index.find(hashes, base=self._base())

    def ts(self, position: int) -> int:
        """Event time of a row, ms."""
        return int(self._segments[position >> ROW_BITS].ts[position & (SEGMENT_ROWS - 1)])

    def payload(self, position: int) -> bytes:
        """The impression as it arrived."""
        segment, row = self._segments[position >> ROW_BITS], position & (SEGMENT_ROWS - 1)
        start, end = int(segment.end[row - 1]) if row else 0, int(segment.end[row])
        payload = self._disk.read(f"{segment.name}.payload", start, end - start)
        if len(payload) != end - start or _check(payload) & 0xFFFFFFFF != int(segment.check[row]):
            raise segment.damaged(row)
        return payload

    def payloads(self, positions: Int64s) -> Iterator[Slices]:
        """The impressions at these positions, which ascend, as they arrived, in pieces."""
        numbers, rows = positions >> ROW_BITS, positions & (SEGMENT_ROWS - 1)
        for number in np.unique(numbers).tolist():
            yield from self._payloads(self._segments[number], rows[numbers == number])

    def _payloads(self, segment: Segment, rows: Int64s) -> Iterator[Slices]:
        """Payloads of rows that ascend. What lies between two of them is read too."""
        starts, ends = np.where(rows > 0, segment.end[rows - 1], 0), segment.end[rows]
        done = 0
        while done < len(rows):
            first = int(starts[done])
            stop = max(done + 1, int(np.searchsorted(ends, first + _READ_BYTES, side="right")))
            data = self._disk.read(f"{segment.name}.payload", first, int(ends[stop - 1]) - first)
            spans = np.stack((starts[done:stop] - first, ends[done:stop] - starts[done:stop]), axis=1)
            yield segment.checked(rows[done:stop], data, spans)
            done = stop

    def click(self, position: int) -> bool:
        """Marks a row clicked. Returns whether this was its first click."""
        segment, row = self._segments[position >> ROW_BITS], position & (SEGMENT_ROWS - 1)
        first = not segment.clicked[row]
        segment.clicked[row] = True
        return first

    def bound_for(self, start_ms: int, stop_ms: int, limit: int) -> int:
        """The highest bound up to `stop_ms` with at most `limit` rows from `start_ms` on; at least `start_ms + 1`."""
        parts = [segment.ts[rows] for segment, rows in self._between(start_ms, stop_ms)]
        ts = np.concatenate(parts) if parts else np.empty(0, np.int64)
        if len(ts) <= limit:
            return stop_ms
        return max(int(np.partition(ts, limit)[limit]), start_ms + 1)

    def unclicked_between(self, start_ms: int, stop_ms: int) -> tuple[int, int, Positions]:
        """Of the rows with `start_ms <= ts < stop_ms`: how many, how many unclicked, positions of the sampled
        unclicked.
        """
        count = unclicked = 0
        sampled = [np.empty(0, np.int64)]
        for segment, rows in self._between(start_ms, stop_ms):
            never_clicked = rows[~segment.clicked[rows]]
            count += len(rows)
            unclicked += len(never_clicked)
            chosen = never_clicked[segment.sampled[never_clicked]]
            sampled.append((segment.number << ROW_BITS) + chosen)
        return count, unclicked, np.concatenate(sampled)

    def drop_below(self, ts_ms: int) -> None:
        """Drops finished segments, oldest first, as long as all rows of them are below `ts_ms`."""
        # Only the last one may still take rows.
        if (last := self._last()) is not None:
            last.finish_below(ts_ms)
        for number, segment in list(self._segments.items()):
            if not segment.finished or segment.max_ts >= ts_ms:
                return
            del self._segments[number]
            self._dirty.discard(segment.name)
            self._kept.delete_later(f"{segment.name}.payload")
            self._kept.delete_later(f"{segment.name}.rows")

    def snapshot(self) -> list[SegmentState]:
        """Makes all rows and payloads durable and returns the segments."""
        for name in sorted(self._dirty):
            self._disk.sync(f"{name}.payload")
            self._disk.sync(f"{name}.rows")
        self._dirty.clear()
        self._kept.snapshot()
        states = [
            SegmentState(
                segment.number,
                segment.count,
                segment.checksum.hexdigest(),
                segment.payload_bytes,
                np.flatnonzero(segment.clicked[: segment.count]).astype("<i4").tobytes(),
            )
            for segment in self._segments.values()
        ]
        self._files = self._lengths(states)
        return states

    def files(self) -> Mapping[str, int]:
        """The files that the last snapshot, taken or restored, names, with the length that belongs to the snapshot."""
        return self._files

    def _lengths(self, states: Sequence[SegmentState]) -> dict[str, int]:
        return {
            f"{self._prefix}{state.number:010d}{kind}": length
            for state in states
            for kind, length in ((".rows", state.rows * STORED.itemsize), (".payload", state.payload_bytes))
        }

    def snapshot_kept(self) -> None:
        """The last snapshot is durable: deletes the files of segments dropped before it."""
        self._kept.snapshot_kept()

    def restore(self, states: Sequence[SegmentState]) -> None:
        """Takes the rows of a snapshot and cuts off what was appended after it. Raises DamagedState."""
        self._files = self._lengths(states)
        self._kept.keep_only(self._files)
        hashes: list[Hashes] = []
        positions: list[Positions] = []
        for state in states:
            segment = Segment(state.number, self._prefix, self._sampled)
            length = state.rows * STORED.itemsize
            data = self._kept.read(f"{segment.name}.rows", 0, length)
            last = self._kept.read(f"{segment.name}.payload", state.payload_bytes - 1, 1)
            if len(data) != length or len(last) != 1 or xxhash.xxh3_64_hexdigest(data) != state.rows_xxh3:
                raise DamagedState(f"checkpoint names {segment.name}, which is shorter than it was or damaged")
            self._disk.truncate(f"{segment.name}.rows", length)
            self._disk.truncate(f"{segment.name}.payload", state.payload_bytes)
            segment_rows = np.frombuffer(data, STORED)
            segment.add_rows(segment_rows)
            segment.clicked[np.frombuffer(state.clicked, "<i4")] = True
            if state is not states[-1]:
                segment.finish()
            self._segments[segment.number] = segment
            self._next_number = segment.number + 1
            hashes.append(np.ascontiguousarray(segment_rows["hash"]))
            positions.append((segment.number << ROW_BITS) + np.arange(segment.count))
        if hashes:
            self._index.add(np.concatenate(hashes), np.concatenate(positions), base=self._base())

    def clear(self) -> None:
        """Drops everything, files included: the state will be rebuilt from the log."""
        self._kept.clear()
        self._index = Index()
        self._segments.clear()
        self._dirty.clear()

    def _base(self) -> int:
        first = next(iter(self._segments), self._next_number)
        return first << ROW_BITS

    def _last(self) -> Segment | None:
        return self._segments.get(self._next_number - 1)

    def _tail(self) -> Segment:
        last = self._last()
        if last is None or last.finished:
            last = self._segments[self._next_number] = Segment(self._next_number, self._prefix, self._sampled)
            self._next_number += 1
        return last

    def _between(self, start_ms: int, stop_ms: int) -> Iterator[tuple[Segment, Int64s]]:
        for segment in self._segments.values():
            if segment.count and segment.min_ts < stop_ms and segment.max_ts >= start_ms:
                ts = segment.ts[: segment.count]
                rows = np.flatnonzero((ts >= start_ms) & (ts < stop_ms))
                if len(rows):
                    yield segment, rows


def _joined(payloads: Slices) -> memoryview:
    """The payloads one behind the other: as a reader has put them, or copied when some between them were not accepted.

    Nobody writes into the buffer of a reader as long as something refers to it.
    """
    (starts, lengths), buffer = payloads.spans.T, payloads.buffer
    if (starts[1:] == starts[:-1] + lengths[:-1]).all():
        return buffer[starts[0] : starts[-1] + lengths[-1]].data
    return Slices.copied(buffer, payloads.spans).buffer[: int(lengths.sum())].data

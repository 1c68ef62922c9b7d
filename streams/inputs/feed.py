"""Sends two logs to Kafka in the order of event time, at a chosen speed: seven days take a minute at 10,000.

The order within a log never changes. A record without a readable event time is sent with the record before it. A record
whose event time is above that of the next one is sent with the next one, so that one wrong clock does not stop the feed
for a year.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from heapq import merge
from itertools import chain, pairwise
from typing import Final, NamedTuple

import msgspec

from schemas.codec import decoder, encode
from schemas.errors import SettingsError
from schemas.events import MIN_TS_MS, Campaign, Click, Impression, TsMs
from schemas.records import Record
from streams.kafka.cluster import Cluster
from streams.kafka.sender import Sender

# A step is short, because the feed can stop only after one, and long enough for full batches.
_STEP_RECORDS: Final = 5_000
_SHORTEST_WAIT_S: Final = 0.02
_LONGEST_WAIT_S: Final = 0.5
# How often it waits until Kafka has all that was sent: after a fault it goes on from there.
_FLUSH_EVERY_S: Final = 5.0


class _Timed(msgspec.Struct, gc=False):
    ts: TsMs


class _Due(NamedTuple):
    """A record of a log and the event time at which it is sent."""

    due_ms: int
    role: str
    record: Record


@dataclass(frozen=True, slots=True)
class FeedProgress:
    """Records sent so far and the event time reached, 0 before the first record.

    `done` is true when Kafka has acknowledged all records.
    """

    impressions: int = 0
    clicks: int = 0
    event_ms: int = 0
    done: bool = False


def as_records(events: Iterable[Impression | Click]) -> Iterator[Record]:
    """Events as a log: keyed by impression id, offsets from 0, without Kafka timestamps."""
    for offset, event in enumerate(events):
        yield Record(offset, -1, event.impression_id.encode(), encode(event))


class Feed:
    """Sends both logs once, campaigns first. Call `run`, or call `step` in a loop.

    `speed` is event seconds per second; None sends as fast as Kafka accepts. `start_ms` is the event time at which the
    feed begins, None for that of the first record; earlier records are sent at once. `begin` is the offset of each log
    at which its records begin. Keys are sent unchanged, also
    wrong ones. A record without a Kafka timestamp gets one from the producer or broker. `clock` gives monotonic
    seconds.
    """

    def __init__(
        self,
        cluster: Cluster,
        impressions: Iterable[Record],
        clicks: Iterable[Record],
        campaigns: Iterable[Campaign] = (),
        *,
        speed: float | None,
        start_ms: int | None = None,
        begin: Mapping[str, int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if speed is not None and not speed > 0.0:
            raise SettingsError(
                f"speed is {speed}; give event seconds per second above 0, such as 10000, or leave it out"
            )
        self._campaigns = list(campaigns)
        # Impressions first where both are due: merge keeps the order of its arguments among equals.
        logs = (_timed("impressions", impressions), _timed("clicks", clicks))
        self._ahead: Iterator[_Due] = merge(*logs, key=lambda due: due.due_ms)
        self._next: _Due | None = None
        self._speed = speed
        self._start_ms = start_ms
        self._clock = clock
        self._began_s: float | None = None
        self._flushed_s = 0.0
        self._fault: SettingsError | None = None
        # By log the offset behind the last record that was sent, and behind the last that Kafka has for certain.
        self.sent_to = {"impressions": 0, "clicks": 0, **(begin or {})}
        self.in_kafka_to = dict(self.sent_to)
        # While it waits for a file or a pipe an interruption loses nothing: what was read before is still to be sent.
        self.is_reading = False
        self._sender = Sender(cluster)
        self._progress = FeedProgress()

    @property
    def progress(self) -> FeedProgress:
        """What was sent so far. Other threads may read it."""
        return self._progress

    @property
    def has_begun(self) -> bool:
        """Whether it has sent anything."""
        return self._began_s is not None

    def run(self, stop: threading.Event | None = None, each_step: Callable[[], None] | None = None) -> FeedProgress:
        """Sends all records, or stops when `stop` is set; then waits until Kafka has acknowledged what was sent.

        Raises Transient when Kafka does not accept records, and SettingsError when a file is damaged, after all records
        of it before the damage.
        """
        stop = stop or threading.Event()
        while not stop.is_set() and not self._progress.done:
            wait_s = self.step()
            if each_step is not None:
                each_step()
            if self._clock() - self._flushed_s >= _FLUSH_EVERY_S:
                self.flush()
            if wait_s > 0.0:
                stop.wait(min(max(wait_s, _SHORTEST_WAIT_S), _LONGEST_WAIT_S))
        self.flush()
        return self._progress

    def flush(self) -> None:
        """Returns once Kafka has acknowledged what was sent. Raises Transient."""
        self._sender.flush()
        self._flushed_s = self._clock()
        self.in_kafka_to = dict(self.sent_to)

    def step(self) -> float:
        """Sends the records that are due, at most 5,000, and returns the seconds until the next one is due, 0 for now.

        The last step waits until Kafka has acknowledged all records. Raises as `run` does.
        """
        if self._began_s is None:
            self._begin()
        due_ms, sent = self._due_ms(), {"impressions": list[Record](), "clicks": list[Record]()}
        count, event_ms = 0, self._progress.event_ms
        while (due := self._next) is not None and count < _STEP_RECORDS and (due_ms is None or due.due_ms <= due_ms):
            sent[due.role].append(due.record)
            event_ms = max(event_ms, due.due_ms)
            count += 1
            self._advance()
        for role, records in sent.items():
            self._sender.send(role, ((record.key, record.value, record.record_ts_ms) for record in records))
            if records:
                self.sent_to[role] = records[-1].offset + 1
        if self._next is None:
            self.flush()
        self._progress = FeedProgress(
            self._progress.impressions + len(sent["impressions"]),
            self._progress.clicks + len(sent["clicks"]),
            event_ms if event_ms > MIN_TS_MS else 0,
            self._next is None and self._fault is None,
        )
        if self._fault is not None:
            raise self._fault
        if self._next is None or self._speed is None or self._start_ms is None or due_ms is None:
            return 0.0
        return max((self._next.due_ms - due_ms) / 1_000 / self._speed, 0.0)

    def _begin(self) -> None:
        # Read before anything is sent: files that hold no such records are refused here.
        self._advance()
        # Acknowledged before the first event: pacing calls a campaign unknown until the gate has judged it.
        self._sender.send("campaigns", ((one.campaign_id.encode(), encode(one), -1) for one in self._campaigns))
        self.flush()
        self._began_s = self._clock()

    def _advance(self) -> None:
        """Reads the next record. A damaged file ends the feed, once all before the damage is sent."""
        self.is_reading = True
        try:
            self._next = next(self._ahead, None)
        except SettingsError as error:
            if self._began_s is None:
                raise
            self._next, self._fault = None, error
        finally:
            self.is_reading = False

    def _due_ms(self) -> int | None:
        """The event time up to which records are due now; None when all are."""
        if self._speed is None or self._began_s is None or self._next is None:
            return None
        if self._start_ms is None and self._next.due_ms > MIN_TS_MS:
            # Records before the first one with an event time are sent by now; the feed begins with that record.
            self._start_ms, self._began_s = self._next.due_ms, self._clock()
        if self._start_ms is None:
            return MIN_TS_MS
        return self._start_ms + int((self._clock() - self._began_s) * 1_000 * self._speed)


def _timed(role: str, records: Iterable[Record]) -> Iterator[_Due]:
    """The records of a log with the event times at which they are sent, which never decrease.

    Raises SettingsError where the file is damaged, after all records before the damage.
    """
    faults: list[SettingsError] = []
    stamped = ((record, _ts_ms(record)) for record in _until_fault(records, faults))
    reached_ms = MIN_TS_MS
    for (record, ts_ms), (_, following_ms) in pairwise(chain(stamped, [(None, None)])):
        assert record is not None
        if ts_ms is not None:
            # At most the event time of the next record, which would otherwise wait for a clock that is ahead.
            reached_ms = max(reached_ms, ts_ms if following_ms is None else min(ts_ms, following_ms))
        yield _Due(reached_ms, role, record)
    if faults:
        raise faults[0]


def _until_fault(records: Iterable[Record], faults: list[SettingsError]) -> Iterator[Record]:
    """The records up to the damage of a file, of which the error is kept."""
    try:
        yield from records
    except SettingsError as error:
        faults.append(error)


def _ts_ms(record: Record) -> int | None:
    try:
        return int(decoder(_Timed).decode(record.value or b"").ts)
    except ValueError:
        return None

"""Plays two logs into Kafka by their event times, at a chosen speed: seven days in a minute at 10,000.

Each log keeps its order whatever its event times say. A record without a readable event time goes with the one before
it, and one whose clock is ahead of its successor goes with that: a single bad clock must not stop the play for a year.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
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

# A step is short enough to be stopped after, long enough for its records to travel in batches.
_STEP_RECORDS: Final = 5_000
_SHORTEST_WAIT_S: Final = 0.02
_LONGEST_WAIT_S: Final = 0.5


class _Timed(msgspec.Struct, gc=False):
    ts: TsMs


class _Due(NamedTuple):
    """A record of a log and the event time it is sent at."""

    due_ms: int
    role: str
    record: Record


@dataclass(frozen=True, slots=True)
class FeedProgress:
    """Records sent so far and the event time reached, 0 before the first; `done` once Kafka has all of them."""

    impressions: int = 0
    clicks: int = 0
    event_ms: int = 0
    done: bool = False


def as_records(events: Iterable[Impression | Click]) -> Iterator[Record]:
    """Events as a log: keyed by impression id, offsets from 0, without Kafka timestamps."""
    for offset, event in enumerate(events):
        yield Record(offset, -1, event.impression_id.encode(), encode(event))


class Feed:
    """One play of both logs; campaigns go first. Drive it by `run`, or by `step` from a loop of your own.

    `speed` is event seconds a second; None sends as fast as Kafka takes it. `start_ms` is the event time to begin at,
    None the first record's; what is before it goes at once. Keys are sent as they are, also those no record should
    have. A record without Kafka timestamp gets one where it is written. `clock` gives monotonic seconds.
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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if speed is not None and not speed > 0.0:
            raise SettingsError(f"speed is {speed}; give event seconds a second above 0, such as 10000, or none at all")
        self._campaigns = list(campaigns)
        # Impressions first where both are due: merge keeps the order of its arguments among equals.
        logs = (_timed("impressions", impressions), _timed("clicks", clicks))
        self._ahead: Iterator[_Due] = merge(*logs, key=lambda due: due.due_ms)
        self._next: _Due | None = None
        self._speed = speed
        self._start_ms = start_ms
        self._clock = clock
        self._began_s: float | None = None
        self._sender = Sender(cluster)
        self._progress = FeedProgress()

    @property
    def progress(self) -> FeedProgress:
        """How far the play is. May be read from another thread."""
        return self._progress

    def run(self, stop: threading.Event | None = None) -> FeedProgress:
        """Plays to the end, or until `stop` is set, and waits for Kafka to have what was sent.

        Raises Transient when Kafka does not take it, SettingsError when a file turns out to be damaged.
        """
        stop = stop or threading.Event()
        while not stop.is_set() and not self._progress.done:
            wait_s = self.step()
            if wait_s > 0.0:
                stop.wait(min(max(wait_s, _SHORTEST_WAIT_S), _LONGEST_WAIT_S))
        self._sender.flush()
        return self._progress

    def step(self) -> float:
        """Sends what is due, up to a few thousand records, and returns the seconds until more is; 0 when it is now.

        The last step waits until Kafka has everything.
        """
        if self._began_s is None:
            self._begin()
        due_ms, sent = self._due_ms(), {"impressions": list[Record](), "clicks": list[Record]()}
        count, event_ms = 0, self._progress.event_ms
        while (due := self._next) is not None and count < _STEP_RECORDS and (due_ms is None or due.due_ms <= due_ms):
            sent[due.role].append(due.record)
            event_ms = max(event_ms, due.due_ms)
            count += 1
            self._next = next(self._ahead, None)
        for role, records in sent.items():
            self._sender.send(role, ((record.key, record.value, record.record_ts_ms) for record in records))
        if self._next is None:
            self._sender.flush()
        self._progress = FeedProgress(
            self._progress.impressions + len(sent["impressions"]),
            self._progress.clicks + len(sent["clicks"]),
            event_ms if event_ms > MIN_TS_MS else 0,
            self._next is None,
        )
        if self._next is None or self._speed is None or self._start_ms is None or due_ms is None:
            return 0.0
        return max((self._next.due_ms - due_ms) / 1_000 / self._speed, 0.0)

    def _begin(self) -> None:
        # On disk before the first event, so that pacing does not meet a campaign nobody announced.
        self._sender.send("campaigns", ((one.campaign_id.encode(), encode(one), -1) for one in self._campaigns))
        self._sender.flush()
        self._next = next(self._ahead, None)
        self._began_s = self._clock()

    def _due_ms(self) -> int | None:
        """The event time reached by now; None: everything is due."""
        if self._speed is None or self._began_s is None or self._next is None:
            return None
        if self._start_ms is None and self._next.due_ms > MIN_TS_MS:
            # Records without a time in front of the first with one have gone by now; the play begins with it.
            self._start_ms, self._began_s = self._next.due_ms, self._clock()
        if self._start_ms is None:
            return MIN_TS_MS
        return self._start_ms + int((self._clock() - self._began_s) * 1_000 * self._speed)


def _timed(role: str, records: Iterable[Record]) -> Iterator[_Due]:
    """The records of a log with the event times they are sent at, which never decrease."""
    stamped = ((record, _ts_ms(record)) for record in records)
    reached_ms = MIN_TS_MS
    for (record, ts_ms), (_, following_ms) in pairwise(chain(stamped, [(None, None)])):
        assert record is not None
        if ts_ms is not None:
            # Not later than its successor, whose turn would otherwise have to wait for a clock that is ahead.
            reached_ms = max(reached_ms, ts_ms if following_ms is None else min(ts_ms, following_ms))
        yield _Due(reached_ms, role, record)


def _ts_ms(record: Record) -> int | None:
    try:
        return int(decoder(_Timed).decode(record.value or b"").ts)
    except ValueError:
        return None

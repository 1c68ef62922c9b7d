"""Shares snapshots beside the fold's work: one upload at a time, never waited for but at the end and for seconds."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from schemas.errors import ClickfoldError, Transient
from streams.engine.ports import Disk, SharedProgress
from streams.state.download import Reader
from streams.state.layout import Objects
from streams.state.upload import Writer

# At a rebalance the whole group waits: long enough for what came since the last upload, short beside the session
# timeout of 10 s.
LAST_S = 5.0
# A partition is fetched beside the work on others; one that takes longer is sooner rebuilt from the log.
FETCH_S = 60.0
# For this long after it gave no answer the store is not asked for more partitions.
_DOWN_S = 60.0
# Files are kept this long for an upload that needs them; then it is given up, the disk must not fill.
_HOLD_S = 300.0


class Stores(Protocol):
    """Where every partition has a folder; `streams.state.objects.ObjectStore`."""

    def at(self, *folders: str, stop: threading.Event) -> Objects:
        """The objects of a folder; tries again until `stop` is set."""
        ...


class Location:
    """The shared location as one worker sees it. Once an outage it warns, whatever the number of partitions."""

    def __init__(self, stores: Stores, group: str, *, every_s: float, warn: Callable[[str], None]) -> None:
        self._stores = stores
        self._group = group
        self._progress: dict[int, SharedProgress] = {}
        self._failing = False
        # Partitions whose shared snapshots were faithful copies of damaged files.
        self.distrusted: set[int] = set()
        self._down_until_s = 0.0
        self.every_s = every_s
        self.warn = warn

    def share(self, partition: int) -> Sharing:
        """For each time a partition is loaded: what was known of its files before may be of other files."""
        stop = threading.Event()
        objects = self._stores.at(self._group, str(partition), stop=stop)
        progress = self._progress.setdefault(partition, SharedProgress())
        return Sharing(self, partition, objects, progress, stop)

    def answers(self) -> bool:
        """Whether it makes sense to ask the store now."""
        return time.monotonic() >= self._down_until_s

    def failed(self, error: Exception) -> None:
        """Warns of an outage, once."""
        self._down_until_s = time.monotonic() + _DOWN_S
        if not self._failing:
            self._failing = True
            self.warn(f"{error}; work goes on, and each next snapshot tries again")

    def worked(self) -> None:
        """An outage is over."""
        self._down_until_s = 0.0
        if self._failing:
            self._failing = False
            self.warn("snapshots are shared again")


@dataclass(frozen=True, slots=True)
class _Offer:
    cut: dict[str, int]
    manifest: bytes
    files: dict[str, int]
    disk: Disk


class Sharing:
    """`streams.engine.ports.Shared` of one partition, from one loading of it to the next."""

    def __init__(
        self, location: Location, partition: int, objects: Objects, progress: SharedProgress, stop: threading.Event
    ) -> None:
        self.progress = progress
        self._location = location
        self._partition = partition
        self._writer = Writer(objects, number=int(time.time()), token=secrets.token_hex(4))
        self._reader = Reader(objects, location.warn)
        self._stop = stop
        self._turn = threading.Condition()
        self._offered: _Offer | None = None
        self._busy_since_s: float | None = None
        # The first is due at once: until then a partition that moves has nothing.
        self._due_s = 0.0
        self._last_until_s = 0.0
        self._shared_cut: dict[str, int] = {}

    def fetch(self, disk: Disk, usable: Callable[[Mapping[str, int]], bool]) -> bool:
        """See `streams.engine.ports.Shared`."""
        if self._partition in self._location.distrusted or not self._location.answers():
            return False
        try:
            found = self._reader.fetch(disk, usable, within_s=FETCH_S)
        except Transient as error:
            self.progress.failures += 1
            self._location.failed(error)
            return False
        self.progress.fetched += found
        return found

    def offer(
        self, cut: Mapping[str, int], manifest: bytes, files: Mapping[str, int], disk: Disk, *, last: bool
    ) -> None:
        """See `streams.engine.ports.Shared`."""
        now_s = time.monotonic()
        with self._turn:
            if self._stop.is_set() or (now_s < self._due_s and not last) or cut == self._shared_cut:
                return
            if self._busy_since_s is not None and not last:
                self.progress.skipped += 1
                return
            self._due_s = now_s + self._location.every_s
            self._last_until_s = now_s + LAST_S
            self._offered = _Offer(dict(cut), manifest, dict(files), disk)
            if self._busy_since_s is None:
                self._busy_since_s = now_s
                # A daemon: a store that hangs must not hold up the end of the process.
                threading.Thread(target=self._work, name="share", daemon=True).start()

    def copying(self) -> bool:
        """See `streams.engine.ports.Shared`."""
        since_s = self._busy_since_s
        return since_s is not None and time.monotonic() - since_s < _HOLD_S

    def distrust(self) -> None:
        """See `streams.engine.ports.Shared`."""
        self._location.distrusted.add(self._partition)
        self._stop.set()

    def drain(self) -> None:
        """See `streams.engine.ports.Shared`."""
        with self._turn:
            self._turn.wait_for(lambda: self._busy_since_s is None, max(0.0, self._last_until_s - time.monotonic()))

    def close(self) -> None:
        """See `streams.engine.ports.Shared`."""
        self._stop.set()

    def _work(self) -> None:
        """Uploads what is offered until nothing is."""
        while (offer := self._next()) is not None:
            self._upload(offer)

    def _next(self) -> _Offer | None:
        with self._turn:
            offer, self._offered = self._offered, None
            if offer is None:
                # Under the lock: an offer made from now on begins a thread of its own.
                self._busy_since_s = None
                self._turn.notify_all()
            return offer

    def _upload(self, offer: _Offer) -> None:
        before = self._writer.written_bytes
        try:
            if self._writer.put(offer.cut, offer.manifest, offer.files, offer.disk.read_synced, self._wanted):
                self._shared_cut = offer.cut
                self._location.distrusted.discard(self._partition)
                self.progress.shared += 1
                self.progress.last_s = time.time()
                self._writer.clear_away(time.monotonic())
                self._location.worked()
        except (ClickfoldError, OSError) as error:
            if self._wanted():
                self.progress.failures += 1
                self._location.failed(error)
        finally:
            self.progress.shared_bytes += self._writer.written_bytes - before

    def _wanted(self) -> bool:
        return not self._stop.is_set()

"""Shares snapshots in the background: one upload at a time. The fold waits for one only at its end, for seconds."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from schemas.errors import ClickfoldError, Transient
from streams.engine.ports import Disk, SharedProgress
from streams.state.download import Downloader
from streams.state.layout import Objects
from streams.state.upload import Uploader

# How long the last upload of a partition may take. At a rebalance the whole group waits for it: enough for what has
# come since the upload before, and half of the session timeout of 10 s.
LAST_S = 5.0
# How long fetching a partition may take. Other partitions go on meanwhile; after that, a rebuild from the log is
# faster.
FETCH_S = 60.0
# For so long after the store gave no answer, it is not asked for more partitions.
_DOWN_S = 60.0
# For so long files are kept for an upload that needs them. Then the upload fails, so that the disk does not fill up.
_HOLD_S = 300.0


class Stores(Protocol):
    """A store with a folder for each partition: `streams.state.objects.ObjectStore`."""

    def folder(self, *folders: str, stop: threading.Event) -> Objects:
        """The objects of a folder. Its calls are not tried again once `stop` is set."""
        ...


class Location:
    """The shared location as one worker sees it. It warns once in an outage, for all partitions together."""

    def __init__(self, stores: Stores, group: str, *, every_s: float, warn: Callable[[str], None]) -> None:
        self._stores = stores
        self._group = group
        self._progress: dict[int, SharedProgress] = {}
        self._failing = False
        # Partitions whose shared snapshots are correct copies of damaged files.
        self.distrusted: set[int] = set()
        self._down_until_s = 0.0
        self.every_s = every_s
        self.warn = warn

    def share(self, partition: int) -> Sharing:
        """The sharing of a partition. Call it each time the partition is loaded: its files may differ from before."""
        stop = threading.Event()
        objects = self._stores.folder(self._group, str(partition), stop=stop)
        progress = self._progress.setdefault(partition, SharedProgress())
        return Sharing(self, partition, objects, progress, stop)

    def answers(self) -> bool:
        """Whether to ask the store: not shortly after it gave no answer."""
        return time.monotonic() >= self._down_until_s

    def failed(self, error: Exception) -> None:
        """The store failed: warns if it had not failed before."""
        self._down_until_s = time.monotonic() + _DOWN_S
        if not self._failing:
            self._failing = True
            self.warn(f"{error}; the work goes on, and every further snapshot tries again")

    def worked(self) -> None:
        """The store works: warns that an outage is over, if there was one."""
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
        self._uploader = Uploader(objects, number=int(time.time()), token=secrets.token_hex(4))
        self._downloader = Downloader(objects, location.warn)
        self._stop = stop
        self._turn = threading.Condition()
        self._offered: _Offer | None = None
        self._busy_since_s: float | None = None
        # The first snapshot is due at once: before it there is nothing for the next owner of the partition.
        self._due_s = 0.0
        self._last_until_s = 0.0
        self._shared_cut: dict[str, int] = {}

    def fetch(self, disk: Disk, usable: Callable[[Mapping[str, int]], bool]) -> bool:
        """See `streams.engine.ports.Shared`."""
        if self._partition in self._location.distrusted or not self._location.answers():
            return False
        try:
            fetched = self._downloader.fetch(disk, usable, within_s=FETCH_S)
        except Transient as error:
            self.progress.failures += 1
            self._location.failed(error)
            return False
        self.progress.fetched += fetched
        return fetched

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
                # A daemon, because a store that hangs must not delay the end of the process.
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
        """Uploads one offer after another until there is none."""
        while (offer := self._next()) is not None:
            self._upload(offer)

    def _next(self) -> _Offer | None:
        with self._turn:
            offer, self._offered = self._offered, None
            if offer is None:
                # Under the lock, so that an offer that comes from now on starts a thread of its own.
                self._busy_since_s = None
                self._turn.notify_all()
            return offer

    def _upload(self, offer: _Offer) -> None:
        before = self._uploader.written_bytes
        try:
            if self._uploader.put(offer.cut, offer.manifest, offer.files, offer.disk.read_synced, self._wanted):
                self._shared_cut = offer.cut
                self._location.distrusted.discard(self._partition)
                self.progress.shared += 1
                self.progress.last_s = time.time()
                self._uploader.clear_away(time.monotonic())
                self._location.worked()
        except (ClickfoldError, OSError) as error:
            if self._wanted():
                self.progress.failures += 1
                self._location.failed(error)
        finally:
            self.progress.shared_bytes += self._uploader.written_bytes - before

    def _wanted(self) -> bool:
        return not self._stop.is_set()

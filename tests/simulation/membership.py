"""A consumer's side of the group, as librdkafka keeps it: what its own thread learns, and the callbacks that follow."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable

from tests.simulation.group import Group, Refused

Callback = Callable[[list[int]], None]


class Membership:
    """`background` is the client's thread, `serve` what the worker's `poll` lets through, one change after another."""

    def __init__(self, group: Group, slot: str, now_s: Callable[[], float], events: Counter[str]) -> None:
        self._group = group
        self._slot = slot
        self._now_s = now_s
        self._events = events
        self._id: str | None = None
        self._generation = -1
        self._joining = False
        self._rejoin = False
        self._changes: deque[tuple[str, list[int]]] = deque()
        self._serving = False
        self.owned: set[int] = set()
        self.fenced = False

    def metadata(self) -> tuple[str, str, int]:
        """(slot, member id, generation) as the client knows them now."""
        return self._slot, self._id or "", self._generation

    def background(self) -> None:
        """A heartbeat, and what its answer asks for."""
        if self.fenced:
            return
        try:
            self._beat()
        except Refused:
            self._events["fenced by its slot's successor"] += 1
            self.fenced = True

    def _beat(self) -> None:
        if self._id is None:
            if not self._changes and not self._serving:
                self._id = self._group.join(self._slot, None, (), self._now_s())
                self._joining = True
            return
        answer = self._group.heartbeat(self._slot, self._id, self._now_s())
        if answer == "unknown":
            self._id = None
            self._joining = self._rejoin = False
            self._changes.clear()
            self._changes.append(("lost", []))
        elif self._joining:
            if not self._group.awaited(self._slot):
                self._take_assignment()
        elif (answer == "rejoin" or self._rejoin) and not self._changes and not self._serving:
            self._rejoin = False
            self._group.join(self._slot, self._id, self.owned, self._now_s())
            self._joining = True

    def _take_assignment(self) -> None:
        self._joining = False
        self._generation = self._group.generation
        assigned = set(self._group.assignment[self._slot])
        if revoked := sorted(self.owned - assigned):
            self._changes.append(("revoke", revoked))
        if added := sorted(assigned - self.owned):
            self._changes.append(("assign", added))
        self._rejoin = bool(revoked)
        self._events["rebalances heard of"] += 1

    def serve(self, *, assign: Callback, revoke: Callback, lost: Callback) -> None:
        """Calls back for every change that waits."""
        while self._changes:
            kind, partitions = self._changes.popleft()
            self._serving = True
            try:
                if kind == "assign":
                    self._events["partitions assigned"] += len(partitions)
                    # As KafkaLog: owned before the owner is asked where to read them.
                    self.owned.update(partitions)
                    assign(partitions)
                elif kind == "revoke":
                    self._events["partitions revoked"] += len(partitions)
                    revoke(partitions)
                    self.owned.difference_update(partitions)
                else:
                    gone = sorted(self.owned)
                    self._events["partitions lost"] += len(gone)
                    lost(gone)
                    self.owned.clear()
            finally:
                self._serving = False

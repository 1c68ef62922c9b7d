"""One worker for each slot of a group, on whichever host: two would fence each other for ever."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

from schemas.errors import SlotTaken, Transient
from streams.kafka.admin import Admin, Member
from streams.kafka.cluster import Cluster
from streams.kafka.process import Process, client_id, has_ended, read_client_id, this_process

_LOOK_S: Final = 0.5
# A group misses a dead member after its session timeout; the coordinator may be late by a fraction of it.
_LATE: Final = 1.2
# Once may be a coordinator that restarts, or a worker that was frozen and replaced.
TWICE_S: Final = 60.0
_REMEDY: Final = "give each worker of a group its own --slot"


class Fences:
    """When a worker was fenced. `clock_s` is monotonic."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._last_s = float("-inf")

    def twice(self) -> bool:
        """Takes down that the worker is fenced now; whether that is the second time within a minute."""
        before_s, self._last_s = self._last_s, self._clock_s()
        return self._last_s - before_s < TWICE_S


class Slot:
    """A slot of a group as this process sees it. `instance_id`: what its static member is called, if it has one.

    A process that has the same slot in two groups `decides` by one of them who goes on: by both, two processes could
    end each other.
    """

    def __init__(
        self, cluster: Cluster, *, group: str, name: str, instance_id: str | None, decides: bool = True
    ) -> None:
        self.group = group
        self.name = name
        self.instance_id = instance_id
        self._decides = decides
        self._admin = Admin(cluster)
        # A client id of the user's says nothing about slots.
        self._named = "client.id" not in cluster.passed
        self._fences = Fences()

    def others(self, *, ended: Callable[[Process], bool] = has_ended) -> list[Member]:
        """The members of other processes in this slot, without those whose process has `ended`. Raises Transient."""
        return [member for member in self._admin.members(self.group) if self._is_other(member, ended)]

    def take(
        self,
        *,
        session_timeout_s: float,
        ended: Callable[[Process], bool],
        warn: Callable[[str], None] = lambda _: None,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        """Returns once no other worker is in the slot: at once if the former one is known to have ended.

        A former worker that is not known to have ended has one session timeout to be missed by the group. Raises
        SlotTaken if it still sends heartbeats then, and Transient.
        """
        until_s = 0.0
        while others := self.others(ended=ended):
            now_s = time.monotonic()
            if not until_s:
                until_s = now_s + _LATE * session_timeout_s
                warn(f"waits until the group misses {described(others)}, which has slot {self.name}")
            elif now_s > until_s:
                raise SlotTaken(
                    f"slot {self.name} of group {self.group} is taken by {described(others)}, which still sends "
                    f"heartbeats after {session_timeout_s:g} s; stop that one, or {_REMEDY}"
                )
            beat()
            time.sleep(_LOOK_S)

    def fenced(self) -> SlotTaken | None:
        """Takes down that this worker is fenced. What it ends with the second time within a minute.

        Without another member in the slot it is no fence: Kafka ends a transaction that takes too long in the same way.
        """
        if not self._decides:
            return None
        try:
            others = self.others()
        except Transient:
            others = []
        if (self._named and not others) or not self._fences.twice():
            return None
        by = f" by {described(others)}" if others else ""
        return taken_twice(f"slot {self.name} of group {self.group}", by)

    def _is_other(self, member: Member, ended: Callable[[Process], bool]) -> bool:
        said = read_client_id(member.client_id)
        same = member.instance_id == self.instance_id if member.instance_id else said and said[0] == self.name
        if not same:
            return False
        return said is None or not (said[1].id == this_process().id or ended(said[1]))

    @property
    def client_id(self) -> str:
        """What this process's member calls itself, unless the user passes another client id on."""
        return client_id(self.name)


def taken_twice(slot: str, by: str = "") -> SlotTaken:
    """What a worker ends with that was fenced twice within a minute."""
    return SlotTaken(
        f"this worker was fenced twice within a minute{by}: another worker has {slot} as well; stop one of them, or "
        f"{_REMEDY}"
    )


def described(members: Sequence[Member]) -> str:
    """The first of these members: host, and start where it says one."""
    member = members[0]
    said = read_client_id(member.client_id)
    if said is None:
        return f"a worker at {member.address}, whose start time is not known"
    started = datetime.fromtimestamp(said[1].started_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"a worker on host {said[1].host} at {member.address}, started {started}"

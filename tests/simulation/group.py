"""The group coordinator: generations, static members, sessions, and cooperative rebalancing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

SESSION_S = 10.0


class Refused(Exception):
    """The broker's answer to a request that must have no effect; `fatal` ends the client that asked."""

    def __init__(self, text: str, *, fatal: bool = False) -> None:
        super().__init__(text)
        self.fatal = fatal


class Member:
    """One slot's place in the group. `owned` is what it said it still holds when it last joined."""

    def __init__(self, member_id: str, now_s: float) -> None:
        self.member_id = member_id
        self.heard_s = now_s
        self.joined = True
        self.owned: list[int] = []


class Group:
    """Gives each partition to one slot: to a new owner only after the former one gave it up or was missed too long."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._ids = 0
        self.generation = 0
        self.rebalancing = False
        self.members: dict[str, Member] = {}
        self.assignment: dict[str, list[int]] = {}

    def join(self, slot: str, member_id: str | None, owned: Iterable[int], now_s: float) -> str:
        """JoinGroup: enters, or says again what it holds. A slot that restarts in a settled group has its place back.

        Returns the member's id; answered, in effect, once `awaited` is False.
        """
        known = self.members.get(slot)
        if known is not None and member_id is not None and known.member_id != member_id:
            raise Refused(f"slot {slot} was taken by another", fatal=True)
        if known is None or member_id is None:
            self._ids += 1
            member = self.members[slot] = Member(f"{slot}#{self._ids}", now_s)
            if known is None or self.rebalancing:
                self._rebalance()
                member.joined = True
            return member.member_id
        self._rebalance()
        known.joined, known.owned, known.heard_s = True, sorted(owned), now_s
        self._complete()
        return known.member_id

    def awaited(self, slot: str) -> bool:
        """Whether the answer to this slot's JoinGroup is still to come."""
        self._complete()
        return self.rebalancing and self.members[slot].joined

    def heartbeat(self, slot: str, member_id: str, now_s: float) -> str:
        """'' or what the member must do: 'rejoin', or give up as 'unknown'. Raises Refused when it was replaced."""
        member = self.members.get(slot)
        if member is None:
            return "unknown"
        if member.member_id != member_id:
            raise Refused(f"slot {slot} was taken by another", fatal=True)
        member.heard_s = now_s
        return "rejoin" if self.rebalancing and not member.joined else ""

    def expire(self, now_s: float) -> list[str]:
        """Removes members not heard of for a session; returns their slots."""
        gone = [slot for slot, member in self.members.items() if now_s - member.heard_s > SESSION_S]
        for slot in gone:
            del self.members[slot]
            self.assignment.pop(slot, None)
        if gone:
            self._rebalance()
            self._complete()
        return gone

    def check(self, slot: str, member_id: str, generation: int) -> None:
        """What fences: offsets are taken of a member of the present generation alone."""
        member = self.members.get(slot)
        if member is None or member.member_id != member_id:
            raise Refused(f"{member_id} is no member")
        if generation != self.generation:
            raise Refused(f"generation {generation} is over, it is {self.generation}")

    def _rebalance(self) -> None:
        if not self.rebalancing:
            self.rebalancing = True
            for member in self.members.values():
                member.joined, member.owned = False, []

    def _complete(self) -> None:
        if not self.rebalancing or not all(member.joined for member in self.members.values()):
            return
        self.rebalancing = False
        self.generation += 1
        owner = {partition: slot for slot, member in self.members.items() for partition in member.owned}
        wanted = balanced(self._partitions, {slot: member.owned for slot, member in self.members.items()})
        self.assignment = {
            slot: [partition for partition in found if owner.get(partition, slot) == slot]
            for slot, found in wanted.items()
        }


def balanced(partitions: int, owned: Mapping[str, list[int]]) -> dict[str, list[int]]:
    """Partitions by slot, as even as can be, each staying where it is if that allows."""
    if not owned:
        return {}
    slots = sorted(owned, key=lambda slot: (-len(owned[slot]), slot))
    least, more = divmod(partitions, len(slots))
    room = {slot: least + (at < more) for at, slot in enumerate(slots)}
    found = {slot: owned[slot][: room[slot]] for slot in slots}
    placed = {partition for kept in found.values() for partition in kept}
    for partition in range(partitions):
        if partition not in placed:
            slot = next(slot for slot in slots if len(found[slot]) < room[slot])
            found[slot] = sorted([*found[slot], partition])
    return found

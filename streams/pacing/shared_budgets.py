"""Budgets that several campaigns share: how much of one each campaign may spend in its day, by priority.

    committed  =  billed + in flight + leases that ad servers may still use          of each campaign
    free       =  amount − Σ committed
    by priority, highest first: each campaign is given of what is free what it can still spend, by the forecast
    of the law and by its own budget; what is left then is given in the same order up to their own budgets
    budget of a campaign  =  committed + given

So budgets never add up to more than the amount, or to what is committed already, and what a campaign of high priority
cannot spend goes to the next. A campaign whose budget is lowered keeps what its ad servers may still spend.

All campaigns of a budget must be known to who divides it. They lie in several partitions of Kafka, so one worker must
have all of these: while several share them, campaigns of shared budgets stay out. Pure, without Kafka and clock.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from itertools import groupby
from math import inf
from typing import Final, NamedTuple

# What the forecast says a campaign can spend may be too little by this part.
_MARGIN: Final = 1.2
# A budget that would change by less than this part of the amount stays, because a plan begins anew with each change.
_STEP: Final = 0.01


class Why(IntEnum):
    """Why a campaign has no part."""

    GIVEN = 0
    OUTRANKED = 1
    OTHER_DAY = 2
    APART = 3


class Member(NamedTuple):
    """A campaign of a shared budget in its local day; amounts are micros.

    `amount` is what its record says of the whole budget, `own` its own budget of the day, `able` what it can spend
    beside what is committed, by the forecast, infinite where nothing is known. `day` and `currency` are those of its
    record: the time zone says which day.
    """

    campaign_id: str
    budget_id: str
    amount: int
    priority: int
    day: str
    currency: str | None
    own: int
    committed: float
    able: float = inf


class Part(NamedTuple):
    """What a campaign may spend in the day of its shared budget, micros."""

    micros: int
    why: Why = Why.GIVEN


class SharedBudgets:
    """Divides all shared budgets of a worker again and again; keeps what it has given."""

    def __init__(self) -> None:
        self._given: dict[str, Part] = {}

    def divide(self, members: Iterable[Member], *, all_known: bool) -> dict[str, Part]:
        """The part of each. Without `all_known` there may be other members, and nobody is given anything."""
        by_budget: defaultdict[str, list[Member]] = defaultdict(list)
        for member in members:
            by_budget[member.budget_id].append(member)
        now: dict[str, Part] = {}
        for sharing in by_budget.values():
            parts = parts_of(sharing) if all_known else {each.campaign_id: Part(0, Why.APART) for each in sharing}
            amount = min(each.amount for each in sharing)
            before = {name: self._given.get(name) for name in parts}
            differ = any(_differs(before[name], part, _STEP * amount) for name, part in parts.items())
            if differ or _sum(before) > max(amount, _sum(parts)):
                now |= parts
            else:
                now |= {name: part for name, part in before.items() if part is not None}
        self._given = now
        return now


def parts_of(members: Sequence[Member]) -> dict[str, Part]:
    """How the campaigns of one budget divide it."""
    ordered = sorted(members, key=lambda each: (-each.priority, each.campaign_id))
    first = ordered[0]
    amount = min(each.amount for each in ordered)
    free = max(amount - sum(each.committed for each in ordered), 0.0)
    same = [each for each in ordered if (each.day, each.currency) == (first.day, first.currency)]
    given = {each.campaign_id: 0.0 for each in same}
    for share in (lambda each: min(_room(each), _MARGIN * each.able), _room):
        for _, rank in groupby(same, key=lambda each: each.priority):
            wanted = {each.campaign_id: max(share(each) - given[each.campaign_id], 0.0) for each in rank}
            part = min(free / max(sum(wanted.values()), 1e-9), 1.0)
            for name, micros in wanted.items():
                given[name] += micros * part
            free -= sum(wanted.values()) * part
    return {each.campaign_id: _part(each, given.get(each.campaign_id)) for each in ordered}


def _room(member: Member) -> float:
    return max(member.own - member.committed, 0.0)


def _part(member: Member, given: float | None) -> Part:
    if given is None:
        return Part(0, Why.OTHER_DAY)
    micros = int(member.committed + given)
    return Part(micros, Why.OUTRANKED if not micros and member.own else Why.GIVEN)


def _differs(before: Part | None, after: Part, step: float) -> bool:
    return before is None or before.why != after.why or abs(before.micros - after.micros) > step


def _sum(parts: Mapping[str, Part | None]) -> int:
    return sum(part.micros for part in parts.values() if part is not None)

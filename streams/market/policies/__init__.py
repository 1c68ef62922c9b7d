"""Ways to pace, by name: the law, and what others do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from schemas.errors import SettingsError
from streams.market.policies.descent import DualDescent
from streams.market.policies.former import Former
from streams.market.policies.law import LawPolicy
from streams.market.policies.shares import Hourly, LinkedIn, Pid, StopWhenBilled
from streams.market.policies.smart import SmartPacing
from streams.market.seen import Policy
from streams.pacing.law import LawSettings

POLICIES: Final[Mapping[str, tuple[str, Callable[[], Policy]]]] = {
    "law": ("the pacing law", lambda: LawPolicy(LawSettings())),
    "throttle": (
        "the pacing law with its bid multiplier held at 1",
        lambda: LawPolicy(LawSettings(hold_multiplier=True)),
    ),
    "former": ("the controller of version 0.1: proportional to spend against the plan", Former),
    "stop": ("enter every auction until the budget is billed", StopWhenBilled),
    "hourly": ("a 24th of the budget for each hour, what is left is carried over", Hourly),
    "pid": ("a PID controller on the rate of spend", Pid),
    "linkedin": ("10 % more or less every minute, by spend against the traffic so far (LinkedIn, KDD 2014)", LinkedIn),
    "smart": ("only impressions of high predicted click rate, by a threshold (smart pacing, KDD 2015)", SmartPacing),
    "descent": ("dual descent on bids (Balseiro and Gur 2019)", DualDescent),
}


def make_policy(name: str) -> Policy:
    """A new policy of this name. Raises SettingsError."""
    if name not in POLICIES:
        raise SettingsError(f"policy {name!r} is not known; choose from {', '.join(POLICIES)}")
    return POLICIES[name][1]()

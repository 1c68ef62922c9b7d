"""What the pacing law is to reach in each scenario."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from streams.market.figures import Figures


class Target(NamedTuple):
    """`within`: which measure, and the least share of feasible campaigns. `over`: the most, in click prices."""

    over: float
    within: str = ""
    share: float = 0.0
    rmse: float | None = None
    told_per_s: float | None = None
    back: float | None = None
    """Share of feasible campaigns that are on the plan again half an hour after an outage."""


TARGETS: Final[Mapping[str, Target]] = {
    "normal": Target(1.5, "2 %", 0.98, rmse=0.04, told_per_s=1.5),
    "first-day": Target(2.0, "5 %", 0.90),
    **dict.fromkeys(
        ("traffic-x10", "no-traffic", "window-30min", "window-2h", "budgets-halved"), Target(1.5, "2 %", 0.95)
    ),
    **dict.fromkeys(("prices-x2.5", "budgets-doubled", "start-18h"), Target(1.5, "2 %", 0.92)),
    **dict.fromkeys(("five-clicks", "rare-clicks"), Target(2.0, "click", 0.95)),
    **dict.fromkeys(("pctr-double", "pctr-half"), Target(1.5, "2 %", 0.98)),
    "stale-servers": Target(2.0, "2 %", 0.95),
    **dict.fromkeys(("pace-down-5min", "join-down-30min"), Target(2.0, "2 %", 0.98, back=0.98)),
    **dict.fromkeys(("pace-down-night", "join-down-night"), Target(3.0)),
    **dict.fromkeys(("asap", "asap-stale"), Target(2.0)),
}
# Clicks a unit of money on a normal day against the same law with the multiplier held at 1.
VALUE_RATIO: Final = 1.25


class Pooled(NamedTuple):
    """Figures of several seeds: shares pooled, the worst `over`, means of the rest."""

    seeds: int
    feasible: int
    within_2: float
    within_5: float
    within_click: float
    over: float
    rmse: float
    oracle_rmse: float
    value: float
    delivered: float
    told_per_s: float
    back: float


def pooled(runs: Sequence[Figures]) -> Pooled:
    """Of at least one run."""
    feasible = sum(each.feasible for each in runs)

    def share(counts: Sequence[int]) -> float:
        return sum(counts) / max(feasible, 1)

    def mean(values: Sequence[float]) -> float:
        return sum(values) / len(values)

    return Pooled(
        seeds=len(runs),
        feasible=feasible,
        within_2=share([each.within_2 for each in runs]),
        within_5=share([each.within_5 for each in runs]),
        within_click=share([each.within_click for each in runs]),
        over=max(each.over for each in runs),
        rmse=mean([each.rmse for each in runs]),
        oracle_rmse=mean([each.oracle_rmse for each in runs]),
        value=mean([each.value for each in runs]),
        delivered=mean([each.delivered for each in runs]),
        told_per_s=mean([each.told_per_s for each in runs]),
        back=share([each.back_on_plan for each in runs]),
    )


def missed(found: Pooled, target: Target) -> list[str]:
    """Which parts of a target are not reached, in words."""
    within = {"2 %": found.within_2, "5 %": found.within_5, "click": found.within_click, "": 1.0}[target.within]
    lines = []
    if within < target.share:
        lines.append(f"within {target.within} {within:.1%} < {target.share:.0%}")
    if found.over > target.over:
        lines.append(f"over {found.over:.2f} > {target.over:g}")
    if target.rmse is not None and found.rmse > target.rmse:
        lines.append(f"RMSE {found.rmse:.3f} > {target.rmse:g}")
    if target.told_per_s is not None and found.told_per_s > target.told_per_s:
        lines.append(f"decisions a second {found.told_per_s:.2f} > {target.told_per_s:g}")
    if target.back is not None and found.back < target.back:
        lines.append(f"back on plan {found.back:.1%} < {target.back:.0%}")
    return lines

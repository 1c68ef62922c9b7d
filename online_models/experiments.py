"""Two arms compared by their click rates.

Impressions are counted as independent. If users were split into arms, each with many impressions, the intervals here
are too narrow. A user who looks every hour and stops at the first verdict is wrong in more than 5 % of the cases.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec
import numpy as np

from schemas.errors import SettingsError

CONFIDENCE: Final = 0.95
# In both arms together. With fewer, one click more or less could turn the verdict.
FEWEST_CLICKS: Final = 20

Verdict = Literal["a", "b", "undecided"]


class Arm(msgspec.Struct, frozen=True):
    """Counts of one arm from the totals, which are not sampled. `clicks` are impressions with a billable click."""

    name: str
    impressions: int
    clicks: int

    def __post_init__(self) -> None:
        if self.impressions < 1 or not 0 <= self.clicks <= self.impressions:
            raise SettingsError(
                f"arm {self.name!r} has {self.clicks} clicks of {self.impressions} impressions; "
                "give an arm with impressions, and clicks from 0 to their number"
            )

    @property
    def rate(self) -> float:
        """Clicks per impression."""
        return self.clicks / self.impressions


class Interval(msgspec.Struct, frozen=True):
    """A 95 % confidence interval, both ends included."""

    low: float
    high: float


class Comparison(msgspec.Struct, frozen=True):
    """Arm b against arm a. `difference` is rate b - rate a, `lift` is `difference` / rate a; None if a has no click.

    `verdict` names the better arm only when the interval of the difference excludes 0, the p-value agrees, and the arms
    have `FEWEST_CLICKS` together. `reason` says in one sentence what was shown and what was not.
    """

    rate_a: Interval
    rate_b: Interval
    difference: float
    interval: Interval
    p_value: float
    lift: float | None
    verdict: Verdict
    reason: str


def wilson(arm: Arm) -> Interval:
    """Interval of an arm's click rate (E. B. Wilson, JASA 22, 1927)."""
    # Imported here, because statsmodels takes 2.3 s, with scipy and pandas.
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(arm.clicks, arm.impressions, alpha=1.0 - CONFIDENCE, method="wilson")
    return Interval(max(0.0, float(low)), min(1.0, float(high)))


def compare(a: Arm, b: Arm) -> Comparison:
    """Both arms' rates, their difference with Newcombe's hybrid score interval, and the score test of no difference.

    R. G. Newcombe, Statistics in Medicine 17 (1998), method 10.
    """
    from statsmodels.stats.proportion import confint_proportions_2indep, test_proportions_2indep

    counts = (b.clicks, b.impressions, a.clicks, a.impressions)
    low, high = confint_proportions_2indep(*counts, method="newcomb", compare="diff", alpha=1.0 - CONFIDENCE)
    # With no click at all, or with clicks only, the score test divides 0 by 0. No difference was seen.
    if a.clicks + b.clicks in (0, a.impressions + b.impressions):
        p_value = 1.0
    else:
        # It also computes the ratio of the rates, which is not used and may divide by zero.
        with np.errstate(divide="ignore"):
            p_value = float(test_proportions_2indep(*counts, method="score", compare="diff").pvalue)
    interval = Interval(float(low), float(high))
    verdict, reason = _verdict(a, b, interval=interval, p_value=p_value)
    difference = b.rate - a.rate
    return Comparison(
        rate_a=wilson(a),
        rate_b=wilson(b),
        difference=difference,
        interval=interval,
        p_value=p_value,
        lift=difference / a.rate if a.clicks else None,
        verdict=verdict,
        reason=reason,
    )


def _verdict(a: Arm, b: Arm, *, interval: Interval, p_value: float) -> tuple[Verdict, str]:
    span = f"{interval.low:+.4%} to {interval.high:+.4%}"
    if a.clicks + b.clicks < FEWEST_CLICKS:
        return "undecided", (f"{a.clicks} and {b.clicks} clicks are too few to tell; wait for {FEWEST_CLICKS} together")
    if p_value >= 1.0 - CONFIDENCE or interval.low <= 0.0 <= interval.high:
        return "undecided", (
            f"the difference may be anything from {span}, also nothing; that does not show that the arms are alike"
        )
    if interval.low > 0.0:
        return "b", f"{b.name} was clicked more: {span} at 95 %, counting impressions as independent"
    return "a", f"{a.name} was clicked more: {b.name} less {a.name} is {span} at 95 %, impressions as independent"

"""Two arms compared by their click rates, at any time and as often as one likes.

Intervals and p-values are those of `online_models.anytime`. When users were split into arms, each with many
impressions, an arm is given what its users add to the variance (`Users`); else impressions count as independent.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from online_models.anytime import CONFIDENCE, PLANNED, half_width, p_value, shares_p_value
from schemas.errors import SettingsError

# In both arms together. With fewer, one click more or less could turn the verdict, and no click rate is normal.
FEWEST_CLICKS: Final = 20
# Shares that are less probable than this are no chance: something is broken, and other figures are wrong as well.
BROKEN_SHARES: Final = 0.001

Verdict = Literal["a", "b", "undecided"]


class Users(msgspec.Struct, frozen=True):
    """How many users an arm has, and sums over them, of their clicks c and impressions k: of c², c·k and k².

    Where k is estimated from sampled non-clicks, as the clicks and the weights w of a user's outcomes, `doubt` is the
    sum of w² - w over these non-clicks: so much too large is the sum of k² on average. `count` is then that of users
    with a sampled non-click, so that an arm with more clicks does not have more users.
    """

    count: int
    clicks_squared: float
    products: float
    impressions_squared: float
    doubt: float = 0.0


class Arm(msgspec.Struct, frozen=True):
    """Counts of one arm from the totals, which are not sampled. `clicks` are impressions with a billable click."""

    name: str
    impressions: int
    clicks: int
    users: Users | None = None

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

    @property
    def variance(self) -> float:
        """Of `rate`.

        With users, by the delta method for a ratio of sums: Deng, Knoblich and Lu, "Applying the delta method in metric
        analytics", KDD 2018. It is never taken to be less than that of independent impressions.
        """
        if self.users is None:
            return self.independent_variance
        users, rate = self.users, self.rate
        squares = users.impressions_squared - users.doubt
        spread = users.clicks_squared - 2.0 * rate * users.products + rate * rate * squares
        return max(self.independent_variance, spread / self.impressions**2)

    @property
    def independent_variance(self) -> float:
        """Of `rate`, if impressions were independent. That of half a click is the least, so that it is never 0."""
        n = self.impressions
        rate = min(max(self.clicks, 0.5), n - 0.5) / n
        return rate * (1.0 - rate) / n


class Interval(msgspec.Struct, frozen=True):
    """A 95 % confidence sequence at one look, both ends included."""

    low: float
    high: float


class Comparison(msgspec.Struct, frozen=True):
    """Arm b against arm a. `difference` is rate b - rate a, `lift` is `difference` / rate a; None if a has no click.

    `verdict` names the better arm only when the interval of the difference excludes 0, the arms have `FEWEST_CLICKS`
    together, and their shares are as intended. `shares_p` is the probability of shares like these. `reason` says in one
    sentence what was shown and what was not.
    """

    rate_a: Interval
    rate_b: Interval
    difference: float
    interval: Interval
    p_value: float
    lift: float | None
    shares_p: float
    verdict: Verdict
    reason: str


def rate_interval(arm: Arm, *, planned: int = PLANNED) -> Interval:
    """Interval of an arm's click rate; its impressions are half of what was planned."""
    half = half_width(arm.variance, _effective(arm.impressions, arm.independent_variance, arm.variance), planned / 2)
    return Interval(max(0.0, arm.rate - half), min(1.0, arm.rate + half))


def compare(a: Arm, b: Arm, *, planned: int = PLANNED, share_b: float = 0.5) -> Comparison:
    """Both arms' rates, and their difference. `share_b` of the impressions of both were meant for arm b.

    `planned`: impressions in both arms at which the interval is to be narrowest; it must not depend on what was seen.
    """
    if not 0.0 < share_b < 1.0:
        raise SettingsError(f"share_b is {share_b}; give a share above 0 and below 1, such as 0.5")
    variance = a.variance + b.variance
    impressions = _effective(a.impressions + b.impressions, a.independent_variance + b.independent_variance, variance)
    difference, half = b.rate - a.rate, half_width(variance, impressions, planned)
    interval = Interval(max(-1.0, difference - half), min(1.0, difference + half))
    _, *divided = _divided(a, b)
    shares_p = shares_p_value(divided, [1.0 - share_b, share_b])
    verdict, reason = _verdict(a, b, interval=interval, shares_p=shares_p, share_b=share_b)
    return Comparison(
        rate_a=rate_interval(a, planned=planned),
        rate_b=rate_interval(b, planned=planned),
        difference=difference,
        interval=interval,
        p_value=p_value(difference, variance, impressions, planned),
        lift=difference / a.rate if a.clicks else None,
        shares_p=shares_p,
        verdict=verdict,
        reason=reason,
    )


def _effective(impressions: int, independent: float, variance: float) -> float:
    """How many independent impressions would give this variance: what was planned is compared with them."""
    return impressions * independent / variance


def _divided(a: Arm, b: Arm) -> tuple[str, int, int]:
    """What was divided between the arms, users if both have them or impressions, and how many each got."""
    if a.users and b.users:
        return "users", a.users.count, b.users.count
    return "impressions", a.impressions, b.impressions


def _verdict(a: Arm, b: Arm, *, interval: Interval, shares_p: float, share_b: float) -> tuple[Verdict, str]:
    span = f"{interval.low:+.4%} to {interval.high:+.4%}"
    counted, of_a, of_b = _divided(a, b)
    if shares_p < BROKEN_SHARES:
        return "undecided", (
            f"{b.name} got {of_b / (of_a + of_b):.2%} of the {counted} where {share_b:.0%} were intended, which is no "
            "chance; mend that first, as the rates are wrong as well"
        )
    if a.clicks + b.clicks < FEWEST_CLICKS:
        return "undecided", (f"{a.clicks} and {b.clicks} clicks are too few to tell; wait for {FEWEST_CLICKS} together")
    if interval.low <= 0.0 <= interval.high:
        return "undecided", (
            f"the difference may be anything from {span}, also nothing; that does not show that the arms are alike"
        )
    held = f"at {CONFIDENCE:.0%}, however often one looks, counting {counted} as independent"
    if interval.low > 0.0:
        return "b", f"{b.name} was clicked more: {span} {held}"
    return "a", f"{a.name} was clicked more: {b.name} less {a.name} is {span} {held}"

"""Statistics that stay right however often they are looked at: intervals, p-values, and the test of shares.

A confidence sequence contains the truth at all looks together with a probability of 95 %. A test of fixed size holds
that at one look that was chosen beforehand; looked at hourly for a week, it decides falsely in 36 to 53 % of tests
where there is nothing to find.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, lgamma, log, sqrt
from typing import Final

CONFIDENCE: Final = 0.95
_ALPHA: Final = 1.0 - CONFIDENCE
# Impressions, in both arms together, at which intervals are narrowest: 3.0 standard errors on each side. They are right
# at every other number too; at a tenth of it they have 3.9 standard errors, at ten times as many 3.2.
PLANNED: Final = 500_000
# How many impressions the belief is worth that shares are as intended, as in the authors' own program: deviations of
# about a hundredth are found soonest.
_SHARES_WORTH: Final = 10_000


def half_width(variance: float, impressions: float, planned: float = PLANNED) -> float:
    """Half of a 95 % confidence sequence, for an estimate that has this variance after so many impressions.

    Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and asymptotic confidence
    sequences" (2024), equation 9, with the rho of their equation 161.
    """
    scale = impressions * _rho_squared(planned)
    return sqrt(variance * 2.0 * (scale + 1.0) / scale * log(sqrt(scale + 1.0) / _ALPHA))


def p_value(difference: float, variance: float, impressions: float, planned: float = PLANNED) -> float:
    """The always-valid p-value of no difference: below 0.05 exactly when the sequence excludes 0.

    The probability that it is ever below x, when there is no difference, is at most x. Equation 155 of the same paper.
    """
    scale = impressions * _rho_squared(planned)
    if not variance:
        return 1.0
    evidence = difference * difference / variance * scale / (2.0 * (scale + 1.0)) - log(scale + 1.0) / 2.0
    return exp(-max(0.0, evidence))


def shares_p_value(counts: Sequence[int], shares: Sequence[float]) -> float:
    """The always-valid p-value that counts were drawn with these shares, given in any unit and above 0.

    One over the Bayes factor of a Dirichlet mixture around the shares: Lindon and Malek, "Anytime-valid inference for
    multinomial count data", NeurIPS 2022.
    """
    whole, total = sum(shares), sum(counts)
    evidence = lgamma(_SHARES_WORTH) - lgamma(_SHARES_WORTH + total)
    for count, share in zip(counts, shares, strict=True):
        worth = _SHARES_WORTH * share / whole
        evidence += lgamma(worth + count) - lgamma(worth) - count * log(share / whole)
    return exp(-max(0.0, evidence))


def _rho_squared(planned: float) -> float:
    """Makes the sequence narrowest at `planned` impressions."""
    return (-2.0 * log(_ALPHA) + log(-2.0 * log(_ALPHA) + 1.0)) / planned

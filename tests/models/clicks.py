"""Generated outcomes with categories, numbers, booleans and a truth that the mixture can find."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp
from random import Random

from online_models.mixture import rows
from online_models.mixture.examples import Example
from online_models.mixture.rows import Fields, Rows


def examples(count: int, *, seed: int = 1, rate_log_odds: float = -1.5, negative_weight: float = 1.0) -> list[Example]:
    """Rows a second apart. Non-clicks are kept with the inverse of their weight."""
    random = Random(seed)
    effects = {("campaign_id", f"c{value}"): random.gauss(0.0, 0.7) for value in range(5)}
    effects |= {("site", f"s{value}"): random.gauss(0.0, 0.7) for value in range(30)}
    found: list[Example] = []
    while len(found) < count:
        campaign, site = f"c{random.randrange(5)}", f"s{int(30 * random.random() ** 2)}"
        price, is_new = round(random.expovariate(0.1), 2), random.random() < 0.3
        log_odds = rate_log_odds + effects["campaign_id", campaign] + effects["site", site] + 0.5 * is_new
        log_odds += 0.5 if (campaign, site[-1]) in (("c1", "1"), ("c2", "2")) else 0.0
        label = int(random.random() < 1.0 / (1.0 + exp(-log_odds - 0.02 * price)))
        if not label and random.random() * negative_weight > 1.0:
            continue
        number = len(found)
        found.append(
            Example(
                kind="click" if label else "unclicked",
                impression_id=f"i{number}",
                ts=1_700_000_000_000 + 1_000 * number,
                label=label,
                weight=1.0 if label else negative_weight,
                campaign_id=campaign,
                creative_id=f"k{number % 7}",
                device=None if number % 3 else "phone",
                features={"site": site, "price": price, "is_new": is_new, "tag_a": True, f"tag_{site}": True},
            )
        )
    return found


def rows_of(found: Sequence[Example], known: Fields) -> Rows:
    """The rows of examples, by `slots_of` alone."""
    made = rows.rows_of(found, known)
    made.labels[:] = [-1 if each.label is None else each.label for each in found]
    made.weights[:] = [each.weight for each in found]
    return made

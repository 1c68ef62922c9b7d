"""Outcomes of impressions whose click probability is known, in the order a join would write them."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import msgspec

from schemas.bounds import JoinBounds
from schemas.codec import encode
from schemas.outcomes import Outcome
from schemas.records import Records

START_MS = 1_700_000_000_000 - 1_700_000_000_000 % 86_400_000
# Log odds per creative, placement and device, a click rate of about 3 %.
_CREATIVES = {f"creative-{k}": -4.6 + 0.4 * (k % 5) for k in range(20)}
_PLACEMENTS = {"top": 0.7, "side": 0.0, "bottom": -0.7}
_DEVICES = {"phone": 0.3, "desktop": -0.3}


def outcomes(
    count: int,
    *,
    negative_rate: float = 0.05,
    spacing_ms: int = 200,
    window_ms: int = 1_800_000,
    seed: int = 1,
    shown: bool = False,
    partitions: int = 1,
) -> list[Outcome]:
    """What a join decides of `count` impressions: clicks when they happen, a share of the rest when the window ends.

    With `shown` also that they were shown, for the same share.
    """
    random_ = random.Random(seed)
    bounds = JoinBounds(negative_rate=negative_rate, window_ms=window_ms)
    decided: list[tuple[int, int, Outcome]] = []
    for number in range(count):
        ts_ms = START_MS + number * spacing_ms
        creative, placement = random_.choice(list(_CREATIVES)), random_.choice(list(_PLACEMENTS))
        device, minutes = random_.choice(list(_DEVICES)), random_.randrange(1, 10_000)
        probability = click_probability(creative, placement, device)
        clicked, delay_ms = random_.random() < probability, random_.randrange(window_ms)
        kept = random_.random() < negative_rate
        if not clicked and not kept:
            continue
        outcome = Outcome(
            kind="click" if clicked else "unclicked",
            impression_id=f"i{number}",
            join_partition=number % partitions,
            weight=1.0 if clicked else 1 / bounds.negative_rate,
            label=1 if clicked else 0,
            click_id=f"c{number}" if clicked else None,
            click_ts=ts_ms + delay_ms if clicked else None,
            delay_ms=delay_ms if clicked else None,
            ts=ts_ms,
            campaign_id=f"campaign-{number % 3}",
            creative_id=creative,
            price_micros=1_000,
            placement=placement,
            device=device,
            pctr=0.5,
            arm="a",
            user_id=f"u{number}",
            features={"age_minutes": minutes, "returning": minutes % 2 == 0, "topic": f"t{minutes % 7}"},
        )
        if shown and kept:
            weight = 1 / bounds.negative_rate
            early = msgspec.structs.replace(
                outcome, kind="shown", label=None, weight=weight, click_id=None, click_ts=None, delay_ms=None
            )
            decided.append((ts_ms, number, early))
        decided.append((ts_ms + (delay_ms if clicked else window_ms), number, outcome))
    return [outcome for _, _, outcome in sorted(decided, key=lambda entry: entry[:2])]


def click_probability(creative: str, placement: str, device: str) -> float:
    """The truth a model should find."""
    return 1.0 / (1.0 + math.exp(-(_CREATIVES[creative] + _PLACEMENTS[placement] + _DEVICES[device])))


def true_probability(outcome: Outcome) -> float:
    """The click probability of the outcome's impression."""
    return click_probability(outcome.creative_id or "", outcome.placement or "", outcome.device or "")


def records(values: Sequence[Outcome | bytes | None], *, start: int = 0, shard: int = 0) -> Records:
    """The values as consecutive records of `outcomes`, from offset `start`."""
    data = [encode(value) if isinstance(value, Outcome) else value for value in values]
    offsets = range(start, start + len(data))
    return Records("outcomes", shard, offsets, [-1] * len(data), [b"k"] * len(data), data)

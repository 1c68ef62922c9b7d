"""A made-up stream of impressions whose click probabilities and click delays are known, with a shift half-way."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from online_models.mixture.rows import Rows, text_hash
from schemas.totals import HOUR_MS

WINDOW_MS: Final = 30 * 60_000
_START_MS: Final = 1_767_225_600_000  # 2026-01-01 UTC
# Half of the clicks come within 75 s, a hundredth after 50 minutes, which is behind the window.
_MEDIAN_MS, _LATE_MS, _LATE_PART = 75_000.0, 3_000_000.0, 0.01
_SPREAD: Final = math.log(_LATE_MS / _MEDIAN_MS) / NormalDist().inv_cdf(1.0 - _LATE_PART)
WITHIN_WINDOW: Final = NormalDist().cdf(math.log(WINDOW_MS / _MEDIAN_MS) / _SPREAD)
_CAMPAIGNS, _CREATIVES, _PLACEMENTS, _DEVICES, _COUNTRIES = 200, 1_000, 20, 4, 50
_BASE: Final = -4.9
# What the shift does to the log odds: half of the campaigns rise, half fall.
_SHIFT: Final = 0.7


@dataclass(frozen=True, slots=True)
class Stream:
    """Impressions in the order in which they were shown, one to a row of weight 1; half the time is at `half_ms`.

    `chances` are of a click within the window; `delays_ms` are those of clicks that come within it, else the window.
    """

    rows: Rows
    chances: NDArray[np.float64]
    clicked: NDArray[np.bool_]
    delays_ms: NDArray[np.int64]
    start_ms: int
    half_ms: int


def stream(seed: int, *, impressions: int, hours: int) -> Stream:
    """The stream of a seed."""
    random = np.random.default_rng(seed)
    passed_ms = np.sort(random.integers(0, hours * HOUR_MS, impressions))
    half_ms = hours * HOUR_MS // 2
    popular = (random.zipf(1.3, impressions) - 1) % _CREATIVES
    creatives = np.where(random.random(impressions) < 0.5, random.integers(0, _CREATIVES, impressions), popular)
    campaigns = creatives % _CAMPAIGNS
    placements, devices, countries = (
        random.integers(0, most, impressions) for most in (_PLACEMENTS, _DEVICES, _COUNTRIES)
    )
    hour = passed_ms // HOUR_MS % 24
    log_odds = _BASE + 0.25 * np.sin(hour / 24.0 * 2.0 * np.pi)
    for column, values, spread in (
        (campaigns, _CAMPAIGNS, 0.6),
        (creatives, _CREATIVES, 0.4),
        (placements, _PLACEMENTS, 0.4),
        (devices, _DEVICES, 0.2),
        (countries, _COUNTRIES, 0.3),
        (campaigns * _PLACEMENTS + placements, _CAMPAIGNS * _PLACEMENTS, 0.3),
    ):
        log_odds += random.normal(0.0, spread, values)[column]
    log_odds += np.where(passed_ms >= half_ms, np.where(campaigns % 2 == 0, _SHIFT, -_SHIFT), 0.0)
    chances = 1.0 / (1.0 + np.exp(-log_odds))
    delays = _MEDIAN_MS * np.exp(_SPREAD * random.normal(size=impressions))
    clicked = (random.random(impressions) < chances) & (delays <= WINDOW_MS)
    return Stream(
        rows=_rows(_START_MS + passed_ms, clicked, (campaigns, creatives, placements, countries, devices, hour)),
        chances=chances * WITHIN_WINDOW,
        clicked=clicked,
        delays_ms=np.where(clicked, delays, WINDOW_MS).astype(np.int64),
        start_ms=_START_MS,
        half_ms=_START_MS + half_ms,
    )


def _rows(ts: NDArray[np.int64], clicked: NDArray[np.bool_], columns: tuple[NDArray[Any], ...]) -> Rows:
    fields = len(columns)
    keys = [
        np.array([text_hash(str(field), str(value)) for value in range(column.max() + 1)], np.uint64)[column]
        for field, column in enumerate(columns)
    ]
    slots = len(ts) * fields
    return Rows.of(
        np.arange(0, slots + 1, fields),
        np.stack(keys, axis=1).ravel(),
        np.ones(slots),
        np.zeros(slots, np.uint8),
        np.tile(np.arange(fields), len(ts)),
        clicked.astype(np.int8),
        np.ones(len(ts)),
        ts,
    )

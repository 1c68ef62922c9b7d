"""The market that a seed draws: traffic, campaigns, click rates, the outside bidder."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from streams.market.scenario import DAY_S, Scenario

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_CONTEXTS: Final = 256
_QUANTILES: Final = 16_384
# Click delays: log-normal with this median; 99 % come within 50 minutes: ln(3000 / 75) / 2.326.
DELAY_MEDIAN_S: Final = 75.0
DELAY_SIGMA: Final = 1.586
_CLICK_RATE: Final = 0.02
_BID_MICROS: Final = 500_000.0
# The length of a request's name: see `streams.kernels.auctions.request_crc`.
_REQUEST_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class World:
    """The arrays that `streams.kernels.auctions.play` takes. `level` and `outside` are by minute of all days."""

    seed: int
    level: Floats
    outside: Floats
    alias_share: Floats
    alias: Ints
    taste: Floats
    bids: Floats
    rates: Floats
    told: Floats
    outside_scores: Floats
    delays: Floats
    crcs: npt.NDArray[np.uint64]


def campaign_ids(count: int) -> list[str]:
    """The names of a market's campaigns."""
    return [f"campaign-{number:02d}" for number in range(count)]


def drawn(scenario: Scenario, seed: int) -> World:
    """The market of a scenario and a seed. What a scenario does not change is the same in all scenarios of a seed."""
    draw, campaigns = np.random.default_rng(seed), scenario.campaigns
    weights = np.exp(draw.normal(0, 0.9, campaigns))
    alias_share, alias = _alias(weights / weights.sum())
    peak_h = draw.uniform(0, 24, campaigns)
    strength = draw.uniform(0.1, 0.5, campaigns)
    hours = np.arange(24)
    taste = (1 + strength[:, None] * np.cos((hours - peak_h[:, None]) * 2 * np.pi / 24)) / 1.5
    bids = _BID_MICROS * np.exp(draw.normal(0, 0.35, campaigns)) * scenario.bid_factor
    typical = _CLICK_RATE * np.exp(draw.normal(-0.08, 0.4, campaigns))
    context = np.exp(draw.normal(-0.125, 0.5, (campaigns, _CONTEXTS)))
    rates = np.minimum(typical[:, None] * context * scenario.rate_factor, 1.0)
    days, hourly = np.exp(draw.normal(0, 0.05, 2)), np.exp(draw.normal(0, 0.08, (2, 24)))
    if not scenario.warm_up:
        days, hourly = days[1:], hourly[1:]
    normal = _normal_quantiles(_QUANTILES)
    score = _BID_MICROS * _CLICK_RATE * scenario.bid_factor * scenario.rate_factor
    level = (scenario.auctions_per_s * days[:, None] * np.repeat(hourly, 60, 1) * diurnal()).ravel()
    outside = np.ones(len(level))
    for changed, values in ((scenario.traffic, level), (scenario.outside, outside)):
        for from_s, to_s, factor in changed:
            values[(scenario.judged_s + from_s) // 60 : (scenario.judged_s + to_s) // 60] *= factor
    return World(
        seed=seed,
        level=level,
        outside=outside,
        alias_share=alias_share,
        alias=alias,
        taste=np.ascontiguousarray(taste),
        bids=bids,
        rates=np.ascontiguousarray(rates),
        told=np.full(campaigns, scenario.pctr_factor),
        outside_scores=score * 0.8 * np.exp(0.8 * normal),
        delays=DELAY_MEDIAN_S * np.exp(DELAY_SIGMA * normal),
        crcs=np.array([moved_crc(name) for name in campaign_ids(campaigns)], np.uint64),
    )


def moved_crc(campaign_id: str) -> int:
    """What exclusive or with the CRC-32 of an 8-byte request gives the CRC-32 of campaign, NUL and request.

    CRC-32 is linear: the state after the campaign, moved on by 8 bytes, is added to that of the request alone.
    """
    zeros = bytes(_REQUEST_BYTES)
    return zlib.crc32(zeros, zlib.crc32(campaign_id.encode() + b"\0")) ^ zlib.crc32(zeros)


def diurnal() -> Floats:
    """Traffic of each minute of a day against its mean: lowest at 5 h, highest at 20 h, a shoulder at noon."""
    hour = np.arange(DAY_S // 60) / 60
    ranges = np.array([0, 2, 5, 8, 12, 15, 18, 20, 22, 24])
    values = np.array([0.7, 0.38, 0.22, 0.7, 1.2, 1.1, 1.4, 1.75, 1.35, 0.7])
    shape = np.interp(hour, ranges, values)
    return np.asarray(shape / shape.mean())


def _alias(shares: Floats) -> tuple[Floats, Ints]:
    """Walker's alias method, made by Vose's: place k keeps a draw with a probability, else it goes to its alias."""
    scaled, alias = shares * len(shares), np.arange(len(shares))
    small = [k for k in range(len(shares)) if scaled[k] < 1]
    large = [k for k in range(len(shares)) if scaled[k] >= 1]
    kept = np.ones(len(shares))
    while small and large:
        low, high = small.pop(), large.pop()
        kept[low], alias[low] = scaled[low], high
        scaled[high] -= 1 - scaled[low]
        (small if scaled[high] < 1 else large).append(high)
    return kept, alias


def _normal_quantiles(count: int) -> Floats:
    """Quantiles of the standard normal distribution, at the middle of each of `count` equal parts."""
    from statistics import NormalDist

    quantile = NormalDist().inv_cdf
    return np.array([quantile((place + 0.5) / count) for place in range(count)])

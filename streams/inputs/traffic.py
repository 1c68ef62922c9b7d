"""Generated ad traffic for benchmarks: a million impressions and their clicks in seconds, the same for the same seed.

The traffic is heavy-tailed, as real traffic is: campaigns, creatives of a campaign and placements are each chosen with
a probability of one over their rank. Both logs are in the order of arrival, which differs slightly from that of event
time. Every click matches and none is a repeat, because benchmarks measure the join of good records; tests have the bad
ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.bounds import JoinBounds
from schemas.errors import SettingsError
from streams.kafka.cluster import Cluster
from streams.kafka.sender import Sender

CAMPAIGNS: Final = 1_000
CREATIVES_PER_CAMPAIGN: Final = 50
PLACEMENTS: Final = 20
CLICK_RATE: Final = 0.01
USERS: Final = 5_000_000
# The mean delay of a click, and the longest one, which is far below the default window of 30 min.
CLICK_DELAY_MS: Final = 60_000
LONGEST_CLICK_DELAY_MS: Final = 10 * 60_000
# Events arrive half a second late on average, at most 10 s. That is below the default lateness of 2 min.
_ARRIVAL_MS: Final = 500
_LONGEST_ARRIVAL_MS: Final = 10_000
# Large enough for numpy to be fast, small enough for the two logs to advance together.
_BATCH: Final = 20_000
_COUNTRIES: Final = ("US", "JP", "DE", "GB", "FR", "BR", "IN", "KR")
_DEVICES: Final = ("mobile", "desktop", "tablet")
# About 300 bytes. Formatting prepared parts takes a third of the time of a JSON encoder.
_IMPRESSION: Final = (
    b'{"impression_id":"%b","ts":%d,"campaign_id":%b,"placement":%b,"user_id":"u%08d","pctr":0.%06d,'
    b'"model_version":"ftrl-20"}'
)
_CLICK: Final = b'{"click_id":"%b","impression_id":"%b","ts":%d}'

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Progress = Callable[[int, int], None]


class Events(NamedTuple):
    """Consecutive records of one log as columns."""

    keys: list[bytes]
    values: list[bytes]
    ts_ms: list[int]


class Filled(NamedTuple):
    """How much was sent to Kafka; `bytes` counts the values."""

    impressions: int
    clicks: int
    bytes: int


class _Due(NamedTuple):
    """Clicks that have not arrived yet: impression ids, event times, times of arrival."""

    ids: list[bytes]
    ts_ms: Ints
    arrival_ms: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """`impressions` spread evenly over `span_ms`, of which `click_rate` are clicked; event times are below `end_ms`.

    `keys` bounds how many combinations of creative and context there are, 0 for all 24 million. `more_bytes` is the
    length of a field that nobody reads. Of the impressions, the share `duplicates` is sent twice.
    """

    impressions: int
    seed: int
    end_ms: int
    span_ms: int = field(default_factory=lambda: default_span_ms(JoinBounds()))
    click_rate: float = CLICK_RATE
    keys: int = 0
    more_bytes: int = 0
    duplicates: float = 0.0

    def __post_init__(self) -> None:
        if self.impressions < 1:
            raise SettingsError(f"impressions is {self.impressions}; give at least 1")
        if not 0.0 <= self.click_rate <= 0.2:
            # The best creative in the best placement is clicked about ten times as often as the mean.
            raise SettingsError(f"click rate is {self.click_rate}; give a share from 0 to 0.2")
        if self.keys < 0 or self.more_bytes < 0 or not 0.0 <= self.duplicates <= 1.0:
            raise SettingsError(
                f"keys {self.keys}, more bytes {self.more_bytes}, duplicates {self.duplicates}: give none below 0, and "
                "a share of duplicates up to 1"
            )
        if self.span_ms < 1:
            raise SettingsError(f"span is {self.span_ms} ms; give at least 1 ms")

    def batches(self) -> Iterator[tuple[Events, Events]]:
        """Impressions and clicks that arrive in the same interval, in order of arrival.

        The result depends on the fields alone, and on numpy's generators, which a new numpy may change.
        """
        chance = np.random.default_rng(self.seed)
        inventory = _Inventory.draw(chance)
        start_ms = self.end_ms - self.span_ms - LONGEST_CLICK_DELAY_MS - _LONGEST_ARRIVAL_MS
        due = _Due([], np.empty(0, np.int64), np.empty(0, np.int64))
        for first in range(0, self.impressions, _BATCH):
            stop = min(first + _BATCH, self.impressions)
            arrival_ms = start_ms + np.arange(first, stop, dtype=np.int64) * self.span_ms // self.impressions
            shown, clicked = inventory.impressions(chance, arrival_ms, self)
            due = _with_clicks(chance, due, shown, clicked)
            shown = _doubled(chance, shown, self.duplicates)
            until_ms = start_ms + stop * self.span_ms // self.impressions if stop < self.impressions else self.end_ms
            clicks, due = _arrived(due, until_ms)
            yield shown, clicks


def default_span_ms(bounds: JoinBounds) -> int:
    """Three times window + skew + lateness: state fills, expires, and then keeps its largest size for a while."""
    return 3 * (bounds.window_ms + bounds.skew_ms + bounds.lateness_ms)


def fill(cluster: Cluster, traffic: Traffic, *, progress: Progress | None = None) -> Filled:
    """Sends traffic to the input topics, which exist, and returns when Kafka has acknowledged all of it.

    Its `end_ms` is the time of the wall clock, because the join rejects events in the future. The Kafka timestamp of a
    record is its event time. `progress` is called with the impressions sent so far and in all. Raises Transient when
    Kafka does not accept records.
    """
    sent = clicks = 0
    with Sender(cluster) as sender:
        for shown, clicked in traffic.batches():
            sender.send("impressions", zip(*shown, strict=True))
            sender.send("clicks", zip(*clicked, strict=True))
            sent += len(shown.keys)
            clicks += len(clicked.keys)
            if progress is not None:
                progress(sent, traffic.impressions)
    return Filled(sent, clicks, sender.sent_bytes)


@dataclass(frozen=True, slots=True)
class _Inventory:
    """Creatives and contexts: the JSON text of each, its share of impressions, and its relative click rate."""

    creatives: list[bytes]
    creative_shares: Floats
    creative_appeal: Floats
    contexts: list[bytes]
    context_shares: Floats
    context_appeal: Floats

    @classmethod
    def draw(cls, chance: np.random.Generator) -> _Inventory:
        campaigns = np.repeat(np.arange(CAMPAIGNS), CREATIVES_PER_CAMPAIGN)
        bids = chance.integers(100_000, 3_000_000, CAMPAIGNS)[campaigns]
        prices = (bids * chance.uniform(0.5, 1.0, bids.size)).astype(np.int64)
        creatives = [
            b'"c%04d","creative_id":"c%04d-%02d","advertiser_id":"a%03d","price_micros":%d,"bid_micros":%d'
            % (campaign, campaign, number % CREATIVES_PER_CAMPAIGN, campaign // 4, price, bid)
            for number, (campaign, price, bid) in enumerate(
                zip(campaigns.tolist(), prices.tolist(), bids.tolist(), strict=True)
            )
        ]
        places = [
            (number, country, device) for number in range(PLACEMENTS) for country in _COUNTRIES for device in _DEVICES
        ]
        contexts = [
            f'"p{number:02d}","country":"{country}","device":"{device}"'.encode() for number, country, device in places
        ]
        creative_shares = np.outer(_by_rank(CAMPAIGNS), _by_rank(CREATIVES_PER_CAMPAIGN)).ravel()
        elsewhere = np.outer(_by_rank(len(_COUNTRIES)), _by_rank(len(_DEVICES))).ravel()
        context_shares = np.outer(_by_rank(PLACEMENTS), elsewhere).ravel()
        return cls(
            creatives,
            np.cumsum(creative_shares),
            _appeal(chance, creative_shares),
            contexts,
            np.cumsum(context_shares),
            _appeal(chance, context_shares),
        )

    def impressions(self, chance: np.random.Generator, arrival_ms: Ints, traffic: Traffic) -> tuple[Events, Ints]:
        """Events that arrive at these times, and the numbers of those that are clicked."""
        count, rate = arrival_ms.size, traffic.click_rate
        creatives = _drawn(chance, self.creative_shares, count)
        contexts = _drawn(chance, self.context_shares, count)
        if traffic.keys:
            kept = (creatives * len(self.contexts) + contexts) % traffic.keys
            creatives, contexts = kept // len(self.contexts), kept % len(self.contexts)
        # In millionths. Clicks are drawn with the rounded pctr, so that predicted and observed clicks agree.
        pctr = np.minimum(rate * self.creative_appeal[creatives] * self.context_appeal[contexts] * 1e6, 999_999)
        pctr_millionths = pctr.astype(np.int64)
        clicked = np.flatnonzero(chance.random(count) * 1e6 < pctr_millionths)
        ts_ms = (arrival_ms - _delays_ms(chance, count, mean_ms=_ARRIVAL_MS, most_ms=_LONGEST_ARRIVAL_MS)).tolist()
        keys = _hex_ids(chance, count)
        # The cube makes a few users see many impressions.
        users = (chance.random(count) ** 3 * USERS).astype(np.int64)
        rows = zip(
            keys,
            ts_ms,
            map(self.creatives.__getitem__, creatives.tolist()),
            map(self.contexts.__getitem__, contexts.tolist()),
            users.tolist(),
            pctr_millionths.tolist(),
            strict=True,
        )
        values = [_IMPRESSION % row for row in rows]
        if traffic.more_bytes:
            more = b',"more":"%b"}' % (b"x" * traffic.more_bytes)
            values = [value[:-1] + more for value in values]
        return Events(keys, values, ts_ms), clicked


def _doubled(chance: np.random.Generator, events: Events, share: float) -> Events:
    """The events, and behind them a share of them again."""
    if not share:
        return events
    again = np.flatnonzero(chance.random(len(events.keys)) < share).tolist()
    return Events(
        events.keys + [events.keys[row] for row in again],
        events.values + [events.values[row] for row in again],
        events.ts_ms + [events.ts_ms[row] for row in again],
    )


def _by_rank(count: int) -> Floats:
    weights: Floats = 1.0 / np.arange(1, count + 1)
    return weights / float(weights.sum())


def _appeal(chance: np.random.Generator, shares: Floats) -> Floats:
    """The click rate of each relative to the mean; weighted by shares it is 1 on average."""
    appeal = chance.lognormal(0.0, 0.5, shares.size)
    return appeal / float(appeal @ shares)


def _drawn(chance: np.random.Generator, cumulated: Floats, count: int) -> Ints:
    # Rounding may leave the last sum just below or above 1; scaling by it keeps the index in range.
    return np.searchsorted(cumulated, chance.random(count) * float(cumulated[-1]), side="right").astype(np.int64)


def _delays_ms(chance: np.random.Generator, count: int, *, mean_ms: int, most_ms: int) -> Ints:
    delays: Floats = np.minimum(chance.exponential(mean_ms, count), most_ms)
    return delays.astype(np.int64)


def _hex_ids(chance: np.random.Generator, count: int) -> list[bytes]:
    text = chance.bytes(16 * count).hex().encode()
    return [text[start : start + 32] for start in range(0, len(text), 32)]


def _with_clicks(chance: np.random.Generator, due: _Due, shown: Events, clicked: Ints) -> _Due:
    count = clicked.size
    delays_ms = _delays_ms(chance, count, mean_ms=CLICK_DELAY_MS, most_ms=LONGEST_CLICK_DELAY_MS)
    ts_ms = np.array([shown.ts_ms[row] for row in clicked.tolist()], np.int64) + delays_ms
    arrival_ms = ts_ms + _delays_ms(chance, count, mean_ms=_ARRIVAL_MS, most_ms=_LONGEST_ARRIVAL_MS)
    return _Due(
        due.ids + [shown.keys[row] for row in clicked.tolist()],
        np.concatenate([due.ts_ms, ts_ms]),
        np.concatenate([due.arrival_ms, arrival_ms]),
    )


def _arrived(due: _Due, until_ms: int) -> tuple[Events, _Due]:
    """Clicks that arrive before `until_ms`, in order of arrival, and the remaining ones."""
    order = np.argsort(due.arrival_ms, kind="stable")
    split = int(np.searchsorted(due.arrival_ms[order], until_ms))
    now, later = order[:split].tolist(), order[split:]
    keys, ts_ms = [due.ids[row] for row in now], due.ts_ms[order[:split]].tolist()
    # An impression has at most one click, so its id reversed is a unique click id.
    values = [_CLICK % (key[::-1], key, ts) for key, ts in zip(keys, ts_ms, strict=True)]
    rest = _Due([due.ids[row] for row in later.tolist()], due.ts_ms[later], due.arrival_ms[later])
    return Events(keys, values, ts_ms), rest

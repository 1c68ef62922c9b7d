"""A bidder that obeys `ads.pacing`, and the auctions, impressions and delayed clicks of its market."""

from __future__ import annotations

import heapq
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from random import Random
from types import TracebackType
from typing import Self

import orjson
from confluent_kafka import Consumer, Producer, TopicPartition

from schemas.codec import decoder, encode
from schemas.events import Campaign
from schemas.pacing import PacingDecision
from streams.kafka.cluster import Cluster
from streams.kafka.settings import EXACT_DELIVERY, client_settings, reader_settings
from streams.pacing.gate import Gate, GateDecision

_TICK_S = 0.02
_FLUSHED_S = 60.0
# Spend follows the multiplier of bids to about this power.
_ELASTICITY = 1.5


@dataclass(frozen=True)
class Market:
    """A campaign, its auctions a second, and what its clicks cost. Each impression is clicked with `pctr`."""

    campaign: Campaign
    auctions_per_s: float
    price_micros: int
    pctr: float = 0.2

    @property
    def rate(self) -> float:
        """Expected spend a second in every auction, micros."""
        return self.auctions_per_s * self.price_micros * self.pctr


class Bidder:
    """Ad servers in a thread, until the block ends: they read `ads.pacing`, enter auctions and write what happens.

    Of each campaign every n-th impression is clicked, so that spend is what is expected: chance is no part of the
    bound. `late_s` says how long a decision takes to each server. Clicks come up to `window_s` after their impression.
    """

    def __init__(
        self,
        cluster: Cluster,
        markets: Sequence[Market],
        *,
        seed: int,
        partitions: int,
        late_s: Sequence[float] = (0.0, 2.0),
        window_s: float = 8.0,
    ) -> None:
        self._cluster, self._markets, self._random = cluster, list(markets), Random(f"bidder {seed}")
        self._partitions, self._late_s, self._window_s = partitions, late_s, window_s
        self._gates = [Gate(servers=len(late_s)) for _ in late_s]
        self._mail: list[deque[tuple[float, GateDecision]]] = [deque() for _ in late_s]
        self._due: list[tuple[float, str]] = []
        self._number = 0
        self.told: list[PacingDecision] = []
        self.newest: dict[str, PacingDecision] = {}
        self.shown_micros: Counter[str] = Counter()
        """Expected spend of what was shown, by campaign."""
        self.clicked_micros: Counter[str] = Counter()
        """What its clicks cost, those to come included, by campaign."""
        self._producer = Producer(client_settings(cluster, partitioner="murmur2_random", **EXACT_DELIVERY, linger_ms=5))
        self._stop = threading.Event()
        self._raised: list[Exception] = []
        self._thread = threading.Thread(target=self._guarded, name="bidder", daemon=True)

    def __enter__(self) -> Self:
        for market in self._markets:
            self._announce(market.campaign)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(_FLUSHED_S)
        left = self._producer.flush(_FLUSHED_S)
        if kind is None:
            self.check()
            assert left == 0, f"{left} records were not taken within {_FLUSHED_S} s"

    def check(self) -> None:
        """Raises what the thread failed with."""
        if self._raised:
            raise self._raised[0]

    def enter(self, market: Market) -> None:
        """A campaign more, from now on."""
        self._announce(market.campaign)
        self._markets = [*self._markets, market]

    def _announce(self, campaign: Campaign) -> None:
        self._producer.produce(self._cluster.topic("campaigns"), encode(campaign), campaign.campaign_id)

    def _guarded(self) -> None:
        try:
            with closing(Consumer(reader_settings(self._cluster, ends=False))) as decisions:
                topic = self._cluster.topic("pacing")
                decisions.assign([TopicPartition(topic, number, 0) for number in range(self._partitions)])
                self._bid(decisions)
        except Exception as error:  # noqa: BLE001  # raised in the thread that waits for this one
            self._raised.append(error)

    def _bid(self, decisions: Consumer) -> None:
        before_s = time.monotonic()
        auctions: dict[str, float] = {}
        while not self._stop.wait(_TICK_S):
            now_s = time.monotonic()
            self._read(decisions, now_s)
            for market in self._markets:
                name = market.campaign.campaign_id
                # What a stalled machine could not do in time is left out.
                due = auctions.get(name, 0.0) + market.auctions_per_s * min(now_s - before_s, 1.0)
                for _ in range(int(due)):
                    self._auction(market)
                auctions[name] = due - int(due)
            before_s = now_s
            while self._due and self._due[0][0] <= time.time():
                self._click(*heapq.heappop(self._due))
            self._producer.poll(0)
        # Those of later count as well: what was shown is billed, or spend above a budget would not be seen.
        while self._due:
            self._click(*heapq.heappop(self._due))

    def _read(self, decisions: Consumer, now_s: float) -> None:
        for message in decisions.consume(1_000, 0.0):
            assert message.error() is None, message.error()
            value = message.value()
            if value is None:
                continue
            decision = _decision(value)
            self.told.append(decision)
            self.newest[decision.campaign_id] = decision
            taken = GateDecision.of({name: getattr(decision, name) for name in GateDecision.__slots__})
            for mail, late_s in zip(self._mail, self._late_s, strict=True):
                mail.append((now_s + late_s * self._random.random(), taken))
        for gate, mail in zip(self._gates, self._mail, strict=True):
            while mail and mail[0][0] <= now_s:
                gate.take(mail.popleft()[1])

    def _auction(self, market: Market) -> None:
        self._number += 1
        name, request = market.campaign.campaign_id, f"r{self._number}"
        gate = self._gates[self._number % len(self._gates)]
        now_ms = round(time.time() * 1_000)
        multiplier = gate.admit(name, request, now_ms=now_ms)
        if self._random.random() >= multiplier**_ELASTICITY:
            return
        gate.shown(name, market.price_micros, market.pctr)
        impression_id = f"i{self._number:08d}"
        event = {
            "impression_id": impression_id,
            "ts": now_ms,
            "campaign_id": name,
            "creative_id": "x",
            "price_micros": market.price_micros,
            "pctr": market.pctr,
        }
        self._send("impressions", impression_id, orjson.dumps(event))
        self.shown_micros[name] += round(market.price_micros * market.pctr)
        if self.shown_micros[name] >= self.clicked_micros[name] + market.price_micros:
            self.clicked_micros[name] += market.price_micros
            delay_s = min(self._random.lognormvariate(0.3, 0.8), self._window_s)
            heapq.heappush(self._due, (now_ms / 1_000 + delay_s, impression_id))

    def _click(self, at_s: float, impression_id: str) -> None:
        click = {"click_id": f"k{impression_id}", "impression_id": impression_id, "ts": round(at_s * 1_000)}
        self._send("clicks", impression_id, orjson.dumps(click))

    def _send(self, role: str, key: str, value: bytes) -> None:
        while True:
            try:
                self._producer.produce(self._cluster.topic(role), value, key)
                return
            except BufferError:
                self._producer.poll(0.1)


_decision = decoder(PacingDecision).decode

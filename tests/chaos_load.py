"""Traffic for a chaos run: steady, in event time that is the clock, with all that real logs have.

With a source, two fifths of it go there in another form, which `SOURCE_MAPPING` describes, and records come that are
refused and that `MENDING` mends.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from random import Random
from types import TracebackType
from typing import Any, Self

import orjson
from confluent_kafka import KafkaError, Message, Producer

from schemas.codec import encode
from schemas.events import Campaign
from streams.kafka.cluster import Cluster
from streams.kafka.settings import EXACT_DELIVERY, client_settings

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Auckland")
CAMPAIGNS = [Campaign(f"c{at}", 10**9, ZONES[at % len(ZONES)], "active", "even", 1) for at in range(12)]
SOURCE_MAPPING = """
[impressions]
impression_id = "ad.request"
ts = { path = "at", unit = "us" }
campaign_id = "ad.campaign"
creative_id = "ad.banner"
price_micros = { path = "ad.cost", unit = "cents" }
pctr = { path = "ad.chance", optional = true }
placement = { path = "ad.place", optional = true }
[impressions.where]
kind = "view"
[impressions.features]
site = { path = "page.site", optional = true }

[clicks]
click_id = "id"
impression_id = "ad.request"
ts = { path = "at", unit = "us" }
[clicks.where]
kind = "click"
"""
# Also of what SOURCE_MAPPING refuses.
MENDING = SOURCE_MAPPING.replace('"at"', '["at", "seen"]')
# The beginning of the ids of impressions that are refused and can be mended.
MENDABLE = "m"
_FLUSHED_S = 60.0
_TICK_S = 0.02


class Load:
    """Impressions at a steady rate with their clicks, until the block ends; then all of it is in Kafka.

    Some are doubled, some come out of order or too late, some are broken; clicks come before and long after their
    impression, twice, or for none; now and then no clicks come for some seconds, so that an idle input is sealed.
    """

    def __init__(self, cluster: Cluster, *, seed: int, rate: int, source: str = "", patience_s: float = 120.0) -> None:
        """`source` is the topic of the other form; none without it.

        A record that Kafka does not take for longer than `patience_s` fails the run.
        """
        self._cluster = cluster
        self._source = source
        self._random = Random(f"load {seed}")
        self._rate = rate
        self.delivered: Counter[str] = Counter()
        self._failed: list[KafkaError] = []
        self._stop = threading.Event()
        self._raised: list[Exception] = []
        self._thread = threading.Thread(target=self._guarded, name="load", daemon=True)
        self._due: deque[tuple[int, str, bytes, bytes]] = deque()
        self._number = 0
        # In order and never twice, also over a restart of the broker: what is acknowledged is in the log once.
        self._producer = Producer(
            client_settings(
                cluster,
                partitioner="murmur2_random",
                **EXACT_DELIVERY,
                linger_ms=20,
                delivery_timeout_ms=round(patience_s * 1_000),
            )
        )

    def __enter__(self) -> Self:
        for campaign in CAMPAIGNS:
            self._producer.produce(self._cluster.topic("campaigns"), encode(campaign), campaign.campaign_id)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(_FLUSHED_S)
        left = self._producer.flush(_FLUSHED_S)
        if kind is None:
            if self._raised:
                raise self._raised[0]
            assert left == 0, f"{left} records were not taken within {_FLUSHED_S} s"
            assert not self._failed, f"{len(self._failed)} records were refused: {self._failed[0]}"

    def _guarded(self) -> None:
        try:
            self._produce()
        except Exception as error:  # noqa: BLE001  # raised by __exit__, in the thread that waits for it
            self._raised.append(error)

    def _produce(self) -> None:
        began_s = time.monotonic()
        made = 0
        while not self._stop.wait(_TICK_S):
            now_ms = round(time.time() * 1_000)
            due = round((time.monotonic() - began_s) * self._rate)
            # What a stalled machine could not make in time is left out, or event time would be a burst.
            made = max(made, due - self._rate)
            for _ in range(due - made):
                self._impression(now_ms)
            made = due
            silent = now_ms // 1_000 % 20 < 4
            while self._due and self._due[0][0] <= now_ms and not silent:
                self._send(*self._due.popleft()[1:])
            self._producer.poll(0)

    def _impression(self, now_ms: int) -> None:
        random = self._random
        self._number += 1
        ts = now_ms - random.choice([0] * 12 + [500, 2_000, 3_900, 9_000])
        impression_id = f"i{self._number:08d}"
        event: dict[str, Any] = {
            "impression_id": impression_id,
            "ts": ts,
            "campaign_id": f"c{random.randrange(13)}",
            "creative_id": f"x{random.randrange(5)}",
            "price_micros": 1_000 * random.randrange(50),
            "pctr": 0.01 * random.randrange(10),
            "placement": random.choice(["top", "side", None]),
        }
        if self._source:
            event["features"] = {"site": random.choice(["news", "shop", "mail"])}
        role, key, value = self._form(impression_id, event)
        for _ in range(random.choice([1] * 40 + [2, 3])):
            self._send(role, key, value)
        if random.random() < 0.08:
            self._click(event["impression_id"], ts, now_ms)

    def _form(self, impression_id: str, event: dict[str, Any]) -> tuple[str, bytes, bytes]:
        """Where an impression is sent, under which key, as what; some are broken, and some can be mended."""
        random = self._random
        key = impression_id.encode()
        if random.random() <= 0.001:
            return "impressions", key, b"{"
        if not self._source:
            return "impressions", key, orjson.dumps(event)
        if random.random() < 0.003:
            event["impression_id"] = MENDABLE + impression_id
            wrong = random.choice(["key", "form", "field"])
            if wrong == "key":
                return "impressions", b"another " + key, orjson.dumps(event)
            value = orjson.dumps(_view(event, "at" if wrong == "form" else "seen"))
            return "impressions" if wrong == "form" else "source", key, value
        if random.random() < 0.4:
            return "source", self._any_key(), orjson.dumps(_view(event, "at")) if random.random() > 0.001 else b"{"
        return "impressions", key, orjson.dumps(event)

    def _any_key(self) -> bytes:
        return f"any {self._random.randrange(50)}".encode()

    def _click(self, impression_id: str, ts: int, now_ms: int) -> None:
        random = self._random
        named = impression_id if random.random() > 0.05 else f"nobody-{self._number}"
        for again in range(random.choice([1, 1, 1, 2])):
            delay_ms = random.choice([-1_001, -1_000, -300, 0, 50, 700, 2_000, 5_000, 10_000, 10_001])
            click: dict[str, Any] = {"click_id": f"k{self._number}-{again}", "impression_id": named}
            role, key, value = "clicks", named.encode(), orjson.dumps({**click, "ts": ts + delay_ms})
            if self._source and random.random() < 0.4:
                other = {
                    "kind": "click",
                    "id": click["click_id"],
                    "ad": {"request": named},
                    "at": 1_000 * (ts + delay_ms),
                }
                role, key, value = "source", self._any_key(), orjson.dumps(other)
            at_ms = max(now_ms, ts + delay_ms) + random.choice([0, 0, 0, 1_000, 3_000])
            for _ in range(random.choice([1, 1, 1, 1, 2])):
                self._due.append((at_ms, role, key, value))

    def _send(self, role: str, key: bytes, value: bytes) -> None:
        topic = self._source if role == "source" else self._cluster.topic(role)

        def told(error: KafkaError | None, _: Message) -> None:
            if error is None:
                self.delivered[role] += 1
            else:
                self._failed.append(error)

        while True:
            try:
                self._producer.produce(topic, value, key, on_delivery=told)
                return
            except BufferError:
                # The broker is away; whoever waits here long is told by the test's own bounds.
                self._producer.poll(0.1)
                if self._stop.is_set():
                    return


def _view(event: dict[str, Any], time_field: str) -> dict[str, Any]:
    """An impression in the form of the source."""
    ad = {
        "request": event["impression_id"],
        "campaign": event["campaign_id"],
        "banner": event["creative_id"],
        "cost": f"{event['price_micros'] / 10_000:.1f}",
        "chance": event["pctr"],
        "place": event["placement"],
    }
    return {"kind": "view", time_field: 1_000 * event["ts"], "ad": ad, "page": event["features"]}

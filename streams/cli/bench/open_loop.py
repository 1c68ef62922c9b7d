"""Events at a given rate by the clock, however late the system is: no wait for it hides its delays."""

from __future__ import annotations

import heapq
import time
from dataclasses import dataclass
from random import Random
from typing import Final

from confluent_kafka import Producer

from schemas.codec import encode
from schemas.events import Campaign
from streams.kafka.cluster import Cluster
from streams.kafka.sender import Sender
from streams.kafka.settings import prompt_producer_settings

CAMPAIGNS: Final = 200
_TICK_S: Final = 0.01
_CLICKED: Final = 0.01
# A click comes this long after its impression, on average; at most ten times as long.
_CLICK_DELAY_S: Final = 0.5
_FLUSH_S: Final = 60.0
_IMPRESSION: Final = (
    b'{"impression_id":"%b","ts":%d,"campaign_id":"c%03d","creative_id":"x%02d","price_micros":%d,"advertiser_id":'
    b'"a%02d","placement":"p%02d","country":"%b","device":"%b","user_id":"u%07d","pctr":0.01,"model_version":"ftrl-1"}'
)
_CLICK: Final = b'{"click_id":"%b","impression_id":"%b","ts":%d}'
_COUNTRIES: Final = (b"US", b"JP", b"DE", b"GB", b"FR", b"BR", b"IN", b"KR")
_DEVICES: Final = (b"mobile", b"desktop", b"tablet")


@dataclass(frozen=True, slots=True)
class Sent:
    """What was sent, over how many seconds the impressions, and by how much the generator itself was late at most."""

    impressions: int
    clicks: int
    took_s: float
    latest_s: float


def announce(cluster: Cluster) -> None:
    """Writes the campaigns of the load."""
    with Sender(cluster) as sender:
        for number in range(CAMPAIGNS):
            campaign = Campaign(f"c{number:03d}", 10**12, "UTC", "active", "even", 1)
            sender.send("campaigns", [(campaign.campaign_id.encode(), encode(campaign), -1)])


def send_at_rate(cluster: Cluster, rate: float, seconds: float, seed: int) -> Sent:
    """Sends `rate` impressions a second and clicks on one in a hundred of them. Returns when Kafka has all of it.

    A click's id begins with the time at which it was due, in microseconds since 1970: latency counts from then, also
    where the producer could not keep up. Call it in a process of its own.
    """
    random = Random(seed)
    producer = Producer(prompt_producer_settings(cluster))
    topics = [cluster.topic(role) for role in ("impressions", "clicks")]
    due_clicks: list[tuple[float, bytes]] = []
    total, sent, clicks, took_s, latest_s = round(rate * seconds), 0, 0, 0.0, 0.0
    began_s = time.time()
    while sent < total or due_clicks:
        now_s = time.time()
        until = min(total, round((now_s - began_s) * rate))
        if sent < until:
            latest_s = max(latest_s, now_s - began_s - sent / rate)
        for number in range(sent, until):
            impression_id = b"%x-%x" % (seed, number)
            _produce(producer, topics[0], impression_id, _impression(random, impression_id, round(now_s * 1_000)))
            if random.random() < _CLICKED:
                delay_s = min(random.expovariate(1 / _CLICK_DELAY_S), 10 * _CLICK_DELAY_S)
                heapq.heappush(due_clicks, (began_s + number / rate + delay_s, impression_id))
        if sent < until == total:
            took_s = time.time() - began_s
        sent = until
        while due_clicks and due_clicks[0][0] <= now_s:
            due_s, impression_id = heapq.heappop(due_clicks)
            click_id = b"%d-%x" % (round(due_s * 1e6), clicks)
            value = _CLICK % (click_id, impression_id, round(now_s * 1_000))
            _produce(producer, topics[1], impression_id, value)
            clicks += 1
        producer.poll(0)
        time.sleep(max(0.0, now_s + _TICK_S - time.time()))
    producer.flush(_FLUSH_S)
    return Sent(sent, clicks, took_s, latest_s)


def due_s(click_id: str) -> float:
    """When a click of the load was due, in seconds since 1970."""
    return int(click_id.partition("-")[0]) / 1e6


def _impression(random: Random, impression_id: bytes, ts_ms: int) -> bytes:
    chance = random.random()
    # The square makes a few campaigns have most of the impressions.
    campaign = int(CAMPAIGNS * chance * chance)
    bits = random.getrandbits(40)
    return _IMPRESSION % (
        *(impression_id, ts_ms, campaign, bits % 50, 1_000 + campaign * 10, campaign // 4, bits // 50 % 20),
        *(_COUNTRIES[bits // 1_000 % 8], _DEVICES[bits // 8_000 % 3], bits % 5_000_000),
    )


def _produce(producer: Producer, topic: str, key: bytes, value: bytes) -> None:
    while True:
        try:
            producer.produce(topic, value, key)
            return
        except BufferError:
            producer.poll(0.01)

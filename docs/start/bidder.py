"""A bidder in Python: it sends what it showed, learns what was billed, and obeys the decisions on each campaign.

    python docs/start/bidder.py --kafka 127.0.0.1:9092             # what share of auctions each campaign would enter
    python docs/start/bidder.py --kafka 127.0.0.1:9092 --show 20   # first 20 impressions, half of them clicked

The same program in Java, Go and Node is in the folder `clients`.
"""

from __future__ import annotations

import argparse
import json
import time
import uuid
from collections.abc import Iterator
from random import Random
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition

ANSWER_S = 10.0
# The join waits up to 5 s for an input that is silent, and commits ten times a second.
BILLED_S = 60.0
PRICE_MICROS = 200_000
# A decision holds for its campaign's local day, which is at most 25 hours long. An hour of room for a worker that is
# started again; after that nobody paces this campaign any more.
LONGEST_MS = 26 * 3_600_000


class Topic:
    """All committed records of a topic, from the first one on and then those that follow."""

    def __init__(self, kafka: str, name: str) -> None:
        # Every bidder needs every record: partitions are assigned, no group shares them out, nothing is committed.
        self._consumer = Consumer(
            {
                "bootstrap.servers": kafka,
                "group.id": "bidder",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
            }
        )
        found = self._consumer.list_topics(name, timeout=ANSWER_S).topics[name]
        if found.error is not None or not found.partitions:
            raise SystemExit(f"topic {name} cannot be read: {found.error}")
        # Partitions that were not read to their end yet.
        self.unread = set(found.partitions)
        self._consumer.assign([TopicPartition(name, number, OFFSET_BEGINNING) for number in found.partitions])

    def read(self, wait_s: float) -> Iterator[tuple[str, bytes | None]]:
        """Key and value of what has come since the last call."""
        for message in self._consumer.consume(1_000, wait_s):
            error, key = message.error(), message.key()
            if error is None:
                yield str(key, "utf-8") if isinstance(key, bytes) else "", message.value()
            elif error.code() == KafkaError._PARTITION_EOF:
                self.unread.discard(message.partition())
            # Anything else passes by itself. Meanwhile what was read holds.


class Decisions:
    """The last decision on each campaign, read from the whole of a compacted topic and then from what follows."""

    def __init__(self, kafka: str, topic: str, *, fallback: float) -> None:
        """`fallback`: the share of auctions a campaign enters when there is no decision on it."""
        self._topic = Topic(kafka, topic)
        self._fallback = fallback
        self._last: dict[str, dict[str, Any]] = {}
        until_s = time.monotonic() + ANSWER_S
        while self._topic.unread:
            # Until every partition was read to its end, a campaign may seem to have no decision, or an old one.
            self.read(0.5)
            if time.monotonic() > until_s:
                raise SystemExit(f"topic {topic} was not read to its end within {ANSWER_S:.0f} s")

    def read(self, wait_s: float) -> None:
        """Takes what has come since the last call. Call it from the loop that serves auctions, or from a thread."""
        for campaign, value in self._topic.read(wait_s):
            if value is None:
                self._last.pop(campaign, None)
                continue
            decision = json.loads(value)
            # A worker that was replaced may still write for a moment: the higher version holds.
            if decision["version"] > self._last.get(campaign, {"version": -1})["version"]:
                self._last[campaign] = decision

    def admit(self, campaign: str, *, event_ms: int) -> float:
        """The probability with which the campaign takes part in an auction at `event_ms`."""
        decision = self._last.get(campaign)
        if decision is None or event_ms > decision["day_start"] + LONGEST_MS:
            return self._fallback
        return float(decision["admit"])

    def all(self) -> dict[str, dict[str, Any]]:
        """The last decision on each campaign."""
        return dict(sorted(self._last.items()))


def send(kafka: str, campaign: str, shown: int) -> list[str]:
    """Sends a campaign and impressions of now, every second one clicked; returns the ids of the clicked ones."""
    producer = Producer(
        {
            "bootstrap.servers": kafka,
            # As Java's. The default of librdkafka is another one: then impressions of this program would not meet the
            # clicks of a Java program.
            "partitioner": "murmur2_random",
            "enable.idempotence": True,
            # Otherwise librdkafka may lose the first records to a topic that has just been made.
            "max.in.flight.requests.per.connection": 1,
        }
    )
    now_ms = round(time.time() * 1_000)
    budget = {"campaign_id": campaign, "daily_budget_micros": 50_000_000, "version": now_ms}
    budget |= {"timezone": "Europe/Berlin", "status": "active", "pacing": "asap"}
    producer.produce("ads.campaigns", json.dumps(budget), campaign)
    clicked = []
    for number in range(shown):
        name = str(uuid.uuid4())
        impression = {"impression_id": name, "ts": now_ms, "campaign_id": campaign, "creative_id": "banner"}
        producer.produce("ads.impressions", json.dumps({**impression, "price_micros": PRICE_MICROS}), name)
        if number % 2 == 0:
            click = {"click_id": str(uuid.uuid4()), "impression_id": name, "ts": now_ms + 500}
            # The key is the impression's, so that both are in one partition.
            producer.produce("ads.clicks", json.dumps(click), name)
            clicked.append(name)
    if producer.flush(ANSWER_S):
        raise SystemExit(f"Kafka at {kafka} did not take all records within {ANSWER_S:.0f} s")
    print(f"sent {shown} impressions and {len(clicked)} clicks of campaign {campaign}")
    return clicked


def wait_for_bills(kafka: str, clicked: list[str]) -> None:
    """Waits until the join has billed a click of each of these impressions, and prints their sum."""
    outcomes, open_, billed_micros = Topic(kafka, "ads.outcomes"), set(clicked), 0
    until_s = time.monotonic() + BILLED_S
    while open_:
        for _, value in outcomes.read(0.5):
            outcome = json.loads(value or b"{}")
            if outcome.get("kind") == "click" and outcome["impression_id"] in open_:
                open_.remove(outcome["impression_id"])
                billed_micros += outcome["price_micros"]
        if time.monotonic() > until_s:
            raise SystemExit(f"{len(open_)} of {len(clicked)} clicks were not billed within {BILLED_S:.0f} s")
    print(f"billed {len(clicked)} clicks, {billed_micros / 1e6:.2f} in all")


def wait_for_decision(decisions: Decisions, campaign: str, *, clicks: int) -> None:
    """Waits until there is a decision on a campaign that knows of its clicks, and prints it."""
    until_s = time.monotonic() + BILLED_S
    while (decision := decisions.all().get(campaign)) is None or decision["clicks"] < clicks:
        decisions.read(0.5)
        if time.monotonic() > until_s:
            raise SystemExit(f"there was no decision on {campaign} within {BILLED_S:.0f} s")
    print(f"decided {campaign}: {decision['state']}, admit {decision['admit']:.3f}")


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="Thousand auctions a second for each campaign.")
    parser.add_argument("--kafka", required=True, help="brokers, host:port")
    parser.add_argument("--topic", default="ads.pacing")
    parser.add_argument("--fallback", type=float, default=0.0, help="share of auctions without a decision")
    parser.add_argument("--seconds", type=int, default=3, help="how long to go on")
    parser.add_argument("--show", type=int, default=0, help="impressions to send before")
    given = parser.parse_args()
    if given.show:
        campaign = f"python-{uuid.uuid4().hex[:8]}"
        clicked = send(given.kafka, campaign, given.show)
        wait_for_bills(given.kafka, clicked)
        wait_for_decision(Decisions(given.kafka, given.topic, fallback=0.0), campaign, clicks=len(clicked))
        return
    decisions = Decisions(given.kafka, given.topic, fallback=given.fallback)
    random = Random(1)
    for _ in range(given.seconds):
        decisions.read(1.0)
        for campaign, decision in {**decisions.all(), "nobody": None}.items():
            # The tutorial plays a past day, so "now" is the event time of the decision. A bidder asks its clock.
            now_ms = decision["event_ms"] if decision else round(time.time() * 1_000)
            admit = decisions.admit(campaign, event_ms=now_ms)
            entered = sum(random.random() < admit for _ in range(1_000))
            state = decision["state"] if decision else "no decision"
            print(f"{campaign:<8} {state:<12} admit {admit:.3f}  entered {entered:>5,} of 1,000 auctions")
        print()


if __name__ == "__main__":
    main()

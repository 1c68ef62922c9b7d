"""The part of a bidder that obeys clickfold: it keeps the last decision on each campaign and asks it before each bid.

    python docs/start/bidder.py --kafka 127.0.0.1:9092

Prints, every second, how many of a thousand auctions each campaign would enter.
"""

from __future__ import annotations

import argparse
import json
import time
from random import Random
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

ANSWER_S = 10.0
# A decision holds for its campaign's local day, which is at most 25 hours long. An hour of room for a worker that is
# started again; after that nobody paces this campaign any more.
LONGEST_MS = 26 * 3_600_000


class Decisions:
    """The last decision on each campaign, read from the whole of a compacted topic and then from what follows."""

    def __init__(self, kafka: str, topic: str, *, fallback: float) -> None:
        """`fallback`: the share of auctions a campaign enters when there is no decision on it."""
        self._topic = topic
        self._fallback = fallback
        self._last: dict[str, dict[str, Any]] = {}
        # Every bidder needs every decision: partitions are assigned, no group shares them out, nothing is committed.
        self._consumer = Consumer(
            {
                "bootstrap.servers": kafka,
                "group.id": "bidder",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
            }
        )
        found = self._consumer.list_topics(topic, timeout=ANSWER_S).topics[topic]
        if found.error is not None or not found.partitions:
            raise SystemExit(f"topic {topic} cannot be read: {found.error}")
        self._unread = set(found.partitions)
        self._consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in found.partitions])
        until_s = time.monotonic() + ANSWER_S
        while self._unread:
            # Until every partition was read to its end, a campaign may seem to have no decision, or an old one.
            self.read(0.5)
            if time.monotonic() > until_s:
                raise SystemExit(f"topic {topic} was not read to its end within {ANSWER_S:.0f} s")

    def read(self, wait_s: float) -> None:
        """Takes what has come since the last call. Call it from the loop that serves auctions, or from a thread."""
        for message in self._consumer.consume(1_000, wait_s):
            error, key, value = message.error(), message.key(), message.value()
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    self._unread.discard(message.partition())
                # Anything else passes by itself. Meanwhile the last decisions hold.
                continue
            campaign = str(key, "utf-8") if isinstance(key, bytes) else ""
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


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="Thousand auctions a second for each campaign.")
    parser.add_argument("--kafka", required=True, help="brokers, host:port")
    parser.add_argument("--topic", default="ads.pacing")
    parser.add_argument("--fallback", type=float, default=0.0, help="share of auctions without a decision")
    parser.add_argument("--seconds", type=int, default=3, help="how long to go on")
    given = parser.parse_args()
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

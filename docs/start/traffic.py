"""Three hours of made-up ad traffic for the tutorial: into files, or into Kafka as a program of yours would send it.

    python docs/start/traffic.py --folder logs
    python docs/start/traffic.py --kafka 127.0.0.1:9092

The same every time, so you see the figures the tutorial shows.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

from confluent_kafka import KafkaError, Message, Producer

START_MS = round(datetime(2026, 11, 20, tzinfo=UTC).timestamp() * 1_000)
HOURS_MS = 3 * 3_600_000
IMPRESSIONS = 20_000
# Name, share of the traffic, click rate, price of a click in euros, budget of a day in euros.
CAMPAIGNS = (
    ("books", 0.5, 0.02, 0.20, 235),
    ("shoes", 0.3, 0.03, 0.45, 1_500),
    ("travel", 0.2, 0.01, 1.10, 2_000),
)
MICROS = 1_000_000
Event = dict[str, Any]


def campaigns() -> list[Event]:
    """A budget for each campaign."""
    return [
        {
            "campaign_id": name,
            "daily_budget_micros": budget * MICROS,
            "timezone": "Europe/Berlin",
            "currency": "EUR",
            "status": "active",
            "pacing": "even",
            "version": 1,
        }
        for name, _, _, _, budget in CAMPAIGNS
    ]


def traffic() -> tuple[list[Event], list[Event]]:
    """Impressions and clicks, each in the order of its log."""
    random = Random(1)
    impressions: list[Event] = []
    clicks: list[Event] = []
    names = [campaign[0] for campaign in CAMPAIGNS]
    shares = [campaign[1] for campaign in CAMPAIGNS]
    for number in range(IMPRESSIONS):
        name, _, rate, price, _ = CAMPAIGNS[names.index(random.choices(names, shares)[0])]
        ts = START_MS + number * HOURS_MS // IMPRESSIONS
        placement = random.choice(("top", "side", "feed"))
        chance = rate * {"top": 1.6, "side": 0.4, "feed": 1.0}[placement]
        impression = {
            "impression_id": f"i{number:06d}",
            "ts": ts,
            "campaign_id": name,
            "creative_id": f"{name}-{random.randint(1, 5)}",
            "placement": placement,
            "country": random.choice(("DE", "FR", "JP")),
            "device": random.choice(("mobile", "desktop")),
            "price_micros": round(price * MICROS),
            "pctr": round(rate, 4),
        }
        impressions.append(impression)
        if random.random() < chance:
            # Two minutes on average: a window of 30 minutes holds nearly all of them, one of 3 minutes does not.
            delay_ms = round(random.expovariate(1 / 120_000))
            clicks.append(
                {"click_id": f"c{number:06d}", "impression_id": impression["impression_id"], "ts": ts + delay_ms}
            )
    clicks.sort(key=lambda click: click["ts"])
    # What real logs hold as well: a record sent twice, a second click, a click on nothing, a price that is a word.
    impressions.insert(100, impressions[99])
    clicks.insert(11, {**clicks[10], "click_id": "again"})
    clicks.insert(21, {"click_id": "stray", "impression_id": "nobody", "ts": clicks[20]["ts"]})
    impressions.insert(200, {**impressions[199], "impression_id": "bad", "price_micros": "cheap"})
    return impressions, clicks


def write(folder: Path) -> None:
    """Three files of JSON lines."""
    folder.mkdir(parents=True, exist_ok=True)
    impressions, clicks = traffic()
    for name, events in (("impressions", impressions), ("clicks", clicks), ("campaigns", campaigns())):
        text = "".join(json.dumps(event) + "\n" for event in events)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
        print(f"{folder}/{name}.jsonl: {len(events):,} lines")


def produce(kafka: str, prefix: str) -> None:
    """Sends campaigns, then impressions and clicks by their times."""
    # Java's partitioner, for all three topics: an impression and its click must come to the same partition number.
    # One request at a time: with more librdkafka can lose the first records of a partition that was just made.
    exact = {"enable.idempotence": True, "max.in.flight.requests.per.connection": 1}
    producer = Producer({"bootstrap.servers": kafka, "partitioner": "murmur2_random", **exact})
    refused: list[str] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            refused.append(error.str())

    def send(topic: str, events: Iterable[Event], key: str) -> None:
        for event in events:
            producer.produce(prefix + topic, json.dumps(event), key=event[key], on_delivery=delivered)
            producer.poll(0)

    impressions, clicks = traffic()
    send("campaigns", campaigns(), "campaign_id")
    sent = 0
    # A minute of both logs at a time. An input that runs far ahead would wait for the other.
    for until_ms in range(START_MS + 60_000, START_MS + HOURS_MS + 3_600_000, 60_000):
        for topic, log in (("impressions", impressions), ("clicks", clicks)):
            due = [event for event in log if until_ms - 60_000 <= event["ts"] < until_ms]
            send(topic, due, "impression_id")
            sent += len(due)
    producer.flush()
    if refused:
        raise SystemExit(f"{len(refused)} records were not delivered: {refused[0]}")
    print(f"sent {len(CAMPAIGNS)} campaigns, {sent:,} impressions and clicks")


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="Made-up ad traffic of three hours.")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--folder", type=Path, help="write three files into this folder")
    where.add_argument("--kafka", help="send to the brokers at these addresses, host:port")
    parser.add_argument("--prefix", default="ads.", help="start of the topic names")
    given = parser.parse_args()
    if given.folder:
        write(given.folder)
    else:
        produce(given.kafka, given.prefix)


if __name__ == "__main__":
    main()

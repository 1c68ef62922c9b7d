"""Writes `former.tar.xz`: Kafka, ClickHouse and state folders as clickfold 0.1.0 left them when it was stopped.

Run it in a checkout of the tag 0.1.0, with this file copied there: `python -m tests.former.write former.tar.xz`. The
join was stopped amid open impressions and waiting clicks; what it met is what this version decides otherwise: features
no model can use, contradictions with a later time, ids used again, deep nesting, and a late record.
"""

from __future__ import annotations

import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka import Producer

from streams.embedded.stack import Stack

# 2026-11-01T00:00Z.
T0 = 1_793_491_200_000
MINUTE_MS = 60_000
PARTITIONS = 2
COUNT = 600
# An idle input is sealed only after an hour: all that was decided follows from the records.
OPTIONS = {"join": ["--idle", "1h", "--window", "10m"], "learn": [], "pace": [], "sink": []}
KEPT = {"message.timestamp.type": "LogAppendTime", "retention.ms": "-1"}


def impression(number: int) -> dict[str, Any]:
    """One of three a second; each tenth has something special."""
    made: dict[str, Any] = {
        "impression_id": f"i{number}",
        "ts": T0 + number * 4_000,
        "campaign_id": f"c{number % 3}",
        "creative_id": f"x{number % 5}",
        "price_micros": 1_000 + number % 7,
        "features": {"slot": str(number % 4)},
    }
    match number % 50:
        case 10:
            made["features"] = {"age": None}
        case 20:
            made["features"] = {"tags": ["a"]}
        case 30:
            # Contradicts the one before, a minute later: 0.1.0 did not let it raise the watermark.
            made["impression_id"] = f"i{number - 1}"
            made["ts"] += MINUTE_MS
        case 40:
            made["more"] = deep(30)
        case 45:
            made["ts"] -= 10 * MINUTE_MS
    return made


def deep(levels: int) -> Any:
    """Lists in lists."""
    return [deep(levels - 1)] if levels else 1


def clicks(number: int) -> list[dict[str, Any]]:
    """A click on each fifth impression, a minute later; now and then a second one, or one on nothing."""
    ts = T0 + number * 4_000 + MINUTE_MS
    made = []
    if number % 5 == 0:
        made.append({"click_id": f"k{number}", "impression_id": f"i{number}", "ts": ts})
    if number % 35 == 0:
        made.append({"click_id": f"r{number}", "impression_id": f"i{number}", "ts": ts + 9})
    if number % 60 == 0:
        made.append({"click_id": f"o{number}", "impression_id": f"none{number}", "ts": ts})
    return made


def produce(bootstrap: str, first: int, stop: int) -> None:
    """Impressions and clicks with these numbers, in order."""
    producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2_random", "log_level": 0})
    for number in range(first, stop):
        events = [("impressions", impression(number)), *(("clicks", each) for each in clicks(number))]
        for topic, event in events:
            producer.produce(f"ads.{topic}", orjson.dumps(event), event["impression_id"])
    for number in range(3 if first == 0 else 0):
        campaign = {
            "campaign_id": f"c{number}",
            "daily_budget_micros": 10**9,
            "timezone": "Europe/Berlin",
            "status": "active",
            "pacing": "even",
            "version": 1,
        }
        producer.produce("ads.campaigns", orjson.dumps(campaign), f"c{number}")
    if producer.flush(60):
        raise SystemExit("the broker did not take all records")


def main(path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(Path(folder) / "former", partitions=PARTITIONS, options=OPTIONS, input_config=KEPT)
        stack.start(print)
        produce(stack.broker.bootstrap, 0, COUNT)
        time.sleep(25)
        stack.stop()
        with tarfile.open(path, "w:xz") as archive:
            for part in ("kafka", "clickhouse", "state"):
                archive.add(stack.folder / part, part)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

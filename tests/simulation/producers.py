"""What users' producers send: mostly in order; copies, contradictions, reused ids, rubbish, gaps, idle spells."""

from __future__ import annotations

from random import Random

import orjson

from schemas.records import Record
from tests.simulation.broker import INPUTS, Broker

T0 = 1_700_000_040_000 - 300

# None of these may change anything: a record of ads.seals needs its partition as key and all of its fields.
STRANGE_SEALS: list[tuple[bytes | None, bytes | None]] = [
    (b"0", b"{"),
    (b"0", None),
    (b"0", b""),
    (b"0", b"\xff"),
    (b"0", b'{"record":' + b"[" * 20_000),
    (b"0", b'{"record":"seal","input":"clicks","partition":9,"next_offset":0,"floor_ms":1800000000000,"epoch":9}'),
    (None, b'{"record":"start","epoch":999999999999}'),
    (b"x", b'{"record":"seal","input":"clicks","partition":0,"next_offset":0,"floor_ms":1800000000000,"epoch":9}'),
]


class Producers:
    """Appends a few records a call, to every input of every partition that is not idle."""

    def __init__(self, broker: Broker, random: Random, *, wrong_clocks: bool = False, features: bool = False) -> None:
        self._broker = broker
        self._random = random
        self._event_ms = T0
        self._made = 0
        self._features = features
        self._idle: set[str] = set()
        self._reuse = random.choice([9, 40, 80])
        self._wrong_clocks = random.choice([0.0, 0.02, 0.3]) if wrong_clocks else 0.0

    def produce(self) -> None:
        random = self._random
        if random.random() < 0.1:
            self._idle = set(random.sample(INPUTS, random.choice([0, 0, 1, 1, 2])))
        self._event_ms += random.choice([0, 1, 5, 20, 40])
        if random.random() < 0.03:
            # A quarter-hour on: its totals become final, and rebuilding need not begin at the log's start.
            self._event_ms += 900_000
        if random.random() < 0.01:
            # Somebody writes into a topic that is clickfold's own.
            partition = random.randrange(self._broker.partitions)
            key, value = random.choice(STRANGE_SEALS)
            self._broker.append_seal(partition, key, value)
        for log, partition in self._broker.inputs:
            if log not in self._idle and random.random() < 0.6:
                self._append(log, partition)

    def value(self, log: str, event: dict[str, object]) -> bytes:  # for other forms
        """The value of an event."""
        return orjson.dumps(event)

    def _append(self, log: str, partition: int) -> None:
        random = self._random
        ts = self._event_ms + random.choice([0, 0, 0, -5, -19, -20, -21, 15, -90, 60])
        if random.random() < self._wrong_clocks:
            ts += random.choice([400, 3_000_000, 10_000_000_000])
        # Ids come again soon, and behind the dedupe horizon.
        number = max(0, self._made - random.choice([0, 0, 1, 2, 5, 9, self._reuse]))
        impression_id = f"{partition}-{number}"
        event: dict[str, object] = {"impression_id": impression_id, "ts": ts}
        if log == "impressions":
            event |= {"campaign_id": f"c{number % 3}", "creative_id": "x", "price_micros": 10 + number % 2}
            if self._features and number % 5:
                event["features"] = {"site": f"s{number % 2}", "slot": number % 3, "price": None if number % 7 else 0.5}
        else:
            event |= {"click_id": f"k{self._made - random.choice([0, 0, 3, self._reuse])}"}
        self._made += 1
        source = self._broker.inputs[log, partition]
        key: bytes | None = impression_id.encode()
        value: bytes | None = self.value(log, event) if random.random() > 0.05 else b"{"
        if source.records and random.random() < 0.15:
            copied = random.choice(source.records[-8:])
            key, value = copied.key, copied.value
        # Gaps are what compaction, aborted transactions and their markers leave.
        source.append(Record(source.end + random.choice([0, 0, 2]), -1, key, value))
        if random.random() < 0.05:
            source.end += 1

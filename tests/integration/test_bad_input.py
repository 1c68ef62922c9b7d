"""Bad records on the real broker: each is set aside with its reason and where it is, counted, and work goes on."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import NamedTuple

import orjson
import pytest
import xxhash
from confluent_kafka import Producer

from schemas.codec import decode
from schemas.events import MAX_PRICE_MICROS, MAX_RECORD_BYTES, MAX_TS_MS
from schemas.outcomes import Outcome
from schemas.rejects import Reason, Rejected
from schemas.totals import Ledger
from streams.embedded.broker import Broker
from streams.kafka.admin import REPLAYED, Admin
from streams.kafka.cluster import Cluster
from streams.kafka.reads import read_all
from streams.kafka.settings import EXACT_DELIVERY, client_settings
from tests.factories import T0
from tests.factories import click_json as click
from tests.factories import impression_json as impression
from tests.integration.test_settings_errors import environment, running
from tests.waiting import eventually

# Not the first, so that no coordinate is right by being left out.
PARTITION = 1
FUTURE_MS = 60_000
LATENESS_MS = 120_000


class Sent(NamedTuple):
    """A record, and what becomes of it: a reason, or the name of a count in the ledger."""

    key: str | None
    value: bytes | None
    fate: Reason | str
    record_ts_ms: int = T0


def padded(size: int) -> bytes:
    """A good impression of exactly `size` bytes: unknown fields are passed over, whatever they hold."""
    return impression("padded", note="x" * (size - len(impression("padded", note=""))))


IMPRESSIONS = [
    Sent("a", impression(), "accepted"),
    Sent("a", b'{"impression_id":', Reason.UNDECODABLE),
    Sent("a", b"", Reason.UNDECODABLE),
    Sent("a", b"[]", Reason.UNDECODABLE),
    Sent("a", b'{"impression_id":"\xff"}', Reason.UNDECODABLE),
    Sent("a", b'{"unknown":' + b"[" * 100_000, Reason.TOO_DEEP),
    Sent(
        "a", orjson.dumps({"impression_id": "a", "ts": T0, "creative_id": "x", "price_micros": 5}), Reason.UNDECODABLE
    ),
    Sent("a", impression(price_micros="5"), Reason.UNDECODABLE),
    Sent("a", impression(price_micros=5.5), Reason.UNDECODABLE),
    Sent("a", impression(price_micros=-1), Reason.UNDECODABLE),
    Sent("a", impression(price_micros=MAX_PRICE_MICROS + 1), Reason.UNDECODABLE),
    Sent("top", impression("top", price_micros=MAX_PRICE_MICROS), "accepted"),
    Sent("a", impression(ts=T0 // 1_000), Reason.UNDECODABLE),
    Sent("a", impression(ts=MAX_TS_MS + 1), Reason.UNDECODABLE),
    Sent("", impression(""), Reason.UNDECODABLE),
    Sent("7", impression(7), Reason.UNDECODABLE),
    Sent("a", impression(campaign_id=""), Reason.UNDECODABLE),
    Sent("padded", padded(MAX_RECORD_BYTES), "accepted"),
    Sent("padded", padded(MAX_RECORD_BYTES + 1), Reason.TOO_LARGE),
    Sent("a", None, Reason.TOMBSTONE),
    Sent("other", impression(), Reason.KEY),
    Sent(None, impression(), Reason.KEY),
    Sent("edge", impression("edge", T0 + FUTURE_MS), "accepted"),
    Sent("ahead", impression("ahead", T0 + FUTURE_MS + 1), Reason.FUTURE),
    Sent("a", impression(price_micros=6), Reason.CONFLICT),
    Sent("a", impression(), "duplicate"),
    Sent("old", impression("old", T0 + FUTURE_MS - LATENESS_MS), "accepted"),
    Sent("late", impression("late", T0 + FUTURE_MS - LATENESS_MS - 1), Reason.LATE),
    Sent("b", impression("b", country=None, of_tomorrow={"is": "passed over"}), "accepted"),
]
CLICKS = [
    Sent("a", b"nonsense", Reason.UNDECODABLE),
    Sent("a", orjson.dumps({"impression_id": "a", "ts": T0}), Reason.UNDECODABLE),
    Sent("a", click("", "a"), Reason.UNDECODABLE),
    Sent("a", click("k1", "a", str(T0)), Reason.UNDECODABLE),
    Sent("k1", click("k1", "a"), Reason.KEY),
    Sent("a", None, Reason.TOMBSTONE),
    Sent("a", click("k1", "a", T0 + FUTURE_MS + 1), Reason.FUTURE),
    Sent("a", click("k1", "a", T0 + 1), "accepted"),
    Sent("a", click("k1", "a", T0 + 2), Reason.CONFLICT),
    Sent("b", click("k2", "b", T0 + 1), "accepted"),
]


def produce(cluster: Cluster, role: str, records: list[Sent]) -> None:
    producer = Producer(client_settings(cluster, **EXACT_DELIVERY, message_max_bytes=1_000_000))
    for record in records:
        producer.produce(cluster.topic(role), record.value, record.key, PARTITION, timestamp=record.record_ts_ms)
    assert producer.flush(30) == 0


def last_ledger(cluster: Cluster) -> Ledger | None:
    values = read_all(cluster, "ledger", PARTITION)
    return decode(values[-1], Ledger) if values else None


def consumed(cluster: Cluster) -> tuple[int, int]:
    ledger = last_ledger(cluster)
    if ledger is None:
        return 0, 0
    # What waits for confirmation is decided once the input is idle.
    return ledger.impressions.consumed - ledger.impressions.held, ledger.clicks.consumed - ledger.clicks.held


@pytest.mark.broker
def test_each_bad_record_is_set_aside_with_reason_and_coordinates_and_work_goes_on(
    broker: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    cluster = Cluster(broker.bootstrap, prefix=topic_prefix)
    # With CreateTime, so that a record's own timestamp can contradict its `ts`.
    Admin(cluster).create(partitions=2, input_config=REPLAYED)
    produce(cluster, "impressions", IMPRESSIONS)
    produce(cluster, "clicks", CLICKS)
    with running(environment(cluster, tmp_path), "join") as (worker, _):
        eventually(lambda: consumed(cluster), equals=(len(IMPRESSIONS), len(CLICKS)), what="all records in the ledger")
        worker.process.send_signal(signal.SIGTERM)
        assert worker.ended()[0] == 0
    letters = [decode(value, Rejected) for value in read_all(cluster, "rejects", 0)]
    for role, sent in (("impressions", IMPRESSIONS), ("clicks", CLICKS)):
        own = {letter.offset: letter for letter in letters if letter.topic == cluster.topic(role)}
        assert {offset: letter.reason for offset, letter in own.items()} == {
            offset: record.fate for offset, record in enumerate(sent) if isinstance(record.fate, Reason)
        }
        for offset, letter in own.items():
            assert_recognisable(letter, sent[offset])
    assert len(letters) == sum(isinstance(record.fate, Reason) for record in [*IMPRESSIONS, *CLICKS])
    assert_counted(last_ledger(cluster))
    outcomes = [decode(value, Outcome) for value in read_all(cluster, "outcomes", 0)]
    assert {(one.kind, one.impression_id, one.click_id) for one in outcomes} == {
        ("click", "a", "k1"),
        ("click", "b", "k2"),
    }


def assert_recognisable(letter: Rejected, sent: Sent) -> None:
    whole = sent.value or b""
    assert (letter.partition, letter.record_ts_ms) == (PARTITION, sent.record_ts_ms)
    assert (letter.length, letter.xxh3) == (len(whole), xxhash.xxh3_64_hexdigest(whole))
    assert letter.prefix == whole[:1024]
    assert letter.detail


def assert_counted(ledger: Ledger | None) -> None:
    assert ledger is not None
    assert ledger.imbalance() == ""
    for counts, sent in ((ledger.impressions, IMPRESSIONS), (ledger.clicks, CLICKS)):
        late = sum(record.fate == Reason.LATE for record in sent)
        rejected = sum(isinstance(record.fate, Reason) for record in sent) - late
        expected = {name: sum(record.fate == name for record in sent) for name in ("accepted", "duplicate")}
        assert (counts.accepted, counts.duplicate) == (expected["accepted"], expected["duplicate"])
        assert (counts.consumed, counts.late, counts.rejected) == (len(sent), late, rejected)

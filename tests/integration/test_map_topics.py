"""`clickfold map` on topics: what it guesses of the newest records, and how far their event time is out of order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import Producer

from streams.embedded.broker import Broker
from streams.kafka.admin import REPLAYED, Admin
from streams.kafka.cluster import Cluster
from streams.kafka.settings import EXACT_DELIVERY, client_settings
from tests.test_fold_command import run_here
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.broker
T0_S = 1_700_000_000


@pytest.fixture
def topic(broker: Broker, topic_prefix: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A topic of three partitions whose records keep the times that producers give."""
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", broker.bootstrap)
    name = f"{topic_prefix}shop.events"
    Admin(Cluster(broker.bootstrap)).create_topic(name, partitions=3, config=REPLAYED)
    return name


def produce(broker: Broker, topic: str, records: list[tuple[int, int, bytes]]) -> None:
    """Partition, arrival in seconds and value of each record."""
    producer = Producer(client_settings(Cluster(broker.bootstrap), **EXACT_DELIVERY))
    for partition, arrived_s, value in records:
        producer.produce(topic, value, partition=partition, timestamp=arrived_s * 1_000)
    assert producer.flush(PATIENCE_S) == 0


def event(number: int, *, kind: str = "show") -> bytes:
    fields: dict[str, Any] = {"event": f"ad_{kind}", "imp_id": f"i{number}", "time": T0_S + number}
    if kind == "show":
        fields |= {"campaign": "c1", "creative": f"x{number % 3}", "cpc": 0.25}
    return orjson.dumps(fields)


def mixed(*, slow_s: int = 0) -> list[tuple[int, int, bytes]]:
    """A view a second in each of two partitions in turn, and clicks in the third; partition 1 arrives later."""
    records = []
    for number in range(200):
        partition = number % 2
        records.append((partition, T0_S + number + (slow_s if partition else 0), event(number)))
        if number % 4 == 0:
            click = orjson.loads(event(number, kind="click")) | {"time": T0_S + number + 5, "click": f"k{number}"}
            records.append((2, T0_S + number + 5, orjson.dumps(click)))
    return records


def test_a_mapping_that_is_guessed_from_a_topic_joins_its_records(broker: Broker, topic: str, tmp_path: Path) -> None:
    produce(broker, topic, mixed())
    guessed = tmp_path / "guessed.toml"
    assert run_here("guess", f"kafka:{topic}", "-o", guessed, command="map").code == 0
    assert f"# From topic {topic}." in guessed.read_text()
    given = ("--impressions", f"kafka:{topic}", "--clicks", f"kafka:{topic}", "--map", guessed, "--json")
    done = run_here("check", *given, command="map")
    assert done.code == 0, done.err.decode()
    found = orjson.loads(done.out)
    assert (found["impressions"]["accepted"], found["clicks"]["accepted"], found["joined_share"]) == (200, 50, 1.0)
    assert (found["delay_ms"]["0.5"], found["suggested"]["--window"]) == (5_000, "5s")
    assert found["sources"] == {"impressions": 2, "clicks": 1}


def test_a_source_that_is_behind_the_others_is_measured_across_them(broker: Broker, topic: str, tmp_path: Path) -> None:
    produce(broker, topic, mixed(slow_s=40))
    guessed = tmp_path / "guessed.toml"
    run_here("guess", f"kafka:{topic}", "-o", guessed, command="map")
    given = ("--impressions", f"kafka:{topic}", "--clicks", f"kafka:{topic}", "--map", guessed)
    said = run_here("check", *given, command="map").out.decode()
    # Within a partition all is in order. The other one is 40 s behind, less the second between two views.
    assert "event time is behind by up to 0.000 s within one of 2 sources, 39.000 s across" in said
    assert "--lateness 1m" in said


def test_only_the_newest_records_are_read_of_each_partition(broker: Broker, topic: str, tmp_path: Path) -> None:
    produce(broker, topic, mixed())
    guessed = tmp_path / "guessed.toml"
    run_here("guess", f"kafka:{topic}", "-o", guessed, command="map")
    given = ("--impressions", f"kafka:{topic}", "--clicks", f"kafka:{topic}", "--map", guessed, "--sample", 30)
    said = run_here("check", *given, command="map").out.decode()
    assert "impressions: 20 accepted, 0 refused" in said
    assert f"  {topic}[0] offset 90: " in said


def test_topics_that_are_missing_empty_or_no_json_are_said_to_be(broker: Broker, topic: str, tmp_path: Path) -> None:
    def refusal(*arguments: object) -> str:
        done = run_here(*arguments, command="map")
        assert done.code == 2
        return done.err.decode()

    assert f"topic {topic}s does not exist; is it {topic}?" in refusal("guess", f"kafka:{topic}s")
    assert f"topic {topic} has no records" in refusal("guess", f"kafka:{topic}")
    produce(broker, topic, [(0, T0_S, b"\x00\x00\x00\x00\x07\x02a"), (1, T0_S, b"\x00\x00\x00\x00\x07\x02b")])
    said = refusal("guess", f"kafka:{topic}")
    assert "if schema 7 of a registry describes it, set SCHEMA_REGISTRY_URL" in said
    file = tmp_path / "i.jsonl"
    file.write_bytes(event(1) + b"\n")
    both = refusal("check", "--impressions", f"kafka:{topic}", "--impressions", file, "--clicks", file)
    assert "--impressions names files and topics; give either" in both
    fold = run_here("--impressions", f"kafka:{topic}", "--clicks", file).err.decode()
    assert "it names a topic, which only `clickfold map guess` and `clickfold map check` read so" in fold


def test_values_that_a_registry_has_marked_as_json_are_read(broker: Broker, topic: str) -> None:
    produce(broker, topic, [(number % 3, T0_S, b"\x00\x00\x00\x00\x07" + event(number)) for number in range(30)])
    done = run_here("guess", f"kafka:{topic}", command="map")
    assert done.code == 0, done.err.decode()
    assert 'impression_id = "imp_id"' in done.out.decode()

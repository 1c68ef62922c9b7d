"""CloudEvents with headers on the real broker: each command that reads a source makes the same of both modes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import orjson
import pytest
from confluent_kafka import Producer

from schemas.codec import decode
from schemas.errors import SettingsError
from schemas.rejects import Reason, Rejected
from streams.embedded.broker import Broker
from streams.engine.pace import Pace
from streams.ingest.schemas import reading
from streams.ingest.source import Source
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.reads import read_all, read_log
from streams.kafka.settings import EXACT_DELIVERY, client_settings
from streams.mapping.compiled import Compiled
from streams.mapping.language import read_mapping
from streams.mapping.mending import Mender
from streams.redrive.letters import Letters
from streams.redrive.run import Redrive
from streams.verify.ingested import IngestVerification
from streams.worker.ingest import IngestSettings, ingest_runner
from tests.ingesting import EVENTS_MAPPING, Message, binary, event, source, structured, view
from tests.test_fold_command import run_here
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.broker
EVENTS = [event(at, kind="click" if at % 3 == 0 else "view") for at in range(2_000)]
SOURCES = ("structured", "binary", "mixed", "plain")


def topic(cluster: Cluster, name: str) -> str:
    """Without the prefix in front, by which commands know the topics of clickfold itself."""
    return f"source-{cluster.prefix}{name}"


@pytest.fixture
def cluster(broker: Broker, topic_prefix: str) -> Cluster:
    made = Cluster(broker.bootstrap, prefix=topic_prefix)
    admin = Admin(made)
    admin.create(partitions=1)
    for name in SOURCES:
        admin.create_topic(topic(made, name), partitions=1, config={})
    return made


def produce(cluster: Cluster, name: str, messages: Sequence[Message]) -> None:
    producer = Producer(client_settings(cluster, **EXACT_DELIVERY, compression_type="lz4"))
    for value, headers in messages:
        producer.produce(topic(cluster, name), value, headers=[*headers])
    assert producer.flush(PATIENCE_S) == 0


def ingested(cluster: Cluster, tmp_path: Path, sources: list[Source]) -> IngestSettings:
    """The settings of a worker that has read all there is."""
    settings = IngestSettings(
        cluster=cluster, sources=sources, group=cluster.group("ingest"), state_dir=tmp_path, pace=Pace(commit_s=0.02)
    )
    with ingest_runner(settings, print) as runner:
        runner.run(lambda: False, lambda: True)
    return settings


def of_events(cluster: Cluster, name: str) -> Source:
    return source(EVENTS_MAPPING, topic(cluster, name))


def letters(cluster: Cluster) -> list[Rejected]:
    return [decode(value, Rejected) for value in read_all(cluster, "rejects", 0)]


def test_events_in_both_modes_give_identical_records_beside_a_source_without_headers(
    cluster: Cluster, tmp_path: Path
) -> None:
    produce(cluster, "structured", [structured(each) for each in EVENTS])
    produce(cluster, "binary", [binary(each) for each in EVENTS])
    produce(cluster, "mixed", [(structured, binary)[at % 2](each) for at, each in enumerate(EVENTS)])
    # Its headers mean nothing: its mapping does not want them.
    produce(cluster, "plain", [(orjson.dumps(view(at)), binary(EVENTS[1])[1]) for at in range(10_000, 10_050)])
    modes = [of_events(cluster, name) for name in SOURCES[:3]]
    settings = ingested(cluster, tmp_path, [*modes, source(topic=topic(cluster, "plain"))])
    found = Counter(
        (log, record.key, record.value) for log in ("impressions", "clicks") for record in read_log(cluster, log, 0)
    )
    times = Counter(found.values())
    assert times == {3: len(EVENTS), 1: 50}
    assert letters(cluster) == []
    check = IngestVerification(cluster, settings.group, settings.sources, None).check(max_shown=3)
    assert (check.differing, check.compared) == (0, 3 * len(EVENTS) + 50)
    # Read without their headers, the events in binary mode are of no input.
    blind = source(EVENTS_MAPPING.replace("headers = true", ""), topic(cluster, "binary"))
    assert IngestVerification(cluster, settings.group, [blind], None).check(max_shown=0).compared == 0


def test_a_batch_is_a_dead_letter_and_a_refused_event_in_binary_mode_is_redriven(
    cluster: Cluster, tmp_path: Path
) -> None:
    batch: Message = (orjson.dumps(EVENTS[:2]), [("content-type", b"application/cloudevents-batch+json")])
    dear = EVENTS[1] | {"data": EVENTS[1]["data"] | {"cost": "much"}}
    produce(cluster, "binary", [binary(EVENTS[2]), batch, binary(dear)])
    ingested(cluster, tmp_path, [of_events(cluster, "binary")])
    assert [(each.reason, each.offset) for each in letters(cluster)] == [(Reason.HEADERS, 1), (Reason.MAPPING, 2)]
    assert "Kafka's binding has none: send each event as a record" in letters(cluster)[0].detail
    file = read_mapping(EVENTS_MAPPING.replace('{ path = "data.cost", unit = "units" }', "{ constant = 7 }"), "m.toml")
    inputs = {log: Compiled(one) for log, one in file.inputs.items()}
    mender = Mender(inputs, file.digest, reading(inputs.values(), None, with_headers=file.headers))
    redriven = Redrive(cluster, mender, lateness_ms=1_000).run(Letters(cluster))
    assert dict(redriven.sent) == {"impressions": 1}
    assert redriven.refused[Reason.HEADERS].detail == letters(cluster)[0].detail
    sent = orjson.loads(read_all(cluster, "impressions", 0)[-1])
    assert (sent["impression_id"], sent["price_micros"]) == ("r1", 7)


def test_a_mapping_is_guessed_and_checked_with_the_headers_of_a_topic(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", cluster.bootstrap)
    produce(cluster, "binary", [binary(each) for each in EVENTS])
    produce(cluster, "structured", [structured(each) for each in EVENTS])
    guessed = [
        run_here("guess", f"kafka:{topic(cluster, name)}", command="map").out.decode()
        for name in ("binary", "structured")
    ]
    assert "\nheaders = true\n" in guessed[0]
    assert 'campaign_id = "campaign"' in guessed[0]
    # Nothing but the name of the topic and the line differs.
    plain = guessed[0].replace(topic(cluster, "binary"), topic(cluster, "structured"))
    assert [line for line in plain.split("\n") if "eaders" not in line and line] == [
        line for line in guessed[1].split("\n") if line
    ]
    mapping = tmp_path / "m.toml"
    mapping.write_text(EVENTS_MAPPING)
    both = ("--impressions", f"kafka:{topic(cluster, 'binary')}", "--clicks", f"kafka:{topic(cluster, 'binary')}")
    checked = run_here("check", *both, "--map", mapping, "--json", command="map")
    # No click of these is of one of the impressions.
    assert checked.code == 3, checked.err.decode()
    found = orjson.loads(checked.out)
    assert (found["impressions"]["accepted"], found["clicks"]["accepted"]) == (1_333, 667)


def test_a_mapping_that_passes_over_telling_headers_is_refused_with_the_remedy(
    cluster: Cluster, tmp_path: Path
) -> None:
    produce(cluster, "binary", [binary(each) for each in EVENTS[:100]])
    blind = source(EVENTS_MAPPING.replace("headers = true", ""), topic(cluster, "binary"))
    with pytest.raises(SettingsError, match=r"100 of 100 records have headers .* headers = true above the tables"):
        ingested(cluster, tmp_path, [blind])

"""Ingest as a real process on the real broker: killed under load, each record becomes what it must, once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from functools import partial
from operator import lt
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewPartitions  # type: ignore[attr-defined]  # not in its __all__

from schemas.codec import decode
from schemas.errors import SettingsError, StateMismatch, TopicsChanged
from schemas.records import Out
from schemas.rejects import Rejected
from streams.embedded.broker import Broker
from streams.engine.pace import Pace
from streams.ingest.source import Source
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.partitioners import java_partition
from streams.kafka.reads import read_log, stream_log
from streams.kafka.settings import EXACT_DELIVERY, client_settings
from streams.verify.check import Check
from streams.verify.ingested import IngestVerification
from streams.worker.ingest import IngestSettings, ingest_runner
from tests.ingesting import MAPPING, directly, source, traffic
from tests.waiting import PATIENCE_S, eventually

pytestmark = pytest.mark.broker
PARTITIONS = 2
# Topics with other numbers of partitions than the inputs of the join.
SOURCES = {"shop": 3, "app": 1}


@pytest.fixture
def cluster(broker: Broker, topic_prefix: str) -> Cluster:
    """All topics, and two sources."""
    made = Cluster(broker.bootstrap, prefix=topic_prefix)
    admin = Admin(made)
    admin.create(partitions=PARTITIONS)
    for name, partitions in SOURCES.items():
        admin.create_topic(topic_prefix + name, partitions=partitions, config={})
    return made


def produce(cluster: Cluster, values: list[bytes | None], names: tuple[str, ...] = tuple(SOURCES)) -> None:
    """Spreads values over the sources, under keys that say nothing."""
    producer = Producer(client_settings(cluster, **EXACT_DELIVERY))
    for number, value in enumerate(values):
        producer.produce(cluster.prefix + names[number % len(names)], value, f"any {number % 50}")
    assert producer.flush(PATIENCE_S) == 0


def grow(cluster: Cluster, topic: str) -> None:
    """Gives a topic four partitions."""
    # The future of a collected client is cancelled.
    client = AdminClient(client_settings(cluster))
    client.create_partitions([NewPartitions(topic, 4)])[topic].result()


def start_worker(cluster: Cluster, tmp_path: Path, *more: str) -> subprocess.Popen[bytes]:
    mapping = tmp_path / "m.toml"
    mapping.write_text(MAPPING)
    environment = {
        **os.environ,
        "KAFKA_BOOTSTRAP_SERVERS": cluster.bootstrap,
        "CLICKFOLD_TOPIC_PREFIX": cluster.prefix,
        "CLICKFOLD_STATE_DIR": str(tmp_path / "state"),
    }
    sources = [word for name in SOURCES for word in ("--source", f"{cluster.prefix}{name}={mapping}")]
    command = [sys.executable, "-m", "streams.cli", "worker", "ingest", *sources, *more]
    with (tmp_path / "worker.log").open("ab") as log:
        return subprocess.Popen(command, env=environment, stderr=log, stdout=log)


def written(cluster: Cluster) -> list[Out]:
    """What is committed in the outputs, each event in the partition that murmur2 gives its key."""
    outs = []
    for log in ("impressions", "clicks"):
        for partition in range(PARTITIONS):
            for record in read_log(cluster, log, partition):
                assert java_partition(record.key or b"", PARTITIONS) == partition
                outs.append(Out(log, record.key, record.value))
    return outs + [Out("rejects", record.key, record.value, 0) for record in read_log(cluster, "rejects", 0)]


def expected(cluster: Cluster) -> list[Out]:
    """What a direct mapping makes of the whole sources."""
    outs: list[Out] = []
    counts = Admin(cluster).partition_counts()
    for name in SOURCES:
        topic = cluster.prefix + name
        for partition in range(counts[topic]):
            values = [record.value for record in stream_log(cluster, topic, partition)]
            outs += directly(values, partition=partition, of=source(topic=topic))
    return outs


def unstamped(outs: list[Out]) -> Counter[tuple[str, bytes | None, object]]:
    """The outputs without Kafka's times in dead letters, and in any order."""
    told: list[tuple[str, bytes | None, object]] = []
    for out in outs:
        value: object = out.value
        if out.topic == "rejects":
            letter = decode(out.value or b"", Rejected)
            value = (
                letter.reason,
                letter.detail.rpartition("m.toml")[2],
                letter.topic,
                letter.partition,
                letter.offset,
                letter.xxh3,
            )
        told.append((out.topic, out.key, value))
    return Counter(told)


def test_every_record_is_mapped_once_although_the_worker_is_killed_and_a_source_grows(
    cluster: Cluster, tmp_path: Path
) -> None:
    values = list(traffic(18_000))
    produce(cluster, values[:6_000])
    worker = start_worker(cluster, tmp_path, "--commit", "20ms")
    produce(cluster, values[6_000:12_000])
    eventually(lambda: len(written(cluster)), partial(lt, 0), what="progress")
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    grow(cluster, f"{cluster.prefix}shop")
    worker = start_worker(cluster, tmp_path)
    produce(cluster, values[12_000:])
    wanted = unstamped(expected(cluster))
    assert {out[0] for out in wanted} == {"impressions", "clicks", "rejects"}
    eventually(lambda: len(written(cluster)), equals=wanted.total(), what="outputs")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(PATIENCE_S) == 0
    found = unstamped(written(cluster))
    assert (found - wanted, wanted - found) == (Counter(), Counter())
    check = verified(cluster)
    assert (check.differing, check.compared) == (0, wanted.total())
    # A record of another producer is none of ingest's; one that is there twice is.
    producer = Producer(client_settings(cluster, **EXACT_DELIVERY, partitioner="murmur2_random"))
    shown = next(out for out in written(cluster) if out.topic == "impressions")
    producer.produce(cluster.topic("impressions"), b"{}", b"other")
    producer.produce(cluster.topic("impressions"), shown.value, shown.key)
    assert producer.flush(PATIENCE_S) == 0
    check = verified(cluster)
    assert check.differing == 1
    assert check.first[0].startswith("1 too many: ('impressions', ")
    # Mapped otherwise than it was: each event is missing.
    check = verified(cluster, MAPPING.replace('"ad.banner"', '"ad.campaign"'))
    assert check.differing == sum(out.topic == "impressions" for out in written(cluster)) - 2
    assert check.first[0].startswith("1 missing: ('impressions', ")


def verified(cluster: Cluster, text: str = MAPPING) -> Check:
    """What verify says of both sources."""
    sources = [source(text, topic=cluster.prefix + name) for name in SOURCES]
    return IngestVerification(cluster, cluster.group("ingest"), sources, None).check(max_shown=3)


def run(cluster: Cluster, tmp_path: Path, *sources: Source, new_mapping: bool = False) -> list[str]:
    """Ingests all there is, in this process. Returns the warnings."""
    warnings: list[str] = []
    settings = IngestSettings(
        cluster=cluster,
        sources=sources,
        new_mapping=new_mapping,
        group=cluster.group("ingest"),
        state_dir=tmp_path,
        pace=Pace(commit_s=0.02),
    )
    with ingest_runner(settings, warnings.append) as runner:
        runner.run(lambda: False, lambda: True)
    return warnings


def test_a_source_or_a_mapping_that_cannot_be_right_is_refused_before_anything_is_written(
    cluster: Cluster, tmp_path: Path
) -> None:
    shop, app = (cluster.prefix + name for name in SOURCES)
    with pytest.raises(SettingsError, match=r"impressions is a topic of clickfold itself"):
        run(cluster, tmp_path, source(topic=cluster.topic("impressions")))
    with pytest.raises(SettingsError, match=r"there is no such topic; make it, or correct the name"):
        run(cluster, tmp_path, source(topic=f"{cluster.prefix}none"))
    produce(cluster, list(traffic(300)), ("shop", "app"))
    wrong = MAPPING.replace('"ad.banner"', '"ad.banners"')
    with pytest.raises(
        SettingsError, match=r"topic .*shop: m.toml line 6, creative_id: the path matches nothing in any"
    ):
        run(cluster, tmp_path, source(wrong, topic=shop))
    assert written(cluster) == []
    # Another mapping of the same topic later: only where that is wanted, and from there on.
    run(cluster, tmp_path, source(topic=shop), source(topic=app))
    assert unstamped(written(cluster)) == unstamped(expected(cluster))
    other = MAPPING.replace('"ad.campaign"', '"ad.banner"')
    produce(cluster, list(traffic(300)), ("shop", "app"))
    with pytest.raises(StateMismatch, match=r"give the former mapping, or --new-mapping to map by this one"):
        run(cluster, tmp_path, source(other, topic=shop), source(topic=app))
    run(cluster, tmp_path, source(other, topic=shop), source(topic=app), new_mapping=True)
    campaigns = Counter(
        b'"campaign_id":"b"' in (out.value or b"") for out in written(cluster) if out.topic == "impressions"
    )
    assert min(campaigns.values()) > 50


def test_outputs_with_other_partitions_end_the_worker(cluster: Cluster, tmp_path: Path) -> None:
    produce(cluster, list(traffic(50)), ("app",))
    run(cluster, tmp_path, source(topic=f"{cluster.prefix}app"))
    grow(cluster, cluster.topic("clicks"))
    with pytest.raises(TopicsChanged, match=r"clicks was given other partitions \(2 -> 4\)"):
        run(cluster, tmp_path, source(topic=f"{cluster.prefix}app"))

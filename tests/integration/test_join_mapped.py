"""A join that reads topics of another form itself, as a process that is killed: the commands agree with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from functools import partial
from operator import lt
from pathlib import Path
from random import Random

import msgspec
import orjson
import pytest
from clickhouse_connect.driver.client import Client
from confluent_kafka import Producer

from schemas.codec import decode
from schemas.rejects import Reason, Rejected
from streams.backfill.plan import BackfillPlan
from streams.embedded.broker import Broker
from streams.embedded.clickhouse import ClickHouse
from streams.join.mark import read_mark
from streams.join.state import INPUTS
from streams.kafka.admin import REPLAYED, Admin
from streams.kafka.cluster import Cluster
from streams.kafka.groups import GroupOffsets
from streams.kafka.reads import read_all
from streams.kafka.settings import EXACT_DELIVERY, client_settings
from streams.worker.input_maps import input_maps
from tests.factories import T0, click_json
from tests.integration.test_backfill import JOINED, Setting
from tests.integration.test_join_worker import OPTIONS, PARTITIONS, folded, produced
from tests.simulation.mapped import MAPPING
from tests.waiting import PATIENCE_S, eventually

pytestmark = pytest.mark.broker


@pytest.fixture
def cluster(broker: Broker, topic_prefix: str) -> Cluster:
    """Inputs with names of their own."""
    inputs = {"impressions": f"shop-{topic_prefix}views", "clicks": f"shop-{topic_prefix}taps"}
    made = Cluster(broker.bootstrap, prefix=topic_prefix, inputs=inputs)
    Admin(made).create(partitions=PARTITIONS, input_config=REPLAYED)
    return made


@pytest.fixture
def environment(cluster: Cluster, tmp_path: Path) -> dict[str, str]:
    mapping = tmp_path / "m.toml"
    mapping.write_text(MAPPING)
    return {
        **os.environ,
        "KAFKA_BOOTSTRAP_SERVERS": cluster.bootstrap,
        "CLICKFOLD_TOPIC_PREFIX": cluster.prefix,
        "CLICKFOLD_IMPRESSIONS_TOPIC": cluster.topic("impressions"),
        "CLICKFOLD_CLICKS_TOPIC": cluster.topic("clicks"),
        "CLICKFOLD_STATE_DIR": str(tmp_path / "state"),
        "CLICKFOLD_INPUT_MAP": str(mapping),
    }


def start_worker(environment: dict[str, str], tmp_path: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "streams.cli", "worker", "join", "--dynamic", *OPTIONS, *more]
    with (tmp_path / "worker.log").open("ab") as log:
        return subprocess.Popen(command, env=environment, stderr=log, stdout=log)


def command(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[bytes]:
    process = [sys.executable, "-m", "streams.cli", *words]
    return subprocess.run(process, env=environment, capture_output=True, timeout=2 * PATIENCE_S, check=False)


def view(name: str, ts: int, **more: object) -> bytes:
    return orjson.dumps({"req": name, "at": ts * 1_000, "ad": {"campaign": "c", "cost": "0.25"}, **more})


def tap(name: str, ts: int) -> bytes:
    return orjson.dumps({"req": name, "at": ts * 1_000, "click": f"k-{name}"})


def produce(cluster: Cluster, random: Random, seconds: range) -> None:
    """Events of another form; some that no rule can use, some under another key, some of clickfold's own form."""
    producer = Producer(client_settings(cluster, **EXACT_DELIVERY, partitioner="murmur2_random", linger_ms=20))
    impressions, clicks = cluster.topic("impressions"), cluster.topic("clicks")
    for second in seconds:
        for number in range(40):
            name, ts = f"{second:04d}-{number:02d}", T0 + second * 1_000 + number * 20
            value = view(name, ts, **({"at": "yesterday"} if random.random() < 0.01 else {}))
            producer.produce(impressions, value, name if random.random() > 0.005 else "other", timestamp=ts)
            if random.random() < 0.2:
                own = random.random() < 0.1
                body = click_json(f"k-{name}", name, ts + 500) if own else tap(name, ts + 500)
                producer.produce(clicks, body, name, timestamp=ts + 500)
        producer.poll(0)
    assert producer.flush(PATIENCE_S) == 0


def test_a_mapped_join_that_is_killed_agrees_with_verify_trace_and_redrive(
    cluster: Cluster, environment: dict[str, str], tmp_path: Path
) -> None:
    random = Random(3)
    produce(cluster, random, range(30))
    worker = start_worker(environment, tmp_path)
    try:
        before = sum(folded(cluster).values())
        eventually(lambda: sum(folded(cluster).values()), partial(lt, before), what="progress")
        produce(cluster, random, range(30, 90))
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    # It has nothing of the other's state: it rebuilds from the log.
    worker = start_worker(environment, tmp_path, "--slot", "1")
    try:
        eventually(lambda: folded(cluster), equals=produced(cluster), what="catching up")
        letters = [decode(value, Rejected) for value in read_all(cluster, "rejects", 0)]
        reasons = Counter(letter.reason for letter in letters)
        assert reasons.keys() == {Reason.MAPPING, Reason.KEY}
        assert all(b'"yesterday"' in each.prefix for each in letters if each.reason is Reason.MAPPING)
        key = next(each for each in letters if each.reason is Reason.KEY)
        assert "`clickfold worker ingest` reads topics with any keys" in key.detail

        # An original of another form is sent as the join reads it, under its id, and taken as it is.
        mended = command(environment, "rejects", "redrive", "--reason", "key", "--json")
        assert mended.returncode == 0, mended.stderr.decode()
        assert not orjson.loads(mended.stdout)["refused"]
        eventually(lambda: folded(cluster), equals=produced(cluster), what="what was redriven")
        late = Counter(decode(value, Rejected).reason for value in read_all(cluster, "rejects", 0))
        assert late - reasons in (Counter(), Counter({Reason.LATE: late[Reason.LATE]}))
    finally:
        worker.terminate()
        code = worker.wait(PATIENCE_S)
    assert code == 0, (tmp_path / "worker.log").read_text()[-2_000:]

    verified = command(environment, "verify", *OPTIONS[:8], "--format", "json")
    assert verified.returncode == 0, verified.stdout.decode()[-2_000:] + verified.stderr.decode()
    checks = {each["name"]: each for each in orjson.loads(verified.stdout)["checks"]}
    assert all(checks[name]["compared"] for name in ("settings", "outcomes", "minute totals", "rejects", "ledger"))
    without = command({**environment, "CLICKFOLD_INPUT_MAP": ""}, "verify", *OPTIONS[:8])
    assert without.returncode == 1
    assert b"extra dimensions and input map" in without.stdout.replace(b"\n", b" ")

    clicked = next(each for each in map(orjson.loads, read_all(cluster, "outcomes", 0)) if each["kind"] == "click")[
        "impression_id"
    ]
    traced = command(environment, "trace", clicked, *OPTIONS[:8], "--json")
    assert traced.returncode == 0, traced.stderr.decode()
    answer = orjson.loads(traced.stdout)
    assert [each["fate"]["name"] for each in answer["records"]] == ["accepted", "accepted"]
    assert answer["records"][0]["event"]["price_micros"] == 250_000
    assert all(each["as_computed"] for each in answer["outcomes"])


@pytest.mark.clickhouse
def test_a_backfill_reads_through_the_mapping_of_the_live_join_and_is_the_truth(
    cluster: Cluster, environment: dict[str, str], clickhouse: ClickHouse, ads: Client, tmp_path: Path
) -> None:
    produce(cluster, Random(5), range(120))
    worker = start_worker(environment, tmp_path)
    try:
        eventually(lambda: folded(cluster), equals=produced(cluster), what="reading all")
    finally:
        worker.terminate()
        code = worker.wait(PATIENCE_S)
    assert code == 0, (tmp_path / "worker.log").read_text()[-2_000:]

    setting = Setting(cluster, clickhouse, ads, tmp_path)
    setting.environment |= {name: environment[name] for name in environment if name.startswith("CLICKFOLD_")}
    given = [*JOINED, "--complete", "--processes", "1"]
    record = setting.backfill("again", *given)
    plan = msgspec.json.decode(
        (tmp_path / "state" / "backfill" / "again" / "plan.json").read_bytes(), type=BackfillPlan
    )
    live = GroupOffsets(cluster, cluster.group("join"), INPUTS).commits(PARTITIONS)
    # One digest of all settings: the replay is of the run that the live join is.
    assert {read_mark(commit.mark).digest for commit in live.values()} == {plan.digest}
    maps = input_maps(MAPPING, "m.toml")
    assert record.settings["input_map"] == maps.digest
    assert setting.assert_equals(record, setting.truths(ended=True, maps=maps)) > 0
    setting.environment["CLICKFOLD_INPUT_MAP"] = ""
    assert "was begun with input_map" in setting.refused("again", *given).replace("\n", " ")


def test_a_mapping_that_is_not_that_of_the_topic_or_of_its_keys_is_refused_at_the_first_start(
    cluster: Cluster, environment: dict[str, str], tmp_path: Path
) -> None:
    producer = Producer(client_settings(cluster, **EXACT_DELIVERY))
    for number in range(20):
        producer.produce(cluster.topic("impressions"), view(f"a{number}", T0), "campaign", timestamp=T0)
    assert producer.flush(PATIENCE_S) == 0
    refused = command(environment, "worker", "join", *OPTIONS)
    assert refused.returncode == 2
    assert b"no key of its newest 20 records is the impression_id that --input-map makes" in refused.stderr
    (tmp_path / "m.toml").write_text(MAPPING.replace('"req"', '"request"'))
    refused = command(environment, "worker", "join", *OPTIONS)
    assert refused.returncode == 2
    assert b"the path matches nothing in any of the first 20 records" in refused.stderr

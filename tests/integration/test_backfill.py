"""`clickfold backfill` on the real broker and ClickHouse, beside a live join that it must not touch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from contextlib import closing
from pathlib import Path
from random import Random

import orjson
import pytest
from clickhouse_connect.driver.client import Client
from confluent_kafka import Consumer, Producer, TopicPartition

from schemas.bounds import JoinBounds
from schemas.codec import decoder, encode
from schemas.rejects import Reason, rejected
from schemas.seals import SealRecord
from schemas.topics import TOPICS
from schemas.totals import DIMENSIONS, MEASURES, MINUTE_MS
from streams.backfill.output import RunWriter
from streams.embedded.broker import Broker
from streams.embedded.clickhouse import ClickHouse
from streams.join.mapped import InputMaps
from streams.kafka.admin import REPLAYED, Admin
from streams.kafka.cluster import Cluster
from streams.kafka.partitioners import java_partition
from streams.kafka.reads import bounds_consumer, log_bounds, read_all, read_log
from streams.kafka.settings import EXACT_DELIVERY, client_settings
from streams.runs.compare_models import compare_models
from streams.runs.record import RunRecord, known_run
from streams.verify.mapped import mapped_records
from streams.verify.oracle import Truth, truth
from streams.warehouse.client import Warehouse
from tests.factories import T0, click_json, impression_json
from tests.integration.test_join_worker import BOUNDS, OPTIONS, PARTITIONS, folded, produce, produced, start_worker
from tests.integration.test_learn_worker import Load, never_stopped
from tests.models.traffic import outcomes
from tests.waiting import PATIENCE_S, eventually

pytestmark = [pytest.mark.broker, pytest.mark.clickhouse]
JOINED = OPTIONS[: OPTIONS.index("--checkpoint")]
SECONDS = 900
_AS_THEY_ARE = InputMaps()


class Setting:
    """A live join that has read its inputs, and a database."""

    def __init__(self, cluster: Cluster, server: ClickHouse, database: Client, folder: Path) -> None:
        self.cluster = cluster
        self.database = database
        self.folder = folder
        self.environment = {
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": cluster.bootstrap,
            "CLICKFOLD_TOPIC_PREFIX": cluster.prefix,
            "CLICKFOLD_STATE_DIR": str(folder / "state"),
            "CLICKHOUSE_URL": server.url,
            "CLICKHOUSE_DATABASE": str(database.database),
        }

    def start(self, run: str, *options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "streams.cli", "backfill", "--run", run, *options]
        return subprocess.Popen(command, env=self.environment, stderr=subprocess.PIPE, text=True)

    def backfill(self, run: str, *options: str) -> RunRecord:
        """Runs the backfill to its end. Returns its record."""
        process = self.start(run, *options)
        printed = process.communicate(timeout=300)[1]
        assert process.returncode == 0, printed
        return known_run(self.database, run)

    def refused(self, run: str, *options: str) -> str:
        """What a backfill prints that is refused."""
        process = self.start(run, *options)
        printed = process.communicate(timeout=PATIENCE_S)[1]
        assert process.returncode != 0, printed
        assert "Traceback" not in printed
        return printed

    def truths(self, bounds: JoinBounds = BOUNDS, *, ended: bool, maps: InputMaps = _AS_THEY_ARE) -> list[Truth]:
        return [
            truth(
                mapped_records(read_log(self.cluster, "impressions", partition), maps.of.get("impressions")),
                mapped_records(read_log(self.cluster, "clicks", partition), maps.of.get("clicks")),
                bounds,
                seals=map(decoder(SealRecord).decode, read_all(self.cluster, "seals", partition)),
                partition=partition,
                ended=ended,
            )
            for partition in range(PARTITIONS)
        ]

    def assert_equals(self, record: RunRecord, truths: list[Truth]) -> int:
        """Totals and outcomes equal the truth in the owned minutes. Returns how many totals were compared."""
        owned = range(record.from_minute_ms, record.to_minute_ms)
        columns = ", ".join((*DIMENSIONS, *MEASURES))
        width = 2 + len(DIMENSIONS)
        where = "FINAL WHERE run = {run:String}"
        rows = self.database.query(
            f"SELECT toUnixTimestamp(minute) * 1000, join_partition, {columns} FROM minute_totals {where}",
            parameters={"run": record.run},
        ).result_rows
        found = {tuple(row[:width]): tuple(row[width:]) for row in rows if row[0] in owned}
        assert found == {
            (key[0], partition, *key[1:]): tuple(row[name] for name in MEASURES)
            for partition, judged in enumerate(truths)
            for key, row in judged.totals.items()
            if key[0] in owned
        }
        outcomes = self.database.query(
            "SELECT kind, impression_id, click_id, toUnixTimestamp64Milli(click_time), "
            f"toUnixTimestamp64Milli(event_time) FROM outcome_rows {where}",
            parameters={"run": record.run},
        ).result_rows
        assert Counter(tuple(row[:4]) for row in outcomes if row[4] // MINUTE_MS * MINUTE_MS in owned) == Counter(
            (one.kind, one.impression_id, one.click_id or "", one.click_ts or 0)
            for judged in truths
            for one in judged.decided()
            if (one.ts if one.ts is not None else one.click_ts or 0) // MINUTE_MS * MINUTE_MS in owned
        )
        return len(found)

    def live_state(self) -> dict[str, object]:
        """Everything of live work that a backfill must not change: committed offsets, marks, ends of topics, files."""
        bounds, counts = bounds_consumer(self.cluster), Admin(self.cluster).partition_counts()
        consumer = Consumer(client_settings(self.cluster, group_id=f"{self.cluster.prefix}join"))
        try:
            inputs = [TopicPartition(self.cluster.topic(log), at) for log in ("impressions", "clicks") for at in (0, 1)]
            committed = [(one.topic, one.partition, one.offset, one.metadata) for one in consumer.committed(inputs, 20)]
            topics = [self.cluster.topic(role) for role in TOPICS]
            ends = {(topic, at): log_bounds(bounds, topic, at)[1] for topic in topics for at in range(counts[topic])}
            live = self.folder / "state" / f"{self.cluster.prefix}join"
            files = {path.name: path.stat().st_mtime_ns for path in live.rglob("manifest")}
            return {"committed": committed, "ends": ends, "files": files}
        finally:
            consumer.close()
            bounds.close()


@pytest.fixture
def setting(broker: Broker, topic_prefix: str, clickhouse: ClickHouse, ads: Client, tmp_path: Path) -> Setting:
    """Live work that has read traffic with late, repeated and broken records and idle times, and was stopped."""
    cluster = Cluster(broker.bootstrap, prefix=topic_prefix)
    Admin(cluster).create(partitions=PARTITIONS, input_config=REPLAYED)
    (tmp_path / "state").mkdir()
    worker = start_worker(cluster, tmp_path / "state", "--idle", "500ms")
    try:
        random = Random(17)
        for start in range(0, SECONDS, 150):
            produce(cluster, random, range(start, start + 150))
        wanted = produced(cluster)
        eventually(lambda: folded(cluster), equals=wanted, what="reading all")
    finally:
        worker.terminate()
        assert worker.wait(PATIENCE_S) == 0
    return Setting(cluster, clickhouse, ads, tmp_path)


def test_backfill_equals_live_truth_whole_in_the_middle_and_after_kill_9_and_touches_nothing_live(
    setting: Setting,
) -> None:
    before = setting.live_state()
    ended, open_ = setting.truths(ended=True), setting.truths(ended=False)

    whole = setting.backfill("whole", *JOINED, "--complete")
    assert setting.assert_equals(whole, ended) == sum(len(judged.totals) for judged in ended) > 500
    assert whole.settings["window_ms"] == "30000"

    sizes = {(log, at): len(read_log(setting.cluster, log, at)) for log in ("impressions", "clicks") for at in (0, 1)}

    def cut(share: float) -> str:
        offsets = {
            log: ",".join(f"{at}={int(sizes[log, at] * share) + 7 * at}" for at in (0, 1))
            for log in ("impressions", "clicks")
        }
        return ";".join(f"{log}:{text}" for log, text in offsets.items())

    middle = setting.backfill("middle", *JOINED, "--from", cut(0.5), "--to", cut(0.8), "--processes", "1")
    assert setting.assert_equals(middle, open_) > 100
    assert (middle.to_minute_ms - middle.from_minute_ms) // MINUTE_MS >= 2
    read = middle.offsets["impressions"]["1"]
    assert read == [int(sizes["impressions", 1] * share) + 7 for share in (0.5, 0.8)]

    killed = setting.start("killed", *JOINED, "--complete", "--processes", "2")
    committed = [setting.folder / "state" / "backfill" / "killed" / str(at) / "commit" / "commit" for at in (0, 1)]
    eventually(lambda: [path for path in committed if not path.exists()], equals=[], what="a commit of each process")
    for number in children(killed.pid):
        os.kill(number, signal.SIGKILL)
    assert "the same command continues the run" in killed.communicate(timeout=PATIENCE_S)[1]
    assert known_run(setting.database, "killed").state == "running"
    assert "window" in setting.refused("killed", "--window", "20s", "--complete")
    again = setting.backfill("killed", *JOINED, "--complete", "--processes", "2")
    assert setting.assert_equals(again, ended) == sum(len(judged.totals) for judged in ended)

    narrow = JoinBounds(window_ms=10_000, skew_ms=1_000, lateness_ms=5_000, negative_rate=0.3)
    narrowed = setting.backfill("narrow", *JOINED, "--window", "10s", "--complete")
    assert setting.assert_equals(narrowed, setting.truths(narrow, ended=True)) > 500
    assert clicks(setting, "narrow") < clicks(setting, "whole")

    assert "says nothing of" in setting.refused("x", "--from", "impressions:0=1,1=1")
    assert setting.live_state() == before


def clicks(setting: Setting, run: str) -> int:
    answer = setting.database.query(
        "SELECT sum(clicks) FROM minute_totals FINAL WHERE run = {run:String}", parameters={"run": run}
    )
    return int(answer.result_rows[0][0])


def children(process_id: int) -> list[int]:
    """The child processes, without the one that tracks resources for multiprocessing."""
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
            command = (path.parent / "cmdline").read_text()
        except OSError:
            continue
        if int(fields[1]) == process_id and "resource_tracker" not in command:
            found.append(int(path.parent.name))
    return found


def test_records_that_were_refused_are_mended_by_a_mapping_where_they_are(
    broker: Broker, topic_prefix: str, clickhouse: ClickHouse, ads: Client, tmp_path: Path
) -> None:
    cluster = Cluster(broker.bootstrap, prefix=topic_prefix)
    Admin(cluster).create(partitions=PARTITIONS, input_config=REPLAYED)
    partition = java_partition(b"form", PARTITIONS)
    producer = Producer(client_settings(cluster, **EXACT_DELIVERY))

    def send(role: str, value: bytes, at: int, *, key: bytes | None = None) -> None:
        # Kafka deletes dead letters by their age.
        producer.produce(cluster.topic(role), value, key, at, timestamp=0 if role == "rejects" else T0)

    dead = {"topic": cluster.topic("impressions"), "partition": partition, "record_ts_ms": T0}
    values = [orjson.dumps({"id": "form", "at": T0 // 1_000, "price": 7}), impression_json("form", T0 + 1), b"{"]
    for value in values:
        send("impressions", value, partition, key=b"form")
    for offset in (0, 2):
        letter = rejected(Reason.UNDECODABLE, "", values[offset], offset=offset, **dead)  # type: ignore[arg-type]
        send("rejects", encode(letter), 0)
    send("clicks", click_json("k", "form", T0 + 2_000), partition, key=b"form")
    assert producer.flush(PATIENCE_S) == 0
    (mapping := tmp_path / "own.toml").write_text(
        '[impressions]\nimpression_id = "id"\nts = { path = "at", unit = "s" }\n'
        'campaign_id = { constant = "mended" }\ncreative_id = { constant = "x" }\n'
        'price_micros = { path = "price", unit = "cents" }\n'
    )
    setting = Setting(cluster, clickhouse, ads, tmp_path)
    bounds = [*JOINED, "--dedupe", "31s", "--complete", "--processes", "1"]
    record = setting.backfill("mended", *bounds, "--map", str(mapping))
    assert len(record.settings["mapping"]) > 8
    sql = "SELECT reason, offset FROM reject_rows FINAL WHERE run = 'mended' ORDER BY offset"
    # The mended record is where it was, so the one behind it is in conflict with it; what is no JSON stays as it is.
    assert ads.query(sql).result_rows == [("conflict", 1), ("undecodable", 2)]
    sql = "SELECT kind, campaign_id, price_micros FROM outcome_rows WHERE run = 'mended'"
    assert ads.query(sql).result_rows == [("click", "mended", 70_000)]
    assert "mapping" in setting.refused("mended", *bounds)


def test_backfill_of_models_measures_the_same_as_live_work_and_publishes_nothing(
    broker: Broker, topic_prefix: str, clickhouse: ClickHouse, ads: Client, tmp_path: Path
) -> None:
    cluster = Cluster(broker.bootstrap, prefix=topic_prefix)
    Admin(cluster).create(partitions=1)
    load = Load(cluster, outcomes(20_000, negative_rate=0.1, spacing_ms=2_000, window_ms=1_800_000))
    for _ in range(40):
        load.transaction()
    setting = Setting(cluster, clickhouse, ads, tmp_path)
    # What a live learner has measured, written as the sink writes it.
    live = [out for out in never_stopped(cluster)[1] if out.topic == "model_metrics"]
    warehouse = Warehouse(clickhouse.url, str(ads.database))
    with closing(RunWriter(warehouse, "", threading.Event())) as writer:
        writer.write(live)

    record = setting.backfill("again", "--models")
    assert record.kind == "models"
    comparison = compare_models(ads, "again")
    assert comparison.windows >= 5
    assert comparison.equal
    assert (tmp_path / "state" / "backfill" / "again" / "0" / "manifest").exists()
    assert read_all(cluster, "models", 0) == read_all(cluster, "model_metrics", 0) == []

    later = setting.backfill("later", "--models", "--from", "outcomes:0=1000")
    assert later.offsets["outcomes"]["0"][0] == 1_000
    assert not compare_models(ads, "later").equal
    assert "names input 'clicks'" in setting.refused("x", "--models", "--from", "clicks:0=1")

"""`clickfold export` beside a join and a sink, and after them: exactly the final rows, of ClickHouse and of Kafka."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import fsspec
import orjson
import polars
import pyarrow
import pyarrow.compute
import pyarrow.dataset
import pyarrow.parquet
import pytest
import xxhash
from clickhouse_connect.driver.client import Client
from confluent_kafka import Producer
from moto.server import ThreadedMotoServer
from typer.testing import CliRunner

from schemas.clickhouse.migrations import migrate
from schemas.clickhouse.queries import run_query
from schemas.codec import encode
from schemas.errors import SettingsError
from schemas.outcomes import Outcome
from schemas.rejects import Reason, rejected
from schemas.totals import DIMENSIONS, HOUR_MS, MEASURES
from streams.cli.app import app
from streams.embedded.broker import Broker
from streams.embedded.clickhouse import ClickHouse
from streams.export.final import final_now
from streams.export.tables import OUTCOMES
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.settings import EXACT_DELIVERY, client_settings
from streams.warehouse.client import connect
from streams.warehouse.rows import rows_of
from tests.exports import T0_MS
from tests.integration.test_join_worker import OPTIONS, PARTITIONS, committed_truths, start_worker
from tests.integration.test_verify import BOUNDS, verify
from tests.waiting import PATIENCE_S, eventually

pytestmark = [pytest.mark.broker, pytest.mark.clickhouse]
# An impression each two seconds, from a quarter past the hour on.
START_MS = T0_MS + 15 * 60_000
IMPRESSIONS = 4_500
BUCKET = "clickfold-export"


def impression(number: int) -> dict[str, Any]:
    event = {
        "impression_id": f"i{number:05}",
        "ts": START_MS + 2_000 * number,
        "campaign_id": f"c{number % 5}",
        "creative_id": f"x{number % 3}",
        "price_micros": 1_000 * (number % 11),
        "pctr": 0.01 * (number % 5),
        "user_id": f"user {number % 40}",
        "device": ("tv", "phone")[number % 2],
        "features": {"os": ("ios", "android")[number % 2], "width": number % 7, "wifi": number % 3 == 0},
    }
    return event if number % 9 else {name: value for name, value in event.items() if name not in ("user_id", "device")}


def produce(cluster: Cluster, numbers: range, folder: Path) -> None:
    """Impressions and clicks, to Kafka and to files; some clicks come twice, and some have no impression."""
    random = Random(numbers.start)
    producer = Producer(client_settings(cluster, **EXACT_DELIVERY, partitioner="murmur2_random", linger_ms=20))
    files = {log: (folder / f"{log}.jsonl").open("ab") for log in ("impressions", "clicks")}

    def send(log: str, event: dict[str, Any]) -> None:
        value = orjson.dumps(event)
        producer.produce(cluster.topic(log), value, event["impression_id"], timestamp=event["ts"])
        files[log].write(value + b"\n")

    for number in numbers:
        event = impression(number)
        send("impressions", event)
        for at in range(random.choice([0] * 6 + [1, 2])):
            id_ = event["impression_id"] if random.random() > 0.1 else f"lost{number}"
            send("clicks", {"click_id": f"k{number}-{at}", "impression_id": id_, "ts": event["ts"] + 500 * (at + 1)})
    assert producer.flush(PATIENCE_S) == 0
    for file in files.values():
        file.close()


@dataclass
class Ran:
    """A join and a sink that were watched and ended. `live` is what `export` said beside them."""

    environment: dict[str, str]
    cluster: Cluster
    client: Client
    folder: Path
    live: dict[str, str]

    def export(self, *words: str) -> str:
        return self.call("export", *words)

    def call(self, *words: str) -> str:
        """What a command says, which runs in this process: each new one takes seconds."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment.items():
                patch.setenv(name, value)
            ended = CliRunner().invoke(app, words, catch_exceptions=False)
        assert ended.exit_code == 0, ended.output
        return str(ended.output)

    def files(self, name: str, *more: str, what: str = "outcomes") -> pyarrow.Table:
        """The rows of an export of the whole run, in the order of files and folders."""
        to = self.folder / name
        self.export(what, "--from", "2023-11-14T22", "--to-dir", str(to), *more)
        return rows(to / what)


def export(environment: dict[str, str], *words: str, code: int = 0) -> str:
    """What the command prints as a process of its own, which ends with this exit code."""
    command = [sys.executable, "-m", "streams.cli", "export", *words]
    ran = subprocess.run(command, env=environment, capture_output=True, timeout=PATIENCE_S, check=False, text=True)
    assert ran.returncode == code, ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr
    return ran.stdout + ran.stderr


def final_ms(cluster: Cluster) -> int:
    """Until when the join has decided outcomes; 0 before its first commit."""
    with contextlib.suppress(SettingsError):
        return final_now(cluster, cluster.group("join"), OUTCOMES).until_ms
    return 0


def rows(folder: Path) -> pyarrow.Table:
    """The rows below a folder as pyarrow reads them, files by name."""
    files = sorted(folder.rglob("*.parquet"))
    return pyarrow.concat_tables([pyarrow.parquet.read_table(file, partitioning=None) for file in files])


@pytest.fixture(scope="module")
def ran(broker: Broker, clickhouse: ClickHouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """Two and a half hours of sparse traffic; after two hours `export` is asked beside the workers."""
    folder = tmp_path_factory.mktemp("export")
    cluster = Cluster(broker.bootstrap, prefix="export.")
    Admin(cluster).create(partitions=PARTITIONS)
    environment = {
        **os.environ,
        "KAFKA_BOOTSTRAP_SERVERS": cluster.bootstrap,
        "CLICKFOLD_TOPIC_PREFIX": cluster.prefix,
        "CLICKHOUSE_URL": clickhouse.url,
        "CLICKHOUSE_DATABASE": "exported",
    }
    (folder / "state").mkdir()
    client = connect(clickhouse.url)
    migrate(client, database="exported")
    worker = start_worker(cluster, folder / "state")
    with (folder / "sink.log").open("ab") as log:
        command = [sys.executable, "-m", "streams.cli", "worker", "sink", "--batch-s", "0.1"]
        sink = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        produce(cluster, range(4_000), folder)

        eventually(lambda: final_ms(cluster), lambda ms: ms >= T0_MS + 2 * HOUR_MS, what="two hours to be final")
        export(environment, "outcomes", "--from", "2023-11-14T22", "--to-dir", str(folder / "live"))
        live = {
            "refused": export(
                environment,
                *("outcomes", "--from", "2023-11-14T22", "--to", "2023-11-15T01"),
                *("--to-dir", str(folder / "never")),
                code=2,
            ),
        }
        sink.send_signal(signal.SIGSTOP)
        produce(cluster, range(4_000, IMPRESSIONS), folder)
        worker.send_signal(signal.SIGUSR1)
        assert worker.wait(PATIENCE_S) == 0, (folder / "worker.log").read_text()[-2_000:]
        live["sink behind"] = export(
            environment,
            *("outcomes", "--from", "2023-11-14T22", "--to-dir", str(folder / "never"), "--wait", "0s"),
            code=2,
        )
        sink.send_signal(signal.SIGCONT)
        yield Ran(environment, cluster, client, folder, live)
    finally:
        for process in (worker, sink):
            process.send_signal(signal.SIGCONT)
            process.terminate()
            process.wait(PATIENCE_S)
        client.command("DROP DATABASE IF EXISTS exported SYNC")
        client.close()


def truth(ran: Ran) -> list[Outcome]:
    return [outcome for each in committed_truths(ran.cluster, ended=True).values() for outcome in each.decided()]


def test_beside_live_workers_only_whole_hours_that_are_final_are_exported(ran: Ran) -> None:
    found = rows(ran.folder / "live" / "outcomes")
    assert {name.rpartition("/")[2] for name in map(str, (ran.folder / "live" / "outcomes").glob("*/*"))} == {
        "hour=22",
        "hour=23",
    }
    wanted = [each for each in truth(ran) if (each.ts or each.click_ts or 0) < T0_MS + 2 * HOUR_MS]
    assert Counter(keys(found)) == Counter(map(key, wanted))
    assert "--to 2023-11-15T01:00:00Z may still change: outcomes are final until 2023-11-15T00:" in ran.live["refused"]
    assert not (ran.folder / "never").exists()


def test_rows_that_the_sink_has_yet_to_write_are_waited_for_or_said(ran: Ran) -> None:
    assert "records of export.outcomes that group export.sink has yet to write" in ran.live["sink behind"]


def key(outcome: Outcome) -> tuple[Any, ...]:
    click = outcome.click_id or "", outcome.click_ts
    return outcome.kind, outcome.impression_id, *click, outcome.weight, outcome.price_micros or 0


def keys(table: pyarrow.Table) -> list[tuple[Any, ...]]:
    names = ("kind", "impression_id", "click_id", "click_time", "weight", "price_micros")
    table = table.set_column(
        table.schema.get_field_index("click_time"), "click_time", table.column("click_time").cast(pyarrow.int64())
    )
    return list(zip(*(table.column(name).to_pylist() for name in names), strict=True))


def test_outcomes_of_clickhouse_and_of_the_log_are_the_same_files_and_the_truth(ran: Ran) -> None:
    from_clickhouse, from_log = ran.files("clickhouse"), ran.files("log", "--source", "log")
    assert from_clickhouse.equals(from_log)
    assert Counter(keys(from_log)) == Counter(map(key, truth(ran)))
    assert {"click", "repeat", "unclicked", "orphan"} == set(from_log.column("kind").to_pylist())


def test_minutes_of_clickhouse_and_of_the_log_are_the_same_and_the_truth(ran: Ran) -> None:
    from_clickhouse = ran.files("clickhouse", what="minutes")
    assert from_clickhouse.equals(ran.files("log", "--source", "log", what="minutes"))
    wanted: dict[Any, tuple[int, ...]] = {}
    for partition, each in committed_truths(ran.cluster, ended=True).items():
        for found, sums in each.totals.items():
            wanted[*found, partition] = tuple(sums.get(name, 0) for name in MEASURES)
    rows_ = from_clickhouse.set_column(0, "minute", from_clickhouse.column("minute").cast(pyarrow.int64())).to_pylist()
    names = ("minute", *DIMENSIONS, "join_partition")
    assert {tuple(row[name] for name in names): tuple(row[name] for name in MEASURES) for row in rows_} == wanted


def test_duckdb_polars_and_pyarrow_give_the_figures_of_the_queries(ran: Ran) -> None:
    ran.files("figures", what="minutes")
    ran.files("figures")
    pattern = f"{ran.folder}/figures/minutes/*/*/*.parquet"
    names = ("impressions", "clicks", "spend_micros")
    spend = ", ".join(f"sum({name})" for name in names)
    wanted = ran.client.query(f"SELECT {spend} FROM minutes").result_rows[0]
    assert wanted[0] == IMPRESSIONS
    with duckdb.connect() as connection:
        assert connection.execute(f"SELECT {spend} FROM read_parquet('{pattern}')").fetchone() == wanted
        unclicked = connection.execute(
            f"SELECT count(), sum(weight) FROM read_parquet('{ran.folder}/figures/outcomes/*/*/*.parquet') "
            "WHERE kind = 'unclicked'"
        ).fetchone()
    query = run_query(ran.client, "unclicked")
    at = [query.columns.index(name) for name in ("kept", "stands_for")]
    assert unclicked == pytest.approx(tuple(sum(row[each] for row in query.rows) for each in at))
    frame = polars.scan_parquet(pattern, hive_partitioning=True)
    assert frame.select(names).sum().collect().row(0) == wanted
    table = pyarrow.dataset.dataset(ran.folder / "figures" / "minutes", partitioning="hive").to_table()
    assert tuple(pyarrow.compute.sum(table.column(name)).as_py() for name in names) == wanted


def test_examples_are_the_labelled_outcomes_of_fold(ran: Ran) -> None:
    found = ran.files("training", what="training")
    command = [sys.executable, "-m", "streams.cli", "fold", *OPTIONS[: OPTIONS.index("--checkpoint")]]
    logs = [word for log in ("impressions", "clicks") for word in (f"--{log}", str(ran.folder / f"{log}.jsonl"))]
    folded = subprocess.run([*command, *logs], capture_output=True, timeout=PATIENCE_S, check=True)
    wanted = [outcome for outcome in map(orjson.loads, folded.stdout.splitlines()) if outcome.get("label") is not None]
    assert Counter(found.column("impression_id").to_pylist()) == Counter(each["impression_id"] for each in wanted)
    by_id = {row["impression_id"]: row for row in found.to_pylist()}
    for each in wanted:
        row = by_id[each["impression_id"]]
        assert (row["label"], row["weight"], row["pctr"]) == (each["label"], each.get("weight", 1.0), each["pctr"])
        assert dict(row["categories"]) | dict(row["flags"]) | dict(row["numbers"]) == each["features"]
    assert {row["label"] for row in by_id.values()} == {0, 1}
    with pytest.raises(SettingsError, match="ClickHouse has no features"):
        ran.files("no", "--source", "clickhouse", what="training")


def test_forgotten_user_is_counted_by_verify_listed_for_kafka_and_gone_from_the_next_export(ran: Ran) -> None:
    before = ran.files("forgetting")
    quoting = rejected(
        *(Reason.MAPPING, 'm.toml line 5, user_id: ["user 7"] is no text', b"x"),
        topic="shop",
        partition=0,
        offset=1,
        record_ts_ms=START_MS,
    )
    letter = rows_of("rejects", [encode(quoting)], run="")[0]
    ran.client.insert(letter.table, letter.columns, column_names=letter.names, column_oriented=True)
    said = ran.call("forget", "--user", "user 7", "--yes", "--scan", "--format", "json")
    places = {each["where"]: each for each in orjson.loads(said[said.index("[") : said.rindex("]") + 1])}
    shown = [number for number in range(IMPRESSIONS) if number % 9 and number % 40 == 7]
    assert int(places["export.impressions"]["records"]) == len(shown)
    assert int(places["export.outcomes"]["records"]) > len(shown) / 3
    assert places["export.impressions"]["kept until, UTC"][:2] == "20"
    assert places["export.rejects"]["kept until, UTC"] == "none now"
    answer = verify(ran.environment, *BOUNDS, "--ended", "--wait", "60s", code=0)
    noted = {each["name"]: each["notes"] for each in answer["checks"]}
    assert next(note for note in noted["rejects"] if "tombstone" in note).startswith("1 dead letters have a tombstone")
    notes = noted["outcomes in ClickHouse"]
    users = Counter(outcome.user_id for outcome in truth(ran))
    counted = [int(note.split(": ")[1].split(" ")[0]) for note in notes if "without the user" in note]
    assert sum(counted) == users["user 7"] > 0
    after = ran.files("forgetting")
    gone = xxhash.xxh3_64_hexdigest(b"user 7")
    hashes = [table.column("user_hash").to_pylist() for table in (before, after)]
    assert hashes[0].count(gone) == users["user 7"]
    assert hashes[1] == [None if each == gone else each for each in hashes[0]]
    others = [name for name in before.schema.names if name != "user_hash"]
    assert before.select(others).equals(after.select(others))


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An S3 of this machine with a bucket."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    variables = {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "never-to-be-shown",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    urllib.request.urlopen(f"{address}/moto-api/reset", data=b"", timeout=10.0).close()
    files = fsspec.filesystem("s3", use_listings_cache=False, skip_instance_cache=True)
    files.mkdir(BUCKET)
    yield files, variables
    server.stop()


def test_export_to_s3_replaces_itself_there(ran: Ran, s3: Any) -> None:
    files, variables = s3
    ran.environment |= variables
    where = ["minutes", "--from", "2023-11-14T22", "--to", "2023-11-15T00", "--to-dir", f"s3://{BUCKET}/ads"]
    ran.export(*where)
    first = set(files.find(BUCKET))
    said = ran.export(*where, "--source", "log")
    second = set(files.find(BUCKET))
    assert said.startswith("exported: ")
    assert len(first) == len(second) == 3
    assert first & second == {f"{BUCKET}/ads/minutes/_manifest.json"}
    table = pyarrow.dataset.dataset(f"{BUCKET}/ads/minutes", filesystem=files, partitioning="hive").to_table()
    wanted = ran.client.query("SELECT count(), sum(impressions) FROM minutes WHERE minute < '2023-11-15'").result_rows
    assert [(table.num_rows, pyarrow.compute.sum(table.column("impressions")).as_py())] == wanted

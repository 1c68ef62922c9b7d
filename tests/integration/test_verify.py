"""`clickfold verify` beside live workers and after them: agrees with a sound run, names what was tampered with."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import orjson
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from confluent_kafka import Producer

from schemas.codec import decode
from schemas.errors import SettingsError
from schemas.outcomes import Outcome
from schemas.packed import minute_totals
from schemas.totals import MinuteTotals
from streams.embedded.broker import Broker
from streams.embedded.clickhouse import ClickHouse
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.reads import read_all
from streams.kafka.settings import EXACT_DELIVERY, client_settings
from streams.warehouse.client import Warehouse, connect
from tests.factories import pack_minute_totals
from tests.integration.test_join_worker import OPTIONS, PARTITIONS, folded, produce, start_worker
from tests.waiting import PATIENCE_S, eventually

pytestmark = [pytest.mark.broker, pytest.mark.clickhouse]
BOUNDS = OPTIONS[: OPTIONS.index("--checkpoint")]


@dataclass
class Ran:
    """A run that was watched and ended; `live` is what verify said beside the running worker."""

    environment: dict[str, str]
    cluster: Cluster
    client: Client
    live: dict[str, Any]

    def verify(self, *more: str, code: int, bounds: list[str] = BOUNDS) -> dict[str, Any]:
        return verify(self.environment, *bounds, "--ended", *more, code=code)


def verify(environment: dict[str, str], *options: str, code: int) -> dict[str, Any]:
    """The answer of the command as a process of its own, which ends with this exit code."""
    command = [sys.executable, "-m", "streams.cli", "verify", "--format", "json", *options]
    ran = subprocess.run(command, env=environment, capture_output=True, timeout=PATIENCE_S, check=False)
    assert ran.returncode == code, (ran.stdout + ran.stderr).decode()[-3_000:]
    answer: dict[str, Any] = orjson.loads(ran.stdout)
    return answer


def differing(answer: dict[str, Any]) -> dict[str, list[str]]:
    """The first differences of each check that has any."""
    return {check["name"]: check["first"] for check in answer["checks"] if check["differing"]}


def compared(answer: dict[str, Any]) -> dict[str, int]:
    return {check["name"]: check["compared"] for check in answer["checks"]}


def migrated(server: ClickHouse) -> bool:
    """Whether the sink has made its tables, which it does at its first insert."""
    try:
        Warehouse(server.url, "verified").open().close()
    except (SettingsError, ClickHouseError):
        return False
    return True


@pytest.fixture(scope="module")
def ran(broker: Broker, clickhouse: ClickHouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """Twelve minutes of traffic through a join worker and a sink; the run is ended."""
    folder = tmp_path_factory.mktemp("verify")
    cluster = Cluster(broker.bootstrap, prefix="verify.")
    Admin(cluster).create(partitions=PARTITIONS)
    environment = {
        **os.environ,
        "KAFKA_BOOTSTRAP_SERVERS": cluster.bootstrap,
        "CLICKFOLD_TOPIC_PREFIX": cluster.prefix,
        "CLICKHOUSE_URL": clickhouse.url,
        "CLICKHOUSE_DATABASE": "verified",
    }
    state_dir = folder / "state"
    state_dir.mkdir()
    worker = start_worker(cluster, state_dir)
    with (folder / "sink.log").open("ab") as log:
        command = [sys.executable, "-m", "streams.cli", "worker", "sink", "--batch-s", "0.1"]
        sink = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    client = connect(clickhouse.url)
    try:
        random = Random(5)
        produce(cluster, random, range(600))
        eventually(lambda: sum(folded(cluster).values()), lambda count: count >= 60_000, what="the first ten minutes")
        eventually(lambda: migrated(clickhouse), what="the sink's making of tables")
        live = verify(environment, *BOUNDS, "--wait", "60s", code=0)
        produce(cluster, random, range(600, 720))
        worker.send_signal(signal.SIGUSR1)
        assert worker.wait(PATIENCE_S) == 0, (folder / "worker.log").read_text()[-2_000:]
        client.database = "verified"
        yield Ran(environment, cluster, client, live)
    finally:
        for process in (worker, sink):
            process.terminate()
            process.wait(PATIENCE_S)
        client.command("DROP DATABASE IF EXISTS verified SYNC")
        client.close()


def test_beside_a_live_worker_what_is_settled_agrees_and_is_most_of_it(ran: Ran) -> None:
    counts = compared(ran.live)
    assert ran.live["events"]["impressions"] >= 60_000
    # The last half minute of window is open, and the last minutes are not final.
    assert counts["outcomes"] > 10_000
    # Nearly every other outcome is one of a shown impression, which ClickHouse does not keep.
    assert 0.45 < counts["outcomes in ClickHouse"] / counts["outcomes"] < 0.6
    assert counts["minute totals"] > 50
    assert counts["minute totals in ClickHouse"] == counts["minute totals"]


def test_ended_run_agrees_in_full(ran: Ran) -> None:
    answer = ran.verify("--wait", "60s", code=0)
    assert answer["agree"] is True
    assert answer["events"]["impressions"] > 72_000
    assert answer["absent"] == ["pacing"]
    assert compared(answer)["outcomes"] > compared(ran.live)["outcomes"]


def test_single_partition_is_verified_by_itself(ran: Ran) -> None:
    answer = ran.verify("--partitions", "1", code=0)
    assert answer["partitions"] == [1]
    assert 0 < answer["events"]["impressions"] < 72_000


def test_changed_row_in_clickhouse_is_named(ran: Ran) -> None:
    ran.verify("--wait", "60s", code=0)
    row = "SELECT * REPLACE (version + 1 AS version, impressions + 7 AS impressions) FROM minute_totals FINAL"
    first = "minute = (SELECT min(minute) FROM minute_totals) AND join_partition = 0 AND campaign_id = 'c3'"
    ran.client.command(f"INSERT INTO minute_totals {row} WHERE {first} LIMIT 1")
    try:
        found = differing(ran.verify(code=1))
    finally:
        ran.client.command(
            f"ALTER TABLE minute_totals DELETE WHERE {first} AND version = (SELECT max(version) FROM "
            f"minute_totals WHERE {first}) SETTINGS mutations_sync = 2"
        )
    assert list(found) == ["minute totals in ClickHouse"]
    assert "'c3'" in found["minute totals in ClickHouse"][0]
    assert "the truth is" in found["minute totals in ClickHouse"][0]


def test_outcome_too_many_in_kafka_is_named(ran: Ran) -> None:
    ran.verify("--wait", "60s", code=0)
    value = next(value for value in read_all(ran.cluster, "outcomes", 0) if decode(value, Outcome).kind == "click")
    outcome = decode(value, Outcome)
    producer = Producer(client_settings(ran.cluster, **EXACT_DELIVERY))
    producer.produce(ran.cluster.topic("outcomes"), value)
    assert producer.flush(10) == 0
    found = differing(ran.verify("--wait", "60s", code=1))
    # In ClickHouse it is one row: the same outcome twice changes nothing there.
    assert list(found) == ["outcomes"]
    assert found["outcomes"][0].startswith("1 too many: ")
    assert repr(outcome.impression_id) in found["outcomes"][0]


def test_lower_total_of_a_higher_version_in_kafka_is_named(ran: Ran) -> None:
    packed = minute_totals(read_all(ran.cluster, "totals", 1)[0])
    forged = MinuteTotals(
        packed.minute, 1, 2**63 - 1, True, [column[:1] for column in packed.dimensions], [[1]] * len(packed.measures)
    )
    producer = Producer(client_settings(ran.cluster, **EXACT_DELIVERY))
    producer.produce(ran.cluster.topic("totals"), pack_minute_totals(forged), partition=1)
    assert producer.flush(10) == 0
    found = differing(ran.verify("--wait", "60s", "--partitions", "1", code=1))
    assert list(found) == ["minute totals", "minute totals in ClickHouse"]
    assert str(packed.minute) in found["minute totals"][0]


def test_other_window_is_said_and_shows_in_outcomes(ran: Ran) -> None:
    found = differing(ran.verify(code=1, bounds=["--window", "20s", *BOUNDS[2:]]))
    assert "window" in found["settings"][0]
    assert "outcomes" in found


def test_run_that_was_not_ended_is_said(ran: Ran) -> None:
    other = {**ran.environment, "CLICKFOLD_TOPIC_PREFIX": ran.cluster.prefix}
    answer = verify(other, *BOUNDS, code=1)
    assert "--ended" in differing(answer)["bounds"][0]

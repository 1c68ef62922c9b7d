"""Exports of backfills and of what ClickHouse alone says: owned hours of complete runs, without Kafka."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from clickhouse_connect.driver.client import Client
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from typer.testing import CliRunner

from schemas.codec import encode
from schemas.errors import LostHistory, SettingsError, Transient
from schemas.totals import HOUR_MS
from streams.cli.app import app
from streams.embedded.broker import Broker
from streams.embedded.clickhouse import ClickHouse
from streams.export.final import topic_ends
from streams.export.from_clickhouse import ClickHouseReader, Hour
from streams.export.from_log import require_whole
from streams.export.tables import MINUTES, OUTCOMES
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.settings import client_settings
from streams.runs.record import ACTIVE, record_run
from tests.exports import T0_MS, clicked
from tests.golden import insert, total
from tests.integration.test_runs import run_record


@pytest.fixture
def runs(ads: Client) -> Client:
    """Live work and the run `again` have an outcome in each of three hours; the run's cost more."""
    for run, price_micros in (("", 1), ("again", 2)):
        outcomes = [clicked(hour, hour=hour, price_micros=price_micros, user_id="ann") for hour in range(3)]
        insert(ads, "outcomes", outcomes, run=run)
    record_run(ads, run_record("again"))
    return ads


@pytest.fixture
def environment(clickhouse: ClickHouse, runs: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLICKHOUSE_URL", clickhouse.url)
    monkeypatch.setenv("CLICKHOUSE_DATABASE", str(runs.database))
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)
    monkeypatch.setenv("CLICKFOLD_DATA_DIR", str(tmp_path / "none"))


def export(folder: Path, *words: str) -> list[dict[str, Any]]:
    """The rows that the command has written."""
    command = ["export", "outcomes", "--to-dir", str(folder), *words]
    ended = CliRunner().invoke(app, command, catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    files = sorted((folder / "outcomes").rglob("*.parquet"))
    return [row for file in files for row in pyarrow.parquet.read_table(file, partitioning=None).to_pylist()]


@pytest.mark.clickhouse
@pytest.mark.usefixtures("environment")
def test_rows_of_a_run_are_exported_in_the_hours_that_it_owns_without_kafka(tmp_path: Path) -> None:
    (row,) = export(tmp_path, "--run", "again", "--from", "2023-11-14T22")
    assert (row["impression_id"], row["price_micros"]) == ("i000000", 2)


@pytest.mark.clickhouse
@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(("since", "until"), [("21", "23"), ("22", "24"), ("23", "24")])
def test_hours_that_a_run_does_not_own_are_refused_with_those_it_does(tmp_path: Path, since: str, until: str) -> None:
    with pytest.raises(SettingsError, match="--from 2023-11-14T22:00:00Z --to 2023-11-14T23:00:00Z"):
        export(tmp_path, "--run", "again", "--from", f"2023-11-14T{since}", "--to", f"2023-11-14T{until}:00")


@pytest.mark.clickhouse
@pytest.mark.usefixtures("environment")
def test_run_that_is_not_complete_is_refused_and_live_work_needs_kafka(runs: Client, tmp_path: Path) -> None:
    record_run(runs, run_record("half", state="running"))
    with pytest.raises(SettingsError, match="run half is not complete"):
        export(tmp_path, "--run", "half", "--from", "2023-11-14T22")
    with pytest.raises(SettingsError, match="KAFKA_BOOTSTRAP_SERVERS"):
        export(tmp_path, "--from", "2023-11-14T22")
    assert not (tmp_path / "outcomes").exists()


@pytest.mark.clickhouse
def test_minutes_that_are_not_final_in_clickhouse_are_never_exported(ads: Client) -> None:
    insert(ads, "totals", [total(1, version=1, final=True)])
    reader = ClickHouseReader(ads, MINUTES, ACTIVE)
    assert reader.hours(T0_MS, T0_MS + HOUR_MS) == [Hour(T0_MS, 1)]
    insert(ads, "totals", [total(2, version=1)])
    with pytest.raises(Transient, match="1 minute totals of 2023-11-14 22:00 to 2023-11-14 23:00 are not final"):
        reader.hours(T0_MS, T0_MS + HOUR_MS)


@pytest.mark.clickhouse
def test_answer_with_other_rows_than_were_counted_is_no_export(runs: Client) -> None:
    reader = ClickHouseReader(runs, OUTCOMES, ACTIVE)
    assert [rows.num_rows for rows in reader.rows(Hour(T0_MS, 1))] == [1]
    with pytest.raises(Transient, match="ClickHouse gave 1 rows of an hour that had 2"):
        list(reader.rows(Hour(T0_MS, 2)))


@pytest.mark.broker
def test_hours_of_which_kafka_has_deleted_outcomes_are_refused(broker: Broker, topic_prefix: str) -> None:
    cluster = Cluster(broker.bootstrap, prefix=topic_prefix)
    Admin(cluster).create(partitions=1)
    producer, topic = Producer(client_settings(cluster)), cluster.topic("outcomes")
    for number in range(5):
        producer.produce(topic, encode(clicked(number)), partition=0, timestamp=T0_MS + number)
    producer.flush()
    ends = topic_ends(cluster, "outcomes", 1)
    require_whole(cluster, OUTCOMES, ends, 0)
    admin = AdminClient(client_settings(cluster))
    for deleted in admin.delete_records([TopicPartition(topic, 0, 3)]).values():
        deleted.result()
    with pytest.raises(LostHistory, match=r"begins at offset 3: .* only from 2023-11-14T22:10:00Z on"):
        require_whole(cluster, OUTCOMES, ends, T0_MS + 600_002)
    require_whole(cluster, OUTCOMES, ends, T0_MS + 600_003)

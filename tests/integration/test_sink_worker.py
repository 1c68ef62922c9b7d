"""The sink worker between the real broker and ClickHouse: kills, rebalances, bad records, wrong settings."""

import random
import subprocess
import sys
from dataclasses import replace
from functools import partial
from operator import lt
from typing import Any

import msgspec
import pytest
from clickhouse_connect.driver.client import Client
from confluent_kafka import TopicPartition

from schemas.codec import decode, encode
from schemas.errors import LostHistory, SettingsError
from schemas.rejects import Reason, Rejected
from streams.embedded.broker import Broker
from streams.embedded.clickhouse import ClickHouse, Fault
from streams.kafka.cluster import Cluster
from streams.sink import worker as worker_module
from streams.sink.settings import SinkSettings
from streams.warehouse.client import Warehouse
from streams.warehouse.writer import Writer
from tests.integration.sink_fixture import (
    PARTITIONS,
    Setting,
    click,
    impressions,
    raw_rows,
    strikes_left,
    total,
)
from tests.waiting import eventually

pytestmark = [pytest.mark.broker, pytest.mark.clickhouse]

# A sink in a process of its own, to be killed.
PROGRAM = """
import sys, threading
import msgspec
from streams.sink import settings as sink_settings
from streams.sink.settings import SinkSettings
from streams.warehouse.client import Warehouse
from streams.sink.worker import run
# There it is a name for type checkers alone, and msgspec needs it.
sink_settings.Warehouse = Warehouse
run(msgspec.json.decode(sys.argv[1], type=SinkSettings), threading.Event())
"""


@pytest.fixture
def setting(broker: Broker, clickhouse: ClickHouse, database: Client, topic_prefix: str) -> Setting:
    """Topics of this test's own, and its empty database."""
    return Setting(broker, clickhouse, str(database.database), topic_prefix)


def test_kills_resends_reordering_and_aborts_leave_the_sums_as_sent(
    setting: Setting, clickhouse: ClickHouse, database: Client
) -> None:
    chance = random.Random(5)
    keys = 3_000
    versions = [total(key, version=version) for key in range(keys) for version in (1, 2, 3, 4, 5)]
    resent = versions + chance.sample(versions, 3_000)
    chance.shuffle(resent)
    clicks = [click(number) for number in range(2_000)]
    for start in range(0, len(resent), 3_000):
        setting.send("totals", resent[start : start + 3_000])
        setting.send("totals", [total(key, version=9) for key in range(100)], commit=False)
    for start in range(0, len(clicks), 1_000):
        setting.send("outcomes", clicks[start : start + 1_000] + clicks[:200])

    arguments = msgspec.json.encode(setting.settings).decode()
    for kill in (1, 2):
        before = raw_rows(database, "minute_totals")
        process = subprocess.Popen([sys.executable, "-c", PROGRAM, arguments], stdout=subprocess.DEVNULL)
        eventually(lambda: raw_rows(database, "minute_totals"), partial(lt, before))
        # Refused for a while, so that batches are certainly read and not inserted when the process dies.
        clickhouse.order_faults([Fault("status", match="INSERT INTO", times=1_000, status=503)])
        eventually(lambda: strikes_left(clickhouse), lambda left: left < 998)
        process.kill()
        process.wait()
        clickhouse.order_faults([])
        assert sum(setting.committed("totals")) < len(resent), "killed too late to prove anything"
        setting.send("totals", [total(key, version=4) for key in range(0, keys, kill + 1)])
    with setting.sink() as progress:
        eventually(lambda: progress.caught_up, about=progress)
    assert impressions(database) == {f"k{key}": 1000 * key + 5 for key in range(keys)}
    sums = "SELECT count(), uniqExact(impression_id), sum(spend_micros) FROM clicks"
    assert database.query(sums).result_rows == [(2_000, 2_000, sum(range(2_000)))]
    assert progress.rejected == {}


def test_stopping_inserts_what_was_read_commits_to_the_end_and_leaves(setting: Setting, database: Client) -> None:
    setting.send("totals", [total(key, version=1) for key in range(30)])
    # Nothing is due by itself before the stop.
    with setting.sink(batch_s=3_600.0) as progress:
        eventually(lambda: progress.rows_held == 30, about=progress)
    assert len(impressions(database)) == 30
    # Ten records in each partition; the transaction's marker behind them is passed when the log's end was seen.
    assert {10, 11} >= set(setting.committed("totals"))
    with setting.sink() as again:
        eventually(lambda: again.caught_up, about=again)
    assert again.rows_written == {}
    assert setting.committed("totals") == [11, 11, 11]


def test_bad_records_become_dead_letters_before_their_offsets_commit(setting: Setting, database: Client) -> None:
    good = [total(key, version=1) for key in range(3)]
    overflow = encode(total(9, version=7)).replace(b'"version":7', b'"version":%d' % 2**70)
    bad = [b"not json", overflow, b""]
    setting.send("totals", [*good, *bad, *good])
    with setting.sink() as progress:
        eventually(lambda: progress.rows_written.get("reject_rows", 0) == 3 and progress.caught_up, about=progress)
    assert setting.committed("totals") == [4, 4, 4]
    letters = {letter.partition: letter for letter in (decode(value, Rejected) for value in setting.values("rejects"))}
    assert [letters[at].reason for at in range(3)] == [Reason.UNDECODABLE, Reason.UNWRITABLE, Reason.UNDECODABLE]
    assert {(letter.topic, letter.offset) for letter in letters.values()} == {(setting.topic("totals"), 1)}
    assert letters[0].prefix == b"not json"
    assert database.query("SELECT reason, count() FROM rejects GROUP BY reason ORDER BY reason").result_rows == [
        ("undecodable", 2),
        ("unwritable", 1),
    ]
    assert len(impressions(database)) == 3


def test_packed_totals_with_a_bad_row_are_one_letter_and_all_other_rows(setting: Setting, database: Client) -> None:
    keys = range(1_000)
    record = encode(total(*keys, version=1)).replace(b",7001,", b",%d," % 2**70)
    setting.send("totals", [record, total(5_000, version=1)])
    with setting.sink() as progress:
        eventually(lambda: progress.rows_written.get("reject_rows", 0) == 1 and progress.caught_up, about=progress)
    (letter,) = [decode(value, Rejected) for value in setting.values("rejects")]
    assert (letter.reason, letter.partition, letter.offset) == (Reason.UNWRITABLE, 0, 0)
    assert progress.rows_written["minute_totals"] == 1_000
    assert impressions(database) == {f"k{key}": 1000 * key + 1 for key in (*keys, 5_000) if key != 7}


def test_packed_totals_are_held_by_their_bytes(setting: Setting, clickhouse: ClickHouse, database: Client) -> None:
    packs = [[*range(start, start + 200)] for start in range(0, 60_000, 200)]
    records = [encode(total(*pack, version=1)) for pack in packs]
    largest = max(map(len, records))
    bounds = {"batch_bytes": 10 * largest, "most_bytes_held": 40 * largest}
    clickhouse.order_faults([Fault("status", match="INSERT INTO", times=1_000, status=503)])
    setting.send("totals", records)
    with setting.sink(**bounds, session_timeout_ms=10_000) as progress:
        eventually(lambda: progress.paused, about=progress)
        clickhouse.order_faults([])
        eventually(lambda: progress.caught_up, about=progress)
    assert progress.rows_written == {"minute_totals": 60_000}
    # Ten records of the largest size a batch.
    assert progress.inserts >= len(records) // 12
    assert impressions(database) == {f"k{key}": 1000 * key + 1 for key in range(60_000)}


def test_a_bad_dead_letter_is_counted_and_not_sent_round_in_circles(setting: Setting) -> None:
    setting.send("rejects", [b"not a letter"])
    with setting.sink() as progress:
        eventually(lambda: progress.caught_up, about=progress)
    assert progress.rejected == {Reason.UNDECODABLE: 1}
    assert len(setting.values("rejects")) == 1


def test_sinks_that_come_and_go_share_the_work_and_miss_nothing(setting: Setting, database: Client) -> None:
    def send(version: int) -> None:
        setting.send("totals", [total(key, version=version) for key in range(1_000)])

    only = {"roles": ("totals",)}
    with setting.sink(**only) as first:
        send(1)
        eventually(lambda: first.caught_up, about=first)
        with setting.sink(**only) as second:
            eventually(
                lambda: second.partitions > 0 and first.partitions + second.partitions == PARTITIONS,
                about=(first, second),
            )
            send(2)
            eventually(lambda: second.rows_written.get("minute_totals", 0) > 0, about=second)
            eventually(lambda: second.caught_up and first.caught_up, about=(first, second))
        send(3)
        eventually(lambda: first.partitions == PARTITIONS and first.caught_up, about=first)
        eventually(lambda: impressions(database), equals={f"k{key}": 1000 * key + 3 for key in range(1_000)})
    assert impressions(database) == {f"k{key}": 1000 * key + 3 for key in range(1_000)}


def test_lag_of_a_group_that_has_committed_nothing_is_what_kafka_keeps(
    setting: Setting, clickhouse: ClickHouse
) -> None:
    clickhouse.order_faults([Fault("status", match="INSERT INTO", times=1_000, status=503)])
    setting.send("totals", [total(key, version=1) for key in range(9)])
    with setting.sink(drain_s=0.1) as progress:
        # Three records and the marker of their transaction in each partition.
        eventually(lambda: progress.lag, equals=4 * PARTITIONS, about=progress)
    clickhouse.order_faults([])
    with setting.sink() as progress:
        eventually(lambda: progress.caught_up, about=progress)


def test_offsets_that_are_gone_stop_the_sink_with_both_numbers(setting: Setting) -> None:
    setting.send("totals", [total(key, version=1) for key in range(9)])
    with setting.sink() as progress:
        eventually(lambda: progress.caught_up, about=progress)
    setting.send("totals", [total(key, version=2) for key in range(9)])
    lost = [TopicPartition(setting.topic("totals"), partition, 6) for partition in range(PARTITIONS)]
    for deleted in setting.admin.delete_records(lost).values():
        deleted.result()
    with pytest.raises(LostHistory, match=r"offsets 6 to 8, the sink was left at 4"), setting.sink() as progress:
        eventually(lambda: progress.partitions == -1, about=progress)
    with setting.sink(accept_loss=True) as progress:
        eventually(lambda: progress.caught_up, about=progress)


def test_a_missing_topic_stops_the_sink_with_what_to_do(setting: Setting) -> None:
    cluster = setting.settings.cluster
    misspelt = replace(cluster, prefix=f"{cluster.prefix}typo.")
    with pytest.raises(SettingsError, match="clickfold init"), setting.sink(cluster=misspelt) as progress:
        eventually(lambda: progress.partitions == -1, about=progress)


def test_a_sink_of_a_cluster_asks_for_a_quorum(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, object]] = []

    def recorded(*rest: Any, **more: Any) -> Writer:
        given.append(more["settings"])
        return Writer(*rest, **more)

    monkeypatch.setattr(worker_module, "Writer", recorded)
    setting.send("totals", [total(key, version=1) for key in range(3)])
    with setting.sink() as progress:
        eventually(lambda: progress.caught_up, about=progress)
    setting.send("totals", [total(key, version=2) for key in range(3)])
    # Which the embedded engine ignores, as its tables have no replicas.
    warehouse = replace(setting.settings.warehouse, cluster="replicas")
    with setting.sink(warehouse=warehouse, migrate=False) as progress:
        eventually(lambda: progress.caught_up, about=progress)
    assert ["insert_quorum" in settings for settings in given] == [False, True]


def test_a_database_without_tables_stops_a_sink_that_may_not_make_them(setting: Setting) -> None:
    setting.send("totals", [total(0, version=1)])
    with pytest.raises(SettingsError, match="lacks 0001_runs"), setting.sink(migrate=False) as progress:
        eventually(lambda: progress.partitions == -1, about=progress)


@pytest.mark.parametrize(
    "change",
    [
        {"roles": ("clicks",)},
        {"batch_rows": 0},
        {"most_rows_held": 10},
        {"batch_bytes": 0},
        {"most_bytes_held": 10},
        {"batch_s": 0.0},
        {"answer_s": 0},
    ],
)
def test_settings_that_cannot_work_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        SinkSettings(cluster=Cluster(""), warehouse=Warehouse(""), group="", **change)

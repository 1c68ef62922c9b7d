"""`clickfold trace` on a real broker and ClickHouse: each thing that can happen to an impression id, in words."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
import pytest
import xxhash
from clickhouse_connect.driver.client import Client
from confluent_kafka import Producer, TopicPartition

from schemas.codec import encode
from schemas.rejects import Reason, Redriven
from streams.cli.render.trace import lines, sections
from streams.embedded.broker import Broker
from streams.embedded.clickhouse import ClickHouse
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.groups import commit_for
from streams.kafka.partitioners import java_partition
from streams.kafka.settings import EXACT_DELIVERY, client_settings
from streams.trace.answer import Trace
from streams.trace.run import TraceRequest, trace
from streams.warehouse.client import connect
from tests.factories import T0, click_json, impression_json
from tests.integration.test_join_worker import BOUNDS, OPTIONS, PARTITIONS, folded, produced, start_worker
from tests.waiting import PATIENCE_S, eventually

pytestmark = [pytest.mark.broker, pytest.mark.clickhouse]
# Above all that is decided by it: the window of 30 s, the skew and the lateness.
END_MS = T0 + 100_000


def named(start: str, *, sampled: bool) -> str:
    """An id that is sampled, or is not."""
    ids = (f"{start}-{number}" for number in range(1_000))
    below = BOUNDS.negative_rate * 2**64
    return next(each for each in ids if (xxhash.xxh3_64_intdigest(each.encode()) < below) is sampled)


UNCLICKED = named("unclicked", sampled=True)
UNSAMPLED = named("unclicked", sampled=False)


@dataclass
class Traced:
    """A run whose records were all decided; both workers are stopped."""

    environment: dict[str, str]
    cluster: Cluster
    client: Client
    traces: dict[str, Trace] = field(default_factory=dict)

    def trace(self, impression_id: str, **more: Any) -> Trace:
        if more:
            return self._trace(impression_id, **more)
        if impression_id not in self.traces:
            self.traces[impression_id] = self._trace(impression_id)
        return self.traces[impression_id]

    def _trace(self, impression_id: str, **more: Any) -> Trace:
        request = TraceRequest(
            impression_id=impression_id,
            # The inputs have the broker's times, so no record waits.
            bounds=BOUNDS,
            group=self.cluster.group("join"),
            sink_group=self.cluster.group("sink"),
            learn_group=self.cluster.group("learn"),
        )
        return trace(self.cluster, replace(request, **more), clickhouse=self.client)

    def words(self, impression_id: str, **more: Any) -> str:
        return "\n".join(lines(list(sections(self.trace(impression_id, **more)))))


def records() -> Iterator[tuple[str, str, bytes]]:
    """(input, key, value) of every case, in the order of each log."""
    for log, times in (("impressions", (0, 100_000)), ("clicks", (0, 100_000))):
        # The first and the last record of each partition move both watermarks.
        for at_ms in times:
            if at_ms:
                yield from (each for each in cases() if each[0] == log)
            for partition in range(PARTITIONS):
                key = next(f"filler{n}" for n in range(99) if java_partition(b"filler%d" % n, PARTITIONS) == partition)
                name, ts = f"{key}-{log}-{at_ms}", T0 + at_ms
                value = impression_json(key, ts) if log == "impressions" else click_json(name, key, ts)
                yield log, key, value
        yield from (each for each in after_the_end() if each[0] == log)


def cases() -> Iterator[tuple[str, str, bytes]]:
    """In the order of event time, so that none is late."""
    for name in ("matched", "repeated", "too-late", UNCLICKED, UNSAMPLED):
        yield "impressions", name, impression_json(name, T0 + 1, price_micros=1_500)
    for _ in range(2):
        yield "impressions", "doubled", impression_json("doubled", T0 + 1)
    yield "impressions", "conflict", impression_json("conflict", T0 + 1)
    yield "impressions", "conflict", impression_json("conflict", T0 + 2, price_micros=9)
    yield "impressions", "malformed", b'{"impression_id":"malformed","ts":'
    yield "impressions", "other-key", impression_json("under-another-key", T0 + 1)
    yield "clicks", "repeated", click_json("k-first", "repeated", T0 + 1_001)
    yield "clicks", "repeated", click_json("k-second", "repeated", T0 + 2_001)
    yield "clicks", "orphan", click_json("k-orphan", "orphan", T0 + 1)
    yield "clicks", "late", click_json("k-late", "late", T0 + 1)
    yield "clicks", "matched", click_json("k-matched", "matched", T0 + 10_001)
    yield "clicks", "too-late", click_json("k-too-late", "too-late", T0 + 30_002)


def after_the_end() -> Iterator[tuple[str, str, bytes]]:
    yield "impressions", "late", impression_json("late", T0 + 1)
    yield "impressions", "open", impression_json("open", END_MS)
    yield "clicks", "pending", click_json("k-pending", "pending", END_MS)


@pytest.fixture(scope="module")
def run(broker: Broker, clickhouse: ClickHouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    folder = tmp_path_factory.mktemp("trace")
    cluster = Cluster(broker.bootstrap, prefix="trace.")
    Admin(cluster).create(partitions=PARTITIONS)
    environment = {
        **os.environ,
        "KAFKA_BOOTSTRAP_SERVERS": cluster.bootstrap,
        "CLICKFOLD_TOPIC_PREFIX": cluster.prefix,
        "CLICKHOUSE_URL": clickhouse.url,
        "CLICKHOUSE_DATABASE": "traced",
    }
    producer = Producer(client_settings(cluster, **EXACT_DELIVERY, partitioner="murmur2_random"))
    for log, key, value in records():
        producer.produce(cluster.topic(log), value, key)
    assert producer.flush(PATIENCE_S) == 0
    (state_dir := folder / "state").mkdir()
    worker = start_worker(cluster, state_dir)
    with (folder / "sink.log").open("ab") as log_file:
        command = [sys.executable, "-m", "streams.cli", "worker", "sink", "--batch-s", "0.1"]
        sink = subprocess.Popen(command, env=environment, stdout=log_file, stderr=log_file)
    with closing(connect(clickhouse.url)) as client:
        try:
            sql = "SELECT count() FROM system.tables WHERE database = 'traced' AND name = 'promoted_spans'"
            eventually(lambda: client.query(sql).result_rows[0][0], bool, what="the sink's making of tables")
            client.database = "traced"
            eventually(lambda: folded(cluster) == produced(cluster), bool, what="the join")
            sql = "SELECT count() FROM outcomes WHERE impression_id IN ('orphan', 'too-late')"
            eventually(lambda: client.query(sql).result_rows[0][0], lambda rows: rows == 2, what="the sink")
            for process in (worker, sink):
                process.terminate()
                assert process.wait(PATIENCE_S) == 0
            yield Traced(environment, cluster, client)
        finally:
            for process in (worker, sink):
                process.kill()
                process.wait(PATIENCE_S)
            client.command("DROP DATABASE IF EXISTS traced SYNC")


def test_matched_click_is_traced_to_its_bill_its_totals_and_its_row(run: Traced) -> None:
    found = run.trace("matched")
    partition = java_partition(b"matched", PARTITIONS)
    assert [(each.input, each.place.partition, each.fate.name) for each in found.records] == [
        ("impressions", partition, "accepted"),
        ("clicks", partition, "accepted"),
    ]
    (click,) = found.clicks
    assert (click.kind, click.delay_ms, click.price_micros) == ("click", 10_000, 1_500)
    assert [each.as_computed for each in found.outcomes] == [True] * len(found.outcomes)
    minutes = [each for each in found.counted if each.of == "minute"]
    (minute,) = [each for each in minutes if each.adds.get("spend_micros") == 1_500]
    assert minute.start_ms == (T0 + 10_001) // 60_000 * 60_000
    assert minute.total is not None
    assert minute.row is not None
    assert minute.total["spend_micros"] >= 1_500
    assert minute.row["spend_micros"] >= minute.total["spend_micros"]
    (campaign,) = [each for each in found.counted if each.of == "campaign"]
    assert campaign.names == {"campaign_id": "c"}
    assert campaign.total is not None
    assert found.clickhouse is not None
    (row,) = found.clickhouse.outcomes
    assert (row["kind"], row["click_id"], row["price_micros"]) == ("click", "k-matched", 1_500)
    assert found.not_known == []
    words = run.words("matched")
    assert "matched: 10s after the impression at offset" in words
    assert "billed: the first click on this impression, 1,500 micros" in words
    assert "no learner has read it" in words
    assert (
        "outcomes: billed click k-matched at 2023-11-14 22:13:30.001 on the impression at 2023-11-14 22:13:20" in words
    )


def test_second_click_is_a_repeat_that_is_not_billed(run: Traced) -> None:
    words = run.words("repeated")
    assert words.count("billed: the first click") == 1
    assert "repeat: this impression was billed before, so it is counted and not billed" in words
    assert [click.kind for click in run.trace("repeated").clicks] == ["click", "repeat"]


def test_click_after_the_window_is_an_orphan_with_the_distance(run: Traced) -> None:
    words = run.words("too-late")
    assert "orphan, not billed: 30.001s after the impression at offset" in words
    assert "a click matches at most 30s after its impression" in words
    assert "closed without a click" in words


def test_unknown_id_says_where_it_was_looked_for(run: Traced) -> None:
    words = run.words("never-sent")
    assert "no record with the key never-sent or with it in its value" in words
    assert "trace.clicks[" in words


def test_click_without_impression_is_an_orphan(run: Traced) -> None:
    assert "orphan, not billed: no impression with this id came" in run.words("orphan")


def test_late_impression_is_refused_with_the_record_that_was_ahead_and_its_click_is_an_orphan(run: Traced) -> None:
    words = run.words("late")
    assert "rejected as late: 1m 39.999s behind the record at offset" in words
    assert "of its log, which is of 2023-11-14 22:15:00.000; the lateness allows 5s; dead letter trace.rejects" in words
    assert "orphan, not billed: its impression was not accepted (late, trace.impressions[" in words


def test_second_copy_is_a_duplicate_and_other_content_a_conflict(run: Traced) -> None:
    first, second = run.trace("doubled").records
    assert (first.fate.name, second.fate.name, second.fate.twin) == ("accepted", "duplicate", first.place.offset)
    first, second = run.trace("conflict").records
    assert (first.fate.name, second.fate.name, second.fate.twin) == ("accepted", "conflict", first.place.offset)
    assert second.fate.letter is not None


def test_malformed_record_is_shown_with_what_is_wrong(run: Traced) -> None:
    (record,) = run.trace("malformed").records
    assert (record.event, record.fate.name) == (None, "undecodable")
    assert 'value: {"impression_id":"malformed","ts":' in run.words("malformed")


def test_record_that_was_redriven_says_so(run: Traced) -> None:
    (record,) = run.trace("malformed").records
    where = record.place
    sent = Redriven(where.topic, where.partition, where.offset, "impressions", 0, Reason.UNDECODABLE, T0, T0 + 60_000)
    producer = Producer(client_settings(run.cluster, **EXACT_DELIVERY))
    producer.produce(run.cluster.topic("redriven"), encode(sent))
    assert producer.flush(PATIENCE_S) == 0
    run.traces.pop("malformed")
    assert "mended and sent again at 2023-11-14 22:14:20.000, by `clickfold rejects redrive`" in run.words("malformed")


def test_record_under_another_key_is_found_in_all_partitions(run: Traced) -> None:
    (record,) = run.trace("under-another-key", all_partitions=True).records
    assert (record.key, record.fate.name) == ("other-key", "key")


def test_unclicked_impression_has_an_outcome_only_if_it_is_sampled(run: Traced) -> None:
    sampled, unsampled = run.trace(UNCLICKED), run.trace(UNSAMPLED)
    assert [each.outcome["kind"] for each in sampled.outcomes] == ["shown", "unclicked"]
    assert unsampled.outcomes == []
    assert [each.kind for each in unsampled.impressions] == ["unclicked"]
    assert "not sampled (negative rate 0.3): it is counted, and has no outcome of its own" in run.words(UNSAMPLED)
    assert unsampled.counted[0].adds == {"impressions": 1}


def test_what_is_not_decided_yet_says_what_is_awaited(run: Traced) -> None:
    assert "open: a click up to 2023-11-14 22:15:30.000 may still match (window 30s)" in run.words("open")
    assert "pending: its impression may still come; impressions are awaited from 2023-11-14 22:14:5" in run.words(
        "pending"
    )


def test_what_the_learner_has_committed_is_learned(run: Traced) -> None:
    topic, group = run.cluster.topic("outcomes"), "trace.some-learner"
    places = [each.place.offset for each in run.trace("repeated").outcomes if each.outcome["kind"] != "shown"]
    # The click, and not the repeat behind it.
    assert commit_for(run.cluster, group, [TopicPartition(topic, 0, places[0] + 1)])
    found = run.trace("repeated", learn_group=group)
    learned = {each.outcome["kind"]: each.learned for each in found.outcomes}
    assert (learned["click"], learned["repeat"]) == (True, False)


def test_click_that_was_not_read_makes_the_trace_say_what_it_lacks(run: Traced) -> None:
    partition = java_partition(b"matched", PARTITIONS)
    (at,) = [each.place.offset for each in run.trace("matched").records if each.input == "impressions"]

    def offset(log: str, each: int) -> int:
        return at + 1 if (log, each) == ("impressions", partition) else 0

    offsets = {log: [f"{each}={offset(log, each)}" for each in range(PARTITIONS)] for log in ("impressions", "clicks")}
    ends = ";".join(f"{log}:{','.join(of)}" for log, of in offsets.items())
    found = run.trace("matched", from_text=ends)
    assert [each.input for each in found.records] == ["clicks"]
    # The rules alone would make it an orphan; ads.outcomes has the click.
    assert "was read from offset" in found.not_known[0]
    assert [each.as_computed for each in found.outcomes if each.outcome["kind"] == "click"] == [False]


def test_other_settings_than_the_join_has_are_said(run: Traced) -> None:
    other = run.trace("matched", dimensions=("campaign_id",))
    assert "the join ran with other settings" in other.not_known[0]


def test_command_answers_in_words_or_json_and_ends_with_3_for_an_unknown_id(run: Traced) -> None:
    def command(*words: str) -> subprocess.CompletedProcess[bytes]:
        bounds = OPTIONS[: OPTIONS.index("--checkpoint")]
        process = [sys.executable, "-m", "streams.cli", "trace", *words, *bounds]
        return subprocess.run(process, env=run.environment, capture_output=True, timeout=PATIENCE_S, check=False)

    told = command("matched")
    assert told.returncode == 0, told.stderr
    assert b"billed: the first click on this impression" in told.stdout
    unknown = command("never-sent", "--json")
    assert unknown.returncode == 3
    answer = orjson.loads(unknown.stdout)
    assert (answer["records"], answer["outcomes"], answer["not_known"]) == ([], [], [])
    assert {each["topic"] for each in answer["read"]} >= {"trace.impressions", "trace.clicks"}


def test_promoted_minute_is_said_to_show_the_run(run: Traced) -> None:
    minute = T0 // 60_000 * 60
    columns = "(run, promoted, from_minute, to_minute, version)"
    run.client.command(f"INSERT INTO promotion_rows {columns} VALUES ('again', true, {minute}, {minute + 60}, 1)")
    try:
        run.traces.pop("matched", None)
        assert "is shown from run again, in place of live work" in run.words("matched")
    finally:
        run.traces.pop("matched", None)
        run.client.command("TRUNCATE TABLE promotion_rows")

"""`clickfold produce` on the real broker: every good record once, keyed and in order, whatever stops it."""

from __future__ import annotations

import gzip
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import orjson
import pytest

from schemas.errors import Transient
from streams.cli.mapping import read_mapping_file
from streams.embedded.broker import Broker
from streams.inputs.production import Production
from streams.inputs.sendable import Sendable
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.partitioners import java_partition
from streams.kafka.reads import read_all, read_log
from streams.kafka.sender import Sender
from tests.integration.test_join_worker import start_worker
from tests.test_fold_command import Done, run_here
from tests.waiting import PATIENCE_S, eventually

pytestmark = pytest.mark.broker
ROOT = Path(__file__).parent.parent.parent
PARTITIONS = 2
T0_S = 1_700_000_000
MAPPING = """
[impressions]
impression_id = "id"
ts = { path = "t", unit = "s" }
campaign_id = "cid"
creative_id = { constant = "x" }
price_micros = { path = "cost", unit = "units" }
[impressions.where]
event = "show"
[clicks]
click_id = "k"
impression_id = "id"
ts = { path = "t", unit = "s" }
[clicks.where]
event = "click"
"""


@pytest.fixture
def cluster(broker: Broker, topic_prefix: str, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """Empty topics, which commands of this test take."""
    cluster = Cluster(broker.bootstrap, prefix=topic_prefix)
    Admin(cluster).create(partitions=PARTITIONS)
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", cluster.bootstrap)
    monkeypatch.setenv("CLICKFOLD_TOPIC_PREFIX", cluster.prefix)
    return cluster


@pytest.fixture
def mapping(tmp_path: Path) -> Path:
    path = tmp_path / "mixed.toml"
    path.write_text(MAPPING)
    return path


def events(count: int) -> list[dict[str, Any]]:
    """A view a second, and ten seconds later a click on every third; some records are no events of either."""
    found: list[dict[str, Any]] = []
    for number in range(count):
        found.append({"event": "show", "id": f"i{number}", "t": T0_S + number, "cid": number % 3, "cost": 0.25})
        if number >= 10 and number % 3 == 0:
            found.append({"event": "click", "id": f"i{number - 10}", "t": T0_S + number, "k": f"k{number}"})
        if number % 50 == 7:
            found.append({"event": "show", "id": f"bad{number}", "t": "soon", "cid": 1, "cost": 1})
            found.append({"event": "show", "id": f"long{number}", "t": T0_S, "cid": 1, "cost": 1, "k": None})
            found.append({"event": "page"})
    return found


def lines(records: list[dict[str, Any]]) -> bytes:
    return b"".join(orjson.dumps(record) + b"\n" for record in records)


def produced(*arguments: object) -> Done:
    return run_here(*arguments, command="produce")


def in_topic(cluster: Cluster, role: str) -> list[tuple[int, str, dict[str, Any]]]:
    """Partition, key and event of all records."""
    return [
        (partition, (record.key or b"").decode(), orjson.loads(record.value or b""))
        for partition in range(PARTITIONS)
        for record in read_log(cluster, role, partition)
    ]


def test_what_is_produced_joins_to_what_fold_makes_of_the_same_files(
    cluster: Cluster, mapping: Path, tmp_path: Path
) -> None:
    mixed = tmp_path / "events.jsonl.gz"
    records = [event for event in events(400) if not str(event.get("id", "")).startswith("long")]
    mixed.write_bytes(gzip.compress(lines(records)))
    files = ("--impressions", mixed, "--clicks", mixed, "--map", mapping)
    done = produced(*files, "--json")
    assert done.code == 0, done.err.decode()
    figures = orjson.loads(done.out)
    assert (figures["impressions"]["sent"], figures["impressions"]["refused"]) == (400, 8)
    bounds = ("--window", "30s", "--skew", "1s", "--lateness", "5s", "--negative-rate", "0.3")
    folded = run_here(*files, *bounds)
    expected = {outcome["impression_id"]: outcome for outcome in map(orjson.loads, folded.out.splitlines())}
    state = tmp_path / "state"
    state.mkdir()
    worker = start_worker(cluster, state)
    try:
        eventually(lambda: worker.poll() is not None or read_all(cluster, "ledger", 0))
        worker.send_signal(signal.SIGUSR1)
        assert worker.wait(PATIENCE_S) == 0
    finally:
        worker.kill()
    outcomes = [orjson.loads(value) for value in read_all(cluster, "outcomes", 0)]
    found = {each["impression_id"]: {"click_id": None, **each} for each in outcomes if each["kind"] != "shown"}
    for each in (*found.values(), *expected.values()):
        each.pop("join_partition")
    assert found == expected
    assert sum(each["kind"] == "click" for each in found.values()) > 100


def test_each_record_has_its_key_and_the_partition_that_java_gives_it(
    cluster: Cluster, mapping: Path, tmp_path: Path
) -> None:
    mixed, campaigns = tmp_path / "events.jsonl", tmp_path / "campaigns.csv"
    mixed.write_bytes(lines(events(60)))
    campaigns.write_text(
        "campaign_id,daily_budget_micros,timezone,status,pacing,version\nc1,5000000,UTC,active,even,1\n"
    )
    done = produced("--impressions", mixed, "--clicks", mixed, "--campaigns", campaigns, "--map", mapping)
    assert done.code == 0, done.err.decode()
    for role, name in (("impressions", "impression_id"), ("clicks", "impression_id"), ("campaigns", "campaign_id")):
        found = in_topic(cluster, role)
        assert found
        for partition, key, event in found:
            assert key == event[name]
            assert partition == java_partition(key.encode(), PARTITIONS)
    said = done.out.decode()
    assert f"impressions: 62 sent to {cluster.prefix}impressions, 2 refused\n" in said
    assert f'  refused 2 by the mapping, first {mixed} line 9: {mapping} line 4, ts: "soon" is no number' in said
    assert f"campaigns: 1 sent to {cluster.prefix}campaigns" in said
    assert "event time reached: 2023-11-14T22:14:19Z" in said


def test_records_that_the_join_would_refuse_are_not_sent_and_are_named(cluster: Cluster, tmp_path: Path) -> None:
    shown = {"ts": T0_S * 1_000, "campaign_id": "c", "creative_id": "x", "price_micros": 5}
    path = tmp_path / "impressions.jsonl"
    path.write_bytes(lines([shown | {"impression_id": f"i{n}"} for n in range(3)]) + b"not json\n" + b'{"ts":5}\n')
    done = produced("--impressions", path)
    assert done.code == 0
    assert f"impressions: 3 sent to {cluster.prefix}impressions, 2 refused" in done.out.decode()
    assert f"refused  1 undecodable, first {path} line 4: " in done.out.decode()
    assert sorted(key for _, key, _ in in_topic(cluster, "impressions")) == ["i0", "i1", "i2"]
    path.write_bytes(b'{"ts":5}\n{"ts":6}\n')
    none = produced("--impressions", path)
    assert none.code == 3
    assert b"clickfold: no record of impressions was accepted, of 2" in none.err
    assert len(in_topic(cluster, "impressions")) == 3


def production(cluster: Cluster, mapping: Path, path: Path, **begin: int) -> Production:
    logs = read_mapping_file(str(mapping)).logs([path], [path], both=False, begin=begin)
    return Production(cluster, {log: Sendable(each) for log, each in logs.items()}, (), speed=None, begin=begin)


def test_a_run_that_is_stopped_says_how_to_go_on_and_then_each_record_is_there_once(
    cluster: Cluster, mapping: Path, tmp_path: Path
) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(lines(events(9_000)))
    first, stop = production(cluster, mapping, path), threading.Event()
    assert first.run(stop, stop.set) is None
    *_, said = first.lines()
    assert not first.is_done
    figures = first.figures()
    begin = {log: figures[log]["next"] for log in ("impressions", "clicks")}
    assert f"--skip-impressions {begin['impressions']} --skip-clicks {begin['clicks']} sends the rest" in said
    second = production(cluster, mapping, path, **begin)
    assert second.run(threading.Event(), lambda: None) is None
    assert second.is_done
    for role, name in (("impressions", "impression_id"), ("clicks", "click_id")):
        ids = [event[name] for _, _, event in in_topic(cluster, role)]
        assert len(ids) == len(set(ids)) == first.figures()[role]["sent"] + second.figures()[role]["sent"]
    assert len(in_topic(cluster, "impressions")) == 9_180


def test_a_file_that_is_cut_is_sent_up_to_the_damage_and_the_rest_after_it_is_mended(
    cluster: Cluster, mapping: Path, tmp_path: Path
) -> None:
    path, whole = tmp_path / "events.jsonl.gz", gzip.compress(lines(events(3_000)))
    path.write_bytes(whole[: len(whole) // 2])
    cut = produced("--impressions", path, "--map", mapping, "--json")
    assert cut.code == 2
    assert b"is damaged or cut short after line" in cut.err
    figures = orjson.loads(cut.out)["impressions"]
    assert len(in_topic(cluster, "impressions")) == figures["sent"] > 500
    path.write_bytes(whole)
    rest = produced("--impressions", path, "--map", mapping, "--skip-impressions", figures["next"])
    assert rest.code == 0
    ids = [key for _, key, _ in in_topic(cluster, "impressions")]
    assert len(ids) == len(set(ids)) == 3_060


def test_ctrl_c_while_a_pipe_is_silent_ends_with_what_was_sent(cluster: Cluster, mapping: Path) -> None:
    command = [sys.executable, "-m", "streams.cli", "produce", "--impressions", "-", "--map", str(mapping), "--json"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(lines(events(12_000)))
        process.stdin.flush()
        eventually(lambda: len(in_topic(cluster, "impressions")) > 4_000)
        process.send_signal(signal.SIGINT)
        figures = orjson.loads(process.stdout.read())
        assert process.wait(PATIENCE_S) == 130
        process.stdin.close()
    assert not figures["done"]
    assert figures["impressions"]["sent"] == len(in_topic(cluster, "impressions"))


def test_topics_that_do_not_exist_are_said_with_the_remedy(
    broker: Broker, topic_prefix: str, mapping: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", broker.bootstrap)
    monkeypatch.setenv("CLICKFOLD_TOPIC_PREFIX", topic_prefix)
    path = tmp_path / "events.jsonl"
    path.write_bytes(lines(events(20)))
    done = produced("--impressions", path, "--clicks", path, "--map", mapping)
    assert done.code == 2
    missing = f"topics {topic_prefix}impressions, {topic_prefix}clicks do not exist; run `clickfold init` first"
    assert missing in done.err.decode()
    assert done.out == b""


def test_the_page_on_your_own_data_shows_what_the_command_prints(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs/start/your-own-data.md").read_text()
    command = re.search(r"^clickfold produce (.*)$", page, re.M)
    shown = re.search(r"what was refused, where and why:\n\n```text\n(.*?)```", page, re.S)
    assert command is not None
    assert shown is not None
    for name in ("shown.csv", "clicked.jsonl"):
        shutil.copy(ROOT / "docs/start/own-data" / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    run_here("guess", "shown.csv", "clicked.jsonl", "-o", "mine.toml", command="map")
    guessed = Path("mine.toml").read_text()
    # As the page does it.
    mended = guessed.replace('unit = "units" }', 'unit = "units", default = 0 }')
    Path("mine.toml").write_text(mended.replace("\ncountry = ", '\nnull = ["n/a"]\ncountry = '))
    done = produced(*command[1].split())
    assert done.code == 0, done.err.decode()
    assert done.out.decode().replace(cluster.prefix, "ads.") == shown[1]


def test_a_kafka_that_goes_away_is_said_with_what_it_has_for_certain(
    cluster: Cluster, mapping: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(lines(events(12_000)))
    send, parts = Sender.send, iter(range(100))

    def failing(sender: Sender, role: str, records: Any) -> None:
        if role == "impressions" and next(parts) == 2:
            raise Transient("Kafka is gone")
        send(sender, role, records)

    monkeypatch.setattr(Sender, "send", failing)
    monkeypatch.setattr("streams.inputs.feed._FLUSH_EVERY_S", 0.0)
    work = production(cluster, mapping, path)
    assert str(work.run(threading.Event(), lambda: None)) == "Kafka is gone"
    *_, said = work.lines()
    figures = work.figures()
    assert f"with --skip-impressions {figures['impressions']['next']} --skip-clicks {figures['clicks']['next']}" in said
    monkeypatch.setattr(Sender, "send", send)
    begin = {log: figures[log]["next"] for log in ("impressions", "clicks")}
    assert min(begin.values()) > 5_000
    assert production(cluster, mapping, path, **begin).run(threading.Event(), lambda: None) is None
    assert {key for _, key, _ in in_topic(cluster, "impressions")} >= {f"i{number}" for number in range(12_000)}

"""Dead letters are listed, shown and redriven on a real broker; a worker joins what was mended, once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from confluent_kafka import Producer

from schemas.codec import decode, encode
from schemas.errors import Transient
from schemas.outcomes import Outcome
from schemas.rejects import Reason, Redriven, rejected
from schemas.totals import Ledger, LogCounts
from streams.embedded.broker import Broker
from streams.ingest.schemas import reading
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.partitioners import java_partition
from streams.kafka.reads import read_all, read_log
from streams.kafka.settings import EXACT_DELIVERY, client_settings
from streams.mapping.compiled import Compiled
from streams.mapping.language import read_mapping
from streams.mapping.mending import Mended, Mender
from streams.redrive.letters import Letters, Spot
from streams.redrive.run import Redrive, Redriving
from streams.redrive.sending import Sending, ToSend
from tests.factories import T0, click_json, impression_json
from tests.integration.test_join_worker import PARTITIONS, folded, produced, start_worker
from tests.waiting import PATIENCE_S, eventually

pytestmark = pytest.mark.broker
# As a server wrote them: seconds, cents, other names.
MAPPING = """
[impressions]
where = { kind = "shown" }
impression_id = "id"
ts = { path = "at", unit = "s" }
campaign_id = "campaign"
creative_id = { constant = "x" }
price_micros = { path = "price", unit = "cents" }

[clicks]
where = { kind = "clicked" }
click_id = "click"
impression_id = "id"
ts = { path = "at", unit = "s" }
"""
T0_S = T0 // 1_000


def shown(name: str, at_s: int = T0_S) -> bytes:
    return orjson.dumps({"kind": "shown", "id": name, "at": at_s, "campaign": "c", "price": 7})


def clicked(name: str, at_s: int = T0_S) -> bytes:
    return orjson.dumps({"kind": "clicked", "id": name, "click": f"k-{name}", "at": at_s})


def mender(text: str = MAPPING) -> Mender:
    file = read_mapping(text, "own.toml")
    inputs = {log: Compiled(each) for log, each in file.inputs.items()}
    return Mender(inputs, file.digest, reading(inputs.values(), None, with_headers=file.headers))


def send(cluster: Cluster, topic: str, records: list[tuple[str | None, bytes | None]]) -> None:
    producer = Producer(client_settings(cluster, **EXACT_DELIVERY, partitioner="murmur2_random"))
    for key, value in records:
        producer.produce(topic, value, key)
    assert producer.flush(PATIENCE_S) == 0


@dataclass
class World:
    """A cluster with a join that goes on, and dead letters that it wrote."""

    cluster: Cluster
    environment: dict[str, str]

    def redrive(self, own: Mender | None = None, **more: Any) -> Redriving:
        work = Redrive(self.cluster, own or Mender(), lateness_ms=5_000, **more)
        return work.run(Letters(self.cluster))

    def outcomes(self) -> list[Outcome]:
        return [decode(value, Outcome) for value in read_all(self.cluster, "outcomes", 0)]

    def redriven(self) -> list[Redriven]:
        return [decode(value, Redriven) for value in read_all(self.cluster, "redriven", 0)]

    def settled(self) -> None:
        """Waits until the join has read everything."""
        eventually(lambda: folded(self.cluster) == produced(self.cluster), bool, what="the join")

    def command(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "streams.cli", "rejects", *words]
        return subprocess.run(command, env=self.environment, capture_output=True, timeout=PATIENCE_S, check=False)


@pytest.fixture(scope="module")
def world(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    cluster = Cluster(broker.bootstrap, prefix="redrive.")
    Admin(cluster).create(partitions=PARTITIONS)
    (state_dir := tmp_path_factory.mktemp("redrive") / "state").mkdir()
    worker = start_worker(cluster, state_dir, "--commit", "50ms")
    environment = {
        **os.environ,
        "KAFKA_BOOTSTRAP_SERVERS": cluster.bootstrap,
        "CLICKFOLD_TOPIC_PREFIX": cluster.prefix,
    }
    try:
        yield World(cluster, environment)
    finally:
        worker.kill()
        worker.wait(PATIENCE_S)


@pytest.fixture(scope="module")
def refused(world: World) -> World:
    """Two of another form, one under another key, one that nothing mends; then time goes on."""
    cluster = world.cluster
    send(cluster, cluster.topic("impressions"), [("form", shown("form")), ("other", impression_json("key", T0))])
    send(cluster, cluster.topic("impressions"), [("broken", b"{"), ("none", None)])
    send(cluster, cluster.topic("clicks"), [("form", clicked("form", T0_S + 3))])
    world.settled()
    return world


def by_key(cluster: Cluster, role: str, key: bytes) -> list[bytes | None]:
    records = read_log(cluster, role, java_partition(key, PARTITIONS))
    return [record.value for record in records if record.key == key]


def test_dead_letters_are_redriven_once_and_joined(refused: World) -> None:
    cluster = refused.cluster
    planned = refused.redrive(mender(), dry_run=True)
    assert (dict(planned.sent), refused.redriven()) == ({"impressions": 2, "clicks": 1}, [])
    listed = refused.command("list", "--json")
    groups = {(each["topic"], each["reason"]): each for each in orjson.loads(listed.stdout)}
    assert groups["redrive.impressions", "undecodable"]["count"] == 2
    assert groups["redrive.impressions", "key"]["redriven"] == 0
    assert "map guess" in groups["redrive.impressions", "undecodable"]["remedy"]

    found = refused.redrive(mender())
    # The one under another key is good as it is.
    assert dict(found.sent) == {"impressions": 2, "clicks": 1}
    assert {reason: each.records for reason, each in found.refused.items()} == {
        Reason.UNDECODABLE: 1,
        Reason.TOMBSTONE: 1,
    }
    again = [refused.redrive(own) for own in (mender(), Mender())]
    assert [(dict(each.sent), each.before) for each in again] == [({}, 3), ({}, 3)]
    refused.settled()

    eventually(lambda: [each.kind for each in refused.outcomes() if each.kind == "click"], bool, what="the click")
    (bill,) = [each for each in refused.outcomes() if each.kind == "click"]
    assert (bill.impression_id, bill.price_micros, bill.delay_ms) == ("form", 70_000, 3_000)
    assert by_key(cluster, "impressions", b"key") == [impression_json("key", T0)]
    sent = {(each.reason, each.input): each for each in refused.redriven()}
    assert sent.keys() == {
        (Reason.UNDECODABLE, "impressions"),
        (Reason.UNDECODABLE, "clicks"),
        (Reason.KEY, "impressions"),
    }
    of_click = sent[Reason.UNDECODABLE, "clicks"]
    assert (of_click.to_partition, of_click.ts) == (java_partition(b"form", PARTITIONS), T0 + 3_000)
    assert of_click.mapping == mender().digest
    groups = {(each["topic"], each["reason"]): each for each in orjson.loads(refused.command("list", "--json").stdout)}
    assert groups["redrive.impressions", "undecodable"]["redriven"] == 1


def test_redrive_says_in_json_what_is_still_refused(refused: World) -> None:
    said = refused.command("redrive", "--dry-run", "--json")
    assert said.returncode == 0, said.stderr
    refusals = orjson.loads(said.stdout)["refused"]
    assert refusals["tombstone"]["count"] == 1


def test_show_gives_the_record_why_it_was_refused_and_what_to_do(refused: World) -> None:
    letter = next(each for each in Letters(refused.cluster) if each.reason is Reason.KEY)
    told = refused.command("show", str(Spot.of_letter(letter))).stdout.decode()
    assert f"value: {impression_json('key', T0).decode()}" in told
    assert "remedy: `clickfold rejects redrive --reason key` sends it under its impression id" in told
    unknown = refused.command("show", "redrive.impressions/0@999999")
    assert unknown.returncode == 2
    assert b"there is no dead letter of redrive.impressions/0@999999" in unknown.stderr


def test_unknown_reason_names_the_reasons(refused: World) -> None:
    wrong = refused.command("list", "--reason", "undecodeable")
    assert wrong.returncode == 2
    assert b"--reason undecodeable is none; the reasons are tombstone, too_large" in wrong.stderr


def dead(cluster: Cluster, letters: list[Any]) -> None:
    """Writes dead letters, as the worker that read another topic would."""
    send(cluster, cluster.topic("rejects"), [(None, encode(each)) for each in letters])


@pytest.fixture
def alone(broker: Broker, topic_prefix: str) -> Callable[..., Any]:
    """Redrives in a cluster without a join."""
    cluster = Cluster(broker.bootstrap, prefix=topic_prefix)
    Admin(cluster).create(partitions=PARTITIONS)

    def redrive(letters: list[Any], own: Mender | None = None, **more: Any) -> tuple[Cluster, Redriving]:
        dead(cluster, letters)
        return cluster, Redrive(cluster, own or Mender(), lateness_ms=5_000, **more).run(Letters(cluster))

    redrive.cluster = cluster  # type: ignore[attr-defined]
    return redrive


def letter_of(topic: str, offset: int, value: bytes, reason: Reason = Reason.UNDECODABLE, detail: str = "why") -> Any:
    return rejected(reason, detail, value, topic=topic, partition=0, offset=offset, record_ts_ms=T0)


def test_record_of_another_topic_is_mapped_to_the_input_that_takes_it(alone: Any) -> None:
    cluster: Cluster = alone.cluster
    topic = f"source-{cluster.prefix}log"
    Admin(cluster).create_topic(topic, partitions=1, config={})
    send(cluster, topic, [(None, shown("a")), (None, clicked("a")), (None, b'{"kind":"opened"}')])
    values = [shown("a"), clicked("a"), b'{"kind":"opened"}']
    _, found = alone([letter_of(topic, offset, value) for offset, value in enumerate(values)], mender())
    assert dict(found.sent) == {"impressions": 1, "clicks": 1}
    assert found.refused[Reason.UNDECODABLE].detail == "the conditions of the mapping leave it out"
    assert len(by_key(cluster, "impressions", b"a")) == len(by_key(cluster, "clicks", b"a")) == 1
    without = Redrive(cluster, Mender(), lateness_ms=0, dry_run=True).run([letter_of(topic, 9, b"x")])
    assert [spot.offset for spot, _ in without.gone] == [9]


def test_what_kafka_no_longer_has_is_listed_as_gone(alone: Any) -> None:
    cluster: Cluster = alone.cluster
    topic = cluster.topic("impressions")
    send(cluster, topic, [("filler0", impression_json("filler0"))])
    partition = java_partition(b"filler0", PARTITIONS)
    letters = [
        letter_of(topic, 500, b"behind the end"),
        letter_of("no-such-topic", 0, b"x"),
        rejected(Reason.KEY, "", b"another", topic=topic, partition=partition, offset=0, record_ts_ms=T0),
    ]
    _, found = alone(letters)
    assert dict(found.sent) == {}
    whys = {spot.topic + str(spot.offset): why for spot, why in found.gone}
    assert "has no record there any more" in whys[f"{topic}500"]
    assert "does not exist any more" in whys["no-such-topic0"]
    assert "another record is there now" in whys[f"{topic}0"]


def test_redrive_that_another_one_fenced_sends_nothing(alone: Any) -> None:
    cluster: Cluster = alone.cluster
    topic = cluster.topic("impressions")
    good = Mended("impressions", b"a", impression_json("a", T0), T0)
    batch = [ToSend(letter_of(topic, 3, b"x"), good, java_partition(b"a", PARTITIONS))]
    first, second = Sending(cluster), Sending(cluster)
    assert second.send(batch, mapping="") == 1
    # It read what was redriven before the other one sent.
    assert first.done == set()
    with pytest.raises(Transient, match="sends none twice"):
        first.send(batch, mapping="")
    third = Sending(cluster)
    assert third.send(batch, mapping="") == 0
    assert len(by_key(cluster, "impressions", b"a")) == len(read_all(cluster, "redriven", 0)) == 1


def test_conflict_and_records_of_clickfolds_own_topics_are_not_sent_again(alone: Any) -> None:
    cluster: Cluster = alone.cluster
    value = impression_json("twice", T0)
    send(cluster, cluster.topic("impressions"), [("twice", value)])
    spot: dict[str, Any] = {
        "topic": cluster.topic("impressions"),
        "partition": java_partition(b"twice", PARTITIONS),
        "offset": 0,
    }
    letters = [
        rejected(Reason.CONFLICT, "", value, **spot, record_ts_ms=T0),
        rejected(Reason.UNWRITABLE, "", b"{}", topic=cluster.topic("outcomes"), partition=0, offset=0, record_ts_ms=T0),
    ]
    _, found = alone(letters)
    assert (dict(found.sent), found.refused.keys()) == ({}, {Reason.CONFLICT, Reason.UNWRITABLE})
    # This mapping has no use for it, so it would be sent as it is: the same conflict again.
    work = Redrive(cluster, mender(), lateness_ms=5_000)
    assert work.run(letters).refused[Reason.CONFLICT].detail.startswith("the same id came before")


def test_record_below_the_watermark_is_older_and_sent_only_if_told(refused: World) -> None:
    cluster = refused.cluster
    ahead = [f"ahead{number}" for number in range(8)]
    for log in ("impressions", "clicks"):
        make = impression_json if log == "impressions" else lambda name, ts: click_json(f"k-{name}", name, ts)
        send(cluster, cluster.topic(log), [(name, make(name, T0 + 60_000)) for name in ahead])
    send(cluster, cluster.topic("impressions"), [("late", impression_json("late", T0)), ("old", shown("old"))])
    refused.settled()
    late = Letters(cluster, reasons={Reason.LATE})
    found = Redrive(cluster, Mender(), lateness_ms=5_000).run(late)
    assert (dict(found.sent), [(each.ts_ms, each.needs_ms) for each in found.older]) == ({}, [(T0, 60_000)])
    work = Redrive(cluster, mender(), lateness_ms=5_000, older=True)
    forced = work.run([each for each in Letters(cluster) if each.prefix == shown("old")])
    assert (dict(forced.sent), [(each.needs_ms, each.sent) for each in forced.older]) == (
        {"impressions": 1},
        [(60_000, True)],
    )
    refused.settled()
    assert len([each for each in Letters(cluster) if each.reason is Reason.LATE]) == 2
    told = refused.command("redrive", "--reason", "late", "--lateness", "5s", "--dry-run").stdout.decode()
    assert "1 of them redriven" not in told
    assert "`clickfold backfill --run NAME --lateness 60s --complete` takes them from the log" in told


BOTH = """
[impressions]
impression_id = "id"
ts = { path = "at", unit = "s" }
campaign_id = { constant = "c" }
creative_id = { constant = "x" }
price_micros = { constant = 5 }

[clicks]
click_id = "id"
impression_id = "id"
ts = { path = "at", unit = "s" }
"""


def test_what_was_older_of_a_record_that_gives_two_events_is_sent_later(alone: Any) -> None:
    cluster: Cluster = alone.cluster
    topic = f"source-{cluster.prefix}both"
    Admin(cluster).create_topic(topic, partitions=1, config={})
    value = orjson.dumps({"id": "a", "at": T0_S})
    send(cluster, topic, [(None, value)])
    home = java_partition(b"a", PARTITIONS)
    ahead = Ledger(
        *(home, 1, LogCounts(), LogCounts(), 0, 0, 0, 0, 0, 0, 0, 0, 0),
        impressions_watermark_ms=T0 + 60_000,
        clicks_watermark_ms=0,
    )
    producer = Producer(client_settings(cluster, **EXACT_DELIVERY))
    producer.produce(cluster.topic("ledger"), encode(ahead), str(home), partition=home)
    assert producer.flush(PATIENCE_S) == 0
    _, first = alone([letter_of(topic, 0, value)], mender(BOTH))
    assert (dict(first.sent), len(first.older)) == ({"clicks": 1}, 1)
    for sent in ({"impressions": 1}, {}):
        found = Redrive(cluster, mender(BOTH), lateness_ms=5_000, older=True).run(Letters(cluster))
        assert dict(found.sent) == sent
    assert found.before == 1
    assert len(by_key(cluster, "impressions", b"a")) == len(by_key(cluster, "clicks", b"a")) == 1

"""The pacing worker on a real broker: killed, stopped and moved, its counters are the oracle's."""

from __future__ import annotations

import contextlib
import random
import signal
import urllib.error
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from msgspec import to_builtins
from msgspec.structs import replace

from schemas.codec import decode, encode
from schemas.events import Campaign
from schemas.pacing import PacingDecision
from schemas.rejects import Reason, Rejected
from schemas.topics import DAY_MS, TOPICS
from schemas.totals import MEASURES, QUARTER_MS, CampaignTotal
from streams.embedded.broker import Broker
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.partitioners import java_partition
from streams.kafka.reads import read_all
from streams.kafka.settings import EXACT_DELIVERY, client_settings, group_offsets_settings
from tests.factories import record_value
from tests.pace_process import Days, Pace
from tests.waiting import PATIENCE_S, eventually

pytestmark = pytest.mark.broker

PARTITIONS = 2
SPRING = 20_541 * DAY_MS  # 2026-03-29, on which Berlin has 23 hours
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Auckland"]
CAMPAIGNS = [Campaign(f"c{at}", 10_000_000, name, "active", "even", 1) for at, name in enumerate(ZONES)]
UNKNOWN = "nobody"


def totals() -> list[CampaignTotal]:
    """Two UTC days of every campaign and of an unannounced one: growing versions, most of them final at last."""
    luck = random.Random(7)
    sent = []
    for campaign_id in [*(campaign.campaign_id for campaign in CAMPAIGNS), UNKNOWN]:
        for quarter in range(SPRING - DAY_MS, SPRING + DAY_MS, 4 * QUARTER_MS):
            for join_partition in range(2):
                amount = 0
                for version in range(3):
                    amount += luck.randrange(50)
                    final = version == 2 and luck.random() < 0.9
                    counted = {"impressions": amount, "clicks": amount // 10, "spend_micros": amount * 1_000}
                    measures = dict.fromkeys(MEASURES, 0) | counted
                    sent.append(
                        CampaignTotal(*(campaign_id, quarter, join_partition, version, final), *measures.values())
                    )
    return sent


def oracle(sent: Iterable[CampaignTotal]) -> Days:
    """Impressions, clicks and spend by campaign and calendar day of its zone."""
    zones = {campaign.campaign_id: ZoneInfo(campaign.timezone) for campaign in CAMPAIGNS}
    last = {(one.campaign_id, one.quarter, one.join_partition): one for one in sorted(sent, key=lambda t: t.version)}
    sums: Days = defaultdict(dict)
    for one in last.values():
        day = datetime.fromtimestamp(one.quarter / 1000, zones.get(one.campaign_id, ZoneInfo("UTC"))).date().isoformat()
        so_far = sums[one.campaign_id].get(day, (0, 0, 0))
        sums[one.campaign_id][day] = (
            so_far[0] + one.impressions,
            so_far[1] + one.clicks,
            so_far[2] + one.spend_micros,
        )
    return dict(sums)


# Kafka refuses one record in the midst of counting.
REFUSED_ONCE = """
from schemas.errors import Transient
from streams.pacing.outbox import Outbox
sent, send = 0, Outbox._send
def refused_once(outbox, topic, records):
    global sent
    before, sent = sent, sent + len(records)
    if before < 20 <= sent:
        send(outbox, topic, records[: 20 - before])
        raise Transient("Kafka did not take a record")
    send(outbox, topic, records)
Outbox._send = refused_once
"""
# After a crash the thread of the consumer has ended before the consumer is stopped, as on a busy machine.
THREAD_ENDS_FIRST = """
from streams.pacing import transport
on_stop = transport.Consumer.on_stop
async def after_its_thread(consumer):
    if consumer._crashed.is_set():
        await consumer._thread._shutdown.wait()
    await on_stop(consumer)
transport.Consumer.on_stop = after_its_thread
"""


Start = Callable[..., Pace]


@pytest.fixture
def start(broker: Broker, topic_prefix: str, tmp_path: Path) -> Iterator[Start]:
    """Starts a ready worker in a folder of that name; none outlives the test."""
    started = []

    def ready(name: str = "one", **more: str) -> Pace:
        started.append(Pace(broker, topic_prefix, tmp_path / name, **more))
        return started[-1].wait_ready()

    yield ready
    for worker in started:
        worker.kill()


@pytest.fixture
def send(broker: Broker, topic_prefix: str) -> Iterator[Callable[[str, Iterable[CampaignTotal | Campaign]], None]]:
    """Writes records of a role as the join and users would, on topics made for this test; every other total in the form
    of 0.1, as while workers of both versions run.
    """
    admin = AdminClient(client_settings(Cluster(broker.bootstrap)))
    Admin(Cluster(broker.bootstrap, prefix=topic_prefix)).create(partitions=PARTITIONS, replication=1)
    names = [topic_prefix + role for role in TOPICS]
    producer = Producer(client_settings(Cluster(broker.bootstrap), **EXACT_DELIVERY, partitioner="murmur2_random"))

    def write(role: str, records: Iterable[CampaignTotal | Campaign]) -> None:
        for number, record in enumerate(records):
            if isinstance(record, Campaign) or number % 2:
                producer.produce(topic_prefix + role, encode(record), record.campaign_id)
            else:
                producer.produce(topic_prefix + role, record_value(record), partition=home(record.campaign_id))
        assert producer.flush(PATIENCE_S) == 0

    yield write
    for gone in admin.delete_topics(names).values():
        gone.result(PATIENCE_S)


def home(campaign_id: str) -> int:
    """The partition of a campaign."""
    return java_partition(campaign_id.encode(), PARTITIONS)


def decisions(broker: Broker, topic: str) -> dict[str, list[PacingDecision]]:
    """Every decision written so far, by campaign, in order."""
    consumer = Consumer(client_settings(Cluster(broker.bootstrap), group_id=f"{topic}.look"))
    found: defaultdict[str, list[PacingDecision]] = defaultdict(list)
    for partition in range(PARTITIONS):
        _, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=PATIENCE_S)
        consumer.assign([TopicPartition(topic, partition, 0)])
        for message in consumer.consume(end, timeout=PATIENCE_S) if end else ():
            value = message.value()
            assert value is not None
            decision = decode(value, PacingDecision)
            assert message.key() == decision.campaign_id.encode()
            found[decision.campaign_id].append(decision)
    consumer.close()
    return found


def write_aborted(broker: Broker, topic: str, records: Iterable[CampaignTotal]) -> None:
    """Leaves totals of an aborted transaction in the log."""
    producer = Producer(client_settings(Cluster(broker.bootstrap), **EXACT_DELIVERY, transactional_id=topic))
    producer.init_transactions(PATIENCE_S)
    producer.begin_transaction()
    for record in records:
        producer.produce(topic, record_value(record), partition=home(record.campaign_id))
    producer.flush(PATIENCE_S)
    producer.abort_transaction(PATIENCE_S)


def test_killed_twice_its_counters_are_those_of_the_oracle(
    broker: Broker, topic_prefix: str, start: Start, send: Callable[[str, Iterable[Any]], None]
) -> None:
    sent = totals()
    luck = random.Random(11)
    wire = sent + luck.choices(sent, k=len(sent) // 3)
    luck.shuffle(wire)
    third = len(wire) // 3
    lie = [replace(one, final=True, version=99, spend_micros=10**9) for one in sent[:100]]
    write_aborted(broker, f"{topic_prefix}campaign_totals", lie)
    send("campaigns", CAMPAIGNS)
    send("campaign_totals", wire[:third])

    worker = start(slot="one")
    send("campaign_totals", wire[third : 2 * third])
    eventually(lambda: sum(worker.get("/pacing")["next_offsets"].values()), lambda count: count > third)
    worker.kill()
    send("campaign_totals", wire[2 * third :])
    worker = start(slot="one")
    worker.kill()  # while it counts the rest
    worker = start(slot="one")
    expected = oracle(sent)
    eventually(worker.days, equals=expected)

    def counted(decision: Any) -> tuple[str, tuple[int, int, int]]:
        """Calendar day and counters of a decision."""
        name = next((c.timezone for c in CAMPAIGNS if c.campaign_id == decision["campaign_id"]), "UTC")
        day = datetime.fromtimestamp(decision["day_start"] / 1000, ZoneInfo(name)).date().isoformat()
        return day, (decision["impressions"], decision["clicks"], decision["spend_micros"])

    def told() -> bool:
        last = worker.get("/pacing")["campaigns"]
        days = [(campaign_id, *counted(last[campaign_id])) for campaign_id in expected]
        return all(expected[campaign_id].get(day, (0, 0, 0)) == sums for campaign_id, day, sums in days)

    eventually(told, about=lambda: worker.get("/pacing"))
    settled = worker.get("/pacing")
    log = worker.stop()
    assert "Traceback" not in log
    assert settled["event_lag_ms"] > DAY_MS  # history, replayed
    for campaign_id, history in decisions(broker, f"{topic_prefix}pacing").items():
        versions = [decision.version for decision in history]
        assert versions == sorted(set(versions))
        day, sums = counted(to_builtins(history[-1]))
        assert day >= "2026-03-29"
        assert sums == expected[campaign_id].get(day, (0, 0, 0))
        assert (history[-1].state == "unknown") == (campaign_id == UNKNOWN)


def test_partitions_move_between_workers_and_back_without_loss(
    broker: Broker, topic_prefix: str, start: Start, send: Callable[[str, Iterable[Any]], None]
) -> None:
    sent = totals()
    random.Random(3).shuffle(sent)
    quarter = len(sent) // 4
    send("campaigns", CAMPAIGNS)
    send("campaign_totals", sent[:quarter])
    one = start("one")
    other = start("other")
    send("campaign_totals", sent[quarter : 2 * quarter])
    eventually(lambda: {**one.days(), **other.days()}, equals=oracle(sent[: 2 * quarter]))
    # Taken for dead: the other one goes on alone, then the first wakes up with what it had in hand.
    one.process.send_signal(signal.SIGSTOP)
    send("campaign_totals", sent[2 * quarter : 3 * quarter])
    eventually(other.days, equals=oracle(sent[: 3 * quarter]))
    one.process.send_signal(signal.SIGCONT)
    send("campaign_totals", sent[3 * quarter :])
    eventually(lambda: {**one.days(), **other.days()}, equals=oracle(sent))
    other.kill()
    eventually(one.days, equals=oracle(sent))
    one.stop()


def test_of_two_that_begin_at_once_in_one_slot_one_ends_and_the_other_has_all_partitions(
    broker: Broker, topic_prefix: str, tmp_path: Path, send: Callable[[str, Iterable[Any]], None]
) -> None:
    # Each took the name of the other in the group, in turns, and both said that they were ready.
    send("campaigns", CAMPAIGNS)
    two = [Pace(broker, topic_prefix, tmp_path / name, slot="one") for name in ("one", "other")]
    try:
        ended = eventually(lambda: [worker for worker in two if worker.process.poll() is not None])
        assert "give each worker of a group its own --slot" in ended[0].log.read_text()
        left = [worker for worker in two if worker not in ended]

        def owned() -> int:
            try:
                return len(left[0].get("/pacing")["next_offsets"])
            except urllib.error.URLError:
                return 0  # it listens anew, as its gate was fenced once

        eventually(owned, equals=PARTITIONS)
    finally:
        for worker in two:
            worker.kill()


@pytest.mark.parametrize("before", [REFUSED_ONCE, REFUSED_ONCE + THREAD_ENDS_FIRST], ids=["", "thread-ends-first"])
def test_a_fault_of_kafka_makes_it_begin_again_in_the_same_process(
    start: Start, send: Callable[[str, Iterable[Any]], None], before: str
) -> None:
    sent = totals()
    worker = start(before=before)
    send("campaigns", CAMPAIGNS)
    send("campaign_totals", sent)
    eventually(lambda: "trying again" in worker.log.read_text(), about=worker.log.read_text)
    worker.wait_ready()
    eventually(worker.days, equals=oracle(sent))
    assert worker.stop().count('"started"') == 2


def test_malformed_records_are_counted_and_passed_over(
    broker: Broker, topic_prefix: str, start: Start, send: Callable[[str, Iterable[Any]], None]
) -> None:
    good = totals()[0]
    producer = Producer(client_settings(Cluster(broker.bootstrap), **EXACT_DELIVERY, partitioner="murmur2_random"))
    topic = f"{topic_prefix}campaign_totals"
    for value in (b"{", b"", b"\x88", orjson.dumps({"campaign_id": "c0"})):
        producer.produce(topic, value)
    producer.produce(topic, record_value(good), partition=(home(good.campaign_id) + 1) % PARTITIONS)
    producer.produce(f"{topic_prefix}campaigns", encode(replace(CAMPAIGNS[0], timezone="Mars/Olympus")), "c0")
    assert producer.flush(PATIENCE_S) == 0
    send("campaign_totals", [good])
    worker = start()
    eventually(worker.days, equals=oracle([good]))
    wrong = {"undecodable": 4, "wrong_key": 1}
    eventually(lambda: worker.get("/pacing")["passed_over"], equals=wrong)
    assert worker.get("/pacing/c0")["campaign"] is None
    # The gate says why, once.
    cluster = Cluster(broker.bootstrap, prefix=topic_prefix)
    (value,) = eventually(lambda: read_all(cluster, "rejects", 0))
    letter = decode(value, Rejected)
    assert (letter.topic, letter.reason) == (f"{topic_prefix}campaigns", Reason.TIMEZONE)
    as_files_may_write = {"daily_budget_micros": 5e6, "version": 2.0}
    producer.produce(f"{topic_prefix}campaigns", orjson.dumps(to_builtins(CAMPAIGNS[0]) | as_files_may_write), "c0")
    assert producer.flush(PATIENCE_S) == 0
    in_force = to_builtins(replace(CAMPAIGNS[0], daily_budget_micros=5_000_000, version=2))
    eventually(lambda: worker.get("/pacing/c0")["campaign"], equals=in_force)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        worker.get("/pacing/c9")
    worker.stop()


def test_committed_offsets_follow_the_records_though_each_is_a_transaction_of_its_own(
    broker: Broker, topic_prefix: str, start: Start, send: Callable[..., None]
) -> None:
    """Faust took a record behind a transaction's marker twice; then a commit came as far as the next marker."""
    send("campaigns", CAMPAIGNS)
    start()
    topic = f"{topic_prefix}campaign_totals"
    producer = Producer(
        client_settings(
            Cluster(broker.bootstrap), **EXACT_DELIVERY, transactional_id=topic, partitioner="murmur2_random"
        )
    )
    producer.init_transactions(PATIENCE_S)
    one = totals()[0]
    # At a commit every 2.8 s, one for each transaction would take longer than the test waits.
    for _ in range(60):
        producer.begin_transaction()
        producer.produce(topic, record_value(one), partition=home(one.campaign_id))
        producer.commit_transaction(PATIENCE_S)
    with contextlib.closing(
        Consumer(group_offsets_settings(Cluster(broker.bootstrap), f"{topic_prefix}pace"))
    ) as asking:
        places = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
        ends = [asking.get_watermark_offsets(place, timeout=PATIENCE_S)[1] for place in places]
        # Behind the last record stands its marker, which nobody acknowledges.
        wanted = max(ends) - 1
        eventually(
            lambda: max(place.offset for place in asking.committed(places, timeout=PATIENCE_S)),
            equals=wanted,
            what="the commit of the last record",
        )


def test_campaigns_are_decided_on_before_there_is_any_total(
    broker: Broker, topic_prefix: str, start: Start, send: Callable[[str, Iterable[Any]], None]
) -> None:
    # Two share a budget across partitions; the one of higher priority has its money first.
    names = {home(name): name for name in ("s0", "s1", "s2", "s3", "s4")}
    assert len(names) == PARTITIONS
    first, second = (
        Campaign(
            names[priority], own, "UTC", "active", "even", 1,
            budget_id="pool", shared_budget_micros=600_000_000, priority=priority,
        )
        for priority, own in ((1, 400_000_000), (0, 10**9))
    )  # fmt: skip
    send("campaigns", [replace(CAMPAIGNS[0], daily_budget_micros=10**9), first, second])
    worker = start()

    def decided() -> dict[str, Any]:
        with contextlib.suppress(OSError):  # at its first tick a worker loads kernels, on a busy machine for seconds
            return {name: decision for name, decision in worker.get("/pacing")["campaigns"].items() if decision}
        return {}

    eventually(lambda: decided().get("c0", {}).get("admit", 0) > 0)
    wanted = {first.campaign_id: 400_000_000, second.campaign_id: 200_000_000}
    eventually(lambda: {name: decided().get(name, {}).get("budget_micros") for name in wanted}, equals=wanted)
    eventually(lambda: all(decided().get(name, {}).get("admit", 0) > 0 for name in wanted))
    # It stays so after a restart, and what both are told never adds up to more.
    worker.kill()
    worker = start()
    eventually(lambda: {name: decided().get(name, {}).get("budget_micros") for name in wanted}, equals=wanted)
    worker.stop()
    told = decisions(broker, f"{topic_prefix}pacing")
    most = {name: max(one.budget_micros for one in told[name]) for name in wanted}
    assert sum(most.values()) <= 600_000_000, most
    [*_, last] = decisions(broker, f"{topic_prefix}pacing")["c0"]
    # Nothing was sent, so nothing is left to count.
    assert last.state != "blind"
    assert last.event_ms - last.counted_to_ms < 60_000

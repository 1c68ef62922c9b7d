"""The gate on a real broker: killed at any moment, two at once, its history is that of one undisturbed gate."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import orjson
import pytest
from confluent_kafka import Producer
from msgspec import to_builtins
from msgspec.structs import replace

from schemas.codec import decode, encode
from schemas.events import Campaign
from schemas.records import Out
from schemas.rejects import Reason, Rejected
from streams.campaigns.gate import GateFold
from streams.embedded.broker import Broker
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.partitioners import PARTITIONERS
from streams.kafka.reads import read_all, read_log
from streams.kafka.settings import EXACT_DELIVERY, client_settings
from streams.verify.campaigns import CampaignHistory
from streams.verify.check import Check
from streams.verify.downstream import WaitPolicy
from streams.verify.pacing_counters import PacingChangelog
from streams.verify.settled import committed_offsets
from tests.integration.test_pace_worker import PARTITIONS, Start
from tests.integration.test_pace_worker import start as start
from tests.strategies import columns
from tests.waiting import PATIENCE_S, eventually

pytestmark = pytest.mark.broker

BELONGS = partial(PARTITIONERS["murmur2"], partitions=PARTITIONS)


@pytest.fixture
def cluster(broker: Broker, topic_prefix: str) -> Cluster:
    """A cluster with all topics."""
    cluster = Cluster(broker.bootstrap, prefix=topic_prefix)
    Admin(cluster).create(partitions=PARTITIONS, replication=1)
    return cluster


def announcements(count: int) -> Iterator[tuple[str, bytes | None]]:
    """Keys and values that a gate accepts, refuses or passes over for every reason there is."""
    luck = random.Random(5)
    for number in range(count):
        campaign_id = f"c{luck.randrange(7)}"
        campaign = Campaign(campaign_id, luck.randrange(1, 4) * 10**6, "UTC", "active", "even", number // 20)
        campaign = replace(campaign, currency="EUR")
        match luck.randrange(12):
            case 0:
                yield campaign_id, encode(replace(campaign, timezone="Mars/Olympus"))
            case 1:
                yield campaign_id, encode(replace(campaign, currency="USD"))
            case 2:
                yield campaign_id, None
            case 3:
                yield campaign_id, b"{"
            case 4:
                yield "c9", encode(campaign)
            case 5:
                yield campaign_id, orjson.dumps(to_builtins(campaign) | {"version": float(campaign.version)})
            case _:
                yield campaign_id, encode(campaign)


def send(cluster: Cluster, records: Iterable[tuple[str, bytes | None]]) -> None:
    producer = Producer(client_settings(cluster, **EXACT_DELIVERY, partitioner="murmur2_random"))
    for key, value in records:
        producer.produce(cluster.topic("campaigns"), value, key)
    assert producer.flush(PATIENCE_S) == 0


def undisturbed(cluster: Cluster) -> list[Out]:
    """What one gate writes that reads each partition from its beginning to its end."""
    outs: list[Out] = []
    for partition in range(PARTITIONS):
        fold = GateFold(partition=partition, topic=cluster.topic("campaigns"), belongs=BELONGS)
        fold.begin(None, offsets={"campaigns": 0}, epoch=1)
        outs += fold.step(columns("campaigns", read_log(cluster, "campaigns", partition), partition))
    return outs


def history(cluster: Cluster) -> list[bytes]:
    return [value for partition in range(PARTITIONS) for value in read_all(cluster, "campaign_history", partition)]


def judged(cluster: Cluster) -> bool:
    """Whether the group of the gate has committed the ends of the log."""
    topic = cluster.topic("campaigns")
    offsets = committed_offsets(cluster, cluster.group("gate"), topic, PARTITIONS)
    ends = {partition: len(read_log(cluster, "campaigns", partition)) for partition in range(PARTITIONS)}
    return offsets == ends


def test_killed_at_any_moment_beside_another_its_history_is_that_of_one_undisturbed_gate(
    cluster: Cluster, start: Start
) -> None:
    records = list(announcements(600))
    luck = random.Random(13)
    workers = {name: start(name, slot=name) for name in ("one", "other")}
    for turn in range(4):
        send(cluster, records[turn * 150 : (turn + 1) * 150])
        seen = len(history(cluster))
        few = luck.randrange(10)
        eventually(lambda seen=seen, few=few: judged(cluster) or len(history(cluster)) > seen + few)  # type: ignore[misc]
        name = luck.choice(sorted(workers))
        workers[name].kill()
        workers[name] = start(name, slot=name)
    eventually(lambda: judged(cluster))
    expected = undisturbed(cluster)
    assert Counter(history(cluster)) == Counter(out.value for out in expected if out.topic == "campaign_history")
    letters = read_all(cluster, "rejects", 0)
    assert Counter(letters) == Counter(out.value for out in expected if out.topic == "rejects")
    reasons = {Reason.TIMEZONE, Reason.VERSION, Reason.CURRENCY, Reason.KEY, Reason.UNDECODABLE}
    assert {decode(letter, Rejected).reason for letter in letters} == reasons
    verified(cluster)


def verified(cluster: Cluster) -> None:
    """`verify` finds no difference; after a change that no gate has written it does."""

    def checks() -> list[Check]:
        kept = CampaignHistory(cluster, PARTITIONS)
        source, pacing = Check("campaign history"), Check("campaigns in pacing")
        kept.compare_with_source(source)
        counters = PacingChangelog(cluster, f"{cluster.group('pace')}-state-changelog", PARTITIONS)
        kept.compare_pacing(pacing, counters, WaitPolicy(wait_s=PATIENCE_S, ended=True))
        return [source, pacing]

    before = checks()
    assert [(check.differing, check.first) for check in before] == [(0, [])] * 2
    assert [check.compared > few for check, few in zip(before, (600, 5), strict=True)] == [True, True]
    changed: dict[str, Any] = orjson.loads(history(cluster)[-1])
    changed |= {"number": changed["number"] + 7, "campaign": None}
    producer = Producer(client_settings(cluster, **EXACT_DELIVERY))
    topic = cluster.topic("campaign_history")
    producer.produce(topic, orjson.dumps(changed), changed["campaign_id"], partition=changed["partition"])
    assert producer.flush(PATIENCE_S) == 0
    source, _ = checks()
    assert source.differing >= 1
    assert "its changes have the numbers" in "".join(source.first)

"""What is fed is what arrives: every record, in its log's order, at its time."""

import threading
from collections import defaultdict
from collections.abc import Iterable
from itertools import count

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from schemas.codec import decode
from schemas.errors import SettingsError, Transient
from schemas.events import Campaign, Click
from schemas.records import Record
from streams.embedded.broker import Broker
from streams.inputs.feed import Feed, FeedProgress, as_records
from streams.inputs.sample import open_bandit
from streams.inputs.traffic import Traffic, fill
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.reads import read_log
from streams.kafka.sender import Sender
from streams.kafka.settings import client_settings
from tests.whole_topics import whole_topic

PARTITIONS = 3
START_MS = 1_574_553_600_000
Pairs = list[tuple[bytes | None, bytes | None]]


@pytest.fixture
def cluster(broker: Broker, topic_prefix: str) -> Cluster:
    """Topics of this test's own, empty."""
    named = Cluster(broker.bootstrap, prefix=topic_prefix)
    Admin(named).create(partitions=PARTITIONS, replication=1)
    return named


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def arrived(cluster: Cluster, role: str) -> list[Pairs]:
    """Key and value of everything in a topic, by partition."""
    found: list[Pairs] = [[] for _ in range(PARTITIONS)]
    for message in whole_topic(cluster, role, PARTITIONS):
        found[message.partition() or 0].append((message.key(), message.value()))
    return found


def in_order(records: Iterable[Record], partitions: list[Pairs]) -> None:
    """Every record with a key is in one partition, once, behind those of its log that were before it."""
    places = {pair: partition for partition, pairs in enumerate(partitions) for pair in pairs}
    expected: dict[int, Pairs] = defaultdict(list)
    for record in records:
        pair = (record.key, record.value)
        expected[places[pair]].append(pair)
    assert [expected[partition] for partition in range(PARTITIONS)] == partitions


def clicks_at(*seconds: float) -> list[Record]:
    """A click at each of these event times, relative to the start."""
    events = [Click(f"c{number}", f"i{number}", START_MS + round(at * 1_000)) for number, at in enumerate(seconds)]
    return list(as_records(events))


def test_the_sample_arrives_whole_and_in_order_beside_its_clicks(cluster: Cluster) -> None:
    bandit = open_bandit()
    shown, clicked = list(as_records(bandit.impressions)), list(as_records(bandit.clicks))
    progress = Feed(cluster, shown, clicked, bandit.campaigns, speed=None).run()
    assert progress == FeedProgress(60_000, 287, bandit.impressions[-1].ts, done=True)
    impressions, clicks = arrived(cluster, "impressions"), arrived(cluster, "clicks")
    in_order(shown, impressions)
    in_order(clicked, clicks)
    for partition in range(PARTITIONS):
        assert {key for key, _ in clicks[partition]} <= {key for key, _ in impressions[partition]}
    campaigns = [pair for pairs in arrived(cluster, "campaigns") for pair in pairs]
    assert {key: decode(value or b"", Campaign) for key, value in campaigns} == {
        campaign.campaign_id.encode(): campaign for campaign in bandit.campaigns
    }


def test_records_nobody_can_read_arrive_as_they_are(cluster: Cluster) -> None:
    good = clicks_at(0, 1, 2)
    bad = [Record(0, -1, b"k", b"not json"), Record(0, -1, b"k2", None), Record(0, -1, None, b'{"ts":5}')]
    log = [*bad[:2], good[0], bad[2], good[1], Record(0, -1, b"other key", good[2].value)]
    assert Feed(cluster, [], log, speed=None).run().clicks == 6
    pairs = [pair for pairs in arrived(cluster, "clicks") for pair in pairs]
    assert sorted(map(repr, pairs)) == sorted(repr((record.key, record.value)) for record in log)


def test_speed_is_event_seconds_a_second(cluster: Cluster) -> None:
    clock, week_s = Clock(), 7 * 86_400
    feed = Feed(cluster, clicks_at(0, 5_000, week_s), clicks_at(20_000), speed=10_000.0, clock=clock)
    assert feed.step() == pytest.approx(0.5)
    assert feed.progress == FeedProgress(1, 0, START_MS)
    clock.now_s += 0.49
    assert feed.step() == pytest.approx(0.01, abs=1e-6)
    assert feed.progress.impressions == 1
    clock.now_s += 0.02
    assert feed.step() == pytest.approx(1.49)
    assert feed.progress == FeedProgress(2, 0, START_MS + 5_000_000)
    clock.now_s += 1.5
    assert feed.step() == pytest.approx(60.48 - 2.01)
    assert feed.progress.clicks == 1
    clock.now_s += 60.48 - 2.02
    assert feed.step() > 0.0
    assert not feed.progress.done
    clock.now_s += 0.02
    assert feed.step() == 0.0
    assert feed.progress == FeedProgress(3, 1, START_MS + week_s * 1_000, done=True)


def test_a_play_that_begins_later_sends_what_was_before_at_once(cluster: Cluster) -> None:
    feed = Feed(cluster, clicks_at(0, 60, 120), [], speed=10.0, start_ms=START_MS + 60_000, clock=Clock())
    assert feed.step() == pytest.approx(6.0)
    assert feed.progress.impressions == 2


def test_one_bad_clock_does_not_hold_up_the_play(cluster: Cluster) -> None:
    year_s = 365 * 86_400
    log = clicks_at(year_s, 1, year_s, 2, -year_s, 3)
    feed = Feed(cluster, log, [], speed=1.0, clock=(clock := Clock()))
    assert feed.step() == pytest.approx(1.0)
    assert feed.progress.impressions == 2
    clock.now_s += 2.0
    assert feed.step() == 0.0
    assert feed.progress == FeedProgress(6, 0, START_MS + 3_000, done=True)
    in_order(log, arrived(cluster, "impressions"))


def test_records_without_a_time_at_the_front_do_not_set_the_start(cluster: Cluster) -> None:
    feed = Feed(cluster, [Record(0, -1, b"k", b"not json"), *clicks_at(50, 60)], [], speed=1.0, clock=Clock())
    assert feed.step() == 0.0
    assert feed.progress == FeedProgress(1, 0, 0)
    assert feed.step() == pytest.approx(10.0)
    assert feed.progress.impressions == 2


def test_an_endless_play_ends_when_told_and_kafka_has_what_was_sent(cluster: Cluster) -> None:
    stop = threading.Event()

    def endless() -> Iterable[Record]:
        for number in count():
            if number == 20_000:
                stop.set()
            yield Record(number, -1, b"%d" % number, b'{"ts":%d}' % (START_MS + number))

    progress = Feed(cluster, endless(), [], speed=None).run(stop)
    assert not progress.done
    assert sum(map(len, arrived(cluster, "impressions"))) == progress.impressions >= 15_000


def test_empty_logs_are_played_at_once(cluster: Cluster) -> None:
    assert Feed(cluster, [], [], speed=1.0).run() == FeedProgress(done=True)


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan")])
def test_a_speed_that_is_none_is_refused(speed: float) -> None:
    with pytest.raises(SettingsError, match="speed is"):
        Feed(Cluster("nowhere:1"), [], [], speed=speed)


def test_filling_puts_the_traffic_of_the_seed_into_both_topics(cluster: Cluster) -> None:
    told: list[tuple[int, int]] = []
    end_ms = START_MS
    traffic = Traffic(impressions=25_000, seed=3, end_ms=end_ms)
    filled = fill(cluster, traffic, progress=lambda sent, total: told.append((sent, total)))
    assert told == [(20_000, 25_000), (25_000, 25_000)]
    batches = list(traffic.batches())
    for role, log in (("impressions", 0), ("clicks", 1)):
        rows = [row for batch in batches for row in zip(batch[log].keys, batch[log].values, strict=True)]
        in_order([Record(0, -1, *row) for row in rows], arrived(cluster, role))
    sizes = [len(value) for shown, clicked in batches for value in (*shown.values, *clicked.values)]
    assert filled == (25_000, sum(len(clicked.keys) for _, clicked in batches), sum(sizes))


def topics(broker: Broker, prefix: str, **config: str) -> Cluster:
    """Input topics of one partition, with a configuration that is not ours."""
    cluster = Cluster(broker.bootstrap, prefix=prefix)
    named = {name.replace("_", "."): value for name, value in config.items()}
    wanted = [NewTopic(cluster.topic(role), 1, 1, config=named) for role in ("impressions", "clicks")]
    admin = AdminClient(client_settings(cluster))
    for made in admin.create_topics(wanted).values():
        made.result()
    return cluster


def test_a_topic_that_keeps_the_senders_time_gets_the_event_time(broker: Broker, topic_prefix: str) -> None:
    cluster = topics(broker, topic_prefix, message_timestamp_type="CreateTime")
    traffic = Traffic(impressions=100, seed=1, end_ms=START_MS)
    fill(cluster, traffic)
    ((shown, _),) = traffic.batches()
    assert [record.record_ts_ms for record in read_log(cluster, "impressions", 0)] == shown.ts_ms


def test_a_record_kafka_refuses_is_not_lost_in_silence(broker: Broker, topic_prefix: str) -> None:
    cluster = topics(broker, topic_prefix, max_message_bytes="200")
    sender = Sender(cluster)
    sender.send("clicks", [(b"k", bytes(range(256)) * 4, -1)])
    with pytest.raises(Transient, match="did not take a record"):
        sender.flush()


def test_a_record_larger_than_any_topic_takes_is_refused_with_its_size(cluster: Cluster) -> None:
    with pytest.raises(SettingsError, match="cannot take a record of 2000000 bytes"):
        Sender(cluster).send("clicks", [(b"k", bytes(2_000_000), -1)])


def test_large_records_wait_for_room_in_the_queue(cluster: Cluster) -> None:
    large = [Record(number, -1, b"%d" % number, bytes(900_000)) for number in range(170)]
    assert Feed(cluster, [], large, speed=None).run().clicks == 170
    assert sorted(key for pairs in arrived(cluster, "clicks") for key, _ in pairs if key) == sorted(
        record.key for record in large if record.key
    )

"""A topic or offsets that change under workers, or while none runs: each worker names what changed and stops."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import structlog
from clickhouse_connect.driver.client import Client
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions  # type: ignore[attr-defined]  # not in its __all__

from schemas.bounds import JoinBounds
from schemas.codec import decode
from schemas.errors import TopicsChanged
from streams.embedded.broker import Broker
from streams.embedded.clickhouse import ClickHouse
from streams.embedded.ports import free_port
from streams.engine.pace import RunnerProgress
from streams.kafka import topic_watch
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.groups import offsets_now
from streams.kafka.log import KafkaLog
from streams.kafka.settings import EXACT_DELIVERY, client_settings
from streams.kafka.topic_facts import Note
from streams.kafka.topic_watch import TopicWatch
from streams.kafka.watched import join_topics
from streams.pacing.settings import PacingSettings
from streams.sink.settings import Progress, SinkSettings
from streams.sink.worker import run as run_sink
from streams.verify.run import Verification, VerifyRequest
from streams.warehouse.client import Warehouse
from streams.worker.lifecycle import Log, Signals
from streams.worker.runners import JoinSettings, LearnSettings, join_runner, learn_runner
from streams.worker.workers import PacingWorker
from tests.slots import slot_zero
from tests.waiting import PATIENCE_S, eventually

pytestmark = pytest.mark.broker


class Work:
    """A worker in a thread. `ready` says whether it has taken its partitions."""

    def __init__(self, run: Callable[[threading.Event], None], ready: Callable[[], bool]) -> None:
        self._run = run
        self._ready = ready
        self._pool = ThreadPoolExecutor(1)
        self._stop = threading.Event()
        self._future: Future[None] | None = None

    def start(self) -> None:
        """Returns once it is ready."""
        self._stop.clear()
        self._future = self._pool.submit(self._run, self._stop)
        eventually(lambda: self._ready() or self.ended(), what="the worker's start")
        if self.ended():
            self.result()

    def ended(self) -> bool:
        assert self._future is not None
        return self._future.done()

    def result(self) -> None:
        """Raises what has ended it."""
        assert self._future is not None
        self._future.result(PATIENCE_S)

    def stop(self) -> None:
        self._stop.set()
        self.result()

    def close(self) -> None:
        self._stop.set()
        self._pool.shutdown()


class System:
    """Topics of one test, and the four workers on them."""

    def __init__(self, broker: Broker, prefix: str, folder: Path) -> None:
        self.cluster = Cluster(broker.bootstrap, prefix=prefix)
        self.admin = AdminClient(client_settings(self.cluster))
        self.folder = folder
        Admin(self.cluster).create(partitions=2)

    def join(self, group: str = "join") -> Work:
        settings = JoinSettings(
            cluster=self.cluster,
            state_dir=self.folder,
            group=self.cluster.group(group),
            bounds=JoinBounds(window_ms=30_000),
            static=False,
        )
        return _of_runner(partial(join_runner, settings))

    def learn(self, group: str = "learn") -> Work:
        settings = LearnSettings(
            cluster=self.cluster, state_dir=self.folder, group=self.cluster.group(group), static=False
        )
        return _of_runner(partial(learn_runner, settings))

    def pace(self) -> Work:
        settings = PacingSettings(
            cluster=self.cluster,
            group=self.cluster.group("pace"),
            data_dir=self.folder / "pace",
            web_port=free_port(),
        )
        worker = PacingWorker(settings)
        log: Log = structlog.get_logger("pace")
        return Work(lambda stop: worker.work(Signals(stop=stop), log), lambda: worker.ready() and worker.advanced())

    def sink(self, warehouse: Warehouse, group: str = "sink") -> Work:
        settings = SinkSettings(cluster=self.cluster, warehouse=warehouse, group=self.cluster.group(group))
        progress = Progress()
        return Work(lambda stop: run_sink(settings, stop, progress), lambda: progress.partitions > 0)

    def create_again(self, role: str) -> None:
        """Deletes the topic of a role and creates it with the same settings."""
        self.delete(self.cluster.topic(role))

        def created() -> bool:
            try:
                return self.cluster.topic(role) in Admin(self.cluster).create(partitions=2)
            except Exception:  # noqa: BLE001  # the deletion is not over
                return False

        eventually(created, what=f"the new topic of {role}")
        eventually(lambda: Admin(self.cluster).topic_facts([self.cluster.topic(role)]), what="its description")

    def delete(self, topic: str) -> None:
        for deleted in self.admin.delete_topics([topic]).values():
            deleted.result(PATIENCE_S)
        eventually(lambda: Admin(self.cluster).topic_facts([topic]), equals={}, what="the end of the topic")

    def add_partitions(self, role: str, count: int) -> None:
        for grown in self.admin.create_partitions([NewPartitions(self.cluster.topic(role), count)]).values():
            grown.result(PATIENCE_S)


def _of_runner(open_runner: Callable[..., object]) -> Work:
    progress = RunnerProgress()

    def run(stop: threading.Event) -> None:
        with open_runner(lambda _: None, progress=progress) as runner:  # type: ignore[attr-defined]
            runner.run(stop.is_set)

    return Work(run, lambda: set(progress.tasks.values()) == {"live"})


@pytest.fixture
def system(broker: Broker, topic_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> System:
    monkeypatch.setattr(topic_watch, "EVERY_S", 0.2)
    monkeypatch.setattr(topic_watch, "_MISSED_EVERY_S", 0.2)
    return System(broker, topic_prefix, tmp_path)


@pytest.fixture
def opened() -> Iterator[Callable[[Work], Work]]:
    """Takes a worker and ends it with the test."""
    works: list[Work] = []

    def open_(work: Work) -> Work:
        works.append(work)
        return work

    yield open_
    for work in works:
        work.close()


def test_partitions_added_under_a_join_end_it_with_their_counts_and_so_does_every_start(
    system: System, opened: Callable[[Work], Work]
) -> None:
    producer = Producer(client_settings(system.cluster, **EXACT_DELIVERY))
    for partition in (0, 0, 1):
        producer.produce(system.cluster.topic("impressions"), b"{", partition=partition)
    assert producer.flush(PATIENCE_S) == 0
    join = opened(system.join())
    join.start()
    eventually(lambda: _committed(system, "join", "impressions"), equals=[2, 1])
    # The worker's last note may be of the moments before that.
    eventually(lambda: _noted(system, "join", "impressions"), equals=(1, 2))
    system.add_partitions("impressions", 3)
    sentence = r"impressions was given other partitions \(2 -> 3\): at .* group .*join had committed offset"
    with pytest.raises(TopicsChanged, match=sentence):
        join.result()
    again = opened(system.join())
    with pytest.raises(TopicsChanged, match=sentence):
        again.start()
    with pytest.raises(TopicsChanged, match=sentence):
        Verification(system.cluster, VerifyRequest(bounds=JoinBounds(), group=system.cluster.group("join")))
    assert _committed(system, "join", "impressions") == [2, 1]


def test_input_created_again_while_no_join_runs_is_noticed_at_its_start_until_the_group_is_another(
    system: System, opened: Callable[[Work], Work]
) -> None:
    join = opened(system.join())
    join.start()
    _wait_until_noted(system)
    join.stop()
    system.create_again("clicks")
    for _ in range(2):
        with pytest.raises(TopicsChanged, match=r"clicks was deleted and created again: .*had committed offset 0 of"):
            opened(system.join()).start()
    other = opened(system.join("join2"))
    other.start()
    other.stop()


def test_outcomes_created_again_end_the_learner_and_its_start(system: System, opened: Callable[[Work], Work]) -> None:
    learn = opened(system.learn())
    learn.start()
    system.create_again("outcomes")
    with pytest.raises(TopicsChanged, match=r"outcomes was deleted( and created again)?: .*another --group"):
        learn.result()
    with pytest.raises(TopicsChanged, match="outcomes was deleted and created again"):
        opened(system.learn()).start()
    opened(system.learn("learn2")).start()


def test_campaign_totals_created_again_end_pacing_until_its_changelog_is_deleted(
    system: System, opened: Callable[[Work], Work]
) -> None:
    pace = opened(system.pace())
    pace.start()
    system.create_again("campaign_totals")
    with pytest.raises(TopicsChanged, match=r"campaign_totals was deleted( and created again)?: .*delete topic"):
        pace.result()
    with pytest.raises(TopicsChanged, match="campaign_totals was deleted and created again"):
        opened(system.pace()).start()
    system.delete(f"{system.cluster.group('pace')}-state-changelog")
    opened(system.pace()).start()


def test_campaigns_created_again_end_pacing_until_what_the_gate_keeps_is_deleted(
    system: System, opened: Callable[[Work], Work]
) -> None:
    gate = system.cluster.group("gate")

    def work() -> None:
        second.start()
        second.result()

    first, second, third = (opened(system.pace()) for _ in range(3))
    first.start()
    eventually(lambda: min(_committed(system, "gate", "campaigns"), default=-1), lambda offset: offset >= 0)
    first.stop()
    system.create_again("campaigns")
    with pytest.raises(TopicsChanged, match=r"campaigns was deleted and created again: .*delete the consumer groups"):
        work()
    for group in (gate, f"{gate}.topics"):
        system.admin.delete_consumer_groups([group])[group].result(PATIENCE_S)
    shutil.rmtree(system.folder / "pace" / gate)
    third.start()
    eventually(lambda: min(_committed(system, "gate", "campaigns"), default=-1), lambda offset: offset >= 0)
    third.stop()


@pytest.mark.clickhouse
def test_topic_created_again_ends_the_sink_and_another_group_goes_on(
    system: System, opened: Callable[[Work], Work], clickhouse: ClickHouse, database: Client
) -> None:
    warehouse = Warehouse(clickhouse.url, str(database.database))
    sink = opened(system.sink(warehouse))
    sink.start()
    system.create_again("totals")
    with pytest.raises(TopicsChanged, match=r"totals was deleted( and created again)?: .*another --group"):
        sink.result()
    with pytest.raises(TopicsChanged, match="totals was deleted and created again"):
        opened(system.sink(warehouse)).start()
    opened(system.sink(warehouse, "sink2")).start()


@pytest.mark.parametrize("noted", [True, False])
def test_offsets_that_were_deleted_stop_the_next_start(
    system: System, opened: Callable[[Work], Work], noted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the note, which somebody may have deleted too, the checkpoint in the state folder shows it."""
    # Looks at starts and below alone: one under way would write the note again that is deleted.
    monkeypatch.setattr(topic_watch, "EVERY_S", 3_600.0)
    join = opened(system.join())
    join.start()
    _wait_until_noted(system)
    join.stop()
    group = system.cluster.group("join")
    for gone in [group] if noted else [group, f"{group}{topic_watch.NOTES}"]:
        system.admin.delete_consumer_groups([gone])[gone].result(PATIENCE_S)
    with pytest.raises(
        Exception, match="were deleted or have expired: at" if noted else "state folder has a checkpoint"
    ):
        opened(system.join()).start()


def test_nothing_is_committed_once_a_change_is_seen(system: System) -> None:
    cluster, group = system.cluster, system.cluster.group("join")
    watch = TopicWatch(cluster, join_topics(cluster, group))
    watch.look()
    slot = slot_zero(cluster, group, static=False)
    log = KafkaLog(cluster, group, ("impressions", "clicks"), slot=slot, watch=watch)
    try:
        system.add_partitions("clicks", 3)
        with pytest.raises(TopicsChanged):
            eventually(watch.look, what="the change")
        with pytest.raises(TopicsChanged):
            log.transact([], {})
        with pytest.raises(TopicsChanged):
            log.poll(1, 0.0)
    finally:
        log.leave()


def _wait_until_noted(system: System) -> None:
    """Returns once the join has committed its offsets of both inputs, and a note says so."""
    for role in ("impressions", "clicks"):
        eventually(partial(_committed, system, "join", role), equals=[0, 0])
    TopicWatch(system.cluster, join_topics(system.cluster, system.cluster.group("join"))).look()


def _noted(system: System, group: str, role: str) -> tuple[int, int]:
    """The lowest and the highest committed offset that the newest note has."""
    topic, notes = system.cluster.topic(role), f"{system.cluster.group(group)}{topic_watch.NOTES}"
    places = offsets_now(system.cluster, notes, [TopicPartition(topic, 0)])
    assert places is not None
    noted = decode((places[0].metadata or "").encode(), Note).topics[topic]
    return noted.lowest, noted.highest


def _committed(system: System, group: str, role: str) -> list[int]:
    places = [TopicPartition(system.cluster.topic(role), partition) for partition in range(2)]
    asked = ConsumerGroupTopicPartitions(system.cluster.group(group), places)
    try:
        answer = system.admin.list_consumer_group_offsets([asked])[system.cluster.group(group)].result(PATIENCE_S)
    except KafkaException:
        return []
    return [place.offset for place in answer.topic_partitions]

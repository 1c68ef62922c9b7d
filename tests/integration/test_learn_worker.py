"""The learn worker as a real process on the real broker: killed under load, it learned what was never interrupted."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import tomllib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from online_models.learner import Learner
from online_models.published import PublishedModels
from online_models.publishing import model_digest
from online_models.settings import LearnerSettings
from schemas.codec import decode, encode
from schemas.models import ModelMetrics
from schemas.outcomes import Outcome
from schemas.records import Out
from streams.cli.model_config import config_of
from streams.embedded.broker import Broker
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.reads import read_all, read_log
from streams.kafka.settings import EXACT_DELIVERY, client_settings
from tests.models.traffic import outcomes, records
from tests.waiting import PATIENCE_S, eventually

WINDOW_MS = 1_800_000
CHUNK = 60
# With a challenger that sees other fields.
CONFIG = """
[[challengers]]
name = "b"
kind = "ftrl"
fields.leave_out = ["creative_id", "features.topic"]
"""


class Worker:
    """`clickfold worker learn` of a group and state folder of its own."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self.group = f"{cluster.prefix}learn"
        self.state_dir = folder / "state"
        self.log_path = folder / "worker.log"
        self.config = folder / "models.toml"
        self.config.write_text(CONFIG)

    def start(self) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": self.cluster.bootstrap,
            "CLICKFOLD_TOPIC_PREFIX": self.cluster.prefix,
            "CLICKFOLD_STATE_DIR": str(self.state_dir),
        }
        command = [sys.executable, "-m", "streams.cli", "worker", "learn", "--group", self.group]
        command += ["--config", str(self.config)]
        with self.log_path.open("ab") as log:
            return subprocess.Popen(command, env=environment, stderr=log, stdout=log)

    def committed(self) -> TopicPartition:
        """Offset and mark; the offset is negative before the first commit."""
        consumer = Consumer(client_settings(self.cluster, group_id=self.group))
        try:
            return consumer.committed([TopicPartition(self.cluster.topic("outcomes"), 0)], timeout=20.0)[0]
        finally:
            consumer.close()

    def has_checkpoint(self) -> bool:
        return (self.state_dir / self.group / "0" / "0" / "manifest").exists()

    def said(self) -> str:
        return self.log_path.read_text()

    def wait_for_progress(self) -> None:
        before = max(self.committed().offset, 0)
        eventually(lambda: self.committed().offset, lambda offset: offset > before, what=f"a commit beyond {before}")


class Load:
    """Outcomes in short transactions, every fifth of them aborted, for as long as the block runs."""

    def __init__(self, cluster: Cluster, decided: list[Outcome]) -> None:
        self._topic = cluster.topic("outcomes")
        self._chunks = [decided[at : at + CHUNK] for at in range(0, len(decided), CHUNK)]
        self._producer = Producer(
            client_settings(cluster, **EXACT_DELIVERY, transactional_id=f"{cluster.prefix}load", linger_ms=1)
        )
        self._producer.init_transactions(30.0)
        self.sent = 0

    @contextmanager
    def flowing(self) -> Iterator[None]:
        stop, failed = threading.Event(), list[BaseException]()

        def flow() -> None:
            try:
                while not stop.is_set():
                    self.transaction()
                    stop.wait(0.02)
            except (KafkaException, BufferError) as error:
                failed.append(error)

        thread = threading.Thread(target=flow)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
        assert not failed

    def transaction(self) -> None:
        chunk = self._chunks[self.sent % len(self._chunks)]
        aborted = self.sent % 5 == 4
        self._producer.begin_transaction()
        for outcome in chunk:
            self._producer.produce(self._topic, encode(outcome), b"shard", 0)
        # Passed over by the learner, and must shift nothing.
        self._producer.produce(self._topic, b"{", b"shard", 0)
        self._producer.flush(30.0)
        if aborted:
            self._producer.abort_transaction(30.0)
        else:
            self._producer.commit_transaction(30.0)
        self.sent += 1


def never_stopped(cluster: Cluster, config: str = "") -> tuple[Learner, list[Out]]:
    """A learner of this TOML that read the committed log in one go, and all it put out until both ends."""
    log = read_log(cluster, "outcomes", 0)
    settings = config_of(tomllib.loads(config)).learner(grace_ms=LearnerSettings().grace_ms)
    learner = Learner(settings, shard=0)
    learner.lineup.begin({}, 0)
    outs: list[Out] = []
    for record in log:
        outs += learner.step(records([record.value], start=record.offset))
    learner.finish()
    while learner.can_sweep():
        outs += learner.sweep(1_000)
    return learner, outs


@pytest.mark.broker
def test_model_trail_and_metrics_equal_those_of_a_learner_never_stopped_after_kill_9_twice_under_load(
    broker: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    cluster = Cluster(broker.bootstrap, prefix=topic_prefix)
    Admin(cluster).create(partitions=1)
    worker = Worker(cluster, tmp_path)
    load = Load(cluster, outcomes(200_000, negative_rate=0.1, spacing_ms=500, window_ms=WINDOW_MS, shown=True))
    load.transaction()
    for _ in range(2):
        with load.flowing():
            process = worker.start()
            worker.wait_for_progress()
            # Killed well behind its checkpoint, so that the next start has something to learn again in silence.
            eventually(worker.has_checkpoint, what="a checkpoint", about=worker.said)
            worker.wait_for_progress()
            process.send_signal(signal.SIGKILL)
            process.wait()
    # The second time nothing local is left either: the model is learned again from the log's start.
    shutil.rmtree(worker.state_dir)
    with load.flowing():
        process = worker.start()
        worker.wait_for_progress()
    process.send_signal(signal.SIGUSR1)
    assert process.wait(PATIENCE_S) == 0, worker.said()[-2_000:]

    learner, outs = never_stopped(cluster, CONFIG)
    assert learner.counts.rejected == load.sent - load.sent // 5
    assert learner.counts.reversed > 0
    mark = orjson.loads(worker.committed().metadata or "")
    assert mark["trail"] == learner.trail
    assert mark["next_offset"] == worker.committed().offset == learner.positions()["outcomes"]
    models = PublishedModels()
    for record in read_log(cluster, "models", 0):
        models.take(record.key, record.value)
    assert models.update() == []
    shown = outcomes(50)
    for entrant in learner.lineup.entrants:
        served = models.current[entrant.name, 0]
        assert served.manifest.next_offset == learner.positions()["outcomes"]
        assert served.manifest.digest == model_digest(entrant.model.snapshot())
        assert served.predict(served.rows(shown)).tolist() == entrant.model.predict(entrant.model.rows(shown)).tolist()
    wanted = [decode(out.value or b"", ModelMetrics) for out in outs if out.topic == "model_metrics"]
    found = [decode(value, ModelMetrics) for value in read_all(cluster, "model_metrics", 0)]
    assert len(wanted) > 20
    assert Counter(map(repr, found)) == Counter(map(repr, wanted))
    said = worker.said()
    assert said.count("no usable checkpoint: rebuilding from {'outcomes': 0}") == 1, said

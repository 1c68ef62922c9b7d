"""`clickfold models` on a real broker: what is there, an export, a rollback that readers follow until it is resumed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from online_models.learner import Learner
from online_models.mixture.settings import MixtureSettings
from online_models.published import PublishedModels
from online_models.settings import Challenger, LearnerSettings, ModelSettings
from schemas.codec import encode
from schemas.records import Out
from streams.embedded.broker import Broker
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.reads import read_log
from streams.kafka.writes import write_together
from tests.models.published import learned, records_of
from tests.models.traffic import outcomes, records


class Commands:
    """`clickfold models` on topics of its own."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": self.cluster.bootstrap,
            "CLICKFOLD_TOPIC_PREFIX": self.cluster.prefix,
            "COLUMNS": "200",
        }
        command = [sys.executable, "-m", "streams.cli", "models", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def says(self, *arguments: str) -> str:
        ended = self.run(*arguments)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def refuses(self, *arguments: str) -> str:
        ended = self.run(*arguments)
        assert ended.returncode == 2, ended.stdout
        return ended.stderr

    def publish(self, outs: list[Out]) -> None:
        write_together(self.cluster, f"{self.cluster.prefix}test", outs)


@pytest.fixture
def commands(broker: Broker, topic_prefix: str) -> Commands:
    cluster = Cluster(broker.bootstrap, prefix=topic_prefix)
    Admin(cluster).create(partitions=1)
    return Commands(cluster)


@pytest.mark.broker
def test_models_are_listed_exported_rolled_back_and_resumed(commands: Commands, tmp_path: Path) -> None:
    assert "no model is published yet; start `clickfold worker learn`" in commands.refuses("list")
    first, second = learned(300), learned(600)
    shown = outcomes(50, negative_rate=1.0)
    commands.publish([*records_of(first, 10, "even"), *records_of(second, 20, "odd")])
    commands.publish([Out("outcomes", b"k", encode(each)) for each in shown])
    models = PublishedModels({"ctr"})

    def version() -> int:
        for record in read_log(commands.cluster, "models", 0):
            models.take(record.key, record.value)
        models.update()
        return models.current["ctr", 0].manifest.version

    assert version() == 20
    listed = commands.says("list").splitlines()
    assert [line.split()[3] for line in listed if line.startswith("ctr ")] == ["10", "20"]
    assert [line.split()[-1] for line in listed if line.startswith("ctr ")][1] == "ctr/0"
    assert "is clicked with probability" in commands.says("show")
    assert "log odds differ by" in commands.says("diff", "ctr@10", "ctr@20")
    assert "version 11 of model ctr shard 0 is not in the topic; it has 10, 20" in commands.refuses("show", "ctr@11")

    file = tmp_path / "ctr.model"
    assert f"wrote ctr/0@10 to {file}" in commands.says("export", "ctr@10", str(file))
    assert "ctr/0@10: impression" in commands.says("show", str(file))
    assert "Two models" in commands.says("diff", str(file), str(file))

    assert "give either --to" in commands.refuses("rollback", "ctr")
    said = commands.says("rollback", "ctr", "--to", "10")
    assert "version 10 of ctr/0 is published as version 21, and served" in said
    assert version() == 21
    served_now = models.current["ctr", 0]
    assert served_now.manifest.copy_of == 10
    assert served_now.predict(served_now.rows(shown)).tolist() == first.predict(first.rows(shown)).tolist()
    # The learner goes on publishing, and readers stay with the choice.
    commands.publish(records_of(learned(900), 30, "even"))
    assert version() == 21
    assert "ctr/0 follows ctr.rollback, by choice 1" in commands.says("list")
    # From a file too, and above every version there is.
    assert "is published as version 31, and served" in commands.says("rollback", "ctr", "--to", str(file))
    assert version() == 31
    commands.says("rollback", "ctr", "--resume")
    assert version() == 31, "a version never goes back"
    commands.publish(records_of(learned(950), 40, "odd"))
    assert version() == 40


@pytest.mark.broker
def test_a_challenger_is_compared_and_promoted_by_a_person_or_only_if_it_is_better(commands: Commands) -> None:
    assert "no challenger has a window yet" in commands.refuses("compare")
    small = MixtureSettings(slot_bits=10, pair_bits=12)
    blind = msgspec.structs.replace(small, only=("hour",))
    settings = LearnerSettings(
        learns=ModelSettings(kind="ftrl", mixture=blind),
        challengers=(Challenger(name="worse", kind="ftrl", mixture=blind), Challenger(name="better", mixture=small)),
        window_ms=60_000,
        grace_ms=30_000,
    )
    learner = Learner(settings, shard=0)
    learner.lineup.begin({}, 0)
    outs = learner.step(records(outcomes(30_000, negative_rate=0.2, window_ms=120_000)))
    commands.publish(outs)
    assert "nothing is promoted" in commands.says("promote", "worse", "--auto")
    assert "no model is published yet" in commands.refuses("promote", "better")
    while versions := learner.report(1_000):
        commands.publish(versions)
    rows = {line.split()[0]: line.split()[-1] for line in commands.says("compare").splitlines() if line[:4] == "ctr."}
    assert rows == {"ctr.better": "better", "ctr.worse": "undecided"}
    assert "ctr.other is not published; there are ctr.better, ctr.worse" in commands.refuses("promote", "other")
    assert "give the name of a challenger, or --auto" in commands.refuses("promote")
    assert "nothing is promoted" in commands.says("promote", "worse", "--auto")

    def served() -> str:
        models = PublishedModels({"ctr"})
        for record in read_log(commands.cluster, "models", 0):
            models.take(record.key, record.value)
        assert models.update() == []
        return models.current["ctr", 0].manifest.model

    assert served() == "ctr"
    assert "ctr follows ctr.better on 1 shards" in commands.says("promote", "--auto")
    assert served() == "ctr.better"
    assert "ctr follows ctr.better already" in commands.says("promote", "--auto")
    commands.says("promote", "worse")
    assert served() == "ctr.worse"
    commands.says("rollback", "--resume")
    assert served() == "ctr"
    drawn = commands.says("chart", "ctr")
    assert "Normalised entropy of each window" in drawn
    assert "Reliability" in drawn


@pytest.mark.broker
def test_a_damaged_file_is_refused_and_nothing_is_written(commands: Commands, tmp_path: Path) -> None:
    commands.publish(records_of(learned(300), 10))
    file = tmp_path / "ctr.model"
    commands.says("export", "ctr", str(file))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    before = len(read_log(commands.cluster, "models", 0))
    assert "checksum differs" in commands.run("rollback", "ctr", "--to", str(file)).stderr
    assert len(read_log(commands.cluster, "models", 0)) == before

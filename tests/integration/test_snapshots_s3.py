"""A join worker on the real broker that shares its snapshots in S3: its disk lost, it goes on from there."""

from __future__ import annotations

import shutil
import signal
import urllib.request
from collections.abc import Iterator
from functools import partial
from operator import le
from pathlib import Path
from random import Random
from typing import Any

import fsspec
import pytest
from moto.server import ThreadedMotoServer

from schemas.errors import SettingsError
from streams.embedded.broker import Broker
from streams.embedded.ports import free_port
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.state.objects import ObjectStore
from tests.integration.test_join_worker import PARTITIONS, assert_truth, folded, produce, produced, start_worker
from tests.waiting import PATIENCE_S, eventually

BUCKET = "clickfold-test"
SECRET = "never-to-be-shown"
URL = f"s3://{BUCKET}/some/prefix"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 of this machine, empty but for a bucket, that the environment points to; its address."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    for name, value in {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    # What an earlier server of this process held is there again otherwise.
    urllib.request.urlopen(f"{address}/moto-api/reset", data=b"", timeout=10.0).close()
    client().mkdir(BUCKET)
    yield address
    server.stop()


@pytest.fixture
def cluster(broker: Broker, topic_prefix: str) -> Cluster:
    made = Cluster(broker.bootstrap, prefix=topic_prefix)
    Admin(made).create(partitions=PARTITIONS)
    return made


def client() -> Any:
    return fsspec.filesystem("s3", use_listings_cache=False, skip_instance_cache=True)


def keys() -> list[str]:
    return [str(path).removeprefix(f"{BUCKET}/") for path in client().find(BUCKET)]


def metrics(port: int) -> dict[str, float]:
    """Samples of a worker's metrics, summed over their labels."""
    found: dict[str, float] = {}
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10.0) as answer:
        for line in answer.read().decode().splitlines():
            if not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                name = name.partition("{")[0]
                found[name] = found.get(name, 0.0) + float(value)
    return found


def shared(port: int) -> float:
    return metrics(port)["clickfold_shared_snapshots_total"]


@pytest.mark.broker
def test_killed_worker_without_its_disk_goes_on_from_s3_and_comes_to_the_truth(
    cluster: Cluster, tmp_path: Path, s3: str
) -> None:
    state_dir = tmp_path / "state"
    state_dir.mkdir()
    random = Random(17)
    shares = ("--snapshots", URL, "--snapshot-every", "500ms")
    port = free_port()
    produce(cluster, random, range(120))
    first = start_worker(cluster, state_dir, *shares, "--metrics-port", str(port))
    try:
        eventually(lambda: len(folded(cluster)), equals=PARTITIONS, what="the first worker's start")
        # Each round of records is one cut more for every partition; without new records nothing is shared again.
        for start in range(120, 240, 40):
            one_more = shared(port) + PARTITIONS
            produce(cluster, random, range(start, start + 40))
            eventually(partial(shared, port), partial(le, one_more), what=f"{one_more:g} snapshots")
        assert metrics(port)["clickfold_shared_failures_total"] == 0
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    groups = {key.removeprefix("some/prefix/").partition("/")[0] for key in keys()}
    assert groups == {f"{cluster.prefix}join"}
    shutil.rmtree(state_dir)
    state_dir.mkdir()
    produce(cluster, random, range(240, 300))
    second = start_worker(cluster, state_dir, *shares, "--metrics-port", str(port))
    wanted = produced(cluster)
    try:
        eventually(lambda: folded(cluster), equals=wanted, what="catching up")
        assert metrics(port)["clickfold_shared_fetched_total"] == PARTITIONS
    finally:
        second.terminate()
        code = second.wait(PATIENCE_S)
    log = (tmp_path / "worker.log").read_text()
    assert code == 0, log[-2_000:]
    assert log.count("goes on from a shared snapshot") == PARTITIONS
    assert "no usable checkpoint" not in log
    assert SECRET not in log
    assert_truth(cluster)


def test_bucket_that_is_not_there_stops_the_worker_at_its_start(s3: str) -> None:
    with pytest.raises(SettingsError, match="make the bucket"):
        ObjectStore("s3://no-such-bucket/prefix").check()

"""Health of real workers that tells the truth: Kafka or ClickHouse frozen, a loop that is stuck."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import msgspec
import pytest
from clickhouse_connect.driver.client import Client

from schemas.codec import encode
from streams.embedded.broker import Broker
from streams.embedded.clickhouse import ClickHouse
from streams.embedded.ports import free_port
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.worker.heartbeat import STUCK_EXIT_CODE
from tests.chaos_load import Load
from tests.frozen import counters, freeze, status, trouble, workers
from tests.integration.sink_fixture import Setting, total
from tests.waiting import PATIENCE_S, eventually

pytestmark = [pytest.mark.broker, pytest.mark.clickhouse]

# Past the bound of 15 s for readiness. Two minutes are `python -m tests.frozen`.
FROZEN_S = 17.0


@pytest.fixture
def freezable(tmp_path: Path) -> Iterator[Broker]:
    """A Kafka of the test's own."""
    with Broker(tmp_path / "kafka") as running:
        yield running


def test_with_kafka_frozen_all_workers_are_live_and_not_ready_and_their_counters_do_not_fall(
    freezable: Broker, clickhouse: ClickHouse, ads: Client, tmp_path: Path
) -> None:
    cluster = Cluster(freezable.bootstrap)
    Admin(cluster).create(partitions=2, replication=1)
    with workers(tmp_path, cluster, clickhouse.url, str(ads.database)) as running, Load(cluster, seed=1, rate=200):
        eventually(lambda: counters(running["sink"].url("/metrics")), lambda found: sum(found.values()) > 100)
        seen = freeze(freezable, running, seconds=FROZEN_S)
    assert trouble(seen) == []


# `clickfold worker …`. Once the file that $STUCK names is there, its loop neither turns nor waits for Kafka, and the
# bound of two minutes is four seconds.
STUCK_SOON = """
import asyncio, os, sys, threading
from streams.cli import main
from streams.worker.heartbeat import Heartbeat
hearts, init = [], Heartbeat.__init__
def kept(heart, **more):
    hearts.append(heart)
    init(heart, **more)
Heartbeat.__init__ = kept
def is_stuck():
    if not os.path.exists(os.environ["STUCK"]):
        return False
    hearts[0].stuck_s = 4.0
    return True
if sys.argv[2] == "pace":
    from streams.pacing.app import PacingApp
    turn = PacingApp._tick
    async def turned(app):
        await (asyncio.Event().wait() if is_stuck() else turn(app))
    PacingApp._tick = turned
else:
    from streams.engine.runner import Runner
    from streams.sink.worker import _Sink
    kind, name = (_Sink, "_turn") if sys.argv[2] == "sink" else (Runner, "turn")
    turn = getattr(kind, name)
    def turned(worker):
        threading.Event().wait() if is_stuck() else turn(worker)
    setattr(kind, name, turned)
main()
"""


@pytest.mark.parametrize("name", ["join", "learn", "pace", "sink"])
def test_a_worker_whose_loop_is_stuck_is_not_live_and_then_ends_with_an_error(
    name: str, broker: Broker, topic_prefix: str, clickhouse: ClickHouse, ads: Client, tmp_path: Path
) -> None:
    cluster = Cluster(broker.bootstrap, prefix=topic_prefix)
    Admin(cluster).create(partitions=2, replication=1)
    port, stuck, log_path = free_port(), tmp_path / "stuck", tmp_path / "log"
    environment = {
        **os.environ,
        "KAFKA_BOOTSTRAP_SERVERS": cluster.bootstrap,
        "CLICKFOLD_TOPIC_PREFIX": cluster.prefix,
        "CLICKFOLD_STATE_DIR": str(tmp_path / "state"),
        "CLICKHOUSE_URL": clickhouse.url,
        "CLICKHOUSE_DATABASE": str(ads.database),
        "STUCK": str(stuck),
    }
    option = "--web-port" if name == "pace" else "--metrics-port"
    command = [sys.executable, "-c", STUCK_SOON, "worker", name, option, str(port)]
    with log_path.open("wb") as log, subprocess.Popen(command, env=environment, stdout=log, stderr=log) as worker:
        try:
            eventually(
                lambda: worker.poll() is not None or status(f"http://127.0.0.1:{port}/readyz") == 200,
                about=log_path.read_text,
            )
            assert status(f"http://127.0.0.1:{port}/livez") == 200
            stuck.touch()
            eventually(lambda: worker.poll() is not None or status(f"http://127.0.0.1:{port}/livez"), equals=503)
            assert worker.wait(PATIENCE_S) == STUCK_EXIT_CODE
        finally:
            worker.kill()
    assert '"stuck: the process ends, to be started again"' in log_path.read_text()


SINK = """
import sys
import msgspec
from streams.sink import settings as sink_settings
from streams.sink.settings import SinkSettings
from streams.warehouse.client import Warehouse
from streams.worker.lifecycle import run_worker
from streams.worker.workers import SinkWorker
# There it is a name for type checkers alone, and msgspec needs it.
sink_settings.Warehouse = Warehouse
settings = msgspec.json.decode(sys.argv[1], type=SinkSettings)
run_worker(SinkWorker(settings), settings.cluster, metrics_host="127.0.0.1", metrics_port=int(sys.argv[2]))
"""


def retries(url: str) -> float:
    """Inserts that a sink has tried again."""
    return sum(value for name, value in counters(f"{url}/metrics").items() if "sink_retries" in name)


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """A process that does nothing while the block runs."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_with_clickhouse_frozen_the_sink_is_live_and_not_ready_counts_its_wait_and_says_so_once(
    broker: Broker, clickhouse: ClickHouse, ads: Client, topic_prefix: str, tmp_path: Path
) -> None:
    setting = Setting(broker, clickhouse, str(ads.database), topic_prefix)
    port, log_path = free_port(), tmp_path / "log"
    url = f"http://127.0.0.1:{port}"
    # An answer is waited for 30 s; here for 2.
    asked = msgspec.to_builtins(setting.settings) | {"answer_s": 2}
    command = [sys.executable, "-c", SINK, encode(asked).decode(), str(port)]
    with log_path.open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as sink:
        try:
            eventually(lambda: status(f"{url}/readyz"), equals=200, about=log_path.read_text)
            with frozen(clickhouse.pid):
                began_s = monotonic()
                setting.send("totals", [total(key, version=1) for key in range(9)])
                eventually(lambda: status(f"{url}/readyz"), equals=503, within_s=15.0)
                eventually(lambda: retries(url), lambda count: count >= 2)
                assert status(f"{url}/livez") == 200
                waited_s = counters(f"{url}/metrics")["clickfold_sink_waiting_seconds_total{}"]
                assert 2.0 < waited_s <= monotonic() - began_s
            eventually(lambda: status(f"{url}/readyz"), equals=200, about=log_path.read_text)
            sink.terminate()
            assert sink.wait(PATIENCE_S) == 0
        finally:
            sink.kill()
    assert log_path.read_text().count("ClickHouse does not take rows") == 1

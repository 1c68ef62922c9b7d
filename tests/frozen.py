"""A Kafka frozen under all four workers: what their health and metrics say, from before until they work again.

`python -m tests.frozen --seconds 120` prints what was seen, second by second. The suite does the same for 20 s.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from schemas.clickhouse.migrations import migrate
from streams.embedded.broker import Broker
from streams.embedded.clickhouse import ClickHouse
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.warehouse.client import connect
from tests.chaos_load import Load
from tests.chaos_workers import Worker
from tests.waiting import eventually

NAMES = ("join", "learn", "pace", "sink")
BOUNDS = ("--window", "10s", "--skew", "1s", "--lateness", "4s", "--future", "20s", "--negative-rate", "0.3")
# A worker that does not answer a page for so long would fail a probe.
_ANSWER_S = 5.0


def status(url: str) -> int:
    """The HTTP status of a page; 0 without an answer."""
    try:
        with urllib.request.urlopen(url, timeout=_ANSWER_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, HTTPException):
        return 0


def counters(url: str) -> dict[str, float]:
    """Every counter a page of metrics has, by name and labels. Raises OSError when nothing answers."""
    with urllib.request.urlopen(url, timeout=_ANSWER_S) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        return {
            f"{sample.name}{sample.labels}": sample.value
            for family in families
            if family.type == "counter"
            for sample in family.samples
        }


@dataclass
class Watched:
    """What a worker's pages said while somebody looked."""

    not_live: list[float] = field(default_factory=list)
    # Since Kafka was frozen; None while it was ready all the time.
    not_ready_after_s: float | None = None
    empty: list[float] = field(default_factory=list)
    fallen: list[str] = field(default_factory=list)
    highest: dict[str, float] = field(default_factory=dict)

    def look(self, worker: Worker, at_s: float) -> None:
        """Notes what the pages say now, `at_s` after Kafka was frozen."""
        if status(worker.url("/livez")) != 200:
            self.not_live.append(at_s)
        if self.not_ready_after_s is None and status(worker.url("/readyz")) == 503:
            self.not_ready_after_s = at_s
        found = counters(worker.url("/metrics"))
        if not found:
            self.empty.append(at_s)
        for name, value in found.items():
            if value < self.highest.get(name, 0.0):
                self.fallen.append(f"{name}: {self.highest[name]} to {value} at {at_s:.1f} s")
            self.highest[name] = max(value, self.highest.get(name, 0.0))


@contextlib.contextmanager
def workers(folder: Path, cluster: Cluster, clickhouse_url: str, database: str) -> Iterator[dict[str, Worker]]:
    """All four, ready; killed at the end."""
    environment = {
        **os.environ,
        "KAFKA_BOOTSTRAP_SERVERS": cluster.bootstrap,
        "CLICKHOUSE_URL": clickhouse_url,
        "CLICKHOUSE_DATABASE": database,
        "CLICKFOLD_TOPIC_PREFIX": cluster.prefix,
        "CLICKFOLD_STATE_DIR": str(folder / "state"),
    }
    started = {name: Worker(folder, name, BOUNDS if name == "join" else (), environment) for name in NAMES}
    try:
        for worker in started.values():
            worker.start()
        for name, worker in started.items():
            wait_ready(name, worker)
        yield started
    finally:
        for worker in started.values():
            worker.kill()


def wait_ready(name: str, worker: Worker) -> None:
    """Returns once it says that it is ready."""

    def ready() -> bool:
        assert worker.alive, f"{name} ended with {worker.code}: {worker.log_path.read_text()}"
        return status(worker.url("/readyz")) == 200

    eventually(ready, what=f"readiness of {name}", about=worker.log_path.read_text)


def freeze(
    broker: Broker, running: dict[str, Worker], *, seconds: float, say: Callable[[str], None] = lambda _: None
) -> dict[str, Watched]:
    """Freezes Kafka for so long, then waits until all are ready again; what each worker's pages said."""
    seen = {name: Watched() for name in running}
    frozen_s = time.monotonic()
    over = threading.Event()

    def watch(name: str, worker: Worker) -> None:
        while not over.wait(0.5):
            assert worker.alive, f"{name} ended with {worker.code}: {worker.log_path.read_text()}"
            seen[name].look(worker, time.monotonic() - frozen_s)

    os.kill(broker.pid, signal.SIGSTOP)
    try:
        watching = [threading.Thread(target=watch, args=pair, daemon=True) for pair in running.items()]
        for thread in watching:
            thread.start()
        over.wait(seconds)
    finally:
        os.kill(broker.pid, signal.SIGCONT)
    say(f"thawed after {time.monotonic() - frozen_s:.0f} s")
    try:
        for name, worker in running.items():
            wait_ready(name, worker)
            say(f"{name} is ready again {time.monotonic() - frozen_s - seconds:.1f} s later")
    finally:
        over.set()
        for thread in watching:
            thread.join(30.0)
    for name, worker in running.items():
        seen[name].look(worker, time.monotonic() - frozen_s)
    return seen


def trouble(seen: dict[str, Watched]) -> list[str]:
    """What a worker said that is not true."""
    found = []
    for name, one in seen.items():
        found += [f"{name} was not live {at_s:.1f} s after the freeze" for at_s in one.not_live]
        found += [f"{name} had no metrics {at_s:.1f} s after the freeze" for at_s in one.empty]
        found += [f"{name}: {fall}" for fall in one.fallen]
        if one.not_ready_after_s is None or one.not_ready_after_s > 15.0:
            found.append(f"{name} was not ready after {one.not_ready_after_s} s; 15 are allowed")
    if not seen["join"].highest.get("clickfold_recoveries_total{}"):
        found.append("no recovery of the join was counted")
    return found


def main() -> int:
    """Exit code 0: every page said what is true."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="clickfold-frozen-"))
    print(f"in {folder}", flush=True)
    with Broker(folder / "kafka") as broker, ClickHouse(folder / "clickhouse", keeps_password=False) as clickhouse:
        cluster = Cluster(broker.bootstrap)
        Admin(cluster).create(partitions=2, replication=1)
        with contextlib.closing(connect(clickhouse.url)) as client:
            migrate(client, database="ads")
        load = Load(cluster, seed=1, rate=300, patience_s=given.seconds + 120.0)
        with workers(folder, cluster, clickhouse.url, "ads") as running, load:
            time.sleep(10.0)
            seen = freeze(broker, running, seconds=given.seconds, say=lambda text: print(text, flush=True))
    for name, one in seen.items():
        recoveries = one.highest.get("clickfold_recoveries_total{}", 0.0)
        print(f"{name}: not ready after {one.not_ready_after_s} s, {recoveries:.0f} recoveries", flush=True)
    found = trouble(seen)
    print(*found, sep="\n", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

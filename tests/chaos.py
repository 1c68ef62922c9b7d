"""Workers killed, frozen, added and taken away, the broker restarted, all under load; then the truth is asked for.

`python -m tests.chaos --minutes 3 --seed 7` prints what was done, how long it took to work on all partitions again, and
what an independent `clickfold verify` says of everything that was written. The same seed does the same faults.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import orjson

from streams.embedded.broker import Broker
from streams.embedded.clickhouse import ClickHouse
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.reads import read_all
from tests.chaos_load import Load
from tests.chaos_workers import FAILED, Workers
from tests.waiting import eventually

PARTITIONS = 8
BOUNDS = ("--window", "10s", "--skew", "1s", "--lateness", "4s", "--future", "20s", "--negative-rate", "0.3")
# Past the session timeout of 10 s: the group has given the partitions to others when the worker goes on.
FROZEN_S = 12.5
VERIFIED_S = 240.0

SHORT = ("kill", "add", "freeze", "kill sink", "remove", "broker", "kill pace", "kill and lose state")
LONG = (*SHORT, "kill", "freeze", "kill broker", "kill and lose state")


@dataclass
class Fault:
    """One thing done to the system: when, since the load began, to whom, and when all partitions were live again."""

    kind: str
    whom: str
    at_s: float
    over_s: float
    whole_after_s: float | None = None


@dataclass
class Report:
    """What was done and what came of it. `answer` is that of `clickfold verify`, `starts` counts changes of owner."""

    seed: int
    faults: list[Fault] = field(default_factory=list)
    answer: dict[str, Any] = field(default_factory=dict)
    delivered: dict[str, int] = field(default_factory=dict)
    starts: int = 0
    evidence: Counter[str] = field(default_factory=Counter)

    def trouble(self) -> list[str]:
        """What shows that the run differs from the truth, or that it did not happen as planned."""
        found = [f"{check['name']}: {check['first']}" for check in self.answer["checks"] if check["differing"]]
        found += [f"{check['name']}: nothing compared" for check in self.answer["checks"] if not check["compared"]]
        found += [f"{name}: not compared" for name in self.answer["absent"]]
        for log, count in self.delivered.items():
            if not 0 < count <= self.answer["events"][log]:
                found.append(f"{count} {log} were acknowledged, {self.answer['events'][log]} judged")
        kinds = Counter(fault.kind for fault in self.faults)
        moved = sum(kinds[kind] for kind in ("kill", "kill and lose state", "freeze", "add", "remove"))
        if self.starts < PARTITIONS + moved:
            found.append(f"{self.starts} starts of a partition's owner, but {moved} faults should have moved some")
        found += [
            f"{wanted} of {kind!r}, the logs show {self.evidence[kind]}"
            for kind, wanted in kinds.items()
            if self.evidence[kind] < wanted
        ]
        return found


class Chaos:
    """One system below a folder, its load, and the hand that breaks it."""

    def __init__(self, folder: Path, *, seed: int, rate: int = 1_500, say: Callable[[str], None] = print) -> None:
        self.folder = folder
        self.report = Report(seed)
        self._random = Random(seed)
        self._say = say
        self.broker = Broker(folder / "kafka")
        self.clickhouse = ClickHouse(folder / "clickhouse")
        self._rate = rate
        self._began_s = 0.0
        self._whole_s: list[float] = []

    def run(self, *, kinds: Sequence[str], gap_s: tuple[float, float]) -> Report:
        """Does faults of these kinds one after another, then drains and verifies. Raises AssertionError in time."""
        with contextlib.ExitStack() as stack:
            stack.callback(self.broker.stop)
            self.broker.start()
            stack.callback(self.clickhouse.stop)
            self.clickhouse.start()
            self.cluster = Cluster(self.broker.bootstrap)
            Admin(self.cluster).create(partitions=PARTITIONS, replication=1)
            environment = {
                **os.environ,
                "KAFKA_BOOTSTRAP_SERVERS": self.cluster.bootstrap,
                "CLICKHOUSE_URL": self.clickhouse.url,
                "CLICKHOUSE_DATABASE": "ads",
                "CLICKFOLD_TOPIC_PREFIX": "ads.",
                # See Workers.dump_stacks.
                "PYTHONFAULTHANDLER": "1",
                "CLICKFOLD_STATE_DIR": str(self.folder / "state"),
            }
            self.workers = Workers(self.folder, environment, BOUNDS)
            stack.callback(self.workers.kill_all)
            for _ in range(3):
                self.workers.add()
            self._until(lambda: self.workers.live() == PARTITIONS, "a live owner of each partition")
            self.load = Load(self.cluster, seed=self.report.seed, rate=self._rate)
            with self.load, self._watch():
                self._began_s = time.monotonic()
                self._wait(3.0)
                for kind in kinds:
                    self._break(kind)
                    self._wait(self._random.uniform(*gap_s))
                self._thaw(all_of_them=True)
                last_s = self._now_s()
                self._until(lambda: self._is_whole(after_s=last_s), "a live owner of each partition at last")
                self._wait(2.0)
            self.report.delivered = dict(self.load.delivered)
            self._end()
            self._verify(environment)
        return self.report

    # ---- faults -----------------------------------------------------------------------------------------------------

    def _break(self, kind: str) -> None:
        self._thaw()
        running = self.workers.running()
        if not running:
            # All are frozen or were removed.
            self._say(f"{self._now_s():6.1f} s  no join worker runs: {kind} is left out")
            return
        worker = self._random.choice(running)
        whom = worker.name
        at_s = self._now_s()
        if kind.startswith("kill") and kind not in ("kill sink", "kill pace", "kill broker"):
            worker.kill()
            if kind == "kill and lose state":
                shutil.rmtree(self.folder / "state" / "ads.join" / worker.slot)
            self._wait(self._random.uniform(0.2, 2.0))
            worker.start()
        elif kind == "freeze":
            worker.freeze(until_s=time.monotonic() + FROZEN_S)
        elif kind == "add":
            whom = self.workers.add().name
        elif kind == "remove":
            if len(running) < 2:
                return
            self.workers.remove(worker)
        elif kind in ("broker", "kill broker"):
            whom, before = "kafka", self.broker.pid
            (self.broker.stop if kind == "broker" else self.broker.kill)()
            self._wait(self._random.uniform(0.0, 2.0))
            self.broker.start()
            self.report.evidence[kind] += self.broker.pid != before
        else:
            one = self.workers.sink if kind == "kill sink" else self.workers.pace
            whom = one.name
            one.kill()
            self._wait(self._random.uniform(0.2, 2.0))
            one.start()
        fault = Fault(kind, whom, at_s, self._now_s())
        self.report.faults.append(fault)
        self._say(f"{at_s:6.1f} s  {kind} ({whom})")

    def _thaw(self, *, all_of_them: bool = False) -> None:
        """Lets frozen workers go on whose time is up, or waits for it."""
        for worker in self.workers.frozen():
            if all_of_them:
                self._wait(max(0.0, worker.frozen_until_s - time.monotonic()), thaw=False)
            if worker.frozen_until_s <= time.monotonic():
                worker.thaw()
                self._say(f"{self._now_s():6.1f} s  {worker.name} goes on, a zombie")

    def _wait(self, seconds: float, *, thaw: bool = True) -> None:
        """Faults come at their times; meanwhile what should run is looked at."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.workers.check()
            if thaw:
                self._thaw()
            time.sleep(0.05)

    # ---- watching ---------------------------------------------------------------------------------------------------

    def _now_s(self) -> float:
        return time.monotonic() - self._began_s

    @contextlib.contextmanager
    def _watch(self) -> Iterator[None]:
        """Notes each moment at which every partition has one live owner and little lag."""
        over = threading.Event()

        def look() -> None:
            while not over.wait(0.2):
                if self.workers.live() == PARTITIONS and self.workers.lag() < 2 * self._rate:
                    self._whole_s.append(self._now_s())

        thread = threading.Thread(target=look, name="watch", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(10.0)

    def _is_whole(self, *, after_s: float) -> bool:
        # Some in a row: a zombie may for a moment count what it no longer owns.
        return sum(at_s > after_s for at_s in self._whole_s) >= 3

    def _until(self, done: Callable[[], bool], what: str) -> None:
        def look() -> bool:
            self.workers.check()
            return done()

        def state() -> str:
            found = self.workers.state()
            self.workers.dump_stacks()
            return found

        # In time: a member that is gone is missed for 10 s, its transaction for 15, a stuck one for 35, and one thing
        # may happen on top of another.
        eventually(look, what=what, about=state)

    # ---- the end ----------------------------------------------------------------------------------------------------

    def _end(self) -> None:
        for fault in self.report.faults:
            after = [at_s for at_s in self._whole_s if at_s > fault.over_s + 0.5]
            fault.whole_after_s = min(after, default=float("nan")) - fault.at_s
            self._say(f"{fault.kind:20} {fault.whom:8} whole again after {fault.whole_after_s:4.1f} s")
        running = self.workers.running()
        for worker in running:
            worker.signal(signal.SIGUSR1)
            worker.expected = False
        self._until(lambda: not any(worker.alive for worker in running), "the end of every join worker")
        codes = {worker.name: worker.code for worker in running}
        assert not any(codes.values()), f"join workers ended with {codes}: {FAILED}"
        self.report.starts = sum(
            b'"start"' in value
            for partition in range(PARTITIONS)
            for value in read_all(self.cluster, "seals", partition)
        )
        self.report.evidence.update(self.workers.evidence())

    def _verify(self, environment: dict[str, str]) -> None:
        command = [sys.executable, "-m", "streams.cli", "verify", *BOUNDS, "--ended", "--wait", "90s"]
        command += ["--pacing-url", self.workers.pace.url("/pacing"), "--format", "json"]
        done = subprocess.run(command, env=environment, capture_output=True, timeout=VERIFIED_S, check=False)
        assert done.returncode in (0, 1), f"verify ended with {done.returncode}: {done.stderr.decode()[-2_000:]}"
        self.report.answer = orjson.loads(done.stdout)
        assert (done.returncode == 0) == self.report.answer["agree"]
        for check in self.report.answer["checks"]:
            mark = "✗" if check["differing"] else "✓"
            self._say(f"  {mark} {check['name']}: {check['compared']:,} compared, {check['differing']:,} differ")
        self._say(f"  events checked: {sum(self.report.answer['events'].values()):,}; owners: {self.report.starts}")


def long_plan(minutes: float, seed: int) -> list[str]:
    """Kinds of faults for so long, each of the short form at least once."""
    random = Random(f"plan {seed}")
    # A fault with the wait behind it takes about seven seconds.
    count = max(len(SHORT), round(minutes * 60 / 7))
    plan = [*SHORT, *random.choices(LONG, k=count - len(SHORT))]
    random.shuffle(plan)
    return plan


def main() -> int:
    """Exit code 0: everything agrees with the truth, and every fault was seen to happen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--rate", type=int, default=1_500, help="impressions a second")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="clickfold-chaos-"))
    print(f"seed {given.seed}, in {folder}", flush=True)
    again = f"python -m tests.chaos --minutes {given.minutes:g} --seed {given.seed}"
    chaos = Chaos(folder, seed=given.seed, rate=given.rate, say=lambda text: print(text, flush=True))
    try:
        report = chaos.run(kinds=long_plan(given.minutes, given.seed), gap_s=(2.0, 9.0))
    except BaseException:
        print(f"left in {folder}; again: {again}", file=sys.stderr)
        raise
    trouble = report.trouble()
    for line in trouble:
        print(line, file=sys.stderr)
    if trouble:
        print(f"left in {folder}; again: {again}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Workers killed, frozen, added and taken away, the broker restarted, all under load; then the truth is asked for.

`python -m tests.chaos --minutes 3 --seed 7` prints what was done, how long it took to work on all partitions again, and
what an independent `clickfold verify` says of everything that was written. The same seed does the same faults. Totals
have an extra dimension where the seed is odd.
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
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random

import orjson

from streams.embedded.broker import Broker
from streams.embedded.clickhouse import ClickHouse
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.reads import read_all
from tests.chaos_load import SOURCE_MAPPING, Load
from tests.chaos_redrive import Redriver, redriven_wrongly
from tests.chaos_report import Fault, Report
from tests.chaos_workers import FAILED, Worker, Workers
from tests.waiting import eventually

PARTITIONS = 8
LATENESS = "4s"
BOUNDS = ("--window", "10s", "--skew", "1s", "--lateness", LATENESS, "--future", "20s", "--negative-rate", "0.3")
# Past the session timeout of 10 s: the group has given the partitions to others when the worker goes on.
FROZEN_S = 12.5
VERIFIED_S = 240.0
SOURCE, SOURCE_PARTITIONS = "chaos.source", 3
DIMENSIONS = '[dimensions]\nsite = "features.site"\n'

SHORT = (
    *("kill", "add", "freeze ingest", "freeze", "redrive", "kill sink", "remove", "kill ingest", "broker", "kill pace"),
    "kill and lose state",
)
LONG = (*SHORT, "kill", "freeze", "kill ingest", "redrive", "kill broker", "kill and lose state")


class Chaos:
    """One system below a folder, its load, and the hand that breaks it."""

    def __init__(self, folder: Path, *, seed: int, rate: int = 1_500, say: Callable[[str], None] = print) -> None:
        self.folder = folder
        self.report = Report(seed, least_starts=PARTITIONS)
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
            bounds = [*BOUNDS, *self._made(environment)]
            mapping = self.folder / "source.toml"
            mapping.write_text(SOURCE_MAPPING)
            source = ["--source", f"{SOURCE}={mapping}"]
            self.workers = Workers(self.folder, environment, bounds=bounds, source=source)
            stack.callback(self.workers.kill_all)
            for _ in range(3):
                self.workers.add()
            redriver = self.redriver = Redriver(self.folder, environment, LATENESS)
            stack.callback(redriver.kill)
            self._until(self._all_live, "a live owner of each partition")
            self.load = Load(self.cluster, seed=self.report.seed, rate=self._rate, source=SOURCE)
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
            self._verify(environment, [*bounds, *source])
        return self.report

    def _made(self, environment: dict[str, str]) -> list[str]:
        """Makes topics and tables, and returns the options of the extra dimensions."""
        options = []
        if self.report.seed % 2:
            declared = self.folder / "dimensions.toml"
            declared.write_text(DIMENSIONS)
            options = ["--extra-dimensions", str(declared)]
        command = [sys.executable, "-m", "streams.cli", "init", "--partitions", str(PARTITIONS), *options]
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, timeout=VERIFIED_S, check=True)
        Admin(self.cluster).create_topic(SOURCE, partitions=SOURCE_PARTITIONS, config={})
        return options

    # ---- faults -----------------------------------------------------------------------------------------------------

    def _break(self, kind: str) -> None:
        self._thaw()
        at_s, whom = self._now_s(), ""
        if kind in ("broker", "kill broker"):
            whom, before = "kafka", self.broker.pid
            (self.broker.stop if kind == "broker" else self.broker.kill)()
            self._wait(self._random.uniform(0.0, 2.0))
            self.broker.start()
            self.report.evidence[kind] += self.broker.pid != before
        elif kind == "redrive":
            whom = "redrive"
            self.redriver.start()
            self.report.evidence[kind] += 1
        elif kind in ("kill sink", "kill pace"):
            whom = self._killed(self.workers.sink if kind == "kill sink" else self.workers.pace)
        else:
            whom = self._worker_broken(kind)
        if whom:
            self.report.faults.append(Fault(kind, whom, at_s, self._now_s()))
            self._say(f"{at_s:6.1f} s  {kind} ({whom})")

    def _worker_broken(self, kind: str) -> str:
        """Strikes a worker of the join or of ingest, and gives its name; empty where there is none to strike."""
        of = "ingest" if kind.endswith("ingest") else "join"
        running = self.workers.running(of)
        if not running or (kind == "remove" and len(running) < 2):
            # All are frozen or were removed.
            self._say(f"{self._now_s():6.1f} s  no {of} worker runs: {kind} is left out")
            return ""
        if kind == "add":
            return self.workers.add().name
        worker = self._random.choice(running)
        if kind.startswith("freeze"):
            worker.freeze(until_s=time.monotonic() + FROZEN_S)
        elif kind == "remove":
            self.workers.remove(worker)
        else:
            lost = self.folder / "state" / "ads.join" / worker.slot if kind == "kill and lose state" else None
            self._killed(worker, lost=lost)
        return worker.name

    def _killed(self, worker: Worker, *, lost: Path | None = None) -> str:
        """Kills a worker, takes away its state if it is to be lost, starts it again, and gives its name."""
        worker.kill()
        if lost is not None:
            shutil.rmtree(lost)
        self._wait(self._random.uniform(0.2, 2.0))
        worker.start()
        return worker.name

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
            # Often enough to tell how long a fault lasts. To answer costs each worker milliseconds.
            while not over.wait(0.5):
                live, lag = self.workers.look()
                if live == (PARTITIONS, SOURCE_PARTITIONS) and lag < 2 * self._rate:
                    self._whole_s.append(self._now_s())

        thread = threading.Thread(target=look, name="watch", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(10.0)

    def _all_live(self) -> bool:
        return (self.workers.live(), self.workers.live("ingest")) == (PARTITIONS, SOURCE_PARTITIONS)

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
        # Whoever writes to the inputs ends before those who read them.
        self._until(lambda: self.workers.lag("ingest") == 0, "the end of the source")
        for worker in self.workers.running("ingest"):
            self.workers.remove(worker)
        self.redriver.finish()
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
        self.report.redriven = redriven_wrongly(self.cluster, PARTITIONS)
        self.report.evidence.update(self.workers.evidence())

    def _verify(self, environment: dict[str, str], options: Sequence[str]) -> None:
        command = [sys.executable, "-m", "streams.cli", "verify", *options, "--ended", "--wait", "90s"]
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

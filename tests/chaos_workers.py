"""The processes of a chaos run: started, killed, frozen, and asked how they are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from pathlib import Path

from streams.cli.render.sources import Samples
from streams.embedded.ports import free_port
from tests.waiting import eventually

FAILED = "see the logs in the folder"
NO_KAFKA = "no Kafka broker answers"
# A commit under way may wait for a coordinator, and the group for its answer.
_LEFT_S = 150.0


class Worker:
    """One worker process and its lives, one log for all of them."""

    def __init__(
        self, folder: Path, name: str, options: Sequence[str], environment: Mapping[str, str], *, slot: str = ""
    ) -> None:
        self.name = name
        self.slot = slot
        # Whether it should be running.
        self.expected = False
        self.frozen_until_s = 0.0
        self.kills = 0
        # How much it had logged each time it went on.
        self.thawed_at: list[int] = []
        self.log_path = folder / f"{name}.log"
        # With the stack of every thread, should a library's C code end the process.
        self._environment = {**environment, "PYTHONFAULTHANDLER": "1"}
        self._port = free_port()
        port_option = "--web-port" if name == "pace" else "--metrics-port"
        kind = name.partition("-")[0]
        self._command = [sys.executable, "-m", "streams.cli", "worker", kind, *options, port_option, str(self._port)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(self._command, env=self._environment, stdout=log, stderr=log)
        self.expected = True

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def code(self) -> int | None:
        return None if self._process is None else self._process.returncode

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._port}{path}"

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        self.expected = False
        self.kills += 1
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)
        self.frozen_until_s = 0.0

    def freeze(self, *, until_s: float) -> None:
        self.signal(signal.SIGSTOP)
        self.frozen_until_s = until_s

    def thaw(self) -> None:
        self.thawed_at.append(len(self.log_path.read_text(errors="replace")))
        self.frozen_until_s = 0.0
        self.signal(signal.SIGCONT)

    def samples(self) -> Samples | None:
        """Its metrics; None while it does not answer."""
        if not self.alive or self.frozen_until_s:
            return None
        try:
            with urllib.request.urlopen(self.url("/metrics"), timeout=1.0) as answer:
                return Samples(answer.read())
        except (OSError, HTTPException):
            return None

    def last_words(self) -> str:
        return self.log_path.read_text(errors="replace")[-1_500:].rstrip() or "nothing"


class Workers:
    """Join workers that come and go, two of ingest that share the source, one sink, one pacing worker."""

    def __init__(
        self, folder: Path, environment: Mapping[str, str], *, bounds: Sequence[str], source: Sequence[str]
    ) -> None:
        self._folder = folder
        self._environment = environment
        self._bounds = bounds
        self.joins: list[Worker] = []
        self.removed = 0
        self.ingests = [
            Worker(folder, f"ingest-{slot}", [*source, "--slot", slot], environment, slot=slot) for slot in "01"
        ]
        self.sink = Worker(folder, "sink", ["--batch-s", "0.2"], environment)
        self.pace = Worker(folder, "pace", [], environment)
        for worker in (*self.ingests, self.sink, self.pace):
            worker.start()

    @property
    def all(self) -> list[Worker]:
        return [*self.joins, *self.ingests, self.sink, self.pace]

    def add(self) -> Worker:
        """One more join worker, in a slot of its own."""
        slot = str(len(self.joins))
        options = [*self._bounds, "--checkpoint", "1s", "--idle", "2s", "--slot", slot]
        worker = Worker(self._folder, f"join-{slot}", options, self._environment, slot=slot)
        self.joins.append(worker)
        worker.start()
        return worker

    def remove(self, worker: Worker) -> None:
        """SIGTERM: it commits, checkpoints, leaves and does not come back."""
        worker.expected = False
        worker.signal(signal.SIGTERM)

        def stacks() -> str:
            self.dump_stacks()
            return worker.last_words()

        eventually(lambda: not worker.alive, what=f"the end of {worker.name}", about=stacks, within_s=_LEFT_S)
        assert worker.code == 0, f"{worker.name} left with {worker.code}: {worker.last_words()}"
        self.removed += worker in self.joins

    def running(self, kind: str = "join") -> list[Worker]:
        """Those of a kind that work now."""
        return [worker for worker in self._of(kind) if worker.expected and not worker.frozen_until_s]

    def frozen(self) -> list[Worker]:
        return [worker for worker in self.all if worker.frozen_until_s]

    def _of(self, kind: str) -> list[Worker]:
        return self.joins if kind == "join" else self.ingests

    def check(self) -> None:
        """Whatever should run, runs. One that found no Kafka at its start is started again, as a supervisor would."""
        for worker in self.all:
            if worker.alive or not worker.expected:
                continue
            said = worker.last_words()
            assert NO_KAFKA in said.splitlines()[-1], f"{worker.name} ended by itself with {worker.code}: {said}"
            worker.start()

    def live(self, kind: str = "join") -> int:
        """Partitions worked on, as the workers see it."""
        return int(self._total(kind, "clickfold_tasks_live"))

    def lag(self, kind: str = "join") -> int:
        return int(self._total(kind, "clickfold_lag_records"))

    def look(self) -> tuple[tuple[int, int], int]:
        """Partitions that the join and ingest work on, and the lag of both together; each worker is asked once."""
        live, lag = [], 0.0
        for kind in ("join", "ingest"):
            found = [samples for worker in self.running(kind) if (samples := worker.samples())]
            live.append(int(sum(samples.total("clickfold_tasks_live") or 0.0 for samples in found)))
            lag += sum(samples.total("clickfold_lag_records") or 0.0 for samples in found)
        return (live[0], live[1]), int(lag)

    def _total(self, kind: str, name: str) -> float:
        found = [samples.total(name) for worker in self.running(kind) if (samples := worker.samples())]
        return sum(number or 0.0 for number in found)

    def dump_stacks(self) -> None:
        """What each worker that runs is doing, into its log; ends it."""
        for worker in (*self.joins, *self.ingests):
            if worker.alive:
                worker.signal(signal.SIGABRT)
        time.sleep(1.0)

    def state(self) -> str:
        live = {}
        for worker in (*self.joins, *self.ingests):
            samples = worker.samples()
            live[worker.name] = samples.total("clickfold_tasks_live") if samples else ("" if worker.alive else "ended")
        return f"partitions worked on: {live}; {FAILED}"

    def evidence(self) -> Counter[str]:
        """How often each kind of fault shows in what the workers themselves have logged."""
        killed = sum(worker.kills for worker in self.joins)
        logs = [worker.log_path.read_text(errors="replace") for worker in self.joins]
        rebuilt = sum("no usable checkpoint" in line for log in logs for line in log.splitlines())
        return Counter(
            {
                "kill": killed,
                "kill and lose state": min(killed, rebuilt),
                "freeze": _taken_from(self.joins),
                "add": len(self.joins) - 3,
                "remove": self.removed,
                "kill ingest": sum(worker.kills for worker in self.ingests),
                "freeze ingest": _taken_from(self.ingests),
                "kill sink": self.sink.kills,
                "kill pace": self.pace.kills,
            }
        )

    def kill_all(self) -> None:
        for worker in self.all:
            worker.kill()


def _taken_from(workers: Sequence[Worker]) -> int:
    """How often one that goes on says that what it had was taken: it recovers, or loads partitions anew."""
    return sum(
        '"recovery"' in said or '"trying again"' in said
        for worker in workers
        for at in worker.thawed_at
        for said in [worker.log_path.read_text(errors="replace")[at:]]
    )

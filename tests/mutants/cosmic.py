"""Lists and makes mutants with the operators of cosmic-ray. Runs with the packages of its own lock, not with ours.

Reads one JSON object from standard input and writes one to standard output: `{"files": [...]}` is answered with all
mutants of these files, `{"wanted": [[file, operator, occurrence], ...]}` with the text of the file for each.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import parso
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Example, Operator
from cosmic_ray.operators.provider import OperatorProvider

# The nearest replacements only: what is far from the code, as `+` by `**`, is killed by almost any test.
_BINARY = "Add_Sub Sub_Add Mul_Add Div_Mul FloorDiv_Mul Mod_FloorDiv LShift_RShift RShift_LShift "
_BINARY += "BitAnd_BitOr BitOr_BitAnd BitXor_BitAnd"
_COMPARISON = "Lt_LtE Lt_GtE LtE_Lt LtE_Gt Gt_GtE Gt_LtE GtE_Gt GtE_Lt Eq_NotEq NotEq_Eq Is_IsNot IsNot_Is"
_UNARY = "USub_UAdd Delete_Not Delete_Invert"
_OTHERS = (
    *("AddNot", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd"),
    *("ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "ExceptionReplacer", "NumberReplacer"),
    "ZeroIterationForLoop",
)
NAMES = (
    *(f"ReplaceBinaryOperator_{pair}" for pair in _BINARY.split()),
    *(f"ReplaceComparisonOperator_{pair}" for pair in _COMPARISON.split()),
    *(f"ReplaceUnaryOperator_{pair}" for pair in _UNARY.split()),
    *_OTHERS,
)


class RemoveStatement(Operator):  # type: ignore[misc]  # cosmic-ray publishes no types
    """Puts `pass` for a call whose result is dropped and for an augmented assignment."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:
        if node.type == "simple_stmt":
            first = node.children[0]
            # Of an annotated assignment the second child is a node without a value.
            adds = first.type == "expr_stmt" and getattr(first.children[1], "value", "=") != "="
            if first.type in ("atom_expr", "power") or adds:
                yield first.start_pos, first.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        first = node.children[0]
        node.children[0] = parso.parse(f"{first.get_first_leaf().prefix}pass")
        return node

    @classmethod
    def examples(cls) -> Sequence[Any]:
        return (Example("f(1)\n", "pass\n"), Example("a += 1\n", "pass\n"))


def operators() -> dict[str, Any]:
    """The operators by their names."""
    provider = OperatorProvider()
    return {**{name: provider[name]() for name in NAMES}, "RemoveStatement": RemoveStatement()}


def listed(files: Sequence[str]) -> list[Any]:
    """[file, operator, occurrence, (line, column), (line, column)] of each mutant; lines from 1, columns from 0."""
    found = []
    for file in files:
        nodes = list(ast_nodes(get_ast(Path(file).read_text())))
        for name, operator in operators().items():
            places = [place for node in nodes for place in operator.mutation_positions(node)]
            found += [[file, name, number, *place] for number, place in enumerate(places)]
    return found


def made(wanted: Sequence[Any]) -> list[str]:
    """The text of each file with its mutant."""
    every = operators()
    return [mutate_code(Path(file).read_text(), every[name], number) for file, name, number in wanted]


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    json.dump(listed(asked["files"]) if "files" in asked else made(asked["wanted"]), sys.stdout)

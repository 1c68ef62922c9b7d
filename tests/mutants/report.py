"""What the mutants say: killed and survived by file, the share that survived, and each survivor as a changed line."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.table import Table

from tests.mutants.checkout import ROOT
from tests.mutants.trial import Tried, Verdict

# Survivors above this share fail the run, whatever their reasons: the aim of the project.
MOST_SURVIVE: Final = 0.05
# Every survivor is listed there with its reason.
PAGE: Final = ROOT / "docs/internals/testing.md"
# The normal distribution's two-sided 95 %.
_Z: Final = 1.959964


def interval(survived: int, tried: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share; (0, 1) when nothing was tried."""
    if not tried:
        return 0.0, 1.0
    share, square = survived / tried, _Z * _Z / tried
    middle = share + square / 2
    half = _Z * math.sqrt(share * (1 - share) / tried + square / (4 * tried))
    return max(0.0, (middle - half) / (1 + square)), min(1.0, (middle + half) / (1 + square))


def explained(one: Tried, page: str) -> bool:
    """Whether the page names the changed line, or the one that was left out."""
    line = one.before if one.after.strip() == "pass" else one.after
    return f"`{line.strip()}`" in page


def survivors(tried: Iterable[Tried]) -> list[Tried]:
    """Those that no test noticed, in order of place."""
    found = [one for one in tried if one.verdict is Verdict.SURVIVED]
    return sorted(found, key=lambda one: (one.mutant.path, one.mutant.line, one.mutant.column))


def diff(one: Tried) -> str:
    """The place of a mutant, the lines before and the lines after."""
    mutant = one.mutant
    before, after = (
        [f"{sign}{line}" for line in text.split("\n")] for sign, text in (("-", one.before), ("+", one.after))
    )
    return "\n".join((f"{mutant.path}:{mutant.line}  {mutant.operator}", *before, *after))


def show(console: Console, tried: Sequence[Tried], page: str) -> bool:
    """Prints it all; whether few enough survived."""
    table = Table("file", "mutants", "killed", "timeout", "survived", title="Mutants")
    for column in table.columns[1:]:
        column.justify = "right"
    files: defaultdict[str, Counter[Verdict]] = defaultdict(Counter)
    for one in tried:
        files[one.mutant.path][one.verdict] += 1
    every = Counter[Verdict]()
    for path, counts in sorted(files.items()):
        table.add_row(path, str(counts.total()), *(str(counts[verdict]) for verdict in Verdict))
        every += counts
    table.add_section()
    table.add_row("all", str(every.total()), *(str(every[verdict]) for verdict in Verdict))
    console.print(table)
    alive = survivors(tried)
    for one in alive:
        reason = "its reason is in the documents" if explained(one, page) else "no reason is given"
        console.print(f"\n{diff(one)}\n  {reason}", highlight=False, markup=False, soft_wrap=True)
    low, high = interval(len(alive), len(tried))
    share = len(alive) / max(1, len(tried))
    console.print(
        f"\n{len(alive)} of {len(tried)} survived: {share:.1%}, of all mutants {low:.1%} to {high:.1%} (95 %); "
        f"the aim is at most {MOST_SURVIVE:.0%}",
        highlight=False,
        soft_wrap=True,
    )
    return share <= MOST_SURVIVE


# ---- results that are kept ------------------------------------------------------------------------------------------


def write(path: Path, tried: Iterable[Tried]) -> None:
    """Keeps results, all or none of them."""
    beside = path.with_suffix(".new")
    beside.write_bytes(msgspec.json.format(msgspec.json.encode(list(tried)), indent=1) + b"\n")
    beside.replace(path)


def read(path: Path) -> list[Tried]:
    """Results that were kept; none without a file."""
    return msgspec.json.decode(path.read_bytes(), type=list[Tried]) if path.exists() else []

"""The documents name only what exists: files, tests, commands, targets of make, metrics."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from streams.cli.reference.commands import commands
from streams.worker.metrics import CATALOGUE, PREFIX

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def named(pattern: str) -> Iterator[tuple[str, str]]:
    """Page and first group of what a pattern finds in code within the pages."""
    for page in sorted(DOCS.rglob("*.md")):
        for code in re.findall(r"`([^`\n]+)`", page.read_text(encoding="utf-8")):
            for found in re.findall(pattern, code):
                yield page.relative_to(DOCS).as_posix(), found


def test_files_named_in_the_documents_exist() -> None:
    found = [*named(r"^((?:schemas|online_models|streams|tests|deploy|docs)/[\w./-]*)$")]
    assert len(found) > 20
    assert [each for each in found if not (ROOT / each[1]).exists()] == []


def test_tests_named_in_the_documents_exist() -> None:
    written = [*(ROOT / "tests").rglob("test_*.py")]
    names = {path.name for path in written}
    names |= {name for path in written for name in re.findall(r"def (test_\w+)", path.read_text(encoding="utf-8"))}
    found = [*named(r"\b(test_\w+(?:\.py)?)")]
    assert len(found) > 20
    assert [each for each in found if each[1] not in names] == []


def test_commands_targets_and_metrics_named_in_the_documents_exist() -> None:
    lines = {each.words[0] for each in commands()}
    assert [each for each in named(r"^clickfold ([a-z]+)") if each[1] not in lines] == []
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    assert [each for each in named(r"^make ([a-z]+)") if each[1] not in targets] == []
    metrics = {row.exposed for row in CATALOGUE.values()} | {"clickfold_bench"}
    assert [each for each in named(rf"({PREFIX}[a-z_]+)") if each[1] not in metrics] == []

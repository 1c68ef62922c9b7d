"""The documents name only what exists: files, tests, commands, targets of make, metrics, sentences of errors."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from streams.cli.reference.commands import commands
from streams.worker.metrics import CATALOGUE, PREFIX

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
# Read without the site, so Sphinx does not check their links.
README = ROOT / "README.md"
OUTSIDE = (README, ROOT / "CONTRIBUTING.md")


def named(pattern: str) -> Iterator[tuple[str, str]]:
    """Page and first group of what a pattern finds in code within the pages."""
    for page in (*sorted(DOCS.rglob("*.md")), *OUTSIDE):
        for code in re.findall(r"`([^`\n]+)`", page.read_text(encoding="utf-8")):
            for found in re.findall(pattern, code):
                yield page.relative_to(ROOT).as_posix(), found


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
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    assert [each for each in named(r"^make ([a-z-]+)") if each[1] not in targets] == []
    metrics = {row.exposed for row in CATALOGUE.values()} | {"clickfold_bench"}
    alerts = (DOCS / "operate" / "alerts.yml").read_text(encoding="utf-8")
    assert set(re.findall(rf"{PREFIX}[a-z_]+", alerts)) <= metrics
    assert [each for each in named(rf"({PREFIX}[a-z_]+)") if each[1] not in metrics] == []


def headings(page: Path) -> set[str]:
    """The anchors of a page, as viewers of the repository and the site make them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_links_outside_the_site_lead_somewhere() -> None:
    for page in OUTSIDE:
        links = re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8"))
        assert len(links) > 5
        for link in links:
            path, _, anchor = link.partition("#")
            target = ROOT / path if path else page
            assert target.exists(), f"{page.name} links to {link}"
            assert not anchor or anchor in headings(target), f"{page.name} links to {link}"


def test_readme_takes_three_minutes_to_read() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    assert max(map(len, text.splitlines())) <= 120
    assert len(text.split()) <= 1_500


def texts_of_the_code() -> str:
    """All texts of the code, one a line, with what is filled in left out."""
    paths = (path for layer in ("schemas", "online_models", "streams") for path in (ROOT / layer).rglob("*.py"))
    nodes = (node for path in paths for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    return "\n".join(node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))


def test_sentences_of_errors_in_the_documents_are_those_of_the_code() -> None:
    page = (DOCS / "operate" / "when-it-breaks.md").read_text(encoding="utf-8")
    tables = re.findall(r"^\| it says \|.*\n((?:\|.*\n)+)", page, re.M)
    assert len(tables) >= 4
    texts = texts_of_the_code()
    said = [
        code
        for table in tables
        for row in table.splitlines()[1:]
        for code in re.findall(r"`([^`]+)`", row.split(" | ")[0])
    ]
    # What is filled in is written as "…".
    parts = [(code, part.strip()) for code in said for part in code.split("…") if part.strip(" :,[]")]
    assert len(parts) > 40
    assert [each for each in parts if each[1] not in texts] == []

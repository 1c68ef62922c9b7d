"""The documents build without a warning and load nothing from elsewhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
# Hosts that scripts and styles name in comments or as namespaces; none of them is asked for anything.
NAMED = {"www.w3.org", "snowballstem.org", "developer.mozilla.org"}


def build(source: Path, target: Path) -> subprocess.CompletedProcess[str]:
    """As `make docs` does."""
    options = ["-W", "--keep-going", "-n", "-q", "-b", "html", "-d", str(target / ".doctrees")]
    command = [sys.executable, "-m", "sphinx", *options, str(source), str(target)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    built = build(DOCS, target)
    assert (built.returncode, built.stderr) == (0, ""), built.stderr
    return target


class Loaded(HTMLParser):
    """Addresses a browser asks for when it shows a page: all but those of links a reader clicks."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value and (name in ("src", "srcset", "poster", "data", "action") or (tag, name) == ("link", "href")):
                self.addresses.append(value)


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(PAGES)
    for page in pages:
        text = page.read_text(encoding="utf-8")
        loaded = Loaded()
        loaded.feed(text)
        assert loaded.addresses
        elsewhere = [each for each in loaded.addresses if urlsplit(each).netloc]
        assert elsewhere == [], f"{page.relative_to(site)} loads {elsewhere}"
        assert re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^\"')]+", text) == [], page


def test_scripts_and_styles_name_no_host_they_could_ask(site: Path) -> None:
    hosts = {
        host
        for path in [*site.rglob("*.js"), *site.rglob("*.css")]
        if path.name != "searchindex.js"  # words of the pages
        for host in re.findall(r"https?://([\w.-]+)", path.read_text(encoding="utf-8"))
    }
    assert hosts <= NAMED


def test_every_diagram_is_drawn(site: Path) -> None:
    fences = {page: len(re.findall(r"^```mermaid$", page.read_text(encoding="utf-8"), re.M)) for page in PAGES}
    assert sum(fences.values()) >= 1
    for page, count in fences.items():
        drawn = (site / page.relative_to(DOCS).with_suffix(".html")).read_text(encoding="utf-8")
        assert drawn.count('<figure class="diagram"><svg') == count, page


def test_a_broken_link_anchor_or_diagram_fails_the_build(tmp_path: Path) -> None:
    source = tmp_path / "docs"
    shutil.copytree(DOCS / "_static", source / "_static")
    for name in ("conf.py", "diagrams.py"):
        shutil.copy(DOCS / name, source / name)
    diagram = "```mermaid\nflowchart LR\n    A -->\n```"
    lines = ["# Title", "[a](no-page.md)", "[b](index.md#no-anchor)", "[c](#no-heading)", diagram]
    (source / "index.md").write_text("\n\n".join([*lines, ""]), encoding="utf-8")
    (source / "orphan.md").write_text("# In no navigation\n", encoding="utf-8")
    built = build(source, tmp_path / "site")
    assert built.returncode != 0
    for said in ("no-page.md", "no-anchor", "no-heading", "index.md:9: WARNING: the diagram is wrong", "orphan.md"):
        assert said in built.stderr, built.stderr

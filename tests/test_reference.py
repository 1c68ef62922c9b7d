"""The pages below docs/reference say what the code says today."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from schemas.errors import EXIT_CODES
from streams.cli.reference.clickhouse import migrations_mark
from streams.cli.reference.commands import commands
from streams.cli.reference.markdown import table
from streams.cli.reference.pages import FOLDER, PAGES

REMEDY = "run `make reference` and commit docs/reference"
STREAMS = Path(__file__).parent.parent / "streams"


@pytest.mark.parametrize("name", PAGES)
def test_page_is_what_the_code_says(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == PAGES[name](), REMEDY


def test_page_of_clickhouse_was_made_from_these_migrations() -> None:
    # That its text is what the engine says is compared in tests/integration/test_reference_clickhouse.py.
    assert migrations_mark() in (FOLDER / "clickhouse.md").read_text(encoding="utf-8"), REMEDY


def test_no_other_page_claims_to_be_made_from_the_code() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {*PAGES, "clickhouse.md", "index.md"}


def test_every_command_and_every_option_says_what_it_is_for() -> None:
    found = commands()
    assert {"clickfold demo", "clickfold worker join", "clickfold runs drop"} <= {each.line for each in found}
    assert [each.line for each in found if not each.text] == []
    assert [(each.line, one.names) for each in found for one in each.parameters if not one.text] == []


def test_every_environment_variable_that_is_read_is_on_the_page() -> None:
    read = {
        name
        for path in STREAMS.rglob("*.py")
        for name in re.findall(r'environ(?:ment)?(?:\.get\(|\[)"([A-Z][A-Z_]+)"', path.read_text(encoding="utf-8"))
    }
    assert "CLICKFOLD_CACHE" in read
    page = (FOLDER / "settings.md").read_text(encoding="utf-8")
    assert [name for name in sorted(read) if f"`{name}`" not in page] == []


def test_every_exit_code_is_explained() -> None:
    used = {0}
    for path in [*(STREAMS / "cli").glob("*.py"), *(STREAMS / "cli" / "commands").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("sys.exit", "typer.Exit") and node.args:
                used.add(ast.literal_eval(node.args[0]))
    assert used == set(EXIT_CODES)


def test_a_table_keeps_its_cells_apart_and_leaves_out_empty_columns() -> None:
    assert table(("a", "b", "c"), [("x|y", "", "1\n2")]) == "| a | c |\n| --- | --- |\n| x\\|y | 1 2 |"

"""`python -m streams.cli.reference`: writes every page of `docs/reference` that is made from the code."""

from __future__ import annotations

import tempfile
from pathlib import Path

from schemas.clickhouse.migrations import migrate
from streams.cli.reference.clickhouse import clickhouse_page
from streams.cli.reference.pages import FOLDER, PAGES
from streams.embedded.clickhouse import ClickHouse
from streams.warehouse.client import connect


def main() -> None:
    """All pages; that of ClickHouse asks the embedded engine, which takes some ten seconds."""
    written = {name: page() for name, page in PAGES.items()}
    with tempfile.TemporaryDirectory() as folder, ClickHouse(Path(folder)) as server, connect(server.url) as client:
        migrate(client)
        written["clickhouse.md"] = clickhouse_page(client)
    for name, text in written.items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

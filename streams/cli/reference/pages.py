"""The pages that are made from the code alone, by file name; that of ClickHouse needs an engine besides."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from streams.cli.reference.commands import cli_page
from streams.cli.reference.errors import errors_page
from streams.cli.reference.mappings import mappings_page
from streams.cli.reference.metrics import metrics_page
from streams.cli.reference.queries import queries_page
from streams.cli.reference.settings import settings_page
from streams.cli.reference.topics import topics_page

FOLDER: Final = Path(__file__).parents[3] / "docs" / "reference"
PAGES: Final[dict[str, Callable[[], str]]] = {
    "cli.md": cli_page,
    "settings.md": settings_page,
    "topics.md": topics_page,
    "mappings.md": mappings_page,
    "queries.md": queries_page,
    "metrics.md": metrics_page,
    "errors.md": errors_page,
}

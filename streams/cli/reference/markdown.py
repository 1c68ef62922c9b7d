"""Markdown as the reference pages need it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from typing import Final

NONE: Final = ""


def page(title: str, *parts: str) -> str:
    """A whole page: its title, who writes it, and its parts with an empty line between them."""
    made = "<!-- Made from the code by `make reference`; changes by hand are overwritten. -->"
    return "\n\n".join([f"# {title}", made, *parts]) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a column that is empty in all rows is left out."""
    found = [list(map(cell, row)) for row in rows]
    kept = [at for at in range(len(head)) if any(row[at] for row in found)]
    lines = [head, ["---"] * len(head), *found]
    return "\n".join("| " + " | ".join(line[at] for at in kept) + " |" for line in lines)


def cell(text: str) -> str:
    """Text fit for one cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def code(text: object) -> str:
    """Text as code; nothing for empty text."""
    return f"`{text}`" if str(text) else NONE


def codes(texts: Iterable[object], separator: str = ", ") -> str:
    """Each as code."""
    return separator.join(map(code, texts))


def fence(text: str, language: str = "text") -> str:
    """A block of code."""
    return f"```{language}\n{text.rstrip()}\n```"


def prose(docstring: str) -> str:
    """A docstring's paragraphs, a line each; `<` and lists are left as they are."""
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(docstring))
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)

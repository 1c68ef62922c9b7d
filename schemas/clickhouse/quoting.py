"""Quotes text for SQL where a parameter is not possible."""

from __future__ import annotations


def literal(value: str) -> str:
    """A string literal."""
    return "'" + _escaped(value, quote="'") + "'"


def identifier(name: str) -> str:
    """A name of a column, table or database, with any characters in it."""
    return "`" + _escaped(name, quote="`") + "`"


def _escaped(text: str, *, quote: str) -> str:
    return text.replace("\\", "\\\\").replace(quote, f"\\{quote}")

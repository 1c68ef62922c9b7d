"""Errors of files."""

from __future__ import annotations


class Damaged(Exception):
    """A file cannot be read further: it is cut short, or is not what its beginning says. The text says why."""

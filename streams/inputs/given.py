"""What names a file on the command line. Apart from what opens it, which commands that read no files need not load."""

from __future__ import annotations

from pathlib import Path

from streams.formats.addresses import address


def given(text: str) -> Path:
    """The address or the path that a text on the command line is."""
    return address(text) or Path(text)

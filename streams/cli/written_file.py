"""Files that commands write: a fault of the disk is a sentence, as it is for standard output."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from schemas.errors import SettingsError


@contextmanager
def written_file(path: Path, what: str) -> Iterator[BinaryIO]:
    """A new file for the length of the block; it is complete when the block has ended.

    Raises SettingsError, with what the file is, when it cannot be made or takes no more.
    """
    try:
        with path.open("wb") as file:
            yield file
    except OSError as error:
        raise SettingsError(
            f"{what} {path} cannot be written: {error.strerror}; check its path, its rights and the space left"
        ) from error

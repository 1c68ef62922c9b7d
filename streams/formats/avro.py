"""Avro container files, record by record."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from schemas.errors import SettingsError
from streams.formats.damage import Damaged
from streams.formats.texts import batches

_WRONG = (ValueError, EOFError, OSError, KeyError, IndexError, TypeError, zlib.error)


class Records:
    """The records of an Avro file. `names` are its fields.

    Raises Damaged when it is not what it says, SettingsError when fastavro is missing.
    """

    def __init__(self, file: BinaryIO) -> None:
        try:
            import fastavro
        except ImportError as error:
            raise SettingsError("it is Avro, which needs fastavro: `pip install 'clickfold[files]'`") from error
        try:
            self._reader: Any = fastavro.reader(file)
        except _WRONG as error:
            raise Damaged(str(error) or type(error).__name__) from error
        schema = self._reader.writer_schema
        fields = schema.get("fields", []) if isinstance(schema, dict) else []
        self.names = [str(each["name"]) for each in fields]

    def batches(self, most: int) -> Iterator[list[Any]]:
        """The records, so many at a time. Raises Damaged, after all records before the damage."""
        try:
            yield from batches(self._reader, most)
        except _WRONG as error:
            raise Damaged(str(error) or type(error).__name__) from error

"""What clickfold reads, and how a file of it begins."""

from __future__ import annotations

from typing import Final, NamedTuple

# Formats with a schema of their own. The marks of three letters are followed by a byte that is no text.
TYPED: Final = (
    (b"PAR1", "Parquet"),
    (b"Obj\x01", "Avro"),
    (b"ORC", "ORC"),
    (b"ARROW1", "Arrow"),
    (b"\xff\xff\xff\xff", "an Arrow stream"),
)
LINES, OBJECTS, TABLE = "JSON lines", "JSON objects", "a table"
# What is counted within a file, to say where a record is.
UNITS: Final = {LINES: "line", OBJECTS: "object", TABLE: "line"}


class Form(NamedTuple):
    """The format of a file, and for a table the character between its cells."""

    kind: str = LINES
    delimiter: str = ""

    @property
    def is_json(self) -> bool:
        """Whether a record is a text of JSON."""
        return self.kind in (LINES, OBJECTS)

    @property
    def is_typed(self) -> bool:
        """Whether the file has a schema of its own."""
        return not self.is_json and self.kind != TABLE

    @property
    def unit(self) -> str:
        """What its records are called."""
        return UNITS.get(self.kind, "row")

    @property
    def seeks(self) -> bool:
        """Whether it is read from its end, where its index is."""
        return self.kind in ("Parquet", "ORC", "Arrow")

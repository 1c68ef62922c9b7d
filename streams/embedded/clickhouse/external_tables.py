"""Tables that a request brings for its own statement: files of a form, ClickHouse's "external data"."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from schemas.clickhouse.quoting import identifier

SUFFIXES = ("_structure", "_types", "_format")


class ExternalTableError(ValueError):
    """A table that is not described; the text says how to."""


@dataclass(frozen=True, slots=True)
class ExternalTable:
    """Rows encoded as `format`, for a temporary table with the columns of `structure`."""

    name: str
    structure: str
    format: str
    rows: bytes

    @property
    def create_sql(self) -> str:
        """The statement that makes it."""
        return f"CREATE TEMPORARY TABLE {identifier(self.name)} ({self.structure})"

    @property
    def insert_sql(self) -> str:
        """The statement that fills it, without rows and format."""
        return f"INSERT INTO {identifier(self.name)}"

    @property
    def drop_sql(self) -> str:
        """The statement that removes it."""
        return f"DROP TEMPORARY TABLE IF EXISTS {identifier(self.name)}"


def external_tables(files: Mapping[str, bytes], query: Mapping[str, str]) -> list[ExternalTable]:
    """A table for each file, described by the parameters NAME_structure or NAME_types, and NAME_format."""
    return [
        ExternalTable(name, _structure(name, query), query.get(f"{name}_format", "TabSeparated"), rows)
        for name, rows in files.items()
    ]


def described_names(files: Mapping[str, bytes]) -> set[str]:
    """Parameters that describe external tables, and so are no settings."""
    return {name + suffix for name in files for suffix in SUFFIXES}


def _structure(name: str, query: Mapping[str, str]) -> str:
    if structure := query.get(f"{name}_structure"):
        return structure
    if not (types := query.get(f"{name}_types")):
        raise ExternalTableError(
            f"Neither structure nor types have been provided for external table {name}. "
            f"Use fields {name}_structure or {name}_types to do so"
        )
    # A comma within brackets belongs to one type: Tuple(UInt8, String).
    parts, depth = [""], 0
    for sign in types:
        depth += (sign == "(") - (sign == ")")
        if sign == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += sign
    return ", ".join(f"_{number} {re.sub(r'^ +', '', part)}" for number, part in enumerate(parts, 1))

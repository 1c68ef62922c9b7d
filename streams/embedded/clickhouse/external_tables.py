"""Tables that a request brings for its own statement: files of a form, ClickHouse's "external data"."""

from collections.abc import Mapping
from dataclasses import dataclass

from schemas.clickhouse.quoting import identifier
from streams.embedded.clickhouse import wire
from streams.embedded.clickhouse.codes import Code

SUFFIXES = ("_structure", "_types", "_format")


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
    """A table for each file, described by the parameters NAME_structure or NAME_types, and NAME_format. Raises
    BodyError 400 for a file that is not described."""
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
        text = (
            f"Neither structure nor types have been provided for external table {name}. "
            f"Use fields {name}_structure or {name}_types to do so."
        )
        raise wire.BodyError(400, text, code=Code.BAD_ARGUMENTS)
    # A comma within brackets belongs to one type: Tuple(UInt8, String).
    parts, depth = [""], 0
    for sign in types:
        depth += (sign == "(") - (sign == ")")
        if sign == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += sign
    return ", ".join(f"_{number} {part.lstrip(' ')}" for number, part in enumerate(parts, 1))

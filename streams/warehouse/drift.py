"""Finds the column in which a table differs from what this program inserts, and the statement that corrects it."""

from __future__ import annotations

import re

from clickhouse_connect.driver.client import Client

from streams.warehouse.rows import Rows
from streams.warehouse.shapes import SHAPES

_LOW_CARDINALITY = re.compile(r"LowCardinality\(([^()]*)\)")
# Columns of each table whatever records say.
_COLUMNS = {shape.table: {"run", *(field.name for field in shape.fields)} for shape in SHAPES.values()}
_TIMEZONE = re.compile(r"(DateTime(?:64)?)\((\d?)(?:, )?'[^']*'\)")


def drift(client: Client, rows: Rows) -> str:
    """Why the rows do not fit into their table, with the statement that corrects the table; '' when they fit.

    An additional column does no harm: it has a default. Raises the errors of clickhouse-connect.
    """
    table = f"{client.database}.{rows.table}"
    columns = client.query(
        "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = {table:String}",
        parameters={"table": rows.table},
    ).result_rows
    types = {str(name): str(type_) for name, type_ in columns}
    if not types:
        return f"there is no table {table}: run `clickfold init` for a new database, or restore the table if dropped"
    for name, type_ in zip(rows.names, rows.types, strict=True):
        if name not in types and name not in _COLUMNS.get(rows.table, {name}):
            return (
                f"table {table} has no column for the extra dimension {name}: run `clickfold init --extra-dimensions` "
                "with the file that the join has"
            )
        if name not in types:
            return f"table {table} has lost its column {name}: ALTER TABLE {table} ADD COLUMN {name} {type_}"
        if not _same(type_, types[name]):
            remedy = f"ALTER TABLE {table} MODIFY COLUMN {name} {type_}"
            return f"column {name} of table {table} is {types[name]} and not {type_}: {remedy}"
    return ""


def _same(ours: str, theirs: str) -> bool:
    """Whether values of both types are the same for ClickHouse: dictionary encoding and time zone may differ."""
    return _plain(ours) == _plain(theirs)


def _plain(type_: str) -> str:
    zoneless = _TIMEZONE.sub(lambda match: f"{match[1]}({match[2]})" if match[2] else match[1], type_)
    return _LOW_CARDINALITY.sub(r"\1", zoneless)

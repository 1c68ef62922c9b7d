"""Tables that are no longer as this program knows them: which column it is, and what to do."""

from __future__ import annotations

import re

from clickhouse_connect.driver.client import Client

from streams.warehouse.rows import Rows

_LOW_CARDINALITY = re.compile(r"LowCardinality\(([^()]*)\)")
_TIMEZONE = re.compile(r"(DateTime(?:64)?)\((\d?)(?:, )?'[^']*'\)")


def drift(client: Client, rows: Rows) -> str:
    """What keeps the rows out of their table as it is now, with the statement that mends it; '' when nothing does.

    A column too many is no drift: it has a default. Raises what clickhouse-connect raises.
    """
    table = f"{client.database}.{rows.table}"
    found = client.query(
        "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = {table:String}",
        parameters={"table": rows.table},
    ).result_rows
    types = {str(name): str(type_) for name, type_ in found}
    if not types:
        return f"there is no table {table}: in a new database run `clickfold init`, a table that was dropped restore"
    for name, type_ in zip(rows.names, rows.types, strict=True):
        if name not in types:
            return f"table {table} has lost its column {name}: ALTER TABLE {table} ADD COLUMN {name} {type_}"
        if not _same(type_, types[name]):
            remedy = f"ALTER TABLE {table} MODIFY COLUMN {name} {type_}"
            return f"column {name} of table {table} is {types[name]} and not {type_}: {remedy}"
    return ""


def _same(ours: str, theirs: str) -> bool:
    """Whether ClickHouse takes values of one type for the other unchanged: encodings and time zones apart."""
    return _plain(ours) == _plain(theirs)


def _plain(type_: str) -> str:
    zoneless = _TIMEZONE.sub(lambda found: f"{found[1]}({found[2]})" if found[2] else found[1], type_)
    return _LOW_CARDINALITY.sub(r"\1", zoneless)

"""The migration of one installation: columns for its extra dimensions in totals, roll-ups and views.

The columns join the key of each table, because rows that differ only there must not replace each other. Rows that are
there keep their keys: the name in a new column is empty. While the columns are added there are no roll-ups: one that
did not know a column yet would sum over it, and its row would stand beside those of the next one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from schemas.clickhouse.clustered import clustered
from schemas.clickhouse.extended import ROLLUPS, TOTALS, VIEWS, created, extended, extra_columns, sorting_key
from schemas.clickhouse.migrations import ddl_settings, migrations
from schemas.clickhouse.quoting import identifier, literal
from schemas.dimensions import MAX_EXTRA, ExtraDimension
from schemas.errors import SettingsError

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_COMMENTS: Final = re.compile(rf"^ALTER TABLE (?:{'|'.join(VIEWS)})\b", re.MULTILINE)


def add_extra(
    client: Client, dimensions: Sequence[ExtraDimension], *, cluster: str = "", say: Callable[[str], None], dry: bool
) -> int:
    """Adds the dimensions that totals lack, after `migrate`, and returns how many statements that takes. Idempotent.

    `say` gets each statement before it is applied; with `dry` none is applied. Raises SettingsError for more columns
    than totals can have.
    """
    statements = [clustered(statement, cluster) for statement in _statements(client, dimensions)]
    for statement in statements:
        say(statement)
        if not dry:
            client.command(statement, settings=ddl_settings(cluster))
    return len(statements)


def _statements(client: Client, dimensions: Sequence[ExtraDimension]) -> list[str]:
    found = {table: extra_columns(client, table) for table in TOTALS}
    there = found[TOTALS[0]]
    names = [*there, *(dimension.name for dimension in dimensions if dimension.name not in there)]
    if len(names) > MAX_EXTRA:
        raise SettingsError(
            f"totals in {client.database} would have the {len(names)} extra dimensions {', '.join(names)}; they can "
            f"have {MAX_EXTRA}: use another database"
        )
    if not names:
        return []
    if all(columns == names for columns in found.values()) and _rolled_up(client) == dict.fromkeys(ROLLUPS, names):
        return []
    sources = {dimension.name: dimension.source for dimension in dimensions}
    tables = [_add_columns(client, table, found[table], names, sources) for table in TOTALS if found[table] != names]
    made: dict[str, str] = {}
    comments = []
    for statement in (statement for migration in migrations() for statement in migration.statements):
        if view := created(statement):
            made[view] = extended(statement, names)
        elif _COMMENTS.search(statement):
            comments.append(statement)
    dropped = [f"DROP VIEW IF EXISTS {view}" for view in reversed(ROLLUPS)]
    return [*dropped, *tables, *(made[view] for view in (*VIEWS, *ROLLUPS)), *comments]


def _add_columns(
    client: Client, table: str, there: Sequence[str], names: Sequence[str], sources: Mapping[str, str]
) -> str:
    after, columns = "arm", []
    for name in names:
        if name not in there:
            comment = literal(f"{sources.get(name, 'a feature')} of the impression; empty where it has none")
            column = f"{identifier(name)} LowCardinality(String) COMMENT {comment} AFTER {identifier(after)}"
            columns.append(f"    ADD COLUMN IF NOT EXISTS {column},\n")
        after = name
    key = ", ".join([sorting_key(client, table), *(identifier(name) for name in names if name not in there)])
    return f"ALTER TABLE {table}\n{''.join(columns)}    MODIFY ORDER BY ({key})"


def _rolled_up(client: Client) -> dict[str, list[str]]:
    """The extra dimensions of each roll-up that is there."""
    sql = (
        "SELECT name FROM system.columns WHERE database = currentDatabase() AND table = {view:String} ORDER BY position"
    )
    found: dict[str, list[str]] = {}
    for view in ROLLUPS:
        columns = [str(row[0]) for row in client.query(sql, parameters={"view": view}).result_rows]
        if columns:
            found[view] = columns[columns.index("arm") + 1 : columns.index("version")]
    return found

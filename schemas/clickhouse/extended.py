"""Extra dimensions in statements that name all dimensions: the roll-ups and views of totals."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from schemas.clickhouse.quoting import identifier

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

# In the order in which data passes through them.
TOTALS: Final = ("minute_totals", "hour_totals", "day_totals")
ROLLUPS: Final = ("hour_rollup", "day_rollup")
VIEWS: Final = ("minutes", "hours", "days")
# The last of the dimensions, as every list of them ends.
_LAST: Final = re.compile(r"\bexperiment, arm\b")
_CREATES: Final = re.compile(r"^CREATE (?:OR REPLACE VIEW|MATERIALIZED VIEW IF NOT EXISTS) (\w+)", re.MULTILINE)


def created(statement: str) -> str:
    """The view of totals that a statement creates; empty when it creates none of them."""
    found = _CREATES.search(statement)
    return found[1] if found and found[1] in (*ROLLUPS, *VIEWS) else ""


def extended(statement: str, names: Sequence[str]) -> str:
    """The statement with these extra dimensions behind the others, if it creates a roll-up or view of totals."""
    if not names or not created(statement):
        return statement
    more = ", ".join(map(identifier, names))
    return _LAST.sub(lambda last: f"{last[0]}, {more}", statement)


def extra_columns(client: Client, table: str = TOTALS[0]) -> list[str]:
    """The extra dimensions of a table of totals, in their order; none of a table that is not there.

    They follow all other columns of its key.
    """
    last = "join_partition" if table == TOTALS[0] else "arm"
    return [name.strip("`") for name in sorting_key(client, table).partition(f", {last}, ")[2].split(", ") if name]


def sorting_key(client: Client, table: str) -> str:
    """The columns by which a table is sorted; empty when it is not there."""
    sql = "SELECT sorting_key FROM system.tables WHERE database = currentDatabase() AND name = {table:String}"
    return "".join(str(key) for (key,) in client.query(sql, parameters={"table": table}).result_rows)

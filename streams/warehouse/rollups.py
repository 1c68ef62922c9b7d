"""The views that roll minutes up to hours and days, every minute; here told to do it at once, and waited for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from schemas.errors import Transient

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

# Views that refresh themselves and the tables they fill, in the order in which figures pass through them.
ROLLUPS: Final = {"hour_rollup": "hour_totals", "day_rollup": "day_totals"}
_REFRESH_FAILED: Final = 730


def roll_up(client: Client) -> None:
    """Returns once hours and days hold all that this server's minutes hold now. Cost follows what changed lately.

    Raises Transient when a refresh fails.
    """
    for view in ROLLUPS:
        client.command(f"SYSTEM REFRESH VIEW {view}")
        failure = wait_for(client, view)
        if failure:
            raise Transient(f"hours and days are not rolled up: {failure}", retry_after_s=60.0)


def wait_for(client: Client, view: str) -> str:
    """Returns once no refresh of the view that began before now is under way on this server; why the last one failed,
    empty when it did not."""
    from clickhouse_connect.driver.exceptions import DatabaseError  # 0.2 s to import, and the join worker loads this

    try:
        client.command(f"SYSTEM WAIT VIEW {view}")
    except DatabaseError as failure:
        if failure.code != _REFRESH_FAILED:
            raise
        return str(failure).partition("\n")[0][:200]
    return ""

"""The views that roll minutes up to hours and days. They refresh every minute; this does it at once, and waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from schemas.errors import Transient

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

# Each view with the table that it fills, in the order in which data passes through them.
ROLLUPS: Final = {"hour_rollup": "hour_totals", "day_rollup": "day_totals"}
_REFRESH_FAILED: Final = 730


def roll_up(client: Client) -> None:
    """Returns once hours and days include everything that the minutes of this server have now.

    The cost follows what changed in the last minutes. Raises Transient when a refresh fails.
    """
    for view in ROLLUPS:
        client.command(f"SYSTEM REFRESH VIEW {view}")
        failure = wait_for(client, view)
        if failure:
            raise Transient(f"hours and days are not rolled up: {failure}", retry_after_s=60.0)


def wait_for(client: Client, view: str) -> str:
    """Waits until no refresh of the view that has begun is running on this server. Returns why the last one failed.

    Empty when it did not fail.
    """
    from clickhouse_connect.driver.exceptions import DatabaseError  # takes 0.2 s to import, in processes without it too

    try:
        client.command(f"SYSTEM WAIT VIEW {view}")
    except DatabaseError as failure:
        if failure.code != _REFRESH_FAILED:
            raise
        return str(failure).partition("\n")[0][:200]
    return ""

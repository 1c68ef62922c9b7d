"""Users who were forgotten: the hash of such a user is left out of rows that are inserted, and of what is read."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import xxhash

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from streams.warehouse.rows import Rows

USER_HASH: Final = "user_hash"
_LISTED: Final = f"{USER_HASH} IN (SELECT {USER_HASH} FROM forgotten_users)"
# SQL: the hash of a row as readers may see it, whatever is stored. As in the view `outcomes`.
READABLE: Final = f"if({_LISTED}, 0, {USER_HASH})"
# SQL: whether a row still stores the hash of a user who was forgotten.
STILL_STORED: Final = _LISTED
# Rows that are on their way when a user is forgotten are hidden by the view until the next `clickfold forget`.
LOOK_EVERY_S: Final = 5.0


def user_hash(user_id: str | None) -> int:
    """What ClickHouse has of a user id; 0 without one."""
    return xxhash.xxh3_64_intdigest(user_id.encode()) if user_id else 0


def forgotten_hashes(client: Client) -> set[int]:
    """The hashes of all users who were forgotten."""
    return {int(row[0]) for row in client.query(f"SELECT {USER_HASH} FROM forgotten_users").result_rows}


class ForgottenUsers:
    """The list of them as a writer knows it, at most `LOOK_EVERY_S` old. For one thread."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._look_at_s = float("-inf")
        self._seen: object = None
        self._hashes: set[int] = set()

    def left_out_of(self, client: Client, rows: Rows) -> Rows:
        """The rows with 0 for the hash of a user who was forgotten. Raises the errors of clickhouse-connect."""
        if USER_HASH not in rows.names:
            return rows
        self._look(client)
        column = rows.columns[rows.names.index(USER_HASH)]
        if not self._hashes or self._hashes.isdisjoint(column):
            return rows
        kept = [0 if value in self._hashes else value for value in column]
        columns = [kept if name == USER_HASH else column for name, column in zip(rows.names, rows.columns, strict=True)]
        return replace(rows, columns=columns)

    def _look(self, client: Client) -> None:
        if self._clock_s() < self._look_at_s:
            return
        # Each new user has a new time or adds a row.
        (seen,) = client.query("SELECT count(), max(forgotten_at) FROM forgotten_users").result_rows
        if seen != self._seen:
            self._hashes = forgotten_hashes(client)
            self._seen = seen
        self._look_at_s = self._clock_s() + LOOK_EVERY_S

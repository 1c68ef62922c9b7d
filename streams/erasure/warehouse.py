"""Takes the hash of a user out of the outcomes in ClickHouse. Everything else of a row stays, so all sums stay."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from schemas.errors import Transient
from streams.runs.record import SYNC_INSERT
from streams.warehouse.forgotten import STILL_STORED, USER_HASH

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_TABLE: Final = "outcome_rows"
_LOOK_S: Final = 0.2
# Hashes in one statement: 20 bytes each of the 256 KiB that a statement may have.
_AT_ONCE: Final = 10_000


class Stored(NamedTuple):
    """What ClickHouse stores of users: rows of all runs, copies included, and the first and last time of an event.

    Times are in ms UTC, 0 without rows.
    """

    rows: int
    runs: int
    first_ms: int
    last_ms: int


def stored(client: Client, hashes: Collection[int]) -> Stored:
    """What is stored of these users, and of all who were forgotten before."""
    from clickhouse_connect.driver.external import ExternalData

    # Not as a parameter: that is in the address of the request, where ClickHouse takes 128 KiB.
    lines = "".join(f"{one}\n" for one in sorted(hashes)).encode()
    asked = (
        ExternalData(file_name="asked.tsv", data=lines, fmt="TSV", structure=f"{USER_HASH} UInt64") if hashes else None
    )
    ours = f"{USER_HASH} IN (SELECT {USER_HASH} FROM asked) OR {STILL_STORED}" if hashes else STILL_STORED
    sql = f"""
    SELECT count(), uniqExact(run), toUnixTimestamp64Milli(min(event_time)), toUnixTimestamp64Milli(max(event_time))
    FROM {_TABLE} WHERE {ours}
    """
    ((rows, runs, first_ms, last_ms),) = client.query(sql, external_data=asked).result_rows
    return Stored(int(rows), int(runs), int(first_ms) if rows else 0, int(last_ms) if rows else 0)


def forget(client: Client, hashes: Collection[int]) -> None:
    """Lists the users. From now on views show no hash of them, and within seconds nobody writes one. Idempotent."""
    rows = [(one,) for one in sorted(hashes)]
    if rows:
        client.insert(
            "forgotten_users", rows, column_names=[USER_HASH], column_type_names=["UInt64"], settings=SYNC_INSERT
        )


def erase(client: Client, on_parts: Callable[[int], object] = lambda _: None) -> int:
    """Writes the stored rows of all listed users anew without their hash. Returns how many there were.

    Each part of the table that has such rows gets a new file for this column; ClickHouse deletes the former one minutes
    later. `on_parts` gets the number of parts to be done yet. Raises Transient when ClickHouse cannot write a part.
    What an interruption leaves ClickHouse does by itself.
    """
    found = client.query(f"SELECT {USER_HASH}, count() FROM {_TABLE} WHERE {STILL_STORED} GROUP BY 1").result_rows
    hashes = sorted(int(one) for one, _ in found)
    for start in range(0, len(hashes), _AT_ONCE):
        _mutate(client, hashes[start : start + _AT_ONCE], on_parts)
    return sum(int(rows) for _, rows in found)


def _mutate(client: Client, hashes: Sequence[int], on_parts: Callable[[int], object]) -> None:
    # As numbers and not as a subquery, which a replica might answer otherwise. Not a lightweight DELETE: that would
    # only hide the rows until parts are merged, and outcomes would no longer add up to the totals.
    among = f"{USER_HASH} IN ({', '.join(map(str, hashes))})"
    client.command(f"ALTER TABLE {_TABLE} UPDATE {USER_HASH} = 0 WHERE {among}", settings={"mutations_sync": 0})
    # Not by waiting for the answer: a large table takes longer than a client waits.
    sql = f"""
    SELECT count(), sum(parts_to_do), anyIf(latest_fail_reason, latest_fail_reason != '')
    FROM system.mutations
    WHERE database = currentDatabase() AND table = '{_TABLE}' AND NOT is_done
    """
    while True:
        ((mutations, parts, failure),) = client.query(sql).result_rows
        if failure:
            raise Transient(
                f"ClickHouse cannot take users out of {_TABLE}: {str(failure)[:300]}; it goes on trying, and views "
                "show none of them meanwhile (system.mutations says when it is done)"
            )
        if not int(mutations):
            return
        on_parts(int(parts))
        time.sleep(_LOOK_S)

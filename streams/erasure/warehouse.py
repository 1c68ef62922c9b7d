"""Takes users out of ClickHouse: the hash out of outcomes, and details that quote the id out of dead letters.

Everything else of a row stays, so all sums and counts stay.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final, NamedTuple

from schemas.errors import Transient
from streams.runs.record import SYNC_INSERT
from streams.warehouse.forgotten import (
    CUT,
    REJECTS,
    STILL_STORED,
    TOMBSTONE_OF_ROW,
    TOMBSTONED,
    USER_HASH,
    forgotten_hashes,
    quotes_any,
)

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_TABLE: Final = "outcome_rows"
_LOOK_S: Final = 0.2
# Hashes in one statement: 20 bytes each of the 256 KiB that a statement may have. And places of records, of which a
# topic has up to 249 characters.
_AT_ONCE: Final = 10_000
_PLACES_AT_ONCE: Final = 800

# Topic, partition and offset of a refused record.
Place = tuple[str, int, int]


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


class Quoting(NamedTuple):
    """Dead letters whose details quote users: the places of their records, and how many rows are cut and may do so."""

    places: set[Place]
    cut: int


def quoting(client: Client, hashes: Collection[int]) -> Quoting:
    """The dead letters whose details quote one of these users, or one who was forgotten before.

    They are looked through here: what they quote has no hash in the table.
    """
    hashes = forgotten_hashes(client) | {*hashes}
    if not hashes:
        return Quoting(set(), 0)
    places: set[Place] = set()
    cut = 0
    sql = f"SELECT topic, partition, offset, detail, {CUT} FROM {REJECTS} WHERE detail != '' AND NOT {TOMBSTONED}"
    with client.query_rows_stream(sql) as rows:
        for topic, partition, offset, detail, is_cut in rows:
            if is_cut:
                cut += 1
            elif quotes_any(detail, hashes):
                places.add((topic, int(partition), int(offset)))
    return Quoting(places, cut)


def erase(client: Client, on_parts: Callable[[int], object] = lambda _: None) -> int:
    """Writes the stored rows of all listed users anew without their hash. Returns how many there were.

    Each part of the table that has such rows gets a new file for this column; ClickHouse deletes the former one minutes
    later. `on_parts` gets the number of parts to be done yet. Raises Transient when ClickHouse cannot write a part.
    What an interruption leaves ClickHouse does by itself.
    """
    found = client.query(f"SELECT {USER_HASH}, count() FROM {_TABLE} WHERE {STILL_STORED} GROUP BY 1").result_rows
    # As numbers and not as a subquery, which a replica might answer otherwise. Not a lightweight DELETE: that would
    # only hide the rows until parts are merged, and outcomes would no longer add up to the totals.
    hashes = sorted(int(one) for one, _ in found)
    for start in range(0, len(hashes), _AT_ONCE):
        among = f"{USER_HASH} IN ({', '.join(map(str, hashes[start : start + _AT_ONCE]))})"
        _mutate(client, _TABLE, f"{USER_HASH} = 0", among, on_parts)
    return sum(int(rows) for _, rows in found)


def erase_quoted(client: Client, found: Quoting, on_parts: Callable[[int], object] = lambda _: None) -> None:
    """Puts tombstones in place of these details, in all runs; otherwise as `erase`.

    By the places of the records: ClickHouse keeps the text of a mutation, and that must not name a user.
    """
    tombstone = f"detail = {TOMBSTONE_OF_ROW}, xxh3 = ''"
    if found.cut:
        _mutate(client, REJECTS, tombstone, f"{CUT} AND NOT {TOMBSTONED}", on_parts)
    places = sorted(found.places)
    for start in range(0, len(places), _PLACES_AT_ONCE):
        # No topic of Kafka has a character that must be escaped.
        listed = ", ".join(
            f"('{topic}', {partition}, {offset})"
            for topic, partition, offset in places[start : start + _PLACES_AT_ONCE]
        )
        among = f"(topic, partition, offset) IN ({listed}) AND NOT {TOMBSTONED}"
        _mutate(client, REJECTS, tombstone, among, on_parts)


def _mutate(client: Client, table: str, change: str, where: str, on_parts: Callable[[int], object]) -> None:
    client.command(f"ALTER TABLE {table} UPDATE {change} WHERE {where}", settings={"mutations_sync": 0})
    # Not by waiting for the answer: a large table takes longer than a client waits.
    sql = f"""
    SELECT count(), sum(parts_to_do), anyIf(latest_fail_reason, latest_fail_reason != '')
    FROM system.mutations
    WHERE database = currentDatabase() AND table = '{table}' AND NOT is_done
    """
    while True:
        ((mutations, parts, failure),) = client.query(sql).result_rows
        if failure:
            raise Transient(
                f"ClickHouse cannot take users out of {table}: {str(failure)[:300]}; it goes on trying, and views "
                "show none of them meanwhile (system.mutations says when it is done)"
            )
        if not int(mutations):
            return
        on_parts(int(parts))
        time.sleep(_LOOK_S)

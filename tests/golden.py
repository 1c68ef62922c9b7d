"""The world of `tests.world` in ClickHouse, and the samples of named queries: their answers on it.

    python -m tests.golden --write

writes `schemas/clickhouse/samples/NAME.txt` anew for every named query. Do it on purpose and read the difference: a
sample proves nothing by itself, so each query also has a test whose figures do not come from the query.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from clickhouse_connect.driver.client import Client

from schemas.clickhouse.migrations import migrate
from schemas.clickhouse.queries import queries, run_query
from schemas.events import Campaign
from schemas.models import ModelMetrics
from schemas.rejects import Reason, Redriven
from schemas.totals import Ledger, LogCounts
from streams.cli.render.answers import Format, write
from streams.warehouse.rollups import ROLLUPS, roll_up, wait_for
from streams.warehouse.rows import rows_of
from tests.factories import change, record_value
from tests.factories import total as total
from tests.world import CAMPAIGNS, decisions, ledger_of, letters_of, totals_of, truths
from tests.world import HOUR_MS as HOUR_MS
from tests.world import MINUTE_MS as MINUTE_MS

SAMPLES: Final = Path(__file__).parents[1] / "schemas" / "clickhouse" / "samples"
# What a sample is asked with where defaults would show little, or change from day to day.
ASKED: Final = {
    "freshness": {"now": "2023-11-15 00:31:00"},
    "duplicates": {"hours": "24"},
    "invalid_traffic": {"campaigns": "2", "burst": "1"},
    "reconciliation": {"agreeing": "true", "since": "2023-11-15 00:00:00"},
    "over_budget": {"within": "true"},
}


def insert(
    client: Client, role: str, records: Sequence[object], *, run: str = "", inserted_at: int | None = None
) -> None:
    """Writes records as the sink does, in one block. `inserted_at`, in s, is left to the server where it is None."""
    rows, refused = rows_of(role, [record_value(record) for record in records], run=run)
    assert refused == []
    names, types, columns = rows.names, rows.types, rows.columns
    if inserted_at is not None:
        names, types = (*names, "inserted_at"), (*types, "DateTime('UTC')")
        columns = [*columns, [inserted_at] * len(rows)]
    # Without the log of inserts, which would keep copies of a block, and a dropped run's namesake, from the tables.
    unlogged = {"deduplicate_insert": "disable"}
    client.insert(
        rows.table, columns, column_names=names, column_type_names=types, column_oriented=True, settings=unlogged
    )


def announce(client: Client, *campaigns: Campaign, number: int = 1, at_ms: int = HOUR_MS) -> None:
    """Writes accepted campaigns, each as the change `number` of its own, in force from `at_ms` on."""
    insert(client, "campaign_history", [change(one, number=number, in_force_ms=at_ms) for one in campaigns])


def ledger(partition: int, *, watermark_minute: int, pending: int = 0) -> Ledger:
    """A ledger of 3 clicks and 10 impressions, balanced when `pending` is 1."""
    watermark_ms = HOUR_MS + watermark_minute * MINUTE_MS
    return Ledger(
        join_partition=partition,
        version=1,
        impressions=LogCounts(consumed=12, accepted=10, late=1, duplicate=1),
        clicks=LogCounts(consumed=3, accepted=3),
        open=4,
        closed=6,
        unclicked=5,
        billable=1,
        repeat=0,
        orphan=1,
        pending=pending,
        impressions_next_offset=12,
        clicks_next_offset=3,
        impressions_watermark_ms=watermark_ms,
        clicks_watermark_ms=watermark_ms + 1,
    )


def redriven() -> list[Redriven]:
    """A late click that was sent again, delivered twice."""
    sent = Redriven("ads.clicks", 1, 7, "clicks", 1, Reason.UNDECODABLE, HOUR_MS + 7, HOUR_MS + MINUTE_MS)
    return [sent, sent]


def quiet(client: Client) -> None:
    """From now on hours and days are rolled up when told to only."""
    for view in ROLLUPS:
        wait_for(client, view)
        client.command(f"ALTER TABLE {view} MODIFY REFRESH EVERY 1 YEAR APPEND")


def insert_golden(ads: Client) -> None:
    """The whole world, on a database just made: some totals and outcomes twice, and never merged."""
    for table in ("minute_totals", "outcome_rows"):
        ads.command(f"SYSTEM STOP MERGES {table}")
    quiet(ads)
    for table in ("outcome_rows", "pacing_rows", "model_metric_rows", "reject_rows"):
        # Rows inserted in 2023 would be past their time.
        ads.command(f"ALTER TABLE {table} REMOVE TTL")
    inserted_at = HOUR_MS // 1000 + 150 * 60
    for partition, found in enumerate(truths()):
        insert(ads, "totals", totals_of(found, partition, version=1)[:4], inserted_at=inserted_at)
        insert(ads, "totals", totals_of(found, partition, version=2), inserted_at=inserted_at)
        insert(ads, "outcomes", found.outcomes[:3], inserted_at=inserted_at)
        insert(ads, "outcomes", found.outcomes, inserted_at=inserted_at)
        insert(ads, "ledger", [ledger_of(found, partition)], inserted_at=inserted_at)
        insert(ads, "rejects", letters_of(found, partition), inserted_at=inserted_at)
    insert(ads, "redriven", redriven(), inserted_at=inserted_at)
    roll_up(ads)
    for table in ROLLUPS.values():
        # As if a minute after the totals.
        update = f"UPDATE inserted_at = {inserted_at + 60} WHERE true SETTINGS mutations_sync = 2"
        ads.command(f"ALTER TABLE {table} {update}")
    announce(ads, *CAMPAIGNS)
    insert(ads, "pacing", decisions(), inserted_at=inserted_at)
    window = (HOUR_MS + 60 * MINUTE_MS, HOUR_MS + 75 * MINUTE_MS)
    metrics = ModelMetrics(
        "ctr", 0, 5, *window, "all", 21, 32.0, 10.0, 8.5, 0.52, 0.61, 0.85, 0.8379, 0.4683, 1.7725, 0.05
    )
    insert(ads, "model_metrics", [metrics], inserted_at=inserted_at)


def answered(client: Client, name: str, **values: str) -> list[dict[str, Any]]:
    """The answer to a named query, a dict by column for each row."""
    table = run_query(client, name, values)
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def sample(client: Client, name: str) -> str:
    """The table `clickfold query` prints for the query, asked as `ASKED` says; no spaces at the ends of lines."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        write(run_query(client, name, ASKED.get(name)), Format.TABLE)
    return "\n".join(line.rstrip() for line in [*text.getvalue().splitlines(), ""])


def main() -> None:
    """Writes all samples anew."""
    from streams.embedded.clickhouse import ClickHouse
    from streams.warehouse.client import connect

    if sys.argv[1:] != ["--write"]:
        sys.exit("python -m tests.golden --write  (writes schemas/clickhouse/samples anew)")
    with tempfile.TemporaryDirectory() as folder, ClickHouse(Path(folder)) as server, connect(server.url) as client:
        migrate(client, database="golden")
        insert_golden(client)
        SAMPLES.mkdir(exist_ok=True)
        for name in queries():
            (SAMPLES / f"{name}.txt").write_text(sample(client, name), encoding="utf-8")


if __name__ == "__main__":
    main()

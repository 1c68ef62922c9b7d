"""One small world for the named queries: its records, its rows in ClickHouse, and the samples written from them.

    python -m tests.golden --write

writes `schemas/clickhouse/samples/NAME.txt` anew for every named query: do it on purpose, read the difference, and keep
a test beside it whose figures do not come from the query. Everything is fixed: 14 November 2023, two join partitions,
outcomes and totals by the batch truth, half of the unclicked impressions kept.
"""

from __future__ import annotations

import contextlib
import functools
import io
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from clickhouse_connect.driver.client import Client

from schemas.bounds import JoinBounds
from schemas.clickhouse.migrations import migrate
from schemas.clickhouse.queries import queries, run_query
from schemas.codec import encode
from schemas.events import Campaign, Click, Impression
from schemas.models import ModelMetrics
from schemas.pacing import PacingDecision, PacingState
from schemas.rejects import Rejected, rejected
from schemas.totals import DIMENSIONS, MEASURES, Ledger, LogCounts, MinuteTotals
from streams.cli.answers import Format, write
from streams.oracle import Record, Truth, truth
from streams.sink.rows import rows_of

# 2023-11-14 22:00 UTC: older than any TTL by event time would allow.
HOUR_MS: Final = 1_699_999_200_000
MINUTE_MS: Final = 60_000
DAY_MS: Final = 1_440 * MINUTE_MS
PARTITIONS: Final = 2
BOUNDS: Final = JoinBounds(negative_rate=0.5)
SAMPLES: Final = Path(__file__).parents[1] / "schemas" / "clickhouse" / "samples"
# What a sample is asked with where defaults would show little, or change from day to day.
ASKED: Final = {"freshness": {"now": "2023-11-15 00:31:00"}}


class Plot(NamedTuple):
    """A campaign of the world: one impression a minute, `start` minutes from 22:00 on."""

    campaign_id: str
    advertiser_id: str
    start: int
    impressions: int
    price_micros: int


# k1's day begins at 23:00 UTC, k2's at 18:15; nobody announced the third.
PLOTS: Final = (
    Plot("k2", "a2", -240, 30, 300_000),
    Plot("k1", "a1", 40, 40, 500_000),
    Plot("50%'s", "", 110, 20, 150_000),
)
CAMPAIGNS: Final = (
    Campaign("k1", 1_200_000, "Europe/Berlin", "active", "even", 3, advertiser_id="a1", currency="EUR"),
    Campaign("k2", 5_000_000, "Asia/Kathmandu", "active", "asap", 1, advertiser_id="a2", currency="NPR"),
)
# Impression by number, ms after it. 32: three clicks, two of them repeats. Users 3, 4: bursts, in the minute 23:10.
CLICKS: Final = (
    *((4, 2_500), (13, 30_000), (16, 61_000), (20, -1_200), (29, 1_500_000)),
    *((32, 900), (32, 1_400), (32, 250_000), (41, 120), (44, 15_000), (48, 40)),
    *((53, 415_000), (58, 112_000), (59, 60_000), (60, 12_000), (61, 8_000), (66, 600_000)),
    *((72, 5_000), (75, 45_000), (88, 2_000)),
)


def impressions() -> list[Impression]:
    """All impressions of the world, by time; the n-th is called i-n."""
    made: list[Impression] = []
    for plot in PLOTS:
        for at in range(plot.impressions):
            number = len(made)
            tested = plot.campaign_id == "k1"
            made.append(
                Impression(
                    impression_id=f"i-{number}",
                    ts=HOUR_MS + (plot.start + at) * MINUTE_MS + 137 * number,
                    campaign_id=plot.campaign_id,
                    creative_id=f"{plot.campaign_id}-r{number % 3}",
                    price_micros=plot.price_micros,
                    advertiser_id=plot.advertiser_id or None,
                    placement=("top", "side", "feed")[number % 3],
                    country=("DE", "NP")[plot.campaign_id == "k2"],
                    device=("mobile", "desktop")[number % 2],
                    user_id=None if number % 10 == 9 else f"user {number % 6}",
                    pctr=(5 + number % 7) / 50,
                    model_version=("m1", "m2")[number % 2],
                    experiment="bids" if tested else None,
                    arm="ab"[number % 2] if tested else None,
                )
            )
    return made


def clicks() -> list[Click]:
    """All clicks of the world, by time: those of `CLICKS`, and two on impressions that never came."""
    shown = impressions()
    made = [Click(f"c-{at}", f"i-{number}", shown[number].ts + delay) for at, (number, delay) in enumerate(CLICKS)]
    lost = [Click(f"c-lost-{at}", f"lost-{at}", HOUR_MS + 55 * MINUTE_MS + at) for at in range(2)]
    return sorted([*made, *lost], key=lambda click: (click.ts, click.click_id))


def logs(partition: int) -> tuple[list[Record], list[Record]]:
    """Both logs of a join partition, with a copy, a late record, a contradiction and rubbish at their ends."""
    shown = [encode(one) for one in impressions() if _partition(one.impression_id) == partition]
    clicked = [encode(one) for one in clicks() if _partition(one.impression_id) == partition]
    if partition == 0:
        shown += [shown[-1], shown[0]]
        clicked += [b"{", clicked[-1]]
    else:
        shown += [shown[-1].replace(b'"price_micros":150000', b'"price_micros":160000')]
    return _log(shown), _log(clicked)


def _partition(impression_id: str) -> int:
    return int(impression_id.rpartition("-")[2]) % PARTITIONS


def _log(values: Sequence[bytes]) -> list[Record]:
    found = []
    for offset, value in enumerate(values):
        key = value.partition(b'"impression_id":"')[2].partition(b'"')[0]
        found.append(Record(offset, -1, key, value))
    return found


@functools.cache
def truths() -> tuple[Truth, ...]:
    """What each join partition must have decided when it has read all, with more to come."""
    return tuple(truth(*logs(at), BOUNDS, partition=at, ended=False) for at in range(PARTITIONS))


def insert(
    client: Client, role: str, records: Sequence[object], *, run: str = "", inserted_at: int | None = None
) -> None:
    """Writes records as the sink does, in one block. `inserted_at`, in s, is left to the server where it is None."""
    rows, refused = rows_of(role, [encode(record) for record in records], run=run)
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


def total(minute: int, *, version: int, final: bool = False, partition: int = 0, **more: Any) -> MinuteTotals:
    """A total of the minute-th minute of the hour; dimensions and measures not given are empty or 0."""
    given = {"campaign_id": "k1", **more}
    assert given.keys() <= {*DIMENSIONS, *MEASURES}
    return MinuteTotals(
        minute=HOUR_MS + minute * MINUTE_MS,
        join_partition=partition,
        version=version,
        final=final,
        dimensions=[[given.get(name, "")] for name in DIMENSIONS],
        measures=[[given.get(name, 0)] for name in MEASURES],
    )


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


def totals_of(found: Truth, partition: int, *, version: int) -> list[MinuteTotals]:
    """The minute totals of a join partition."""
    made = []
    for key, measures in sorted(found.totals.items()):
        end_ms = key[0] + MINUTE_MS
        passed = found.impressions.watermark_ms > end_ms + BOUNDS.skew_ms
        made.append(
            MinuteTotals(
                minute=key[0],
                join_partition=partition,
                version=version,
                final=passed and found.clicks.watermark_ms > end_ms + BOUNDS.window_ms,
                dimensions=[[name] for name in key[1:]],
                measures=[[measures[name]] for name in MEASURES],
            )
        )
    return made


def ledger_of(found: Truth, partition: int) -> Ledger:
    """The ledger of a join partition."""
    counts = {name: found.counts[name] for name in ("open", "closed", "unclicked", "billable", "repeat", "orphan")}
    report = Ledger(
        join_partition=partition,
        version=1,
        impressions=LogCounts(**found.impressions.counts),
        clicks=LogCounts(**found.clicks.counts),
        pending=found.counts["pending"],
        impressions_next_offset=found.impressions.counts["consumed"],
        clicks_next_offset=found.clicks.counts["consumed"],
        impressions_watermark_ms=found.impressions.watermark_ms,
        clicks_watermark_ms=found.clicks.watermark_ms,
        **counts,
    )
    assert report.imbalance() == ""
    return report


def letters_of(found: Truth, partition: int) -> list[Rejected]:
    """The dead letters of a join partition."""
    return [
        rejected(
            reason,
            f"the world's {reason} record",
            b"x",
            topic=topic,
            partition=partition,
            offset=offset,
            record_ts_ms=HOUR_MS + 135 * MINUTE_MS,
        )
        for topic, log in (("ads.impressions", found.impressions), ("ads.clicks", found.clicks))
        for offset, reason in log.rejects
    ]


def decisions() -> list[PacingDecision]:
    """What pacing decided of k1 every ten minutes of its second day, and once of the campaign nobody announced."""
    midnight_ms = HOUR_MS + 60 * MINUTE_MS
    budget_micros = CAMPAIGNS[0].daily_budget_micros
    made = []
    for version, at_ms in enumerate(range(midnight_ms + 10 * MINUTE_MS, midnight_ms + 70 * MINUTE_MS, 10 * MINUTE_MS)):
        spent = [one.price_micros for one in _billed("k1") if midnight_ms <= (one.click_ts or 0) < at_ms]
        plan_micros = budget_micros * (at_ms - midnight_ms) // DAY_MS
        state: PacingState = "exhausted" if sum(spent) >= budget_micros else "ahead"
        admit = 0.0 if state == "exhausted" else 0.25
        made.append(
            PacingDecision(
                "k1", version, at_ms, midnight_ms, state, admit, budget_micros, sum(spent), plan_micros, 0, len(spent)
            )
        )
    return [*made, PacingDecision("50%'s", 1, HOUR_MS + 125 * MINUTE_MS, HOUR_MS, "unknown", 0.0, 0, 300_000, 0, 16, 2)]


def _billed(campaign_id: str) -> list[Any]:
    every = [one for found in truths() for one in found.outcomes]
    return [one for one in every if one.kind == "click" and one.campaign_id == campaign_id]


def insert_golden(ads: Client) -> None:
    """The whole world, on a database just made: some totals and outcomes twice, and never merged."""
    for table in ("minute_totals", "outcome_rows"):
        ads.command(f"SYSTEM STOP MERGES {table}")
    for table in ("outcome_rows", "pacing_rows", "model_metric_rows", "reject_rows"):
        # Rows inserted in 2023 would be past their time.
        ads.command(f"ALTER TABLE {table} REMOVE TTL")
    inserted_at = HOUR_MS // 1000 + 150 * 60
    for partition, found in enumerate(truths()):
        insert(ads, "totals", totals_of(found, partition, version=1)[:4])
        insert(ads, "totals", totals_of(found, partition, version=2))
        insert(ads, "outcomes", found.outcomes[:3], inserted_at=inserted_at)
        insert(ads, "outcomes", found.outcomes, inserted_at=inserted_at)
        insert(ads, "ledger", [ledger_of(found, partition)], inserted_at=inserted_at)
        insert(ads, "rejects", letters_of(found, partition), inserted_at=inserted_at)
    insert(ads, "campaigns", CAMPAIGNS)
    insert(ads, "pacing", decisions(), inserted_at=inserted_at)
    window = (HOUR_MS + 60 * MINUTE_MS, HOUR_MS + 75 * MINUTE_MS)
    metrics = ModelMetrics("ctr", 0, 5, *window, "all", 21, 32.0, 10.0, 8.5, 0.52, 0.61, 0.85)
    insert(ads, "model_metrics", [metrics], inserted_at=inserted_at)


def sample(client: Client, name: str) -> str:
    """The table `clickfold query` prints for the query, asked as `ASKED` says; no spaces at the ends of lines."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        write(run_query(client, name, ASKED.get(name)), Format.TABLE)
    return "\n".join(line.rstrip() for line in [*text.getvalue().splitlines(), ""])


def main() -> None:
    """Writes all samples anew."""
    from streams.embedded.clickhouse import ClickHouse
    from streams.sink.client import connect

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

"""Makes a run the one readers of the views see, for minutes that can't change any more, and takes it back.

On each minute lies a pile of runs, live work at the bottom; the views show the top. A promotion puts its run on top, an
undo takes it out. Nothing is overwritten: both are rows, and `active_runs` (migration 0009) works out the piles.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from schemas.clickhouse.queries import Table, answer
from schemas.errors import SettingsError, Transient
from streams.runs.minutes import (
    DAY_MS,
    READING,
    Span,
    common,
    days_of,
    final_in_both,
    minutes_in,
    named,
    owned,
    united,
    within,
    without,
)
from streams.runs.record import LIVE, SETTLED, RunRecord, checked_name, known_run
from streams.warehouse.rollups import roll_up

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

# Each read of a view works out the piles of all spans ever promoted: 8 ms for a few, 18 ms for 1,000 (measured).
MOST_SPANS: Final = 200
_SHOWN: Final = ("impressions", "attributed_clicks", "clicks", "spend_micros")
_TOPS: Final = """
SELECT (groupArray(start), groupArray(top))
FROM
(
    SELECT start, argMax(run, (placed, run)) AS top
    FROM run_piles
    WHERE run != {run:String}
    GROUP BY start
    ORDER BY start
)
"""


class Plan(NamedTuple):
    """What a promotion, or an undo, will change: spans, in order.

    `not_final` counts the minutes that were not named one by one and are left out because they may still change.
    `changes` counts the minutes that views will read from another run than before.
    """

    run: str
    undo: bool
    spans: list[Span]
    not_final: int
    changes: int


def plan_promotion(client: Client, name: str, *, asked: Sequence[Span] = (), every_minute: bool = False) -> Plan:
    """What promoting a run will change. `asked` must be owned and final, all of it; without it these are all whole UTC
    days the run owns, or with `every_minute` all minutes, without those that are not final.

    Raises SettingsError for an unknown or incomplete run, one of models, or minutes that can't be promoted.
    """
    record = _promotable(client, name)
    mine = [owned(record)]
    final, not_final, _ = final_in_both(client, record, LIVE)
    if asked:
        spans = united(asked)
        _refuse(without(spans, mine), f"run {name} does not own", f"it owns {named(mine)}")
        _refuse(without(spans, final), f"run {name} or live work may still change", "leave them out, or wait")
    else:
        spans = final if every_minute else united(days_of(final))
        not_final = not_final if every_minute else minutes_in(without(days_of(mine), spans))
    if not spans:
        raise SettingsError(
            f"run {name} has no {'minute' if every_minute else 'whole UTC day'} that is final in it and in live work; "
            f"it owns {named(mine)}" + ("" if every_minute else "; give --minutes all for less than days")
        )
    if len(spans) > MOST_SPANS:
        raise SettingsError(
            f"run {name}: its final minutes are {len(spans)} spans, more than the {MOST_SPANS} of one promotion; give "
            "--from and --to, or --days"
        )
    return Plan(name, False, spans, not_final, minutes_in(without(spans, active_spans(client, name))))


def plan_undo(client: Client, name: str, *, asked: Sequence[Span] = ()) -> Plan:
    """What taking back the promotions of a run will change: within `asked`, else all of them.

    Raises SettingsError when there is nothing to take back.
    """
    lying = pile_spans(client, checked_name(name))
    if asked:
        _refuse(without(asked, lying), f"run {name} is not promoted for", f"it is for {named(lying) or 'none'}")
    if not lying:
        raise SettingsError(f"run {name} is promoted for no minute; there is nothing to undo")
    spans = united(asked) or lying
    return Plan(name, True, spans, 0, minutes_in(common(spans, active_spans(client, name))))


def carry_out(client: Client, plan: Plan) -> None:
    """Promotes, or undoes; readers see all of it or nothing, from the moment this returns on at the latest.

    Raises Transient when the run was being dropped meanwhile, or can't be rolled up: then nothing is promoted.
    """
    if not plan.undo:
        # A run that was just written is not in hours and days yet; live work, under an undone one, is.
        roll_up(client)
    ((version,),) = client.query(
        # By the clock, so that two at once differ, and above what is there, should a clock go back.
        "SELECT greatest(max(version) + 1, toUInt64(toUnixTimestamp64Micro(now64(6)))) FROM promotion_rows"
    ).result_rows
    _enter(client, plan, int(version))
    if not plan.undo and known_run(client, plan.run).state != "complete":
        _enter(client, plan._replace(undo=True), int(version) + 1)
        raise Transient(f"run {plan.run} is being dropped; nothing was promoted")


def preview(client: Client, plan: Plan) -> Table:
    """Rows and sums of each UTC day of the plan as the views show them now, and after it."""
    spans = within("minute", plan.spans)
    after = "PREWHERE run = {run:String}"
    if plan.undo:
        place = "transform(roundDown(toUnixTimestamp(minute), tops.1), tops.1, tops.2, '')"
        after = f"PREWHERE run IN tops.2 AND run = {place}"
    figures = f"toDate(minute) AS day, uniqExact(minute) AS minutes, count() AS rows, {_sums()}"
    sql = f"""
    WITH ({_TOPS}) AS tops
    SELECT day, side AS shown, minutes, rows, {", ".join(_SHOWN)}
    FROM
    (
        SELECT 'before' AS side, {figures} FROM minutes WHERE {spans} GROUP BY day
        UNION ALL
        SELECT 'after' AS side, {figures} FROM minute_totals FINAL {after} WHERE {spans} GROUP BY day
    )
    ORDER BY day, side = 'after'
    """
    return answer(client, sql, {"run": plan.run}, READING)


def active_spans(client: Client, name: str) -> list[Span]:
    """Where the views show a run."""
    sql = """
    SELECT 1000 * toUnixTimestamp(from_minute), 1000 * toUnixTimestamp(to_minute) FROM promoted_spans
    WHERE run = {run:String}
    """
    return united(Span(*row) for row in client.query(sql, parameters={"run": name}).result_rows)


def pile_spans(client: Client, name: str) -> list[Span]:
    """Where a run is promoted, be it on top or under another."""
    sql = "SELECT 1000 * toUInt64(start), countIf(run = {run:String}) FROM run_piles GROUP BY start ORDER BY start"
    rows = client.query(sql, parameters={"run": name}).result_rows
    # What begins at the last boundary is live work for ever.
    return united(Span(at_ms, next_ms) for (at_ms, lies), (next_ms, _) in itertools.pairwise(rows) if lies)


def days_named(days: Sequence[int]) -> list[Span]:
    """The UTC days that begin at these times (ms), as few spans as that takes."""
    return united(Span(at_ms, at_ms + DAY_MS) for at_ms in days)


def _promotable(client: Client, name: str) -> RunRecord:
    record = known_run(client, name)
    if record.kind != "join":
        raise SettingsError(f"run {name} is of models; only figures of a join are promoted")
    if record.state != "complete":
        raise SettingsError(f"run {name} is not complete; let its backfill end, or go on with it")
    return record


def _refuse(spans: Sequence[Span], why: str, remedy: str) -> None:
    if spans:
        raise SettingsError(f"{why} {minutes_in(spans):,} of the minutes asked for ({named(spans)}); {remedy}")


def _enter(client: Client, plan: Plan, version: int) -> None:
    rows = [(version, plan.run, not plan.undo, span.from_ms // 1000, span.to_ms // 1000) for span in plan.spans]
    # One insert of one block into a table without partitions: one part, which is there or is not.
    client.insert(
        "promotion_rows",
        rows,
        column_names=["version", "run", "promoted", "from_minute", "to_minute"],
        column_type_names=["UInt64", "String", "Bool", "DateTime('UTC')", "DateTime('UTC')"],
        settings=SETTLED,
    )


def _sums() -> str:
    return ", ".join(f"sum({name}) AS {name}" for name in _SHOWN)

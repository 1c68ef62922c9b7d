"""Promotes a run, so that the views show it for minutes that are final, and undoes promotions.

Each minute has a pile of runs, with live work at the bottom, and the views show the top. A promotion puts its run on
top; an undo takes the run out. Nothing is overwritten: both are rows, and `active_runs` (migration 0009) computes the
piles from them.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from schemas.clickhouse.queries import Table, answer
from schemas.errors import SettingsError, Transient
from streams.runs.minutes import (
    DAY_MS,
    READ_SETTINGS,
    Span,
    common,
    days_of,
    final_in_both,
    minutes_in,
    owned_span,
    spans_text,
    united,
    within,
    without,
)
from streams.runs.record import LIVE, SYNC_INSERT, RunRecord, checked_name, known_run
from streams.warehouse.rollups import roll_up

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

# Each read of a view computes the piles of all spans ever promoted: measured, 8 ms for a few and 18 ms for 1,000.
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


class PromotionPlan(NamedTuple):
    """What a promotion or an undo will change, as spans in order.

    `not_final` counts the minutes that were not named one by one and are left out because they may still change.
    `changes` counts the minutes that views will read from another run than before.
    """

    run: str
    undo: bool
    spans: list[Span]
    not_final: int
    changes: int


def plan_promotion(
    client: Client, name: str, *, requested: Sequence[Span] = (), every_minute: bool = False
) -> PromotionPlan:
    """What promoting a run will change.

    All minutes of `requested` must be owned and final. Without it, these are the whole UTC days that the run owns, or
    with `every_minute` all its minutes; those that are not final are left out. Raises SettingsError for an unknown or
    incomplete run, for a run of models, and for minutes that can't be promoted.
    """
    record = _promotable(client, name)
    owned = [owned_span(record)]
    final, not_final, _ = final_in_both(client, record, LIVE)
    if requested:
        spans = united(requested)
        _refuse_if_any(without(spans, owned), f"run {name} does not own", f"it owns {spans_text(owned)}")
        _refuse_if_any(without(spans, final), f"run {name} or live work may still change", "leave them out, or wait")
    else:
        spans = final if every_minute else united(days_of(final))
        not_final = not_final if every_minute else minutes_in(without(days_of(owned), spans))
    if not spans:
        raise SettingsError(
            f"run {name} has no {'minute' if every_minute else 'whole UTC day'} that is final in it and in live work; "
            f"it owns {spans_text(owned)}" + ("" if every_minute else "; give --minutes all for less than days")
        )
    if len(spans) > MOST_SPANS:
        raise SettingsError(
            f"run {name}: its final minutes are {len(spans)} spans, more than the {MOST_SPANS} of one promotion; give "
            "--from and --to, or --days"
        )
    return PromotionPlan(name, False, spans, not_final, minutes_in(without(spans, active_spans(client, name))))


def plan_undo(client: Client, name: str, *, requested: Sequence[Span] = ()) -> PromotionPlan:
    """What undoing the promotions of a run will change: those of `requested`, or without it all of them.

    Raises SettingsError when there is nothing to undo.
    """
    promoted = pile_spans(client, checked_name(name))
    if requested:
        _refuse_if_any(
            without(requested, promoted),
            f"run {name} is not promoted for",
            f"it is for {spans_text(promoted) or 'none'}",
        )
    if not promoted:
        raise SettingsError(f"run {name} is promoted for no minute; there is nothing to undo")
    spans = united(requested) or promoted
    return PromotionPlan(name, True, spans, 0, minutes_in(common(spans, active_spans(client, name))))


def write_promotion(client: Client, plan: PromotionPlan) -> None:
    """Promotes or undoes. Readers see all of it or nothing; once this returns they see it.

    Raises Transient when the run is being dropped at the same time, or can't be rolled up. Then nothing is promoted.
    """
    if not plan.undo:
        # A run that was just written may not be in hours and days yet. What an undo uncovers is in them already.
        roll_up(client)
    ((version,),) = client.query(
        # By the clock, two promotions at once get different versions. The maximum is for a clock that goes back.
        "SELECT greatest(max(version) + 1, toUInt64(toUnixTimestamp64Micro(now64(6)))) FROM promotion_rows"
    ).result_rows
    _insert(client, plan, int(version))
    if not plan.undo and known_run(client, plan.run).state != "complete":
        _insert(client, plan._replace(undo=True), int(version) + 1)
        raise Transient(f"run {plan.run} is being dropped; nothing was promoted")


def preview(client: Client, plan: PromotionPlan) -> Table:
    """Rows and sums of each UTC day of the plan, as the views show them before and after it."""
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
    return answer(client, sql, {"run": plan.run}, READ_SETTINGS)


def active_spans(client: Client, name: str) -> list[Span]:
    """The minutes for which the views show a run."""
    sql = """
    SELECT 1000 * toUnixTimestamp(from_minute), 1000 * toUnixTimestamp(to_minute) FROM promoted_spans
    WHERE run = {run:String}
    """
    return united(Span(*row) for row in client.query(sql, parameters={"run": name}).result_rows)


def pile_spans(client: Client, name: str) -> list[Span]:
    """The minutes for which a run is promoted, on top or under another run."""
    sql = "SELECT 1000 * toUInt64(start), countIf(run = {run:String}) FROM run_piles GROUP BY start ORDER BY start"
    rows = client.query(sql, parameters={"run": name}).result_rows
    # After the last boundary there is only live work.
    return united(Span(start_ms, next_ms) for (start_ms, in_pile), (next_ms, _) in itertools.pairwise(rows) if in_pile)


def day_spans(days_ms: Sequence[int]) -> list[Span]:
    """The UTC days that begin at these times, as spans in order."""
    return united(Span(day_ms, day_ms + DAY_MS) for day_ms in days_ms)


def _promotable(client: Client, name: str) -> RunRecord:
    record = known_run(client, name)
    if record.kind != "join":
        raise SettingsError(f"run {name} is of models; only figures of a join are promoted")
    if record.state != "complete":
        raise SettingsError(f"run {name} is not complete; let its backfill end, or continue it")
    return record


def _refuse_if_any(spans: Sequence[Span], why: str, remedy: str) -> None:
    if spans:
        raise SettingsError(f"{why} {minutes_in(spans):,} of the minutes asked for ({spans_text(spans)}); {remedy}")


def _insert(client: Client, plan: PromotionPlan, version: int) -> None:
    rows = [(version, plan.run, not plan.undo, span.from_ms // 1000, span.to_ms // 1000) for span in plan.spans]
    # One insert of one block into a table without partitions makes one part, and a part appears as a whole.
    client.insert(
        "promotion_rows",
        rows,
        column_names=["version", "run", "promoted", "from_minute", "to_minute"],
        column_type_names=["UInt64", "String", "Bool", "DateTime('UTC')", "DateTime('UTC')"],
        settings=SYNC_INSERT,
    )


def _sums() -> str:
    return ", ".join(f"sum({name}) AS {name}" for name in _SHOWN)

"""Spans of minutes, and which minutes of a run are final, in it and in the run that it is compared with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from schemas.bounds import END_OF_TIME_MS, JoinBounds
from schemas.errors import SettingsError
from streams.runs.record import ACTIVE, LIVE, MINUTE_MS, RunRecord, known_run

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

DAY_MS: Final = 86_400_000
# Spans become part of a statement, whose default bound is 256 KiB. A year with every other minute left out takes about
# 14 MB: 525,600 edges, each named twice with 12 characters, and a flag of 3. With FINAL each partition is merged by
# itself, because all versions of a key are in one month.
READ_SETTINGS: Final = {"max_query_size": 64 << 20, "do_not_merge_across_partitions_select_final": 1}


class Span(NamedTuple):
    """Time from `from_ms` (inclusive) to `to_ms` (exclusive), UTC."""

    from_ms: int
    to_ms: int


class FinalInBoth(NamedTuple):
    """The minutes of a run that can be compared with another, as spans in order, and how many are left out.

    `not_final`: owned minutes that may still change. `not_there`: owned minutes that the other run does not own.
    """

    spans: list[Span]
    not_final: int
    not_there: int


def minutes_in(spans: Iterable[Span]) -> int:
    """How many minutes the spans have together; they must not overlap."""
    return sum(span.to_ms - span.from_ms for span in spans) // MINUTE_MS


def spans_text(spans: Sequence[Span]) -> str:
    """The first three spans as text, such as `2026-11-01 00:00 to 2026-11-02 00:00`."""
    words = ", ".join(f"{_text(span.from_ms)} to {_text(span.to_ms)}" for span in spans[:3])
    return words + (f" and {len(spans) - 3:,} more" if len(spans) > 3 else "")


def united(spans: Iterable[Span]) -> list[Span]:
    """The same minutes as spans in order that neither touch nor overlap, without empty ones."""
    merged: list[Span] = []
    for span in sorted(span for span in spans if span.from_ms < span.to_ms):
        if merged and span.from_ms <= merged[-1].to_ms:
            merged[-1] = Span(merged[-1].from_ms, max(merged[-1].to_ms, span.to_ms))
        else:
            merged.append(span)
    return merged


def common(some: Iterable[Span], others: Iterable[Span]) -> list[Span]:
    """The minutes that are in both."""
    merged_others = united(others)
    return [
        Span(max(a.from_ms, b.from_ms), min(a.to_ms, b.to_ms))
        for a in united(some)
        for b in merged_others
        if a.from_ms < b.to_ms and b.from_ms < a.to_ms
    ]


def without(some: Iterable[Span], others: Iterable[Span]) -> list[Span]:
    """The minutes that are in the first and not in the second."""
    whole = united(some)
    if not whole:
        return []
    edges = [whole[0].from_ms, *(edge for span in united(others) for edge in span), whole[-1].to_ms]
    gaps = [Span(first, last) for first, last in zip(edges[::2], edges[1::2], strict=True)]
    return common(whole, gaps)


def days_of(spans: Iterable[Span]) -> list[Span]:
    """The UTC days that are wholly in the spans, in order, one span each."""
    days = []
    for span in united(spans):
        first_ms = -(-span.from_ms // DAY_MS) * DAY_MS
        days += [Span(day_ms, day_ms + DAY_MS) for day_ms in range(first_ms, span.to_ms - DAY_MS + 1, DAY_MS)]
    return days


def within(column: str, spans: Sequence[Span]) -> str:
    """SQL that is true where the time column is in one of the spans. They are in order and do not touch."""
    if not spans:
        return "false"
    first_s, last_s = spans[0].from_ms // 1000, spans[-1].to_ms // 1000
    between = f"{column} >= toDateTime({first_s}, 'UTC') AND {column} < toDateTime({last_s}, 'UTC')"
    if len(spans) == 1:
        return f"({between})"
    edges = [edge // 1000 for span in spans for edge in span]
    # The primary index uses `between`. For each row, the last edge at or before it is looked up: those with an even
    # index begin a span.
    inside = [1 - index % 2 for index in range(len(edges))]
    return f"({between} AND transform(roundDown(toUnixTimestamp({column}), {edges}), {edges}, {inside}, 0) = 1)"


def owned_span(record: RunRecord) -> Span:
    """The minutes that the run owns. Raises SettingsError when there is none."""
    if record.from_minute_ms >= record.to_minute_ms:
        raise SettingsError(
            f"run {record.run} owns no minute: its range is shorter than the window, skew and dedupe horizons need "
            "around a whole minute; backfill a longer range"
        )
    return Span(record.from_minute_ms, record.to_minute_ms)


def final_in_both(client: Client, record: RunRecord, against: str) -> FinalInBoth:
    """The owned minutes of `record` that are final in it and in `against`: a run, LIVE, or ACTIVE for the views.

    A minute is final when all its totals are, and no partition without a total can still get one. Live work counts as
    owning every minute.
    """
    owned = [owned_span(record)]
    owned_count = minutes_in(owned)
    spans = owned if against in (LIVE, ACTIVE) else common(owned, [owned_span(known_run(client, against))])
    not_there = owned_count - minutes_in(spans)
    bound_ms = min(final_before_ms(client, record.run, record), final_before_ms(client, against, record))
    spans = common(spans, [Span(0, bound_ms)])
    for run in (record.run, against):
        spans = without(spans, _open_minutes(client, run, spans))
    return FinalInBoth(spans, owned_count - not_there - minutes_in(spans), not_there)


def first_minute_ms(client: Client, table: str, time: str, run: str) -> int | None:
    """The first minute of which a run has rows in a table, or ACTIVE in a view; None when there are none."""
    where = "" if run == ACTIVE else "WHERE run = {run:String}"
    sql = f"SELECT count(), toUnixTimestamp(toStartOfMinute(min({time}))) * 1000 FROM {table} {where}"
    ((rows, first_ms),) = client.query(sql, parameters={"run": run}).result_rows
    return int(first_ms) if rows else None


def final_before_ms(client: Client, run: str, record: RunRecord) -> int:
    """The time below which no record can add to a run: the end of time when the run is complete.

    Otherwise it follows from the slowest partition in its ledger; pending clicks are taken into account. 0 without a
    ledger. `record`: its settings give the skew.
    """
    if run not in (LIVE, ACTIVE) and known_run(client, run).state == "complete":
        return END_OF_TIME_MS
    skew_ms = int(record.settings.get("skew_ms", JoinBounds().skew_ms))
    sql = """
    SELECT
        count(),
        toUnixTimestamp64Milli(
            min(least(impressions_watermark - toIntervalMillisecond({skew:Int64}), clicks_watermark)))
    FROM ledger_rows FINAL WHERE run = {run:String}
    """
    bound = {"run": LIVE if run == ACTIVE else run, "skew": skew_ms}
    ((partitions, lowest_bound_ms),) = client.query(sql, parameters=bound).result_rows
    return int(lowest_bound_ms) // MINUTE_MS * MINUTE_MS if partitions else 0


def totals_of(run: str) -> str:
    """SQL of the totals that hold: of one run, which is the parameter `run`, or for ACTIVE of what the views show."""
    return "minutes WHERE true" if run == ACTIVE else "minute_totals FINAL WHERE run = {run:String}"


def _text(ts_ms: int) -> str:
    return f"{datetime.fromtimestamp(ts_ms / 1000, UTC):%Y-%m-%d %H:%M}"


def _open_minutes(client: Client, run: str, spans: Sequence[Span]) -> list[Span]:
    sql = f"""
    SELECT toUnixTimestamp(minute) * 1000 AS minute_ms FROM {totals_of(run)} AND {within("minute", spans)}
    GROUP BY minute HAVING NOT min(final)
    """
    rows = client.query(sql, parameters={"run": run}, settings=READ_SETTINGS).result_rows
    return united(Span(int(minute_ms), int(minute_ms) + MINUTE_MS) for (minute_ms,) in rows)

"""Spans of minutes, and which minutes of a run can't change any more, neither in it nor in what it is held against."""

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
# A hole a minute in a year of minutes makes a long statement; the default of 256 KiB would refuse it. With FINAL each
# partition is merged by itself: all versions of a key have one month.
READING: Final = {"max_query_size": 64 << 20, "do_not_merge_across_partitions_select_final": 1}


class Span(NamedTuple):
    """Time from `from_ms` (inclusive) to `to_ms` (exclusive), UTC."""

    from_ms: int
    to_ms: int


class Common(NamedTuple):
    """What two runs can be held against each other for: spans in order, and how many owned minutes are left out
    because they may still change, or because the other does not have them."""

    spans: list[Span]
    not_final: int
    not_there: int


def minutes_in(spans: Iterable[Span]) -> int:
    """How many minutes they hold together."""
    return sum(span.to_ms - span.from_ms for span in spans) // MINUTE_MS


def named(spans: Sequence[Span]) -> str:
    """The first spans in words, such as `2026-11-01 00:00 to 2026-11-02 00:00`."""
    words = ", ".join(f"{_text(span.from_ms)} to {_text(span.to_ms)}" for span in spans[:3])
    return words + (f" and {len(spans) - 3:,} more" if len(spans) > 3 else "")


def united(spans: Iterable[Span]) -> list[Span]:
    """The same moments in order, as few spans as that takes; empty ones are gone."""
    whole: list[Span] = []
    for span in sorted(span for span in spans if span.from_ms < span.to_ms):
        if whole and span.from_ms <= whole[-1].to_ms:
            whole[-1] = Span(whole[-1].from_ms, max(whole[-1].to_ms, span.to_ms))
        else:
            whole.append(span)
    return whole


def common(some: Iterable[Span], others: Iterable[Span]) -> list[Span]:
    """What lies in both."""
    theirs = united(others)
    return [
        Span(max(a.from_ms, b.from_ms), min(a.to_ms, b.to_ms))
        for a in united(some)
        for b in theirs
        if a.from_ms < b.to_ms and b.from_ms < a.to_ms
    ]


def without(some: Iterable[Span], others: Iterable[Span]) -> list[Span]:
    """What lies in the first and not in the second."""
    whole = united(some)
    if not whole:
        return []
    edges = [whole[0].from_ms, *(edge for span in united(others) for edge in span), whole[-1].to_ms]
    gaps = [Span(first, last) for first, last in zip(edges[::2], edges[1::2], strict=True)]
    return common(whole, gaps)


def days_of(spans: Iterable[Span]) -> list[Span]:
    """The UTC days that lie wholly in one of the spans, in order."""
    found = []
    for span in united(spans):
        first_ms = -(-span.from_ms // DAY_MS) * DAY_MS
        found += [Span(at_ms, at_ms + DAY_MS) for at_ms in range(first_ms, span.to_ms - DAY_MS + 1, DAY_MS)]
    return found


def within(column: str, spans: Sequence[Span]) -> str:
    """SQL that is true where the time column lies in one of the spans, which are in order and do not touch."""
    if not spans:
        return "false"
    first_s, last_s = spans[0].from_ms // 1000, spans[-1].to_ms // 1000
    reach = f"{column} >= toDateTime({first_s}, 'UTC') AND {column} < toDateTime({last_s}, 'UTC')"
    if len(spans) == 1:
        return f"({reach})"
    edges = [edge // 1000 for span in spans for edge in span]
    # The index of a granule reads the reach; a row is looked up in the sorted edges: inside behind an even one.
    inside = [1 - at % 2 for at in range(len(edges))]
    return f"({reach} AND transform(roundDown(toUnixTimestamp({column}), {edges}), {edges}, {inside}, 0) = 1)"


def owned(record: RunRecord) -> Span:
    """The minutes whose figures are the run's own. Raises SettingsError when there is none."""
    if record.from_minute_ms >= record.to_minute_ms:
        raise SettingsError(
            f"run {record.run} owns no minute: what it read is shorter than the bounds of its join need around a whole "
            "minute; back-fill a longer stretch"
        )
    return Span(record.from_minute_ms, record.to_minute_ms)


def final_in_both(client: Client, record: RunRecord, against: str) -> Common:
    """The owned minutes of `record` that can't change in it nor in `against`: a run, LIVE, or ACTIVE for what the views
    show. `not_there` counts those another run does not own; of live work every minute counts as there.

    A minute is final when all its totals are, and when no partition that has none for it can still get one.
    """
    mine = [owned(record)]
    whole = minutes_in(mine)
    spans = mine if against in (LIVE, ACTIVE) else common(mine, [owned(known_run(client, against))])
    not_there = whole - minutes_in(spans)
    bound_ms = min(behind(client, record.run, record), behind(client, against, record))
    spans = common(spans, [Span(0, bound_ms)])
    for run in (record.run, against):
        spans = without(spans, _open_minutes(client, run, spans))
    return Common(spans, whole - not_there - minutes_in(spans), not_there)


def first_minute_ms(client: Client, table: str, time: str, run: str) -> int | None:
    """The first minute a run has rows of in a table, or ACTIVE in a view; None when there are none."""
    where = "" if run == ACTIVE else "WHERE run = {run:String}"
    sql = f"SELECT count(), toUnixTimestamp(toStartOfMinute(min({time}))) * 1000 FROM {table} {where}"
    ((rows, first_ms),) = client.query(sql, parameters={"run": run}).result_rows
    return int(first_ms) if rows else None


def behind(client: Client, run: str, record: RunRecord) -> int:
    """The time (ms) before which nothing new can come in a run: the end of time when it is complete, else by the
    slowest partition of its ledger, the clicks pending there included; 0 without a ledger."""
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
    ((partitions, passed_ms),) = client.query(sql, parameters=bound).result_rows
    return int(passed_ms) // MINUTE_MS * MINUTE_MS if partitions else 0


def totals_of(run: str) -> str:
    """SQL of the current totals of one run, with its parameter `run`, or of what the views show."""
    return "minutes WHERE true" if run == ACTIVE else "minute_totals FINAL WHERE run = {run:String}"


def _text(ts_ms: int) -> str:
    return f"{datetime.fromtimestamp(ts_ms / 1000, UTC):%Y-%m-%d %H:%M}"


def _open_minutes(client: Client, run: str, spans: Sequence[Span]) -> list[Span]:
    sql = f"""
    SELECT toUnixTimestamp(minute) * 1000 AS at_ms FROM {totals_of(run)} AND {within("minute", spans)}
    GROUP BY minute HAVING NOT min(final)
    """
    rows = client.query(sql, parameters={"run": run}, settings=READING).result_rows
    return united(Span(int(at_ms), int(at_ms) + MINUTE_MS) for (at_ms,) in rows)

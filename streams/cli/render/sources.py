"""Where live numbers come from: the workers' metrics, the pacing view, ClickHouse. Waits for none of them for long."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import TYPE_CHECKING, Final
from urllib.request import ProxyHandler, build_opener

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from schemas.clickhouse.quoting import literal
from schemas.codec import decode
from schemas.pacing import PacingDecision
from streams.cli.render.measures import Measures
from streams.warehouse.rollups import ROLLUPS

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

# A worker on the same machine answers in some milliseconds; on two cores at full load some answers take 0.5 s. One that
# takes longer is shown as silent.
_ANSWER_S: Final = 1.0
# Counting costs ClickHouse some milliseconds, which the sink needs more.
_CLICKHOUSE_EVERY_S: Final = 2.0
_RATE_S: Final = 5.0
# Exact for merged parts; before a merge, copies and older versions of rows count too. Reads no data. Leaves out tables
# that ClickHouse itself fills from these rows.
_ROWS_SQL: Final = f"""
SELECT name, total_rows FROM system.tables
WHERE database = currentDatabase() AND total_rows > 0 AND endsWith(engine, 'MergeTree')
    AND name NOT IN ({", ".join(map(literal, ("migrations", *ROLLUPS.values())))})
ORDER BY total_rows DESC, name
"""
_MEASURES_SQL: Final = """
WITH (SELECT max(window_end) FROM model_metrics WHERE slice = 'all') AS newest
SELECT window_end > newest - INTERVAL 1 DAY AS recent,
    sum(examples), sum(weight), sum(clicks), sum(predicted_clicks), sum(log_loss * weight)
FROM model_metrics WHERE slice = 'all' GROUP BY recent
"""


@dataclass(frozen=True, slots=True)
class LogFigures:
    """One input log, all partitions: records by fate, the lowest lateness bound, records not yet folded."""

    accepted: int | None = None
    late: int | None = None
    duplicate: int | None = None
    rejected: int | None = None
    watermark_ms: int | None = None
    lag_records: int | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All figures at one moment; None where no source gave one.

    `events_per_s` is over the last seconds; `last_day_measures` are of the last 24 h of event time; `unmeasured`
    outcomes were learned after their metrics window had closed. `tables` maps table to rows kept, `rows_written` to
    rows acknowledged.
    """

    events_per_s: float | None = None
    open_impressions: int | None = None
    pending_clicks: int | None = None
    impressions: LogFigures = field(default_factory=LogFigures)
    clicks: LogFigures = field(default_factory=LogFigures)
    billable: int | None = None
    repeat: int | None = None
    orphan: int | None = None
    learned: int | None = None
    waiting: int | None = None
    unmeasured: int | None = None
    drift: str | None = None
    measures: Measures | None = None
    last_day_measures: Measures | None = None
    pacing: tuple[PacingDecision, ...] | None = None
    rows_written: dict[str, int] | None = None
    rows_held: int | None = None
    sink_lag_records: int | None = None
    tables: dict[str, int] | None = None

    @property
    def consumed(self) -> int:
        """Records of both inputs whose fate is known; 0 while no worker answers."""
        fates = ((log.accepted, log.late, log.duplicate, log.rejected) for log in (self.impressions, self.clicks))
        return sum(number or 0 for log in fates for number in log)


class Rate:
    """How fast a count grows, over the last seconds."""

    def __init__(self, over_s: float = _RATE_S) -> None:
        self._over_s = over_s
        self._seen: deque[tuple[float, float]] = deque()

    def add(self, count: float, *, at_s: float) -> float | None:
        """Takes a reading and gives the growth per second; None before the second. A falling count starts anew."""
        if self._seen and count < self._seen[-1][1]:
            self._seen.clear()
        self._seen.append((at_s, count))
        while len(self._seen) > 2 and at_s - self._seen[1][0] >= self._over_s:
            self._seen.popleft()
        first_s, first = self._seen[0]
        return (count - first) / (at_s - first_s) if at_s > first_s else None


class _PacingPage(msgspec.Struct):
    """The part of `streams.pacing.view.WorkerView` shown here."""

    campaigns: dict[str, PacingDecision | None]


class Sources:
    """URLs of `/metrics` of join, learn and sink, of the JSON view `/pacing`, and how to reach ClickHouse.

    Empty URLs and None stand for sources that do not exist. The client is made at the first read that finds ClickHouse,
    gets a short timeout, is kept, and is closed by `close`. `clock` gives monotonic seconds.
    """

    def __init__(
        self,
        *,
        join_metrics: str = "",
        learn_metrics: str = "",
        sink_metrics: str = "",
        pacing: str = "",
        client: Callable[[], Client] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._urls = {"join": join_metrics, "learn": learn_metrics, "sink": sink_metrics, "pacing": pacing}
        self._connect = client
        self._client: Client | None = None
        self._clock = clock
        self._events = Rate()
        self._asked_s = -_CLICKHOUSE_EVERY_S
        self._kept: tuple[dict[str, int] | None, Measures | None, Measures | None] = (None, None, None)

    def read(self) -> Snapshot:
        """The figures of every source now. Never raises for one that does not answer or whose answer cannot be read."""
        join, learn, sink = (Samples(asked(self._urls[name])) for name in ("join", "learn", "sink"))
        tables, measures, last_day = self._clickhouse()
        records = join.total("clickfold_records_total")
        return Snapshot(
            events_per_s=None if records is None else self._events.add(records, at_s=self._clock()),
            open_impressions=join.total("clickfold_open_impressions"),
            pending_clicks=join.total("clickfold_pending_clicks"),
            impressions=_log_figures(join, "impressions"),
            clicks=_log_figures(join, "clicks"),
            billable=join.total("clickfold_decisions_total", decision="billable"),
            repeat=join.total("clickfold_decisions_total", decision="repeat"),
            orphan=join.total("clickfold_decisions_total", decision="orphan"),
            learned=learn.total("clickfold_outcomes", fate="learned"),
            waiting=learn.total("clickfold_outcomes", fate="waiting"),
            unmeasured=learn.total("clickfold_outcomes", fate="late"),
            drift=_drift(learn),
            measures=measures,
            last_day_measures=last_day,
            pacing=_decisions(asked(self._urls["pacing"])),
            rows_written=sink.by("clickfold_sink_rows_total", "table"),
            rows_held=sink.total("clickfold_sink_rows_held"),
            sink_lag_records=sink.total("clickfold_sink_lag_records"),
            tables=tables,
        )

    def close(self) -> None:
        """Closes the client, if there is one."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _clickhouse(self) -> tuple[dict[str, int] | None, Measures | None, Measures | None]:
        if self._connect is None or self._clock() - self._asked_s < _CLICKHOUSE_EVERY_S:
            return self._kept
        from clickhouse_connect.driver.exceptions import ClickHouseError  # 0.2 s to import
        from urllib3 import Timeout
        from urllib3.exceptions import HTTPError

        self._asked_s = self._clock()
        try:
            if self._client is None:
                self._client = self._connect()
                self._client.timeout = Timeout(connect=_ANSWER_S, read=_ANSWER_S)  # type: ignore[attr-defined]  # of the HTTP client, which it is
            tables = {str(name): int(rows) for name, rows in self._client.query(_ROWS_SQL).result_rows}
            # Windows do not overlap, so those of the last day and the rest make up all.
            measures = {
                bool(recent): Measures(*sums) for recent, *sums in self._client.query(_MEASURES_SQL).result_rows
            }
        except (ClickHouseError, HTTPError, OSError):
            self._kept = (None, None, None)
        else:
            last_day = measures.get(True)
            self._kept = (tables, last_day and sum(measures.values(), Measures()), last_day)
        return self._kept


class Samples:
    """Samples of a metrics page; none of an empty or broken one."""

    def __init__(self, page: bytes | None) -> None:
        self._samples: list[tuple[str, dict[str, str], float]] = []
        try:
            for family in text_string_to_metric_families((page or b"").decode()):
                samples = ((sample.name, sample.labels, float(sample.value)) for sample in family.samples)
                self._samples += [sample for sample in samples if math.isfinite(sample[2])]
        except ValueError:
            self._samples.clear()

    def total(self, name: str, **labels: str) -> int | None:
        """The sum over samples with these labels; None when there is none."""
        values = list(self._values(name, labels))
        return round(sum(values)) if values else None

    def lowest(self, name: str, **labels: str) -> float | None:
        """The lowest of the samples with these labels; None when there is none."""
        return min(self._values(name, labels), default=None)

    def by(self, name: str, label: str) -> dict[str, int] | None:
        """Sums by the values of a label; None when there is no sample."""
        sums: dict[str, int] = {}
        for each, labels, value in self._samples:
            if each == name and label in labels:
                sums[labels[label]] = sums.get(labels[label], 0) + round(value)
        return sums or None

    def _values(self, name: str, labels: dict[str, str]) -> Iterator[float]:
        for each, own, value in self._samples:
            if each == name and labels.items() <= own.items():
                yield value


def _log_figures(join: Samples, log: str) -> LogFigures:
    fates = {
        fate: join.total("clickfold_ledger_total", log=log, fate=fate)
        for fate in ("accepted", "late", "duplicate", "rejected")
    }
    watermark_s = join.lowest("clickfold_watermark_seconds", log=log)
    return LogFigures(
        **fates,
        watermark_ms=None if watermark_s is None else round(watermark_s * 1_000),
        lag_records=join.total("clickfold_lag_records", log=log),
    )


def _drift(learn: Samples) -> str | None:
    directions = learn.by("clickfold_drift", "direction")
    if directions is None:
        return None
    return ", ".join(direction for direction, shards in directions.items() if shards)


def _decisions(page: bytes | None) -> tuple[PacingDecision, ...] | None:
    if page is None:
        return None
    try:
        campaigns = decode(page, _PacingPage).campaigns
    except msgspec.MsgspecError:
        return None
    return tuple(decision for _, decision in sorted(campaigns.items()) if decision is not None)


def asked(url: str) -> bytes | None:
    """What a worker answers; None when it does not answer or there is no URL."""
    if not url:
        return None
    try:
        # Directly: a proxy for the outside world does not know the workers.
        with build_opener(ProxyHandler({})).open(url, timeout=_ANSWER_S) as answer:
            body: bytes = answer.read()
    except (OSError, HTTPException, ValueError):
        return None
    return body

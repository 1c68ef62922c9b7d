"""Reads the numbers of the live view from the workers' metrics, the pacing view and ClickHouse.

Each has a second to answer: a source that is slow or down must not stop the view.
"""

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

# A worker on the same machine answers in milliseconds, and within 0.5 s on two cores at full load. The figures of one
# that takes longer are shown as unknown.
_ANSWER_TIMEOUT_S: Final = 1.0
# Counting takes ClickHouse some milliseconds, during which the sink inserts more slowly.
_CLICKHOUSE_EVERY_S: Final = 2.0
# Short enough to show a change soon, long enough to even out the pauses of commits.
_RATE_S: Final = 5.0
# Reads no data, only metadata. Rows of older versions count until a merge removes them. Tables that ClickHouse fills
# from other tables are left out.
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
    """All partitions of one input log: records by fate, the lowest watermark, records that are not yet folded.

    `held` records are folded and wait for confirmation.
    """

    accepted: int | None = None
    late: int | None = None
    duplicate: int | None = None
    rejected: int | None = None
    watermark_ms: int | None = None
    lag_records: int | None = None
    held: int | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All figures at one moment; None for a figure whose source did not answer.

    `events_per_s` is an average of the last seconds. `last_day_measures` are of the last 24 h of event time.
    `unmeasured` outcomes were learned after their metrics window had closed. `tables` are the rows in each table of
    ClickHouse, `rows_written` the rows of each table that ClickHouse acknowledged.
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
        """Records of both inputs that are folded; 0 while no worker answers."""
        logs = (self.impressions, self.clicks)
        fates = ((log.accepted, log.late, log.duplicate, log.rejected, log.held) for log in logs)
        return sum(number or 0 for log in fates for number in log)


class Rate:
    """How fast a count has grown in the last seconds."""

    def __init__(self, over_s: float = _RATE_S) -> None:
        self._over_s = over_s
        self._readings: deque[tuple[float, float]] = deque()

    def add(self, count: float, *, at_s: float) -> float | None:
        """Adds a reading and gives the growth a second; None for the first one. A count that falls starts again."""
        if self._readings and count < self._readings[-1][1]:
            self._readings.clear()
        self._readings.append((at_s, count))
        while len(self._readings) > 2 and at_s - self._readings[1][0] >= self._over_s:
            self._readings.popleft()
        first_s, first = self._readings[0]
        return (count - first) / (at_s - first_s) if at_s > first_s else None


class _PacingPage(msgspec.Struct):
    """The part of `streams.pacing.view.WorkerView` shown here."""

    campaigns: dict[str, PacingDecision | None]


class Sources:
    """The sources of the live view: URLs of `/metrics` and of `/pacing`, and a function that connects to ClickHouse.

    An empty URL or None means that there is no such source. The first read that reaches ClickHouse makes the client,
    with a short timeout; `close` closes it. `clock` gives monotonic seconds.
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
        self._event_rate = Rate()
        self._queried_s = -_CLICKHOUSE_EVERY_S
        self._last_answer: tuple[dict[str, int] | None, Measures | None, Measures | None] = (None, None, None)

    def read(self) -> Snapshot:
        """The figures of every source now. A source that does not answer, or answers nonsense, raises nothing."""
        join, learn, sink = (Samples(fetch(self._urls[name])) for name in ("join", "learn", "sink"))
        tables, measures, last_day = self._clickhouse()
        records = join.total("clickfold_records_total")
        return Snapshot(
            events_per_s=None if records is None else self._event_rate.add(records, at_s=self._clock()),
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
            pacing=_decisions(fetch(self._urls["pacing"])),
            rows_written=sink.totals_by("clickfold_sink_rows_total", "table"),
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
        if self._connect is None or self._clock() - self._queried_s < _CLICKHOUSE_EVERY_S:
            return self._last_answer
        from clickhouse_connect.driver.exceptions import ClickHouseError  # 0.2 s to import
        from urllib3 import Timeout
        from urllib3.exceptions import HTTPError

        self._queried_s = self._clock()
        try:
            if self._client is None:
                self._client = self._connect()
                self._client.timeout = Timeout(connect=_ANSWER_TIMEOUT_S, read=_ANSWER_TIMEOUT_S)  # type: ignore[attr-defined]  # ours is always the HTTP client
            tables = {str(name): int(rows) for name, rows in self._client.query(_ROWS_SQL).result_rows}
            # Windows do not overlap, so the sums of the last day and of earlier windows add up to those of all.
            measures = {
                bool(recent): Measures(*sums) for recent, *sums in self._client.query(_MEASURES_SQL).result_rows
            }
        except (ClickHouseError, HTTPError, OSError):
            self._last_answer = (None, None, None)
        else:
            last_day = measures.get(True)
            self._last_answer = (tables, last_day and sum(measures.values(), Measures()), last_day)
        return self._last_answer


class Samples:
    """Samples of a page of metrics; no samples when the page is empty or cannot be parsed."""

    def __init__(self, page: bytes | None) -> None:
        self._samples: list[tuple[str, dict[str, str], float]] = []
        try:
            for family in text_string_to_metric_families((page or b"").decode()):
                samples = ((sample.name, sample.labels, float(sample.value)) for sample in family.samples)
                self._samples += [sample for sample in samples if math.isfinite(sample[2])]
        except ValueError:
            self._samples.clear()

    def total(self, name: str, **labels: str) -> int | None:
        """The sum of the samples with these labels; None without samples."""
        values = list(self._values(name, labels))
        return round(sum(values)) if values else None

    def lowest(self, name: str, **labels: str) -> float | None:
        """The lowest of the samples with these labels; None without samples."""
        return min(self._values(name, labels), default=None)

    def totals_by(self, name: str, label: str) -> dict[str, int] | None:
        """The sum of the samples for each value of a label; None without samples."""
        sums: dict[str, int] = {}
        for sample_name, labels, value in self._samples:
            if sample_name == name and label in labels:
                sums[labels[label]] = sums.get(labels[label], 0) + round(value)
        return sums or None

    def _values(self, name: str, labels: dict[str, str]) -> Iterator[float]:
        for sample_name, sample_labels, value in self._samples:
            if sample_name == name and labels.items() <= sample_labels.items():
                yield value


def _log_figures(join: Samples, log: str) -> LogFigures:
    fates = {
        fate: join.total("clickfold_ledger_total", log=log, fate=fate)
        for fate in ("accepted", "late", "duplicate", "rejected")
    }
    watermark_s = join.lowest("clickfold_watermark_seconds", log=log)
    return LogFigures(
        **fates,
        held=join.total("clickfold_held_records", log=log),
        watermark_ms=None if watermark_s is None else round(watermark_s * 1_000),
        lag_records=join.total("clickfold_lag_records", log=log),
    )


def _drift(learn: Samples) -> str | None:
    directions = learn.totals_by("clickfold_drift", "direction")
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


def fetch(url: str) -> bytes | None:
    """The body of the answer to a GET; None when there is no answer or no URL."""
    if not url:
        return None
    try:
        # Not through a proxy of the environment, which does not reach workers on this machine.
        with build_opener(ProxyHandler({})).open(url, timeout=_ANSWER_TIMEOUT_S) as answer:
            body: bytes = answer.read()
    except (OSError, HTTPException, ValueError):
        return None
    return body

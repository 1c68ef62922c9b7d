"""The settings of a sink worker, and its progress."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from schemas.errors import SettingsError
from streams.kafka.cluster import Cluster
from streams.kafka.settings import FETCH_WAIT_MS, SESSION_TIMEOUT_MS
from streams.warehouse.shapes import ROLES

if TYPE_CHECKING:
    from streams.warehouse.client import Warehouse

BATCH_ROWS: Final = 50_000
# As many bytes as 50,000 outcomes have. With half of that outcomes went at 112,000 to 137,000 rows/s, not 148,000 to
# 160,000; totals as fast.
BATCH_BYTES: Final = 16 << 20
# An insert of 50,000 rows takes 0.1 s. After half a minute ClickHouse is lost, and the insert is sent again.
ANSWER_S: Final = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkSettings:
    """Where from, where to, and how much at once. Raises SettingsError for values that cannot work.

    `run` is written into each row: '' for live work. With `migrate` the sink creates what is missing in the database;
    without it, it stops at a database that lacks something. With `accept_loss` it goes on where Kafka no longer has the
    records that come next.

    A batch is full at `batch_rows` records or `batch_bytes` of values, whichever comes first. A record is one row,
    except in totals: there it is up to 1,000 rows in about 30 KB, of which a byte counts for three, and the bytes
    decide, at about 170,000 rows.

    An insert without an answer for `answer_s` is sent again. When a sink stops, it waits `drain_s` for ClickHouse to
    take what was read.
    """

    cluster: Cluster
    warehouse: Warehouse
    group: str
    run: str = ""
    roles: Sequence[str] = ROLES
    batch_rows: int = BATCH_ROWS
    batch_bytes: int = BATCH_BYTES
    batch_s: float = 1.0
    # Some batches of either kind: one is inserted while the next ones get ready. With what decoding and fetching take,
    # a process that works at its bounds has 370 MB of totals, 420 MB of outcomes.
    most_rows_held: int = 200_000
    most_bytes_held: int = 48 << 20
    answer_s: int = ANSWER_S
    drain_s: float = 10.0
    # After this long without a sign of it, the group gives a worker's partitions to others.
    session_timeout_ms: int = SESSION_TIMEOUT_MS
    # How long Kafka waits for more records before it answers. A quiet partition's end is known only after it.
    fetch_wait_ms: int = FETCH_WAIT_MS
    migrate: bool = True
    accept_loss: bool = False

    def __post_init__(self) -> None:
        unknown = sorted(set(self.roles) - set(ROLES))
        if unknown or not self.roles:
            raise SettingsError(f"roles {list(self.roles)}: give some of {', '.join(ROLES)}")
        if self.batch_rows < 1 or self.most_rows_held < self.batch_rows:
            raise SettingsError(
                f"batch of {self.batch_rows} rows with at most {self.most_rows_held} held: give at least 1 row a "
                "batch, and room for one batch"
            )
        if self.batch_bytes < 1 or self.most_bytes_held < self.batch_bytes:
            raise SettingsError(
                f"batch of {self.batch_bytes} bytes with at most {self.most_bytes_held} held: give at least 1 byte a "
                "batch, and room for one batch"
            )
        if self.answer_s < 1:
            raise SettingsError(f"answer within {self.answer_s} s: give at least 1, and more than an insert takes")
        if self.batch_s <= 0 or self.drain_s <= 0:
            raise SettingsError(f"batch of {self.batch_s} s, drain of {self.drain_s} s: both must be more than 0")

    def topics(self) -> dict[str, str]:
        """Role by name of topic."""
        return {self.cluster.topic(role): role for role in self.roles}


@dataclass(slots=True)
class Progress:
    """Plain numbers for metrics, health and tests; written by the worker, read from any thread."""

    # Acknowledged rows by table; a row sent again counts again.
    rows_written: dict[str, int] = field(default_factory=dict)
    # Dead letters by reason.
    rejected: dict[str, int] = field(default_factory=dict)
    inserts: int = 0
    # New tries after faults of Kafka, and partitions lost to another member.
    recoveries: int = 0
    # Seconds spent reading Kafka, decoding and inserting: wall time, and CPU time of the thread that does it. The
    # difference in insertion is waiting for ClickHouse.
    stage_s: dict[str, float] = field(default_factory=dict)
    stage_cpu_s: dict[str, float] = field(default_factory=dict)
    # Failed inserts that were tried again, by the failure's name; why the last one failed, empty when ClickHouse
    # answers; and for how long in all it did not.
    retried: dict[str, int] = field(default_factory=dict)
    waiting_for: str = ""
    waited_s: float = 0.0
    # Since when the insert under way waits for ClickHouse, by `time.monotonic`; None between inserts.
    insert_since_s: float | None = None
    # Records read and not acknowledged, the length of their values, and for how long the oldest of them is held.
    rows_held: int = 0
    bytes_held: int = 0
    held_s: float = 0.0
    paused: bool = False
    partitions: int = 0
    # Records of assigned partitions not yet acknowledged; -1 while none is assigned or the end of one is not known.
    lag: int = -1
    # Wall clock; 0 before the first commit.
    last_commit_ms: int = 0
    # Clicks of the last 24 hours that were charged although one of the same id had been; None while unknown.
    shared_clicks: int | None = None

    @property
    def retries(self) -> int:
        """Failed inserts that were tried again."""
        return sum(self.retried.values())

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Counts the time of the block. Only one thread may use a stage."""
        started_s, started_cpu_s = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            self.stage_s[name] = self.stage_s.get(name, 0.0) + time.perf_counter() - started_s
            self.stage_cpu_s[name] = self.stage_cpu_s.get(name, 0.0) + time.thread_time() - started_cpu_s

    @property
    def caught_up(self) -> bool:
        """Whether ClickHouse has acknowledged every record of the partitions assigned here, when last checked."""
        return self.lag == 0 and self.partitions > 0

"""What a sink worker is told, and what it tells."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from schemas.errors import SettingsError
from schemas.topics import TOPICS
from streams.warehouse.client import ANSWER_TIMEOUT_S
from streams.warehouse.shapes import ROLES


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkSettings:
    """Where from, where to, and how much at once. Raises SettingsError for values that can't work.

    `kafka` holds librdkafka settings of every client (security), `consumer` those of the consumer alone. `run` is
    written into each row: '' for live work. `migrate` creates what is missing in the database; without it a database
    that lacks something stops the worker. `cluster` names ClickHouse's cluster of replicas that has the tables, if any.

    A batch is full at `batch_rows` records or `batch_bytes` of values, whichever comes first. A record is a row but for
    totals, where it is up to 1,000 in about 100 KB: there the bytes decide, at about 160,000 rows.

    An insert without an answer for `answer_s` is sent again.
    """

    bootstrap: str
    clickhouse_url: str
    kafka: Mapping[str, object] = field(default_factory=dict, repr=False)
    consumer: Mapping[str, object] = field(default_factory=dict)
    clickhouse_user: str = ""
    clickhouse_password: str = field(default="", repr=False)
    database: str = "ads"
    cluster: str = ""
    answer_s: int = ANSWER_TIMEOUT_S
    topic_prefix: str = "ads."
    group_id: str = "ads.sink"
    run: str = ""
    roles: Sequence[str] = ROLES
    batch_rows: int = 50_000
    # As many as 50,000 outcomes have; with half of that they went at 112-137k rows/s, not 148-160k, totals as fast.
    batch_bytes: int = 16 << 20
    batch_s: float = 1.0
    # Some batches of either kind: one being inserted, the others so that the next one is ready. With what decoding
    # and fetching take a process that works at its bounds has 370 MB of totals, 420 MB of outcomes.
    most_rows_held: int = 200_000
    most_bytes_held: int = 48 << 20
    drain_s: float = 10.0
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
        return {self.topic_prefix + TOPICS[role].role: role for role in self.roles}


@dataclass(slots=True)
class Progress:
    """Plain numbers for metrics and for whoever waits; written by the worker, read by anyone."""

    # Acknowledged rows by table; a row sent again counts again.
    rows_written: dict[str, int] = field(default_factory=dict)
    # Dead letters by reason.
    rejected: dict[str, int] = field(default_factory=dict)
    inserts: int = 0
    # Seconds spent reading Kafka, decoding and inserting: as time goes by, and of the CPU in the thread that does it.
    # Insertion less its CPU is waiting for ClickHouse.
    stage_s: dict[str, float] = field(default_factory=dict)
    stage_cpu_s: dict[str, float] = field(default_factory=dict)
    # Failed inserts that were tried again, by the failure's name; why the last one failed, empty when ClickHouse
    # answers; and how long it did not, up to now.
    retried: dict[str, int] = field(default_factory=dict)
    waiting_for: str = ""
    waited_s: float = 0.0
    # Records read and not acknowledged, the length of their values, and for how long the first of them is held.
    rows_held: int = 0
    bytes_held: int = 0
    held_s: float = 0.0
    paused: bool = False
    partitions: int = 0
    # Records of assigned partitions not yet acknowledged; -1 before the ends of all of them are known.
    lag: int = -1
    # Wall clock; 0 before the first commit.
    last_commit_ms: int = 0

    @property
    def retries(self) -> int:
        """Failed inserts that were tried again."""
        return sum(self.retried.values())

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Counts the block's time; for each stage from one thread only."""
        started_s, started_cpu_s = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            self.stage_s[name] = self.stage_s.get(name, 0.0) + time.perf_counter() - started_s
            self.stage_cpu_s[name] = self.stage_cpu_s.get(name, 0.0) + time.thread_time() - started_cpu_s

    @property
    def caught_up(self) -> bool:
        """ClickHouse has acknowledged every record of the partitions assigned here, as of the last look."""
        return self.lag == 0 and self.partitions > 0

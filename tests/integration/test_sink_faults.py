"""What a network and a ClickHouse do to the sink: for each fault the views equal what was sent, nothing is set aside,
and the offsets committed are the logs' ends. `pytest -s` prints the table."""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from schemas.errors import SettingsError
from streams.embedded.broker import Broker
from streams.embedded.clickhouse import ClickHouse, Fault
from streams.sink.settings import Progress
from streams.warehouse.client import connect
from streams.warehouse.shapes import SHAPES
from tests.integration.sink_fixture import (
    Setting,
    click,
    impressions,
    raw_rows,
    strikes_left,
    total,
)
from tests.waiting import eventually

pytestmark = [pytest.mark.broker, pytest.mark.clickhouse]

KEYS = 1_000
ROLES = ("totals", "outcomes")
INSERT = "INSERT INTO"


class Ordeal:
    """A sink, what it is sent, and the ClickHouse that goes wrong."""

    def __init__(self, setting: Setting, server: ClickHouse, database: Client) -> None:
        self.setting = setting
        self.server = server
        self.database = database
        self._chance = random.Random(7)

    def send(self, *versions: int) -> None:
        """Those versions of every total in any order, some of them twice, and a click of each key and version."""
        records = [total(key, version=version) for key in range(KEYS) for version in versions]
        resent = records + self._chance.sample(records, KEYS // 4)
        self._chance.shuffle(resent)
        self.setting.send("totals", resent)
        clicks = [click(KEYS * version + key) for key in range(KEYS) for version in versions]
        self.setting.send("outcomes", clicks + clicks[:100])

    def command(self, sql: str) -> None:
        """Runs a statement in the database."""
        self.database.command(sql)

    def order(self, *faults: Fault) -> None:
        """Orders faults from the front."""
        self.server.order_faults(faults)

    def whole(self, progress: Progress) -> bool:
        """Everything sent is acknowledged and committed. Ends as Kafka tells them now: those the sink has heard of
        may be old while it does not read."""
        return progress.caught_up and all(self.setting.committed(role) == self.setting.ends(role) for role in ROLES)

    def check(self, last_version: int) -> int:
        """Fails unless the views are what was sent, and it is all committed; returns how many values were compared."""
        expected = {f"k{key}": 1000 * key + last_version for key in range(KEYS)}
        assert impressions(self.database) == expected
        numbers = range(KEYS, KEYS * (last_version + 1))
        found = self.database.query("SELECT impression_id, spend_micros FROM clicks").result_rows
        assert sorted((str(row[0]), int(row[1])) for row in found) == sorted((f"i{one}", one) for one in numbers)
        assert self.setting.ends("rejects") == [0, 0, 0]
        for role in ROLES:
            assert self.setting.committed(role) == self.setting.ends(role)
        return len(expected) + len(found)


Step = Callable[[Ordeal], None]


@dataclass(frozen=True)
class Row:
    """One fault: how it begins, what it is called in the metrics of retries, how it ends (by itself: not at all)."""

    fault: str
    does: str
    begin: Step
    retried: str = ""
    end: Step | None = None
    changes: dict[str, Any] = field(default_factory=dict)


def ordered(kind: Any, *, times: int = 3, **more: Any) -> Step:
    """A fault of the front that strikes inserts so many times."""
    return lambda ordeal: ordeal.order(Fault(kind, match=INSERT, times=times, **more))


def code(number: int, text: str) -> Step:
    """An error of ClickHouse, three times."""
    return ordered("status", status=500, code=number, body=f"Code: {number}. DB::Exception: … ({text})")


def altered(*sql: str) -> Step:
    """Statements run on the database."""

    def run(ordeal: Ordeal) -> None:
        for statement in sql:
            ordeal.command(statement)

    return run


AGAIN = "sends it again"
WAITS = "waits, reads no more than fits, goes on"
TOO_MANY = "parts_to_throw_insert = 2, parts_to_delay_insert = 1, max_delay_to_insert = 0"
ROWS = [
    Row("applied, the answer lost", AGAIN, ordered("applied_answer_lost", times=4), "connection"),
    Row("connection reset before the body", AGAIN, ordered("reset", times=4), "connection"),
    Row("connection reset in the middle of the body", AGAIN, ordered("reset_body", times=4), "connection"),
    Row("HTTP 500 without a ClickHouse error", AGAIN, ordered("status", status=500), "http_500"),
    Row(
        "HTTP 503, Retry-After 1 s",
        f"{AGAIN}, not sooner",
        ordered("status", times=2, status=503, retry_after=1),
        "http_503",
    ),
    Row(
        "HTTP 200 with an exception in its body",
        AGAIN,
        ordered("status", status=200, body="Code: 241. DB::Exception: … (MEMORY_LIMIT_EXCEEDED)"),
        "MEMORY_LIMIT_EXCEEDED",
    ),
    Row("HTTP 413, too large for a proxy", "sends halves", ordered("status", status=413)),
    Row(
        "answer later than the sink waits; applied all the same",
        AGAIN,
        ordered("slow", times=2, seconds=1.5),
        "timeout",
        changes={"answer_s": 1},
    ),
    Row("read-only: TABLE_IS_READ_ONLY", AGAIN, code(242, "TABLE_IS_READ_ONLY"), "TABLE_IS_READ_ONLY"),
    Row(
        "read-only: ALTER TABLE … table_readonly = 1",
        WAITS,
        altered("ALTER TABLE minute_totals MODIFY SETTING table_readonly = 1"),
        "TABLE_IS_PERMANENTLY_READ_ONLY",
        altered("ALTER TABLE minute_totals MODIFY SETTING table_readonly = 0"),
    ),
    Row(
        "too many parts, merges stopped",
        WAITS,
        altered(
            "SYSTEM STOP MERGES minute_totals",
            f"ALTER TABLE minute_totals MODIFY SETTING {TOO_MANY}",
        ),
        "TOO_MANY_PARTS",
        altered(
            "SYSTEM START MERGES minute_totals",
            "OPTIMIZE TABLE minute_totals FINAL",
            "ALTER TABLE minute_totals RESET SETTING parts_to_throw_insert, parts_to_delay_insert, max_delay_to_insert",
        ),
    ),
    Row(
        "disk full",
        WAITS,
        altered("ALTER TABLE minute_totals MODIFY SETTING min_free_disk_bytes_to_perform_insert = 1000000000000000"),
        "NOT_ENOUGH_SPACE",
        altered("ALTER TABLE minute_totals RESET SETTING min_free_disk_bytes_to_perform_insert"),
    ),
    Row("memory limit", AGAIN, code(241, "MEMORY_LIMIT_EXCEEDED"), "MEMORY_LIMIT_EXCEEDED"),
    Row("insert of unknown status", AGAIN, code(319, "UNKNOWN_STATUS_OF_INSERT"), "UNKNOWN_STATUS_OF_INSERT"),
    Row(
        "column added by someone else",
        "nothing: it has a default",
        altered("ALTER TABLE minute_totals ADD COLUMN note String DEFAULT 'none' AFTER run"),
    ),
]


@dataclass
class Results:
    """Lines of the table, printed at the end."""

    lines: list[str] = field(default_factory=list)

    def add(self, fault: str, does: str, whole_s: float, values: int) -> None:
        self.lines.append(f"| {fault} | {does} | {whole_s:.1f} | {values:,}, 0 differ |")


@pytest.fixture(scope="module")
def results() -> Iterator[Results]:
    """Where each row puts its line."""
    found = Results()
    yield found
    print("\n| fault | what the sink does | s to whole again | values compared |\n| --- | --- | --- | --- |")
    print("\n".join(found.lines))


@pytest.fixture
def ordeal(broker: Broker, clickhouse: ClickHouse, database: Client, topic_prefix: str) -> Ordeal:
    """Topics of this test's own, and its empty database."""
    return Ordeal(Setting(broker, clickhouse, str(database.database), topic_prefix), clickhouse, database)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.fault)
def test_a_fault_that_passes_loses_and_doubles_nothing(ordeal: Ordeal, results: Results, row: Row) -> None:
    setting = ordeal.setting
    with setting.sink(**row.changes) as progress:
        ordeal.send(1)
        eventually(lambda: ordeal.whole(progress), about=progress)
        committed = setting.committed("totals")
        row.begin(ordeal)
        if row.end is not None:
            # Of the table it strikes, as soon as anything is inserted.
            setting.send("totals", [total(key, version=2) for key in range(900)])
            eventually(lambda: progress.retries > 1, about=progress)
        ordeal.send(2, 3)
        if row.end is not None:
            assert progress.waiting_for
            assert setting.committed("totals") == committed, "committed what ClickHouse did not take"
            row.end(ordeal)
        else:
            eventually(lambda: strikes_left(ordeal.server), equals=0)
        began_s = time.monotonic()
        eventually(lambda: ordeal.whole(progress), about=progress)
        whole_s = time.monotonic() - began_s
    assert ({row.retried} if row.retried else set()) == set(progress.retried)
    assert (progress.waited_s > 0) == bool(row.retried)
    assert (progress.rejected, progress.waiting_for) == ({}, "")
    results.add(row.fault, row.does, whole_s, ordeal.check(3))


def test_an_insert_whose_answer_is_lost_is_stored_once(ordeal: Ordeal) -> None:
    setting = ordeal.setting
    with setting.sink() as progress:
        setting.send("outcomes", [click(0)])
        eventually(lambda: ordeal.whole(progress), about=progress)
        ordeal.command("SYSTEM STOP MERGES outcome_rows")
        ordeal.order(Fault("applied_answer_lost", match=INSERT, times=3))
        setting.send("outcomes", [click(number) for number in range(1, 1_000)])
        eventually(lambda: ordeal.whole(progress), about=progress)
    assert progress.retries > 0
    assert raw_rows(ordeal.database, "outcome_rows") == 1_000


def test_every_table_of_the_sink_remembers_tokens(ads: Client) -> None:
    remembering = ads.query(
        "SELECT name FROM system.tables WHERE database = currentDatabase() "
        "AND engine_full LIKE '%non_replicated_deduplication_window = 1000%'"
    ).result_rows
    assert {row[0] for row in remembering} >= {shape.table for shape in SHAPES.values()}


@pytest.mark.parametrize(
    ("change", "mend", "said"),
    [
        ("DROP COLUMN clicks", "ADD COLUMN clicks Int64", "has lost its column clicks: ALTER TABLE"),
        ("MODIFY COLUMN impressions Int8", "MODIFY COLUMN impressions Int64", "column impressions of table"),
    ],
    ids=["a column removed", "a column of a smaller type"],
)
def test_a_table_that_changed_stops_the_sink_and_once_mended_nothing_is_lost(
    ordeal: Ordeal, results: Results, change: str, mend: str, said: str, request: pytest.FixtureRequest
) -> None:
    setting = ordeal.setting
    with setting.sink() as progress:
        ordeal.send(1)
        eventually(lambda: ordeal.whole(progress), about=progress)
    committed = setting.committed("totals")
    # What is there already would not fit into the smaller type.
    ordeal.command("TRUNCATE TABLE minute_totals")
    ordeal.command(f"ALTER TABLE minute_totals {change}")
    ordeal.send(2, 3)
    with pytest.raises(SettingsError, match=said) as stopped, setting.sink() as progress:
        eventually(lambda: progress.partitions == -1, about=progress)
    assert f"{setting.settings.warehouse.database}.minute_totals" in str(stopped.value)
    assert mend in str(stopped.value)
    assert setting.committed("totals") == committed
    ordeal.command(f"ALTER TABLE minute_totals {mend}")
    began_s = time.monotonic()
    with setting.sink() as progress:
        eventually(lambda: ordeal.whole(progress), about=progress)
        whole_s = time.monotonic() - began_s
    does = "stops, naming column and remedy; started again, goes on"
    results.add(request.node.callspec.id, does, whole_s, ordeal.check(3))


@pytest.fixture
def own_ordeal(broker: Broker, topic_prefix: str, tmp_path: Path) -> Iterator[Ordeal]:
    """A ClickHouse of the test's own, to be killed."""
    with ClickHouse(tmp_path / "clickhouse", allow_faults=True) as server:
        client = connect(server.url)
        client.database = "ads"
        yield Ordeal(Setting(broker, server, "ads", topic_prefix), server, client)
        client.close()


def test_clickhouse_killed_in_the_middle_of_an_insert(own_ordeal: Ordeal, results: Results) -> None:
    ordeal, setting = own_ordeal, own_ordeal.setting
    with setting.sink() as progress:
        ordeal.send(1)
        eventually(lambda: ordeal.whole(progress), about=progress)
        # One insert runs through, the next one is held when the process dies.
        ordeal.order(Fault("slow", match=INSERT, after=1, seconds=30.0))
        ordeal.send(2, 3)
        eventually(lambda: strikes_left(ordeal.server), equals=0)
        ordeal.server.kill()
        eventually(lambda: progress.retries > 0, about=progress)
        ordeal.server.start()
        began_s = time.monotonic()
        eventually(lambda: ordeal.whole(progress), about=progress)
        whole_s = time.monotonic() - began_s
    assert progress.waited_s > 0
    results.add("ClickHouse killed in the middle of an insert, restarted", AGAIN, whole_s, ordeal.check(3))


def test_a_sink_that_is_full_while_clickhouse_takes_rows_does_not_throw_away_what_it_fetched(
    own_ordeal: Ordeal,
) -> None:
    ordeal, setting = own_ordeal, own_ordeal.setting
    seen: list[tuple[int, bool]] = []

    def whole() -> bool:
        seen.append((progress.rows_held, progress.paused))
        return ordeal.whole(progress)

    with setting.sink() as progress:
        ordeal.send(1)
        eventually(lambda: ordeal.whole(progress), about=progress)
        ordeal.order(Fault("slow", match=INSERT, times=10, seconds=0.1))
        ordeal.send(*range(2, 6))
        eventually(whole, about=progress)
    # Told when there is room again.
    assert max(rows for rows, _ in seen) > setting.settings.most_rows_held / 2
    assert not any(paused for _, paused in seen)
    ordeal.check(5)


def test_while_clickhouse_is_down_reading_pauses_within_bounds_and_then_nothing_is_missing(
    own_ordeal: Ordeal, results: Results, caplog: pytest.LogCaptureFixture
) -> None:
    ordeal, setting = own_ordeal, own_ordeal.setting
    # Records are read in bites, and one bite may be on top of what may be held.
    bound = setting.settings.most_rows_held + 2_000
    with setting.sink() as progress:
        ordeal.send(1)
        eventually(lambda: ordeal.whole(progress), about=progress)
        ordeal.server.kill()
        held: list[int] = []

        def whole() -> bool:
            held.append(progress.rows_held)
            return ordeal.whole(progress) and not progress.paused

        for version in range(2, 9):
            ordeal.send(version)
            held.append(progress.rows_held)
        eventually(lambda: progress.paused and progress.retries > 2, about=progress)
        assert "refused" in progress.waiting_for
        eventually(lambda: progress.held_s > 0 and progress.bytes_held > 0 and progress.waited_s > 0, about=progress)
        assert set(progress.retried) == {"connection"}
        waited_s, partitions = progress.waited_s, progress.partitions
        eventually(lambda: progress.waited_s, lambda seen_s: seen_s > waited_s)
        held.append(progress.rows_held)
        ordeal.server.start()
        began_s = time.monotonic()
        eventually(whole, about=progress)
        whole_s = time.monotonic() - began_s
        assert (progress.partitions, progress.waiting_for) == (partitions, "")
        eventually(lambda: (progress.rows_held, progress.bytes_held, progress.held_s), equals=(0, 0, 0))
    assert max(held) <= bound
    assert min(held) == 0
    results.add("ClickHouse down while Kafka fills", WAITS, whole_s, ordeal.check(8))
    # Libraries say nothing of their own about the connections that broke.
    assert caplog.messages == []

"""What an insert carries: a token for its tries alone, strict types, one block, a quorum where there are replicas."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from clickhouse_connect.driver.httpclient import HttpClient
from hypothesis import given
from hypothesis import strategies as st
from urllib3.connection import HTTPConnection
from urllib3.exceptions import NewConnectionError

from schemas.errors import SettingsError, Transient
from streams.embedded.clickhouse import ClickHouse, Fault
from streams.warehouse import writer as writer_module
from streams.warehouse.client import connect
from streams.warehouse.rows import Rows, rows_of
from streams.warehouse.writer import Writer, insert_settings

TABLE = """
CREATE TABLE numbers
(
    n Int64,
    k Int64,
    m Nullable(Float64),
    at DateTime('UTC'),
    inserted_at DateTime64(9) DEFAULT now64(9)
)
ENGINE = ReplacingMergeTree ORDER BY n PARTITION BY toYYYYMM(at)
SETTINGS non_replicated_deduplication_window = 100
"""
MONTH_S = 32 * 86_400
# None of these tests makes more; a fault that does not pass must not be waited out.
MOST_FAILURES = 5


def numbers(count: int, *, step_s: int = 0) -> Rows:
    """Rows for the table above, 0 to `count`, each `step_s` after the one before."""
    moments = [number * step_s for number in range(count)]
    columns: list[Sequence[Any]] = [list(range(count)), list(range(count)), [None] * count, moments]
    types = ("Int64", "Int64", "Nullable(Float64)", "DateTime('UTC')")
    return Rows("numbers", ("n", "k", "m", "at"), types, columns, range(count))


class Recorded:
    """A writer whose requests are kept: the settings of each insert that was sent."""

    def __init__(self, server: ClickHouse, database: Client, **more: Any) -> None:
        self.sent: list[dict[str, str]] = []
        self.failures: list[ClickHouseError] = []
        self._server = server
        self._database = str(database.database)
        self._give_up = threading.Event()
        self.writer = Writer(self._open, give_up=self._give_up, on_wait=self._wait, **more)

    def _wait(self, failure: ClickHouseError) -> None:
        self.failures.append(failure)
        if len(self.failures) == MOST_FAILURES:
            self._give_up.set()

    def _open(self) -> Client:
        client = connect(self._server.url, database=self._database)
        assert isinstance(client, HttpClient)
        urlopen = client.http.urlopen

        def kept(method: str, url: str, *rest: Any, **more: Any) -> Any:
            self.sent.append({name: values[0] for name, values in parse_qs(urlsplit(url).query).items()})
            return urlopen(method, url, *rest, **more)

        client.http.urlopen = kept  # type: ignore[method-assign]  # the last place before the network
        self.client = client
        return client


@contextmanager
def recorded(server: ClickHouse, database: Client, **more: Any) -> Iterator[Recorded]:
    """A recording writer, closed afterwards."""
    made = Recorded(server, database, **more)
    yield made
    made.writer.close()


def stored(database: Client) -> int:
    """Rows in the table as they lie there, copies counted."""
    return int(database.query("SELECT count() FROM numbers").result_rows[0][0])


@given(
    st.lists(st.one_of(st.none(), st.binary(max_size=3)), max_size=4),
    st.lists(st.one_of(st.none(), st.binary(max_size=3)), max_size=4),
    st.sampled_from(["", "r", "s"]),
    st.sampled_from(["", "r", "s"]),
)
def test_equal_digests_are_equal_records_of_equal_runs(
    ours: list[bytes | None], theirs: list[bytes | None], our_run: str, their_run: str
) -> None:
    first, second = (rows_of("rejects", values, run=run)[0] for values, run in ((ours, our_run), (theirs, their_run)))
    assert (first.digest == second.digest) == ((ours, our_run) == (theirs, their_run))
    assert first.digest != rows_of("ledger", ours, run=our_run)[0].digest


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))
def test_equal_contents_of_slices_are_equal_rows(start: int, stop: int, again: int, end: int) -> None:
    whole = numbers(10)
    one, other = whole.slice(start, 10).slice(0, stop), whole.slice(again, end)
    if len(one) and len(other):
        assert (one.content == other.content) == (list(one.columns[0]) == list(other.columns[0]))


@pytest.mark.clickhouse
@pytest.mark.parametrize("window", [100, 0])
def test_an_insert_whose_answer_is_lost_is_stored_once_where_tokens_are_kept_and_right_where_not(
    clickhouse: ClickHouse, database: Client, window: int
) -> None:
    database.command(TABLE)
    database.command(f"ALTER TABLE numbers MODIFY SETTING non_replicated_deduplication_window = {window}")
    with recorded(clickhouse, database) as made:
        made.writer.write(numbers(1))
        clickhouse.order_faults([Fault("applied_answer_lost", match="INSERT INTO", times=3)])
        made.writer.write(numbers(1_000, step_s=3_600))
    assert made.failures
    assert stored(database) == 1_001 if window else stored(database) > 2_001
    assert database.query("SELECT count(), sum(n) FROM numbers FINAL").result_rows == [(1_000, sum(range(1_000)))]


@pytest.mark.clickhouse
def test_rows_deleted_by_hand_and_written_again_are_there_again(clickhouse: ClickHouse, database: Client) -> None:
    # With a token of the content alone they would be taken for a copy, and lost.
    database.command(TABLE)
    rows = numbers(10)
    with recorded(clickhouse, database) as made:
        made.writer.write(rows)
        database.command("DELETE FROM numbers WHERE true")
        assert stored(database) == 0
        made.writer.write(rows)
    assert stored(database) == 10


@pytest.mark.clickhouse
def test_halves_of_refused_rows_have_tokens_of_their_own(clickhouse: ClickHouse, database: Client) -> None:
    database.command(TABLE)
    with recorded(clickhouse, database) as made:
        made.writer.write(numbers(1))
        # Too large for a proxy: halves are sent until they pass, and nothing is a dead letter.
        clickhouse.order_faults([Fault("status", match="INSERT INTO", times=2, status=413)])
        assert made.writer.write(numbers(1_000)) == []
    tokens = [request["insert_deduplication_token"] for request in made.sent if "insert_deduplication_token" in request]
    assert len(set(tokens)) == len(tokens) == 1 + 5
    assert database.query("SELECT count() FROM numbers FINAL").result_rows == [(1_000,)]


@pytest.mark.clickhouse
def test_an_insert_is_one_part_a_month_however_many_months(clickhouse: ClickHouse, database: Client) -> None:
    database.command(TABLE)
    database.command("SYSTEM STOP MERGES numbers")
    # More rows than ClickHouse puts into a block by default, then more months than it takes.
    with recorded(clickhouse, database) as made:
        made.writer.write(numbers(1_100_000))
        parts = "SELECT count() FROM system.parts WHERE database = currentDatabase() AND table = 'numbers'"
        assert database.query(parts).result_rows == [(1,)]
        made.writer.write(numbers(150, step_s=MONTH_S))
    assert made.failures == []
    assert stored(database) == 1_100_150


@pytest.mark.clickhouse
@pytest.mark.parametrize("clustered", [False, True])
def test_a_quorum_is_asked_of_replicas_alone(clickhouse: ClickHouse, database: Client, clustered: bool) -> None:
    database.command(TABLE)
    with recorded(clickhouse, database, settings=insert_settings(clustered=clustered, answer_s=10)) as made:
        made.writer.write(numbers(10))
    (request,) = [request for request in made.sent if "insert_deduplication_token" in request]
    assert request["async_insert"] == "0"
    asked = {name: value for name, value in request.items() if name.startswith("insert_quorum")}
    quorum = {"insert_quorum": "auto", "insert_quorum_parallel": "1", "insert_quorum_timeout": "8000"}
    assert asked == (quorum if clustered else {})


@pytest.mark.clickhouse
@pytest.mark.parametrize("code", [319, 286, 285])
def test_an_insert_of_unknown_status_is_sent_again_under_its_token(
    clickhouse: ClickHouse, database: Client, code: int
) -> None:
    database.command(TABLE)
    with recorded(clickhouse, database, settings=insert_settings(clustered=True)) as made:
        clickhouse.order_faults([Fault("status", match="INSERT INTO", times=2, status=500, code=code, body="?")])
        made.writer.write(numbers(10))
    tokens = [request["insert_deduplication_token"] for request in made.sent if "insert_deduplication_token" in request]
    assert (len(tokens), len(set(tokens))) == (3, 1)
    assert stored(database) == 10


@pytest.mark.clickhouse
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("DROP COLUMN m", r"has lost its column m: ALTER TABLE test_\d+.numbers ADD COLUMN m Nullable\(Float64\)"),
        ("MODIFY COLUMN m String DEFAULT ''", r"column m of table test_\d+.numbers is String and not Nullable"),
        ("MODIFY COLUMN k Int8", r"column k of table test_\d+.numbers is Int8 and not Int64"),
        ("MODIFY COLUMN m Float64 DEFAULT 0", r"MODIFY COLUMN m Nullable\(Float64\)"),
    ],
)
def test_a_column_that_is_gone_or_of_another_type_stops_with_the_statement_that_mends_it(
    clickhouse: ClickHouse, database: Client, change: str, said: str
) -> None:
    database.command(TABLE)
    with recorded(clickhouse, database) as made:
        made.writer.write(numbers(1))
        database.command(f"ALTER TABLE numbers {change}")
        with pytest.raises(SettingsError, match=said):
            made.writer.write(numbers(10))
    assert stored(database) == 1


@pytest.mark.clickhouse
@pytest.mark.parametrize(
    "change",
    ["ADD COLUMN more String", "ADD COLUMN more Int64 DEFAULT n + 1", "MODIFY COLUMN at DateTime('Asia/Tokyo')"],
)
def test_a_column_more_or_another_encoding_is_none_of_our_business(
    clickhouse: ClickHouse, database: Client, change: str
) -> None:
    database.command(TABLE)
    database.command(f"ALTER TABLE numbers {change}")
    with recorded(clickhouse, database) as made:
        assert made.writer.write(numbers(10)) == []
    assert stored(database) == 10


@pytest.mark.clickhouse
@pytest.mark.parametrize(("asked_s", "waited_s"), [(1.0, 1.0), (3_600.0, 1.5), (None, 0.0)])
def test_retry_after_is_waited_out_but_not_for_ever(
    clickhouse: ClickHouse, database: Client, monkeypatch: pytest.MonkeyPatch, asked_s: float | None, waited_s: float
) -> None:
    monkeypatch.setattr(writer_module, "LONGEST_ASKED_S", 1.5)
    waits: list[float] = []
    measured = writer_module._wait_s

    def kept(state: Any) -> float:
        waits.append(measured(state))
        return 0.0

    monkeypatch.setattr(writer_module, "_wait_s", kept)
    database.command(TABLE)
    with recorded(clickhouse, database) as made:
        made.writer.write(numbers(1))
        retry = Fault("status", match="INSERT INTO", times=3, status=503, retry_after=asked_s, body="busy")
        clickhouse.order_faults([retry])
        made.writer.write(numbers(10))
    assert len(waits) == 3, "clickhouse-connect tries again by itself, uncounted"
    assert all(waited_s <= wait <= 1.5 for wait in waits)


@pytest.mark.clickhouse
def test_a_connection_that_breaks_is_tried_twice_by_the_library_and_then_by_us(
    clickhouse: ClickHouse, database: Client
) -> None:
    database.command(TABLE)
    with recorded(clickhouse, database) as made:
        made.writer.write(numbers(1))
        made.sent.clear()
        clickhouse.order_faults([Fault("reset", match="INSERT INTO", times=3)])
        made.writer.write(numbers(10))
    # Two tries of ours: both of the first one's requests fail, and one of the second's.
    assert (len(made.sent), len(made.failures)) == (4, 1)


@pytest.mark.clickhouse
def test_a_server_that_refuses_connections_is_asked_once_a_try(
    clickhouse: ClickHouse, database: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.command(TABLE)
    asked: list[str] = []

    def refused(connection: HTTPConnection) -> None:
        asked.append(connection.host)
        raise NewConnectionError(connection, "refused")

    with recorded(clickhouse, database) as made:
        made.writer.write(numbers(1))
        made.client.close_connections()
        monkeypatch.setattr(HTTPConnection, "connect", refused)
        with pytest.raises(Transient):
            made.writer.write(numbers(10))
    assert len(asked) == len(made.failures) + 1 == MOST_FAILURES + 1

"""The writer waits out what passes, finds the rows a table will not take, and stops for what someone must fix."""

import threading
from collections.abc import Sequence
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from schemas.errors import SettingsError, Transient
from schemas.rejects import Reason
from streams.embedded.clickhouse import ClickHouse, Fault
from streams.warehouse import writer as writer_module
from streams.warehouse.client import connect
from streams.warehouse.rows import Rows
from streams.warehouse.writer import Writer

# Negative numbers are what the server refuses.
TABLE = """
CREATE TABLE numbers (n Int64, CONSTRAINT natural CHECK n >= 0)
ENGINE = ReplacingMergeTree ORDER BY n SETTINGS non_replicated_deduplication_window = 100
"""


def numbers(values: Sequence[object]) -> Rows:
    """Rows for the table above; sources count from 100."""
    return Rows("numbers", ("n",), ("Int64",), [values], range(100, 100 + len(values)))


def kept(database: Client) -> list[int]:
    """Distinct numbers in the table."""
    return [row[0] for row in database.query("SELECT n FROM numbers FINAL ORDER BY n").result_rows]


def writer_on(server: ClickHouse, database: Client, **more: object) -> Writer:
    """A writer of the test's database."""
    return Writer(lambda: connect(server.url, database=str(database.database)), give_up=threading.Event(), **more)  # type: ignore[arg-type]  # callbacks


def test_an_address_of_another_kind_is_refused_with_an_example() -> None:
    with pytest.raises(SettingsError, match="http://localhost:8123"):
        connect("clickhouse://secret@somewhere")


@pytest.mark.clickhouse
@pytest.mark.parametrize(
    "fault",
    [
        Fault("applied_answer_lost", match="INSERT INTO", times=3),
        Fault("reset", match="INSERT INTO", times=3),
        Fault("status", match="INSERT INTO", times=2, status=500, code=252, body="Code: 252. (TOO_MANY_PARTS)"),
        Fault("status", match="INSERT INTO", times=4, status=503),
    ],
    ids=["answer lost", "reset", "too many parts", "unavailable"],
)
def test_a_passing_fault_neither_loses_nor_doubles_rows(clickhouse: ClickHouse, database: Client, fault: Fault) -> None:
    database.command(TABLE)
    waits: list[ClickHouseError] = []
    writer = writer_on(clickhouse, database, on_wait=waits.append)
    writer.write(numbers([0]))
    clickhouse.order_faults([fault])
    assert writer.write(numbers(list(range(500)))) == []
    writer.close()
    assert waits
    assert kept(database) == list(range(500))


@pytest.mark.clickhouse
def test_rows_the_table_refuses_are_found_and_the_others_kept(clickhouse: ClickHouse, database: Client) -> None:
    database.command(TABLE)
    values = list(range(300))
    values[0] = values[77] = values[299] = -5
    writer = writer_on(clickhouse, database)
    refused = writer.write(numbers(values))
    writer.close()
    assert [one.index for one in refused] == [100, 177, 399]
    assert {one.reason for one in refused} == {Reason.UNWRITABLE}
    assert "natural" in refused[0].detail
    assert kept(database) == [value for value in values if value >= 0]


@pytest.mark.clickhouse
def test_rows_of_one_record_are_refused_as_one_and_its_others_kept(clickhouse: ClickHouse, database: Client) -> None:
    database.command(TABLE)
    values = list(range(300))
    values[120] = values[130] = -5
    rows = Rows("numbers", ("n",), ("Int64",), [values], [number // 100 for number in range(300)])
    writer = writer_on(clickhouse, database)
    refused = writer.write(rows)
    writer.close()
    assert [(one.index, one.rows) for one in refused] == [(1, 2)]
    assert kept(database) == [value for value in values if value >= 0]


@pytest.mark.clickhouse
def test_a_record_bad_as_a_whole_takes_few_inserts_and_spares_its_neighbours(
    clickhouse: ClickHouse, database: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.command(TABLE)
    values = [number if number // 1000 != 1 else -number for number in range(3_000)]
    inserts: list[str] = []
    client = connect(clickhouse.url, database=str(database.database))
    once = client.insert

    def counted(table: str, *rest: Any, **more: Any) -> object:
        inserts.append(table)
        return once(table, *rest, **more)

    monkeypatch.setattr(client, "insert", counted)
    writer = Writer(lambda: client, give_up=threading.Event())
    refused = writer.write(Rows("numbers", ("n",), ("Int64",), [values], [n // 1000 for n in range(3_000)]))
    writer.close()
    assert [(one.index, one.rows) for one in refused] == [(1, 1_000)]
    assert kept(database) == [value for value in values if value >= 0]
    assert len(inserts) < 80


@pytest.mark.clickhouse
def test_a_value_that_does_not_fit_its_column_is_found(clickhouse: ClickHouse, database: Client) -> None:
    database.command(TABLE)
    writer = writer_on(clickhouse, database)
    assert [one.index for one in writer.write(numbers([1, 2**70, 3]))] == [101]
    writer.close()
    assert kept(database) == [1, 3]


@pytest.mark.clickhouse
def test_too_many_refused_rows_are_the_tables_fault(
    clickhouse: ClickHouse, database: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "MOST_BAD_ROWS", 4)
    database.command(TABLE)
    writer = writer_on(clickhouse, database)
    with pytest.raises(SettingsError, match="the table is wrong"):
        writer.write(numbers([-5] * 20))
    writer.close()


@pytest.mark.clickhouse
def test_a_missing_table_stops_with_what_to_do(clickhouse: ClickHouse, database: Client) -> None:
    writer = writer_on(clickhouse, database)
    with pytest.raises(SettingsError, match="clickfold init"):
        writer.write(numbers([1]))
    writer.close()


@pytest.mark.clickhouse
def test_an_unknown_error_is_tried_again_but_not_for_ever(
    clickhouse: ClickHouse, database: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "UNKNOWN_ATTEMPTS", 3)
    database.command(TABLE)
    waits: list[ClickHouseError] = []
    writer = writer_on(clickhouse, database, on_wait=waits.append)
    clickhouse.order_faults([Fault("status", match="INSERT INTO", times=9, status=500, code=12_345, body="?")])
    with pytest.raises(Transient, match="not acknowledged"):
        writer.write(numbers([1]))
    writer.close()
    assert len(waits) == 2


def test_giving_up_ends_the_wait_for_a_server_that_is_away() -> None:
    give_up = threading.Event()
    # Nothing listens on port 1 of the loopback interface.
    writer = Writer(lambda: connect("http://127.0.0.1:1"), give_up=give_up, on_wait=lambda _: give_up.set())
    with pytest.raises(Transient, match="not acknowledged"):
        writer.write(numbers([1]))


def test_no_rows_need_no_server() -> None:
    assert Writer(lambda: connect("http://127.0.0.1:1"), give_up=threading.Event()).write(numbers([])) == []

"""Numbers and names of ClickHouse's errors are those of the engine."""

import pytest
from clickhouse_connect.driver.client import Client

from streams.warehouse.failures import PASSING, ROWS, SETUP


@pytest.mark.clickhouse
def test_every_number_has_the_name_the_engine_gives_it(database: Client) -> None:
    known = PASSING | ROWS | SETUP
    assert len(known) == len(PASSING) + len(ROWS) + len(SETUP), "a number is in two tables"
    numbers = ", ".join(map(str, known))
    named = database.query(f"SELECT number, errorCodeToName(number) FROM values('number UInt32', {numbers})")
    assert {row[0]: row[1] for row in named.result_rows} == known

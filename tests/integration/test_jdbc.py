"""ClickHouse's JDBC driver, as DBeaver and every Java program use it, against the embedded ClickHouse."""

import subprocess

import pytest
from clickhouse_connect.driver.client import Client

from streams.embedded.clickhouse import ClickHouse
from tests.clients import jdbc

pytestmark = pytest.mark.clickhouse

ANSWERS = {
    "is valid": "true",
    "select": "1 rows [1,a,null,[1, 2],{k=1},1970-01-01 00:00:00]",
    "schemas": "1 rows [golden]",
    "views": "1 rows [,golden,minutes,VIEW]",
    "columns": "1 rows [,golden,minutes,campaign_id,12,LowCardinality(String)]",
    "primary keys": "4 rows [null,golden,minute_totals,advertiser_id, null,golden,minute_totals,campaign_id, null,",
    "types": "true",
    "functions": "true",
    "DBeaver's tables": "1 rows [minutes,View,null,Totals so far of one minute",
    "view": "3 rows [50%'s,20, k1,40, k2,30]",
    "prepared": "1 rows [a'b,3]",
    "create": "false",
    "insert": "1",
    "batch": "1000",
    "read back": "1 rows [1001,509501,500]",
    "many rows": "300000 rows [0,0, 1,1, 2,2]",
    "unknown column": "refused 47 Code: 47. DB::Exception: Unknown expression identifier `nope`.",
    "unknown column of an insert": "refused 16 Code: 16. DB::Exception: No such column nope in table default.jdbc_",
    "unknown setting": "refused 115 Code: 115. DB::Exception: ",
    "a file": "refused 497 Code: 497. DB::Exception: file reaches files, programs or hosts outside of the embedded",
    "max rows": "5 rows [0, 1, 2]",
    # The driver's own words, after error 159 of the server.
    "time is over": "refused 0 Query execution time exceeded limit",
    "drop": "false",
}


# The driver asks for compressed answers by default; with `decompress` it compresses what it sends, too.
@pytest.mark.parametrize("properties", ["", "compress=0", "decompress=1"])
def test_jdbc_driver_is_answered_as_by_a_server(clickhouse: ClickHouse, golden: Client, properties: str) -> None:
    address = f"127.0.0.1:{clickhouse.port}"
    run = [*jdbc.command(), address, "default", "", str(golden.database), properties]
    ended = subprocess.run(run, capture_output=True, text=True, timeout=240, check=False)
    answers = dict(line.split("\t", 1) for line in ended.stdout.splitlines())
    assert ended.returncode == 0, ended.stderr
    assert {name: answers[name][: len(expected)] for name, expected in ANSWERS.items()} == ANSWERS

"""clickhouse-connect, sync and async, finds in the embedded ClickHouse what it finds in a server."""

import asyncio
import gzip
import io
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import clickhouse_connect
import lz4.frame  # type: ignore[import-untyped]  # publishes no types
import pytest
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError
from clickhouse_connect.driver.external import ExternalData

from streams.embedded.clickhouse import ClickHouse, wire

pytestmark = pytest.mark.clickhouse

TABLE = (
    "CREATE TABLE things (id UInt64, name Nullable(String), ratios Array(Float64), counts Map(String, UInt8)) "
    "ENGINE = MergeTree ORDER BY id"
)
NAMES = ["id", "name", "ratios", "counts"]
THINGS: list[Sequence[Any]] = [
    (0, "it's", [0.5, 1.5], {"a": 1}),
    (1, None, [], {}),
    (2, "žluť\t\\N\n", [1e300], {"": 2}),
]
FORMATS = ["CSV", "TSV", "TabSeparated", "JSONEachRow", "Parquet", "Native", "Arrow", "ArrowStream", "RowBinary"]


def things_in(client: Client) -> list[Sequence[Any]]:
    """All rows, by id."""
    return list(client.query("SELECT * FROM things ORDER BY id").result_rows)


def with_async_client(clickhouse: ClickHouse, database: Client, **options: Any) -> Callable[[Any], Any]:
    """Runs what it is given with an async client in the test's database."""

    async def run(work: Callable[[AsyncClient], Any]) -> Any:
        async with await clickhouse_connect.get_async_client(
            dsn=clickhouse.url, database=database.database, **options
        ) as client:
            return await work(client)

    return lambda work: asyncio.run(run(work))


@pytest.mark.parametrize("column_oriented", [False, True])
def test_rows_and_columns_arrive_as_given(database: Client, column_oriented: bool) -> None:
    database.command(TABLE)
    data = list(zip(*THINGS, strict=True)) if column_oriented else THINGS
    summary = database.insert("things", data, column_names=NAMES, column_oriented=column_oriented)
    assert summary.written_rows == len(THINGS)
    assert things_in(database) == THINGS


@pytest.mark.parametrize("compress", [False, "lz4", "zstd", "gzip"])
def test_async_client_compresses_both_ways(clickhouse: ClickHouse, database: Client, compress: bool | str) -> None:
    database.command(TABLE)

    async def work(client: AsyncClient) -> list[Sequence[Any]]:
        summary = await client.insert("things", THINGS, column_names=NAMES)
        assert summary.written_rows == len(THINGS)
        return list((await client.query("SELECT * FROM things ORDER BY id")).result_rows)

    assert with_async_client(clickhouse, database, compress=compress)(work) == THINGS


@pytest.mark.parametrize("answer_format", FORMATS)
def test_raw_answers_can_be_inserted_again(database: Client, answer_format: str) -> None:
    database.command(TABLE)
    database.insert("things", THINGS, column_names=NAMES)
    raw = database.raw_query("SELECT * FROM things ORDER BY id", fmt=answer_format)
    database.command("TRUNCATE TABLE things")
    summary = database.raw_insert("things", column_names=NAMES, insert_block=raw, fmt=answer_format)
    assert summary.written_rows == len(THINGS)
    assert things_in(database) == THINGS


def test_async_client_inserts_and_reads_raw(clickhouse: ClickHouse, database: Client) -> None:
    database.command(TABLE)

    async def work(client: AsyncClient) -> bytes:
        await client.raw_insert("things", column_names=["id"], insert_block=b"7\n8\n", fmt="TSV")
        return await client.raw_query("SELECT id FROM things ORDER BY id", fmt="CSV")

    assert with_async_client(clickhouse, database)(work) == b"7\n8\n"


@pytest.mark.parametrize(
    ("compression", "compress"),
    [("gzip", gzip.compress), ("lz4", lz4.frame.compress), ("zstd", lambda body: wire.compressed(body, "zstd")[0])],
)
def test_raw_inserts_may_be_compressed_already(
    database: Client, compression: str, compress: Callable[[bytes], bytes]
) -> None:
    database.command(TABLE)
    block = compress(b"7\n8\n")
    database.raw_insert("things", column_names=["id"], insert_block=block, fmt="TSV", compression=compression)
    assert [row[0] for row in things_in(database)] == [7, 8]


def test_raw_inserts_may_be_sent_in_chunks_of_unknown_length(database: Client) -> None:
    database.command(TABLE)
    chunks = (b"%d\n" % number for number in range(1000))
    summary = database.raw_insert("things", column_names=["id"], insert_block=chunks, fmt="TSV")
    assert summary.written_rows == 1000


@pytest.mark.parametrize("compress", [False, "lz4"])
def test_answer_of_fifty_megabytes_arrives_whole(
    clickhouse: ClickHouse, database: Client, compress: bool | str
) -> None:
    count = 50_000
    sql = f"SELECT number, repeat(leftPad(toString(number), 10, '0'), 100) FROM numbers({count})"
    with (
        clickhouse_connect.get_client(dsn=clickhouse.url, compress=compress) as client,
        client.query_row_block_stream(sql) as blocks,
    ):
        rows = [(number, len(text), int(text[-10:])) for block in blocks for number, text in block]
    assert rows == [(number, 1000, number) for number in range(count)]


def test_async_client_streams_blocks(clickhouse: ClickHouse, database: Client) -> None:
    async def work(client: AsyncClient) -> int:
        seen = 0
        async with await client.query_row_block_stream("SELECT number FROM numbers(300000)") as blocks:
            async for block in blocks:
                seen += sum(row[0] for row in block)
        return seen

    assert with_async_client(clickhouse, database)(work) == sum(range(300_000))


def test_raw_stream_gives_the_bytes_of_raw_query(database: Client) -> None:
    sql = "SELECT number, toString(number) FROM numbers(100000)"
    streamed = database.raw_stream(sql, fmt="CSV")
    assert isinstance(streamed, io.IOBase)
    assert streamed.read() == database.raw_query(sql, fmt="CSV")


def test_parameters_are_bound_by_server_and_by_client(database: Client) -> None:
    bound = database.query("SELECT {n:Int8}, {names:Array(String)}", parameters={"n": -1, "names": ["a'b", "č"]})
    assert bound.result_rows == [(-1, ["a'b", "č"])]
    written = database.query("SELECT %(n)s, %(name)s", parameters={"n": -1, "name": "a'b\\č"})
    assert written.result_rows == [(-1, "a'b\\č")]


def test_form_encoded_parameters_are_bound(clickhouse: ClickHouse, database: Client) -> None:
    long = "x" * 100_000
    with clickhouse_connect.get_client(dsn=clickhouse.url, form_encode_query_params=True) as client:
        assert client.query("SELECT {text:String}", parameters={"text": long}).result_rows == [(long,)]


@pytest.mark.parametrize("session", [True, False])
def test_sessions_are_harmless_and_keep_nothing(clickhouse: ClickHouse, database: Client, session: bool) -> None:
    with clickhouse_connect.get_client(
        dsn=clickhouse.url, database=database.database, autogenerate_session_id=session
    ) as client:
        client.command(TABLE)
        client.insert("things", THINGS, column_names=NAMES, settings={"max_block_size": 1})
        assert things_in(client) == THINGS


def test_a_client_keeps_settings_and_tables_in_its_session(clickhouse: ClickHouse) -> None:
    with clickhouse_connect.get_client(dsn=clickhouse.url, session_id="mine") as client:
        client.command("SET max_block_size = 7")
        client.command("CREATE TEMPORARY TABLE kept (id UInt8)")
        client.insert("kept", [[1], [2]], column_names=["id"], column_type_names=["UInt8"])
        assert client.command("SELECT getSetting('max_block_size')") == 7
        assert client.query("SELECT id FROM kept ORDER BY id").result_rows == [(1,), (2,)]


def test_a_query_brings_external_tables(database: Client) -> None:
    data = ExternalData(file_name="ids.csv", data=b"1", fmt="CSV", structure="id UInt8")
    assert database.query("SELECT * FROM ids", external_data=data).result_rows == [(1,)]


def test_commands_pings_and_query_ids(database: Client) -> None:
    assert database.ping()
    assert database.command("SELECT 1") == 1
    assert database.command("SELECT 'a', 2") == ["a", "2"]
    answered = database.query("SELECT 1", settings={"query_id": "mine", "wait_end_of_query": 1})
    assert answered.query_id == "mine"


def test_summary_counts_what_was_read_and_written(database: Client) -> None:
    database.command(TABLE)
    inserted = database.insert("things", THINGS, column_names=NAMES)
    assert (inserted.written_rows, inserted.summary["read_rows"]) == (3, "0")
    moved = database.query("INSERT INTO things (id) SELECT number FROM numbers(5)").summary
    assert (moved["read_rows"], moved["written_rows"], moved["result_rows"]) == ("5", "5", "0")
    asked = database.query("SELECT id FROM things WHERE id = 0").summary
    assert (asked["read_rows"], asked["written_rows"], asked["result_rows"]) == ("8", "0", "2")


@pytest.mark.parametrize(
    ("sql", "code"),
    [("SELECT nope", 47), ("SELECT * FROM nope", 60), ("SELECT throwIf(1)", 395), ("SELECT 1 SETTINGS nope = 1", 115)],
)
def test_async_errors_carry_the_code(clickhouse: ClickHouse, database: Client, sql: str, code: int) -> None:
    async def work(client: AsyncClient) -> None:
        await client.query(sql)

    with pytest.raises(DatabaseError) as raised:
        with_async_client(clickhouse, database)(work)
    assert raised.value.code == code


@pytest.mark.parametrize(
    ("block", "answer_format", "code"),
    [
        (b"1\n2\nx\n", "CSV", 117),
        (b"1\tmore\n", "TSV", 27),
        (b'{"id": "x"}', "JSONEachRow", 27),
        (b"no Parquet", "Parquet", 117),
        (b"\x01\x02no Native", "Native", 33),
    ],
)
def test_wrong_data_is_refused_whole(database: Client, block: bytes, answer_format: str, code: int) -> None:
    database.command(TABLE)
    with pytest.raises(DatabaseError) as raised:
        database.raw_insert("things", column_names=["id"], insert_block=block, fmt=answer_format)
    assert raised.value.code == code
    assert things_in(database) == []


def test_a_server_that_does_not_answer_is_an_error_and_no_line_on_the_screen() -> None:
    # In a process of its own: what nobody handles goes to stderr, as in the demo.
    code = (
        "from clickhouse_connect.driver.exceptions import ClickHouseError\n"
        "from streams.warehouse.client import connect\n"
        "try: connect('http://127.0.0.1:1')\n"
        "except ClickHouseError: print('raised')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("raised\n", "")

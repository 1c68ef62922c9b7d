"""Native for clients that name a `client_protocol_version`: what is around the columns, and the columns as they are."""

import json

import pytest
from clickhouse_connect.driver.client import Client

from streams.embedded.clickhouse import ClickHouse, blocks
from tests.integration.clickhouse_fixture import address, multipart, request

pytestmark = pytest.mark.clickhouse

SELECT = b"SELECT toUInt8(7) AS a, toLowCardinality('x') AS b"
INFO = b"\x01\x00\x02\xff\xff\xff\xff"
LOW_CARDINALITY = bytes.fromhex("0100000000000000 0006000000000000 0200000000000000 00 0178 0100000000000000 01")
EXPERIMENTAL = dict.fromkeys(
    (
        *("allow_experimental_variant_type", "allow_experimental_dynamic_type", "allow_experimental_json_type"),
        *("allow_experimental_qbit_type", "allow_experimental_nullable_tuple_type", "enable_time_time64_type"),
    ),
    "1",
)


def answer(clickhouse: ClickHouse, sql: bytes, version: str, **settings: str) -> tuple[int, str | None, bytes]:
    """Status, error number and body of a query in Native."""
    asked = {"default_format": "Native", "client_protocol_version": version, **settings}
    status, headers, body = request(clickhouse, sql, path=address(asked))
    return status, headers["X-ClickHouse-Exception-Code"], body


@pytest.mark.parametrize(
    ("version", "begins", "flag"),
    [
        ("", b"", b""),
        ("0", b"", b""),
        ("54405", INFO + b"\x00", b""),
        ("54453", INFO + b"\x00", b""),
        ("54454", INFO + b"\x00", b"\x00"),
        ("54479", INFO + b"\x00", b"\x00"),
        ("54480", INFO + b"\x03\x00\x00", b"\x00"),
        ("54491", INFO + b"\x03\x00\x00", b"\x00"),
    ],
)
def test_version_decides_what_is_around_columns(
    clickhouse: ClickHouse, version: str, begins: bytes, flag: bytes
) -> None:
    """The bounds are those of ClickHouse's own source."""
    columns = b"\x01a\x05UInt8" + flag + b"\x07" + b"\x01b\x16LowCardinality(String)" + flag + LOW_CARDINALITY
    assert answer(clickhouse, SELECT, version) == (200, None, begins + b"\x02\x01" + columns)


@pytest.mark.parametrize("sql", [SELECT + b" FORMAT Native", SELECT + b" FORMAT Native SETTINGS max_threads = 1"])
def test_native_by_name_is_of_the_version_too(clickhouse: ClickHouse, sql: bytes) -> None:
    assert answer(clickhouse, sql, "54460", default_format="CSV") == answer(clickhouse, SELECT, "54460")


def test_other_formats_have_no_version(clickhouse: ClickHouse) -> None:
    assert answer(clickhouse, SELECT, "54460", default_format="CSV") == (200, None, b'7,"x"\n')


ZONES = b"SELECT toDateTime(0, 'Europe/Berlin') AS a, toDateTime(0) AS b, toNullable(toDateTime(0, 'Asia/Tokyo')) AS c"


@pytest.mark.parametrize("sql", [ZONES, ZONES + b" -- as written", ZONES + b" FORMAT Native"])
@pytest.mark.parametrize(("version", "first"), [("", b"DateTime"), ("54460", b"DateTime('Europe/Berlin')")])
def test_time_zone_of_a_column_is_told(clickhouse: ClickHouse, sql: bytes, version: str, first: bytes) -> None:
    """The engine leaves it out, as for a client of 2017: clickhouse-go showed such times in the server's zone."""
    body = answer(clickhouse, sql, version)[2]
    assert b"\x01a" + bytes([len(first)]) + first in body
    assert b"\x01b\x08DateTime" in body
    assert b"\x01c\x20Nullable(DateTime('Asia/Tokyo'))" in body


def test_statement_that_is_no_query_has_its_types_as_they_are(clickhouse: ClickHouse) -> None:
    status, _, body = answer(clickhouse, b"SHOW PROCESSLIST", "54460")
    assert (status, body[:7]) == (200, INFO)


@pytest.mark.parametrize(
    "value",
    [
        *(
            "number",
            "toInt8(number)",
            "toUInt256(number)",
            "toInt128(number)",
            "toFloat32(number)",
            "toBFloat16(number)",
        ),
        *("number % 2 = 0", "toBool(number % 2)", "toDate(number)", "toDate32(number)", "toDateTime(number)"),
        *("toDateTime64(number, 3, 'UTC')", "toTime(number)", "toTime64(number, 3)", "generateUUIDv4()"),
        *("toIPv4('1.2.3.4')", "toIPv6('::1')", "toIntervalDay(number)", "toDecimal32(number, 2)"),
        *("toDecimal64(number, 2)", "toDecimal128(number, 2)", "toDecimal256(number, 2)", "toFixedString('abc', 7)"),
        *("CAST('a', 'Enum8(\\'a\\' = 1)')", "CAST('a', 'Enum16(\\'a\\' = 1)')", "NULL", "[]", "[NULL]"),
        *(
            "repeat('x', number % 300)",
            "if(number % 3 = 0, NULL, toString(number))",
            "if(number % 3 = 0, NULL, number)",
        ),
        *("toLowCardinality(toString(number % 700))", "toLowCardinality(toNullable(toString(number % 7)))"),
        *(
            "arrayMap(x -> toLowCardinality('z'), range(number % 4))",
            "range(number % 5)",
            "[[range(number % 3), []], []]",
        ),
        *("map('k', number, 'l', 2)", "map(toLowCardinality('k'), [toLowCardinality('l')])", "map(1, map('a', NULL))"),
        *("(1, 'a', [toLowCardinality(toNullable('q'))])", "tuple()", "(1, 'a')::Nullable(Tuple(UInt8, String))"),
        *("(number, number)::Point", "[(1., 2.)]::Ring", "[[(1., 2.)]]::Polygon", "[[[(1., 2.)]]]::MultiPolygon"),
        *("[(1., 2.)]::LineString", "[[(1., 2.)]]::MultiLineString", "[(1., 2.)]::MultiPoint"),
        *("[(number, 'b')]::Nested(a UInt8, b String)", "CAST(number % 2, 'SimpleAggregateFunction(max, UInt64)')"),
        "if(number % 2 = 0, number::Variant(UInt64, String), 's'::Variant(UInt64, String))",
        *("number::Dynamic", "if(number % 2 = 0, number::Dynamic, 's'::Dynamic)", "NULL::Dynamic"),
        *("[number::Dynamic, [1, 2]::Dynamic]", "CAST(toString(number), 'Dynamic(max_types=0)')"),
        *("'{}'::Nullable(JSON)", "map('k', '{}'::JSON)", '[\'{"x": [{"y": 1}]}\'::JSON]'),
        'concat(\'{"a": \', toString(number), \', "b": {"c": [1, "x"]}, "d\', toString(number % 7), \'": "v"}\')::JSON',
        "concat('{\"a\": ', toString(number), ', \"b\": 1}')::JSON(a UInt32, max_dynamic_paths = 1)",
        *("[]::Array(LowCardinality(String))", "map()::Map(String, LowCardinality(Nullable(String)))"),
        "[1, 2, 3, 4, 5, 6, 7, 8]::QBit(Float32, 8)",
        "[['s']::Variant(UInt8, Array(LowCardinality(String))), 1::Variant(UInt8, Array(LowCardinality(String)))]",
    ],
)
def test_column_of_each_type_is_passed_on_as_it_is(clickhouse: ClickHouse, value: str) -> None:
    """Between two known columns, in several blocks. A wrong end of the column would make names of what is none."""
    sql = f"SELECT 1 AS first, {value} AS v, 'end' AS last FROM numbers(1000) SETTINGS max_block_size = 300".encode()
    plain = answer(clickhouse, sql, "", **EXPERIMENTAL)[2]
    status, _, body = answer(clickhouse, sql, "54460", **EXPERIMENTAL)
    assert status == 200
    rest, count = body, 0
    while rest:
        assert rest.startswith(INFO + b"\x00\x03")
        rest, count = rest[len(INFO) + 1 :].partition(INFO + b"\x00\x03")[2], count + 1
        rest = INFO + b"\x00\x03" + rest if rest else b""
    assert count > 1
    # Nothing but the information and the byte of each of three columns was added.
    assert len(body) == len(plain) + count * (len(INFO) + 1 + 3)
    assert body.replace(INFO + b"\x00", b"").count(b"\x04last\x06String\x00") == count


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("sumState(number) OVER ()", b"AggregateFunction(sum, UInt64)"),
        ("tuple('a', [sumState(number) OVER ()])", b"AggregateFunction(sum, UInt64)"),
    ],
)
@pytest.mark.parametrize("asked", [{}, {"compress": "1"}])
def test_type_that_cannot_be_passed_on_is_named(
    clickhouse: ClickHouse, value: str, kind: bytes, asked: dict[str, str]
) -> None:
    sql = f"SELECT {value} AS v FROM numbers(3)".encode()
    status, code, body = answer(clickhouse, sql, "54460", **(EXPERIMENTAL | asked))
    assert (status, code) == (501, "48")
    text = blocks.decompressed(body) if asked else body
    assert text.startswith(b"Code: 48. DB::Exception: Native with a client_protocol_version cannot be served")
    assert kind in text
    assert answer(clickhouse, sql, "", **EXPERIMENTAL)[0] == 200


@pytest.mark.parametrize(("version", "served"), [("54460", True), ("54472", True), ("54473", False)])
@pytest.mark.parametrize("value", ["1::Dynamic", "['{}'::JSON]"])
def test_types_within_a_column_are_laid_out_as_before_version_54473(
    clickhouse: ClickHouse, value: str, version: str, served: bool
) -> None:
    status, code, _ = answer(clickhouse, f"SELECT {value} AS v".encode(), version, **EXPERIMENTAL)
    assert (status, code) == ((200, None) if served else (501, "48"))


def test_clickhouse_connect_reads_what_it_asks_for_by_its_version(database: Client) -> None:
    """It names version 54405 where a server serves it: JSON, and the zone that the SQL names."""
    assert database.protocol_version == 54405
    sql = "SELECT '{\"a\": {\"b\": 1}}'::JSON AS j, toDateTime(0, 'Asia/Tokyo') AS d, 'x' AS x FROM numbers(2)"
    for row in database.query(sql).result_rows:
        assert (row[0], row[1].isoformat(), row[2]) == ({"a": {"b": 1}}, "1970-01-01T09:00:00+09:00", "x")
    by_name = "SELECT toDateTime(0, {zone: String}) AS d"
    assert database.query(by_name, parameters={"zone": "Asia/Tokyo"}).result_rows[0][0].isoformat().endswith("+09:00")


@pytest.mark.parametrize(
    ("sql", "version", "asked"),
    [
        (b"SELECT toDateTime(0, 'UTC') AS a", "54405", False),
        (b"SELECT toDateTime(0, {zone: String}) AS a, 'Asia/Tokyo is no zone'", "54405", False),
        (b"SELECT toDateTime(0, 'Asia/Tokyo') AS a", "54405", True),
        (b"SELECT toDateTime(0) AS a", "54405", False),
        (b"SELECT toDateTime(0, 'UTC') AS a", "54460", True),
    ],
)
def test_commands_of_clickfold_do_not_wait_for_zones(
    clickhouse: ClickHouse, sql: bytes, version: str, asked: bool
) -> None:
    """They are of version 54405, all their times are in UTC, and to ask for zones would make them slower."""
    assert (b"DateTime('" in answer(clickhouse, sql, version, param_zone="UTC")[2]) == asked


@pytest.mark.parametrize(
    ("version", "code", "words"),
    [
        ("54492", "902", b"client_protocol_version 54492 is not served; name one from 54405 to 54491, or none."),
        ("54404", "902", b"client_protocol_version 54404 is not served"),
        ("1", "902", b"is not served"),
        ("99999999999999999999999999", "902", b"is not served"),
        ("9" * 5000, "902", b"is not served"),
        ("-1", "72", b"it must be a number, such as 54460."),
        ("many", "72", b"it must be a number"),
        ("5.4", "72", b"it must be a number"),
        ("\u0665", "72", b"it must be a number"),
    ],
)
def test_version_that_is_not_served_is_refused(clickhouse: ClickHouse, version: str, code: str, words: bytes) -> None:
    status, answered, body = answer(clickhouse, SELECT, version)
    assert (status, answered) == (400, code)
    assert words in body
    assert len(body) < 400


@pytest.mark.parametrize("version", ["", "54460", "54491"])
def test_insert_of_native_has_no_version(clickhouse: ClickHouse, database: Client, version: str) -> None:
    """As a ClickHouse server reads it over HTTP, and as clickhouse-go sends it beside its version."""
    database.command("CREATE TABLE clicks (a UInt8, b LowCardinality(String)) ENGINE = MergeTree ORDER BY a")
    rows = answer(clickhouse, SELECT, "")[2]
    insert = "INSERT INTO clicks FORMAT Native"
    where = str(database.database)
    assert request(clickhouse, rows, query=insert, database=where, client_protocol_version=version)[0] == 200
    assert database.query("SELECT * FROM clicks").result_rows == [(7, "x")]


def test_answer_of_several_blocks_is_streamed_and_compressed(clickhouse: ClickHouse) -> None:
    sql = b"SELECT number FROM numbers(300000)"
    plain = answer(clickhouse, sql, "54460")
    assert blocks.decompressed(answer(clickhouse, sql, "54460", compress="1")[2]) == plain[2]
    _, headers, body = request(clickhouse, sql, default_format="Native", client_protocol_version="54460")
    assert (headers["Content-Length"], body) == (None, plain[2])
    assert json.loads(headers["X-ClickHouse-Summary"])["result_rows"] == "300000"


def test_zones_of_a_sessions_own_tables_are_named(clickhouse: ClickHouse) -> None:
    """The types are asked of the connection that the session keeps, and with its current database."""
    made = b"CREATE TEMPORARY TABLE t AS SELECT toDateTime(0, 'Asia/Tokyo') AS a"
    assert request(clickhouse, made, session_id="zones")[0] == 200
    assert b"DateTime('Asia/Tokyo')" in answer(clickhouse, b"SELECT a FROM t;", "54460", session_id="zones")[2]
    request(clickhouse, b"SELECT 1", session_id="zones", close_session="1")


def test_zones_of_external_tables_and_of_parameters_are_named(clickhouse: ClickHouse) -> None:
    asked = {
        "default_format": "Native",
        "client_protocol_version": "54460",
        "query": "SELECT a, {p: DateTime('Asia/Tokyo')} FROM mine",
    }
    fields = {"mine_structure": "a DateTime('Africa/Cairo')", "param_p": "1970-01-01 09:00:00"}
    body, headers = multipart({"mine": b"1970-01-01 02:00:00\n"}, fields)
    status, _, native = request(clickhouse, body, headers=headers, path=address(asked))
    assert status == 200, native
    assert b"DateTime('Africa/Cairo')" in native
    assert b"DateTime('Asia/Tokyo')" in native


@pytest.mark.parametrize(("zone", "asked"), [("Asia/Tokyo", False), ("UTC", True)])
def test_zone_of_a_session_is_no_other_one(clickhouse: ClickHouse, zone: str, asked: bool) -> None:
    """The answer's header says that times are shown in it."""
    sql = f"SELECT toDateTime(0, '{zone}') AS a".encode()
    assert (b"DateTime('" in answer(clickhouse, sql, "54405", session_timezone="Asia/Tokyo")[2]) == asked


def test_query_of_processes_is_served_by_version(clickhouse: ClickHouse) -> None:
    sql = b"SELECT query_id, toDateTime(0, 'UTC') AS a FROM system.processes"
    native = answer(clickhouse, sql, "54460", query_id="by-version")[2]
    assert b"by-version" in native
    assert b"DateTime('UTC')" in native

"""The embedded ClickHouse behaves as a server for clickhouse-connect and for plain HTTP."""

import asyncio
import gzip
import http.client
import random
import subprocess
import sys
import urllib.parse
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import clickhouse_connect
import lz4.frame  # type: ignore[import-untyped]  # publishes no types
import numpy as np
import pytest
import urllib3
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError

from streams.embedded.clickhouse import ClickHouse, Fault, wire
from streams.embedded.process import FolderInUseError
from tests.integration.clickhouse_fixture import address, request

pytestmark = pytest.mark.clickhouse

TABLE = "CREATE TABLE clicks (id UInt64, ts DateTime64(3, 'UTC'), name String) ENGINE = MergeTree ORDER BY id"
NAMES = ["id", "ts", "name"]
FRAMES = [("lz4", lz4.frame.compress), ("zstd", lambda body: wire.compressed(body, "zstd")[0])]


def names_in(client: Client) -> list[str]:
    """Names in the clicks table, by id."""
    return [row[0] for row in client.query("SELECT name FROM clicks ORDER BY id").result_rows]


def test_columns_of_integer_ticks_become_milliseconds(database: Client) -> None:
    database.command(TABLE)
    # Python integers: clickhouse-connect 1.12 takes elements of a numpy array for datetimes and fails.
    ticks = np.array([1_700_000_000_123, 0], dtype=np.int64).tolist()
    columns: list[Sequence[object]] = [[1, 2], ticks, ["a", "b"]]
    summary = database.insert("clicks", columns, column_names=NAMES, column_oriented=True)
    assert summary.written_rows == 2
    rows = database.query("SELECT ts, name FROM clicks ORDER BY id").result_rows
    assert rows == [(datetime(2023, 11, 14, 22, 13, 20, 123_000), "a"), (datetime(1970, 1, 1), "b")]
    assert database.query("SELECT * FROM clicks LIMIT 0").column_names == tuple(NAMES)


def test_async_client_inserts_and_queries_side_by_side(clickhouse: ClickHouse, database: Client) -> None:
    database.command(TABLE)

    async def work() -> int:
        client = await clickhouse_connect.get_async_client(dsn=clickhouse.url, database=database.database)
        try:
            batches: list[list[Sequence[object]]] = [[[i], [1_000 * i], [f"n{i}"]] for i in range(8)]
            await asyncio.gather(
                *(client.insert("clicks", batch, column_names=NAMES, column_oriented=True) for batch in batches),
                *(client.query("SELECT count() FROM clicks") for _ in range(8)),
            )
            return int((await client.query("SELECT count() FROM clicks")).result_rows[0][0])
        finally:
            await client.close()

    assert asyncio.run(work()) == 8


@pytest.mark.parametrize("text", ["it's", "back\\slash", "tab\tline\nend", "100 % {x:String}", "žluťoučký", ""])
def test_parameters_arrive_as_they_were_given(database: Client, text: str) -> None:
    assert database.query("SELECT {text:String}", parameters={"text": text}).result_rows == [(text,)]
    database.command(TABLE)
    database.command("INSERT INTO clicks VALUES (1, 0, {text:String})", parameters={"text": text})
    assert names_in(database) == [text]


def test_settings_last_for_one_request(database: Client) -> None:
    asked = "SELECT getSetting('max_block_size')"
    before = database.command(asked)
    assert database.command(asked, settings={"max_block_size": 1234}) == 1234
    assert database.command(asked) == before


@pytest.mark.parametrize(
    ("sql", "code", "status"),
    [
        ("SELEC 1 FROM", 62, 400),
        ("SELECT nope", 47, 404),
        ("SELECT * FROM nope", 60, 404),
        ("SELECT nope()", 46, 404),
        ("SELECT 1 FORMAT Nope", 73, 404),
        ("SELECT toUInt8('x')", 6, 400),
        ("SELECT throwIf(1)", 395, 500),
        ("INSERT INTO nope FORMAT CSV\n1", 60, 404),
        ("SELECT 1; SELECT 2", 62, 400),
        ("SELECT sleepEachRow(0.1) FROM numbers(20) SETTINGS max_execution_time = 0.2, max_block_size = 1", 159, 408),
    ],
)
def test_errors_carry_clickhouse_code_and_status(clickhouse: ClickHouse, sql: str, code: int, status: int) -> None:
    answered, headers, body = request(clickhouse, sql.encode())
    assert (answered, headers["X-ClickHouse-Exception-Code"]) == (status, str(code))
    assert body.startswith(f"Code: {code}. DB::Exception: ".encode())
    assert body.endswith(b")\n")


def test_client_raises_the_code(database: Client) -> None:
    with pytest.raises(DatabaseError) as raised:
        database.query("SELECT nope")
    assert raised.value.code == 47


def test_unknown_database_and_setting_are_404(clickhouse: ClickHouse) -> None:
    assert request(clickhouse, b"SELECT 1", database="nope")[0] == 404
    assert request(clickhouse, b"SELECT 1", nope="1")[0] == 404


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE DATABASE by_get",
        "CREATE TABLE default.by_get (a UInt8) ENGINE = Memory",
        "DROP TABLE IF EXISTS default.by_get",
        "ALTER TABLE default.by_get ADD COLUMN b UInt8",
        "OPTIMIZE TABLE default.by_get",
        "INSERT INTO default.by_get VALUES (1)",
        "INSERT INTO default.by_get SELECT 1",
        "INSERT INTO FUNCTION null('a UInt8') SELECT 1",
        "INSERT INTO FUNCTION file('/tmp/by_get', 'TSV', 'a UInt8') SELECT 1",
        "SYSTEM STOP MERGES",
        "SYSTEM FLUSH LOGS",
        "/* x */ system start merges",
        "KILL QUERY WHERE 1",
        "ATTACH DATABASE by_get",
        "DETACH TABLE default.by_get",
        "RENAME TABLE default.by_get TO default.other",
    ],
)
@pytest.mark.parametrize("readonly", ["", "0"])
def test_get_cannot_write(clickhouse: ClickHouse, sql: str, readonly: str) -> None:
    settings = {"readonly": readonly} if readonly else {}
    status, headers, body = request(clickhouse, method="GET", query=sql, **settings)  # type: ignore[arg-type]
    assert (status, headers["X-ClickHouse-Exception-Code"]) == (500, "164")
    assert b"method GET implies readonly" in body


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "WITH 1 AS x SELECT x",
        "SHOW TABLES",
        "DESCRIBE TABLE system.one",
        "EXISTS TABLE system.one",
        "EXPLAIN SELECT 1",
        "SHOW PROCESSLIST",
        "SET max_threads = 1",
        "USE system",
        "CREATE TEMPORARY TABLE by_get (a UInt8)",
    ],
)
def test_get_reads(clickhouse: ClickHouse, sql: str) -> None:
    assert request(clickhouse, method="GET", query=sql)[0] == 200


@pytest.mark.parametrize("body", [b"SELECT hex('\xff\xfe')", b"/* \xe9 */ SELECT hex('\xff\xfe')"])
def test_sql_may_have_bytes_that_are_no_utf8(clickhouse: ClickHouse, body: bytes) -> None:
    assert request(clickhouse, body)[2] == b"FFFE\n"
    path = "/?query=" + urllib.parse.quote(body)
    assert request(clickhouse, method="GET", path=path)[2] == b"FFFE\n"
    inserted = b"/* \xe9 */ INSERT INTO FUNCTION null('a String') VALUES ('\xff')"
    assert request(clickhouse, inserted)[0] == 200
    assert request(clickhouse, method="GET", path="/?query=SELECT+hex(%7Bx:String%7D)&param_x=%FFa")[2] == b"FF61\n"


@pytest.mark.parametrize("body", [b"SELECT \xff", b"SELECT '\xff' FROM nope", b"\xff", b"SELECT 1 FORMAT \xff"])
def test_error_that_quotes_such_bytes_is_an_answer(clickhouse: ClickHouse, body: bytes) -> None:
    status, headers, answer = request(clickhouse, body)
    assert status in (400, 404)
    assert headers["X-ClickHouse-Exception-Code"] in ("60", "62", "73")
    answer.decode()


@pytest.mark.parametrize(
    ("sql", "answer_format", "content_type"),
    [
        ("SELECT 1", "TabSeparated", "text/tab-separated-values; charset=UTF-8"),
        ("SELECT 1 FORMAT TSV", "TSV", "text/tab-separated-values; charset=UTF-8"),
        ("SELECT 1 FORMAT XML", "XML", "application/xml; charset=UTF-8"),
        ("SELECT 1 FORMAT JSON SETTINGS log_comment = 'x'", "JSON", "application/json; charset=UTF-8"),
        ("SELECT 1 FORMAT CSVWithNames -- x", "CSVWithNames", "text/csv; charset=UTF-8; header=present"),
        ("SELECT 1 FORMAT Parquet", "Parquet", "application/octet-stream"),
        ("SELECT 1 FORMAT Pretty", "Pretty", "text/plain; charset=UTF-8"),
        ("SHOW TABLES FORMAT CSV", "CSV", "text/csv; charset=UTF-8; header=absent"),
        ("DROP TABLE IF EXISTS default.none", None, "text/plain; charset=UTF-8"),
        ("SET max_threads = 1", None, "text/plain; charset=UTF-8"),
        ("INSERT INTO FUNCTION null('a UInt8') VALUES (1)", None, "text/plain; charset=UTF-8"),
    ],
)
def test_answer_names_its_format_as_a_server_does(
    clickhouse: ClickHouse, sql: str, answer_format: str | None, content_type: str
) -> None:
    status, headers, _ = request(clickhouse, sql.encode())
    assert (status, headers["X-ClickHouse-Format"]) == (200, answer_format)
    assert headers["Content-Type"] == content_type


@pytest.mark.parametrize(
    ("sql", "query"),
    [("SELECT 1", {"session_timezone": "Asia/Tokyo"}), ("SELECT 1 SETTINGS session_timezone = 'Asia/Tokyo'", {})],
)
def test_answer_names_the_zone_that_was_asked_for(clickhouse: ClickHouse, sql: str, query: dict[str, str]) -> None:
    assert request(clickhouse, sql.encode(), path=address(query))[1]["X-ClickHouse-Timezone"] == "Asia/Tokyo"


@pytest.mark.parametrize("name", ["a$x", "$1", "_$", "a$$b"])
def test_parameter_may_have_a_dollar_in_its_name(clickhouse: ClickHouse, name: str) -> None:
    path = address({f"param_{name}": "7"})
    assert request(clickhouse, f"SELECT {{{name}:UInt8}}".encode(), path=path)[2] == b"7\n"
    inserted = f"INSERT INTO FUNCTION null('a UInt8') VALUES ({{{name}:UInt8}})"
    assert request(clickhouse, inserted.encode(), path=path)[0] == 200


def test_role_that_nobody_has_is_refused(clickhouse: ClickHouse) -> None:
    assert request(clickhouse, b"SELECT 1", role="analyst")[1]["X-ClickHouse-Exception-Code"] == "511"


def test_format_comes_from_sql_or_parameter_or_header(clickhouse: ClickHouse) -> None:
    sql = b"SELECT 1 AS x"
    for answer in (
        request(clickhouse, sql + b" FORMAT JSONEachRow", default_format="CSV"),
        request(clickhouse, sql, default_format="JSONEachRow"),
        request(clickhouse, sql, headers={"X-ClickHouse-Format": "JSONEachRow"}),
    ):
        assert answer[1]["X-ClickHouse-Format"] == "JSONEachRow"
        assert answer[2] == b'{"x":1}\n'


def test_answer_names_query_zone_and_rows(clickhouse: ClickHouse) -> None:
    _, headers, _ = request(clickhouse, b"SELECT sum(number) FROM numbers(10)", query_id="mine")
    assert headers["X-ClickHouse-Query-Id"] == "mine"
    assert headers["X-ClickHouse-Timezone"] == "UTC"
    assert '"result_rows": "1"' in headers["X-ClickHouse-Summary"]
    assert headers["X-ClickHouse-Server-Display-Name"]


@pytest.mark.parametrize("compress", [False, "lz4", "zstd", "gzip"])
def test_clients_compress_both_ways(clickhouse: ClickHouse, database: Client, compress: bool | str) -> None:
    database.command(TABLE)
    with clickhouse_connect.get_client(dsn=clickhouse.url, database=database.database, compress=compress) as client:
        columns: list[Sequence[object]] = [range(200_000), range(200_000), ["x" * 20] * 200_000]
        client.insert("clicks", columns, column_names=NAMES, column_oriented=True)
        assert client.query_np("SELECT id FROM clicks ORDER BY id").ravel().tolist() == list(range(200_000))


@pytest.mark.parametrize(("encoding", "frame"), [("gzip", gzip.compress), *FRAMES])
def test_body_of_several_frames_is_one_body(
    clickhouse: ClickHouse, database: Client, encoding: str, frame: Callable[[bytes], bytes]
) -> None:
    database.command(TABLE)
    body = frame(b"INSERT INTO clicks (id, name) FORMAT CSV\n1,one\n") + frame(b"2,t") + frame(b"wo\n")
    status, _, _ = request(clickhouse, body, headers={"Content-Encoding": encoding}, database=str(database.database))
    assert status == 200
    assert names_in(database) == ["one", "two"]
    cut = request(clickhouse, body[:-1], headers={"Content-Encoding": encoding}, database=str(database.database))
    assert cut[0] == 400
    assert names_in(database) == ["one", "two"]


def test_body_over_the_bound_is_413_before_it_is_sent(clickhouse: ClickHouse) -> None:
    assert request(clickhouse, headers={"Content-Length": str(wire.MAX_BODY_BYTES + 1)})[0] == 413


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress), *FRAMES])
def test_body_that_grows_over_the_bound_is_refused(encoding: str, compress: Callable[[bytes], bytes]) -> None:
    body = compress(bytes(1000))
    assert wire.decompressed(body, encoding, max_bytes=1000) == bytes(1000)
    with pytest.raises(wire.BodyError) as raised:
        wire.decompressed(body, encoding, max_bytes=999)
    assert raised.value.status == 413


def test_sql_in_the_address_and_rows_in_the_body(clickhouse: ClickHouse, database: Client) -> None:
    database.command(TABLE)
    name = str(database.database)
    rows = b'{"id": 1, "ts": 0, "name": "VALUES FORMAT x"}\n{"id": 2, "ts": 0, "name": "y"}'
    assert request(clickhouse, rows, query="INSERT INTO clicks FORMAT JSONEachRow", database=name)[0] == 200
    assert request(clickhouse, b"", query="INSERT INTO clicks VALUES (3, 0, ') FORMAT CSV')", database=name)[0] == 200
    assert request(clickhouse, b"INSERT INTO clicks SELECT 4, 0, 'FORMAT'", database=name)[0] == 200
    assert names_in(database) == ["VALUES FORMAT x", "y", ") FORMAT CSV", "FORMAT"]


@pytest.mark.parametrize(
    ("head", "rows"),
    [
        (b"INSERT INTO settings SETTINGS max_block_size = 5, log_comment = 'SETTINGS a=1' FORMAT CSV\n", b"1\n2\n"),
        (b"INSERT INTO settings (settings) FORMAT TSV\n", b"1\n2"),
        (b"INSERT INTO TABLE settings -- SETTINGS x = 1\nVALUES", b"(1), (1 + 1);"),
    ],
)
def test_rows_arrive_however_the_insert_is_worded(
    clickhouse: ClickHouse, database: Client, head: bytes, rows: bytes
) -> None:
    database.command("CREATE TABLE settings (settings UInt8) ENGINE = MergeTree ORDER BY settings")
    answered = request(clickhouse, head + rows, database=str(database.database))
    assert (answered[0], answered[2]) == (200, b"")
    assert [row[0] for row in database.query("SELECT * FROM settings ORDER BY 1").result_rows] == [1, 2]


@pytest.mark.parametrize(
    ("column", "settings", "code"),
    [
        (", CONSTRAINT small CHECK n < 3", "", 469),
        (", ratio UInt8 MATERIALIZED intDiv(6, 3 - n)", "", 153),
        (", ratio UInt8 MATERIALIZED throwIf(n = 3)", "", 395),
        ("", "SETTINGS parts_to_throw_insert = 3, max_parts_in_total = 3", 252),
    ],
    ids=["constraint", "division by zero", "failing column", "too many parts"],
)
def test_rows_the_table_refuses_are_never_acknowledged(
    clickhouse: ClickHouse, database: Client, column: str, settings: str, code: int
) -> None:
    database.command(f"CREATE TABLE numbers (n Int64{column}) ENGINE = MergeTree ORDER BY n {settings}")
    database.command("SYSTEM STOP MERGES numbers")

    def insert(number: int) -> None:
        database.insert("numbers", [[number]], column_names=["n"], column_type_names=["Int64"])

    for number in range(3):
        insert(number)
    with pytest.raises(DatabaseError) as raised:
        insert(3)
    assert raised.value.code == code
    by_text = request(clickhouse, b"INSERT INTO numbers VALUES (3)", database=str(database.database))
    assert by_text[1]["X-ClickHouse-Exception-Code"] == str(code)
    assert [row[0] for row in database.query("SELECT n FROM numbers ORDER BY n").result_rows] == [0, 1, 2]


def test_a_folder_named_like_a_pattern_takes_rows_and_keeps_no_files_of_them(tmp_path: Path) -> None:
    folder = tmp_path / "a[1]{x}*"
    with ClickHouse(folder) as server:
        assert request(server, TABLE.replace("clicks", "default.clicks").encode())[0] == 200
        before = set(folder.iterdir())
        assert request(server, b"INSERT INTO default.clicks VALUES (1, 0, 'x')")[0] == 200
        assert request(server, b"INSERT INTO default.clicks FORMAT CSV\nx")[0] == 400
        assert request(server, b"SELECT count() FROM default.clicks")[2] == b"1\n"
        assert set(folder.iterdir()) == before


def test_insert_does_not_queue_behind_queries(clickhouse: ClickHouse, database: Client) -> None:
    database.command(TABLE)
    # More than the front has threads for; its number is not imported, as that would load the engine into the tests.
    with ThreadPoolExecutor(6) as pool:
        queries = [pool.submit(request, clickhouse, b"SELECT sleep(1)") for _ in range(6)]
        assert request(clickhouse, b"INSERT INTO clicks VALUES (1, 0, 'x')", database=str(database.database))[0] == 200
        assert not all(query.done() for query in queries)
    assert [query.result()[0] for query in queries] == [200] * len(queries)


def test_compressed_statement_over_the_bound_is_413(clickhouse: ClickHouse) -> None:
    for size, status in ((wire.MAX_SQL_BYTES - 20, 200), (wire.MAX_SQL_BYTES + 1, 413)):
        body = gzip.compress(b"SELECT 1 -- " + b"x" * size)
        encoded = {"Content-Encoding": "gzip"}
        assert request(clickhouse, body, headers=encoded, max_query_size=str(4 << 20))[0] == status
    bomb = gzip.compress(bytes(wire.MAX_BODY_BYTES + 1))
    assert request(clickhouse, bomb, headers={"Content-Encoding": "gzip"})[0] == 413


def test_ping_and_bare_get_answer_ok(clickhouse: ClickHouse) -> None:
    assert request(clickhouse, method="GET")[2] == b"Ok.\n"
    assert urllib3.request("GET", clickhouse.url + "/ping").data == b"Ok.\n"


def test_web_pages_are_refused_without_a_password(clickhouse: ClickHouse) -> None:
    assert request(clickhouse, b"SELECT 1", headers={"Origin": "https://example.com"})[0] == 403
    assert request(clickhouse, b"SELECT 1", headers={"Host": "rebound.example.com"})[0] == 403
    assert request(clickhouse, b"SELECT 1", headers={"Origin": "http://localhost:3000"})[0] == 200


def test_acknowledged_rows_survive_sigkill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLICKHOUSE_PASSWORD", "s3cret word")
    server = ClickHouse(tmp_path).start()
    url = server.url
    login = {"X-ClickHouse-User": "default", "X-ClickHouse-Key": "s3cret word"}
    assert request(server, TABLE.replace("clicks", "default.clicks").encode(), headers=login)[0] == 200
    for i in range(20):
        assert request(server, f"INSERT INTO default.clicks VALUES ({i}, 0, '')".encode(), headers=login)[0] == 200
    with pytest.raises(FolderInUseError, match="Stop that one, or choose another folder"):
        ClickHouse(tmp_path).start()
    server.kill()
    server.start()
    assert server.url == url
    assert request(server, b"SELECT count() FROM default.clicks", headers=login)[2] == b"20\n"
    # The same password in each of the three places, a wrong one, and none.
    assert request(server, b"SELECT 1", user="default", password="s3cret word")[0] == 200
    with clickhouse_connect.get_client(dsn=server.url, username="default", password="s3cret word") as client:
        assert client.command("SELECT 1") == 1
    assert request(server, b"SELECT 1", user="default", password="other")[0] == 403
    assert request(server, b"SELECT 1")[0] == 401
    found = ClickHouse.attach(tmp_path)
    assert found is not None
    assert found.url == url
    found.stop()
    assert not server.alive
    assert ClickHouse.attach(tmp_path) is None
    assert "s3cret" not in server.log_path.read_text()
    assert "Traceback" not in server.log_path.read_text()


def test_open_bind_without_a_password_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "streams.embedded.clickhouse", "--folder", str(tmp_path), "--host", "0.0.0.0"]
    ended = subprocess.run([*command, "--port", "0"], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "set CLICKHOUSE_PASSWORD" in ended.stderr


def test_fault_applied_answer_lost_keeps_the_rows(clickhouse: ClickHouse, database: Client) -> None:
    database.command(TABLE)
    clickhouse.order_faults([Fault(kind="applied_answer_lost", match="INSERT INTO clicks")])
    with pytest.raises(http.client.RemoteDisconnected):
        request(clickhouse, b"INSERT INTO clicks VALUES (1, 0, 'once')", database=str(database.database))
    assert names_in(database) == ["once"]


def test_fault_reset_applies_nothing(clickhouse: ClickHouse, database: Client) -> None:
    database.command(TABLE)
    clickhouse.order_faults([Fault(kind="reset", match="INSERT")])
    with pytest.raises(ConnectionResetError):
        request(clickhouse, b"INSERT INTO clicks VALUES (1, 0, 'never')", database=str(database.database))
    assert names_in(database) == []


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("encoding", "compress"), [("", bytes), ("gzip", gzip.compress), *FRAMES])
def test_fault_reset_body_strikes_in_the_middle_of_a_body(
    clickhouse: ClickHouse, database: Client, encoding: str, compress: Callable[[bytes], bytes], chunked: bool
) -> None:
    database.command(TABLE)
    clickhouse.order_faults([Fault(kind="reset_body", match="INSERT INTO clicks", after=1)])
    rows = b"".join(b"%d,%s\n" % (i, random.Random(i).randbytes(20).hex().encode()) for i in range(50_000))
    bodies = [compress(b"INSERT INTO clicks (id, name) FORMAT CSV\n" + part) for part in (b"1,first\n", rows)]
    headers = {"Content-Encoding": encoding}
    name = str(database.database)
    assert request(clickhouse, bodies[0], headers=headers, database=name)[0] == 200
    half = len(bodies[1]) // 2
    body = iter((bodies[1][:half], bodies[1][half:])) if chunked else bodies[1]
    # EPIPE when the reset arrives while the client still writes, ECONNRESET when it reads.
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        request(clickhouse, body, headers=headers, database=name)
    assert names_in(database) == ["first"]


def test_fault_reset_body_matches_the_query_in_the_address(clickhouse: ClickHouse, database: Client) -> None:
    database.command(TABLE)
    clickhouse.order_faults([Fault(kind="reset_body", match="INTO clicks")])
    sql, name = "INSERT INTO clicks (id, name) FORMAT CSV", str(database.database)
    assert request(clickhouse, b"1,x", query="INSERT INTO nope FORMAT CSV", database=name)[0] == 404
    with pytest.raises(ConnectionResetError):
        request(clickhouse, b"1,never", query=sql, database=name)
    assert request(clickhouse, b"1,again", query=sql, database=name)[0] == 200
    assert names_in(database) == ["again"]


def test_fault_status_strikes_as_often_as_ordered(clickhouse: ClickHouse, database: Client) -> None:
    database.command(TABLE)
    clickhouse.order_faults(
        [Fault(kind="status", match="INSERT", times=2, status=500, code=252, body="Too many parts", retry_after=1.5)]
    )
    insert = b"INSERT INTO clicks VALUES (1, 0, 'third')"
    for _ in range(2):
        status, headers, body = request(clickhouse, insert, database=str(database.database))
        assert (status, body) == (500, b"Too many parts")
        assert (headers["X-ClickHouse-Exception-Code"], headers["Retry-After"]) == ("252", "1.5")
    assert request(clickhouse, insert, database=str(database.database))[0] == 200
    assert names_in(database) == ["third"]


def test_fault_slow_outlasts_a_short_timeout(clickhouse: ClickHouse, database: Client) -> None:
    database.command(TABLE)
    clickhouse.order_faults([Fault(kind="slow", match="INSERT", seconds=3)])
    with (
        clickhouse_connect.get_client(
            dsn=clickhouse.url, database=database.database, send_receive_timeout=1, query_retries=0
        ) as client,
        pytest.raises(OperationalError),
    ):
        client.insert("clicks", [[1, 0, "x"]], column_names=NAMES)

"""The embedded ClickHouse as curl, health checks, Grafana and pages of this machine use it: plain HTTP."""

import functools
import gzip
import json
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from streams.embedded.clickhouse import ClickHouse, Fault
from tests.integration.clickhouse_fixture import request
from tests.waiting import eventually

# Without a time in it: it is part of a test's name, which must be the same in every process.
CUT_SHORT = gzip.compress(b"SELECT 1", mtime=0)[:-4]

pytestmark = pytest.mark.clickhouse

TABLE = "CREATE TABLE clicks (id UInt64, name String) ENGINE = MergeTree ORDER BY id"
curl = shutil.which("curl")
needs_curl = pytest.mark.skipif(curl is None, reason="no curl on this machine")


def run_curl(*arguments: str) -> str:
    """What curl prints; raises when it can't reach the server or the status is an error."""
    ended = subprocess.run(
        [curl or "", "--silent", "--show-error", "--fail-with-body", "--max-time", "30", *arguments],
        capture_output=True,
        check=True,
        encoding="utf-8",
    )
    return ended.stdout


def rows_in(client: Client) -> list[Sequence[object]]:
    """All clicks, by id."""
    return list(client.query("SELECT * FROM clicks ORDER BY id").result_rows)


def in_pieces(body: bytes) -> Iterable[bytes]:
    """`body` cut so that http.client sends it chunked."""
    return (body[at : at + 3] for at in range(0, len(body), 3))


@needs_curl
def test_curl_asks_and_inserts(clickhouse: ClickHouse, database: Client, tmp_path: Path) -> None:
    database.command(TABLE)
    url = f"{clickhouse.url}/?database={database.database}"
    into = url + "&query=INSERT+INTO+clicks+FORMAT+CSV"
    (tmp_path / "rows.csv").write_bytes(b"1,one\n2,two\n")
    (tmp_path / "rows.csv.gz").write_bytes(gzip.compress(b"3,three\n"))
    assert run_curl("--data-binary", f"@{tmp_path}/rows.csv", into) == ""
    assert run_curl("--data-binary", f"@{tmp_path}/rows.csv.gz", "-H", "Content-Encoding: gzip", into) == ""
    (tmp_path / "rows.csv").write_bytes(b"4,four\n")
    assert run_curl("-H", "Transfer-Encoding: chunked", "--data-binary", f"@{tmp_path}/rows.csv", into) == ""
    assert run_curl(url + "&query=SELECT+count(),max(id)+FROM+clicks") == "4\t4\n"
    assert run_curl("-d", "SELECT 'žluť'", url) == "žluť\n"
    assert run_curl("--compressed", "-d", "SELECT 1", url + "&enable_http_compression=1") == "1\n"
    assert run_curl("-u", "default:", "-d", "SELECT 1", url) == "1\n"
    assert run_curl("-H", "X-ClickHouse-User: default", "-d", "SELECT 1", url) == "1\n"
    assert run_curl("-I", clickhouse.url + "/ping").startswith("HTTP/1.1 200")


@pytest.mark.parametrize("path", ["/ping", "/replicas_status", "/"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_health_checks_are_answered(clickhouse: ClickHouse, path: str, method: str) -> None:
    status, headers, body = request(clickhouse, method=method, path=path)
    assert (status, headers["Content-Length"], body) == (200, "4", b"" if method == "HEAD" else b"Ok.\n")


def test_head_asks_without_an_answer_and_cannot_write(clickhouse: ClickHouse) -> None:
    assert request(clickhouse, method="HEAD", query="SELECT 1")[0::2] == (200, b"")
    status, headers, _ = request(clickhouse, method="HEAD", query="CREATE DATABASE by_head")
    assert (status, headers["X-ClickHouse-Exception-Code"]) == (500, "164")


def test_grafana_asks_by_get_for_json(clickhouse: ClickHouse) -> None:
    status, headers, body = request(clickhouse, method="GET", query="SELECT 1 AS x", default_format="JSON")
    answer = json.loads(body)
    assert (status, headers["Content-Type"]) == (200, "application/json; charset=UTF-8")
    assert (answer["meta"], answer["data"], answer["rows"]) == ([{"name": "x", "type": "UInt8"}], [{"x": 1}], 1)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("encoding", "compress"), [("", bytes), ("gzip", gzip.compress)])
def test_rows_in_the_body_of_an_insert_in_the_address(
    clickhouse: ClickHouse, database: Client, chunked: bool, encoding: str, compress: Callable[[bytes], bytes]
) -> None:
    database.command(TABLE)
    body = compress(b"1,one\n2,two\n")
    answered = request(
        clickhouse,
        in_pieces(body) if chunked else body,
        headers={"Content-Encoding": encoding} if encoding else {},
        query="INSERT INTO clicks FORMAT CSV",
        database=str(database.database),
    )
    assert (answered[0], answered[2]) == (200, b"")
    assert json.loads(answered[1]["X-ClickHouse-Summary"])["written_rows"] == "2"
    assert rows_in(database) == [(1, "one"), (2, "two")]


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd", "lz4"])
def test_answers_are_compressed_for_those_who_ask(clickhouse: ClickHouse, encoding: str) -> None:
    ask = functools.partial(request, clickhouse, b"SELECT 1", headers={"Accept-Encoding": f"{encoding};q=1, br"})
    assert ask(enable_http_compression="1")[1]["Content-Encoding"] == encoding
    assert ask()[2] == b"1\n"


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "words"),
    [
        ("GET", "/play", b"", {}, 404, b"There is no /play here"),
        ("PUT", "/", b"SELECT 1", {}, 405, b"PUT is not served"),
        ("DELETE", "/?query=SELECT+1", b"", {}, 405, b"DELETE is not served"),
        ("POST", "/", b"", {}, 400, b"Empty query"),
        ("POST", "/", b"SELECT 1; SELECT 2", {}, 400, b"Multi-statements are not allowed"),
        ("POST", "/", b"no gzip", {"Content-Encoding": "gzip"}, 400, b"The body is not gzip"),
        ("POST", "/", CUT_SHORT, {"Content-Encoding": "gzip"}, 400, b"in the middle of a frame"),
        ("POST", "/", b"SELECT 1", {"Content-Encoding": "rar"}, 400, b"Unknown Content-Encoding 'rar'"),
        ("POST", "/?decompress=1", b"SELECT 1", {}, 500, b"header of a compressed block"),
        ("POST", "/?client_protocol_version=99999", b"SELECT 1", {}, 400, b"name one from 54405 to 54491"),
        ("POST", "/?nope=1", b"SELECT 1", {}, 404, b"Unknown setting"),
        ("POST", "/?no-name=1", b"SELECT 1", {}, 404, b"Unknown setting 'no-name'"),
        ("POST", "/", b"SELECT 1", {"Origin": "null"}, 403, b"CLICKHOUSE_PASSWORD"),
        ("POST", "/", b"SELECT 1", {"Origin": "http://127.0.0.1.example.com"}, 403, b"CLICKHOUSE_PASSWORD"),
    ],
)
def test_what_is_not_served_says_what_to_do(
    clickhouse: ClickHouse, method: str, path: str, body: bytes, headers: dict[str, str], status: int, words: bytes
) -> None:
    answered = request(clickhouse, body, method=method, path=path, headers=headers)
    assert answered[0] == status
    # Drivers show the text of an error only with it.
    assert int(answered[1]["X-ClickHouse-Exception-Code"]) > 0
    assert words in answered[2]


def test_pages_of_this_machine_may_read_answers(clickhouse: ClickHouse) -> None:
    origin = {"Origin": "http://localhost:3000"}
    asked = {**origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-clickhouse-user"}
    assert request(clickhouse, method="OPTIONS", headers=asked)[0] == 200
    status, headers, _ = request(clickhouse, b"SELECT 1", headers=origin)
    assert (status, headers["Access-Control-Allow-Origin"]) == (200, origin["Origin"])
    foreign = {**asked, "Origin": "https://example.com"}
    assert request(clickhouse, method="OPTIONS", headers=foreign)[0] == 400


def test_client_that_hangs_up_ends_its_query(clickhouse: ClickHouse, database: Client) -> None:
    running = "SELECT count() FROM system.processes WHERE query LIKE '%hung_up%' AND query NOT LIKE '%processes%'"
    sql = b"SELECT count() AS hung_up FROM numbers(1e13) WHERE sipHash64(number) = 1"
    with socket.create_connection(("127.0.0.1", clickhouse.port)) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % len(sql) + sql)
        eventually(lambda: database.command(running))
    # Alone it would run until max_execution_time, longer than a test may take.
    eventually(lambda: database.command(running), equals=0)


def test_client_that_hangs_up_does_not_end_what_writes(clickhouse: ClickHouse, database: Client) -> None:
    database.command(TABLE)
    sql = b"INSERT INTO clicks SELECT sleep(0.5), 'written though its client has gone'"
    with socket.create_connection(("127.0.0.1", clickhouse.port)) as connection:
        head = f"POST /?database={database.database} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(sql)}\r\n\r\n"
        connection.sendall(head.encode() + sql)
        running = "SELECT count() FROM system.processes WHERE query LIKE 'INSERT INTO clicks%'"
        eventually(lambda: database.command(running))
    eventually(lambda: rows_in(database))
    assert rows_in(database) == [(0, "written though its client has gone")]


def test_fault_behind_the_first_strikes_the_second(clickhouse: ClickHouse) -> None:
    clickhouse.order_faults([Fault(kind="status", match="SELECT 1", after=1)])
    assert [request(clickhouse, b"SELECT 1")[0] for _ in range(3)] == [200, 503, 200]

"""`compress=1` and `decompress=1` over HTTP: answers, inserts, errors."""

import gzip
import http.client
import struct
from collections.abc import Callable, Mapping

import pytest
from clickhouse_connect.driver.client import Client

from streams.embedded.clickhouse import ClickHouse, blocks
from streams.embedded.clickhouse.codes import Code
from tests.integration.clickhouse_fixture import address, request
from tests.test_clickhouse_blocks import packed
from tests.test_clickhouse_encodings import PACK

pytestmark = pytest.mark.clickhouse

ENCODERS: dict[str, Callable[[bytes], bytes]] = {"": bytes, **PACK}
NUMBERS = b"SELECT number, toString(number) FROM numbers(300000) FORMAT TSV"


def post(
    clickhouse: ClickHouse, body: bytes, query: Mapping[str, str], headers: dict[str, str] | None = None
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """One request with these parameters: status, headers, body."""
    return request(clickhouse, body, headers=headers, path=address(query))


@pytest.mark.parametrize(("codec", "method"), [("", 0x82), ("lz4", 0x82), ("ZSTD", 0x90), ("NONE", 0x02)])
def test_answer_comes_in_blocks(clickhouse: ClickHouse, codec: str, method: int) -> None:
    asked = {"compress": "1", **({"network_compression_method": codec} if codec else {})}
    status, headers, body = post(clickhouse, NUMBERS, asked)
    assert status == 200
    assert body[16] == method
    assert blocks.decompressed(body) == request(clickhouse, NUMBERS)[2]
    assert headers["X-ClickHouse-Format"] == "TSV"


def test_answer_of_several_blocks_is_streamed(clickhouse: ClickHouse) -> None:
    _, headers, body = request(clickhouse, b"SELECT 1", compress="1")
    assert headers["Content-Length"] == str(len(body))
    streamed = request(clickhouse, NUMBERS, compress="1")[1]
    assert (streamed["Content-Length"], streamed["Transfer-Encoding"]) == (None, "chunked")


def test_empty_answer_has_no_block(clickhouse: ClickHouse) -> None:
    status, headers, body = request(clickhouse, b"SELECT 1 WHERE 0", compress="1")
    assert (status, headers["Content-Length"], body) == (200, "0", b"")


def test_blocks_may_have_a_content_encoding_too(clickhouse: ClickHouse) -> None:
    accepts = {"Accept-Encoding": "gzip"}
    _, headers, body = request(clickhouse, NUMBERS, headers=accepts, compress="1", enable_http_compression="1")
    assert headers["Content-Encoding"] == "gzip"
    assert blocks.decompressed(gzip.decompress(body)) == request(clickhouse, NUMBERS)[2]


@pytest.mark.parametrize("codec", ["LZ4", "LZ4HC", "ZSTD", "NONE"])
@pytest.mark.parametrize("sql_in_body", [True, False])
def test_insert_in_blocks(clickhouse: ClickHouse, database: Client, codec: str, sql_in_body: bool) -> None:
    database.command("CREATE TABLE clicks (id UInt64, name String) ENGINE = MergeTree ORDER BY id")
    sql, rows = "INSERT INTO clicks FORMAT CSV", b"".join(b"%d,%d\n" % (i, i) for i in range(200_000))
    where = {"database": str(database.database), "decompress": "1", **({} if sql_in_body else {"query": sql})}
    # Blocks of both halves, as a client sends them while it reads rows; gzip around them, as ClickHouse unpacks it.
    whole = sql.encode() + b"\n" + rows if sql_in_body else rows
    body = packed(whole[:1000], codec) + packed(whole[1000:], codec)
    for sent, headers in ((body, {}), (gzip.compress(body), {"Content-Encoding": "gzip"})):
        assert post(clickhouse, sent, where, headers)[0] == 200
    assert database.command("SELECT count(), sum(id) FROM clicks") == ["400000", "39999800000"]


@pytest.mark.parametrize("encoding", ["", "gzip", "br", "snappy"])
def test_blocks_go_into_and_out_of_a_table_of_a_session(clickhouse: ClickHouse, encoding: str) -> None:
    session = {"session_id": f"blocks {encoding}", "decompress": "1", "compress": "1"}
    assert post(clickhouse, packed(b"CREATE TEMPORARY TABLE t (a UInt32)"), session)[0] == 200
    rows = packed(b"1\n") + packed(b"2\n", "ZSTD")
    sent = ENCODERS[encoding](rows)
    headers = {"Content-Encoding": encoding} if encoding else {}
    assert post(clickhouse, sent, {**session, "query": "INSERT INTO t FORMAT CSV"}, headers)[0] == 200
    select = packed(b"SELECT sum(a) FROM t")
    assert blocks.decompressed(post(clickhouse, select, session)[2]) == b"3\n"
    _, answered, text = post(clickhouse, select, {**session, "session_timeout": "never"})
    assert answered["X-ClickHouse-Exception-Code"] == str(Code.INVALID_SESSION_TIMEOUT.value)
    assert b"INVALID_SESSION_TIMEOUT" in blocks.decompressed(text)
    post(clickhouse, packed(b"SELECT 1"), {**session, "close_session": "1"})


def test_blocks_come_behind_headers_of_progress(clickhouse: ClickHouse) -> None:
    sql = b"SELECT number, sleepEachRow(0.00001) FROM numbers(150000) SETTINGS max_block_size = 10000 FORMAT TSV"
    progress = {"send_progress_in_http_headers": "1", "http_headers_progress_interval_ms": "10"}
    _, headers, body = post(clickhouse, sql, {"compress": "1", **progress})
    assert headers["X-ClickHouse-Progress"]
    assert headers["Transfer-Encoding"] == "chunked"
    assert blocks.decompressed(body).count(b"\n") == 150_000


WRONG = bytearray(packed(b"SELECT 1"))
WRONG[3] ^= 1
CLAIMS_4_GB = bytes(16) + struct.pack("<BII", 0x82, 10, 2**32 - 1) + b"x"


@pytest.mark.parametrize(
    ("body", "status", "code", "words"),
    [
        (bytes(WRONG), 500, 40, b"checksum of a compressed block of 18 bytes does not match"),
        (packed(b"SELECT 1")[:-1], 500, 33, b"the body ends after 17 of it"),
        (packed(b"SELECT 1")[:20], 500, 33, b"ends in the header of a compressed block, after 20 bytes"),
        (CLAIMS_4_GB, 413, 39, b"claim 4294967295 bytes of data, more than 67108864"),
        (b"SELECT 1 FROM numbers(10)", 500, 432, b"Unknown codec family code"),
        (packed(b"SELECT nope"), 404, 47, b"Unknown expression identifier"),
    ],
    ids=["wrong checksum", "cut", "cut in the header", "claims 4 GB", "not compressed", "wrong SQL"],
)
def test_error_has_a_code_and_a_sentence(
    clickhouse: ClickHouse, body: bytes, status: int, code: int, words: bytes
) -> None:
    """Plain for a client that reads plain answers, in a block for one that reads blocks."""
    for asked in ({}, {"compress": "1"}):
        answered, headers, text = post(clickhouse, body, {"decompress": "1", **asked})
        assert (answered, headers["X-ClickHouse-Exception-Code"]) == (status, str(code))
        text = blocks.decompressed(text) if asked else text
        assert text.startswith(b"Code: %d. DB::Exception: " % code)
        assert words in text
        assert b"(version " in text


def test_unknown_codec_is_refused_before_an_insert(clickhouse: ClickHouse, database: Client) -> None:
    database.command("CREATE TABLE clicks (id UInt64) ENGINE = MergeTree ORDER BY id")
    sql = f"INSERT INTO {database.database}.clicks VALUES (1)".encode()
    status, headers, _ = request(clickhouse, sql, compress="1", network_compression_method="brotli")
    assert (status, headers["X-ClickHouse-Exception-Code"]) == (400, "432")
    assert database.command("SELECT count() FROM clicks") == 0

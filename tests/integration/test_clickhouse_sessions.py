"""What a session with a name remembers, for whom, and for how long."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from streams.embedded.clickhouse import ClickHouse
from tests.integration.clickhouse_fixture import address, multipart, request
from tests.waiting import eventually

pytestmark = pytest.mark.clickhouse

_names = (f"session-{number}" for number in itertools.count(1))


class Asking:
    """Requests in one session."""

    def __init__(self, server: ClickHouse, name: str, **always: str) -> None:
        self.server = server
        self.always = {"session_id": name, **always}

    def __call__(self, sql: str | bytes, **query: str) -> bytes:
        """The answer, or the code of the error."""
        body = sql.encode() if isinstance(sql, str) else sql
        status, headers, answer = request(self.server, body, path=address(self.always | query))
        return answer if status == 200 else headers["X-ClickHouse-Exception-Code"].encode()


@pytest.fixture
def ask(clickhouse: ClickHouse) -> Asking:
    return Asking(clickhouse, next(_names))


def test_temporary_table_lasts_for_the_session_and_is_nobody_elses(clickhouse: ClickHouse, ask: Asking) -> None:
    assert ask("CREATE TEMPORARY TABLE kept (a UInt8)") == b""
    assert ask("INSERT INTO kept VALUES (1), (1 + 1)") == b""
    assert ask("INSERT INTO kept SELECT 3") == b""
    assert ask("3\n", query="INSERT INTO kept FORMAT CSV") == b""
    assert ask("SELECT sum(a) FROM kept") == b"9\n"
    assert Asking(clickhouse, next(_names))("SELECT * FROM kept") == b"60"
    assert request(clickhouse, b"SELECT * FROM kept")[0] == 404
    assert ask("DROP TEMPORARY TABLE kept") == b""
    assert ask("SELECT * FROM kept") == b"60"


@pytest.mark.parametrize("sql", ["SET max_threads = 7", "/* x */ SET max_threads = 7", "-- x\n set max_threads=7"])
def test_set_lasts_for_the_session(clickhouse: ClickHouse, ask: Asking, sql: str) -> None:
    asked = "SELECT getSetting('max_threads')"
    assert ask(sql) == b""
    assert ask(asked) == b"7\n"
    assert request(clickhouse, asked.encode())[2] != b"7\n"


def test_use_lasts_for_the_session_and_the_request_may_name_another(ask: Asking) -> None:
    assert ask("USE system") == b""
    assert ask("SELECT currentDatabase()") == b"system\n"
    assert ask("SELECT currentDatabase()", database="default") == b"default\n"
    assert ask("SELECT currentDatabase()") == b"system\n"
    assert ask("USE INFORMATION_SCHEMA", database="default") == b""
    assert ask("SELECT currentDatabase()") == b"INFORMATION_SCHEMA\n"


def test_settings_of_a_request_do_not_last(ask: Asking) -> None:
    asked = "SELECT getSetting('max_threads'), getSetting('max_block_size')"
    assert ask("SET max_threads = 7") == b""
    assert ask(asked, max_threads="3", max_block_size="99") == b"3\t99\n"
    assert ask(asked).startswith(b"7\t65")
    # Nor when the statement fails, or sets the same one.
    assert ask("SELECT nope", max_threads="3") == b"47"
    assert ask("SELECT 1", no_such_setting="3") == b"115"
    assert ask("SET max_threads = 5", max_threads="3") == b""
    assert ask(asked).startswith(b"5\t65")


def test_parameters_of_a_request_do_not_last(ask: Asking) -> None:
    assert ask("CREATE TEMPORARY TABLE kept (a String)") == b""
    assert ask("INSERT INTO kept VALUES ({name:String})", param_name="x") == b""
    assert ask("SELECT {name:String}") == b"456"
    assert ask("SELECT a, {name:String} FROM kept", param_name="y") == b"x\ty\n"
    assert ask("SELECT {name:String}") == b"456"
    # Nor when the statement fails.
    assert ask("INSERT INTO nope VALUES ({name:String})", param_name="x") == b"60"
    assert ask("SELECT {name:String}") == b"456"
    assert ask("SET param_name = 'z'") == b""
    assert ask("SELECT {name:String}") == b"z\n"


def test_long_values_do_not_forbid_expressions_to_the_session(ask: Asking) -> None:
    assert ask("CREATE TEMPORARY TABLE kept (a UInt64)") == b""
    assert ask("INSERT INTO kept VALUES " + ", ".join(f"({number})" for number in range(20_000))) == b""
    assert ask("INSERT INTO kept VALUES (1 + 1)") == b""


def test_answers_tell_the_time_zone_of_the_session(clickhouse: ClickHouse, ask: Asking) -> None:
    assert ask("SET session_timezone = 'Asia/Tokyo'") == b""
    _, headers, _ = request(clickhouse, b"SELECT 1", path=address(ask.always))
    assert headers["X-ClickHouse-Timezone"] == "Asia/Tokyo"


@pytest.mark.parametrize(
    ("query", "code", "words"),
    [
        ({"session_check": "1"}, 372, "not found"),
        ({"session_id": ""}, 744, "cannot be empty"),
        ({"session_timeout": "3601"}, 374, "larger than max_session_timeout: 3600"),
        ({"session_timeout": "9" * 99}, 374, "larger than max_session_timeout: 3600"),
        ({"session_timeout": "-1"}, 374, "Invalid session timeout: '-1'"),
        ({"session_timeout": "x"}, 374, "Invalid session timeout: 'x'"),
    ],
)
def test_session_that_cannot_be_is_refused_by_its_number(
    clickhouse: ClickHouse, query: dict[str, str], code: int, words: str
) -> None:
    status, headers, body = request(clickhouse, b"SELECT 1", path=address({"session_id": next(_names)} | query))
    assert (status, headers["X-ClickHouse-Exception-Code"]) == (500, str(code))
    assert words in body.decode()


def test_session_of_another_user_is_another_one(clickhouse: ClickHouse, ask: Asking) -> None:
    assert ask("SET max_threads = 7", user="alice") == b""
    assert ask("SELECT getSetting('max_threads')", user="alice", session_check="1") == b"7\n"
    assert ask("SELECT 1", user="bob", session_check="1") == b"372"
    assert ask("SELECT getSetting('max_threads')", user="bob") != b"7\n"


def test_session_takes_one_request_at_a_time(ask: Asking) -> None:
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask, "SELECT sleep(2)", query_id="of the session")
        running = "SELECT count() FROM system.processes WHERE query_id = 'of the session'"
        eventually(lambda: request(ask.server, running.encode())[2], equals=b"1\n")
        assert ask("SELECT 1") == b"373"
        assert first.result() == b"0\n"
    assert ask("SELECT 1") == b"1\n"


def test_session_ends_when_its_time_is_over_or_it_is_closed(ask: Asking) -> None:
    assert ask("CREATE TEMPORARY TABLE kept (a UInt8)", session_timeout="1") == b""
    # Each request may name another time; that of the last one counts.
    eventually(lambda: ask("SELECT * FROM kept", session_timeout="0", session_check="1"), equals=b"372")
    assert ask("CREATE TEMPORARY TABLE kept (a UInt8)") == b""
    assert ask("SELECT * FROM kept", close_session="1") == b""
    assert ask("SELECT 1", session_check="1") == b"372"
    assert ask("SELECT * FROM kept") == b"60"


def test_without_a_session_nothing_lasts_as_at_a_server(clickhouse: ClickHouse) -> None:
    for sql in (b"SET max_threads = 7", b"USE system", b"CREATE TEMPORARY TABLE gone (a UInt8)"):
        assert request(clickhouse, sql)[0] == 200
    assert request(clickhouse, b"SELECT * FROM gone")[1]["X-ClickHouse-Exception-Code"] == "60"


@pytest.mark.parametrize(
    ("sql", "query"),
    [("SET readonly = 1", {}), ("SET max_threads = 1, readonly = 2", {}), ("SELECT 1", {"readonly": "1"})],
)
def test_readonly_that_a_session_could_not_leave_is_refused(ask: Asking, sql: str, query: dict[str, str]) -> None:
    assert ask("SET max_threads = 7") == b""
    assert ask(sql, **query) == b"48"
    assert ask("INSERT INTO FUNCTION null('a UInt8') SELECT 1") == b""


def test_get_in_a_session_reads_only(clickhouse: ClickHouse, ask: Asking, database: Client) -> None:
    def get(sql: str) -> bytes:
        status, headers, body = request(clickhouse, method="GET", path=address(ask.always | {"query": sql}))
        return body if status == 200 else headers["X-ClickHouse-Exception-Code"].encode()

    assert get("SET max_threads = 7") == b""
    assert get("CREATE TEMPORARY TABLE kept (a UInt8)") == b""
    assert get("SELECT getSetting('max_threads')") == b"7\n"
    name = database.database
    for sql in (
        f"CREATE TABLE {name}.t (a UInt8) ENGINE = Memory",
        "INSERT INTO FUNCTION null('a UInt8') SELECT 1",
        "INSERT INTO FUNCTION null('a UInt8') VALUES (1)",
        "SYSTEM STOP MERGES",
        f"DROP DATABASE {name}",
        "KILL QUERY WHERE 1",
    ):
        assert get(sql) == b"164"
    assert ask("INSERT INTO kept VALUES (1)") == b""


def test_paths_that_lead_outside_are_closed_in_a_session_too(ask: Asking) -> None:
    assert ask("SET max_threads = 7") == b""
    assert ask("SELECT 1 INTO OUTFILE '/tmp/never'") == b"358"
    assert ask("SELECT * FROM file('/etc/hostname', LineAsString)") == b"497"
    assert ask("CREATE TEMPORARY TABLE t (a String) ENGINE = File(TSV, '/tmp/never')") == b"497"
    assert ask("USE no_files") == b"497"
    assert ask("SELECT 1", database="no_files") == b"497"


def form(server: ClickHouse, files: dict[str, bytes], fields: dict[str, str] | None = None, /, **query: str) -> Any:
    body, headers = multipart(files, fields or {})
    status, answered, answer = request(server, body, headers=headers, path=address(query))
    return answer if status == 200 else answered["X-ClickHouse-Exception-Code"].encode()


def test_external_tables_are_there_for_their_request(clickhouse: ClickHouse) -> None:
    sql = "SELECT count(), max(x) FROM ids"
    assert form(clickhouse, {"ids": b"1\n2\n"}, query=sql, ids_structure="x UInt8") == b"2\t2\n"
    assert (
        form(clickhouse, {"ids": b"1,a\n"}, query="SELECT _2 FROM ids", ids_types="UInt8,String", ids_format="CSV")
        == b"a\n"
    )
    two = "SELECT a, b FROM l JOIN r USING (a)"
    described = {"l_structure": "a UInt8", "r_structure": "a UInt8, b String", "query": two}
    assert form(clickhouse, {"l": b"1\n", "r": b"1\tx\n"}, described) == b"1\tx\n"
    assert request(clickhouse, b"SELECT * FROM ids")[1]["X-ClickHouse-Exception-Code"] == "60"


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n", b"\r", b"\r\n--", b"\r\n--of-for", b"\x00\xff\x0b\x85\n"])
def test_bytes_of_an_external_table_arrive_as_they_are(clickhouse: ClickHouse, ending: bytes) -> None:
    rows = bytes(range(256)) + ending
    described = {"t_structure": "s String", "t_format": "RawBLOB"}
    assert form(clickhouse, {"t": rows}, query="SELECT s FROM t FORMAT RawBLOB", **described) == rows


def test_external_table_in_a_session_ends_with_its_request(clickhouse: ClickHouse, ask: Asking) -> None:
    assert ask("CREATE TEMPORARY TABLE kept (x UInt8)") == b""
    joined = "SELECT count() FROM ids, kept"
    for _ in range(2):
        assert form(clickhouse, {"ids": b"1\n"}, query=joined, ids_structure="x UInt8", **ask.always) == b"0\n"
    assert ask(joined) == b"60"
    # ClickHouse refuses a second table of a name, too.
    assert form(clickhouse, {"kept": b"1\n"}, query=joined, kept_structure="x UInt8", **ask.always) == b"57"


@pytest.mark.parametrize(
    ("described", "code"),
    [
        ({}, b"36"),
        ({"t_structure": "x Nope"}, b"50"),
        ({"t_structure": "x UInt8", "t_format": "Nope"}, b"73"),
        ({"t_structure": "x UInt8"}, b"27"),
        ({"t_structure": "x String) ENGINE = File(TSV, '/tmp/never'"}, b"497"),
        ({"t_structure": "x String DEFAULT file('/etc/hostname')"}, b"497"),
        ({"t_structure": "x String); SELECT (1"}, b"62"),
    ],
)
def test_external_table_that_cannot_be_is_refused(
    clickhouse: ClickHouse, described: dict[str, str], code: bytes
) -> None:
    assert form(clickhouse, {"t": b"no number\n"}, query="SELECT * FROM t", **described) == code


def test_form_that_is_cut_off_or_too_large_is_400(clickhouse: ClickHouse) -> None:
    body, headers = multipart({"t": b"1\n"}, {"query": "SELECT 1"})
    assert request(clickhouse, body[:-6], headers=headers)[0] == 400
    assert request(clickhouse, body, headers={"Content-Type": "multipart/form-data"})[0] == 400
    described = {f"t{number}_structure": "x UInt8" for number in range(101)}
    many, headers = multipart({f"t{number}": b"1\n" for number in range(101)}, described | {"query": "SELECT 1"})
    assert request(clickhouse, many, headers=headers)[0] == 400

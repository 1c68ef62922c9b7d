"""Statements while they run: their ids, who ends them, how far they are."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from clickhouse_connect.driver.client import Client

from streams.embedded.clickhouse import ClickHouse
from tests.integration.clickhouse_fixture import address, request
from tests.waiting import eventually

pytestmark = pytest.mark.clickhouse

# Alone it would run until max_execution_time, longer than a test may take.
ENDLESS = b"SELECT count() FROM numbers(1e13) WHERE sipHash64(number) = 1"
Started = Callable[..., "Future[tuple[int, str | None]]"]


@pytest.fixture
def start(clickhouse: ClickHouse) -> Iterator[Started]:
    """Starts a statement in a thread: status and code of the error."""
    with ThreadPoolExecutor(8) as pool:

        def started(sql: bytes, **query: str) -> Future[tuple[int, str | None]]:
            def run() -> tuple[int, str | None]:
                status, headers, _ = request(clickhouse, sql, path=address(query))
                return status, headers["X-ClickHouse-Exception-Code"]

            job = pool.submit(run)
            sql = b"SELECT count() FROM system.processes WHERE query_id = {id:String}"
            eventually(lambda: request(clickhouse, sql, param_id=query["query_id"])[2], equals=b"1\n")
            return job

        yield started
        request(clickhouse, b"KILL QUERY WHERE query_id LIKE 'run-%' SYNC")


def test_query_id_that_runs_is_refused_and_free_again_afterwards(clickhouse: ClickHouse, start: Started) -> None:
    job = start(ENDLESS, query_id="run-1")
    status, headers, body = request(clickhouse, b"SELECT 1", query_id="run-1")
    assert (status, headers["X-ClickHouse-Exception-Code"]) == (500, "216")
    assert b"Query with id = run-1 is already running" in body
    request(clickhouse, b"KILL QUERY WHERE query_id = 'run-1' SYNC")
    assert job.result() == (500, "394")
    assert request(clickhouse, b"SELECT 1", query_id="run-1")[0] == 200


def test_running_query_is_replaced_for_who_asks(clickhouse: ClickHouse, start: Started) -> None:
    job = start(ENDLESS, query_id="run-2")
    assert request(clickhouse, b"SELECT 1", query_id="run-2", replace_running_query="1")[2] == b"1\n"
    assert job.result() == (500, "394")


@pytest.mark.parametrize(
    ("kill", "status"),
    [
        ("KILL QUERY WHERE query_id = 'run-3' SYNC", "finished"),
        ("/* x */ kill query where query_id='run-3' -- AND 0\n sync;", "finished"),
        ("KILL QUERY WHERE query LIKE '%sipHash64%' AND user = 'default' ASYNC FORMAT TSV", "waiting"),
        ("KILL QUERY WHERE query_id IN (SELECT query_id FROM system.processes WHERE elapsed >= 0)", "waiting"),
    ],
)
def test_kill_ends_a_running_query_and_names_it(clickhouse: ClickHouse, start: Started, kill: str, status: str) -> None:
    job = start(ENDLESS, query_id="run-3")
    _, headers, body = request(clickhouse, kill.encode(), query_id="killer")
    rows = [line.split("\t")[:3] for line in body.decode().splitlines()]
    assert [status, "run-3", "default"] in rows
    assert all(query_id != "killer" for _, query_id, _ in rows)
    assert headers["X-ClickHouse-Format"] in ("TSV", "TabSeparated")
    assert job.result() == (500, "394")


def test_kill_that_finds_nothing_or_tests_ends_nothing(clickhouse: ClickHouse, start: Started) -> None:
    job = start(ENDLESS, query_id="run-4")
    assert request(clickhouse, b"KILL QUERY WHERE query_id = 'run-5' SYNC")[0::2] == (200, b"")
    assert request(clickhouse, b"KILL QUERY WHERE query_id = 'run-4' TEST")[2].startswith(b"run-4\tdefault\tSELECT")
    assert request(clickhouse, b"KILL QUERY WHERE nope = 'run-4'")[1]["X-ClickHouse-Exception-Code"] == "47"
    assert not job.done()


def test_insert_can_be_killed(clickhouse: ClickHouse, start: Started) -> None:
    job = start(b"INSERT INTO FUNCTION null('a UInt64') SELECT number FROM numbers(1e13)", query_id="run-6")
    request(clickhouse, b"KILL QUERY WHERE query_id = 'run-6' SYNC")
    assert job.result() == (500, "394")


def test_who_ends_queries_does_not_wait_for_them(clickhouse: ClickHouse, start: Started) -> None:
    # As many as the front has threads for.
    jobs = [start(ENDLESS, query_id=f"run-7-{number}") for number in range(3)]
    with ThreadPoolExecutor(4) as pool:
        more = [pool.submit(request, clickhouse, ENDLESS, query_id=f"run-8-{number}") for number in range(4)]
        shown = "SHOW PROCESSLIST FORMAT JSONEachRow"
        eventually(lambda: request(clickhouse, shown.encode())[2].count(b'"query_id":"run-') == 4)
        for _ in range(2):
            request(clickhouse, b"KILL QUERY WHERE query_id LIKE 'run-%' SYNC")
        assert all(job.result() == (500, "394") for job in jobs)
        assert all(job.result()[0] == 500 for job in more)


def test_processes_are_shown_under_the_ids_of_clients(clickhouse: ClickHouse) -> None:
    asked = (
        b"SELECT query_id, initial_query_id, queryID(), mapContains(Settings, 'promql_table') FROM system.processes "
    )
    asked += b"WHERE query_id = query_id()"
    assert request(clickhouse, asked, query_id="it's mine")[2] == b"it\\'s mine\tit\\'s mine\tit\\'s mine\t0\n"
    rows = json.loads(request(clickhouse, b"SHOW PROCESSLIST FORMAT JSON", query_id="it's mine")[2])["data"]
    assert "it's mine" in [row["query_id"] for row in rows]
    assert "engine_id" not in rows[0]
    # A text is no name of a table.
    assert request(clickhouse, b"SELECT 'system.processes', 'queryID()'")[2] == b"system.processes\tqueryID()\n"


@pytest.mark.parametrize("query_id", ["žluť", "a\r\nX-Injected: 1", "\x00"])
def test_query_id_of_any_letters_is_answered(clickhouse: ClickHouse, query_id: str) -> None:
    status, headers, body = request(clickhouse, b"SELECT 1", query_id=query_id)
    assert (status, body) == (200, b"1\n")
    assert "X-Injected" not in headers


def heads(clickhouse: ClickHouse, target: str) -> list[tuple[float, bytes]]:
    """Lines of the head of an answer, each with the seconds after the request."""
    with socket.create_connection(("127.0.0.1", clickhouse.port), timeout=60) as connection:
        begun = time.monotonic()
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        lines = connection.makefile("rb")
        found: list[tuple[float, bytes]] = []
        while line := lines.readline().strip():
            found.append((time.monotonic() - begun, line))
        length = next(int(line.split(b":")[1]) for _, line in found if line.lower().startswith(b"content-length"))
        return [*found, (time.monotonic() - begun, lines.read(length))]


PROGRESS = "/?send_progress_in_http_headers=1&http_headers_progress_interval_ms=10&query="


def test_headers_of_progress_come_while_the_query_runs(clickhouse: ClickHouse) -> None:
    lines = heads(clickhouse, PROGRESS + "SELECT+count(),sum(sleepEachRow(0.1))+FROM+numbers(10)&max_block_size=1")
    progress = [(at, line) for at, line in lines if line.startswith(b"X-ClickHouse-Progress: {")]
    assert lines[0][1] == b"HTTP/1.1 200 OK"
    assert lines[-1][1] == b"10\t0\n"
    assert lines[-1][0] - progress[0][0] > 0.2
    read = [int(json.loads(line.split(b": ", 1)[1])["read_rows"]) for _, line in progress]
    assert read == sorted(read)
    assert sum(line.startswith(b"HTTP/") for _, line in lines) == 1


def test_error_behind_headers_of_progress_has_its_code(clickhouse: ClickHouse) -> None:
    sql = "SELECT+throwIf(number=9)+FROM+numbers(10)+WHERE+sleepEachRow(0.1)=0&max_block_size=1"
    lines = [line for _, line in heads(clickhouse, PROGRESS + sql)]
    assert lines[0] == b"HTTP/1.1 200 OK"
    assert b"x-clickhouse-exception-code: 395" in [line.lower() for line in lines]
    assert lines[-1].startswith(b"Code: 395. DB::Exception: ")


def test_no_progress_unless_asked_for(clickhouse: ClickHouse, database: Client) -> None:
    _, headers, _ = request(clickhouse, b"SELECT sleepEachRow(0.2) FROM numbers(3)", max_block_size="1")
    assert "X-ClickHouse-Progress" not in headers

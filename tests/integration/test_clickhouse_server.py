"""The embedded ClickHouse as a process: killed, stopped, out of room, working by itself, beside slow clients."""

import contextlib
import http.client
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from schemas.errors import SettingsError
from streams.cli.commands.up import take_password
from streams.embedded.clickhouse import ClickHouse
from streams.embedded.clickhouse.connections import MAX_CONNECTIONS
from streams.embedded.clickhouse.password import keep_password, kept_password, password_file
from tests.integration.clickhouse_fixture import request
from tests.waiting import eventually

pytestmark = pytest.mark.clickhouse

TABLE = b"CREATE TABLE default.clicks (id UInt64, name String) ENGINE = MergeTree ORDER BY id"
ENDLESS = "SELECT toDateTime(count()) AS at FROM numbers(1e13) WHERE sipHash64(number) = 1"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ClickHouse]:
    """A running server of the test's own, which it may stop and kill."""
    with ClickHouse(tmp_path) as clickhouse:
        yield clickhouse


def value(server: ClickHouse, sql: str) -> str:
    """The one value a statement gives."""
    status, _, body = request(server, sql.encode())
    assert status == 200, body
    return body.decode().strip()


def wait_for(server: ClickHouse, sql: str, expected: str) -> None:
    """Returns once `sql` gives `expected`."""
    eventually(lambda: value(server, sql), equals=expected)


def test_kill_amid_inserts_loses_nothing_acknowledged(server: ClickHouse) -> None:
    request(server, TABLE)
    enough, acknowledged = threading.Event(), []

    def insert(writer: int) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            for number in range(writer, 1_000_000, 2):
                # Seven rows each, so that a half of one would show.
                rows = b"".join(b"%d,%d\n" % (number, row) for row in range(7))
                assert request(server, b"INSERT INTO default.clicks FORMAT CSV\n" + rows)[0] == 200
                acknowledged.append(number)
                if len(acknowledged) > 60:
                    enough.set()

    with ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(insert, writer) for writer in (0, 1)]
        assert enough.wait(60)
        server.kill()
        for writer in writers:
            writer.result()
    server.start()
    kept = value(server, "SELECT groupArray((id, n)) FROM (SELECT id, count() n FROM default.clicks GROUP BY 1)")
    counts = dict(pair.split(",") for pair in kept.strip("[()]").split("),("))
    assert len(acknowledged) > 60
    assert {str(number) for number in acknowledged} <= counts.keys()
    # What was under way is there whole or not at all.
    assert set(counts.values()) == {"7"}
    assert len(counts) <= len(acknowledged) + 2
    assert request(server, b"INSERT INTO default.clicks VALUES (0, 'goes on')")[0] == 200


def test_stop_answers_what_runs_and_closes_in_order(server: ClickHouse) -> None:
    request(server, TABLE)
    with ThreadPoolExecutor(2) as pool:
        insert = pool.submit(request, server, b"INSERT INTO default.clicks SELECT 1, toString(sleep(2))")
        query = pool.submit(request, server, ENDLESS.encode())
        wait_for(server, "SELECT count() FROM system.processes", "3")
        server.stop()
        assert insert.result()[0] == 200
        status, headers, _ = query.result()
        assert (status, headers["X-ClickHouse-Exception-Code"]) == (500, "394")
    assert "Traceback" not in server.log_path.read_text()
    server.start()
    assert value(server, "SELECT count() FROM default.clicks") == "1"


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits of another process can be set on Linux alone")
def test_rows_that_find_no_room_are_refused_with_243(server: ClickHouse) -> None:
    request(server, TABLE)
    rows = b"INSERT INTO default.clicks FORMAT CSV\n" + b"1,same\n" * 100_000
    # In place of a full disk: files that can't grow.
    before = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (100_000, before[1]))
    status, headers, _ = request(server, rows)
    assert (status, headers["X-ClickHouse-Exception-Code"]) == (500, "243")
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, before)
    assert value(server, "SELECT count() FROM default.clicks") == "0"
    assert request(server, rows)[0] == 200


def test_views_refresh_unasked_and_neither_stop_nor_drop_waits_for_them(server: ClickHouse) -> None:
    refreshes = "CREATE MATERIALIZED VIEW d.{} REFRESH EVERY 1 SECOND APPEND TO d.t AS {}"
    for sql in (
        "CREATE DATABASE d",
        "CREATE TABLE d.t (at DateTime64(9)) ENGINE = MergeTree ORDER BY at",
        refreshes.format("quick", "SELECT now64(9) AS at"),
        refreshes.format("endless", ENDLESS),
    ):
        value(server, sql)
    wait_for(server, "SELECT count() >= 2 FROM d.t", "1")
    running = "SELECT status FROM system.view_refreshes WHERE view = 'endless'"
    wait_for(server, running, "Running")
    pid = server.pid
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: not server.alive, what="the end of the server")
    assert "Traceback" not in server.log_path.read_text()
    server.start()
    wait_for(server, running, "Running")
    seen = int(value(server, "SELECT count() FROM d.t"))
    wait_for(server, f"SELECT count() > {seen} FROM d.t", "1")
    value(server, "DROP DATABASE d SYNC")
    assert value(server, "SELECT count() FROM system.view_refreshes") == "0"
    wait_for(server, "SELECT count() FROM system.processes", "1")


def test_readers_beside_a_writer_never_fail_it_and_see_what_is_acknowledged(
    clickhouse: ClickHouse, database: Client
) -> None:
    name = str(database.database)
    database.command("CREATE TABLE big (k UInt64, v UInt64) ENGINE = ReplacingMergeTree(v) ORDER BY k")
    database.command("INSERT INTO big SELECT number, 1 FROM numbers(300000)")
    heavy = b"SELECT count(), sum(v), uniqExact(k % 100000) FROM big FINAL"
    done = threading.Event()

    def scan() -> int:
        scans = 0
        while not done.is_set():
            status, _, body = request(clickhouse, heavy, database=name)
            assert status == 200
            # An insert is seen whole or not at all.
            count, total, _ = map(int, body.split())
            assert (count % 10, total) == (0, count)
            scans += 1
        return scans

    with ThreadPoolExecutor(8) as pool:
        readers = [pool.submit(scan) for _ in range(8)]
        for number in range(20):
            first = 1_000_000 + 10 * number
            rows = b"".join(b"%d,1\n" % (first + row) for row in range(10))
            assert request(clickhouse, b"INSERT INTO big FORMAT CSV\n" + rows, database=name)[0] == 200
            seen = request(clickhouse, b"SELECT count() FROM big WHERE k >= %d" % first, database=name)
            assert seen[2] == b"10\n"
        done.set()
        assert all(reader.result() > 0 for reader in readers)


def test_queries_are_nicer_than_inserts(clickhouse: ClickHouse, database: Client) -> None:
    nice = "getSetting('os_threads_nice_value_query')"
    database.command(f"CREATE TABLE nices (id UInt8, nice Int32 DEFAULT {nice}) ENGINE = MergeTree ORDER BY id")
    database.insert("nices", [[1]], column_names=["id"])
    assert database.query(f"SELECT nice, {nice} FROM nices").result_rows == [(0, 10)]


def test_merges_are_nicer_than_inserts(database: Client) -> None:
    sql = "SELECT value FROM system.server_settings WHERE name = 'os_threads_nice_value_merge_mutate'"
    assert database.query(sql).result_rows == [("10",)]


def test_client_that_never_ends_its_headers_is_cut_off(tmp_path: Path) -> None:
    started = (
        "import sys, streams.embedded.clickhouse.connections as connections; connections.HEADERS_S = 0.2; "
        "from streams.embedded.clickhouse.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port, descriptor = listening.getsockname()[1], listening.fileno()
        command = [sys.executable, "-c", started, "--folder", str(tmp_path), "--descriptor", str(descriptor)]
        process = subprocess.Popen(command, pass_fds=[descriptor])
    try:
        for half in (b"", b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n"):
            with socket.create_connection(("127.0.0.1", port), timeout=60) as slow:
                slow.sendall(half)
                assert slow.recv(1) == b""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for _ in range(2):
            # Headers in time: an answer that takes longer than they may, on a connection that is kept.
            connection.request("POST", "/", b"SELECT sleep(0.5)")
            assert connection.getresponse().read() == b"0\n"
        connection.close()
    finally:
        process.terminate()
        process.wait(60)


def test_silent_clients_without_the_password_keep_nobody_out(tmp_path: Path) -> None:
    with ClickHouse(tmp_path, keeps_password=True) as server, contextlib.ExitStack() as silent:
        login = {"X-ClickHouse-User": "default", "X-ClickHouse-Key": server.password}
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as kept:
            kept.request("POST", "/", b"SELECT 1", login)
            assert kept.getresponse().read() == b"1\n"
            for _ in range(MAX_CONNECTIONS + 20):
                silent.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=60))
            # The one that was let in before is kept, and a new one is let in.
            kept.request("POST", "/", b"SELECT 2", login)
            assert kept.getresponse().read() == b"2\n"
            assert request(server, b"SELECT 3", headers=login)[2] == b"3\n"


def test_password_of_another_clickhouse_is_not_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLICKHOUSE_PASSWORD", "of another")
    with ClickHouse(tmp_path, keeps_password=True) as server:
        assert request(server, b"SELECT 1", user="default", password="of another")[0] == 403
        with server.warehouse.connect_to_server() as client:
            assert client.command("SELECT 1") == 1


def test_kept_password_is_random_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    with ClickHouse(tmp_path, keeps_password=True) as server:
        assert request(server, b"SELECT 1")[0] == 401
        assert request(server, method="GET", query="SELECT 1")[0] == 401
        assert request(server, b"SELECT 1", user="default", password=server.password)[2] == b"1\n"
        found = ClickHouse.attach(tmp_path)
        assert found is not None
        assert found.password == server.password
        assert server.password not in server.log_path.read_text()
    assert password_file(tmp_path).stat().st_mode & 0o777 == 0o600
    assert kept_password(tmp_path) != kept_password(tmp_path / "other")
    password_file(tmp_path).chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 600"):
        kept_password(tmp_path)


def test_up_takes_the_password_of_the_environment_and_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = ClickHouse(tmp_path, keeps_password=True)
    kept_password(tmp_path)
    monkeypatch.setenv("CLICKHOUSE_PASSWORD", "ch0sen#1")
    take_password(server)
    with server:
        assert request(server, b"SELECT 1", user="default", password="ch0sen#1")[2] == b"1\n"
        status, _, body = request(server, b"SELECT 1", user="default", password="wrong")
        assert status == 403
        assert b"the CLICKHOUSE_PASSWORD with which `clickfold up` was started" in body
        assert b"clickhouse/login.netrc below the data folder" in body
        take_password(server)
        monkeypatch.setenv("CLICKHOUSE_PASSWORD", "an0ther")
        with pytest.raises(SettingsError, match="run `clickfold down` first"):
            take_password(server)
    monkeypatch.delenv("CLICKHOUSE_PASSWORD")
    take_password(server)
    assert server.password == "ch0sen#1"
    assert password_file(tmp_path).stat().st_mode & 0o777 == 0o600
    # With an address it is the password of the ClickHouse there.
    monkeypatch.setenv("CLICKHOUSE_URL", "http://clickhouse:8123")
    monkeypatch.setenv("CLICKHOUSE_PASSWORD", "0fthat")
    take_password(server)
    assert server.password == "ch0sen#1"


@pytest.mark.parametrize("password", ["two words", 'quo"te', "it's", "back\\slash", "line\nend", "žluť"])
def test_password_that_the_file_cannot_hold_is_refused(tmp_path: Path, password: str) -> None:
    with pytest.raises(SettingsError, match="must be printable ASCII"):
        keep_password(tmp_path, password)

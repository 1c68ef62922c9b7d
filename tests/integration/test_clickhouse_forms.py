"""Every form of a request in `clickhouse_http/forms.toml` is answered as a ClickHouse server's documentation says."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from streams.embedded.clickhouse import ClickHouse
from streams.embedded.clickhouse.wire import decompressed
from tests.integration.clickhouse_fixture import multipart, request
from tests.test_clickhouse_encodings import PACK
from tests.waiting import eventually

pytestmark = pytest.mark.clickhouse

FORMS: list[dict[str, Any]] = tomllib.loads((Path(__file__).parent / "clickhouse_http" / "forms.toml").read_text())[
    "form"
]
KEYS = {
    *("name", "server", "differs", "ask", "headers", "answer", "matches", "status", "code", "has", "lacks", "beside"),
    *("packed", "files", "fields", "default_database", "login"),
}
Answer = tuple[int, Any, bytes]


def sent(ask: str, before: bytes) -> tuple[str, str, bytes]:
    """Method, target and body of a line of the table. Its letters are bytes: letters beyond Latin-1 are not in it."""
    method, target, *body = ask.split(" ", 2)
    text = body[0] if body else ""
    return method, target, before if text == "<" else text.encode("latin-1")


@pytest.fixture
def beside(clickhouse: ClickHouse) -> Iterator[Callable[[str], None]]:
    """Runs a statement until the test ends."""
    with ThreadPoolExecutor(1) as pool:

        def run(sql: str) -> None:
            pool.submit(request, clickhouse, sql.encode(), query_id="beside")
            running = b"SELECT count() FROM system.processes WHERE query_id = 'beside'"
            eventually(lambda: request(clickhouse, running)[2], equals=b"1\n")

        yield run
        request(clickhouse, b"KILL QUERY WHERE query_id = 'beside' SYNC")


def run(clickhouse: ClickHouse, form: dict[str, Any], database: str) -> Answer:
    """The answer to the last request of a form; the ones before it must succeed."""
    answered: Answer = 200, {}, b""
    for ask in form["ask"]:
        assert answered[0] == 200, answered
        method, target, body = sent(ask, answered[2])
        headers = {"X-ClickHouse-Database": database} if form.get("default_database", True) else {}
        headers |= form.get("headers", {})
        if "files" in form or "fields" in form:
            files = {name: rows.encode() for name, rows in form.get("files", {}).items()}
            body, of_form = multipart(files, form.get("fields", {}))
            headers |= of_form
        if "packed" in form and "query=INSERT" in target:
            body = PACK[form["packed"]](body)
            headers["Content-Encoding"] = form["packed"]
        # The client writes this header itself.
        chunks = iter([body]) if headers.pop("Transfer-Encoding", None) else body
        answered = request(clickhouse, chunks, method=method, path=target, headers=headers)
    return answered


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    """A server that asks for the password `secret`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLICKHOUSE_PASSWORD", "secret")
        with ClickHouse(tmp_path_factory.mktemp("guarded")) as server:
            yield server


@pytest.mark.parametrize("form", [pytest.param(form, id=form["name"]) for form in FORMS])
def test_form_is_answered_as_by_a_server(
    clickhouse: ClickHouse,
    guarded: ClickHouse,
    golden: Client,
    database: Client,
    beside: Callable[[str], None],
    form: dict[str, Any],
) -> None:
    database.command("CREATE TABLE z (a UInt8, s String DEFAULT 'd') ENGINE = MergeTree ORDER BY a")
    if "beside" in form:
        beside(form["beside"])
    server = clickhouse if form.get("login", True) else guarded
    name = str(database.database) if form.get("login", True) else "default"
    status, headers, body = run(server, form, name)
    assert status == form.get("status", 200), body
    assert (
        headers["X-ClickHouse-Exception-Code"] == (str(form["code"]) if "code" in form else None) or "code" not in form
    )
    text = decompressed(body, headers["Content-Encoding"] or "")
    if "answer" in form:
        assert text.decode("utf-8", errors="replace") == form["answer"]
    if "matches" in form:
        assert re.search(
            form["matches"], text.decode("utf-8" if text.isascii() or "┃" in form["matches"] else "latin-1")
        )
    for header in form.get("has", []):
        key, pattern = header.split(": ", 1)
        assert re.fullmatch(pattern, headers[key] or ""), headers.items()
    for key in form.get("lacks", []):
        assert headers[key] is None


def test_table_has_each_form_once_and_says_where_a_server_is_described() -> None:
    names = [form["name"] for form in FORMS]
    assert len(names) == len(set(names))
    # 80 forms of curl and 22 faults that the front had, some of them the same.
    assert len(names) >= 95
    for form in FORMS:
        assert set(form) <= KEYS, form
        assert form["server"]
        assert {"answer", "matches", "has", "status"} & set(form), form["name"]

"""Connecting to ClickHouse, with no retries but those counted here."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.httpclient import HttpClient
from urllib3 import BaseHTTPResponse, Retry
from urllib3.exceptions import InvalidHeader

from schemas.clickhouse.migrations import require_applied
from schemas.errors import SettingsError
from streams.warehouse.failures import ErrorAnswer

# An insert of 50,000 rows takes 0.1 s; one that takes a minute has lost its server, and may be sent again.
ANSWER_TIMEOUT_S: Final = 60

CONNECT_TIMEOUT_S: Final = 5
# A setting that inserts have, and nothing else; so it tells them in a request's address.
INSERTS: Final = "insert_deduplication_token"
_CODE = re.compile(r"\bCode: (\d+)\.")


def connect(
    url: str, *, database: str = "", user: str = "", password: str = "", answer_s: int = ANSWER_TIMEOUT_S
) -> Client:
    """A client for `http(s)://[user:password@]host[:port]`, on `database` unless that is empty; close it when done.

    An insert fails at once when nobody answers within `answer_s`, or with an error. One thing clickhouse-connect does
    repeat, once and after 0.1 s: a request whose connection the other side closed, as a kept one may have been before
    it was sent. Of what only reads it repeats 429, 503 and 504, twice.

    Raises SettingsError for another kind of address, clickhouse-connect's OperationalError when nobody answers.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError(
            f"ClickHouse address {parts.scheme}://… is not http(s)://host:port, as http://localhost:8123"
        )
    client = clickhouse_connect.get_client(
        interface=parts.scheme,
        host=parts.hostname,
        port=parts.port or (8443 if parts.scheme == "https" else 8123),
        username=user or unquote(parts.username or "") or None,
        password=password_of(url, password),
        database=database or None,
        compress="lz4",
        # A session allows one statement at a time, and would be kept by the server for nothing.
        autogenerate_session_id=False,
        connect_timeout=CONNECT_TIMEOUT_S,
        send_receive_timeout=answer_s,
        # Closed with the client, not shared with others of this process.
        dedicated_pool=True,
    )
    assert isinstance(client, HttpClient)
    client.http_retries = 0
    # An attribute of this pool of our own: clickhouse-connect takes a pool of another class, but would not close it.
    client.http.urlopen = _heeding(client.http.urlopen)  # type: ignore[method-assign]
    return client


def password_of(url: str, password: str = "") -> str:
    """The password a connection uses: the one given, else the address's."""
    return password or unquote(urlsplit(url).password or "")


def _heeding(urlopen: Callable[..., BaseHTTPResponse]) -> Callable[..., BaseHTTPResponse]:
    """`urlopen`, but raising ErrorAnswer for what clickhouse-connect's errors do not have: when to come back, and an
    exception that came too late for the status, which would be rows acknowledged and not there."""

    def heeded(method: str, url: str, *rest: Any, **more: Any) -> BaseHTTPResponse:
        answer = urlopen(method, url, *rest, **more)
        retry_after_s = _retry_after_s(answer) if answer.status >= 400 else None
        # The answer to an insert that went well is empty.
        if retry_after_s is None and (answer.status >= 300 or INSERTS not in url or not answer.data):
            return answer
        text = answer.data.decode(errors="replace")
        code = answer.headers.get("X-ClickHouse-Exception-Code", "") or (_CODE.search(text) or ("", ""))[1]
        answer.close()
        raise ErrorAnswer(answer.status, int(code) if code.isdecimal() else None, text, retry_after_s or 0.0)

    return heeded


def _retry_after_s(answer: BaseHTTPResponse) -> float | None:
    try:
        return Retry().get_retry_after(answer)
    except InvalidHeader:
        return None


@dataclass(frozen=True, slots=True)
class Warehouse:
    """How to reach ClickHouse. `cluster` names its cluster of replicas that has the tables, if any."""

    url: str
    database: str = "ads"
    _: KW_ONLY
    user: str = ""
    password: str = field(default="", repr=False)
    cluster: str = ""

    def connect(self, *, answer_s: int = ANSWER_TIMEOUT_S) -> Client:
        """A client on the database; see `connect`."""
        return connect(self.url, database=self.database, user=self.user, password=self.password, answer_s=answer_s)

    def connect_to_server(self, *, answer_s: int = ANSWER_TIMEOUT_S) -> Client:
        """A client on no database: ours may have to be created."""
        return connect(self.url, user=self.user, password=self.password, answer_s=answer_s)

    def open(self) -> Client:
        """A client on tables as this program knows them. Raises SettingsError."""
        client = self.connect()
        try:
            require_applied(client, database=self.database)
        except BaseException:
            client.close()
            raise
        return client

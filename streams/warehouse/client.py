"""Connects to ClickHouse, without the retries that clickhouse-connect would make by itself."""

from __future__ import annotations

import logging
import re
import ssl
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
from streams.warehouse.timeouts import ANSWER_TIMEOUT_S, CONNECT_TIMEOUT_S

# A setting that only inserts have: they are recognised by it in the URL of a request.
INSERTS: Final = "insert_deduplication_token"
_CODE = re.compile(r"\bCode: (\d+)\.")


def connect(
    url: str,
    *,
    database: str = "",
    user: str = "",
    password: str = "",
    ca_location: str = "",
    answer_s: int = ANSWER_TIMEOUT_S,
) -> Client:
    """A client for `http(s)://[user:password@]host[:port]`, on `database` unless that is empty; close it when done.

    An insert fails without a retry when there is no answer within `answer_s`, or an error. But clickhouse-connect still
    repeats a request once, after 0.1 s, when the server closed the connection: a kept-alive one may have been closed
    before the request was sent. It also repeats queries twice after a status of 429, 503 or 504.

    `ca_location` is a file of authorities to trust in place of the system's.

    Raises SettingsError for another kind of address or a file that cannot be read, clickhouse-connect's
    OperationalError when nobody answers.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError(
            f"ClickHouse address {parts.scheme}://… is not http(s)://host:port, as http://localhost:8123"
        )
    # What they log is raised too, and would be written over what a command shows: three lines for each broken
    # connection, such as "Unexpected Http Driver Exception". The sink warns once of each outage.
    for name in ("urllib3", "clickhouse_connect"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if ca_location:
        _require_authorities(ca_location)
    client = clickhouse_connect.get_client(
        interface=parts.scheme,
        host=parts.hostname,
        port=parts.port or (8443 if parts.scheme == "https" else 8123),
        username=user or unquote(parts.username or "") or None,
        password=password_of(url, password),
        database=database or None,
        ca_cert=ca_location or None,
        compress="lz4",
        # A session allows one statement at a time, and the server would keep it for no use.
        autogenerate_session_id=False,
        connect_timeout=CONNECT_TIMEOUT_S,
        send_receive_timeout=answer_s,
        # Closed with this client and not shared with other clients of the process.
        dedicated_pool=True,
    )
    assert isinstance(client, HttpClient)
    client.http_retries = 0
    # Replaced on this pool alone. clickhouse-connect accepts a pool of a class of ours, but would not close it.
    client.http.urlopen = _raising_error_answers(client.http.urlopen)  # type: ignore[method-assign]
    return client


def _require_authorities(location: str) -> None:
    try:
        ssl.create_default_context(cafile=location)
    except OSError as failure:
        raise SettingsError(
            f"CLICKHOUSE_CA_LOCATION={location} cannot be read ({failure}); give a file of certificates in PEM form"
        ) from failure


def password_of(url: str, password: str = "") -> str:
    """The password that a connection uses: the one given, else the one in the URL."""
    return password or unquote(urlsplit(url).password or "")


def _raising_error_answers(urlopen: Callable[..., BaseHTTPResponse]) -> Callable[..., BaseHTTPResponse]:
    """`urlopen` that raises ErrorAnswer in two cases that clickhouse-connect's own errors do not cover.

    These are an answer with Retry-After, and an insert with status 200 and an exception in its body: the exception came
    after the status was sent, and without this the rows would count as acknowledged.
    """

    def checked(method: str, url: str, *rest: Any, **more: Any) -> BaseHTTPResponse:
        answer = urlopen(method, url, *rest, **more)
        retry_after_s = _retry_after_s(answer) if answer.status >= 400 else None
        # The answer to a successful insert is empty.
        if retry_after_s is None and (answer.status >= 300 or INSERTS not in url or not answer.data):
            return answer
        text = answer.data.decode(errors="replace")
        code = answer.headers.get("X-ClickHouse-Exception-Code", "") or (_CODE.search(text) or ("", ""))[1]
        answer.close()
        raise ErrorAnswer(answer.status, int(code) if code.isdecimal() else None, text, retry_after_s or 0.0)

    return checked


def _retry_after_s(answer: BaseHTTPResponse) -> float | None:
    try:
        return Retry().get_retry_after(answer)
    except InvalidHeader:
        return None


@dataclass(frozen=True, slots=True)
class Warehouse:
    """How to reach ClickHouse. `cluster` is the cluster of replicas that has the tables, empty for none."""

    url: str
    database: str = "ads"
    _: KW_ONLY
    user: str = ""
    password: str = field(default="", repr=False)
    cluster: str = ""
    ca_location: str = ""

    def connect(self, *, answer_s: int = ANSWER_TIMEOUT_S) -> Client:
        """A client on the database; see `connect`."""
        return self._connect(self.database, answer_s=answer_s)

    def connect_to_server(self, *, answer_s: int = ANSWER_TIMEOUT_S) -> Client:
        """A client on no database: ours may have to be created."""
        return self._connect("", answer_s=answer_s)

    def _connect(self, database: str, *, answer_s: int) -> Client:
        return connect(
            self.url,
            database=database,
            user=self.user,
            password=self.password,
            ca_location=self.ca_location,
            answer_s=answer_s,
        )

    def open(self) -> Client:
        """A client for the database. Raises SettingsError when it lacks a migration."""
        client = self.connect()
        try:
            require_applied(client, database=self.database)
        except BaseException:
            client.close()
            raise
        return client

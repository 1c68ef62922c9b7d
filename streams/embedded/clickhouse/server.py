"""The embedded ClickHouse as a process of its own: start, stop, attach."""

import contextlib
import http.client
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import msgspec

from streams.embedded.clickhouse.faults import Fault
from streams.embedded.clickhouse.password import USER, kept_password
from streams.embedded.process import Process, ProcessError

if TYPE_CHECKING:
    from streams.warehouse.client import Warehouse

NAME = "clickhouse"
READY_BOUND_S = 60.0
# More than twice the grace that running queries get.
STOP_BOUND_S = 20.0


class ClickHouse:
    """ClickHouse over ``folder``, reached at ``url``. Data outlive the process, also after ``kill -9``.

    ``port`` None takes a free one at the first start and keeps it at later ones. With ``keeps_password`` the password
    is the one in the folder, see `password`; `clickfold up` puts CLICKHOUSE_PASSWORD there. Without ``keeps_password``
    it is CLICKHOUSE_PASSWORD of the environment, and when that is empty nobody needs one. Another ``host`` than
    loopback is refused without a password.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        host: str = "127.0.0.1",
        allow_faults: bool = False,
        keeps_password: bool = False,
    ) -> None:
        self.folder = folder
        self.host = host
        self._port = port
        self._allow_faults = allow_faults
        self._keeps_password = keeps_password
        self._process = Process(folder, NAME)

    @classmethod
    def attach(cls, folder: Path) -> "ClickHouse | None":
        """The ClickHouse that serves ``folder`` now, whoever started it; None when nobody does."""
        process = Process.attach(folder, NAME)
        if process is None:
            return None
        note = process.note
        clickhouse = cls(
            folder, port=int(note["port"]), host=note["host"], keeps_password=note.get("password") == "kept"
        )
        clickhouse._process = process
        return clickhouse

    def start(self, *, detached: bool = False) -> Self:
        """Return once it answers. Raises ProcessError with the end of its log; FolderInUseError when served already.

        It dies with this process, even by SIGKILL, unless ``detached``.
        """
        # Bound here and inherited: the port is known before the start, and no other program can take it.
        with socket.create_server((self.host, self._port or 0), backlog=128) as listening:
            self._port = int(listening.getsockname()[1])
            command = [
                *(sys.executable, "-m", "streams.embedded.clickhouse"),
                *("--folder", str(self.folder), "--descriptor", str(listening.fileno())),
                *(("--allow-faults",) if self._allow_faults else ()),
            ]
            self._process.start(
                command,
                # Times without a zone mean the same on every machine.
                environment={"TZ": "UTC", **self._login()},
                note={
                    "host": self.host,
                    "port": str(self._port),
                    "password": "kept" if self._keeps_password else "environment",
                },
                descriptors=[listening.fileno()],
                detached=detached,
            )
        self._process.wait_ready(self._answers, bound_s=READY_BOUND_S)
        return self

    def stop(self) -> None:
        """Shut it down: running queries get 5 s, then are cancelled. Idempotent."""
        self._process.stop(bound_s=STOP_BOUND_S)

    def kill(self) -> None:
        """Kill it (SIGKILL). Idempotent."""
        self._process.kill()

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.alive

    @property
    def pid(self) -> int:
        """Process id of the server."""
        return self._process.pid

    @property
    def port(self) -> int:
        """Port it listens on; known from the first start on."""
        if self._port is None:
            raise ValueError(f"ClickHouse in {self.folder} has no port before its first start: call start().")
        return self._port

    @property
    def url(self) -> str:
        """Address for CLICKHOUSE_URL and for clients."""
        return f"http://{self.host}:{self.port}"

    @property
    def password(self) -> str:
        """The password kept in the folder, of the user `default`; empty without ``keeps_password``."""
        return kept_password(self.folder) if self._keeps_password else ""

    @property
    def warehouse(self) -> "Warehouse":
        """How clients reach it."""
        from streams.warehouse.client import Warehouse  # takes 0.3 s to import

        return Warehouse(self.url, user=USER if self._keeps_password else "", password=self.password)

    @property
    def log_path(self) -> Path:
        """File with the output of the server."""
        return self._process.log_path

    def order_faults(self, faults: Sequence[Fault]) -> None:
        """Replace the ordered faults; an empty list removes all. Needs ``allow_faults``."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=10.0)
        with contextlib.closing(connection):
            connection.request("POST", "/-/faults", msgspec.json.encode(faults))
            status = connection.getresponse().status
        if status != http.HTTPStatus.OK:
            raise ProcessError(f"ClickHouse at {self.url} takes no faults (HTTP {status}): start it with allow_faults.")

    def __enter__(self) -> Self:
        return self if self.alive else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, where: TracebackType | None
    ) -> None:
        self.stop()

    def _login(self) -> dict[str, str]:
        if not self._keeps_password:
            return {}
        # Not the user's own variables, which are meant for another ClickHouse.
        return {"CLICKHOUSE_USER": USER, "CLICKHOUSE_PASSWORD": self.password}

    def _answers(self) -> bool:
        # The port accepts as soon as it is bound; an answer comes once the engine is open.
        connection = http.client.HTTPConnection(self.host, self.port, timeout=1.0)
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/ping")
            return connection.getresponse().status == http.HTTPStatus.OK
        return False

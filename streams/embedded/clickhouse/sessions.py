"""Sessions with a name: what SET, USE and CREATE TEMPORARY TABLE did lasts until nobody has used it for a while.

Each has a connection to the engine of its own, but only once a statement changed it: clients name a session in every
request, and few need one.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Final

from streams.embedded.clickhouse.codes import Code
from streams.embedded.clickhouse.connection import Connection
from streams.embedded.clickhouse.exchange import EngineError

# As ClickHouse's default_session_timeout and max_session_timeout.
TIMEOUT_S: Final = 60
MAX_TIMEOUT_S: Final = 3600
# An idle connection takes 0.1 MB; temporary tables are what their clients put into them.
MAX_KEPT: Final = 256
# A session without a connection is an entry of a dictionary.
MAX_NAMES: Final = 10_000
# Of the interface; no settings of the engine.
PARAMETERS: Final = frozenset({"session_id", "session_timeout", "session_check", "close_session"})


class NamedSession:
    """One session. ``connection`` is None until a statement changes it."""

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self.in_use = False
        self.expiry: asyncio.TimerHandle | None = None


class Sessions:
    """The sessions of all users, by user and name. Used from one event loop only."""

    def __init__(self, open_connection: Callable[[], Connection], threads: Executor) -> None:
        self._open = open_connection
        self._threads = threads
        self._sessions: dict[tuple[str, str], NamedSession] = {}

    @contextmanager
    def taken(self, user: str, query: Mapping[str, str]) -> Iterator[NamedSession | None]:
        """The session that the parameters name, for one request at a time; None when they name none.

        A session of another user is another session. Raises EngineError 372, 373, 374, 744 and 202.
        """
        if "session_id" not in query:
            yield None
            return
        key = user, query["session_id"]
        timeout_s = _timeout_s(query)
        session = self._found(key, must_exist=query.get("session_check") == "1")
        session.in_use = True
        if session.expiry is not None:
            session.expiry.cancel()
        try:
            yield session
        finally:
            session.in_use = False
            if query.get("close_session") in ("1", "true"):
                self._end(key)
            else:
                loop = asyncio.get_running_loop()
                session.expiry = loop.call_later(timeout_s, self._end, key)

    async def connect(self, session: NamedSession) -> None:
        """Gives a session that is taken a connection that remembers what its statements change. Raises EngineError
        202."""
        if session.connection is None:
            if sum(other.connection is not None for other in self._sessions.values()) >= MAX_KEPT:
                raise _error(
                    Code.TOO_MANY_SIMULTANEOUS_QUERIES,
                    f"{MAX_KEPT} sessions have settings or temporary tables; close some by close_session=1",
                )
            session.connection = await asyncio.get_running_loop().run_in_executor(self._threads, self._open)

    def close(self) -> None:
        """End all sessions. None may be in use."""
        for session in self._sessions.values():
            if session.expiry is not None:
                session.expiry.cancel()
            if session.connection is not None:
                session.connection.close()
        self._sessions.clear()

    def _found(self, key: tuple[str, str], *, must_exist: bool) -> NamedSession:
        name = key[1]
        if not name:
            raise _error(Code.SESSION_ID_EMPTY, "Session id cannot be empty")
        session = self._sessions.get(key)
        if session is None:
            if must_exist:
                raise _error(Code.SESSION_NOT_FOUND, f"Session {name} not found")
            if len(self._sessions) >= MAX_NAMES:
                text = f"{MAX_NAMES} sessions are open; take shorter timeouts, or close some by close_session=1"
                raise _error(Code.TOO_MANY_SIMULTANEOUS_QUERIES, text)
            session = self._sessions[key] = NamedSession()
        elif session.in_use:
            raise _error(Code.SESSION_IS_LOCKED, f"Session {name} is locked by a concurrent client")
        return session

    def _end(self, key: tuple[str, str]) -> None:
        session = self._sessions.pop(key)
        if session.connection is not None:
            # Dropping its tables may take long.
            self._threads.submit(session.connection.close)


def _timeout_s(query: Mapping[str, str]) -> int:
    asked = query.get("session_timeout", "")
    if not asked:
        return TIMEOUT_S
    if not (asked.isascii() and asked.isdigit()):
        raise _error(Code.INVALID_SESSION_TIMEOUT, f"Invalid session timeout: '{asked[:100]}'")
    if len(asked) > len(str(MAX_TIMEOUT_S)) or int(asked) > MAX_TIMEOUT_S:
        text = f"Session timeout '{asked[:100]}' is larger than max_session_timeout: {MAX_TIMEOUT_S}"
        raise _error(Code.INVALID_SESSION_TIMEOUT, text)
    return int(asked)


_error = EngineError.named

"""Query ids that run, each once, and how far each has come."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

from streams.embedded.clickhouse.codes import Code
from streams.embedded.clickhouse.connection import Progress
from streams.embedded.clickhouse.exchange import EngineError

# As ClickHouse's replace_running_query_max_wait_time_ms and http_headers_progress_interval_ms.
REPLACE_WAIT_S: Final = 5.0
INTERVAL_MS: Final = 100
# More often a client has nothing from it, and a header takes 200 bytes.
MIN_INTERVAL_MS: Final = 10


class Running:
    """The ids of the statements that wait or run. Used from one event loop only."""

    def __init__(self) -> None:
        self._ended: dict[str, asyncio.Event] = {}

    @asynccontextmanager
    async def entered(self, query_id: str, *, replace: Callable[[], Awaitable[object]] | None) -> AsyncIterator[None]:
        """The id is taken during the block. Raises EngineError 216 when it is.

        `replace` ends the statement that has the id, which then gets 5 s to end.
        """
        other = self._ended.get(query_id)
        if other is not None and replace is not None:
            await replace()
            try:
                async with asyncio.timeout(REPLACE_WAIT_S):
                    await other.wait()
            except TimeoutError:
                pass
        if query_id in self._ended:
            text = f"Query with id = {query_id} is already running"
            raise EngineError.named(Code.QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING, text)
        ended = self._ended[query_id] = asyncio.Event()
        try:
            yield
        finally:
            del self._ended[query_id]
            ended.set()


class ProgressHeaders:
    """``X-ClickHouse-Progress`` while a statement runs, for a request that asks for it.

    The engine calls `see` from one of its threads; `send` runs in the event loop.
    """

    def __init__(self, write: Callable[[bytes], None], query: Mapping[str, str]) -> None:
        self._write = write
        self._latest: Progress | None = None
        asked = query.get("http_headers_progress_interval_ms", "")
        interval_ms = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 10 else INTERVAL_MS
        self._interval_s = max(MIN_INTERVAL_MS, interval_ms) / 1000

    def see(self, progress: Progress) -> None:
        """What the engine has done so far."""
        self._latest = progress

    async def send(self) -> None:
        """Write what is new, until cancelled."""
        while True:
            await asyncio.sleep(self._interval_s)
            latest, self._latest = self._latest, None
            if latest is not None:
                counts = {name: str(count) for name, count in latest.items()}
                self._write(f"X-ClickHouse-Progress: {json.dumps(counts, separators=(',', ':'))}\r\n".encode())


def asks_for_progress(query: Mapping[str, str]) -> bool:
    """Whether the answer shall begin with headers of progress."""
    return query.get("send_progress_in_http_headers") == "1"

"""Calls at a given rate by the clock, whatever the server does: a late answer holds up no other call.

Latency counts from when a call is due, so that one that has to wait for a connection or for this process is not shorter
for it ("coordinated omission", G. Tene).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import uvloop

from schemas.errors import Transient

# More calls under way than a server takes are not sent: they are failures.
_MOST_WAITING: Final = 512


@dataclass(slots=True)
class Load:
    """What came of the calls: seconds from due to the last byte of each good answer, the number of others, and by how
    much this process was late at most."""

    took_s: list[float] = field(default_factory=list)
    failed: int = 0
    latest_s: float = 0.0


class _Client:
    """Connections to one server that are used again."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def post(self, path: str, body: bytes) -> int:
        """The status of the answer."""
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection(*self._address)
        writer.write(
            b"POST %b HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\n\r\n" % (path.encode(), len(body)) + body
        )
        head = await reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(length))
        if b"connection: close" in head.lower():
            writer.close()
        else:
            self._idle.append((reader, writer))
        return int(head.split(b" ", 2)[1])

    def close(self) -> None:
        for _, writer in self._idle:
            writer.close()


def post_at_rate(host: str, port: int, path: str, bodies: Sequence[bytes], rate: float, seconds: float) -> Load:
    """Sends `rate` bodies a second in turn. Call it in a process of its own. Raises Transient if none has an answer."""
    load = uvloop.run(_post(_Client(host, port), path, bodies, rate, round(rate * seconds)))
    if not load.took_s:
        raise Transient(f"none of {load.failed} calls to {host}:{port} had a good answer")
    return load


async def _post(client: _Client, path: str, bodies: Sequence[bytes], rate: float, total: int) -> Load:
    load, waiting = Load(), set[asyncio.Task[None]]()

    async def call(body: bytes, due_s: float) -> None:
        try:
            status = await client.post(path, body)
        except (OSError, EOFError, ValueError):
            status = 0
        if status == 200:
            load.took_s.append(time.perf_counter() - due_s)
        else:
            load.failed += 1

    began_s = time.perf_counter()
    for number in range(total):
        due_s = began_s + number / rate
        await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
        load.latest_s = max(load.latest_s, time.perf_counter() - due_s)
        if len(waiting) >= _MOST_WAITING:
            load.failed += 1
            continue
        task = asyncio.create_task(call(bodies[number % len(bodies)], due_s))
        waiting.add(task)
        task.add_done_callback(waiting.discard)
    if waiting:
        await asyncio.wait(waiting)
    client.close()
    return load

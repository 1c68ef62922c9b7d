"""A connection that fetches, with a broker that a test makes answer well, badly, slowly or not at all."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiokafka.protocol.admin import ApiVersionResponse_v0  # type: ignore[import-untyped]  # it publishes no types
from aiokafka.protocol.fetch import FetchRequest_v11, FetchResponse_v11  # type: ignore[import-untyped]  # as above
from hypothesis import given
from hypothesis import strategies as st

from streams.kafka.fetch_connection import _LARGEST_ANSWER, Answer, Connection, Part
from streams.kafka.record_sets import UnknownFormat

# Far above what a request within this machine takes.
ANSWER_S = 5.0
Write = Callable[[bytes], Awaitable[None]]
# Writes what comes after the length of a fetch's answer: given its correlation id, and how to write at all.
Behaviour = Callable[[bytes, Write], Awaitable[None]]


def answered(*topics: tuple[str, list[tuple[Any, ...]]], throttle_ms: int = 0, error: int = 0) -> bytes:
    return bytes(FetchResponse_v11(throttle_ms, error, 0, list(topics)).encode())


EMPTY = answered(("ads.clicks", [(0, 0, 7, 7, 0, None, -1, b"")]))


def framed(correlation: bytes, body: bytes) -> bytes:
    return struct.pack(">i", 4 + len(body)) + correlation + body


async def well(correlation: bytes, write: Write) -> None:
    await write(framed(correlation, EMPTY))


def connected(
    behaviour: Behaviour, use: Callable[[Connection], Awaitable[Any]], *, versions: tuple[int, int] = (4, 17)
) -> Any:
    """What `use` makes of a connection to a broker that behaves so when it is asked to fetch."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def write(data: bytes) -> None:
            writer.write(data)
            await writer.drain()

        try:
            while True:
                (size,) = struct.unpack(">i", await reader.readexactly(4))
                request = await reader.readexactly(size)
                correlation = request[4:8]
                if request[:2] == struct.pack(">h", FetchRequest_v11.API_KEY):
                    await behaviour(correlation, write)
                else:
                    known = [(FetchRequest_v11.API_KEY, *versions), (18, 0, 3)]
                    await write(framed(correlation, ApiVersionResponse_v0(0, known).encode()))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def run() -> Any:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        connection = Connection("127.0.0.1", port, answer_s=ANSWER_S, client_id="test")
        try:
            await connection.connect()
            return await use(connection)
        finally:
            connection.abort()
            server.close()

    return asyncio.run(run())


async def fetch(connection: Connection) -> Answer:
    connection.ask([("ads.clicks", 0, 7)])
    return await connection.answer()


numbers = st.integers(-1, 2**62)
parts = st.tuples(
    *(st.integers(0, 9), st.integers(0, 100), numbers, numbers, numbers),
    *(st.none() | st.lists(st.tuples(numbers, numbers), max_size=3), st.just(-1), st.none() | st.binary(max_size=50)),
)
topics = st.lists(st.tuples(st.text(st.characters(codec="ascii"), min_size=1, max_size=9), st.lists(parts, max_size=3)))


@given(st.lists(topics, min_size=1, max_size=4))
def test_answers_are_what_aiokafka_has_written(bodies: list[list[Any]]) -> None:
    bodies_left = list(bodies)

    async def behaviour(correlation: bytes, write: Write) -> None:
        await write(framed(correlation, answered(*bodies_left.pop(0), throttle_ms=1_500)))

    async def use(connection: Connection) -> None:
        for body in bodies:
            answer = await fetch(connection)
            assert answer.throttle_s == 1.5
            assert [part._replace(data=memoryview(bytes(part.data))) for part in answer.parts] == [
                Part(topic, partition, error, high, stable, aborted or [], memoryview(data or b""))
                for topic, found in body
                for partition, error, high, stable, _, aborted, _, data in found
            ]

    connected(behaviour, use)


def test_an_answer_that_is_larger_than_the_memory_for_answers_is_read_and_so_is_the_next() -> None:
    data = bytes(9 << 20)
    bodies = [answered(("a", [(0, 0, 1, 1, 0, None, -1, data)])), EMPTY]

    async def behaviour(correlation: bytes, write: Write) -> None:
        await write(framed(correlation, bodies.pop(0)))

    async def use(connection: Connection) -> list[int]:
        return [len((await fetch(connection)).parts[0].data) for _ in range(2)]

    assert connected(behaviour, use) == [len(data), 0]


@pytest.mark.parametrize(
    ("versions", "taken"), [((4, 10), False), ((4, 11), True), ((11, 18), True), ((12, 18), False)]
)
def test_a_broker_without_the_version_of_the_request_is_left_to_librdkafka(
    versions: tuple[int, int], taken: bool
) -> None:
    if taken:
        assert connected(well, fetch, versions=versions).parts[0].high == 7
    else:
        least, most = versions
        with pytest.raises(
            UnknownFormat, match=rf"127\.0\.0\.1:\d+ answers fetches of version {least} to {most}, not 11"
        ):
            connected(well, fetch, versions=versions)


async def closing(_correlation: bytes, write: Write) -> None:
    raise ConnectionError


async def cut_off(correlation: bytes, write: Write) -> None:
    await write(framed(correlation, EMPTY)[:-3])
    raise ConnectionError


def writing(made: Callable[[bytes], bytes]) -> Behaviour:
    async def behaviour(correlation: bytes, write: Write) -> None:
        await write(made(correlation))

    return behaviour


@pytest.mark.parametrize(
    ("behaviour", "why"),
    [
        (closing, "closed"),
        (cut_off, "closed"),
        (writing(lambda _: framed(b"\0\0\0\x7f", EMPTY)), "answered 127, not"),
        (writing(lambda correlation: framed(correlation, answered(error=70))), "with error 70"),
        (writing(lambda correlation: framed(correlation, EMPTY[:-1])), "not one"),
        (writing(lambda correlation: framed(correlation, EMPTY[:-4] + b"\0\0\0\x01")), "not one"),
        (writing(lambda correlation: framed(correlation, EMPTY[:10])), "announced"),
        (writing(lambda _: struct.pack(">i", -5)), "announced"),
        (writing(lambda _: struct.pack(">i", 3)), "announced"),
        (writing(lambda _: struct.pack(">i", _LARGEST_ANSWER + 1)), "announced"),
    ],
)
def test_an_answer_that_is_not_one_ends_the_connection(behaviour: Behaviour, why: str) -> None:
    with pytest.raises(OSError, match=why):
        connected(behaviour, fetch)


def test_nothing_is_asked_on_a_connection_that_is_lost() -> None:
    async def use(connection: Connection) -> None:
        for _ in range(2):
            with pytest.raises(OSError, match="closed"):
                await fetch(connection)

    connected(closing, use)


def test_a_silent_broker_is_given_up_and_a_slow_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.test_fetch_connection.ANSWER_S", 1.0)

    async def silent(_correlation: bytes, _write: Write) -> None:
        await asyncio.Event().wait()

    began_s = time.monotonic()
    with pytest.raises(TimeoutError, match="nothing came for 1 s"):
        connected(silent, fetch)
    assert 1.0 <= time.monotonic() - began_s < 4.0

    async def slow(correlation: bytes, write: Write) -> None:
        # Twice the limit in all, and far below it between two bytes.
        for byte in framed(correlation, EMPTY[:-4] + struct.pack(">i", 0)):
            await write(bytes([byte]))
            await asyncio.sleep(2.0 / (8 + len(EMPTY)))

    assert connected(slow, fetch).parts[0].high == 7

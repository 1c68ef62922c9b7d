"""Bodies are bounded one by one, together, and in how long a client may be silent."""

import asyncio
import tracemalloc
import zlib

import pytest
from starlette.requests import Request

from streams.embedded.clickhouse import Fault
from streams.embedded.clickhouse.bodies import Bodies
from streams.embedded.clickhouse.codes import Code
from streams.embedded.clickhouse.faults import Faults
from streams.embedded.clickhouse.wire import MAX_BODY_BYTES, BodyError, decompressed


def sending(*chunks: bytes, more: bool = False, headers: dict[str, str] | None = None) -> Request:
    """A request whose body comes in these chunks, and then, with `more`, never ends."""
    left = list(chunks)

    async def receive() -> dict[str, object]:
        if not left:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left) or more}

    given = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    return Request({"type": "http", "method": "POST", "query_string": b"", "headers": given}, receive)


def read(bodies: Bodies, request: Request) -> bytes | None:
    """The body, with its room given back."""
    with bodies.room() as room:
        return asyncio.run(room.read(request, max_silence_s=0.05))


def test_body_is_what_its_chunks_are() -> None:
    assert read(Bodies(None), sending(b"SELECT", b" ", b"1")) == b"SELECT 1"


@pytest.mark.parametrize("chunks", [(), (b"SELECT",)])
def test_silent_client_gets_408(chunks: tuple[bytes, ...]) -> None:
    with pytest.raises(BodyError, match=f"after the first {sum(map(len, chunks))} of the body") as raised:
        read(Bodies(None), sending(*chunks, more=True))
    assert (raised.value.status, raised.value.code) == (408, Code.SOCKET_TIMEOUT)


def test_body_announced_over_the_bound_is_refused_unread() -> None:
    with pytest.raises(BodyError, match="insert in smaller batches") as raised:
        read(Bodies(None), sending(more=True, headers={"Content-Length": str(MAX_BODY_BYTES + 1)}))
    assert (raised.value.status, raised.value.code) == (413, Code.TOO_MANY_BYTES)


def test_bodies_together_have_a_bound_and_give_their_room_back() -> None:
    bodies = Bodies(None, max_held_bytes=10)
    for _ in range(3):
        assert read(bodies, sending(b"12345", b"67890")) == b"1234567890"
    with bodies.room() as first:
        first.take(6)
        with pytest.raises(BodyError, match="send fewer at a time") as raised:
            read(bodies, sending(b"1234", b"5"))
        assert (raised.value.status, raised.value.code) == (503, Code.MEMORY_LIMIT_EXCEEDED)
        assert read(bodies, sending(b"1234")) == b"1234"
    assert read(bodies, sending(b"1234567890")) == b"1234567890"


def test_body_that_decompresses_over_the_bound_takes_no_more_memory_than_the_bound() -> None:
    """A gzip body of 1 MB may hold 1 GB. Decompressed at one go, up to the bound, it took twice the bound."""
    max_bytes = 8 << 20
    bomb = zlib.compressobj(wbits=31)
    body = bomb.compress(bytes(4 * max_bytes)) + bomb.flush()
    tracemalloc.start()
    try:
        with pytest.raises(BodyError, match="decompresses to more than") as raised:
            decompressed(body, "gzip", max_bytes=max_bytes)
        _, highest = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert raised.value.status == 413
    assert highest < max_bytes + (3 << 20)


def test_fault_in_the_body_strikes_at_half_of_what_was_announced() -> None:
    faults = Faults()
    faults.order(b'[{"kind": "reset_body", "match": "INSERT"}]')
    # Never whole: reading on would be told 408.
    request = sending(b"INSERT", b"INTO", more=True, headers={"Content-Length": "20"})
    assert read(Bodies(faults), request) is None
    assert faults.left == b"[]"


def test_fault_behind_others_counts_only_what_it_matches() -> None:
    faults = Faults()
    faults.order(b'[{"kind": "status", "match": "a", "after": 1, "times": 2}]')
    struck = [faults.strike(sql) for sql in ("a", "b", "a", "b", "a", "a")]
    assert [fault is not None for fault in struck] == [False, False, True, False, True, False]
    assert struck[2] == Fault(kind="status", match="a", times=2)

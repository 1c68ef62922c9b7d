"""A connection to one broker that fetches record sets: aiokafka opens it, and answers are read into one buffer.

aiokafka itself copies an answer four times, each time into new memory: 0.28 µs of CPU a record of the demo, of which
this leaves 0.03.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from aiokafka.conn import AIOKafkaConnection  # type: ignore[import-untyped]  # it publishes no types
from aiokafka.protocol.fetch import FetchRequest, FetchRequest_v11  # type: ignore[import-untyped]  # as above

from streams.kafka.record_sets import UnknownFormat

# The one version in use: brokers have it from Kafka 2.3 on.
_REQUEST: Final = FetchRequest_v11
# For a while a broker waits for records before it says that there are none.
_WAIT_MS: Final = 20
# Compressed, of one answer and of one partition in it, if the first batch of the answer is not larger.
_ANSWER_BYTES: Final = 4 << 20
_PART_BYTES: Final = 1 << 20
# Far above any batch that Kafka takes.
_LARGEST_ANSWER: Final = 1 << 30
_READ_COMMITTED: Final = 1
# Correlation id, throttle time, error, session, number of topics.
_ANSWER: Final = struct.Struct(">iihii")
# Partition, error, high watermark, last stable offset, first offset, number of aborted transactions.
_PARTITION: Final = struct.Struct(">ihqqqi")
_ABORTED: Final = struct.Struct(">qq")


class Part(NamedTuple):
    """What an answer says of one partition. `data` holds until the next answer."""

    topic: str
    partition: int
    error: int
    high: int
    stable: int
    aborted: list[tuple[int, int]]
    data: memoryview


class Answer(NamedTuple):
    """`throttle_s` is how long the broker wants to be left alone."""

    throttle_s: float
    parts: list[Part]


class Connection(AIOKafkaConnection):  # type: ignore[misc]  # as above
    """Fetches with one request at a time. Raises OSError and aiokafka's KafkaError where the broker does not answer."""

    def __init__(self, *address: Any, answer_s: float, **settings: Any) -> None:
        """After `answer_s` in which nothing came, the broker counts as silent."""
        # aiokafka would count as idle what does not pass through its own hands.
        given = {**settings, "request_timeout_ms": answer_s * 1_000, "max_idle_ms": None}
        super().__init__(*address, **given)
        self._answer_s = answer_s

    async def connect(self) -> None:
        """Connects and signs in. Raises UnknownFormat if the broker does not have the version of the request."""
        await super().connect()
        least, most = self._versions.get(_REQUEST.API_KEY, (0, 0))
        if not least <= _REQUEST.API_VERSION <= most:
            raise UnknownFormat(
                f"the broker {self.host}:{self.port} answers fetches of version {least} to {most}, not "
                f"{_REQUEST.API_VERSION}"
            )
        # Everything that was asked is answered, so nothing is lost between the two readers. Its memory is made only
        # now: while a broker is down, ten tries a second would each take it.
        self._answers = _Answers()
        self._read_task.cancel()
        self._writer.transport.set_protocol(self._answers)

    def ask(self, wanted: Sequence[tuple[str, int, int]]) -> None:
        """Asks for records of (topic, partition) from an offset on; the first are served first."""
        topics = [(topic, [(partition, offset, _PART_BYTES)]) for topic, partition, offset in wanted]
        request = FetchRequest(_WAIT_MS, 1, _ANSWER_BYTES, _READ_COMMITTED, topics).build(_REQUEST)
        self._asked = self._next_correlation_id()
        message = request.build_request_header(self._asked, self._client_id).encode() + request.encode()
        self._answers.expect()
        self._writer.transport.write(struct.pack(">i", len(message)) + message)

    async def answer(self) -> Answer:
        """The answer to what was asked last."""
        found = await self._answers.wait(self._answer_s)
        try:
            correlation, throttle_ms, error, _, topics = _ANSWER.unpack_from(found)
            if correlation != self._asked or error:
                raise ConnectionError(f"{self.host} answered {correlation}, not {self._asked}, with error {error}")
            return Answer(throttle_ms / 1_000, list(_parts(found, topics)))
        except (struct.error, UnicodeDecodeError) as failure:
            raise ConnectionError(f"{self.host} gave an answer that is not one: {failure}") from failure

    def abort(self) -> None:
        """Ends the connection without waiting for the broker."""
        if self._writer is not None:
            self._writer.transport.abort()
        self.close()


def _parts(answer: memoryview, topics: int) -> Iterator[Part]:
    at = _ANSWER.size
    for _ in range(topics):
        (length,) = struct.unpack_from(">h", answer, at)
        topic = bytes(answer[at + 2 : at + 2 + length]).decode()
        (partitions,) = struct.unpack_from(">i", answer, at + 2 + length)
        at += 2 + length + 4
        for _ in range(partitions):
            partition, error, high, stable, _, transactions = _PARTITION.unpack_from(answer, at)
            at += _PARTITION.size
            stop = at + _ABORTED.size * max(transactions, 0)
            aborted = list(_ABORTED.iter_unpack(answer[at:stop]))
            # The replica that the broker would rather have asked, which is one of the rack that was named: none.
            (size,) = struct.unpack_from(">4xi", answer, stop)
            at = stop + 8 + max(size, 0)
            if at > len(answer):
                raise struct.error("records are cut off")
            yield Part(topic, partition, error, high, stable, aborted, answer[stop + 8 : at])


class _Answers(asyncio.BufferedProtocol):
    """Reads answers, one at a time: the length, then so many bytes, into memory that the next answer takes again."""

    def __init__(self) -> None:
        self._length = memoryview(bytearray(4))
        self._memory = bytearray(_ANSWER_BYTES)
        self._reading = self._length
        self._got = 0
        self._heard_s = 0.0
        self._answer: asyncio.Future[memoryview | None] | None = None
        self._lost: Exception | None = None

    def expect(self) -> None:
        """An answer will come."""
        if self._lost is not None:
            raise self._lost
        loop = asyncio.get_running_loop()
        self._answer, self._heard_s = loop.create_future(), loop.time()

    async def wait(self, silent_s: float) -> memoryview:
        """The answer. Raises TimeoutError once nothing has come for so long."""
        assert self._answer is not None
        while not (await asyncio.wait((self._answer,), timeout=silent_s))[0]:
            if asyncio.get_running_loop().time() - self._heard_s >= silent_s:
                raise TimeoutError(f"nothing came for {silent_s:g} s")
        answer = self._answer.result()
        if answer is None:
            assert self._lost is not None
            raise self._lost
        return answer

    def get_buffer(self, _sizehint: int) -> memoryview:
        return self._reading[self._got :]

    def buffer_updated(self, nbytes: int) -> None:
        self._heard_s = asyncio.get_running_loop().time()
        self._got += nbytes
        if self._got < len(self._reading):
            return
        self._got = 0
        if self._reading is not self._length:
            answer, self._reading = self._reading, self._length
            if self._answer is not None and not self._answer.done():
                self._answer.set_result(answer)
            return
        size = int.from_bytes(self._length, "big")
        if not _ANSWER.size <= size <= _LARGEST_ANSWER:
            raise ConnectionError(f"an answer of {size} bytes is announced, not of {_ANSWER.size} to {_LARGEST_ANSWER}")
        if size > len(self._memory):
            self._memory = bytearray(size)
        self._reading = memoryview(self._memory)[:size]

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = exc or ConnectionError("the broker has closed the connection")
        if self._answer is not None and not self._answer.done():
            # Not the exception: nobody may wait for it any more.
            self._answer.set_result(None)

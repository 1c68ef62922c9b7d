"""Connections without the password have a bound of their own, and the newest of them have their turn."""

from __future__ import annotations

from asyncio import BaseTransport
from typing import cast

from streams.embedded.clickhouse.connections import Unauthenticated


class Connection:
    """One client's."""

    closed = False

    def close(self) -> None:
        self.closed = True


def opened(unauthenticated: Unauthenticated, count: int) -> list[Connection]:
    connections = [Connection() for _ in range(count)]
    for connection in connections:
        unauthenticated.add(cast(BaseTransport, connection))
    return connections


def closed(connections: list[Connection]) -> list[bool]:
    return [connection.closed for connection in connections]


def test_oldest_connection_without_a_password_gives_way_above_the_bound() -> None:
    unauthenticated = Unauthenticated(most=2)
    assert closed(opened(unauthenticated, 2)) == [False, False]
    unauthenticated = Unauthenticated(most=2)
    assert closed(opened(unauthenticated, 3)) == [True, False, False]


def test_connection_that_was_let_in_or_has_ended_does_not_count() -> None:
    unauthenticated = Unauthenticated(most=2)
    former = opened(unauthenticated, 2)
    for connection in former:
        unauthenticated.discard(cast(BaseTransport, connection))
        unauthenticated.discard(cast(BaseTransport, connection))
    assert closed(former + opened(unauthenticated, 2)) == [False] * 4

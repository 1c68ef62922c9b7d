"""The open loop of `clickfold bench serve`: no wait for the server hides a delay."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import closing

import pytest

from schemas.errors import Transient
from streams.cli.bench.http_load import post_at_rate

ANSWER_S = 0.03


def serve_one_by_one(listening: socket.socket, calls: int, status: bytes) -> None:
    """Answers each call on a connection of its own, in turn, each after `ANSWER_S`."""
    for _ in range(calls):
        connection, _ = listening.accept()
        connection.recv(65_536)
        time.sleep(ANSWER_S)
        connection.sendall(b"HTTP/1.1 %b x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}" % status)
        connection.close()


def test_a_call_that_waits_for_a_slow_server_counts_from_when_it_was_due() -> None:
    calls, rate = 20, 100.0
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        threading.Thread(target=serve_one_by_one, args=(listening, calls, b"200"), daemon=True).start()
        load = post_at_rate("127.0.0.1", listening.getsockname()[1], "/", [b"{}"], rate, calls / rate)
    assert (len(load.took_s), load.failed) == (calls, 0)
    # The last is due after 0.19 s, and answered after 0.6 s.
    assert max(load.took_s) > 0.9 * (calls * ANSWER_S - (calls - 1) / rate)
    assert min(load.took_s) >= ANSWER_S


def test_calls_without_a_good_answer_are_failures() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        threading.Thread(target=serve_one_by_one, args=(listening, 2, b"503"), daemon=True).start()
        with pytest.raises(Transient, match="none of 2 calls"):
            post_at_rate("127.0.0.1", listening.getsockname()[1], "/", [b"{}"], 100.0, 0.02)

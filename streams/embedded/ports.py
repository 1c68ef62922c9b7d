"""Free ports of this machine for the servers that are started here."""

from __future__ import annotations

import random
import socket
from typing import Final

from streams.embedded.kafka_settings import LOOPBACK
from streams.embedded.process import ProcessError

# Below the range from which systems take the ports of outgoing connections (32768 on Linux, 49152 on macOS): a
# connection could take a port of that range before the server binds it, or while the server restarts.
PORTS: Final = range(20_000, 32_000)


def free_port(wanted: int = 0, *, other_than: int | None = None) -> int:
    """The wanted port if it is free, else any that is. Raises ProcessError."""
    for port in [*([wanted] if wanted else []), *random.sample(PORTS, len(PORTS))]:
        with socket.socket() as candidate:
            # A closed connection that the kernel still remembers does not count.
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                candidate.bind((LOOPBACK, port))
            except OSError:
                continue
            if port != other_than:
                return port
    raise ProcessError(
        f"No port of {LOOPBACK} is free between {PORTS.start} and {PORTS.stop}; end some programs that listen."
    )

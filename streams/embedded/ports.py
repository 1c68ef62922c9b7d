"""Free ports of this machine for the servers that are started here, and who has one that is not free."""

from __future__ import annotations

import random
import socket
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from streams.embedded.kafka_settings import LOOPBACK
from streams.embedded.process import ProcessError

# Below the range from which systems take the ports of outgoing connections (32768 on Linux, 49152 on macOS): a
# connection could take a port of that range before the server binds it, or while the server restarts.
PORTS: Final = range(20_000, 32_000)


def free_port(wanted: int = 0, *, other_than: Collection[int] = ()) -> int:
    """The wanted port if it is free, else any that is, but for some. Raises ProcessError."""
    for port in [*([wanted] if wanted else []), *random.sample(PORTS, len(PORTS))]:
        if port not in other_than and is_free(port):
            return port
    raise ProcessError(
        f"No port of {LOOPBACK} is free between {PORTS.start} and {PORTS.stop}; end some programs that listen."
    )


def is_free(port: int) -> bool:
    """Whether a server can listen on this port of the loopback."""
    with socket.socket() as candidate:
        # A closed connection that the kernel still remembers does not count.
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def holder(port: int) -> str:
    """The program that listens on a port of this machine, such as "java (process 4711)".

    "another program" where it cannot be told: other users' programs, and systems without /proc.
    """
    sockets = {f"socket:[{inode}]" for inode in _listening(port)}
    for process in Path("/proc").glob("[0-9]*") if sockets else ():
        try:
            if any(str(each.readlink()) in sockets for each in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (process {process.name})"
        except OSError:
            continue  # it has ended, or belongs to somebody else
    return "another program"


def _listening(port: int) -> Iterator[str]:
    """The inodes of sockets that listen on a port; /proc/net/tcp is described in proc(5)."""
    for table in ("tcp", "tcp6"):
        try:
            rows = Path("/proc/net", table).read_text().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            _, local, _, state, *rest = row.split()
            if state == "0A" and int(local.rpartition(":")[2], 16) == port:
                yield rest[5]

"""Which process this is, in a text that other hosts can read, and whether the process of such a text has ended."""

from __future__ import annotations

import functools
import os
import socket
import time
from pathlib import Path
from typing import Final, NamedTuple

import xxhash

_FIRST: Final = "clickfold"
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_PIDS: Final = Path("/proc/self/ns/pid")


class Process(NamedTuple):
    """A process: its host's name, when it started (s UTC), and `id`, which no other process on any host has."""

    host: str
    started_s: int
    id: str


@functools.cache
def this_process() -> Process:
    """The process that asks. `id` is the space of its process numbers, its number, and when the kernel started it."""
    now_s = int(time.time())
    pid = os.getpid()
    return Process(socket.gethostname(), now_s, f"{_numbers()}.{pid}.{_ticks(pid) or now_s}")


def client_id(slot: str) -> str:
    """What a member of a group calls itself: slot, host, start and process, so that others know who has the slot."""
    process = this_process()
    return "/".join((_FIRST, slot, process.host, str(process.started_s), process.id))


def read_client_id(text: str) -> tuple[str, Process] | None:
    """The slot and the process of a `client_id`; None for a text that is none."""
    parts = text.split("/")
    if len(parts) != 5 or parts[0] != _FIRST or not parts[3].isdecimal():
        return None
    return parts[1], Process(parts[2], int(parts[3]), parts[4])


def has_ended(process: Process) -> bool:
    """Whether a process is known to have ended. False where that cannot be seen: on another host or container."""
    space, _, rest = process.id.partition(".")
    pid, _, ticks = rest.partition(".")
    if not space or space != _numbers() or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    found = _ticks(int(pid))
    return found is not None and found != ticks


@functools.cache
def _numbers() -> str:
    """Within what process numbers are unique: one boot of a machine and one container; empty where it is not known."""
    try:
        return xxhash.xxh3_64_hexdigest(_BOOT.read_bytes() + os.readlink(_PIDS).encode())
    except OSError:
        return ""


def _ticks(pid: int) -> str | None:
    """When the kernel started a process, or "ended" for one that only waits to be reaped; None where it is not known.

    A process number is used again, the pair of both is not.
    """
    try:
        # The name in parentheses may hold spaces.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return "ended" if fields[0] in "ZX" else fields[19]

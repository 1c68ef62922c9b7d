"""Memory of this process: how much it may take, and how freed memory goes back to the system."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import os
from pathlib import Path
from typing import Final

from pydantic import ByteSize, TypeAdapter, ValidationError

from schemas.errors import SettingsError

# The share of the machine's memory that state may take by default: the rest is for Kafka's queues, merges, rebuilds.
_SHARE: Final = 0.6
_CGROUP_LIMITS: Final = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_size = TypeAdapter(ByteSize).validate_python


def budget_bytes(option: str, text: str) -> int:
    """Bytes of '4GiB' or '500MB'; 'auto' is a share of what this process may have. Raises SettingsError."""
    if text == "auto":
        return int(_SHARE * limit_bytes())
    try:
        size_bytes = int(_size(text))
    except ValidationError:
        size_bytes = 0
    if size_bytes < 1 << 20:
        raise SettingsError(f"{option} is {text!r}; give auto, or a size of at least 1MiB such as 4GiB")
    return size_bytes


def limit_bytes() -> int:
    """The memory of the machine, or of the container when that is less."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in map(Path, _CGROUP_LIMITS):
        text = path.read_text().strip() if path.exists() else ""
        if text.isdigit():
            limits.append(int(text))
    return min(limits)


def return_freed() -> None:
    """Makes glibc map every array above 1 MiB by itself, so that its pages go back when it is freed.

    By default glibc raises that bound up to 32 MB as it goes: with ten million open impressions a third of the process
    was holes (1.71 GB instead of 1.26). Does nothing without glibc.
    """
    with contextlib.suppress(AttributeError, OSError):
        _glibc().mallopt(_M_MMAP_THRESHOLD, 1 << 20)
        _glibc().mallopt(_M_ARENA_MAX, 2)


def trim() -> None:
    """Gives freed small blocks back: after catching up with 3 M impressions 250 MB of 826, in 6 to 22 ms."""
    with contextlib.suppress(AttributeError, OSError):
        _glibc().malloc_trim(0)


@functools.cache
def _glibc() -> ctypes.CDLL:
    # Made once: each has types of its own, which are reference cycles.
    return ctypes.CDLL(None)


def collect() -> None:
    """Looks for reference cycles now and gives what they held back.

    clickhouse-connect leaves some behind each insert. With four small inserts a second the sink grew by 3 MB a minute,
    for twenty minutes, because Python would look by itself only after 200,000 objects.
    """
    gc.collect()
    trim()


def collect_rarely() -> None:
    """Makes Python look for reference cycles seldom.

    Workers make a million objects a second and hardly a cycle; a look after every 700 objects, Python's default, took a
    fifth of the join's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 50, 100)

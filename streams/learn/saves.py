"""The files of a learner's checkpoints: each has what one checkpoint wrote, and is never changed.

A manifest names the last `TURNS` of them, in order, with their checksums. A file that was not finished is named by no
manifest, and deleted by the next start.
"""

from __future__ import annotations

from typing import Final

import msgspec
import xxhash

from online_models.turns import TURNS, Turn
from schemas.codec import unpack
from schemas.errors import DamagedState
from schemas.frame import Frame
from streams.engine.ports import Disk
from streams.state.kept import KeptFiles

_PREFIX: Final = "learned-"
# Raise the number when the layout of the manifest changes; what is in a file has a number of its own.
_FRAME: Final = Frame(magic=b"clickfold learn ", format=b"01\n")


class _File(msgspec.Struct, frozen=True):
    number: int
    length: int
    xxh3: str

    @property
    def name(self) -> str:
        return f"{_PREFIX}{self.number}"


class Saves:
    """The files that the last manifest names, which was written or read."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._kept = KeptFiles(disk, _PREFIX)
        self._files: list[_File] = []
        self._next = 0

    @property
    def turn(self) -> Turn:
        """Whose turn it is in the file that is added next."""
        return Turn(self._next % TURNS)

    def add(self, data: bytes, *, alone: bool = False) -> bytes:
        """Makes `data` durable as the next file; returns the manifest. `alone`: it has the whole state."""
        file = _File(self._next, len(data), xxhash.xxh3_128_hexdigest(data))
        self._disk.append(file.name, data)
        self._disk.sync(file.name)
        self._next += 1
        every = [*self._files, file]
        self._files = every[-1:] if alone else every[-TURNS:]
        for former in every[: -len(self._files)]:
            self._kept.delete_later(former.name)
        self._kept.snapshot()
        return _FRAME.wrap(msgspec.msgpack.encode(self._files))

    def kept(self) -> None:
        """The last manifest is durable: deletes the files that it does not name."""
        self._kept.snapshot_kept()

    def read(self, manifest: bytes) -> list[bytes]:
        """The contents of the files of a manifest, in order. Deletes all others. Raises DamagedState, StateMismatch."""
        self._files = unpack(_FRAME.unwrap(manifest, "the checkpoint of a learner"), list[_File])
        self._next = self._files[-1].number + 1
        self._kept.keep_only({file.name for file in self._files})
        return [self._read(file) for file in self._files]

    def _read(self, file: _File) -> bytes:
        data = self._kept.read(file.name, 0, file.length)
        if len(data) != file.length or xxhash.xxh3_128_hexdigest(data) != file.xxh3:
            raise DamagedState(f"checkpoint names {file.name}, which is shorter than it was or damaged")
        return data

    def files(self) -> dict[str, int]:
        """Each file with its length."""
        return {file.name: file.length for file in self._files}

    def clear(self) -> None:
        """Deletes every file."""
        self._kept.clear()
        self._files.clear()

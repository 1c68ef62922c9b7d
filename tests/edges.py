"""The edges faked for tests, and nothing else: a disk in memory that forgets, at a crash, what was not made durable."""

from __future__ import annotations


class MemoryDisk:
    """`streams.disk.Disk`: `crash` keeps what `sync` and `replace` made durable and an arbitrary part of the rest."""

    def __init__(self) -> None:
        self.files: dict[str, bytearray] = {}
        self._durable: dict[str, int] = {}

    def append(self, name: str, data: bytes) -> None:
        self.files.setdefault(name, bytearray()).extend(data)

    def read(self, name: str, start: int, length: int) -> bytes:
        if name not in self.files:
            raise FileNotFoundError(name)
        return bytes(self.files[name][start : start + length])

    def truncate(self, name: str, length: int) -> None:
        del self.files[name][length:]
        self._durable[name] = min(self._durable.get(name, 0), length)

    def sync(self, name: str) -> None:
        self._durable[name] = len(self.files[name])

    def replace(self, name: str, data: bytes) -> None:
        self.files[name] = bytearray(data)
        self._durable[name] = len(data)

    def delete(self, name: str) -> None:
        self.files.pop(name, None)
        self._durable.pop(name, None)

    def names(self) -> list[str]:
        return sorted(self.files)

    def crash(self) -> None:
        """The machine stops: bytes appended since the last sync are gone."""
        for name in list(self.files):
            del self.files[name][self._durable.get(name, 0) :]
            if name not in self._durable:
                del self.files[name]

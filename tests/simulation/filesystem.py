"""A folder as the kernel keeps it: what programs see, and what a power cut leaves of it."""

from __future__ import annotations

from random import Random

Effect = bytes | int


class File:
    """Bytes of one file: those on the medium, and what was done to them since, in order (bytes added, or a length)."""

    def __init__(self) -> None:
        self.seen = bytearray()
        self.kept = b""
        self._unsynced: list[Effect] = []

    def append(self, data: bytes) -> None:
        self.seen += data
        self._unsynced.append(data)

    def truncate(self, length: int) -> None:
        del self.seen[length:]
        self._unsynced.append(length)

    def sync(self) -> None:
        self.kept = bytes(self.seen)
        self._unsynced.clear()

    def cut(self, random: Random) -> None:
        """Power fails: of what was not synced a part, the last addition perhaps cut short or never filled."""
        found = bytearray(self.kept)
        for effect in self._unsynced[: random.randint(0, len(self._unsynced))]:
            if isinstance(effect, int):
                del found[effect:]
            else:
                found += effect
        beyond = len(found) - len(self.kept)
        if beyond > 0 and random.random() < 0.5:
            # The length was written, some of the data behind it was not.
            unfilled = random.randint(0, beyond)
            found[len(found) - unfilled :] = bytes(unfilled)
        self.seen = found
        self.sync()


class Filesystem:
    """One folder. A power cut undoes changes of names since it was synced: the latest, or any."""

    def __init__(self) -> None:
        self.files: dict[str, File] = {}
        self._history: list[dict[str, File]] = [{}]

    def create(self, name: str) -> File:
        """A new, empty file of this name."""
        file = self.files[name] = File()
        self._changed()
        return file

    def rename(self, old: str, new: str) -> None:
        self.files[new] = self.files.pop(old)
        self._changed()

    def unlink(self, name: str) -> None:
        if self.files.pop(name, None) is not None:
            self._changed()

    def sync_names(self) -> None:
        """Names as they are now outlive a power cut."""
        self._history = [dict(self.files)]

    def cut(self, random: Random) -> None:
        """Power fails: names and contents fall back to what was synced, or to anything in between."""
        if random.random() < 0.5:
            self.files = dict(random.choice(self._history))
        else:
            # POSIX keeps no order among names.
            names = sorted({name for files in self._history for name in files})
            left = {name: random.choice(self._history).get(name) for name in names}
            self.files = {name: file for name, file in left.items() if file is not None}
        for file in self.files.values():
            file.cut(random)
        self.sync_names()

    def _changed(self) -> None:
        self._history.append(dict(self.files))

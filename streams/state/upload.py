"""Uploads the snapshots of one owner, each time only what its files grew by. Deletes what nobody needs any more."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from schemas.errors import DamagedState
from streams.state.layout import (
    Objects,
    Piece,
    SharedManifest,
    checksum,
    epoch,
    epoch_number,
    is_manifest,
    manifest_key,
    pack,
    read_manifest,
    stem,
    stems,
)

# Large enough that the bandwidth of a store matters more than its delay, small enough to have a few in memory.
PIECE_BYTES = 32 << 20
# An owner deletes an object of a former owner after it has named it nowhere for so long. That is much longer than a
# rebalance, during which one owner may still be writing and another reading.
GRACE_S = 600.0

Read = Callable[[str, int, int], bytes]


class Uploader:
    """Writes the snapshots of one owner of a partition.

    It keeps its own last two, because an owner that takes over while the last one is being written continues from the
    one before. It deletes objects of former owners `GRACE_S` after its snapshots stopped naming them, and never those
    of later owners.
    """

    def __init__(self, objects: Objects, *, number: int, token: str) -> None:
        """The epoch has at least this `number`. No other owner has the same `token`."""
        self._objects = objects
        self._number = number
        self._token = token
        self._epoch = ""
        self._sequence = 0
        self._pieces: dict[str, list[Piece]] = {}
        self._own: set[str] = set()
        # Keys that the last manifest names and those that the one before names, the keys of both included.
        self._named: set[str] = set()
        self._named_before: set[str] = set()
        self._unnamed_since_s: dict[str, float] = {}
        self.written_bytes = 0

    def put(
        self, cut: Mapping[str, int], manifest: bytes, files: Mapping[str, int], read: Read, wanted: Callable[[], bool]
    ) -> bool:
        """Adds a snapshot. Returns False if `wanted` became false before all was read: then files may have changed.

        `read` gives bytes of a file. Raises FileNotFoundError when a file was deleted meanwhile, Transient when the
        store fails; what was written by then is used by the next try.
        """
        if not self._epoch:
            self._begin(files, read)
        self._pieces = {name: self._pieces.get(name, []) for name in files}
        for name, length in files.items():
            if not wanted():
                return False
            self._cover(name, length, read)
        self._sequence += 1
        key = stem(self._epoch, self._sequence)
        state = self._write(f"{key}.state", 0, manifest)
        if not wanted():
            return False
        shared = SharedManifest(dict(cut), state, {name: list(pieces) for name, pieces in self._pieces.items()})
        self._write(manifest_key(key), 0, pack(shared))
        self._named_before, self._named = self._named, {*shared.keys(), manifest_key(key)}
        return True

    def clear_away(self, now_s: float) -> None:
        """Deletes what the last two manifests do not name: own objects at once, former owners' after `GRACE_S`.

        Raises Transient; the next call deletes what is left then.
        """
        named = self._named | self._named_before
        for key in sorted(self._own - named, key=_manifests_first):
            self._objects.delete(key)
            self._own.discard(key)
        number = epoch_number(self._epoch)
        former = {key for key in self._objects.names() if 0 <= epoch_number(key) < number} - named
        self._unnamed_since_s = {key: self._unnamed_since_s.get(key, now_s) for key in former}
        for key in sorted(former, key=_manifests_first):
            if now_s - self._unnamed_since_s[key] >= GRACE_S:
                self._objects.delete(key)

    def _begin(self, files: Mapping[str, int], read: Read) -> None:
        """Takes an epoch above all others, and reuses pieces of the newest snapshot that are equal to these files."""
        snapshots = stems(self._objects)
        if snapshots:
            try:
                shared = read_manifest(self._objects, snapshots[0]).files
            except (DamagedState, FileNotFoundError):
                shared = {}
            for name, length in files.items():
                self._pieces[name] = _same(shared.get(name, ()), length, partial(read, name))
        newest = epoch_number(snapshots[0]) if snapshots else -1
        self._epoch = epoch(max(self._number, newest + 1), self._token)

    def _cover(self, name: str, length: int, read: Read) -> None:
        """Uploads what follows the existing pieces, together with the last of them as long as they are not larger.

        So the number of pieces of a file that grows a little each time follows the logarithm of its size, and is not
        one for each snapshot.
        """
        pieces = self._pieces[name]
        start = pieces[-1].end if pieces else 0
        if start == length:
            return
        while (
            pieces and pieces[-1].end - pieces[-1].start <= length - start and length - pieces[-1].start <= PIECE_BYTES
        ):
            start = pieces.pop().start
        for begin in range(start, length, PIECE_BYTES):
            size = min(PIECE_BYTES, length - begin)
            data = read(name, begin, size)
            if len(data) != size:
                raise FileNotFoundError(f"{name} from {begin} to {begin + size}")
            pieces.append(self._write(f"{self._epoch}.{name}.{begin}-{begin + size}", begin, data))

    def _write(self, key: str, start: int, data: bytes) -> Piece:
        # Recorded before the write, because a write that fails may leave an object.
        self._own.add(key)
        self._objects.write(key, data)
        self.written_bytes += len(data)
        return Piece(key, start, start + len(data), checksum(data))


def _same(pieces: Sequence[Piece], length: int, read: Callable[[int, int], bytes]) -> list[Piece]:
    """The leading pieces whose bytes are equal to those of the file."""
    kept: list[Piece] = []
    for piece in pieces:
        if piece.end > length or checksum(read(piece.start, piece.end - piece.start)) != piece.xxh3:
            break
        kept.append(piece)
    return kept


def _manifests_first(key: str) -> tuple[bool, str]:
    """Sorts manifests first, so that no manifest is left whose pieces are deleted."""
    return not is_manifest(key), key

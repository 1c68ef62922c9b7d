"""One owner's writing: each snapshot uploads what its files grew by, and clears away what nobody needs any more."""

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

# Large enough for a store's bandwidth to matter more than its delay, small enough to hold a few in memory.
PIECE_BYTES = 32 << 20
# How long an owner sees that it names no object of former owners before that goes: far longer than a rebalance, in
# which one may still be writing and another reading.
GRACE_S = 600.0

Read = Callable[[str, int, int], bytes]


class Writer:
    """The snapshots one owner of a partition writes.

    Of its own it keeps the last two: whoever takes over while the last is being written goes on from the one before,
    of which nothing may be missing. Objects of former owners it deletes `GRACE_S` after it first saw them unnamed,
    those of later owners never.
    """

    def __init__(self, objects: Objects, *, number: int, token: str) -> None:
        """`number`: of the epoch, at least; `token`: nobody else's."""
        self._objects = objects
        self._number = number
        self._token = token
        self._epoch = ""
        self._sequence = 0
        self._pieces: dict[str, list[Piece]] = {}
        self._own: set[str] = set()
        # Keys that the last manifest names, and the one before, themselves included.
        self._named: set[str] = set()
        self._named_before: set[str] = set()
        self._unnamed_since_s: dict[str, float] = {}
        self.written_bytes = 0

    def put(
        self, cut: Mapping[str, int], manifest: bytes, files: Mapping[str, int], read: Read, wanted: Callable[[], bool]
    ) -> bool:
        """Adds a snapshot; False if `wanted` turned false before all was read, since files may have changed by then.

        `read` gives a stretch of a file. Raises FileNotFoundError when a file has gone meanwhile, Transient when the
        store fails; what was written by then serves the next try.
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
        """Deletes what the last two manifests do not name: own at once, former owners' once the grace is over.

        Raises Transient; what is left then goes next time.
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
        """Takes an epoch above all there are, and over what of the newest snapshot these very files begin with."""
        found = stems(self._objects)
        if found:
            try:
                known = read_manifest(self._objects, found[0]).files
            except (DamagedState, FileNotFoundError):
                known = {}
            for name, length in files.items():
                self._pieces[name] = _same(known.get(name, ()), length, partial(read, name))
        newest = epoch_number(found[0]) if found else -1
        self._epoch = epoch(max(self._number, newest + 1), self._token)

    def _cover(self, name: str, length: int, read: Read) -> None:
        """Uploads what is behind the pieces there are, together with the last ones as long as they are no larger.

        So a file that grows by little at a time has as many pieces as a number has binary digits, not one a snapshot.
        """
        pieces = self._pieces[name]
        start = pieces[-1].end if pieces else 0
        if start == length:
            return
        while (
            pieces and pieces[-1].end - pieces[-1].start <= length - start and length - pieces[-1].start <= PIECE_BYTES
        ):
            start = pieces.pop().start
        for at in range(start, length, PIECE_BYTES):
            size = min(PIECE_BYTES, length - at)
            data = read(name, at, size)
            if len(data) != size:
                raise FileNotFoundError(f"{name} from {at} to {at + size}")
            pieces.append(self._write(f"{self._epoch}.{name}.{at}-{at + size}", at, data))

    def _write(self, key: str, start: int, data: bytes) -> Piece:
        # Noted first: a write that fails may leave something.
        self._own.add(key)
        self._objects.write(key, data)
        self.written_bytes += len(data)
        return Piece(key, start, start + len(data), checksum(data))


def _same(pieces: Sequence[Piece], length: int, read: Callable[[int, int], bytes]) -> list[Piece]:
    """The leading pieces that hold what the file holds."""
    kept: list[Piece] = []
    for piece in pieces:
        if piece.end > length or checksum(read(piece.start, piece.end - piece.start)) != piece.xxh3:
            break
        kept.append(piece)
    return kept


def _manifests_first(key: str) -> tuple[bool, str]:
    """No manifest outlives what it names."""
    return not is_manifest(key), key

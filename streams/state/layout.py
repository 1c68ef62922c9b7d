"""What lies in the shared location of one partition, as flat keys.

    <epoch>.<file>.<start>-<end>   a piece: a stretch of a file of the fold, immutable
    <epoch>.<sequence>.state       the fold's own manifest at a cut
    <epoch>.<sequence>.manifest    a SharedManifest, written last: which pieces make up the snapshot

An epoch is a number that grows from owner to owner, and a token that no other has: nobody overwrites another's object.
"""

from __future__ import annotations

from typing import Protocol

import msgspec
import xxhash

from schemas.errors import DamagedState
from schemas.frame import Frame

_MANIFEST = ".manifest"
_NUMBER_DIGITS = 12
_FRAME = Frame()


class Objects(Protocol):
    """Whole objects under flat keys. Raises Transient for trouble, FileNotFoundError for reading what is not there."""

    def write(self, key: str, data: bytes) -> None:
        """The object holds `data`; if anybody sees only a part of it, a checksum tells."""
        ...

    def read(self, key: str) -> bytes:
        """All of it."""
        ...

    def delete(self, key: str) -> None:
        """Removes an object; no error when it is missing."""
        ...

    def names(self) -> list[str]:
        """The keys there are."""
        ...


class Piece(msgspec.Struct, frozen=True):
    """One object: bytes `start` to, not including, `end` of a file."""

    key: str
    start: int
    end: int
    xxh3: str


class SharedManifest(msgspec.Struct, frozen=True):
    """A snapshot: its cut, the fold's own manifest, and the pieces of each file in order, without gaps."""

    cut: dict[str, int]
    state: Piece
    files: dict[str, list[Piece]]

    def keys(self) -> set[str]:
        """The objects it cannot be without."""
        return {self.state.key, *(piece.key for pieces in self.files.values() for piece in pieces)}


def epoch(number: int, token: str) -> str:
    """The start of an owner's keys; sorts by number."""
    return f"{number:0{_NUMBER_DIGITS}d}-{token}"


def epoch_number(key: str) -> int:
    """The number of the owner who wrote an object; -1 for what is none of ours."""
    number = key[:_NUMBER_DIGITS]
    return int(number) if number.isdecimal() and len(number) == _NUMBER_DIGITS else -1


def stem(epoch: str, sequence: int) -> str:
    """The start of the keys of one snapshot."""
    return f"{epoch}.{sequence:08d}"


def stems(objects: Objects) -> list[str]:
    """The snapshots there are, the newest first."""
    found = [key for key in objects.names() if is_manifest(key) and epoch_number(key) >= 0]
    return [key.removesuffix(_MANIFEST) for key in sorted(found, reverse=True)]


def manifest_key(stem: str) -> str:
    """The key of a snapshot's shared manifest."""
    return stem + _MANIFEST


def is_manifest(key: str) -> bool:
    """Whether an object is a shared manifest."""
    return key.endswith(_MANIFEST)


def checksum(data: bytes) -> str:
    """What a piece is checked against."""
    return xxhash.xxh3_128_hexdigest(data)


def pack(manifest: SharedManifest) -> bytes:
    """A shared manifest as an object, its checksum in front."""
    return _FRAME.wrap(msgspec.msgpack.encode(manifest))


def read_manifest(objects: Objects, stem: str) -> SharedManifest:
    """Raises DamagedState when it is damaged, FileNotFoundError, Transient."""
    body = _FRAME.unwrap(objects.read(manifest_key(stem)), manifest_key(stem))
    try:
        return msgspec.msgpack.decode(body, type=SharedManifest)
    except msgspec.MsgspecError as error:
        raise DamagedState(f"{manifest_key(stem)} is of another version ({error})") from error


def read_piece(objects: Objects, piece: Piece) -> bytes:
    """Raises DamagedState when it is damaged, FileNotFoundError, Transient."""
    data = objects.read(piece.key)
    if checksum(data) != piece.xxh3:
        raise DamagedState(f"{piece.key} is damaged")
    return data

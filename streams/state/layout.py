"""The objects in the shared location of one partition, as flat keys.

    <epoch>.<file>.<start>-<end>   a piece: bytes of a file of the fold, immutable
    <epoch>.<sequence>.state       the fold's own manifest at a cut
    <epoch>.<sequence>.manifest    a SharedManifest, written last: which pieces make up the snapshot

A cut is the next offset of each input at which a snapshot was taken. An epoch is a number that grows from owner to
owner, and a token that no other owner has, so that no owner overwrites an object of another.
"""

from __future__ import annotations

from typing import Protocol

import msgspec
import xxhash

from schemas.codec import unpack
from schemas.errors import DamagedState
from schemas.frame import Frame

_MANIFEST = ".manifest"
# Enough for seconds since 1970, so that keys sort by number.
_NUMBER_DIGITS = 12
_FRAME = Frame()


class Objects(Protocol):
    """Whole objects under flat keys. Raises Transient when the store fails, FileNotFoundError for a missing object."""

    def write(self, key: str, data: bytes) -> None:
        """Writes the whole object. A reader may see a part of it, which its checksum reveals."""
        ...

    def read(self, key: str) -> bytes:
        """Reads the whole object."""
        ...

    def delete(self, key: str) -> None:
        """Removes an object; no error when it is missing."""
        ...

    def names(self) -> list[str]:
        """The keys of all objects."""
        ...


class Piece(msgspec.Struct, frozen=True):
    """One object: the bytes of a file from `start` up to, not including, `end`."""

    key: str
    start: int
    end: int
    xxh3: str


class SharedManifest(msgspec.Struct, frozen=True):
    """A snapshot: its cut, the fold's own manifest, and the pieces of each file, in order and without gaps."""

    cut: dict[str, int]
    state: Piece
    files: dict[str, list[Piece]]

    def keys(self) -> set[str]:
        """The keys of all objects that it needs."""
        return {self.state.key, *(piece.key for pieces in self.files.values() for piece in pieces)}


def epoch(number: int, token: str) -> str:
    """The start of all keys of an owner; sorts by number."""
    return f"{number:0{_NUMBER_DIGITS}d}-{token}"


def epoch_number(key: str) -> int:
    """The number of the owner that wrote an object; -1 for an object that no owner wrote."""
    number = key[:_NUMBER_DIGITS]
    return int(number) if number.isdecimal() and len(number) == _NUMBER_DIGITS else -1


def stem(epoch: str, sequence: int) -> str:
    """The start of the keys of one snapshot, which names it."""
    return f"{epoch}.{sequence:08d}"


def stems(objects: Objects) -> list[str]:
    """The stems of all snapshots, newest first."""
    manifests = [key for key in objects.names() if is_manifest(key) and epoch_number(key) >= 0]
    return [key.removesuffix(_MANIFEST) for key in sorted(manifests, reverse=True)]


def manifest_key(stem: str) -> str:
    """The key of a snapshot's shared manifest."""
    return stem + _MANIFEST


def is_manifest(key: str) -> bool:
    """Whether an object is a shared manifest."""
    return key.endswith(_MANIFEST)


def checksum(data: bytes) -> str:
    """The checksum of a piece."""
    return xxhash.xxh3_128_hexdigest(data)


def pack(manifest: SharedManifest) -> bytes:
    """A shared manifest as the bytes of an object."""
    return _FRAME.wrap(msgspec.msgpack.encode(manifest))


def read_manifest(objects: Objects, stem: str) -> SharedManifest:
    """The shared manifest of a snapshot. Raises DamagedState, FileNotFoundError or Transient."""
    body = _FRAME.unwrap(objects.read(manifest_key(stem)), manifest_key(stem))
    try:
        return unpack(body, SharedManifest)
    except msgspec.MsgspecError as error:
        raise DamagedState(f"{manifest_key(stem)} is of another version ({error})") from error


def read_piece(objects: Objects, piece: Piece) -> bytes:
    """The bytes of a piece. Raises DamagedState, FileNotFoundError or Transient."""
    data = objects.read(piece.key)
    if checksum(data) != piece.xxh3:
        raise DamagedState(f"{piece.key} is not what was written: its checksum differs")
    return data

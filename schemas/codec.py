"""Bytes to values and back: msgspec decodes strictly into types, and encodes."""

from __future__ import annotations

import functools
import threading
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_encoder = msgspec.json.Encoder()
# msgspec notes what it finds out about a struct on the struct's type, and not under a lock: two threads that made the
# decoder of one type at the same time have ended a worker with a segmentation fault (msgspec 0.22).
_making = threading.Lock()


def encode(value: Any) -> bytes:
    """Canonical JSON of a struct, dict or list: fields in declared order, defaults left out where the type says so.

    It cannot encode numpy arrays; use orjson for them.
    """
    return _encoder.encode(value)


@functools.cache
def decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    """The strict decoder of a type, or of a union of tagged types, made once. It ignores unknown fields."""
    with _making:
        return msgspec.json.Decoder(kind)


@functools.cache
def packed_decoder(kind: Any) -> msgspec.msgpack.Decoder[Any]:
    """The same for MessagePack, the form of state files."""
    with _making:
        return msgspec.msgpack.Decoder(kind)


def unpack(data: bytes | memoryview, kind: type[T]) -> T:
    """One value of `kind` from MessagePack. Raises ValueError, RecursionError as `decode`."""
    value: T = packed_decoder(kind).decode(data)  # type: ignore[arg-type]  # as in `decode`
    return value


def decode(data: bytes, kind: type[T]) -> T:
    """One value of `kind`. Raises ValueError naming the field and bound, RecursionError when nested too deeply."""
    value: T = decoder(kind).decode(data)  # type: ignore[arg-type]  # functools asks for Hashable; every type is
    return value

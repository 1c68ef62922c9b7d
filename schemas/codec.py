"""Bytes to values and back: msgspec decodes strictly into types, and encodes."""

from __future__ import annotations

import functools
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_encoder = msgspec.json.Encoder()


def encode(value: Any) -> bytes:
    """Canonical JSON of a struct, dict or list: fields in declared order, defaults left out where the type says so.

    It cannot encode numpy arrays; use orjson for them.
    """
    return _encoder.encode(value)


@functools.cache
def decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    """The strict decoder of a type, or of a union of tagged types, made once. It ignores unknown fields."""
    return msgspec.json.Decoder(kind)


def decode(data: bytes, kind: type[T]) -> T:
    """One value of `kind`. Raises ValueError naming the field and bound, RecursionError when nested too deeply."""
    value: T = decoder(kind).decode(data)  # type: ignore[arg-type]  # functools asks for Hashable; every type is
    return value

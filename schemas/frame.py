"""The frame around kept state: it names the format and carries a checksum, so that damaged state is never read."""

from __future__ import annotations

from typing import Final

import msgspec
import xxhash

from schemas.errors import DamagedState, StateMismatch

_CHECKSUM_BYTES: Final = 16


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """How one kind of state is framed.

        magic | format | xxh3-128 of the body | body
        magic | format | body | xxh3-128 of all before it      with `checksum_last`

    `magic` names the kind of state and never changes. `format` is the number of the body's layout, in digits or as a
    little-endian integer; raise it whenever the layout changes. Both are empty where a checksum alone is enough.
    """

    magic: bytes = b""
    format: bytes = b""
    checksum_last: bool = False

    def wrap(self, *body: bytes | memoryview) -> bytes:
        """The framed body, which may be given in parts: they are copied once. The same body gives the same bytes."""
        head = self.magic + self.format
        if self.checksum_last:
            return b"".join((head, *body, self._checksum(head, *body)))
        return b"".join((head, self._checksum(head, *body), *body))

    def unwrap(self, data: bytes, what: str) -> memoryview:
        """The body of `data`, as a view and not a copy. `what` names the state in error texts: "the checkpoint of p3".

        Raises StateMismatch when `data` is of this kind in another format, and DamagedState for anything else that
        `wrap` did not return.
        """
        head, view = self.magic + self.format, memoryview(data)
        if len(view) < len(head) + _CHECKSUM_BYTES or view[: len(self.magic)] != self.magic:
            raise DamagedState(f"{what} is not what was written: its {len(view)} bytes lack their frame")
        written = bytes(view[len(self.magic) : len(head)])
        if written != self.format:
            raise StateMismatch(
                f"{what} has format {_number(written)}, this program reads up to {_number(self.format)}; use the "
                "program that wrote it"
            )
        rest = view[len(head) :]
        if self.checksum_last:
            body, checksum = rest[:-_CHECKSUM_BYTES], rest[-_CHECKSUM_BYTES:]
        else:
            body, checksum = rest[_CHECKSUM_BYTES:], rest[:_CHECKSUM_BYTES]
        if self._checksum(head, body) != checksum:
            raise DamagedState(f"{what} is not what was written: its checksum differs")
        return body

    def _checksum(self, head: bytes, *body: bytes | memoryview) -> bytes:
        digest = xxhash.xxh3_128(head if self.checksum_last else b"")
        for part in body:
            digest.update(part)
        return digest.digest()


def _number(written: bytes) -> int:
    digits = written.strip()
    return int(digits) if digits.isdigit() else int.from_bytes(written, "little")

"""How a group of fold version 1 becomes one of this version: its marks at a cut, written again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
import xxhash

from schemas.bounds import JoinBounds
from schemas.codec import encode
from schemas.errors import StateMismatch
from schemas.events import MAX_TS_MS
from streams.join.mark import LogMark, read_mark

_FORMER_VERSION: Final = 1


def former_digest(bounds: JoinBounds, *more: str) -> str:
    """The digest that version 1 gave these bounds; it had no `jump_ms`."""
    fields = [value for name, value in msgspec.structs.asdict(bounds).items() if name != "jump_ms"]
    return xxhash.xxh3_64_hexdigest(encode([_FORMER_VERSION, *fields, *more]))


def moved_mark(mark: bytes, *, former: str, digest: str, offsets: Mapping[str, int]) -> bytes | None:
    """The mark of this version for a cut of version 1 at these offsets; None when it is one of this version already.

    Raises StateMismatch when it was written under other settings.
    """
    committed = read_mark(mark)
    if committed.digest == digest:
        return None
    if committed.digest != former:
        raise StateMismatch(
            f"the committed offsets were written under settings {committed.digest}; with the options given, the "
            f"version before has {former}: give upgrade the options that the join was run with"
        )
    reached = committed.reached
    moved = msgspec.structs.replace(
        committed,
        digest=digest,
        impressions=_moved(committed.impressions, offsets["impressions"]),
        clicks=_moved(committed.clicks, offsets["clicks"]),
        finished=min(reached.close_ms, reached.orphan_ms) > MAX_TS_MS,
    )
    return encode(moved)


def _moved(log: LogMark, offset: int) -> LogMark:
    return msgspec.structs.replace(log, moved_offset=offset)

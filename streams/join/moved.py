"""How a group goes on under other settings: its marks at a cut, written again.

Two things may be other: the group was run by fold version 1, or extra dimensions were added to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec
import xxhash

from schemas.bounds import JoinBounds
from schemas.codec import encode
from schemas.dimensions import ExtraDimension
from schemas.errors import StateMismatch
from schemas.events import MAX_TS_MS, MIN_TS_MS
from streams.join.mark import LogMark, read_mark

_FORMER_VERSION: Final = 1


def former_digest(bounds: JoinBounds, *more: str) -> str:
    """The digest that version 1 gave these bounds; it had no `jump_ms`."""
    fields = [value for name, value in msgspec.structs.asdict(bounds).items() if name != "jump_ms"]
    return xxhash.xxh3_64_hexdigest(encode([_FORMER_VERSION, *fields, *more]))


def extended_mark(
    mark: bytes, digest: str, before: Mapping[str, Sequence[ExtraDimension]], highest_ms: Callable[[], int]
) -> bytes | None:
    """The mark of a group to which extra dimensions are added; None when its digest is none of those `before`.

    `highest_ms()` is at least the highest `ts` of the impressions below the cut. Raises StateMismatch when a dimension
    would count since a time below it: totals that were sent would be counted again under other names.
    """
    committed = read_mark(mark)
    if committed.digest not in before:
        return None
    shown_ms = highest_ms()
    for dimension in before[committed.digest]:
        if dimension.since_ms <= shown_ms >= MIN_TS_MS:
            raise StateMismatch(
                f"{dimension.name} counts since {_moment(dimension.since_ms)}, but impressions up to "
                f"{_moment(shown_ms)} may be counted without it already: give it a later `since`"
            )
    return encode(msgspec.structs.replace(committed, digest=digest))


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


def _moment(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1_000, UTC):%Y-%m-%dT%H:%M:%SZ}" if ms else "the beginning"

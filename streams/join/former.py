"""The rules of fold version 1, for the records that were judged by them.

`clickfold upgrade` moves a running group to this version at a cut. Records below the cut were decided by version 1,
and a rebuild that reads them again must come to what was decided then. Once no rebuild and no checkpoint can lie below
a cut of version 1, this file can go.

What was different: an impression with an unusable feature was refused; nesting was bounded by the stack only; no record
waited for confirmation; a twin was an accepted record of the same id whose `ts` was at most the dedupe horizon below
the watermark; only accepted records raised the watermark.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from schemas.events import MAX_RECORD_BYTES
from schemas.reading import Unreadable
from schemas.rejects import Reason
from streams.join.judge import Fate, Fates, Judged
from streams.join.watermark import Watermark


def read_former(value: bytes | None, decode: Callable[[bytes], Any]) -> Any:
    """As `schemas.reading.read` was: without a bound on nesting but the stack's."""
    if value is None:
        return Unreadable(Reason.TOMBSTONE, "the record has no value")
    if len(value) > MAX_RECORD_BYTES:
        return Unreadable(Reason.TOO_LARGE, f"{len(value)} bytes, more than {MAX_RECORD_BYTES}")
    try:
        return decode(value)
    except (ValueError, RecursionError) as error:
        return Unreadable(Reason.UNDECODABLE, str(error) or "nested too deeply")


def judge_former(
    watermark: Watermark,
    events: Sequence[Any],
    *,
    dedupe_ms: int,
    accepted_of: Callable[[int], Iterable[Any]],
    accept: Callable[[int], None],
) -> Judged:
    """Judges one by one. `accepted_of(place)` are the accepted events of the id; `accept(place)` remembers one."""
    fates: Fates = np.zeros(len(events), np.int8)
    for place, event in enumerate(events):
        bound_ms = watermark.ms
        if event.ts < bound_ms:
            fates[place] = Fate.LATE
            continue
        twin = next((other for other in accepted_of(place) if other.ts >= bound_ms - dedupe_ms), None)
        if twin is not None:
            fates[place] = Fate.DUPLICATE if twin == event else Fate.CONFLICT
            continue
        watermark.accept(event.ts)
        accept(place)
    return Judged(fates, 0)

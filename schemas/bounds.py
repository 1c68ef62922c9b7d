"""The numbers a join is defined by. They are part of the fold: two runs with different ones decide differently."""

from __future__ import annotations

import re
from typing import Final

import msgspec
import xxhash

from schemas.codec import encode
from schemas.errors import SettingsError
from schemas.events import MAX_TS_MS, MIN_TS_MS

# Raised when the same input and bounds would be decided differently by a newer program.
FOLD_VERSION: Final = 1
_LONGEST_MS: Final = 31 * 86_400_000
_UNITS_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


class JoinBounds(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds of a join. Raises SettingsError when they cannot work together.

    A click matches iff `-skew_ms <= click.ts - impression.ts <= window_ms`. A record is late iff its `ts` is more than
    `lateness_ms` below the highest accepted one before it in its log, in the future iff more than `future_ms` above its
    Kafka timestamp, a duplicate iff its id was accepted within `dedupe_ms` below the lateness bound.
    `negative_rate` is the share of unclicked impressions that become outcomes.
    """

    window_ms: int = 30 * 60_000
    """A click matches at most this long after its impression."""
    skew_ms: int = 5_000
    """A click matches at most this long before its impression."""
    lateness_ms: int = 120_000
    """A record this far below the highest accepted `ts` of its log is still accepted."""
    future_ms: int = 60_000
    """A record this far above its own Kafka timestamp is still accepted."""
    dedupe_ms: int = -1
    """An id is remembered this long below the lateness bound; -1: window + skew + lateness."""
    negative_rate: float = 0.05
    """Share of unclicked impressions that become outcomes."""

    def __post_init__(self) -> None:
        if self.dedupe_ms < 0:
            msgspec.structs.force_setattr(self, "dedupe_ms", self.window_ms + self.skew_ms + self.lateness_ms)
        if not 1 <= self.window_ms <= _LONGEST_MS:
            raise SettingsError(f"window is {self.window_ms} ms; give one from 1 ms to 31 days, such as 30m")
        for name, value in (("skew", self.skew_ms), ("lateness", self.lateness_ms), ("future", self.future_ms)):
            if not 0 <= value <= _LONGEST_MS:
                raise SettingsError(f"{name} is {value} ms; give one from 0 to 31 days, such as 5s")
        if self.dedupe_ms < self.window_ms + self.skew_ms:
            raise SettingsError(
                f"dedupe horizon is {self.dedupe_ms} ms, below window + skew = {self.window_ms + self.skew_ms} ms: an "
                "impression id could match clicks of two impressions; raise it or leave it out"
            )
        if not 0.0 <= self.negative_rate <= 1.0:
            raise SettingsError(f"negative rate is {self.negative_rate}; give a share from 0 to 1, such as 0.05")

    def digest(self, *more: str) -> str:
        """Names these bounds, the fold's version and whatever else decides its result."""
        fields = [FOLD_VERSION, *msgspec.structs.astuple(self), *more]
        return xxhash.xxh3_64_hexdigest(encode(fields))


def parse_duration_ms(text: str) -> int:
    """Milliseconds of '30m', '5s', '250ms', '2h', '1d'. Raises SettingsError on anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", text.strip())
    if not found:
        raise SettingsError(f"duration {text!r} is not a number with a unit; write it as 30m, 5s, 250ms, 2h or 1d")
    return round(float(found[1]) * _UNITS_MS[found[2]])


# Bounds of a log no record has moved yet, and of one that has ended.
NO_BOUND_MS: Final = MIN_TS_MS - 10 * _LONGEST_MS
END_OF_TIME_MS: Final = MAX_TS_MS + 10 * _LONGEST_MS

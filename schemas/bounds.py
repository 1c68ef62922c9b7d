"""The numbers that define a join. They are part of the fold: two runs with other bounds decide differently."""

from __future__ import annotations

import re
from typing import Final

import msgspec
import xxhash

from schemas.codec import encode
from schemas.errors import SettingsError
from schemas.events import MAX_TS_MS, MIN_TS_MS

# Raise it when a newer program would decide the same input differently under the same bounds.
FOLD_VERSION: Final = 2
_LONGEST_MS: Final = 31 * 86_400_000
_UNITS_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


class JoinBounds(msgspec.Struct, frozen=True, kw_only=True):
    """What matches, and what is late, in the future or a duplicate. Raises SettingsError for bounds that cannot work.

    A click matches an impression iff `-skew_ms <= click.ts - impression.ts <= window_ms`. The watermark of a log is the
    highest `ts` of an on-time record so far minus `lateness_ms`. A record is late iff its `ts` is below the watermark,
    in the future iff its `ts` is more than `future_ms` above its Kafka timestamp. Of two on-time records with the same
    id whose `ts` are at most `dedupe_ms` apart the second is a duplicate if they are equal, else a conflict. A record
    whose `ts` is more than `jump_ms` above all before it waits for its confirmation. `negative_rate` is the share of
    impressions that become outcomes when they are shown, and again when they are not clicked. By default `dedupe_ms` is
    window + skew + lateness. See docs/concepts/event-time.md.
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
    """Two records of one id are twins if their `ts` are at most this far apart; -1: window + skew + lateness."""
    jump_ms: int = 0
    """A record this far above the highest `ts` of its log needs no confirmation by later ones; 0: none ever does."""
    negative_rate: float = 0.05
    """Share of impressions that become outcomes of kind `shown`, and of kind `unclicked` if nobody clicks."""

    def __post_init__(self) -> None:
        if self.dedupe_ms < 0:
            msgspec.structs.force_setattr(self, "dedupe_ms", self.window_ms + self.skew_ms + self.lateness_ms)
        if not 1 <= self.window_ms <= _LONGEST_MS:
            raise SettingsError(f"window is {self.window_ms} ms; give one from 1 ms to 31 days, such as 30m")
        for name in ("skew", "lateness", "future", "jump"):
            value = getattr(self, f"{name}_ms")
            if not 0 <= value <= _LONGEST_MS:
                raise SettingsError(f"{name} is {value} ms; give one from 0 to 31 days, such as 5s")
        if self.dedupe_ms < self.window_ms + self.skew_ms:
            raise SettingsError(
                f"dedupe horizon is {self.dedupe_ms} ms, below window + skew = {self.window_ms + self.skew_ms} ms: a "
                "click could match two impressions with the same id; raise it or leave it out"
            )
        if not 0.0 <= self.negative_rate <= 1.0:
            raise SettingsError(f"negative rate is {self.negative_rate}; give a share from 0 to 1, such as 0.05")

    def digest(self, *more: str) -> str:
        """A hash of these bounds, the fold's version and `more`: everything else that decides what the fold returns."""
        fields = [FOLD_VERSION, *msgspec.structs.astuple(self), *more]
        return xxhash.xxh3_64_hexdigest(encode(fields))


def parse_duration_ms(text: str) -> int:
    """Milliseconds of '30m', '5s', '250ms', '2h', '1d'. Raises SettingsError for anything else."""
    parts = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", text.strip())
    if not parts:
        raise SettingsError(f"duration {text!r} is not a number with a unit; write it as 30m, 5s, 250ms, 2h or 1d")
    return round(float(parts[1]) * _UNITS_MS[parts[2]])


# The watermark of a log without an accepted record, and of a log that has ended. Ten times the longest span outside the
# event times that records may have, so that no sum of spans in between reaches them.
NO_BOUND_MS: Final = MIN_TS_MS - 10 * _LONGEST_MS
END_OF_TIME_MS: Final = MAX_TS_MS + 10 * _LONGEST_MS

"""Times in any unit or notation to milliseconds UTC."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Any, Final

from schemas.events import MAX_TS_MS, MIN_TS_MS
from schemas.moments import moment
from streams.mapping.values import LocalMs, Ms, Unfit, number, shown

# By unit: milliseconds of one, as a quotient of whole numbers.
UNITS: Final = {"s": (1_000, 1), "ms": (1, 1), "us": (1, 1_000), "ns": (1, 1_000_000)}
ISO: Final = "iso"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LOCAL_EPOCH: Final = datetime(1970, 1, 1)
_MS: Final = timedelta(milliseconds=1)
_YEAR_MS: Final = 31_556_952_000
# From here on a year is read by its thousands.
_MANY_DIGITS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Times:
    """Reads times: numbers in `unit` from `origin_ms` on, ISO 8601, or texts of a `strptime` pattern.

    A time without a zone is one of `zone`; an hour that the zone has twice is the first of both. Fractions of a
    millisecond are dropped.
    """

    unit: str = ""
    pattern: str = ""
    zone: tzinfo = UTC
    origin_ms: int = 0

    def one(self, value: Any) -> int:
        """The moment in ms UTC. Raises Unfit."""
        found = self._ms(value)
        if not MIN_TS_MS <= found <= MAX_TS_MS:
            year = 1970 + found // _YEAR_MS
            named = f"{year:,}" if year >= _MANY_DIGITS else str(year)
            raise Unfit(f"{shown(value)}{self._as()} is the year {named}{self._likely(value)}")
        return found

    def many(self, values: Sequence[Any], types: set[type]) -> list[int] | None:
        """Many moments at once; None where each must be looked at."""
        if self.pattern or self.unit == ISO:
            return None
        if types == {str}:
            try:
                values = list(map(int, values))
            except ValueError:
                return None
        # On the clock of UTC a moment without a zone is what it says.
        elif types == {Ms} or (types == {LocalMs} and self.zone is UTC):
            return _within(list(map(int, values)))
        elif types == {float} and self.unit == "s" and not self.origin_ms:
            return _whole_ms(values)
        elif types != {int}:
            return None
        if self.origin_ms:
            return None
        times, parts = UNITS[self.unit or "ms"]
        if times > 1:
            values = [value * times for value in values]
        elif parts > 1:
            values = [value // parts for value in values]
        return _within(list(values))

    def _ms(self, value: Any) -> int:
        if isinstance(value, Ms):
            return int(value)
        if isinstance(value, LocalMs):
            return self._utc_ms(_LOCAL_EPOCH + int(value) * _MS)
        if isinstance(value, datetime):
            return self._utc_ms(value)
        if isinstance(value, date):
            return self._utc_ms(datetime(value.year, value.month, value.day))
        if self.pattern:
            try:
                return self._utc_ms(datetime.strptime(str(value).strip(), self.pattern))
            except ValueError as error:
                raise Unfit(f"{shown(value)} is not of the form {self.pattern}") from error
        if self.unit == ISO:
            return self._iso(value)
        try:
            count = number(value)
        except Unfit as error:
            raise Unfit(f'{error}; text of a time needs unit = "iso" or a pattern') from error
        times, parts = UNITS[self.unit or "ms"]
        if isinstance(count, Decimal):
            if not self.unit:
                raise Unfit(f'{shown(value)} is a fraction of a millisecond; give its unit, such as "s"')
            return int(count * times) // parts + self.origin_ms
        return count * times // parts + self.origin_ms

    def _iso(self, value: Any) -> int:
        if not isinstance(value, str):
            raise Unfit(f"{shown(value)} is no text of ISO 8601{self._likely(value)}")
        try:
            try:
                read = datetime.fromisoformat(value)
            except ValueError:
                read = moment(value)
        except ValueError as error:
            raise Unfit(f"{shown(value)} is no ISO 8601, such as 2026-11-30T12:00:00Z") from error
        return self._utc_ms(read)

    def _utc_ms(self, read: datetime) -> int:
        try:
            return ((read if read.tzinfo else read.replace(tzinfo=self.zone)) - _EPOCH) // _MS
        except OverflowError as error:
            raise Unfit(f"{read} is outside of what a calendar has") from error

    def _as(self) -> str:
        if self.pattern:
            return f" as {self.pattern}"
        if self.unit == ISO:
            return ""
        return f" as {self.unit or 'ms'}"

    def _likely(self, value: Any) -> str:
        """The unit that a number looks like, as the end of a sentence."""
        try:
            count = number(value)
        except Unfit:
            return "; times are of 2000 to 2099"
        for unit, (times, parts) in UNITS.items():
            found = int(count * times) // parts
            if MIN_TS_MS <= found <= MAX_TS_MS:
                return f'; unit = "{unit}" gives {(_EPOCH + found * _MS).isoformat(timespec="seconds")}'
        return "; times are of 2000 to 2099"


def _whole_ms(seconds: Sequence[float]) -> list[int] | None:
    """Moments of seconds that were written with at most three decimals; None where one was not.

    A text of up to 15 digits is the shortest of its float. So what gives the same float is what was written.
    """
    try:
        found = [round(value * 1_000) for value in seconds]
    except (ValueError, OverflowError):  # not a number, or infinite
        return None
    if [value / 1_000 for value in found] != list(seconds):
        return None
    return _within(found)


def _within(values: list[int]) -> list[int] | None:
    return values if min(values) >= MIN_TS_MS and max(values) <= MAX_TS_MS else None

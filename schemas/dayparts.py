"""Day-parting: the hours of the week in which a campaign serves, such as `mon-fri 9-18, sat 10-14`."""

from __future__ import annotations

import functools
import re
from typing import Final

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
# A bit for each hour of the clock from midnight on, Monday first.
Week = tuple[int, ...]
_PART: Final = re.compile(r"([a-z]+)(?:-([a-z]+))? +(\d{1,2})-(\d{1,2})")
_EXAMPLE: Final = "'mon-fri 9-18, sat 10-14'"


@functools.lru_cache(maxsize=4_096)
def hours_of_week(text: str) -> Week:
    """The hours that the text names. `9-18` is from 9:00 on and before 18:00; `fri-mon` goes over the weekend.

    Raises ValueError, in one sentence with the remedy.
    """
    week = [0] * len(DAYS)
    for part in text.lower().split(","):
        found = _PART.fullmatch(part.strip())
        if found is None:
            raise ValueError(f"dayparts has {part.strip()[:60]!r}; give days and hours, such as {_EXAMPLE}")
        first, last, from_, to = found.groups()
        for day in (first, last):
            if day is not None and day not in DAYS:
                raise ValueError(f"dayparts has the day {day[:20]!r}; there are {', '.join(DAYS)}")
        if not 0 <= int(from_) < int(to) <= 24:
            raise ValueError(
                f"dayparts has the hours {from_}-{to}; give a first and a later last one from 0 to 24, "
                "and hours over midnight as two parts"
            )
        start = DAYS.index(first)
        for ahead in range((DAYS.index(last or first) - start) % len(DAYS) + 1):
            week[(start + ahead) % len(DAYS)] |= (1 << int(to)) - (1 << int(from_))
    return tuple(week)

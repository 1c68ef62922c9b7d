"""The one way in which tests wait for something that runs in another thread or process."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

Seen = TypeVar("Seen")
# Only ends a test that hangs: ten times what the slowest wait takes on a busy machine.
PATIENCE_S: Final = 120.0
_PAUSE_S: Final = 0.02
# The longer it waits, the more seldom it looks: a tenth of the time so far, but what lasts for a second is seen.
_LATER: Final = 0.1
_LONGEST_PAUSE_S: Final = 0.25
_ANYTHING: Final = object()


def eventually(
    see: Callable[[], Seen],
    right: Callable[[Seen], bool] = bool,
    *,
    equals: object = _ANYTHING,
    what: str = "it",
    about: object = None,
    within_s: float = PATIENCE_S,
) -> Seen:
    """Calls `see` until its value equals `equals`, or without that until it is `right`, and gives this value.

    An exception of `see` is raised at once. Raises AssertionError after `within_s`, with the last value and `about`:
    further information on the failure, or a function that gives it and is called only then.
    """
    __tracebackhide__ = True
    first_s = time.monotonic()
    give_up_s = first_s + within_s
    while True:
        began_s = time.monotonic()
        seen = see()
        if right(seen) if equals is _ANYTHING else seen == equals:
            return seen
        now_s = time.monotonic()
        if now_s > give_up_s:
            break
        # At least as long as `see` took, so that it takes at most half of the machine's time.
        later_s = min(_LATER * (now_s - first_s), _LONGEST_PAUSE_S)
        time.sleep(max(_PAUSE_S, now_s - began_s, later_s))
    wanted = "" if equals is _ANYTHING else f", wanted: {equals!r}"
    more = about() if callable(about) else about
    raise AssertionError(
        f"{what} did not come within {within_s:g} s; seen last: {seen!r}{wanted}{'' if more is None else f'; {more}'}"
    )

"""One way to wait for a state of something that works beside the test."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

Seen = TypeVar("Seen")
# To end and not to be right: ten times what the slowest of these waits takes while other work fills the machine.
PATIENCE_S: Final = 120.0
_PAUSE_S: Final = 0.02
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
    """What `see` gives once that equals `equals`, or else once it is `right`; what `see` raises is raised at once.

    Raises AssertionError when it does not come to that, with what was seen last and `about`: what tells more of the
    failure, or a function that gives it and is called only then.
    """
    __tracebackhide__ = True
    give_up_s = time.monotonic() + within_s
    while True:
        began_s = time.monotonic()
        seen = see()
        if right(seen) if equals is _ANYTHING else seen == equals:
            return seen
        now_s = time.monotonic()
        if now_s > give_up_s:
            break
        # As long as the look took: what is waited for gets half of the machine at least.
        time.sleep(max(_PAUSE_S, now_s - began_s))
    wanted = "" if equals is _ANYTHING else f", wanted: {equals!r}"
    more = about() if callable(about) else about
    raise AssertionError(
        f"{what} did not come within {within_s:g} s; seen last: {seen!r}{wanted}{'' if more is None else f'; {more}'}"
    )

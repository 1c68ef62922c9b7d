"""Calls every kernel with its arrays between canaries, and looks at these after the call: `pytest -p tests.canaries`.

A kernel writes to addresses, which numba's own check of bounds does not see. Here each array is copied into memory of
its own between two margins. What a kernel writes beyond an array, or into one that it may only read, is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from schemas.compiled import KERNELS, Deferred

_CANARY: Final = 0xA5
# Farther than any kernel's longest single store.
_MARGIN: Final = 256


class Guarded:
    """A copy of an array between two margins."""

    def __init__(self, array: np.ndarray[Any, np.dtype[Any]]) -> None:
        self.given = array
        self._memory = np.full(array.nbytes + 2 * _MARGIN, _CANARY, np.uint8)
        self.array = np.ndarray(array.shape, array.dtype, self._memory.data, _MARGIN)
        self.array[...] = array
        self.array.flags.writeable = array.flags.writeable

    def check(self, name: str, *, written: bool) -> None:
        """Raises AssertionError when something was written that must not be. Else gives back what was written."""
        for margin in (self._memory[:_MARGIN], self._memory[-_MARGIN:]):
            assert (margin == _CANARY).all(), f"{name} wrote beyond an array of {self.given.nbytes} bytes"
        if written:
            self.given[...] = self.array
        else:
            same = self.array.tobytes() == np.ascontiguousarray(self.given).tobytes()
            assert same, f"{name} wrote into an array that it may only read"


def guarded(name: str, function: Callable[..., Any], written: tuple[bool, ...], arguments: tuple[Any, ...]) -> Any:
    """The answer of a kernel, called between canaries; `written` says which arguments it may write to."""
    copies = [Guarded(each) if isinstance(each, np.ndarray) else None for each in arguments]
    answer = function(*(each if copy is None else copy.array for each, copy in zip(arguments, copies, strict=True)))
    for copy, may_write in zip(copies, written, strict=True):
        if copy is not None:
            copy.check(name, written=may_write)
    return answer


_called: set[str] = set()


def pytest_sessionfinish() -> None:
    """Says which kernels no test has called."""
    print("\nnever called:", *sorted({kernel.name for kernel in KERNELS} - _called))


def pytest_configure() -> None:
    """Guards all kernels of this process."""
    plain = Deferred.__call__

    def call(self: Deferred, *arguments: Any) -> Any:
        if self not in KERNELS:
            return plain(self, *arguments)
        _called.add(self.name)
        written = tuple(argument.written for argument in self.arguments)
        return guarded(self.name, lambda *copies: plain(self, *copies), written, arguments)

    Deferred.__call__ = call  # type: ignore[method-assign]  # this is what the module is for

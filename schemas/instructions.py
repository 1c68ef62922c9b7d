"""Instructions of a processor that Python has no word for, and what they are without a compiler.

An address is a plain integer. None of these checks a bound; the kernels that call them do, and say where.
"""

from __future__ import annotations

import ctypes
import math
from typing import Any

import numpy as np

from schemas.compiled import inlined, instruction

# An integer of a kernel: signed or not, as numba has inferred it.
Int = Any

_LOW_BYTES = np.array([(1 << 8 * count) - 1 for count in range(8)], np.uint64)


def _prefetch(_context: Any, _address: Any) -> Any:
    # Imported late: numba takes a second, and most processes need no kernel.
    from llvmlite import ir
    from numba.core import types

    def build(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        pointer, hint = ir.IntType(8).as_pointer(), ir.IntType(32)
        function = builder.module.declare_intrinsic(
            "llvm.prefetch", fnty=ir.FunctionType(ir.VoidType(), [pointer, *[hint] * 3])
        )
        # To be read, with no hurry to be evicted, as data.
        hints = [ir.Constant(hint, value) for value in (0, 3, 1)]
        builder.call(function, [builder.inttoptr(args[0], pointer), *hints])
        return context.get_dummy_value()

    return types.void(types.int64), build


def _no_prefetch(_address: int) -> None:
    """It changes no result."""


def _word(_context: Any, _address: Any) -> Any:
    from llvmlite import ir
    from numba.core import types

    def build(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        loaded = builder.load(builder.inttoptr(args[0], ir.IntType(64).as_pointer()))
        loaded.align = 1
        return loaded

    return types.uint64(types.int64), build


def _word_of_python(address: int) -> np.uint64:
    return np.uint64(int.from_bytes(ctypes.string_at(int(address), 8), "little"))


def _root(_context: Any, _number: Any) -> Any:
    from llvmlite import ir
    from numba.core import types

    def build(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.call(builder.module.declare_intrinsic("llvm.sqrt", [ir.DoubleType()]), args)

    return types.float64(types.float64), build


# The square root, as `math.sqrt`, which loops call for one number at a time; they take several of these together.
root = instruction(_root, uncompiled=math.sqrt)
# Begins to fetch what is at an address; any may be given.
prefetch = instruction(_prefetch, uncompiled=_no_prefetch)
# The eight bytes at an address as an unsigned number, the first one lowest.
word = instruction(_word, uncompiled=_word_of_python)


@inlined
def same_bytes(left: Int, right: Int, length: Int) -> Int:
    """Whether so many bytes are the same at both addresses. Up to seven bytes beyond them are read."""
    place = np.int64(0)
    while place + 8 <= length and word(left + place) == word(right + place):
        place += 8
    rest = length - place
    return rest < 8 and ((word(left + place) ^ word(right + place)) & _LOW_BYTES[rest]) == 0

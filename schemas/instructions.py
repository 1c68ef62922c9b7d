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

# How many bytes `plain_bytes` looks at.
PLAIN_BYTES = 16
_SPACE, _QUOTE, _ESCAPE, _TILDE = 32, 34, 92, 126
# The lowest so many bytes of eight.
LOW_BYTES = np.array([(1 << 8 * count) - 1 for count in range(9)], np.uint64)


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


def _byte(_context: Any, _address: Any) -> Any:
    from llvmlite import ir
    from numba.core import types

    def build(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        loaded = builder.load(builder.inttoptr(args[0], ir.IntType(8).as_pointer()))
        return builder.zext(loaded, ir.IntType(64))

    return types.int64(types.int64), build


def _byte_of_python(address: int) -> int:
    return ctypes.string_at(int(address), 1)[0]


def _lowest(_context: Any, _mask: Any) -> Any:
    from llvmlite import ir
    from numba.core import types

    def build(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), build


def _lowest_of_python(mask: int) -> int:
    given = int(mask)
    return (given & -given).bit_length() - 1 if given else 64


def _plain_bytes(_context: Any, _address: Any) -> Any:
    from llvmlite import ir
    from numba.core import types

    def build(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        vector = ir.VectorType(ir.IntType(8), PLAIN_BYTES)
        text = builder.load(builder.inttoptr(args[0], vector.as_pointer()))
        text.align = 1

        def all_of(value: int) -> Any:
            return ir.Constant(vector, [value] * PLAIN_BYTES)

        # Below a space or above a tilde is one comparison, without sign.
        others = builder.icmp_unsigned(">", builder.sub(text, all_of(_SPACE)), all_of(_TILDE - _SPACE))
        for value in (_QUOTE, _ESCAPE):
            others = builder.or_(others, builder.icmp_unsigned("==", text, all_of(value)))
        bits = builder.zext(builder.bitcast(others, ir.IntType(PLAIN_BYTES)), ir.IntType(64))
        stop = ir.Constant(ir.IntType(64), 1 << PLAIN_BYTES)
        return builder.cttz(builder.or_(bits, stop), ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), build


def _plain_bytes_of_python(address: int) -> int:
    count = 0
    for each in ctypes.string_at(int(address), PLAIN_BYTES):
        if not _SPACE <= each <= _TILDE or each in (_QUOTE, _ESCAPE):
            break
        count += 1
    return count


# The square root, as `math.sqrt`, which loops call for one number at a time; they take several of these together.
root = instruction(_root, uncompiled=math.sqrt)
# The byte at an address.
byte = instruction(_byte, uncompiled=_byte_of_python)
# The number of the lowest bit that is set; 64 for none.
lowest = instruction(_lowest, uncompiled=_lowest_of_python)
# How many of the next `PLAIN_BYTES` bytes are ASCII that JSON has in a text as it is, before the first that is not.
plain_bytes = instruction(_plain_bytes, uncompiled=_plain_bytes_of_python)
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
    return rest < 8 and ((word(left + place) ^ word(right + place)) & LOW_BYTES[rest]) == 0

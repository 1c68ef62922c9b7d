"""Loads, stores and products that Python has no word for. Each becomes one or two machine instructions.

Addresses are plain integers: an array costs two atomic operations whenever it is handed to a function. None of these
checks a bound. The kernels that call them do, and say where.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from schemas.compiled import inlined, instruction
from schemas.instructions import Int as Int
from schemas.instructions import byte as byte

# How many bytes `quotes` looks at, and so how far beyond their last byte strings must be readable.
TEXT_BYTES = 64


class _LLVM:
    """What instructions are written in. Imported late: numba takes a second, and most processes need no kernel."""

    def __init__(self) -> None:
        from llvmlite import ir
        from numba.core import types

        self.ir, self.types = ir, types
        self.bits = {bits: ir.IntType(bits) for bits in (1, 8, 32, 64, 128)}
        self.double = ir.DoubleType()
        self.pointer = self.bits[8].as_pointer()

    def constant(self, bits: int, value: int) -> Any:
        return self.ir.Constant(self.bits[bits], value)

    def access(self, builder: Any, address: Any, kind: Any) -> Any:
        return builder.inttoptr(address, kind.as_pointer())


@functools.cache
def _llvm() -> _LLVM:
    return _LLVM()


@inlined
def start_of(array: Any) -> Int:
    """The address of the first element, as a signed number: numba makes a float of signed plus unsigned."""
    return _signed(array.ctypes.data)


@instruction
def _signed(_context: Any, _number: Any) -> Any:
    types = _llvm().types
    return types.int64(types.uint64), lambda _context, _builder, _signature, args: args[0]


def _load(bits: int, result: str, *, signed: bool = False) -> Callable[..., Any]:
    """Loads so many bits and widens them to 64."""

    @instruction
    def load(_context: Any, _address: Any) -> Any:
        llvm = _llvm()

        def build(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            loaded = builder.load(llvm.access(builder, args[0], llvm.bits[bits]))
            loaded.align = 1
            widened = builder.sext if signed else builder.zext
            return widened(loaded, llvm.bits[64]) if bits < 64 else loaded

        return getattr(llvm.types, result)(llvm.types.int64), build

    return load


def _store(bits: int, argument: str) -> Callable[..., Any]:
    """Stores the lowest so many bits."""

    @instruction
    def store(_context: Any, _address: Any, _value: Any) -> Any:
        llvm = _llvm()

        def build(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            kind = llvm.double if argument == "float64" else llvm.bits[bits]
            value = builder.trunc(args[1], kind) if bits < 64 else args[1]
            stored = builder.store(value, llvm.access(builder, args[0], kind))
            stored.align = 1
            return context.get_dummy_value()

        return llvm.types.void(llvm.types.int64, getattr(llvm.types, argument)), build

    return store


# Of the bytes at an address, lowest first: four as an unsigned number.
half = _load(32, "uint64")
# The same as signed numbers.
signed_word = _load(64, "int64")
signed_half = _load(32, "int64", signed=True)
put_int = _store(64, "int64")
put_word = _store(64, "uint64")
put_half = _store(32, "int64")
put_byte = _store(8, "int64")
put_double = _store(64, "float64")


@instruction
def copy(_context: Any, _to: Any, _address: Any, _length: Any) -> Any:
    """Copies bytes from an address to another; the two ranges do not overlap."""
    llvm = _llvm()

    def build(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        function = builder.module.declare_intrinsic("llvm.memcpy", [llvm.pointer, llvm.pointer, llvm.bits[64]])
        to, address = (builder.inttoptr(each, llvm.pointer) for each in args[:2])
        builder.call(function, [to, address, args[2], llvm.constant(1, 0)])
        return context.get_dummy_value()

    int64 = llvm.types.int64
    return llvm.types.void(int64, int64, int64), build


@instruction
def message_time(_context: Any, _function: Any, _message: Any) -> Any:
    """`rd_kafka_message_timestamp`, at the address given first, of a message: ms, -1 for none."""
    llvm = _llvm()

    def build(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        kind = llvm.ir.FunctionType(llvm.bits[64], [llvm.pointer, llvm.pointer])
        function = builder.inttoptr(args[0], kind.as_pointer())
        return builder.call(function, [builder.inttoptr(args[1], llvm.pointer), llvm.ir.Constant(llvm.pointer, None)])

    int64 = llvm.types.int64
    return int64(int64, int64), build


@instruction
def message_destroyed(_context: Any, _function: Any, _message: Any) -> Any:
    """`rd_kafka_message_destroy`, at the address given first, of a message."""
    llvm = _llvm()

    def build(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        kind = llvm.ir.FunctionType(llvm.ir.VoidType(), [llvm.pointer])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), [builder.inttoptr(args[1], llvm.pointer)])
        return context.get_dummy_value()

    int64 = llvm.types.int64
    return llvm.types.void(int64, int64), build


@instruction
def folded(_context: Any, _left: Any, _right: Any) -> Any:
    """The two halves of the 128-bit product, combined by exclusive or."""
    llvm = _llvm()

    def build(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        product = builder.mul(*(builder.zext(each, llvm.bits[128]) for each in args))
        high = builder.trunc(builder.lshr(product, llvm.constant(128, 64)), llvm.bits[64])
        return builder.xor(builder.trunc(product, llvm.bits[64]), high)

    uint64 = llvm.types.uint64
    return uint64(uint64, uint64), build


@instruction
def swapped(_context: Any, _value: Any) -> Any:
    """The eight bytes in reverse order."""
    uint64 = _llvm().types.uint64
    return uint64(uint64), lambda _context, builder, _signature, args: builder.bswap(args[0])


def _mask(*tests: tuple[str, int]) -> Callable[..., Any]:
    """Which of the 64 bytes at an address pass one of the tests, each an unsigned comparison: bit n for byte n."""

    @instruction
    def mask(_context: Any, _address: Any) -> Any:
        llvm = _llvm()
        vector = llvm.ir.VectorType(llvm.bits[8], TEXT_BYTES)

        def build(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            text = builder.load(llvm.access(builder, args[0], vector))
            text.align = 1
            passed = [
                builder.icmp_unsigned(test, text, llvm.ir.Constant(vector, [value] * TEXT_BYTES))
                for test, value in tests
            ]
            return builder.bitcast(functools.reduce(builder.or_, passed), llvm.bits[64])

        return llvm.types.uint64(llvm.types.int64), build

    return mask


quotes = _mask(("==", 34))
# Backslashes and control characters.
specials = _mask(("==", 92), ("<", 32))
# Bytes of characters that are not ASCII.
others = _mask((">=", 128))

"""Fetches lines of memory into the processor's cache before they are needed. It changes no result."""

from __future__ import annotations

from typing import Any

from schemas.compiled import instruction


def _nothing(_address: int) -> None:
    """What it is without a compiler."""


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


# Takes an address; any may be given.
prefetch = instruction(_prefetch, uncompiled=_nothing)

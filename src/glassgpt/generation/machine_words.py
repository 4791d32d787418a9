"""The few things that `loops` needs from below Python: numbers at an address, and threads that wait for each other.

Each is one instruction of the compiler (LLVM). numba inlines them.
"""

from __future__ import annotations

import sys
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


@intrinsic
def address_of(_context: Any, _number: Any) -> Any:
    """Take an int64 as the address of something: `carray(address_of(a), shape, dtype)` are the numbers there."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.int64), generate


@intrinsic
def bits_as_float(_context: Any, _bits: Any) -> Any:
    """Take the bits of an int32 as a float32."""

    def generate(_target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


@intrinsic
def float_as_bits(_context: Any, _number: Any) -> Any:
    """Take a float32 as the int32 that has its bits."""

    def generate(_target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.int32(types.float32), generate


@intrinsic
def widened(_context: Any, stored: Any) -> Any:
    """Take a stored number as the float32 that it stands for: a float32, an int8, or a bfloat16's bits as uint16."""

    def generate(_target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        if stored == types.float32:
            return arguments[0]
        if stored == types.int8:
            return builder.sitofp(arguments[0], ir.FloatType())
        bits = builder.zext(arguments[0], ir.IntType(32))
        return builder.bitcast(builder.shl(bits, ir.Constant(ir.IntType(32), 16)), ir.FloatType())

    return types.float32(stored), generate


@intrinsic
def arrive(_context: Any, _address: Any) -> Any:
    """Add 1 to the int64 at an address, whole even when several threads do it at once."""

    def generate(_target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        counter = builder.inttoptr(arguments[0], ir.PointerType(ir.IntType(64)))
        return builder.atomic_rmw("add", counter, ir.Constant(ir.IntType(64), 1), "seq_cst")

    return types.int64(types.int64), generate


@intrinsic
def arrivals(_context: Any, _address: Any) -> Any:
    """Return the int64 at an address as the last thread left it."""

    def generate(_target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        counter = builder.inttoptr(arguments[0], ir.PointerType(ir.IntType(64)))
        return builder.load_atomic(counter, "seq_cst", 8)

    return types.int64(types.int64), generate


let_others_run = types.ExternalFunction(
    "SwitchToThread" if sys.platform == "win32" else "sched_yield", types.int32()
)
"""Give the core to another thread that waits for one, if there is any."""

"""The few things that `loops` needs from below Python: numbers at an address, lanes, and threads that wait.

Each is one instruction of the compiler (LLVM), or a few. numba inlines them.
"""

from __future__ import annotations

import operator
import os
import platform
import sys
from typing import Any

from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import extending, types
from numba.core import cgutils
from numba.extending import models, overload, register_model
from numba.np.arrayobj import populate_array

intrinsic: Any = extending.intrinsic  # it adds an argument, which a type checker does not see


@intrinsic
def stay_apart(_context: Any) -> Any:
    """Keep the function in which this stands from being copied into those that call it.

    Its loops then have the registers for themselves, and it is compiled once.
    """

    def generate(context: Any, builder: Any, _signature: Any, _arguments: Any) -> Any:
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def vector(_context: Any, _address: Any, _size: Any) -> Any:
    """Return the float32 numbers at an address, an int64, as an array (size,)."""
    kind = types.Array(types.float32, 1, "C")

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return _array(context, builder, kind, arguments[0], arguments[1:])

    return kind(types.int64, types.intp), generate


@intrinsic
def matrix(_context: Any, _address: Any, _rows: Any, _columns: Any, dtype: Any) -> Any:
    """Return the numbers of a dtype at an address as an array (rows, columns)."""
    kind = types.Array(dtype.dtype, 2, "C")

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return _array(context, builder, kind, arguments[0], arguments[1:3])

    return kind(types.int64, types.intp, types.intp, dtype), generate


@intrinsic
def address_in(_context: Any, array: Any, _index: Any) -> Any:
    """Return the address of the number `index` of a contiguous array, counted over all its axes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ptrtoint(_place_of(context, builder, signature, arguments), ir.IntType(64))

    return types.int64(array, types.intp), generate


@intrinsic
def beside(_context: Any, array: Any, _first: Any, _size: Any) -> Any:
    """Return the numbers of a contiguous array from `first` on, counted over all its axes: (size,)."""
    kind = types.Array(array.dtype, 1, "C")

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = builder.ptrtoint(_place_of(context, builder, signature, arguments), ir.IntType(64))
        return _array(context, builder, kind, address, arguments[2:])

    return kind(array, types.intp, types.intp), generate


def _place_of(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Return a pointer to a number of a contiguous array: arguments are the array and the number, over all axes."""
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    return builder.gep(array.data, [arguments[1]])


def _array(context: Any, builder: Any, kind: Any, address: Any, shape: Any) -> Any:
    """Return a contiguous array over memory that somebody else owns."""
    array, width = (
        context.make_array(kind)(context, builder),
        context.get_abi_sizeof(context.get_data_type(kind.dtype)),
    )
    size, strides = ir.Constant(ir.IntType(64), width), []
    for count in reversed(shape):
        strides.append(size)
        size = builder.mul(size, count)
    populate_array(
        array,
        data=builder.inttoptr(address, array.data.type),
        shape=shape,
        strides=strides[::-1],
        itemsize=ir.Constant(ir.IntType(64), width),
        meminfo=None,
    )
    return array._getvalue()


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
    """Take a stored number as the float32 that it stands for.

    It is a float32, an int8, the bits of a bfloat16 as uint16, or those of a float16 as int16.
    """

    def generate(_target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        if stored == types.float32:
            return arguments[0]
        if stored == types.int8:
            return builder.sitofp(arguments[0], ir.FloatType())
        if stored == types.int16:
            return builder.fpext(builder.bitcast(arguments[0], ir.HalfType()), ir.FloatType())
        bits = builder.zext(arguments[0], ir.IntType(32))
        return builder.bitcast(builder.shl(bits, ir.Constant(ir.IntType(32), 16)), ir.FloatType())

    return types.float32(stored), generate


@intrinsic
def narrowed(_context: Any, _number: Any, array: Any) -> Any:
    """Take a float32 as a number of an array that stores float32, or the bits of float16 as int16.

    Beyond the range of float16 it becomes the largest or the smallest number there.
    """
    kind = array.dtype

    def generate(_target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        number, single = arguments[0], ir.FloatType()
        if kind == types.float32:
            return number
        for name, edge in (("minnum", LARGEST_HALF), ("maxnum", -LARGEST_HALF)):
            kind_of_edge = ir.FunctionType(single, [single, single])
            function = cgutils.get_or_insert_function(builder.module, kind_of_edge, f"llvm.{name}.f32")
            number = builder.call(function, [number, ir.Constant(single, edge)])
        return builder.bitcast(builder.fptrunc(number, ir.HalfType()), ir.IntType(16))

    return kind(types.float32, array), generate


LARGEST_HALF = 65504.0
_FEATURES = os.environ.get("NUMBA_CPU_FEATURES") or get_host_cpu_features().flatten()
HAS_HALVES = "+f16c" in _FEATURES or platform.machine() in ("aarch64", "arm64")
"""Whether the processor itself turns float16 into float32; the compiler would call a library that is not there."""
LANES = 16 if "+avx512f" in _FEATURES else 8
"""How many float32 numbers are computed at once: as many as a register holds, or two where registers are short."""


class LanesType(types.Type):
    """The float32 numbers of one register. `+`, `-`, `*` and `/` apply to all of them at once."""

    def __init__(self) -> None:
        super().__init__(name=f"Lanes({LANES})")


Lanes = LanesType()
_VECTOR, _HALVES = ir.VectorType(ir.FloatType(), LANES), ir.VectorType(ir.HalfType(), LANES)


@register_model(LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _VECTOR)


def _lanes_of(context: Any, builder: Any, signature: Any, arguments: Any, kind: Any = _VECTOR) -> Any:
    """Return a pointer to the lanes that begin at a number of an array."""
    return builder.bitcast(_place_of(context, builder, signature, arguments), ir.PointerType(kind))


@intrinsic
def lanes_at(_context: Any, array: Any, _index: Any) -> Any:
    """Return the lanes from the number `index` on of a contiguous array, counted over all its axes.

    The array stores float32, or the bits of float16 as int16.
    """
    is_half = array.dtype == types.int16

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        stored = _HALVES if is_half else _VECTOR
        loaded = builder.load(_lanes_of(context, builder, signature, arguments, stored))
        loaded.align = 2 if is_half else 4
        return builder.fpext(loaded, _VECTOR) if is_half else loaded

    return Lanes(array, types.intp), generate


@intrinsic
def put_lanes(_context: Any, array: Any, _index: Any, _lanes: Any) -> Any:
    """Write lanes from the number `index` on of a contiguous float32 array, counted over all its axes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        stored = builder.store(arguments[2], _lanes_of(context, builder, signature, arguments))
        stored.align = 4
        return context.get_dummy_value()

    return types.void(array, types.intp, Lanes), generate


@intrinsic
def spread(_context: Any, _number: Any) -> Any:
    """Return lanes that all hold one number."""

    def generate(_target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        nothing, whole = ir.Constant(_VECTOR, ir.Undefined), ir.IntType(32)
        first = builder.insert_element(nothing, arguments[0], ir.Constant(whole, 0))
        everywhere = ir.Constant(ir.VectorType(whole, LANES), [0] * LANES)
        return builder.shuffle_vector(first, nothing, everywhere)

    return Lanes(types.float32), generate


@intrinsic
def ask_for(_context: Any, array: Any, _index: Any) -> Any:
    """Let the processor fetch the cache line of the number `index` of a contiguous array, and do not wait for it.

    It does no harm where the number does not exist.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer, whole = ir.PointerType(ir.IntType(8)), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, whole, whole, whole])
        fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        place = builder.bitcast(_place_of(context, builder, signature, arguments), pointer)
        builder.call(fetch, [place, *(ir.Constant(whole, number) for number in (0, 3, 1))])
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


@intrinsic
def square_roots(_context: Any, _lanes: Any) -> Any:
    """Return the square root of each lane."""

    def generate(_target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(_VECTOR, [_VECTOR])
        root = cgutils.get_or_insert_function(builder.module, kind, f"llvm.sqrt.v{LANES}f32")
        return builder.call(root, arguments)

    return Lanes(Lanes), generate


def _computes(sign: Any, instruction: str) -> None:
    """Let a sign between two lanes stand for an instruction."""

    @intrinsic
    def compute(_context: Any, _left: Any, _right: Any) -> Any:
        def generate(_target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            return getattr(builder, instruction)(*arguments)

        return Lanes(Lanes, Lanes), generate

    @overload(sign)
    def with_lanes(left, right):  # numba wants the same signature as that of the function below
        if left == Lanes and right == Lanes:
            return lambda left, right: compute(left, right)
        return None


for _name, _instruction in (("add", "fadd"), ("sub", "fsub"), ("mul", "fmul"), ("truediv", "fdiv")):
    for _sign in (getattr(operator, _name), getattr(operator, f"i{_name}")):
        _computes(_sign, _instruction)


@intrinsic
def arrive(_context: Any, _address: Any) -> Any:
    """Add 1 to the int64 at an address, whole even when several threads do it at once."""

    def generate(_target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        counter = builder.inttoptr(arguments[0], ir.PointerType(ir.IntType(64)))
        return builder.atomic_rmw("add", counter, ir.Constant(ir.IntType(64), 1), "seq_cst")

    return types.int64(types.int64), generate


@intrinsic
def word_at(_context: Any, _address: Any) -> Any:
    """Return the int64 at an address as the last thread left it."""

    def generate(_target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        counter = builder.inttoptr(arguments[0], ir.PointerType(ir.IntType(64)))
        return builder.load_atomic(counter, "seq_cst", 8)

    return types.int64(types.int64), generate


@intrinsic
def put_word(_context: Any, _address: Any, _word: Any) -> Any:
    """Write the int64 at an address, for other threads to find."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        place = builder.inttoptr(arguments[0], ir.PointerType(ir.IntType(64)))
        builder.store_atomic(arguments[1], place, "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic
def replace_word(_context: Any, _address: Any, _old: Any, _new: Any) -> Any:
    """Write `new` at an address where `old` is; return whether it was there. Of several threads, one is the first."""

    def generate(_target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        place = builder.inttoptr(arguments[0], ir.PointerType(ir.IntType(64)))
        found = builder.cmpxchg(place, arguments[1], arguments[2], "seq_cst", "seq_cst")
        return builder.extract_value(found, 1)

    return types.boolean(types.int64, types.int64, types.int64), generate


let_others_run = types.ExternalFunction(
    "SwitchToThread" if sys.platform == "win32" else "sched_yield", types.int32()
)
"""Give the core to another thread that waits for one, if there is any."""

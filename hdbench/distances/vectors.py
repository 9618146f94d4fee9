"""Sixteen float32 lanes as one value inside numba kernels.

LLVM does not vectorise the small nested minima that set distances are made of: it gives up on alias checks and
unrolls the sixteen-trip loops first. Here the lanes are explicit. `float32x16` is a numba type whose LLVM form is
`<16 x float>`; `+ - * /` work on it, and the functions below load, compare, select and reduce it. On machines with
narrower registers LLVM splits the vectors, so the same kernels run everywhere.

All functions may be called from `@njit` code only. Offsets count elements from the first of a C-contiguous
float32 array of any shape and are not checked. Nothing is assumed about NaN: inputs must be finite (or infinite
on purpose, as in empty boxes), which callers check before they get here.

numba's cache of a kernel does not notice that this file changed: touch the kernel's own file as well.
"""

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, register_model

LANES = 16
"""Lanes of a vector, and points in a leaf of `hdbench.distances.blocks`."""

_FLOAT, _DOUBLE, _INT32, _INT64 = ir.FloatType(), ir.DoubleType(), ir.IntType(32), ir.IntType(64)
_VECTOR = ir.VectorType(_FLOAT, LANES)
_MASK = ir.IntType(LANES)


class Float32x16(types.Type):
    """The numba type of a vector."""

    def __init__(self) -> None:
        super().__init__(name="float32x16")


float32x16 = Float32x16()

Vector = Any
"""What annotations of kernels call a `float32x16`: type checkers see only that it is computed with."""


@register_model(Float32x16)
class _Float32x16Model(models.PrimitiveModel):
    def __init__(self, manager: Any, numba_type: Any) -> None:
        super().__init__(manager, numba_type, _VECTOR)


def _define_operator(function: Callable[..., Any], instruction: str) -> None:
    @infer_global(function)
    class _Template(ConcreteTemplate):
        cases = [signature(float32x16, float32x16, float32x16)]  # noqa: RUF012 - numba's protocol

    @lower_builtin(function, float32x16, float32x16)
    def _lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return getattr(builder, instruction)(*args)


_define_operator(operator.add, "fadd")
_define_operator(operator.iadd, "fadd")
_define_operator(operator.sub, "fsub")
_define_operator(operator.mul, "fmul")
_define_operator(operator.truediv, "fdiv")


@intrinsic
def load(typing_context: Any, array: Any, offset: Any) -> Any:
    """The sixteen elements of `array` from `offset` on."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load(_vector_pointer(context, builder, sig.args[0], *args), align=4)

    return float32x16(array, offset), generate


@intrinsic
def store(typing_context: Any, array: Any, offset: Any, vector: Any) -> Any:
    """Write `vector` to the sixteen elements of `array` from `offset` on."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store(args[2], _vector_pointer(context, builder, sig.args[0], *args[:2]), align=4)
        return context.get_dummy_value()

    return types.void(array, offset, vector), generate


@intrinsic
def splat(typing_context: Any, scalar: Any) -> Any:
    """The float32 `scalar` in every lane."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _splat(builder, args[0])

    return float32x16(types.float32), generate


@intrinsic
def splat_element(typing_context: Any, array: Any, offset: Any) -> Any:
    """Element `offset` of `array` in every lane."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _splat(builder, builder.load(_element_pointer(context, builder, sig.args[0], *args)))

    return float32x16(array, offset), generate


@intrinsic
def multiply_add(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    """`a * b + c`, rounded once."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        function = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
        return builder.call(cgutils.get_or_insert_function(builder.module, function, "llvm.fma.v16f32"), args)

    return float32x16(float32x16, float32x16, float32x16), generate


@intrinsic
def minimum(typing_context: Any, a: Any, b: Any) -> Any:
    """The smaller lane of each pair."""
    return float32x16(float32x16, float32x16), _select("<")


@intrinsic
def maximum(typing_context: Any, a: Any, b: Any) -> Any:
    """The larger lane of each pair."""
    return float32x16(float32x16, float32x16), _select(">")


@intrinsic
def minimum_nonnegative(typing_context: Any, a: Any, b: Any) -> Any:
    """The smaller lane of each pair, where no lane is negative (or -0).

    Such floats order as their bits do, and integer minima run on ports that the float pipeline leaves idle.
    """

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        integers = ir.VectorType(_INT32, LANES)
        first, second = (builder.bitcast(vector, integers) for vector in args)
        smaller = builder.select(builder.icmp_signed("<", first, second), first, second)
        return builder.bitcast(smaller, _VECTOR)

    return float32x16(float32x16, float32x16), generate


@intrinsic
def overshoot(typing_context: Any, a: Any, b: Any) -> Any:
    """The larger lane of each pair, or zero where both are negative.

    How far a point lies outside an interval is `overshoot(low - x, x - high)`. Compared as integers, for the same
    reason as `minimum_nonnegative`: a float with its sign set is a negative integer, whatever its size.
    """

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        integers = ir.VectorType(_INT32, LANES)
        larger = ir.Constant(integers, [0] * LANES)
        for vector in args:
            bits = builder.bitcast(vector, integers)
            larger = builder.select(builder.icmp_signed(">", bits, larger), bits, larger)
        return builder.bitcast(larger, _VECTOR)

    return float32x16(float32x16, float32x16), generate


@intrinsic
def square_root(typing_context: Any, vector: Any) -> Any:
    """The square root of each lane."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        function = ir.FunctionType(_VECTOR, [_VECTOR])
        return builder.call(cgutils.get_or_insert_function(builder.module, function, "llvm.sqrt.v16f32"), args)

    return float32x16(float32x16), generate


@intrinsic
def keep_first(typing_context: Any, vector: Any, count: Any) -> Any:
    """The first `count` lanes of `vector`, zero in the others."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        integers = ir.VectorType(_INT32, LANES)
        limit = _splat(builder, builder.trunc(args[1], _INT32))
        kept = builder.icmp_signed("<", ir.Constant(integers, list(range(LANES))), limit)
        return builder.select(kept, args[0], ir.Constant(_VECTOR, [0.0] * LANES))

    return float32x16(float32x16, types.int64), generate


@intrinsic
def less_bits(typing_context: Any, a: Any, b: Any) -> Any:
    """Bit i is set where lane i of `a` is less than that of `b`."""
    return types.uint64(float32x16, float32x16), _compare("<")


@intrinsic
def equal_bits(typing_context: Any, a: Any, b: Any) -> Any:
    """Bit i is set where lane i of `a` equals that of `b`."""
    return types.uint64(float32x16, float32x16), _compare("==")


@intrinsic
def trailing_zeros(typing_context: Any, bits: Any) -> Any:
    """The index of the lowest bit set in `bits`, which must not be 0."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


@intrinsic
def reduce_minimum(typing_context: Any, vector: Any) -> Any:
    """The smallest lane."""
    return types.float32(float32x16), _halve(_select("<"))


@intrinsic
def reduce_maximum(typing_context: Any, vector: Any) -> Any:
    """The largest lane."""
    return types.float32(float32x16), _halve(_select(">"))


@intrinsic
def reduce_sum(typing_context: Any, vector: Any) -> Any:
    """The sum of the lanes as float64, always added in the same (pairwise) order."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        doubles = builder.fpext(args[0], ir.VectorType(_DOUBLE, LANES))
        return _fold(builder, doubles, lambda pair: builder.fadd(*pair))

    return types.float64(float32x16), generate


def _element_pointer(context: Any, builder: Any, array_type: Any, array: Any, offset: Any) -> Any:
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [offset])


def _vector_pointer(context: Any, builder: Any, array_type: Any, array: Any, offset: Any) -> Any:
    pointer = _element_pointer(context, builder, array_type, array, offset)
    return builder.bitcast(pointer, _VECTOR.as_pointer())


def _splat(builder: Any, scalar: Any) -> Any:
    vector = ir.VectorType(scalar.type, LANES)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(_INT32, 0))
    lanes = ir.Constant(ir.VectorType(_INT32, LANES), [0] * LANES)
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), lanes)


def _select(order: str) -> Callable[..., Any]:
    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered(order, *args), *args)

    return generate


def _compare(order: str) -> Callable[..., Any]:
    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.zext(builder.bitcast(builder.fcmp_ordered(order, *args), _MASK), _INT64)

    return generate


def _halve(combine: Callable[..., Any]) -> Callable[..., Any]:
    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _fold(builder, args[0], lambda pair: combine(context, builder, sig, pair))

    return generate


def _fold(builder: Any, vector: Any, combine: Callable[[list[Any]], Any]) -> Any:
    """Combine the upper half of the lanes with the lower one until a single lane is left."""
    width = LANES
    while width > 1:
        width //= 2
        unused = ir.Constant(vector.type, ir.Undefined)
        halves = [
            builder.shuffle_vector(vector, unused, ir.Constant(ir.VectorType(_INT32, width), list(lanes)))
            for lanes in (range(width), range(width, 2 * width))
        ]
        vector = combine(halves)
    return builder.extract_element(vector, ir.Constant(_INT32, 0))

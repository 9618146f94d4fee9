"""Functions of sixteen lanes beyond arithmetic: selection, single lanes, powers of two.

They extend `hdbench.distances.vectors` with what kernels beyond nearest neighbours need, under the same rules.
"""

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from hdbench.distances.vectors import LANES, float32x16, multiply_add, splat

_INT32, _FLOAT = ir.IntType(32), ir.FloatType()
_INTEGERS, _FLOATS = ir.VectorType(_INT32, LANES), ir.VectorType(_FLOAT, LANES)

# Added to a float32 below 2 ** 22, it leaves the nearest integer in the lowest bits.
_ROUNDING = np.float32(1.5 * 2**23)

# The polynomial of degree 5 nearest to 2 ** r on [-1/2, 1/2] in relative error (9.2e-8) of those that are 1 at 0.
_POWER = tuple(
    np.float32(coefficient)
    for coefficient in (
        1.0,
        0.6931469775989908,
        0.24022242085376655,
        0.05550733743471248,
        0.009671512639960576,
        0.0013264727139800465,
    )
)


@intrinsic
def select_less(typing_context: Any, a: Any, b: Any, then: Any, otherwise: Any) -> Any:
    """The lanes of `then` where `a` is less than `b`, else those of `otherwise`."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        a, b, then, otherwise = args
        return builder.select(builder.fcmp_ordered("<", a, b), then, otherwise)

    return float32x16(float32x16, float32x16, float32x16, float32x16), generate


@intrinsic
def element(typing_context: Any, vector: Any, lane: Any) -> Any:
    """The number in lane `lane` of `vector`."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.extract_element(args[0], builder.trunc(args[1], _INT32))

    return types.float32(float32x16, types.int64), generate


@intrinsic
def replace_element(typing_context: Any, vector: Any, lane: Any, scalar: Any) -> Any:
    """`vector` with the float32 `scalar` in lane `lane`."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector, lane, scalar = args
        here = builder.icmp_signed(
            "==", ir.Constant(_INTEGERS, list(range(LANES))), _broadcast(builder, builder.trunc(lane, _INT32))
        )
        return builder.select(here, _broadcast(builder, scalar), vector)

    return float32x16(float32x16, types.int64, types.float32), generate


@numba.njit(inline="always")
def exp2_of_product(a: Any, b: Any) -> Any:
    """2 ** (a * b) for products within [-126, 126], relative error below 2.5e-7; exactly 1 for 0.

    The product is split into its nearest integer n and a rest of at most 1/2, which a fused product gives with one
    rounding; a polynomial takes the rest, and n is added to the exponent bits.
    """
    shifted = multiply_add(a, b, splat(_ROUNDING))
    rest = multiply_add(a, b, splat(_ROUNDING) - shifted)
    power = multiply_add(rest, splat(_POWER[5]), splat(_POWER[4]))
    power = multiply_add(rest, power, splat(_POWER[3]))
    power = multiply_add(rest, power, splat(_POWER[2]))
    power = multiply_add(rest, power, splat(_POWER[1]))
    power = multiply_add(rest, power, splat(_POWER[0]))
    return _add_to_exponent(power, shifted)


@intrinsic
def _add_to_exponent(typing_context: Any, vector: Any, shifted: Any) -> Any:
    """`vector * 2 ** n`, where n stands in the lowest bits of `shifted`."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        number, power = (builder.bitcast(argument, _INTEGERS) for argument in args)
        exponent = builder.shl(power, ir.Constant(_INTEGERS, [23] * LANES))
        return builder.bitcast(builder.add(number, exponent), _FLOATS)

    return float32x16(float32x16, float32x16), generate


def _broadcast(builder: Any, scalar: Any) -> Any:
    undefined = ir.Constant(ir.VectorType(scalar.type, LANES), ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(_INT32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(_INTEGERS, [0] * LANES))

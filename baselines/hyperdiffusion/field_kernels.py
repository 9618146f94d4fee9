"""Values of a field at lattice points, sixteen points to a vector.

The first layer of a field is a sum over axes: what it makes of lattice point (i, j, k) is in_x[i] + in_y[j] + in_z[k],
three rows of small tables. The other layers are matrix products over tiles of 64 points. Each point stays in its lane
and its sums always run in the same order, fused, so a value has the same bits whichever points it is computed with,
on whichever machine.

Written out in vectors this is faster than the general product of a BLAS, which is built for matrices that do not fit
the cache, and it can leave out what is zero: in neighbouring points the same ReLUs are closed, usually more than half.
Adding a finite weight times zero changes no sum but -0 to 0, and no value is -0 in the end.

numba's cache of a kernel does not notice that this file changed: touch `field_bounds.py` with it.
"""

import math
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from hdbench.distances.vectors import LANES, equal_bits, load, maximum, splat, splat_element, store
from hdbench.shapes import Float32

TILE_ROWS = 4
"""Rows of weights that go through a tile together: with four vectors of points, sixteen sums stay in registers."""
TILE_VECTORS = 4
TILE_POINTS = TILE_VECTORS * LANES

_ZERO = np.float32(0)
_ALL_LANES = np.uint64(2**LANES - 1)


class Layers(NamedTuple):
    """A field as kernels take it, on one lattice: tables of the first layer, then what follows."""

    tables: tuple[Float32, Float32, Float32]
    """(X, width), (Y, width), (Z, width): the axes' shares of the first layer before its ReLU, biases included."""
    weights: Float32
    """(layers, outputs, inputs): each further layer, filled up with zeros to the size of the largest."""
    biases: Float32
    """(layers, outputs), filled up in the same way."""
    widths: npt.NDArray[np.int64]
    """(layers + 1,): inputs of each of these layers, and then 1, the last one's output."""
    columns_z: Float32
    """(width, Z + 16): the last table, units first, so that neighbours in z are one vector."""
    finite: bool
    """Whether all weights are: then what is multiplied by zero can be left out."""


def make_layers(tables: tuple[Float32, Float32, Float32], weights: list[Float32], biases: list[Float32]) -> Layers:
    """`Layers` of the tables and the tensors of the layers that follow, weights (outputs, inputs)."""
    widths = np.array([*(weight.shape[1] for weight in weights), 1])
    outputs = math.ceil(widths[1:].max() / TILE_ROWS) * TILE_ROWS
    filled = np.zeros((len(weights), outputs, widths.max()), np.float32)
    filled_biases = np.zeros((len(weights), outputs), np.float32)
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        filled[layer, : weight.shape[0], : weight.shape[1]] = weight
        filled_biases[layer, : len(bias)] = bias
    columns_z = np.zeros((tables[2].shape[1], len(tables[2]) + LANES), np.float32)
    columns_z[:, : len(tables[2])] = tables[2].T
    return Layers(tables, filled, filled_biases, widths, columns_z, bool(np.isfinite(filled).all()))


@numba.njit(cache=True)
def evaluate(layers: Layers, points: npt.NDArray[np.int64], values: Float32) -> None:
    """Write the logits of the lattice points with flat indices `points` (P,), in C order, to `values` (P,)."""
    widest = max(layers.weights.shape[1:])
    # One row more than units, since whole vectors are written where less is meant.
    columns, sums = np.zeros((widest + 1, TILE_POINTS), np.float32), np.zeros((widest + 1, TILE_POINTS), np.float32)
    open_units, runs = np.empty(widest, np.int64), np.empty((TILE_POINTS, 4), np.int64)
    for first in range(0, len(points), TILE_POINTS):
        count = min(TILE_POINTS, len(points) - first)
        _first_layer(layers, points[first : first + count], runs, columns)
        for layer in range(len(layers.weights)):
            opened = _rectify(columns, layers.widths[layer], layers.finite, open_units)
            outputs = layers.widths[layer + 1]
            multiply_tile(layers.weights[layer], outputs, open_units[:opened], columns, TILE_VECTORS, sums)
            _add_bias(sums, layers.biases[layer], outputs)
            columns, sums = sums, columns
        for lane in range(count):
            values[first + lane] = columns[0, lane] + _ZERO


@numba.njit
def _first_layer(layers: Layers, points: npt.NDArray[np.int64], runs: npt.NDArray[np.int64], columns: Float32) -> None:
    """Fill the first lanes of `columns` with what the first layer makes of up to a tile of points; `runs` is scratch.

    Points are taken in runs of up to sixteen neighbours in z. A run is written as a whole vector, whose rest the
    next run, or the next unit's first, overwrites.
    """
    in_x, in_y, _ = layers.tables
    stride = layers.columns_z.shape[1]
    size_y, size_z = len(in_y), stride - LANES
    found = 0
    for lane in range(len(points)):
        row, z = divmod(points[lane], size_z)
        x, y = divmod(row, size_y)
        if lane:
            last = found - 1
            length = lane - runs[last, 0]
            if length < LANES and x == runs[last, 1] and y == runs[last, 2] and z == runs[last, 3] + length:
                continue
        runs[found, 0], runs[found, 1], runs[found, 2], runs[found, 3] = lane, x, y, z
        found += 1
    for unit in range(in_x.shape[1]):
        for run in range(found):
            in_row = splat(in_x[runs[run, 1], unit] + in_y[runs[run, 2], unit])
            in_z = load(layers.columns_z, unit * stride + runs[run, 3])
            store(columns, unit * TILE_POINTS + runs[run, 0], in_row + in_z)


@numba.njit
def _rectify(columns: Float32, units: int, skip_zeros: bool, open_units: npt.NDArray[np.int64]) -> int:
    """Apply the ReLU; move the units that are not zero everywhere to the front, list them, and return their number."""
    zero, opened = splat(_ZERO), 0
    for unit in range(units):
        zeros = _ALL_LANES
        for offset in range(0, TILE_POINTS, LANES):
            value = maximum(zero, load(columns, unit * TILE_POINTS + offset))  # in this order NaN stays
            zeros &= equal_bits(value, zero)
            store(columns, opened * TILE_POINTS + offset, value)
        if not skip_zeros or zeros != _ALL_LANES:
            open_units[opened] = unit
            opened += 1
    return opened


@numba.njit
def _add_bias(sums: Float32, bias: Float32, outputs: int) -> None:
    for row in range(outputs):
        for offset in range(row * TILE_POINTS, (row + 1) * TILE_POINTS, LANES):
            store(sums, offset, load(sums, offset) + splat_element(bias, row))


@numba.njit(inline="always")
def multiply_tile(
    weight: Float32, outputs: int, inputs: npt.NDArray[np.int64], columns: Float32, vectors: int, sums: Float32
) -> None:
    """`sums[:outputs] = weight[:outputs, inputs] @ columns[:len(inputs)]`, with columns in `vectors` (a constant).

    Rows of `sums` up to the next multiple of `TILE_ROWS` are written, too.
    """
    stride = weight.shape[1]
    for row in range(0, outputs, TILE_ROWS):
        _multiply_rows(weight, row * stride, stride, inputs, columns, vectors, sums, row * vectors * LANES)


@intrinsic(prefer_literal=True)
def _multiply_rows(
    typing_context: Any,
    weight: Any,
    first: Any,
    stride: Any,
    inputs: Any,
    columns: Any,
    vectors: Any,
    sums: Any,
    target: Any,
) -> Any:
    """`TILE_ROWS` rows of weights, from element `first` on, times the tile; sums over inputs in the order given."""
    count = vectors.literal_value

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _, first, stride, inputs, _, _, _, target = args
        integer, vector = ir.IntType(64), ir.VectorType(ir.FloatType(), LANES)
        fused = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{LANES}f32"
        )

        def element(position: int, offset: Any) -> Any:
            array = context.make_array(sig.args[position])(context, builder, args[position])
            return builder.gep(array.data, [offset])

        def vector_at(position: int, offset: Any) -> Any:
            return builder.bitcast(element(position, offset), vector.as_pointer())

        def constant(value: int) -> Any:
            return ir.Constant(integer, value)

        totals = [[cgutils.alloca_once(builder, vector) for _ in range(count)] for _ in range(TILE_ROWS)]
        for total in (total for row in totals for total in row):
            builder.store(ir.Constant(vector, [0.0] * LANES), total)
        listed = context.make_array(sig.args[3])(context, builder, inputs)
        with cgutils.for_range(builder, builder.extract_value(listed.shape, 0)) as loop:
            start = builder.mul(loop.index, constant(count * LANES))
            loaded = [
                builder.load(vector_at(4, builder.add(start, constant(LANES * v))), align=4) for v in range(count)
            ]
            unit = builder.add(first, builder.load(element(3, loop.index)))
            for row in range(TILE_ROWS):
                scalar = builder.load(element(0, builder.add(unit, builder.mul(stride, constant(row)))))
                lane = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
                lanes = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
                factor = builder.shuffle_vector(lane, ir.Constant(vector, ir.Undefined), lanes)
                for total, columns_here in zip(totals[row], loaded, strict=True):
                    builder.store(builder.call(fused, [factor, columns_here, builder.load(total)]), total)
        for row in range(TILE_ROWS):
            for v in range(count):
                offset = builder.add(target, constant((row * count + v) * LANES))
                builder.store(builder.load(totals[row][v]), vector_at(6, offset), align=4)
        return context.get_dummy_value()

    return types.void(weight, first, stride, inputs, columns, vectors, sums, target), generate

"""What the values of a field on the lattice points of a box can be: lower and upper bounds that hold to the last bit.

Forward linear bounds. In a box, with u in [-1, 1]^3 running over it, each unit's value v at each lattice point obeys
|v - centre(u)| <= radius(u), where centre and radius are linear in u: four numbers each. They start as chords of the
first layer's tables, go through a layer W as `W @ centre` and `|W| @ radius`, and through a ReLU as the relaxation of
smallest area (Zhang et al. 2018, CROWN, section 3.3, forward instead of backward): above by the chord over the
unit's range [low, high], below by 0 or the identity.

**Rounding.** v is what `field_kernels.evaluate` computes, not what the mathematics of the field would give. A sum of
n products in float32, in any order, errs by at most n / (2^24 - n) times the sum of the products' sizes (Higham 2002,
section 3.1; fused products only err less). One such sum makes v, one each the coefficients of centre and radius. So a
unit's `size`, a bound on |v| + |centre| + |radius| in the box, is pushed through |W| with the rest, and
4 (n + 8) / 2^24 (2 |bias| + |W| @ size) is added to the radius: four times what the three sums can err together. The
elementwise steps have a fixed number of roundings of terms no larger than |centre| + |radius|, at most 14; 32 are
added. A constant of 1e-34 covers products that underflow, even where they are flushed to zero. Sums that overflow,
infinite and NaN weights make a size, hence a radius, infinite or NaN; comparisons are written so that such a
box ends with bounds that prove nothing. No step trusts a tolerance that was found by trying.
"""

import numba
import numpy as np
import numpy.typing as npt

from hdbench.distances.vector_math import select_less
from hdbench.distances.vectors import LANES, Vector, equal_bits, load, maximum, splat, splat_element, store
from hdbench.shapes import Float32

from .field_kernels import Layers, evaluate, multiply_tile

Int64 = npt.NDArray[np.int64]

CENTRE_VECTORS = 4
"""A centre is four vectors of sixteen boxes: constant, slopes along x, y and z."""
RADIUS_VECTORS = 5
"""A radius has the same four, and the unit's size."""
_CENTRE, _RADIUS = CENTRE_VECTORS * LANES, RADIUS_VECTORS * LANES
_CHORD, _SLOPE, _DEVIATION, _SIZE = 0, 1, 2, 3

_ALL_LANES = np.uint64(2**LANES - 1)
_UNIT_ROUNDOFF = np.float32(2**-24)
_STEPS = np.float32(32 * 2**-24)
_UNDERFLOW = np.float32(1e-34)
_ZERO, _HALF, _ONE, _TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)


class FieldLattice:
    """A field on one lattice: values at some of its points, and bounds of them (see `hdbench.geometry`)."""

    def __init__(self, layers: Layers) -> None:
        self._layers = layers
        self._magnitudes = np.abs(layers.weights)

    def values(self, points: Int64) -> Float32:
        """Logits (P,) at the lattice points with flat indices `points` (P,), in C order."""
        values = np.empty(len(points), np.float32)
        evaluate(self._layers, points, values)
        return values

    def bounds(self, low: Int64, high: Int64) -> tuple[Float32, Float32]:
        """Lower and upper bounds (B,) on the lattice points from indices `low` (B, 3) to `high` (B, 3), both included.

        Bounds that cannot be told are infinite or NaN: they compare as proving nothing.
        """
        chords, intervals = [], np.empty((len(low), 3), np.int64)
        for axis, table in enumerate(self._layers.tables):
            spans, which = np.unique(low[:, axis] * len(table) + high[:, axis], return_inverse=True)
            chords.append(_chords(table, spans // len(table), spans % len(table)))
            intervals[:, axis] = which.reshape(-1)
        lowest, highest = np.empty(len(low), np.float32), np.empty(len(low), np.float32)
        _bound(self._layers, self._magnitudes, tuple(chords), intervals, lowest, highest)
        return lowest, highest


@numba.njit(cache=True)
def _chords(table: Float32, low: Int64, high: Int64) -> Float32:
    """(I, 4, width): chord centre, chord slope, deviation from the chord, and size of each unit in I intervals.

    In float64, so that only the last rounding to float32 matters: the deviation is taken from the rounded chord,
    and one part in a million is added to it and to the size.
    """
    width = table.shape[1]
    chords = np.empty((len(low), 4, width), np.float32)
    for interval in range(len(low)):
        first, last = low[interval], high[interval]
        for unit in range(width):
            slope = np.float32((np.float64(table[last, unit]) - np.float64(table[first, unit])) * 0.5)
            start = np.float64(table[first, unit]) + slope
            below = above = table[first, unit] - start + slope
            for plane in range(first, last + 1):
                u = -1.0 + 2.0 * (plane - first) / max(last - first, 1)
                rest = table[plane, unit] - (start + slope * u)
                if not np.isfinite(rest):  # minima and maxima could lose it
                    below, above = -np.inf, np.inf
                below, above = min(below, rest), max(above, rest)
            centre = np.float32(start + (below + above) * 0.5)
            offset = np.float64(centre) - start
            deviation = max(above - offset, offset - below)
            size = abs(np.float64(centre)) + abs(np.float64(slope)) + deviation
            chords[interval, _CHORD, unit] = centre
            chords[interval, _SLOPE, unit] = slope
            chords[interval, _DEVIATION, unit] = (deviation + 1e-12 * size) * (1 + 1e-6)
            chords[interval, _SIZE, unit] = size * (1 + 1e-6)
    return chords


@numba.njit(cache=True)
def _bound(
    layers: Layers,
    magnitudes: Float32,
    chords: tuple[Float32, Float32, Float32],
    intervals: Int64,
    lowest: Float32,
    highest: Float32,
) -> None:
    """Write the bounds of the boxes whose chords are number `intervals` (B, 3) of the axes'; sixteen at a time."""
    widest = max(layers.weights.shape[1:])
    centre, next_centre = np.zeros((widest, _CENTRE), np.float32), np.zeros((widest, _CENTRE), np.float32)
    radius, next_radius = np.zeros((widest, _RADIUS), np.float32), np.zeros((widest, _RADIUS), np.float32)
    no_bias = np.zeros(widest, np.float32)  # the tables hold it
    ends, open_units = np.empty((2, LANES), np.float32), np.empty(widest, np.int64)
    for first in range(0, len(intervals), LANES):
        count = min(LANES, len(intervals) - first)
        for lane in range(count):  # of a last batch that is not full, the other lanes hold boxes done before
            _start(chords, intervals[first + lane], lane, centre, radius)
        bias, terms = no_bias, 3
        for layer in range(len(layers.weights)):
            inputs, outputs = layers.widths[layer], layers.widths[layer + 1]
            _relax(centre, radius, bias, terms, inputs)
            opened = _compact(centre, radius, inputs, layers.finite, open_units)
            multiply_tile(layers.weights[layer], outputs, open_units[:opened], centre, CENTRE_VECTORS, next_centre)
            multiply_tile(magnitudes[layer], outputs, open_units[:opened], radius, RADIUS_VECTORS, next_radius)
            centre, next_centre, radius, next_radius = next_centre, centre, next_radius, radius
            bias, terms = layers.biases[layer], inputs
        _range(centre, radius, bias, terms, ends)
        for lane in range(count):
            lowest[first + lane], highest[first + lane] = ends[0, lane], ends[1, lane]


@numba.njit
def _start(
    chords: tuple[Float32, Float32, Float32],
    intervals: Int64,
    lane: int,
    centre: Float32,
    radius: Float32,
) -> None:
    """Fill lane `lane` with the first layer's chords in one box."""
    x, y, z = chords[0][intervals[0]], chords[1][intervals[1]], chords[2][intervals[2]]
    for unit in range(x.shape[1]):
        centre[unit, lane] = x[_CHORD, unit] + y[_CHORD, unit] + z[_CHORD, unit]
        centre[unit, LANES + lane] = x[_SLOPE, unit]
        centre[unit, 2 * LANES + lane] = y[_SLOPE, unit]
        centre[unit, 3 * LANES + lane] = z[_SLOPE, unit]
        radius[unit, lane] = x[_DEVIATION, unit] + y[_DEVIATION, unit] + z[_DEVIATION, unit]
        radius[unit, LANES + lane] = _ZERO
        radius[unit, 2 * LANES + lane] = _ZERO
        radius[unit, 3 * LANES + lane] = _ZERO
        radius[unit, 4 * LANES + lane] = x[_SIZE, unit] + y[_SIZE, unit] + z[_SIZE, unit]


@numba.njit(inline="always")
def _absolute(vector: Vector) -> Vector:
    return maximum(vector, splat(_ZERO) - vector)


@numba.njit(inline="always")
def _widen(radius: Float32, bias: Float32, terms: int, unit: int) -> Vector:
    """The constant part of the radius of `unit` with the rounding of its sum of `terms` products added."""
    rate = splat(np.float32(4 * (terms + 8)) * _UNIT_ROUNDOFF)
    size = load(radius, unit * _RADIUS + 4 * LANES) + splat(_TWO) * _absolute(splat_element(bias, unit))
    return load(radius, unit * _RADIUS) + (rate * size + splat(_UNDERFLOW))


@numba.njit
def _relax(centre: Float32, radius: Float32, bias: Float32, terms: int, units: int) -> None:
    """From bounds of what goes into the ReLUs (less `bias`) to bounds of what comes out, in place.

    With U = centre + radius and L = centre - radius, a unit that may have either sign is at most
    slope * U + intercept and at least L or 0. Centre and radius are half their sum and half their difference, which
    is `keep * centre + mix * radius` and `mix * centre + keep * radius`, both plus half the intercept.
    """
    zero, half, one = splat(_ZERO), splat(_HALF), splat(_ONE)
    for unit in range(units):
        at, around = unit * _CENTRE, unit * _RADIUS
        c = load(centre, at) + splat_element(bias, unit)
        cx, cy, cz = load(centre, at + LANES), load(centre, at + 2 * LANES), load(centre, at + 3 * LANES)
        r = _widen(radius, bias, terms, unit)
        rx, ry, rz = load(radius, around + LANES), load(radius, around + 2 * LANES), load(radius, around + 3 * LANES)
        total = _absolute(c) + _absolute(cx) + _absolute(cy) + _absolute(cz)
        total = total + _absolute(r) + _absolute(rx) + _absolute(ry) + _absolute(rz)
        slack = splat(_STEPS) * total
        low = c - r - _absolute(cx - rx) - _absolute(cy - ry) - _absolute(cz - rz) - slack
        high = c + r + _absolute(cx + rx) + _absolute(cy + ry) + _absolute(cz + rz) + slack

        slope = high / (high - low)
        intercept = maximum(zero - slope * low, high - slope * high)
        identity_below = select_less(zero - low, high, one, zero)
        keep, mix = half * (slope + identity_below), half * (slope - identity_below)
        # A NaN fails both comparisons of the next lines' conditions, or meets NaN in what is multiplied.
        keep = select_less(high, zero, zero, select_less(low, zero, keep, one))
        mix = select_less(high, zero, zero, select_less(low, zero, mix, zero))
        added = select_less(high, zero, zero, select_less(low, zero, half * intercept, zero))
        slack = select_less(high, zero, zero, select_less(low, zero, slack, zero))

        mixed_c, mixed_r = keep * c + mix * r + added, mix * c + keep * r + added + slack
        store(centre, at, mixed_c)
        store(radius, around, mixed_r)
        size = maximum(zero, high) + _absolute(mixed_c) + _absolute(mixed_r)
        for axis in range(1, 4):
            along, aside = load(centre, at + axis * LANES), load(radius, around + axis * LANES)
            mixed_c, mixed_r = keep * along + mix * aside, mix * along + keep * aside
            store(centre, at + axis * LANES, mixed_c)
            store(radius, around + axis * LANES, mixed_r)
            size = size + _absolute(mixed_c) + _absolute(mixed_r)
        store(radius, around + 4 * LANES, size)


@numba.njit
def _compact(centre: Float32, radius: Float32, units: int, skip_zeros: bool, open_units: Int64) -> int:
    """Move the units that are not zero in all boxes to the front, list them, and return their number."""
    opened = 0
    for unit in range(units):
        size = load(radius, unit * _RADIUS + 4 * LANES)
        if skip_zeros and equal_bits(size, splat(_ZERO)) == _ALL_LANES:
            continue  # of size zero, hence zero
        for offset in range(0, _CENTRE, LANES):
            store(centre, opened * _CENTRE + offset, load(centre, unit * _CENTRE + offset))
        for offset in range(0, _RADIUS, LANES):
            store(radius, opened * _RADIUS + offset, load(radius, unit * _RADIUS + offset))
        open_units[opened] = unit
        opened += 1
    return opened


@numba.njit
def _range(centre: Float32, radius: Float32, bias: Float32, terms: int, ends: Float32) -> None:
    """Write the lowest and highest values (2, 16) of the only unit of the last layer."""
    c, r = load(centre, 0) + splat_element(bias, 0), _widen(radius, bias, terms, 0)
    total, down, up = _absolute(c) + _absolute(r), c - r, c + r
    for axis in range(1, 4):
        along, aside = load(centre, axis * LANES), load(radius, axis * LANES)
        total = total + _absolute(along) + _absolute(aside)
        down, up = down - _absolute(along - aside), up + _absolute(along + aside)
    slack = splat(_STEPS) * total
    store(ends, 0, down - slack)
    store(ends, LANES, up + slack)

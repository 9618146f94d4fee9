"""Values of a field on a lattice, computed only where bounds leave open on which side of a level they lie.

A block of lattice cells is passed over when the field's bounds prove that the values on all of its lattice points,
faces included, lie above the level, or that none does. No surface passes through it, and what crosses a cell beside
it is known from that cell's own block. Blocks that are left open are cut in eight; the points of the smallest ones
are evaluated. There is no sampling in between that could miss a thin part.
"""

from typing import NamedTuple, Protocol, runtime_checkable

import numba
import numpy as np
import numpy.typing as npt

from hdbench.shapes import Float32

Int64 = npt.NDArray[np.int64]

BLOCKS = (16, 8, 4)
"""Cells along the edges of blocks, coarse to fine. A bound costs about as much as eleven values (of the fields in
`hdbench_baselines`), so that cutting blocks of 4 in eight costs more than evaluating their 64 new points."""


class Lattice(Protocol):
    """A field on one lattice (X, Y, Z), of which some points may be asked for."""

    def values(self, points: Int64) -> Float32:
        """Values (P,) at the points with flat indices `points` (P,), in C order.

        The value of a point must have the same bits whichever points are asked for with it.
        """

    def bounds(self, low: Int64, high: Int64) -> tuple[Float32, Float32]:
        """Lower and upper bounds (B,) of `values` in boxes.

        They hold for all lattice points from indices `low` (B, 3) to `high` (B, 3), both included: for the values as
        computed, rounding and all. Bounds that are infinite or NaN claim nothing. Where a value may be NaN both must.
        """


@runtime_checkable
class BoundedField(Protocol):
    """A field that knows bounds of its values."""

    def on_lattice(self, x: Float32, y: Float32, z: Float32) -> Lattice:
        """The field on the lattice of the planes at x (X,), y (Y,) and z (Z,)."""


class LatticeValues(NamedTuple):
    """Values on a box of a lattice; outside it the field is not above the level."""

    values: Float32
    """What was proven to be above the level is +inf, what was proven not to be is -inf."""
    first: tuple[int, int, int]
    """Lattice indices of the box's first point."""


def certified_values(lattice: Lattice, shape: tuple[int, int, int], level: np.float32) -> LatticeValues:
    """Values of the lattice (X, Y, Z) that have the signs, and beside sign changes the bits, of all values evaluated.

    The box reaches one cell further than the values above `level` wherever the lattice does. It is empty when there
    are none, by the bounds alone.
    """
    above, open_ = _classify(lattice, np.array(shape), level)
    boxes = np.concatenate([above, open_])
    if not len(boxes):
        return LatticeValues(np.empty((0, 0, 0), np.float32), (0, 0, 0))
    first, last = boxes[:, 0].min(0), boxes[:, 1].max(0)
    values = np.full(last - first + 1, -np.inf, np.float32)
    _fill(values, above - first, np.float32(np.inf))
    _fill(values, open_ - first, np.float32(np.nan))  # second, so that faces that blocks share are evaluated
    x, y, z = first.tolist()
    for i, plane in enumerate(values):  # a plane at a time, since lists of all points are larger than their values
        j, k = np.nonzero(np.isnan(plane))
        plane[j, k] = lattice.values(((x + i) * shape[1] + y + j) * shape[2] + z + k)
    return LatticeValues(values, (x, y, z))


def _classify(lattice: Lattice, shape: Int64, level: np.float32) -> tuple[Int64, Int64]:
    """Boxes (B, 2, 3) of lattice points, first and last index: those proven above `level`, and those left open."""
    low = _grid((shape - 2) // BLOCKS[0] + 1) * BLOCKS[0]
    above = []
    for size, finer in zip(BLOCKS, (*BLOCKS[1:], None), strict=True):
        boxes = np.stack([low, np.minimum(low + size, shape - 1)], 1)
        lowest, highest = lattice.bounds(boxes[:, 0], boxes[:, 1])
        is_above = lowest > level
        above.append(boxes[is_above])
        boxes = boxes[~(is_above | (highest <= level))]  # comparisons with NaN prove nothing
        if finer is not None:
            low = (boxes[:, :1] + _grid(np.full(3, size // finer)) * finer).reshape(-1, 3)
            low = low[(low < shape - 1).all(1)]
    return np.concatenate(above), boxes


def _grid(counts: Int64) -> Int64:
    """All index triples (n, 3) below `counts`, in C order."""
    return np.argwhere(np.ones(counts, bool))


@numba.njit(cache=True)
def _fill(values: Float32, boxes: Int64, value: np.float32) -> None:
    """Set `values` (X, Y, Z) to `value` from the first to the last index of each of `boxes` (B, 2, 3)."""
    for box in boxes:
        values[box[0, 0] : box[1, 0] + 1, box[0, 1] : box[1, 1] + 1, box[0, 2] : box[1, 2] + 1] = value

"""Point clouds cut into leaves of sixteen neighbouring points, with the box around each leaf.

A leaf is one vector of `hdbench.distances.vectors` per coordinate. Kernels compare boxes first and look into a
leaf only when its box is near enough to matter. The order depends on the coordinates alone: a cloud whose points
are permuted gives the same blocks, hence the same distances to the last bit.
"""

import math
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from hdbench.distances.vectors import LANES
from hdbench.errors import HdbenchError

COORDINATE_LIMIT = 1e18
"""Beyond this, squared distances leave the range of float32."""


class Blocks(NamedTuple):
    """N clouds of `point_count` points each, in L leaves of 16 and G = ceil(L / 16) groups of 16 boxes."""

    leaves: npt.NDArray[np.float32]
    """(N, L, 3, 16): x, y and z of the points of a leaf. The last leaf is filled up with copies of its last point."""
    boxes: npt.NDArray[np.float32]
    """(N, G, 6, 16): lowest x, y, z and highest x, y, z of 16 leaves; boxes past the last leaf are inside out
    (from +inf to -inf), so that they are infinitely far from everything."""
    point_count: int
    """Points per cloud, P."""


def make_blocks(points: npt.NDArray[np.float32]) -> Blocks:
    """The blocks of `points` (N, P, 3) float32, P >= 1.

    Raises HdbenchError for coordinates that are not finite or are beyond 1e18.
    """
    clouds, count, _ = points.shape
    if not count:
        raise HdbenchError("A cloud has no points; remove empty shapes before measuring distances.")
    refuse_unusable(points)
    leaf_count = math.ceil(count / LANES)
    leaves = np.empty((clouds, leaf_count, 3, LANES), np.float32)
    boxes = np.empty((clouds, math.ceil(leaf_count / LANES), 6, LANES), np.float32)
    boxes[:, :, :3], boxes[:, :, 3:] = np.inf, -np.inf
    _fill(np.ascontiguousarray(points), leaves, boxes)
    return Blocks(leaves, boxes, count)


def refuse_unusable(points: npt.NDArray[np.float32], what: str = "cloud") -> None:
    """Raise HdbenchError naming the first of `points` (N, ...) that has no usable coordinates."""
    axes = tuple(range(1, points.ndim))
    peaks = np.maximum(points.max(axis=axes, initial=0), -points.min(axis=axes, initial=0))
    usable = peaks < COORDINATE_LIMIT  # False for NaN, too
    if not usable.all():
        index = int(np.argmin(usable))
        raise HdbenchError(
            f"{what} {index} of {len(points)} has coordinates that are not finite (or beyond {COORDINATE_LIMIT:g}); "
            "remove or repair it."
        )


@numba.njit(cache=True, nogil=True)
def _fill(points: npt.NDArray[np.float32], leaves: npt.NDArray[np.float32], boxes: npt.NDArray[np.float32]) -> None:
    count = points.shape[1]
    order = np.empty(count, np.int64)
    for cloud in range(len(points)):
        _order(points[cloud], order)
        for leaf in range(leaves.shape[1]):
            for axis in range(3):
                low, high = np.float32(np.inf), np.float32(-np.inf)
                for lane in range(LANES):
                    value = points[cloud, order[min(leaf * LANES + lane, count - 1)], axis]
                    leaves[cloud, leaf, axis, lane] = value
                    low, high = min(low, value), max(high, value)
                boxes[cloud, leaf // LANES, axis, leaf % LANES] = low
                boxes[cloud, leaf // LANES, 3 + axis, leaf % LANES] = high


@numba.njit(cache=True, nogil=True)
def _order(points: npt.NDArray[np.float32], order: npt.NDArray[np.int64]) -> None:
    """Sort indices so that consecutive runs of 16 are compact: halve along the widest axis, down to the leaves."""
    for index in range(len(points)):
        order[index] = index
    stack = [(0, len(points))]
    while stack:
        start, stop = stack.pop()
        if stop - start <= LANES:
            _sort(points, order, start, stop)
            continue
        leaf_count = (stop - start + LANES - 1) // LANES
        middle = start + leaf_count // 2 * LANES
        _select(points, order, start, stop - 1, middle, _widest_axis(points, order, start, stop))
        stack.append((start, middle))
        stack.append((middle, stop))


@numba.njit(cache=True, nogil=True)
def _widest_axis(points: npt.NDArray[np.float32], order: npt.NDArray[np.int64], start: int, stop: int) -> int:
    widest, extent = 0, np.float32(-1.0)
    for axis in range(3):
        low = high = points[order[start], axis]
        for position in range(start + 1, stop):
            value = points[order[position], axis]
            low, high = min(low, value), max(high, value)
        if high - low > extent:
            widest, extent = axis, high - low
    return widest


@numba.njit(cache=True, nogil=True)
def _before(points: npt.NDArray[np.float32], a: int, b: int, axis: int) -> bool:
    """Whether point a comes before point b along `axis`; equal ones are told apart by the other coordinates."""
    for step in range(3):
        left, right = points[a, (axis + step) % 3], points[b, (axis + step) % 3]
        if left != right:
            return bool(left < right)
    return False


@numba.njit(cache=True, nogil=True)
def _select(
    points: npt.NDArray[np.float32], order: npt.NDArray[np.int64], left: int, right: int, middle: int, axis: int
) -> None:
    """Quickselect: afterwards nothing before `middle` comes after anything from it on. Both ends inclusive."""
    while left < right:
        pivot = order[(left + right) // 2]
        i, j = left, right
        while i <= j:
            while _before(points, order[i], pivot, axis):
                i += 1
            while _before(points, pivot, order[j], axis):
                j -= 1
            if i <= j:
                order[i], order[j] = order[j], order[i]
                i += 1
                j -= 1
        if middle <= j:
            right = j
        elif middle >= i:
            left = i
        else:
            return


@numba.njit(cache=True, nogil=True)
def _sort(points: npt.NDArray[np.float32], order: npt.NDArray[np.int64], start: int, stop: int) -> None:
    """Insertion sort of one leaf, so that the order of its lanes does not depend on that of the input."""
    for position in range(start + 1, stop):
        index, hole = order[position], position
        while hole > start and _before(points, index, order[hole - 1], 0):
            order[hole] = order[hole - 1]
            hole -= 1
        order[hole] = index

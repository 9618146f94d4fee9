"""Chamfer distances, exact, on CPU.

    cd_sq(X, Y) = mean_x min_y |x - y|^2 + mean_y min_x |x - y|^2        (squared: what HyperDiffusion, DPC, PVD,
                                                                          PointFlow and LION report)
    cd_l2(X, Y) = mean_x min_y |x - y|   + mean_y min_x |x - y|

Clouds may differ in their number of points. Sequences (T, P, 3) are compared frame by frame, frame t with frame t,
and the distances averaged (HyperDiffusion's 4D protocol).

Differences are taken in float32 coordinate by coordinate (never expanded into products, which would cancel) and
summed in float64 in a fixed order: relative error below 1e-6, the same bits whatever the number of threads, and
`d(x, y) == d(y, x)`. For each leaf of 16 points the boxes around the other cloud's leaves are compared first, and
only those that could still hold a nearer point are searched: some 6 % of them on shapes.

Kernels that are called once per leaf are inlined by numba itself: a call would count the references of its arrays,
atomically, which costs a sixth of the time and makes threads wait for each other.
"""

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from hdbench.distances.blocks import Blocks, make_blocks
from hdbench.distances.tiles import run_tiles
from hdbench.distances.vectors import (
    LANES,
    Vector,
    equal_bits,
    keep_first,
    less_bits,
    load,
    minimum_nonnegative,
    multiply_add,
    overshoot,
    reduce_maximum,
    reduce_minimum,
    reduce_sum,
    splat,
    splat_element,
    square_root,
    store,
    trailing_zeros,
)
from hdbench.errors import HdbenchError
from hdbench.progress import Progress

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

TILE = 64
"""Clouds along the edge of a tile of the matrix: what one thread computes at a time."""


class Directions(NamedTuple):
    """The two halves of a Chamfer distance, each a mean over the points of one cloud."""

    a_to_b: float
    b_to_a: float


def cd_sq(a: Float32, b: Float32) -> float:
    """The squared Chamfer distance of two clouds (P, 3) and (Q, 3), or two sequences (T, P, 3) and (T, Q, 3)."""
    return sum(cd_sq_directions(a, b))


def cd_l2(a: Float32, b: Float32) -> float:
    """The Euclidean Chamfer distance of two clouds (P, 3) and (Q, 3), or two sequences (T, P, 3) and (T, Q, 3)."""
    return sum(cd_l2_directions(a, b))


def cd_sq_directions(a: Float32, b: Float32) -> Directions:
    """Mean squared distance from the points of `a` to the nearest of `b`, and from `b` to `a`."""
    return _directions(a, b, root=False)


def cd_l2_directions(a: Float32, b: Float32) -> Directions:
    """Mean Euclidean distance from the points of `a` to the nearest of `b`, and from `b` to `a`."""
    return _directions(a, b, root=True)


def cd_sq_matrix(
    a: Float32, b: Float32 | None = None, *, workers: int | None = None, progress: Progress | None = None
) -> Float64:
    """All squared Chamfer distances, (N, M) float64.

    Args:
        a: N clouds (N, P, 3), or N sequences (N, T, P, 3).
        b: M clouds (M, Q, 3), or M sequences (M, T, Q, 3); None compares `a` with itself, each pair once.
        workers: Threads; None is one per core.
        progress: Where to show how far it is.

    Raises:
        HdbenchError: For coordinates that are not finite, empty clouds, or shapes that do not fit together.
    """
    return _matrix(a, b, root=False, workers=workers, progress=progress)


def cd_l2_matrix(
    a: Float32, b: Float32 | None = None, *, workers: int | None = None, progress: Progress | None = None
) -> Float64:
    """All Euclidean Chamfer distances, (N, M) float64; arguments as for `cd_sq_matrix`."""
    return _matrix(a, b, root=True, workers=workers, progress=progress)


def frames_as_clouds(points: Float32) -> tuple[Float32, int]:
    """(N, P, 3) or (N, T, P, 3) as (N T, P, 3), and T (1 for clouds).

    Raises HdbenchError for any other layout.
    """
    points = np.ascontiguousarray(points, np.float32)
    if points.ndim not in (3, 4) or points.shape[-1] != 3:
        raise HdbenchError(f"Expected points of shape (N, P, 3) or (N, T, P, 3), got {points.shape}.")
    frames = points.shape[1] if points.ndim == 4 else 1
    if not frames:
        raise HdbenchError("A sequence has no frames; remove empty shapes before measuring distances.")
    return points.reshape(len(points) * frames, *points.shape[-2:]), frames


def _directions(a: Float32, b: Float32, *, root: bool) -> Directions:
    first, second, frames = _blocks_of(np.asarray(a)[None], np.asarray(b)[None])
    gaps = _scratch(first, second)
    forward = sum(directed_sum(first, t, second, t, root, np.inf, gaps) for t in range(frames))
    backward = sum(directed_sum(second, t, first, t, root, np.inf, gaps) for t in range(frames))
    return Directions(forward / (frames * first.point_count), backward / (frames * second.point_count))


def _matrix(a: Float32, b: Float32 | None, *, root: bool, workers: int | None, progress: Progress | None) -> Float64:
    if not len(a) or (b is not None and not len(b)):
        return np.zeros((len(a), len(a if b is None else b)))
    first, second, frames = _blocks_of(a, b)
    rows, columns = len(first.leaves) // frames, len(second.leaves) // frames
    result = np.zeros((rows, columns))
    symmetric = b is None
    tiles = [
        (row, min(row + TILE, rows), column, min(column + TILE, columns))
        for row in range(0, rows, TILE)
        for column in range(row if symmetric else 0, columns, TILE)
    ]
    run_tiles(
        lambda tile: _tile(first, second, frames, root, symmetric, *tile, result),
        tiles,
        workers=workers,
        progress=progress,
        description="Chamfer distances",
        weight=lambda tile: (tile[1] - tile[0]) * (tile[3] - tile[2]),
    )
    return result


def _blocks_of(a: Float32, b: Float32 | None) -> tuple[Blocks, Blocks, int]:
    clouds, frames = frames_as_clouds(a)
    if b is None:
        blocks = make_blocks(clouds)
        return blocks, blocks, frames
    other_clouds, other_frames = frames_as_clouds(b)
    if frames != other_frames:
        raise HdbenchError(f"Sequences of {frames} and {other_frames} frames cannot be compared frame by frame.")
    return make_blocks(clouds), make_blocks(other_clouds), frames


def _scratch(*blocks: Blocks) -> Float32:
    return np.empty(max(block.boxes.shape[1] for block in blocks) * LANES, np.float32)


@numba.njit(cache=True, nogil=True)
def _tile(
    a: Blocks,
    b: Blocks,
    frames: int,
    root: bool,
    symmetric: bool,
    row_start: int,
    row_stop: int,
    column_start: int,
    column_stop: int,
    result: Float64,
) -> None:
    """Fill one tile of `result`; where `symmetric`, only pairs above the diagonal are computed, and mirrored."""
    gaps = np.empty(max(a.boxes.shape[1], b.boxes.shape[1]) * LANES, np.float32)
    for row in range(row_start, row_stop):
        for column in range(max(column_start, row + 1) if symmetric else column_start, column_stop):
            distance = pair_distance(a, row, b, column, frames, root, np.inf, 0.0, gaps)
            result[row, column] = distance
            if symmetric:
                result[column, row] = distance


@numba.njit(cache=True, nogil=True)
def pair_distance(
    a: Blocks, row: int, b: Blocks, column: int, frames: int, root: bool, limit: float, backward: float, gaps: Float32
) -> float:
    """The Chamfer distance of shape `row` of `a` and `column` of `b`, or infinity once it is sure to exceed `limit`.

    `backward` is a lower bound of the part from `b` to `a`; `gaps` is scratch for one float32 per leaf, in whole
    groups of 16.
    """
    # A distance equal to the limit must not be lost to the rounding of the quotients below.
    allowance = limit * frames * (1 + 1e-12)
    total = 0.0
    for frame in range(frames):
        i, j = row * frames + frame, column * frames + frame
        rest = allowance - total - (backward if frames == 1 else 0.0)
        forward = directed_sum(a, i, b, j, root, rest * a.point_count, gaps) / a.point_count
        if forward == np.inf:
            return np.inf
        rest = allowance - total - forward
        back = directed_sum(b, j, a, i, root, rest * b.point_count, gaps) / b.point_count
        if back == np.inf:
            return np.inf
        total += forward + back
    return total / frames


@numba.njit(cache=True, nogil=True)
def directed_sum(a: Blocks, i: int, b: Blocks, j: int, root: bool, limit: float, gaps: Float32) -> float:
    """Sum over the points of cloud `i` of `a` of the squared distance (its root with `root`) to cloud `j` of `b`.

    Infinity as soon as the sum exceeds `limit`.
    """
    total = 0.0
    for leaf in range(a.leaves.shape[1]):
        best = nearest_of_leaf(a, i, leaf, b, j, gaps)
        if root:
            best = square_root(best)
        total += reduce_sum(keep_first(best, a.point_count - leaf * LANES))
        if total > limit:
            return np.inf
    return total


@numba.njit(cache=True, nogil=True, inline="always")
def nearest_of_leaf(a: Blocks, i: int, leaf: int, b: Blocks, j: int, gaps: Float32) -> Vector:
    """For each point of a leaf of cloud `i` of `a`, the squared distance to the nearest point of cloud `j` of `b`."""
    point = (i * a.leaves.shape[1] + leaf) * 3 * LANES
    x, y, z = load(a.leaves, point), load(a.leaves, point + LANES), load(a.leaves, point + 2 * LANES)
    first_leaf = j * b.leaves.shape[1] * 3 * LANES
    groups = b.boxes.shape[1]
    first_box = j * groups * 6 * LANES

    box = (i * a.boxes.shape[1] + leaf // LANES) * 6 * LANES + leaf % LANES
    nearest = box_gaps(a.boxes, box, b.boxes, first_box, groups, gaps)
    best = _nearer(x, y, z, b.leaves, first_leaf + nearest * 3 * LANES, splat(np.float32(np.inf)))
    reach = reduce_maximum(best)
    home = nearest // LANES
    for turn in range(groups):
        group = home if turn == 0 else turn - (turn <= home)  # the nearest leaf's neighbours in order come first
        candidates = less_bits(load(gaps, group * LANES), splat(reach))
        if group == home:  # done already; to cross it out in `gaps` would stall the load above
            candidates &= ~(np.uint64(1) << np.uint64(nearest % LANES))
        # Which leaves to search is settled before the first of them is: whether one is worth it is a coin toss
        # that the processor would guess wrong half of the time, and its arithmetic waits in vain.
        hits = np.uint64(0)
        while candidates != 0:
            lane = trailing_zeros(candidates)
            candidates &= candidates - np.uint64(1)
            gap = _point_gaps(x, y, z, b.boxes, first_box + group * 6 * LANES + lane)
            hits |= np.uint64(less_bits(gap, best) != 0) << np.uint64(lane)
        while hits != 0:
            lane = trailing_zeros(hits)
            hits &= hits - np.uint64(1)
            best = _nearer(x, y, z, b.leaves, first_leaf + (group * LANES + lane) * 3 * LANES, best)
        reach = reduce_maximum(best)
    return best


@numba.njit(cache=True, nogil=True, inline="always")
def box_gaps(boxes: Float32, box: int, others: Float32, start: int, groups: int, gaps: Float32) -> int:
    """Squared gap between one box and each of the others into `gaps`; returns the index of the smallest."""
    low_x, low_y, low_z = (
        splat_element(boxes, box),
        splat_element(boxes, box + LANES),
        splat_element(boxes, box + 2 * LANES),
    )
    high_x, high_y, high_z = (
        splat_element(boxes, box + 3 * LANES),
        splat_element(boxes, box + 4 * LANES),
        splat_element(boxes, box + 5 * LANES),
    )
    least = splat(np.float32(np.inf))
    for group in range(groups):
        other = start + group * 6 * LANES
        x = overshoot(load(others, other) - high_x, low_x - load(others, other + 3 * LANES))
        y = overshoot(load(others, other + LANES) - high_y, low_y - load(others, other + 4 * LANES))
        z = overshoot(load(others, other + 2 * LANES) - high_z, low_z - load(others, other + 5 * LANES))
        gap = multiply_add(z, z, multiply_add(y, y, x * x))
        store(gaps, group * LANES, gap)
        least = minimum_nonnegative(least, gap)
    smallest = splat(reduce_minimum(least))
    group = 0
    found = equal_bits(load(gaps, 0), smallest)
    while found == 0:
        group += 1
        found = equal_bits(load(gaps, group * LANES), smallest)
    return group * LANES + trailing_zeros(found)


@numba.njit(cache=True, nogil=True, inline="always")
def _point_gaps(x: Vector, y: Vector, z: Vector, boxes: Float32, box: int) -> Vector:
    """Squared gap between each of sixteen points and one box."""
    u = overshoot(splat_element(boxes, box) - x, x - splat_element(boxes, box + 3 * LANES))
    v = overshoot(splat_element(boxes, box + LANES) - y, y - splat_element(boxes, box + 4 * LANES))
    w = overshoot(splat_element(boxes, box + 2 * LANES) - z, z - splat_element(boxes, box + 5 * LANES))
    return multiply_add(w, w, multiply_add(v, v, u * u))


@numba.njit(cache=True, nogil=True, inline="always")
def _nearer(x: Vector, y: Vector, z: Vector, leaves: Float32, leaf: int, best: Vector) -> Vector:
    """`best`, or the squared distance to the nearest of the sixteen points of `leaf` where that is smaller."""
    second = splat(np.float32(np.inf))
    for lane in range(0, LANES, 2):
        best = minimum_nonnegative(best, _squared(x, y, z, leaves, leaf + lane))
        second = minimum_nonnegative(second, _squared(x, y, z, leaves, leaf + lane + 1))
    return minimum_nonnegative(best, second)


@numba.njit(cache=True, nogil=True, inline="always")
def _squared(x: Vector, y: Vector, z: Vector, leaves: Float32, point: int) -> Vector:
    u = x - splat_element(leaves, point)
    v = y - splat_element(leaves, point + LANES)
    w = z - splat_element(leaves, point + 2 * LANES)
    return multiply_add(w, w, multiply_add(v, v, u * u))

"""Lower bounds of all squared Chamfer distances at once, as one matrix product.

For a cloud Y let D(x) = min_y |x - y|^2. Then D(x) - |x|^2 is a minimum of affine functions, hence concave, and
Jensen's inequality says that interpolating it from the corners of a grid cell never exceeds it. Put back |x|^2, whose
trilinear interpolation exceeds it by h^2 (t(1 - t) summed over axes) at the place t of a cell of edge h, and

    D(x)  >=  sum over corners c of w_c(x) D(c)  -  h^2 sum over axes of t_a (1 - t_a)

with the trilinear weights w. Averaged over the points x of a cloud X the first term is the scalar product of X's
histogram of weights with Y's squared distances at the corners: every pair (X, Y) comes from one matrix product.

Corners are multiples of a step with a three-bit mantissa, so they are exact in float32. All terms are positive, so
rounding (of float32 distances, weights and sums) is relative to the sums, and `_MARGIN` covers it many times over.
"""

import math

import numba
import numpy as np
import numpy.typing as npt

from hdbench.distances.blocks import Blocks
from hdbench.distances.chamfer import nearest_of_leaf
from hdbench.distances.tiles import run_tiles
from hdbench.distances.vectors import LANES, store
from hdbench.progress import Progress

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

_MARGIN = 1e-4
_BLOCK = np.array([4, 2, 2])
"""Corners are taken in blocks of 4 x 2 x 2: a leaf of sixteen near points."""
_TABLE_BYTES = 2**29
"""The histograms, and the distances at corners, may each take this much; the step grows until they do."""
_MOST_BLOCKS = 2**24
"""Of corners in the box around all points; a far outlier makes the step grow."""
_FINEST = 2**20
"""Steps from the origin to the farthest point, at most: with three bits of the step, exact in float32."""


def lower_bounds(
    clouds: Float32,
    blocks: Blocks,
    *,
    frames: int,
    step: float,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Float32:
    """Bounds (N, N) float32: entry [i, j] is at most mean_x min_y |x - y|^2 for x in shape i, y in shape j.

    Args:
        clouds: (N T, P, 3), the frames of N shapes one after the other.
        blocks: The blocks of `clouds`.
        frames: T; bounds are means over frames.
        step: Edge of the grid's cells, about; smaller ones cost more and bound more tightly.
        workers: Threads.
        progress: Where to show how far it is.
    """
    shapes = len(clouds) // frames
    total = np.zeros((shapes, shapes), np.float32)
    for frame in range(frames):
        total += _frame_bounds(clouds, blocks, frame, frames, step=step, workers=workers, progress=progress)
    return total / np.float32(frames)


def _frame_bounds(
    clouds: Float32,
    blocks: Blocks,
    frame: int,
    frames: int,
    *,
    step: float,
    workers: int | None,
    progress: Progress | None,
) -> Float32:
    points = np.ascontiguousarray(clouds[frame::frames])
    step, origin, numbers, corners = _corners(points, step)
    corner_count = corners.leaves.shape[1] * LANES
    weights = np.zeros((len(points), corner_count), np.float32)
    excess = np.empty(len(points))
    distances = np.empty((len(points), corner_count), np.float32)

    def fill(shape: int) -> None:
        excess[shape] = _splat(points[shape], step, origin, numbers, weights[shape])
        _distances_at(corners, blocks, shape * frames + frame, distances[shape])

    run_tiles(fill, range(len(points)), workers=workers, progress=progress, description="bounds of distances")
    # Both terms may be off by rounding; each is moved to the safe side.
    bounds = weights @ distances.T * np.float32(1 - _MARGIN) - (excess * (1 + _MARGIN)).astype(np.float32)[:, None]
    return np.asarray(np.maximum(bounds, 0), np.float32)


def _corners(points: Float32, step: float) -> tuple[float, Int64, Int32, Blocks]:
    """The step used, the lattice index of the first block, block numbers (-1: untouched), and the touched corners."""
    peak = float(np.abs(points).max())
    step = max(step, peak / _FINEST) or 1.0
    while True:
        step = _short(step)
        low = np.floor(points.min(axis=(0, 1)) / step).astype(np.int64)
        high = np.floor(points.max(axis=(0, 1)) / step).astype(np.int64) + 1
        extent = (high - low) // _BLOCK + 1
        if extent.prod(dtype=np.float64) <= _MOST_BLOCKS:
            touched = np.zeros(extent, np.bool_)
            _mark(points, step, low, touched)
            places = np.argwhere(touched)
            if len(places) * LANES * len(points) * 4 <= _TABLE_BYTES:
                break
        step *= 1.25
    numbers = np.full(touched.shape, -1, np.int32)
    numbers[touched] = np.arange(len(places))
    inside = np.stack(np.meshgrid(*map(range, _BLOCK), indexing="ij"), axis=-1).reshape(1, LANES, 3)
    corners = ((low + places[:, None] * _BLOCK + inside) * step).astype(np.float32)
    leaves = np.ascontiguousarray(corners.transpose(0, 2, 1))[None]
    boxes = np.empty((1, math.ceil(len(places) / LANES), 6, LANES), np.float32)
    boxes[:, :, :3], boxes[:, :, 3:] = np.inf, -np.inf
    number = np.arange(len(places))
    boxes[0, number // LANES, :3, number % LANES] = corners.min(axis=1)
    boxes[0, number // LANES, 3:, number % LANES] = corners.max(axis=1)
    return step, low, numbers, Blocks(leaves, boxes, len(places) * LANES)


def _short(step: float) -> float:
    """`step` with a mantissa of three bits, so that its multiples are exact in float32."""
    mantissa, exponent = math.frexp(step)
    return math.ldexp(round(mantissa * 8), exponent - 3)


@numba.njit(cache=True, nogil=True)
def _mark(points: Float32, step: float, low: Int64, touched: npt.NDArray[np.bool_]) -> None:
    """Mark the blocks that hold a corner of the cell of any point."""
    for cloud in range(points.shape[0]):
        for point in range(points.shape[1]):
            x = int(np.floor(points[cloud, point, 0] / step)) - low[0]
            y = int(np.floor(points[cloud, point, 1] / step)) - low[1]
            z = int(np.floor(points[cloud, point, 2] / step)) - low[2]
            for i in range(x // 4, (x + 1) // 4 + 1):
                for j in range(y // 2, (y + 1) // 2 + 1):
                    for k in range(z // 2, (z + 1) // 2 + 1):
                        touched[i, j, k] = True


@numba.njit(cache=True, nogil=True)
def _splat(points: Float32, step: float, low: Int64, numbers: Int32, weights: Float32) -> float:
    """Trilinear weights of the mean point of a cloud into `weights`; returns how much interpolation exceeds |x|^2."""
    sums = np.zeros(len(weights))
    excess = 0.0
    for point in range(len(points)):
        u, v, w = points[point, 0] / step, points[point, 1] / step, points[point, 2] / step
        i, j, k = np.floor(u), np.floor(v), np.floor(w)
        u, v, w = u - i, v - j, w - k
        excess += u * (1 - u) + v * (1 - v) + w * (1 - w)
        x, y, z = int(i) - low[0], int(j) - low[1], int(k) - low[2]
        for corner in range(8):
            a, b, c = x + (corner >> 2), y + (corner >> 1 & 1), z + (corner & 1)
            share = (u if corner >> 2 else 1 - u) * (v if corner >> 1 & 1 else 1 - v) * (w if corner & 1 else 1 - w)
            sums[numbers[a >> 2, b >> 1, c >> 1] * 16 + (a & 3) * 4 + (b & 1) * 2 + (c & 1)] += share
    for corner in range(len(weights)):
        weights[corner] = sums[corner] / len(points)
    return step * step * excess / len(points)


@numba.njit(cache=True, nogil=True)
def _distances_at(corners: Blocks, blocks: Blocks, cloud: int, distances: Float32) -> None:
    """Squared distance from every corner to the nearest point of one cloud."""
    gaps = np.empty(blocks.boxes.shape[1] * LANES, np.float32)
    for leaf in range(corners.leaves.shape[1]):
        store(distances, leaf * LANES, nearest_of_leaf(corners, 0, leaf, blocks, cloud, gaps))

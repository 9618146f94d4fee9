"""Lower bounds of the earth mover's distances of all pairs, in microseconds each, from projections to lines.

Along the three axes of any orthonormal frame, the best matching moves points by at least what matching the sorted
projections on each axis costs, so for every frame

    emd_sq >= sum over axes of mean (u - v)^2        emd_l2 >= sqrt(sum over axes of (mean |u - v|)^2)

with u, v the sorted projections (the second by Jensen's inequality). Replacing runs of order statistics by their
means lowers both bounds, hardly: 64 means do for 2,048 points. The largest bound over a fixed set of frames counts:
some 0.8 of the distance on shapes.
"""

from typing import NamedTuple

import numba
import numpy as np

from hdbench.distances.emd_inputs import Float32, Float64
from hdbench.distances.tiles import run_tiles
from hdbench.distances.vectors import LANES, load, maximum, multiply_add, reduce_sum, splat
from hdbench.progress import Progress
from hdbench.seeds import generator

FRAMES = 64
_BINS = 64
# Rows of the matrix of bounds that one thread computes at a time.
_TILE = 16
# Means are kept in float32, relative to the largest of them; sums of differences lose no more than this besides.
_ROUNDING = 1e-6


class Projections(NamedTuple):
    """Sorted projections of clouds to lines, in runs."""

    means: Float32
    """(N, F, 3, B): mean of each run, for the axes of F frames."""
    weights: Float32
    """(B,): share of the points in each run; 0 where there are fewer points than runs."""


def project(clouds: Float32) -> Projections:
    """The projections of `clouds` (N, P, 3)."""
    count, points, _ = clouds.shape
    axes = _frames().reshape(-1, 3)
    middle = clouds.reshape(-1, 3).mean(axis=0, dtype=np.float64)
    runs = min(_BINS, points)
    edges = np.arange(runs) * points // runs
    sizes = np.diff(np.append(edges, points))
    means = np.zeros((count, len(axes), _BINS), np.float32)
    for cloud in range(count):
        projected = np.sort((axes @ (clouds[cloud] - middle).T).astype(np.float32), axis=1)
        means[cloud, :, :runs] = np.add.reduceat(projected.astype(np.float64), edges, axis=1) / sizes
    weights = np.zeros(_BINS, np.float32)
    weights[:runs] = sizes / points
    return Projections(means.reshape(count, FRAMES, 3, _BINS), weights)


def sliced_bounds(
    clouds: Float32,
    *,
    frames: int = 1,
    squared: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Float64:
    """Lower bounds (N, N) of the distances of all pairs of N shapes, zero on the diagonal.

    Args:
        clouds: (N frames, P, 3), the frames of a shape one after the other.
        frames: Clouds per shape, whose bounds are averaged.
        squared: Bounds of `emd_sq`, not `emd_l2`.
        workers: Threads; None is one per core.
        progress: Where to show how far it is.
    """
    projections = project(clouds)
    count = len(clouds) // frames
    bounds = np.zeros((count, count))
    slack = _ROUNDING * float(np.abs(projections.means).max(initial=0.0))
    run_tiles(
        lambda start: _fill(projections, frames, squared, slack, start, min(start + _TILE, count), bounds),
        range(0, count, _TILE),
        workers=workers,
        progress=progress,
        description="EMD bounds",
    )
    return np.maximum(bounds, bounds.T)


def _frames() -> Float64:
    """(FRAMES, 3, 3): the coordinate axes and fixed random rotations of them."""
    rotations = np.linalg.qr(generator(0, "emd-bounds").normal(size=(FRAMES - 1, 3, 3)))[0]
    return np.concatenate([np.eye(3)[None], rotations])


@numba.njit(cache=True, nogil=True)
def _fill(
    projections: Projections, frames: int, squared: bool, slack: float, start: int, stop: int, bounds: Float64
) -> None:
    """Rows `start` to `stop` of `bounds`, above the diagonal."""
    for row in range(start, stop):
        for column in range(row + 1, len(bounds)):
            total = 0.0
            for frame in range(frames):
                total += _bound(projections, row * frames + frame, column * frames + frame, squared, slack)
            bounds[row, column] = total / frames


@numba.njit(cache=True, nogil=True)
def _bound(projections: Projections, i: int, j: int, squared: bool, slack: float) -> float:
    means, weights = projections.means, projections.weights
    lines, bins = 3 * means.shape[1], means.shape[3]
    best = 0.0
    for frame in range(means.shape[1]):
        total = 0.0
        for axis in range(3):
            first = (i * lines + 3 * frame + axis) * bins
            second = (j * lines + 3 * frame + axis) * bins
            cost = splat(np.float32(0))
            for run in range(0, bins, LANES):
                u, v = load(means, first + run), load(means, second + run)
                distance = maximum(u - v, v - u)
                weight = load(weights, run)
                cost = multiply_add(weight * distance if squared else weight, distance, cost)
            if squared:
                # Of squares, the root is what rounding moves by the slack.
                total += max(0.0, np.sqrt(reduce_sum(cost)) - slack) ** 2
            else:
                total += max(0.0, reduce_sum(cost) - slack) ** 2
        best = max(best, total)
    return (best if squared else np.sqrt(best)) * (1 - 1e-6)

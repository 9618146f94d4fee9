"""The nearest shapes of every shape under the squared Chamfer distance, without the matrix of all distances.

Lower bounds of all pairs come from one matrix product (`hdbench.distances.bounds`). Each shape then proposes its
candidates in the order of their bounds, until the next bound exceeds the farthest neighbour it has found so far; a
pair is measured once, and given up as soon as it cannot enter either list. What comes out is exact: the same
indices and the same bits as from the full matrix, whatever the order, the step of the grid or the threads. On sets of
real shapes a few per cent of the pairs are measured; where nothing can be pruned (all shapes alike), all are, at the
price of the bounds on top.
"""

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from hdbench.distances.blocks import Blocks, make_blocks
from hdbench.distances.bounds import lower_bounds
from hdbench.distances.chamfer import frames_as_clouds, pair_distance
from hdbench.distances.tiles import run_tiles
from hdbench.distances.vectors import LANES
from hdbench.progress import Progress

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
Bool = npt.NDArray[np.bool_]

UNWANTED = -np.inf
"""Distance in a list that nothing is to enter: no bound is smaller, so nothing is proposed for it."""
BATCH = 128
"""Pairs a thread measures at a time."""


class Nearest(NamedTuple):
    """The K nearest members of two groups of shapes for each of N shapes, sorted by (distance, index)."""

    members: Int32
    """(N, 2, K): which shape of the group (counted from the group's first); -1 where there is none left."""
    distances: Float64
    """(N, 2, K): +inf where there is none left."""
    measured: int
    """How many pairs were measured, to the end or until they were given up."""


def cd_sq_nearest(
    points: Float32,
    *,
    first_group: int,
    length: int,
    only_second_in_first: bool = False,
    step: float | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Nearest:
    """The `length` nearest shapes of each group for each shape, itself excluded.

    Args:
        points: N clouds (N, P, 3) or sequences (N, T, P, 3); the first `first_group` make up one group (the
            references), the others the second (the samples).
        first_group: Size of the first group.
        length: K.
        only_second_in_first: Leave all lists empty but the nearest members of the first group for each shape of the
            second.
        step: Edge of the cells that bounds are made from; None chooses. No result depends on it.
        workers: Threads; None is one per core. No result depends on it.
        progress: Where to show how far it is.

    Raises:
        HdbenchError: For coordinates that are not finite, or empty clouds.
    """
    clouds, frames = frames_as_clouds(points)
    blocks = make_blocks(clouds)
    step = _usual_step(clouds) if step is None else step
    bounds = lower_bounds(clouds, blocks, frames=frames, step=step, workers=workers, progress=progress)
    distance = np.full((len(bounds), 2, length), np.inf)
    if only_second_in_first:
        distance[:first_group] = distance[:, 1] = UNWANTED
    found = _search(blocks, bounds, frames, first_group, distance, workers=workers, progress=progress)
    distance[distance == UNWANTED] = np.inf
    return found


def _usual_step(clouds: Float32) -> float:
    """A sixth of the scalar deviation of all coordinates: tight enough to prune, and cheaper than what it spares."""
    middle = clouds.reshape(-1, 3).mean(axis=0, dtype=np.float64)
    return float(np.sqrt(((clouds - middle.astype(np.float32)) ** 2).mean(dtype=np.float64))) / 6


def _search(
    blocks: Blocks,
    bounds: Float32,
    frames: int,
    first_group: int,
    distance: Float64,
    *,
    workers: int | None,
    progress: Progress | None,
) -> Nearest:
    """Fill the lists whose distances (N, 2, K) are +inf."""
    count, _, length = distance.shape
    index = np.full((count, 2, length), -1, np.int32)
    queue = _Queue.of(bounds, first_group)
    known = np.eye(count, dtype=np.bool_)
    measured, quota = 0, length
    with (progress or Progress()).task("nearest shapes", count) as task:
        settled = 0
        while True:
            pairs = _propose(queue.order, queue.bound, queue.position, distance, known, quota)
            if not len(pairs):
                return Nearest(index, distance, measured)
            found = np.empty(len(pairs))
            limits = _limits(pairs, distance, first_group)

            def measure(start: int, pairs: Int32 = pairs, limits: Float64 = limits, found: Float64 = found) -> None:
                part = slice(start, start + BATCH)
                _measure(blocks, frames, pairs[part], limits[part], bounds, found[part])

            run_tiles(measure, range(0, len(pairs), BATCH), workers=workers)
            _enter(pairs, found, index, distance, first_group)
            measured += len(pairs)
            quota = max(4, length // 2)
            now = _settled(queue.order, queue.bound, queue.position, distance)
            task.advance(now - settled, f"{measured} pairs")
            settled = now


class _Queue(NamedTuple):
    """Candidates of every shape from the likeliest on, by group."""

    order: Int32
    """(N, N): the first group's members by bound, then the second's; each counted from the first shape of all."""
    bound: Float32
    """(N, N): their lower bounds."""
    position: npt.NDArray[np.int64]
    """(N, 2, 2): where the next candidate stands, and where its group ends."""

    @classmethod
    def of(cls, bounds: Float32, first_group: int) -> "_Queue":
        count = len(bounds)
        order = np.empty((count, count), np.int32)
        bound = np.empty((count, count), np.float32)
        for shape in range(count):
            both = bounds[shape] + bounds[:, shape]
            for group in (slice(0, first_group), slice(first_group, count)):
                ranked = np.argsort(both[group], kind="stable")
                order[shape, group] = ranked + group.start
                bound[shape, group] = both[group][ranked]
        position = np.tile(np.array([[0, first_group], [first_group, count]]), (count, 1, 1))
        return cls(order, bound, position)


@numba.njit(cache=True, nogil=True)
def _propose(
    order: Int32,
    bound: Float32,
    position: npt.NDArray[np.int64],
    distance: Float64,
    known: Bool,
    quota: int,
) -> Int32:
    """Up to `quota` more pairs for each shape and group whose bounds do not yet rule them out; marks them known."""
    pairs = np.empty((len(order) * 2 * quota, 2), np.int32)
    total = 0
    for shape in range(len(order)):
        for group in range(2):
            farthest = distance[shape, group, -1]
            proposed = 0
            place, end = position[shape, group]
            while place < end and proposed < quota and bound[shape, place] <= farthest:
                other = order[shape, place]
                place += 1
                if not known[shape, other]:
                    known[shape, other] = known[other, shape] = True
                    pairs[total, 0], pairs[total, 1] = shape, other
                    total += 1
                    proposed += 1
            position[shape, group, 0] = place
    return pairs[:total].copy()


@numba.njit(cache=True, nogil=True)
def _limits(pairs: Int32, distance: Float64, first_group: int) -> Float64:
    """Beyond which distance a pair enters neither list."""
    limits = np.empty(len(pairs))
    for number in range(len(pairs)):
        a, b = pairs[number]
        of_a = distance[a, 1 if b >= first_group else 0, -1]
        of_b = distance[b, 1 if a >= first_group else 0, -1]
        limits[number] = max(of_a, of_b)
    return limits


@numba.njit(cache=True, nogil=True)
def _measure(blocks: Blocks, frames: int, pairs: Int32, limits: Float64, bounds: Float32, found: Float64) -> None:
    gaps = np.empty(blocks.boxes.shape[1] * LANES, np.float32)
    for number in range(len(pairs)):
        a, b = pairs[number]
        found[number] = pair_distance(blocks, a, blocks, b, frames, False, limits[number], bounds[b, a], gaps)


@numba.njit(cache=True, nogil=True)
def _enter(pairs: Int32, found: Float64, index: Int32, distance: Float64, first_group: int) -> None:
    for number in range(len(pairs)):
        if found[number] < np.inf:
            a, b = pairs[number]
            _insert(a, b, found[number], index, distance, first_group)
            _insert(b, a, found[number], index, distance, first_group)


@numba.njit(cache=True, nogil=True)
def _insert(shape: int, other: int, value: float, index: Int32, distance: Float64, first_group: int) -> None:
    group = 1 if other >= first_group else 0
    member = other - first_group if group else other
    indices, distances = index[shape, group], distance[shape, group]
    place = len(indices)
    while place > 0 and (
        value < distances[place - 1] or (value == distances[place - 1] and member < indices[place - 1])
    ):
        place -= 1
    if place == len(indices):
        return
    for later in range(len(indices) - 1, place, -1):
        indices[later], distances[later] = indices[later - 1], distances[later - 1]
    indices[place], distances[place] = member, value


@numba.njit(cache=True, nogil=True)
def _settled(order: Int32, bound: Float32, position: npt.NDArray[np.int64], distance: Float64) -> int:
    """How many shapes have no candidate left in either group."""
    settled = 0
    for shape in range(len(order)):
        done = True
        for group in range(2):
            place, end = position[shape, group]
            if place < end and bound[shape, place] <= distance[shape, group, -1]:
                done = False
        settled += done
    return settled

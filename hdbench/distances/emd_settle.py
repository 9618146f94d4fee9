"""From a nearly optimal matching and its prices to an optimal one.

Prices p make costs reduced: r_ij = c_ij + p_j - min_j (c_ij + p_j) >= 0. The reduced costs of an optimal matching sum
to no more than those of any known one, so a pair of points whose reduced cost alone exceeds that sum takes part in no
optimum. After an auction this leaves a handful of pairs per point. Matching those by shortest augmenting paths (as
Jonker and Volgenant do), from the pairs of reduced cost zero on, gives the optimum, in float64 and in a fraction of
the time that the auction took.
"""

import heapq

import numba
import numpy as np
from scipy.optimize import linear_sum_assignment

from hdbench.distances.blocks import Blocks
from hdbench.distances.emd_auction import (
    ROUNDING,
    assignment_cost,
    cheapest,
    costs_plus_prices,
    gaps_to_boxes,
    leaf_floors,
)
from hdbench.distances.emd_inputs import Float32, Float64, Int32, Int64
from hdbench.distances.vectors import LANES, less_bits, load, maximum, splat, splat_element, trailing_zeros

_ALL = np.uint64(2**LANES - 1)
# Share of all pairs of points above which a dense solver is the faster one: only where an auction failed.
_DENSE = 0.5


def settle(
    x: Blocks, i: int, y: Blocks, j: int, squared: bool, prices: Float32, owners: Int32, upper: float, lower: float
) -> float:
    """The mean cost of the best matching of cloud `i` of `x` with cloud `j` of `y`.

    `prices`, `owners`, `upper` and `lower` are what `auction` gives; `owners` becomes the best matching. The nearer
    the bounds, the faster.
    """
    count = y.point_count
    if upper == 0 or count == 1 or _is_one_point(x.leaves[i]) or _is_one_point(y.leaves[j]):
        return upper
    capacity = int(_DENSE * count * count) + 64
    starts, columns, reduced = _candidates(x, i, y, j, squared, prices, owners, count * (upper - lower), capacity)
    if len(columns) < capacity:
        owners[_match(starts, columns, reduced)] = np.arange(count, dtype=np.int32)
    else:
        rows, matched = linear_sum_assignment(_all_costs(x.leaves[i], y.leaves[j], count, squared))
        owners[matched] = rows
    return float(assignment_cost(x, i, y, j, owners, squared))


def _is_one_point(leaves: Float32) -> bool:
    """Whether all points of a cloud coincide, so that every matching costs the same."""
    return bool((leaves == leaves[:1, :, :1]).all())


def _all_costs(x: Float32, y: Float32, count: int, squared: bool) -> Float64:
    a, b = (leaves.transpose(0, 2, 1).reshape(-1, 3)[:count].astype(np.float64) for leaves in (x, y))
    squares = sum((a[:, None, axis] - b[None, :, axis]) ** 2 for axis in range(3))
    return np.asarray(squares if squared else np.sqrt(squares))


@numba.njit(cache=True, nogil=True)
def _candidates(
    x: Blocks,
    i: int,
    y: Blocks,
    j: int,
    squared: bool,
    prices: Float32,
    owners: Int32,
    budget: float,
    capacity: int,
) -> tuple[Int64, Int64, Float64]:
    """All pairs of reduced cost up to `budget`, row after row: where rows start, columns, reduced costs.

    Ends early with `capacity` pairs.
    """
    count, groups = y.point_count, y.boxes.shape[1]
    floors = leaf_floors(y, prices)
    hints = np.empty(count, np.int64)
    for point in range(count):
        hints[owners[point]] = point // LANES
    starts = np.zeros(count + 1, np.int64)
    columns, reduced = np.empty(16 * count, np.int64), np.empty(16 * count)
    for row in range(count):
        starts[row + 1] = starts[row]
        limit = cheapest(x, i, row, y, j, squared, prices, floors, hints[row])[0] * (1 + ROUNDING) + budget
        own = (i * x.leaves.shape[1] + row // LANES) * 3 * LANES + row % LANES
        px, py, pz = (
            splat_element(x.leaves, own),
            splat_element(x.leaves, own + LANES),
            splat_element(x.leaves, own + 2 * LANES),
        )
        # Twice the rounding: of what is compared, and of what it is compared with.
        reach = splat(np.float32(limit * (1 + 2 * ROUNDING)))
        lowest = np.inf
        for group in range(groups):
            allowed = maximum(reach - load(floors, group * LANES), splat(np.float32(0)))
            gap = gaps_to_boxes(px, py, pz, y.boxes, (j * groups + group) * 6 * LANES)
            near = ~less_bits(allowed if squared else allowed * allowed, gap) & _ALL
            while near != 0:
                leaf = group * LANES + trailing_zeros(near)
                near &= near - np.uint64(1)
                first = (j * y.leaves.shape[1] + leaf) * 3 * LANES
                total = costs_plus_prices(px, py, pz, y.leaves, first, prices, leaf * LANES, squared)
                few = ~less_bits(reach, total) & _ALL
                if starts[row + 1] + LANES > len(columns):
                    columns = np.concatenate((columns, np.empty_like(columns)))
                    reduced = np.concatenate((reduced, np.empty_like(reduced)))
                while few != 0:
                    column = leaf * LANES + trailing_zeros(few)
                    few &= few - np.uint64(1)
                    cost = np.float64(prices[column]) + _pair_cost(x, i, row, y, j, column, squared)
                    lowest = min(lowest, cost)
                    columns[starts[row + 1]], reduced[starts[row + 1]] = column, cost
                    starts[row + 1] += 1
        reduced[starts[row] : starts[row + 1]] -= lowest
        if starts[row + 1] >= capacity:
            return starts, columns[:capacity], reduced[:capacity]
    return starts, columns[: starts[count]], reduced[: starts[count]]


@numba.njit(cache=True, nogil=True)
def _pair_cost(x: Blocks, i: int, row: int, y: Blocks, j: int, column: int, squared: bool) -> float:
    distance = 0.0
    for axis in range(3):
        a = np.float64(x.leaves[i, row // LANES, axis, row % LANES])
        distance += (a - np.float64(y.leaves[j, column // LANES, axis, column % LANES])) ** 2
    return distance if squared else np.sqrt(distance)


@numba.njit(cache=True, nogil=True)
def _match(starts: Int64, columns: Int64, weights: Float64) -> Int64:
    """For each row its column in the matching of least weight; each row has a column of weight zero."""
    count = len(starts) - 1
    owner, partner = np.full(count, -1, np.int64), np.full(count, -1, np.int64)
    for row in range(count):
        for position in range(starts[row], starts[row + 1]):
            column = columns[position]
            if weights[position] == 0 and owner[column] < 0:
                owner[column], partner[row] = row, column
                break
    row_duals, column_duals = np.zeros(count), np.zeros(count)
    distance, source, final = np.full(count, np.inf), np.empty(count, np.int64), np.zeros(count, np.bool_)
    for free in np.arange(count):
        if partner[free] >= 0:
            continue
        # Dijkstra from the free row to the nearest free column, over columns and the rows that own them.
        heap = [(np.inf, np.int64(-1))]
        seen = [np.int64(-1)]
        current, reached, end = free, 0.0, np.int64(-1)
        while end < 0:
            for position in range(starts[current], starts[current + 1]):
                column = columns[position]
                length = reached + weights[position] - row_duals[current] - column_duals[column]
                if length < distance[column]:
                    if distance[column] == np.inf:
                        seen.append(column)
                    distance[column], source[column] = length, current
                    heapq.heappush(heap, (length, column))
            reached, column = heapq.heappop(heap)
            while final[column]:
                reached, column = heapq.heappop(heap)
            final[column] = True
            current = owner[column]
            if current < 0:
                end = column
        row_duals[free] += reached
        for column in seen[1:]:
            if final[column] and column != end:
                column_duals[column] -= reached - distance[column]
                row_duals[owner[column]] += reached - distance[column]
            distance[column], final[column] = np.inf, False
        while end >= 0:
            current = source[end]
            owner[end] = current
            end, partner[current] = partner[current], end
    return partner

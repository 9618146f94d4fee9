"""The optimal matching of two clouds by auction, with a proof of how near to optimal it is.

Points of the first cloud bid for points of the second, whose prices rise until every bidder holds one (Bertsekas'
auction, one bidder at a time, with the smallest raise epsilon falling by phases). At any moment

* an assignment gives an upper bound: its cost;
* prices p give a lower bound: mean_i min_j (c_ij + p_j) - mean_j p_j (the dual of the assignment problem),

so the result carries its own certificate, whatever happened on the way. A bid needs the cheapest and the second
cheapest of all c_ij + p_j; boxes of sixteen points whose distance plus lowest price cannot beat the second best are
not looked into, which leaves about a tenth.

Costs are float32 in the search, float64 in the upper bound; the lower bound is reduced by the rounding of float32,
so that it never exceeds the true optimum.
"""

import numba
import numpy as np

from hdbench.distances.blocks import Blocks
from hdbench.distances.emd_inputs import Float32, Int32
from hdbench.distances.vector_math import element, replace_element, select_less
from hdbench.distances.vectors import (
    LANES,
    Vector,
    equal_bits,
    less_bits,
    load,
    maximum,
    minimum,
    multiply_add,
    reduce_minimum,
    splat,
    splat_element,
    square_root,
    trailing_zeros,
)

OUT_OF_REACH = np.float32(3e38)
"""The price of the points that fill up the last leaf: nobody buys them."""

ROUNDING = 2.0**-21
"""A cost plus a price, two numbers that are not negative, is off by at most six roundings of float32, relatively, and
so is the bound by which a box is passed over. This is eight."""

# From phase to phase the smallest raise falls by this factor; 4 to 7 do equally well.
_PHASE_FACTOR = 5.0
# A finished phase leaves a gap of about 0.55 epsilon, relative to the cost; epsilon = 1.5 gaps nearly always suffices.
_EPSILON_PER_GAP = 1.5
# The smallest raise that float32 can express well, as a part of the highest price.
_FINEST = 1e-6
# Bids per point after which a stubborn pair is given up (usual are 25 to 60 in all).
_PATIENCE = 1500
# More than what underflows when float32 differences are squared can be worth.
_UNDERFLOW = 1e-21


@numba.njit(cache=True, nogil=True)
def start_prices(blocks: Blocks) -> Float32:
    """Prices for a first auction over the points of one cloud of `blocks`: nothing for each, (16 L,) float32."""
    prices = np.zeros(blocks.leaves.shape[1] * LANES, np.float32)
    prices[blocks.point_count :] = OUT_OF_REACH
    return prices


@numba.njit(cache=True, nogil=True)
def auction(
    x: Blocks,
    i: int,
    y: Blocks,
    j: int,
    squared: bool,
    epsilon: float,
    tolerance: float,
    enough: float,
    prices: Float32,
    owners: Int32,
) -> tuple[float, float]:
    """Match cloud `i` of `x` with cloud `j` of `y`; upper and lower bound of the mean cost of the best matching.

    Args:
        x: Blocks of the clouds that bid.
        i: Which of them.
        y: Blocks of the clouds bid for, with as many points each.
        j: Which of them.
        squared: Whether a pair costs its squared distance, not its distance.
        epsilon: Smallest raise in the first phase, of the order of the expected cost; 0 finds one.
        tolerance: Stop when the gap between the bounds is this part of the upper one.
        enough: Stop when the lower bound exceeds this.
        prices: In: prices to start from, none negative, `OUT_OF_REACH` past the last point. Out: prices that prove
            the lower bound.
        owners: Out: for each point of cloud `j` the one of cloud `i` it is matched with in the assignment that gives
            the upper bound, both in the order of their blocks.
    """
    count, floors = y.point_count, leaf_floors(y, prices)
    hints = np.arange(count) // LANES
    holders, proof = np.empty(count, np.int32), prices.copy()
    for point in range(count):
        owners[point] = point
    upper, lower = assignment_cost(x, i, y, j, owners, squared), 0.0
    if epsilon == 0:
        epsilon = upper
    patience = _PATIENCE * count
    while upper > 0:
        patience = _phase(x, i, y, j, squared, np.float32(epsilon), prices, floors, hints, holders, patience)
        if patience > 0:
            cost = assignment_cost(x, i, y, j, holders, squared)
            if cost < upper:
                upper = cost
                owners[:] = holders
        # Raises lost in the rounding of a price would never end.
        finest = _FINEST * prices[:count].max()
        goal = max(_EPSILON_PER_GAP * tolerance * upper, finest)
        if epsilon <= goal or enough < np.inf or patience <= 0:
            bound = dual_bound(x, i, y, j, squared, prices, floors, hints)
            if bound > lower:
                lower = bound
                proof[:] = prices
        if lower > enough or upper - lower <= tolerance * upper or patience <= 0 or epsilon <= finest:
            break
        epsilon = max(epsilon / _PHASE_FACTOR, goal) if epsilon > goal else max(epsilon / 2, finest)
    prices[:] = proof
    return upper, min(lower, upper)


@numba.njit(cache=True, nogil=True)
def leaf_floors(blocks: Blocks, prices: Float32) -> Float32:
    """The lowest price in each leaf of a cloud, in whole groups of 16 leaves."""
    floors = np.full(blocks.boxes.shape[1] * LANES, OUT_OF_REACH, np.float32)
    for leaf in range(blocks.leaves.shape[1]):
        floors[leaf] = reduce_minimum(load(prices, leaf * LANES))
    return floors


@numba.njit(cache=True, nogil=True)
def _phase(
    x: Blocks,
    i: int,
    y: Blocks,
    j: int,
    squared: bool,
    epsilon: np.float32,
    prices: Float32,
    floors: Float32,
    hints: Int32,
    holders: Int32,
    patience: int,
) -> int:
    """Auction all points anew at the current prices until each has a holder; returns what is left of `patience`."""
    count = len(holders)
    holders[:] = -1
    queue = np.arange(count)
    head, waiting = 0, count
    while waiting > 0 and patience > 0:
        bidder = queue[head]
        head = head + 1 if head + 1 < count else 0
        waiting -= 1
        patience -= 1
        best, second, point = cheapest(x, i, bidder, y, j, squared, prices, floors, hints[bidder])
        prices[point] += second - best + epsilon
        leaf = point // LANES
        floors[leaf] = reduce_minimum(load(prices, leaf * LANES))
        hints[bidder] = leaf
        outbid = holders[point]
        holders[point] = bidder
        if outbid >= 0:
            tail = head + waiting
            queue[tail if tail < count else tail - count] = outbid
            waiting += 1
    return patience if waiting == 0 else 0


@numba.njit(cache=True, nogil=True)
def dual_bound(
    x: Blocks, i: int, y: Blocks, j: int, squared: bool, prices: Float32, floors: Float32, hints: Int32
) -> float:
    """The lower bound that `prices` prove."""
    count = len(hints)
    total = 0.0
    for bidder in range(count):
        total += cheapest(x, i, bidder, y, j, squared, prices, floors, hints[bidder])[0]
    total *= 1 - ROUNDING
    for point in range(count):
        total -= prices[point]
    return total / count - _UNDERFLOW


@numba.njit(cache=True, nogil=True)
def assignment_cost(x: Blocks, i: int, y: Blocks, j: int, owners: Int32, squared: bool) -> float:
    """Mean cost of an assignment, in float64."""
    total = 0.0
    for point in range(len(owners)):
        other = owners[point]
        distance = 0.0
        for axis in range(3):
            a = np.float64(x.leaves[i, other // LANES, axis, other % LANES])
            b = np.float64(y.leaves[j, point // LANES, axis, point % LANES])
            distance += (a - b) * (a - b)
        total += distance if squared else np.sqrt(distance)
    return total / len(owners)


@numba.njit(cache=True, nogil=True)
def cheapest(
    x: Blocks, i: int, bidder: int, y: Blocks, j: int, squared: bool, prices: Float32, floors: Float32, hint: int
) -> tuple[np.float32, np.float32, int]:
    """The lowest and the second lowest cost plus price for one bidder, and the point that has the lowest.

    `hint` is the leaf to look at first; where it holds the cheapest, few others need a look.
    """
    own = (i * x.leaves.shape[1] + bidder // LANES) * 3 * LANES + bidder % LANES
    px, py, pz = (
        splat_element(x.leaves, own),
        splat_element(x.leaves, own + LANES),
        splat_element(x.leaves, own + 2 * LANES),
    )
    first_leaf = j * y.leaves.shape[1] * 3 * LANES
    groups = y.boxes.shape[1]
    first_box = j * groups * 6 * LANES
    lowest = costs_plus_prices(px, py, pz, y.leaves, first_leaf + hint * 3 * LANES, prices, hint * LANES, squared)
    runner_up = splat(OUT_OF_REACH)
    leaf_of = splat(np.float32(hint))
    # The second lowest of the first leaf is the limit to the end: folding sixteen lanes again and again to lower it
    # takes longer than looking into some more leaves.
    limit = splat(_two_lowest(lowest, runner_up)[2])
    for group in range(groups):
        allowed = limit - load(floors, group * LANES)
        gap = gaps_to_boxes(px, py, pz, y.boxes, first_box + group * 6 * LANES)
        allowed = maximum(allowed, splat(np.float32(0)))
        near = less_bits(gap, allowed if squared else allowed * allowed)
        if hint // LANES == group:
            near &= ~(np.uint64(1) << np.uint64(hint % LANES))
        while near != 0:
            leaf = group * LANES + trailing_zeros(near)
            near &= near - np.uint64(1)
            total = costs_plus_prices(
                px, py, pz, y.leaves, first_leaf + leaf * 3 * LANES, prices, leaf * LANES, squared
            )
            leaf_of = select_less(total, lowest, splat(np.float32(leaf)), leaf_of)
            runner_up = minimum(runner_up, maximum(total, lowest))
            lowest = minimum(lowest, total)
    best, lane, second = _two_lowest(lowest, runner_up)
    return best, second, np.int64(element(leaf_of, lane)) * LANES + lane


@numba.njit(cache=True, nogil=True)
def _two_lowest(lowest: Vector, runner_up: Vector) -> tuple[np.float32, int, np.float32]:
    """The lowest of all lanes, its lane, and the next: `lowest` and `runner_up` are the two lowest of each lane."""
    best = reduce_minimum(lowest)
    lane = trailing_zeros(equal_bits(lowest, splat(best)))
    others = minimum(replace_element(lowest, lane, OUT_OF_REACH), runner_up)
    return best, lane, reduce_minimum(others)


@numba.njit(cache=True, nogil=True)
def costs_plus_prices(
    px: Vector, py: Vector, pz: Vector, leaves: Float32, leaf: int, prices: Float32, price: int, squared: bool
) -> Vector:
    """Cost plus price of the sixteen points of a leaf."""
    u, v, w = load(leaves, leaf) - px, load(leaves, leaf + LANES) - py, load(leaves, leaf + 2 * LANES) - pz
    distance = multiply_add(w, w, multiply_add(v, v, u * u))
    return (distance if squared else square_root(distance)) + load(prices, price)


@numba.njit(cache=True, nogil=True)
def gaps_to_boxes(px: Vector, py: Vector, pz: Vector, boxes: Float32, group: int) -> Vector:
    """Squared distances from a point to sixteen boxes."""
    zero = splat(np.float32(0))
    u = maximum(maximum(load(boxes, group) - px, px - load(boxes, group + 3 * LANES)), zero)
    v = maximum(maximum(load(boxes, group + LANES) - py, py - load(boxes, group + 4 * LANES)), zero)
    w = maximum(maximum(load(boxes, group + 2 * LANES) - pz, pz - load(boxes, group + 5 * LANES)), zero)
    return multiply_add(w, w, multiply_add(v, v, u * u))

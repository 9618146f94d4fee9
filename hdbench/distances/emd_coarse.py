"""A first guess at prices, from a matching of a few hundred representatives.

Each cloud is thinned to the means of runs of eight neighbouring points, and these are matched by auction, which takes
half a millisecond. The potentials found for the representatives x_k extend to every point y by

    p(y) = max_k (u_k - c(x_k, y)),

the lowest prices at which no representative would rather have y. Prices prove a bound however they were found, so
that nothing is lost where clouds are thinned badly; on shapes the bound they prove for the full clouds is 93 to 98 %
of the distance, and the auction of the full clouds skips its first phases.
"""

from typing import NamedTuple

import numba
import numpy as np

from hdbench.distances.blocks import Blocks, make_blocks
from hdbench.distances.emd_auction import (
    OUT_OF_REACH,
    auction,
    cheapest,
    dual_bound,
    leaf_floors,
    start_prices,
)
from hdbench.distances.emd_inputs import Float32
from hdbench.distances.vectors import (
    LANES,
    load,
    maximum,
    multiply_add,
    splat,
    splat_element,
    square_root,
    store,
)

# Points that one representative stands for: half a leaf.
_RUN = 8
# Below this many points the auction itself is as fast.
_WORTHWHILE = 256
# How well representatives are matched: their own distance from the points they stand for is of this order.
_TOLERANCE = 0.03
# The first phase of the auction that follows, as a part of the representatives' distance.
_NEXT_EPSILON = 0.1


class Clouds(NamedTuple):
    """Clouds ready to be matched with others."""

    blocks: Blocks
    coarse: Blocks
    """Their representatives; of small clouds the clouds themselves."""


def make_clouds(points: Float32) -> Clouds:
    """Prepare `points` (N, P, 3); raises HdbenchError as `make_blocks`."""
    blocks = make_blocks(points)
    if blocks.point_count < _WORTHWHILE:
        return Clouds(blocks, blocks)
    runs = blocks.point_count // _RUN
    ordered = blocks.leaves.transpose(0, 1, 3, 2).reshape(len(points), -1, 3)
    means = ordered[:, : runs * _RUN].reshape(len(points), runs, _RUN, 3).mean(axis=2, dtype=np.float64)
    return Clouds(blocks, make_blocks(means.astype(np.float32)))


@numba.njit(cache=True, nogil=True)
def first_prices(a: Clouds, i: int, b: Clouds, j: int, squared: bool) -> tuple[Float32, float]:
    """Prices to start an auction of cloud `j` of `b` among cloud `i` of `a` with, and the epsilon to start it at."""
    if b.coarse.point_count == b.blocks.point_count:
        return start_prices(b.blocks), 0.0
    owners = np.empty(b.coarse.point_count, np.int32)
    coarse = start_prices(b.coarse)
    upper = auction(a.coarse, i, b.coarse, j, squared, 0.0, _TOLERANCE, np.inf, coarse, owners)[0]
    floors = leaf_floors(b.coarse, coarse)
    potentials = np.empty(b.coarse.point_count, np.float32)
    for point in range(b.coarse.point_count):
        hint = owners[point] // LANES
        potentials[point] = cheapest(a.coarse, i, point, b.coarse, j, squared, coarse, floors, hint)[0]
    return _extended(a.coarse, i, potentials, b.blocks, j, squared), _NEXT_EPSILON * upper


@numba.njit(cache=True, nogil=True)
def coarse_bound(a: Clouds, i: int, b: Clouds, j: int, squared: bool) -> float:
    """A lower bound of the distance of cloud `i` of `a` and cloud `j` of `b`, in a millisecond."""
    prices = first_prices(a, i, b, j, squared)[0]
    hints = np.arange(b.blocks.point_count) // LANES
    return max(0.0, dual_bound(a.blocks, i, b.blocks, j, squared, prices, leaf_floors(b.blocks, prices), hints))


@numba.njit(cache=True, nogil=True)
def _extended(x: Blocks, i: int, potentials: Float32, y: Blocks, j: int, squared: bool) -> Float32:
    """The lowest prices of the points of cloud `j` that give cloud `i` no more than its potentials, from 0 up."""
    prices = np.empty(y.leaves.shape[1] * LANES, np.float32)
    for leaf in range(y.leaves.shape[1]):
        q = (j * y.leaves.shape[1] + leaf) * 3 * LANES
        qx, qy, qz = load(y.leaves, q), load(y.leaves, q + LANES), load(y.leaves, q + 2 * LANES)
        price = splat(-OUT_OF_REACH)
        for point in range(len(potentials)):
            p = (i * x.leaves.shape[1] + point // LANES) * 3 * LANES + point % LANES
            u = qx - splat_element(x.leaves, p)
            v = qy - splat_element(x.leaves, p + LANES)
            w = qz - splat_element(x.leaves, p + 2 * LANES)
            cost = multiply_add(w, w, multiply_add(v, v, u * u))
            if not squared:
                cost = square_root(cost)
            price = maximum(price, splat(potentials[point]) - cost)
        store(prices, leaf * LANES, price)
    prices -= prices[: y.point_count].min()
    prices[y.point_count :] = OUT_OF_REACH
    return prices

"""The two approximations of the earth mover's distance that published tables were made with.

Both come from one iterative scheme on the GPU ("approxmatch"). Each point of the first cloud has a mass of one to
give, each point of the second room for one. In a round of sharpness s every point offers what is left of its mass to
all others in proportion to exp(-s * squared distance) times their room; points that are offered more than they can
hold accept a part of each offer; what is accepted is moved and paid for. Sharpness falls from 4 ** 7, nearest
neighbours only, to 4 ** -1.

* `emd_approxmatch_l2`: nine rounds, mean Euclidean distance of the mass moved (PointFlow, DPC).
* `emd_approxmatch_sq`: a tenth round of sharpness 0, mean squared distance (PVD, LION, DiT-3D).

Neither is an optimal cost: the first stands 15 to 35 % above it, the second several times; both depend on the scale
of the clouds; and both depend on which cloud gives, so matrices are computed for ordered pairs. They are here because
published numbers can be compared with nothing else. Masses and sums are float32 as in the originals, summed over
neighbours first; offers of less than 2 ** -80 of a point's mass count as none.
"""

import numba
import numpy as np

from hdbench.distances.blocks import Blocks, make_blocks
from hdbench.distances.chamfer import box_gaps
from hdbench.distances.emd_inputs import Float32, Float64, paired_frames
from hdbench.distances.tiles import run_tiles
from hdbench.distances.vector_math import exp2_of_product
from hdbench.distances.vectors import (
    LANES,
    Vector,
    less_bits,
    load,
    maximum,
    minimum,
    multiply_add,
    reduce_sum,
    splat,
    splat_element,
    square_root,
    store,
    trailing_zeros,
)
from hdbench.progress import Progress

_SHARPNESS_L2 = tuple(4.0**j for j in range(7, -2, -1))
_SHARPNESS_SQ = (*_SHARPNESS_L2, 0.0)

# Exponents (base 2) of offers that count as none: with masses of at most 1 and 1e-9 beside every sum, thousands of
# them together stay below the rounding of float32.
_FAINT = -80.0
# Exponents are held above this within a leaf, where some points may be far: 2 ** -125 is still a normal float32.
_FLOOR = -125.0


def emd_approxmatch_l2(a: Float32, b: Float32) -> float:
    """Nine rounds, mean Euclidean distance of the mass moved from `a` to `b`, clouds (P, 3) or sequences (T, P, 3).

    The 0.5 to 2 % of the mass that finds no room in nine rounds costs nothing. Sequences give the mean over frames.
    Source: PointFlow, `approxmatch` and `matchcost`, divided by P.

    Raises HdbenchError for unequal point counts.
    """
    return float(emd_approxmatch_l2_matrix(np.asarray(a)[None], np.asarray(b)[None], workers=1)[0, 0])


def emd_approxmatch_sq(a: Float32, b: Float32) -> float:
    """Ten rounds, mean squared distance of the mass moved from `a` to `b`, clouds (P, 3) or sequences (T, P, 3).

    Source: PyTorchEMD as PVD, LION and DiT-3D use it, divided by P. Raises HdbenchError for unequal point counts.
    """
    return float(emd_approxmatch_sq_matrix(np.asarray(a)[None], np.asarray(b)[None], workers=1)[0, 0])


def emd_approxmatch_l2_matrix(
    a: Float32, b: Float32 | None = None, *, workers: int | None = None, progress: Progress | None = None
) -> Float64:
    """`emd_approxmatch_l2` from each of `a` to each of `b`, (N, M) float64; None for `b` is `a`, both ways."""
    return _matrix(a, b, _SHARPNESS_L2, squared=False, workers=workers, progress=progress)


def emd_approxmatch_sq_matrix(
    a: Float32, b: Float32 | None = None, *, workers: int | None = None, progress: Progress | None = None
) -> Float64:
    """`emd_approxmatch_sq` from each of `a` to each of `b`, (N, M) float64; None for `b` is `a`, both ways."""
    return _matrix(a, b, _SHARPNESS_SQ, squared=True, workers=workers, progress=progress)


def _matrix(
    a: Float32,
    b: Float32 | None,
    sharpness: tuple[float, ...],
    *,
    squared: bool,
    workers: int | None,
    progress: Progress | None,
) -> Float64:
    givers, takers, frames = paired_frames(a, a if b is None else b)
    give = make_blocks(givers)
    take = give if b is None else make_blocks(takers)
    exponents = np.array([-level * np.log2(np.e) for level in sharpness], np.float32)
    result = np.empty((len(givers) // frames, len(takers) // frames))

    def fill(pair: tuple[int, int]) -> None:
        i, j = pair
        costs = [_moved(give, i * frames + t, take, j * frames + t, exponents, squared) for t in range(frames)]
        result[pair] = np.mean(costs)

    pairs = [(i, j) for i in range(result.shape[0]) for j in range(result.shape[1])]
    run_tiles(fill, pairs, workers=workers, progress=progress, description="published EMD")
    return result


@numba.njit(cache=True, nogil=True)
def _moved(give: Blocks, i: int, take: Blocks, j: int, exponents: Float32, squared: bool) -> float:
    """Mean cost of moving the masses of cloud `i` of `give` to cloud `j` of `take`, over all rounds."""
    room = give.leaves.shape[1] * LANES
    mass, vacancy = np.zeros(room, np.float32), np.zeros(room, np.float32)
    mass[: give.point_count] = vacancy[: give.point_count] = np.float32(1)
    offer, accepted, gaps = np.empty(room, np.float32), np.empty(room, np.float32), np.empty(room, np.float32)
    cost = 0.0
    for exponent in exponents:
        _sweep(_OFFER, give, i, take, j, exponent, vacancy, mass, offer, gaps, squared)
        _sweep(_ACCEPT, take, j, give, i, exponent, offer, vacancy, accepted, gaps, squared)
        cost += _sweep(_MOVE, give, i, take, j, exponent, accepted, mass, offer, gaps, squared)
    return cost / give.point_count


_OFFER, _ACCEPT, _MOVE = 0, 1, 2


@numba.njit(cache=True, nogil=True)
def _sweep(
    step: int,
    own: Blocks,
    i: int,
    other: Blocks,
    j: int,
    exponent: np.float32,
    weights: Float32,
    remaining: Float32,
    shares: Float32,
    gaps: Float32,
    squared: bool,
) -> float:
    """One of the three steps of a round over the points of cloud `i`, given the `weights` of the points of `j`.

    Offering sets `shares`, the offer per unit of room, from the room of the others; accepting sets `shares`, how much
    of a unit of offer is accepted, and lowers `remaining` room; moving lowers `remaining` mass and returns the cost.
    """
    zero, one, tiny = splat(np.float32(0)), splat(np.float32(1)), splat(np.float32(1e-9))
    reach = np.float32(np.inf) if exponent == 0 else np.float32(_FAINT) / exponent
    groups = other.boxes.shape[1]
    paid = 0.0
    for leaf in range(own.leaves.shape[1]):
        box = (i * groups + leaf // LANES) * 6 * LANES + leaf % LANES
        box_gaps(own.boxes, box, other.boxes, j * groups * 6 * LANES, groups, gaps)
        total, cost = _weigh(own, i, leaf, other, j, exponent, weights, gaps, reach, step == _MOVE, squared)
        here = leaf * LANES
        left = load(remaining, here)
        if step == _OFFER:
            store(shares, here, left / (total + tiny))
        elif step == _ACCEPT:
            offered = left * total
            store(shares, here, left * minimum(left / (offered + tiny), one))
            store(remaining, here, maximum(left - offered, zero))
        else:
            offer = load(shares, here)
            store(remaining, here, maximum(left - offer * total, zero))
            paid += reduce_sum(offer * cost)
    return paid


@numba.njit(cache=True, nogil=True)
def _weigh(
    own: Blocks,
    i: int,
    leaf: int,
    other: Blocks,
    j: int,
    exponent: np.float32,
    weights: Float32,
    gaps: Float32,
    reach: np.float32,
    pay: bool,
    squared: bool,
) -> tuple[Vector, Vector]:
    """Sum over the points of cloud `j` of kernel times weight, for each of sixteen points; with `pay` also the cost."""
    point = (i * own.leaves.shape[1] + leaf) * 3 * LANES
    x, y, z = load(own.leaves, point), load(own.leaves, point + LANES), load(own.leaves, point + 2 * LANES)
    scale = splat(exponent)
    farthest = splat(np.float32(np.inf) if exponent == 0 else np.float32(_FLOOR) / exponent)
    total = cost = splat(np.float32(0))
    first = j * other.leaves.shape[1] * 3 * LANES
    for group in range(other.boxes.shape[1]):
        near = less_bits(load(gaps, group * LANES), splat(reach))
        while near != 0:
            candidate = group * LANES + trailing_zeros(near)
            near &= near - np.uint64(1)
            q = first + candidate * 3 * LANES
            for lane in range(LANES):
                u = x - splat_element(other.leaves, q + lane)
                v = y - splat_element(other.leaves, q + LANES + lane)
                w = z - splat_element(other.leaves, q + 2 * LANES + lane)
                distance = multiply_add(w, w, multiply_add(v, v, u * u))
                kernel = exp2_of_product(minimum(distance, farthest), scale)
                kernel = kernel * splat_element(weights, candidate * LANES + lane)
                total += kernel
                if pay:
                    cost = multiply_add(kernel, distance if squared else square_root(distance), cost)
    return total, cost

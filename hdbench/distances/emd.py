"""Earth mover's distances: the mean cost of the best one-to-one matching of two clouds, with a certificate.

    emd_l2(X, Y) = min over matchings of mean |x - y|       (Wasserstein-1; PointFlow's exact fallback)
    emd_sq(X, Y) = min over matchings of mean |x - y|^2     (Wasserstein-2, squared)

An auction (`hdbench.distances.emd_auction`) finds a matching and proves a lower bound to 1e-5, which leaves few pairs
of points for an optimal matching to choose from, and the choice is made in float64 (`hdbench.distances.emd_settle`).
With a tolerance the second step is left out. Sequences (T, P, 3) are compared frame by frame and averaged. What
tables call EMD is often something else: see `emd_published`.
"""

from typing import NamedTuple

import numpy as np

from hdbench.distances.emd_auction import auction
from hdbench.distances.emd_coarse import Clouds, first_prices, make_clouds
from hdbench.distances.emd_inputs import Float32, Float64, paired_frames
from hdbench.distances.emd_settle import settle
from hdbench.distances.tiles import run_tiles
from hdbench.progress import Progress

# The gap an auction is brought to before the matching is settled: a coarser one leaves too many pairs of points, and
# float32 does not go much further.
_SETTLING_GAP = 1e-5


class EmdResult(NamedTuple):
    """A distance between proven bounds."""

    value: float
    """Mean cost of a matching that was found: the optimum, or above it by no more than the gap."""
    lower: float
    """Proven lower bound of the optimum; equal to `value` where that is proven optimal."""
    gap: float
    """(value - lower) / value, and 0 where the value is 0."""


def emd_l2(a: Float32, b: Float32, *, tolerance: float = 0.0) -> EmdResult:
    """The mean matched Euclidean distance of clouds (P, 3) or sequences (T, P, 3), in the unit of their coordinates.

    Args:
        a: One cloud or sequence.
        b: Another with as many points (and frames).
        tolerance: 0 gives the optimum; otherwise the value may exceed it by up to this part, which is certified and
            takes a little less time (1e-4: some 20 % less).

    Raises:
        HdbenchError: For unequal counts, empty clouds, or coordinates that are not finite.
    """
    return _pair(a, b, squared=False, tolerance=tolerance)


def emd_sq(a: Float32, b: Float32, *, tolerance: float = 0.0) -> EmdResult:
    """The mean matched squared distance; arguments, certificate and errors as for `emd_l2`."""
    return _pair(a, b, squared=True, tolerance=tolerance)


def emd_l2_matrix(
    a: Float32,
    b: Float32 | None = None,
    *,
    tolerance: float = 0.0,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Float64:
    """The `emd_l2` of all pairs, (N, M) float64.

    Args:
        a: N clouds (N, P, 3), or N sequences (N, T, P, 3).
        b: M of the same; None compares `a` with itself, each pair once.
        tolerance: As for `emd_l2`.
        workers: Threads; None is one per core. Their number changes no bit.
        progress: Where to show how far it is.

    Raises:
        HdbenchError: As `emd_l2`.
    """
    return _matrix(a, b, squared=False, tolerance=tolerance, workers=workers, progress=progress)


def emd_sq_matrix(
    a: Float32,
    b: Float32 | None = None,
    *,
    tolerance: float = 0.0,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Float64:
    """The `emd_sq` of all pairs, (N, M) float64; arguments and errors as for `emd_l2_matrix`."""
    return _matrix(a, b, squared=True, tolerance=tolerance, workers=workers, progress=progress)


def pair_emd(a: Clouds, i: int, b: Clouds, j: int, *, squared: bool = False, tolerance: float = 0.0) -> EmdResult:
    """The distance of cloud `i` of `a` and cloud `j` of `b`, whose point counts are equal."""
    x, y = a.blocks, b.blocks
    owners = np.empty(y.point_count, np.int32)
    prices, epsilon = first_prices(a, i, b, j, squared)
    value, lower = auction(x, i, y, j, squared, epsilon, max(tolerance, _SETTLING_GAP), np.inf, prices, owners)
    if value - lower > tolerance * value:
        value = lower = settle(x, i, y, j, squared, prices, owners, value, lower)
    return _result(value, lower)


def _result(value: float, lower: float) -> EmdResult:
    return EmdResult(value, lower, (value - lower) / value if value > 0 else 0.0)


def _pair(a: Float32, b: Float32, *, squared: bool, tolerance: float) -> EmdResult:
    first, second, frames = paired_frames(np.asarray(a)[None], np.asarray(b)[None])
    blocks = make_clouds(first), make_clouds(second)
    results = [pair_emd(blocks[0], t, blocks[1], t, squared=squared, tolerance=tolerance) for t in range(frames)]
    return _result(float(np.mean([r.value for r in results])), float(np.mean([r.lower for r in results])))


def _matrix(
    a: Float32,
    b: Float32 | None,
    *,
    squared: bool,
    tolerance: float,
    workers: int | None,
    progress: Progress | None,
) -> Float64:
    first, second, frames = paired_frames(a, a if b is None else b)
    rows = make_clouds(first)
    columns = rows if b is None else make_clouds(second)
    result = np.zeros((len(first) // frames, len(second) // frames))

    def fill(pair: tuple[int, int]) -> None:
        i, j = pair
        values = [
            pair_emd(rows, i * frames + t, columns, j * frames + t, squared=squared, tolerance=tolerance).value
            for t in range(frames)
        ]
        result[i, j] = np.mean(values)
        if b is None:
            result[j, i] = result[i, j]

    pairs = [(i, j) for i in range(result.shape[0]) for j in range(i + 1 if b is None else 0, result.shape[1])]
    run_tiles(fill, pairs, workers=workers, progress=progress, description="EMD")
    return result

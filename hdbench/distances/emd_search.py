"""The nearest shapes of every shape under an earth mover's distance, without matching all pairs.

Every pair has a proven lower bound that is sharpened in stages, each some ten times as dear as the one before and
wanted for a tenth of the pairs: projections to lines (`emd_bounds`), prices from representatives (`emd_coarse`), the
auction, which stops as soon as the pair is proven too far, and the optimal matching. A pair is too far when its lower
bound exceeds the distances of the K nearest found so far, of both its shapes.

The nearest shape of each group is exact: the optimum, and proven to be no farther than any other. Entries after it are
costs of matchings found to a certified gap of 1 % (in fact within some 0.2 %), which is what intervals need.

Rounds have fixed limits and do not depend on the order in which their pairs end: no result depends on threads.
"""

from collections.abc import Callable

import numba
import numpy as np
import numpy.typing as npt

from hdbench.distances.chamfer import frames_as_clouds
from hdbench.distances.emd import pair_emd
from hdbench.distances.emd_auction import auction
from hdbench.distances.emd_bounds import sliced_bounds
from hdbench.distances.emd_coarse import Clouds, coarse_bound, first_prices, make_clouds
from hdbench.distances.emd_inputs import Float32, Float64, Int64
from hdbench.distances.search import Nearest
from hdbench.distances.tiles import run_tiles
from hdbench.progress import Progress

Bool = npt.NDArray[np.bool_]

LIST_GAP = 0.01
"""Certified relative gap of list entries after the first."""

# What is known of a pair: bounds by projections, by representatives, a matching to LIST_GAP, the optimum.
_PROJECTED, _SHARPENED, _MATCHED, _OPTIMAL = range(4)
# Pairs that a thread takes at a time.
_BATCH = 8


def emd_nearest(
    points: Float32,
    *,
    first_group: int,
    length: int,
    squared: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Nearest:
    """The `length` nearest shapes of each group for each shape, itself excluded.

    Args:
        points: N clouds (N, P, 3) or sequences (N, T, P, 3); the first `first_group` make up one group (the
            references), the others the second (the samples).
        first_group: Size of the first group.
        length: K.
        squared: Under `emd_sq`, not `emd_l2`.
        workers: Threads; None is one per core. No result depends on it.
        progress: Where to show how far it is.

    Raises:
        HdbenchError: For coordinates that are not finite, or empty clouds.
    """
    clouds, frames = frames_as_clouds(points)
    lower = sliced_bounds(clouds, frames=frames, squared=squared, workers=workers, progress=progress)
    search = _Search(make_clouds(clouds), lower, frames, squared, first_group, length, workers, progress)
    search.find_lists()
    search.settle_nearest()
    return search.lists()


class _Search:
    """What is known of all pairs, and what to find out next."""

    def __init__(
        self,
        clouds: Clouds,
        lower: Float64,
        frames: int,
        squared: bool,
        first_group: int,
        length: int,
        workers: int | None,
        progress: Progress | None,
    ) -> None:
        self.clouds, self.frames, self.squared = clouds, frames, squared
        self.length, self.workers, self.progress = length, workers, progress
        count = len(lower)
        self.groups = (slice(0, first_group), slice(first_group, count))
        self.group_of = (np.arange(count) >= first_group).astype(np.int64)
        self.lower = lower
        np.fill_diagonal(self.lower, np.inf)
        self.upper = np.full_like(lower, np.inf)
        self.stage = np.full(lower.shape, _PROJECTED, np.int8)
        self.matched = 0

    def find_lists(self) -> None:
        """Match pairs until no other can be among the nearest of either of its shapes."""
        everything = np.ones(self.lower.shape, np.bool_)
        self._sharpen(self._likeliest(everything, 2 * self.length))
        self._match(self._likeliest(everything, self.length))
        while True:
            limits = self._limits()
            live = np.isfinite(self.lower) & (self.lower <= limits) & (self.stage < _MATCHED)
            vague = live & (self.stage == _PROJECTED)
            if vague.any():
                self._sharpen(_pairs(vague))
            elif live.any():
                self._match(self._likeliest(live, max(4, self.length // 2)))
            else:
                return

    def settle_nearest(self) -> None:
        """Find optimal matchings until the nearest of each group is exact and proven for every shape."""
        while True:
            wanted = np.zeros(self.lower.shape, np.bool_)
            for group in self.groups:
                if group.start == group.stop:
                    continue
                upper, lower = self.upper[:, group], self.lower[:, group]
                first = upper.argmin(axis=1)
                nearest = upper.min(axis=1)
                rows = np.flatnonzero(np.isfinite(nearest))
                wanted[rows, first[rows] + group.start] = True
                wanted[:, group] |= lower <= nearest[:, None]
            pairs = _pairs(wanted & np.isfinite(self.lower) & (self.stage < _OPTIMAL))
            if not len(pairs):
                return
            self._run(pairs, self._optimum, "EMD of the nearest")

    def lists(self) -> Nearest:
        """The lists, from what has been found."""
        count = len(self.lower)
        members = np.full((count, 2, self.length), -1, np.int32)
        distances = np.full((count, 2, self.length), np.inf)
        for side, group in enumerate(self.groups):
            order = self.upper[:, group].argsort(axis=1, kind="stable")[:, : self.length]
            found = np.take_along_axis(self.upper[:, group], order, axis=1)
            members[:, side, : order.shape[1]] = np.where(np.isinf(found), -1, order)
            distances[:, side, : order.shape[1]] = found
        return Nearest(members, distances, self.matched)

    def _limits(self) -> Float64:
        """(N, N): beyond which distance a pair enters neither list."""
        farthest = np.full((len(self.lower), 2), np.inf)
        for side, group in enumerate(self.groups):
            if group.stop - group.start >= self.length:
                kept = np.partition(self.upper[:, group], self.length - 1, axis=1)
                farthest[:, side] = kept[:, self.length - 1]
        of_rows = farthest[:, self.group_of]
        return np.maximum(of_rows, of_rows.T)

    def _likeliest(self, allowed: Bool, quota: int) -> Int64:
        """The `quota` pairs of lowest bound for each shape and group among those allowed."""
        chosen = np.zeros(allowed.shape, np.bool_)
        bounds = np.where(allowed, self.lower, np.inf)
        for group in self.groups:
            order = bounds[:, group].argsort(axis=1, kind="stable")[:, :quota]
            np.put_along_axis(chosen[:, group], order, True, axis=1)
        return _pairs(chosen & np.isfinite(bounds))

    def _sharpen(self, pairs: Int64) -> None:
        self._run(pairs, self._bound, "EMD bounds")

    def _match(self, pairs: Int64) -> None:
        self.matched += len(pairs)
        limits = self._limits()
        enough = limits[pairs[:, 0], pairs[:, 1]]

        def match(a: int, b: int, number: int) -> tuple[float, float, int]:
            upper, lower = _matched(self.clouds, a, b, self.frames, self.squared, enough[number], LIST_GAP)
            if lower > enough[number]:
                return np.inf, lower, _SHARPENED
            if upper - lower > LIST_GAP * upper:
                return self._optimum(a, b, number)
            return upper, lower, _MATCHED

        self._run(pairs, match, "EMD matchings")

    def _bound(self, a: int, b: int, number: int) -> tuple[float, float, int]:
        return np.inf, _sharpened(self.clouds, a, b, self.frames, self.squared), _SHARPENED

    def _optimum(self, a: int, b: int, number: int) -> tuple[float, float, int]:
        frames = range(self.frames)
        first, second = a * self.frames, b * self.frames
        values = [pair_emd(self.clouds, first + t, self.clouds, second + t, squared=self.squared).value for t in frames]
        return float(np.mean(values)), float(np.mean(values)), _OPTIMAL

    def _run(self, pairs: Int64, function: Callable[[int, int, int], tuple[float, float, int]], what: str) -> None:
        """Call `function` on each pair (shape, shape, number) and take in what it says: upper, lower, stage."""
        found = np.empty((len(pairs), 3))

        def batch(start: int) -> None:
            for number in range(start, min(start + _BATCH, len(pairs))):
                a, b = pairs[number]
                found[number] = function(int(a), int(b), number)

        run_tiles(batch, range(0, len(pairs), _BATCH), workers=self.workers, progress=self.progress, description=what)
        for rows, columns in (pairs.T, pairs.T[::-1]):
            self.upper[rows, columns] = np.minimum(self.upper[rows, columns], found[:, 0])
            self.lower[rows, columns] = np.maximum(self.lower[rows, columns], found[:, 1])
            self.stage[rows, columns] = found[:, 2]


def _pairs(chosen: Bool) -> Int64:
    """(n, 2): the pairs of shapes chosen from either side, the lower index first, in order."""
    return np.argwhere(np.triu(chosen | chosen.T, 1))


@numba.njit(cache=True, nogil=True)
def _sharpened(clouds: Clouds, a: int, b: int, frames: int, squared: bool) -> float:
    total = 0.0
    for t in range(frames):
        total += coarse_bound(clouds, a * frames + t, clouds, b * frames + t, squared)
    return total / frames


@numba.njit(cache=True, nogil=True)
def _matched(
    clouds: Clouds, a: int, b: int, frames: int, squared: bool, enough: float, tolerance: float
) -> tuple[float, float]:
    """Upper and lower bound to within `tolerance`, or a lower bound that exceeds `enough`."""
    owners = np.empty(clouds.blocks.point_count, np.int32)
    upper = lower = 0.0
    for t in range(frames):
        i, j = a * frames + t, b * frames + t
        prices, epsilon = first_prices(clouds, i, clouds, j, squared)
        rest = enough * frames - lower
        bounds = auction(clouds.blocks, i, clouds.blocks, j, squared, epsilon, tolerance, rest, prices, owners)
        upper += bounds[0]
        lower += bounds[1]
        if lower > enough * frames:
            break
    return upper / frames, lower / frames

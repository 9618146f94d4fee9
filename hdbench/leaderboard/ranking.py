"""Who can be told from whom: rank intervals and tie groups of many entries on one metric.

Two entries are compared in pairs over the same halves of their common reference, as `hdbench.metrics.uncertainty`
compares two; where there are no nearest lists, by their intervals. An entry's rank interval counts the entries that
are surely better and surely worse than it. "Surely" is at the 5 % level for the entry against all others together
(Bonferroni over its n - 1 comparisons, see Mogstad, Romano, Shaikh, Wilhelm: Inference for ranks, 2024).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from hdbench.metrics.nearest import NearestLists, SetValues, subset_values
from hdbench.metrics.uncertainty import SMALLEST_SET, SPLITS, split_halves
from hdbench.results import Score, distance_from
from hdbench.seeds import generator

Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

LEVEL = 0.05
SEED = 0
_QUANTILE = NormalDist().inv_cdf(0.975)
_SAME_REFERENCE = 1e-4
"""Relative difference up to which two machines' distances between the same references may round apart."""


@dataclass(frozen=True)
class Standing:
    """Where an entry stands among others on one metric."""

    low: int
    """The best rank it may have, from 1."""
    high: int
    """The worst."""
    group: int
    """From 1: the best of each group cannot be told from the others in it, and is told from the next group's best."""
    is_tied: bool
    """True when another one may share its rank."""

    def __str__(self) -> str:
        return str(self.low) if self.low == self.high else f"{self.low}–{self.high}"


@dataclass(frozen=True, eq=False)
class Halves:
    """What an entry's nearest lists say of its metrics on random halves of the sets."""

    differences: Float64
    """(SPLITS, 6): value on the first half less value on the second, in the order of `SetValues`; NaN if unknown."""
    share: float
    """What turns half their mean square into the variance of the value on the whole sets."""
    reference: Float64
    """(R,): distances of the references to the nearest other one, which tell references apart."""


def halves_of(lists: NearestLists) -> Halves | None:
    """The values of `lists` on halves, the same for all entries of one size; None for sets too small to compare."""
    counts = lists.reference_count, lists.sample_count
    if min(counts) < SMALLEST_SET:
        return None
    references, samples = (
        split_halves(count, SPLITS, generator(SEED, "halves", role))
        for role, count in zip(("reference", "samples"), counts, strict=True)
    )
    with np.errstate(invalid="ignore"):  # splits whose neighbours are beyond the lists: infinity less infinity
        differences = subset_values(lists, references.first, samples.first)
        differences -= subset_values(lists, references.second, samples.second)
    differences[~np.isfinite(differences)] = np.nan
    share = sum(count // 2 for count in counts) / sum(counts)
    return Halves(differences, share, lists.reference_distance[: counts[0], 0])


def standings(scores: Sequence[Score], halves: Sequence[Halves | None], set_metric: str | None) -> list[Standing]:
    """Where each of `scores`, which all have values and one signature, stands among the others.

    Args:
        scores: One per entry.
        halves: What is known of each beside its score.
        set_metric: Which of `SetValues` the metric is; None for others.
    """
    distances = np.array([score.distance_from_best() for score in scores])
    told = _told_apart(distances, _deviations(scores, halves, set_metric))
    better = told & (distances[:, None] > distances[None, :])  # [i, j]: j is surely better than i
    lows, highs = 1 + better.sum(axis=1), len(scores) - better.sum(axis=0)
    groups = _groups(distances, told)
    return [
        Standing(int(low), int(high), group, is_tied=bool(low != high))
        for low, high, group in zip(lows, highs, groups, strict=True)
    ]


def _told_apart(distances: Float64, deviations: Float64) -> Bool:
    """(n, n): whether the difference of two values is surer than chance."""
    others = max(1, len(distances) - 1)
    quantile = NormalDist().inv_cdf(1 - LEVEL / others / 2)
    return np.asarray(np.abs(distances[:, None] - distances[None, :]) > quantile * deviations)


def _groups(distances: Float64, told: Bool) -> list[int]:
    """Group of each value: the best one left opens a group, and who cannot be told from it joins."""
    groups = np.zeros(len(distances), np.intp)
    group = 0
    for place in np.argsort(distances, kind="stable"):
        if not groups[place]:
            group += 1
            groups[(groups == 0) & ~told[place]] = group
            groups[place] = group
    return [int(number) for number in groups]


def _deviations(scores: Sequence[Score], halves: Sequence[Halves | None], set_metric: str | None) -> Float64:
    """(n, n): standard deviation of the difference of two scores; infinite where nothing is known."""
    present = [one for one in halves if one is not None]
    if set_metric is None or len(present) < len(scores) or not _share_reference(present):
        single = np.array([_deviation(score) for score in scores])
        return np.hypot(single[:, None], single[None, :])
    column = SetValues._fields.index(set_metric)
    signs = [_sign(score) for score in scores]
    rows = np.stack([sign * one.differences[:, column] for sign, one in zip(signs, present, strict=True)])
    shares = np.sqrt([one.share for one in present])
    return np.sqrt(_mean_squares(rows) / 2) * (shares[:, None] + shares[None, :]) / 2


def _mean_squares(rows: Float64) -> Float64:
    """(n, n): mean square of the difference of two of `rows` (n, B), over the columns where neither is NaN."""
    known = np.isfinite(rows).astype(np.float64)
    values = np.nan_to_num(rows)
    sums = (values**2) @ known.T + known @ (values**2).T - 2 * values @ values.T
    counts = known @ known.T
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(counts > 0, np.maximum(sums, 0.0) / counts, np.inf)


def _share_reference(halves: Sequence[Halves]) -> bool:
    first = halves[0].reference
    return all(
        len(one.reference) == len(first) and np.allclose(one.reference, first, rtol=_SAME_REFERENCE, atol=0)
        for one in halves
    )


def _deviation(score: Score) -> float:
    if score.interval is None:
        return math.inf
    return (score.interval[1] - score.interval[0]) / (2 * _QUANTILE)


def _sign(score: Score) -> float:
    """What turns the score into one whose smaller is better, to first order."""
    assert score.value is not None
    step = 1e-6
    return 1.0 if distance_from(score.target, score.value + step) >= distance_from(score.target, score.value) else -1.0

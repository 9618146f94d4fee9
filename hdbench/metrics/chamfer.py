"""The set metrics under the Chamfer distance."""

import numpy as np

from hdbench.distances.chamfer import cd_sq_matrix
from hdbench.metrics.family import Estimate, FamilyScores, Inputs
from hdbench.metrics.nearest import NearestLists, SetValues, lists_from_matrix, set_values
from hdbench.metrics.uncertainty import METHOD, SMALLEST_SET, set_intervals


def score_chamfer(inputs: Inputs) -> FamilyScores:
    """`mmd_cd`, `cov_cd`, `nna_cd` and their halves, exact, with intervals."""
    points = np.concatenate([inputs.reference, inputs.samples])
    matrix = cd_sq_matrix(points, workers=inputs.workers, progress=inputs.progress)
    lists = lists_from_matrix(matrix, reference_count=len(inputs.reference))
    return set_scores(lists, suffix="cd", distance="cd_sq", seed=inputs.seed)


def set_scores(lists: NearestLists, *, suffix: str, distance: str, seed: int) -> FamilyScores:
    """The set metrics of `lists` as a family's result, under names ending in `suffix`."""
    values = set_values(lists)
    intervals = set_intervals(lists, seed=seed)
    estimates = {}
    for name in SetValues._fields:
        value = getattr(values, name)
        stem, _, half = name.partition("_")
        key = f"{stem}_{suffix}_{half}" if half else f"{stem}_{suffix}"
        if np.isnan(value):
            estimates[key] = Estimate(None, reason="each set needs at least two shapes")
        elif intervals is None:
            estimates[key] = Estimate(value, reason=f"no interval: a set has fewer than {SMALLEST_SET} shapes")
        else:
            estimates[key] = Estimate(value, intervals[name])
    return FamilyScores(estimates, distance, interval_method=METHOD if intervals else "", arrays=lists.arrays())

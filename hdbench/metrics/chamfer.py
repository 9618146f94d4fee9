"""The set metrics under the Chamfer distance."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from hdbench.distances.backends import choose_backend
from hdbench.distances.chamfer import cd_sq_matrix
from hdbench.distances.search import cd_sq_nearest
from hdbench.metrics.family import Estimate, FamilyScores, Inputs
from hdbench.metrics.nearest import NearestLists, SetValues, list_length, lists_from_matrix, set_values
from hdbench.metrics.uncertainty import METHOD, SMALLEST_SET, set_intervals
from hdbench.progress import Progress

SEARCH_FROM = 100
"""Below this many shapes in all, the full matrix is as fast as the search for what is near."""


def score_chamfer(inputs: Inputs) -> FamilyScores:
    """`mmd_cd`, `cov_cd`, `nna_cd` and their halves, exact, with intervals."""
    scores = set_scores(lists_of(inputs), suffix="cd", distance="cd_sq", seed=inputs.seed)
    return replace(scores, facts={"backend": inputs.backend}) if inputs.backend else scores


def lists_of(inputs: Inputs) -> NearestLists:
    """The nearest lists of `inputs`, searched for once."""
    if "chamfer_lists" not in inputs.shared:
        inputs.shared["chamfer_lists"] = _lists_by_backend(inputs) if inputs.backend else _lists_by_search(inputs)
    lists: NearestLists = inputs.shared["chamfer_lists"]
    return lists


def _lists_by_search(inputs: Inputs) -> NearestLists:
    return chamfer_lists(inputs.reference, inputs.samples, workers=inputs.workers, progress=inputs.progress)


def _lists_by_backend(inputs: Inputs) -> NearestLists:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    backend = choose_backend(inputs.backend or "auto", device=device, workers=inputs.workers)
    points = np.concatenate([inputs.reference, inputs.samples])
    matrix = backend.cd_sq_matrix(points, progress=inputs.progress)
    return lists_from_matrix(matrix, reference_count=len(inputs.reference), length=list_length(len(points)))


def chamfer_lists(
    reference: npt.NDArray[np.float32],
    samples: npt.NDArray[np.float32],
    *,
    length: int | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> NearestLists:
    """The nearest lists of two sets of normalised points under `cd_sq`; `length` as in `list_length`."""
    points = np.concatenate([reference, samples])
    length = list_length(len(points)) if length is None else length
    if len(points) < SEARCH_FROM:
        matrix = cd_sq_matrix(points, workers=workers, progress=progress)
        return lists_from_matrix(matrix, reference_count=len(reference), length=length)
    found = cd_sq_nearest(points, first_group=len(reference), length=length, workers=workers, progress=progress)
    (references, near), (others, far) = ((found.members[:, group], found.distances[:, group]) for group in range(2))
    return NearestLists(len(reference), len(samples), references, near, others, far)


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

"""The set metrics under the earth mover's distance: exact, and as papers approximated it."""

import numpy as np
import numpy.typing as npt

from hdbench.distances.emd_published import emd_approxmatch_l2_matrix, emd_approxmatch_sq_matrix
from hdbench.distances.emd_search import emd_nearest
from hdbench.metrics.chamfer import set_scores
from hdbench.metrics.family import Estimate, FamilyScores, Inputs, set_metrics
from hdbench.metrics.nearest import NearestLists, list_length, lists_from_matrix
from hdbench.progress import Progress

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

PUBLISHED = "emd_published"
"""The family of the approximations, whose metric names end in it."""


def score_emd(inputs: Inputs) -> FamilyScores:
    """`mmd_emd`, `cov_emd`, `nna_emd` and their halves under the protocol's exact EMD, with intervals."""
    distance = inputs.protocol.distances.get("emd", "emd_l2")
    lists = emd_nearest_lists(
        inputs.reference,
        inputs.samples,
        squared=distance == "emd_sq",
        workers=inputs.workers,
        progress=inputs.progress,
    )
    return set_scores(lists, suffix="emd", distance=distance, seed=inputs.seed)


def emd_nearest_lists(
    reference: Float32,
    samples: Float32,
    *,
    length: int | None = None,
    squared: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> NearestLists:
    """The nearest lists of two sets of normalised points under `emd_l2`, or `emd_sq`; `length` as in `list_length`.

    First entries are exact, later ones within the certified gap of `hdbench.distances.emd_search`.
    """
    points = np.concatenate([reference, samples])
    length = list_length(len(points)) if length is None else length
    found = emd_nearest(
        points, first_group=len(reference), length=length, squared=squared, workers=workers, progress=progress
    )
    (references, near), (others, far) = ((found.members[:, group], found.distances[:, group]) for group in range(2))
    return NearestLists(len(reference), len(samples), references, near, others, far)


def score_published_emd(inputs: Inputs) -> FamilyScores:
    """The same metrics under the protocol's published approximation, from all ordered pairs."""
    distance = inputs.protocol.distances.get(PUBLISHED)
    if distance is None:
        reason = f"protocol {inputs.protocol.name} has no published EMD"
        names = [metric.name for metric in set_metrics(PUBLISHED, "")]
        return FamilyScores({name: Estimate(None, reason=reason) for name in names}, PUBLISHED)
    matrix = published_matrix(
        inputs.reference,
        inputs.samples,
        squared=distance == "emd_approxmatch_sq",
        workers=inputs.workers,
        progress=inputs.progress,
    )
    lists = lists_from_matrix(matrix, reference_count=len(inputs.reference))
    return set_scores(lists, suffix=PUBLISHED, distance=distance, seed=inputs.seed)


def published_matrix(
    reference: Float32,
    samples: Float32,
    *,
    squared: bool,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Float64:
    """(R + S, R + S) approximate distances of shape i from shape j as papers looked them up, references first.

    The approximation depends on which cloud gives. Papers compute reference to sample for both directions of the
    cross block, row to column within the sets, and search neighbours along columns: entry (i, j) is that of j to i.
    """
    matrix = emd_approxmatch_sq_matrix if squared else emd_approxmatch_l2_matrix
    cross = matrix(reference, samples, workers=workers, progress=progress)
    within = (matrix(points, workers=workers, progress=progress) for points in (reference, samples))
    references, others = within
    return np.block([[references.T, cross], [cross.T, others.T]])

"""MMD, COV and 1-NNA from nearest-neighbour lists.

The lists are the sufficient statistics of these metrics: for every shape of the union of references and samples,
its nearest references and its nearest samples. From them follow the values of the whole sets, of any pair of
subsets (which is what intervals are made from), and of paired comparisons, without the shapes and without the
distance matrix. Definitions: Achlioptas et al. 2018 (MMD, COV), Lopez-Paz and Oquab 2017 and Yang et al. 2019
(1-NNA), as every repository of the field computes them.

Ties go to the lowest index, references before samples. (The original code leaves the pick to `torch.topk`, whose
choice among exact ties is arbitrary; it matters for exact duplicates only.)
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
Bool = npt.NDArray[np.bool_]


class SetValues(NamedTuple):
    """The set metrics of one pair of sets; NaN where a set is too small to have the value."""

    mmd: float
    """Mean over references of the distance to the nearest sample (lower is better)."""
    mmd_samples: float
    """Mean over samples of the distance to the nearest reference (lower is better; ignores missing modes)."""
    cov: float
    """Share of references that are nearest to some sample (higher is better)."""
    nna: float
    """Share of all shapes whose nearest other shape is of their own set (0.5: the sets cannot be told apart)."""
    nna_samples: float
    """The same, of samples only."""
    nna_reference: float
    """The same, of references only."""


@dataclass(frozen=True, eq=False)
class NearestLists:
    """Nearest references and nearest samples of each of N = R + S shapes, references first.

    Rows are sorted by (distance, index) and never contain the shape itself. Where a set holds fewer others than
    the list is long, index is -1 and distance +inf; then the list is complete.
    """

    reference_count: int
    """R."""
    sample_count: int
    """S."""
    reference_index: Int32
    """(N, K): indices 0 to R - 1."""
    reference_distance: Float64
    """(N, K)."""
    sample_index: Int32
    """(N, L): indices 0 to S - 1."""
    sample_distance: Float64
    """(N, L)."""

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """As plain arrays by name, for npz."""
        return {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[np.generic]]) -> "NearestLists":
        """What `arrays` wrote.

        Files of them may be anyone's, and kernels index with them unchecked: what would lead astray is refused here.

        Raises KeyError, TypeError, ValueError or OverflowError for what no scoring has written.
        """
        counts = (int(arrays["reference_count"]), int(arrays["sample_count"]))
        reference = (arrays["reference_index"].astype(np.int32), arrays["reference_distance"].astype(np.float64))
        samples = (arrays["sample_index"].astype(np.int32), arrays["sample_distance"].astype(np.float64))
        lists = cls(*counts, *reference, *samples)
        _refuse_unsound(lists)
        return lists


def _refuse_unsound(lists: NearestLists) -> None:
    """Raise ValueError unless every index points into its set, and every shape has its row."""
    counts = lists.reference_count, lists.sample_count
    columns = (lists.reference_index, lists.reference_distance), (lists.sample_index, lists.sample_distance)
    for count, (index, distance) in zip(counts, columns, strict=True):
        if count < 1 or index.ndim != 2 or index.shape != distance.shape or len(index) != sum(counts):
            raise ValueError(f"lists of shape {index.shape} for {counts[0]} and {counts[1]} shapes")
        if index.size and (index.min() < -1 or index.max() >= count):
            raise ValueError("neighbours that are not there")


def list_length(shapes: int) -> int:
    """How long lists must be for the halves of a split of `shapes` shapes: their binary logarithm and five more.

    All of a shape's listed neighbours fall into the other half with probability 2^-length, so that fewer than one
    split in sixteen asks for a neighbour that is not listed (and is drawn again, see `hdbench.metrics.uncertainty`).
    """
    return math.ceil(math.log2(max(shapes, 2))) + 5


def lists_from_matrix(distances: Float64, *, reference_count: int, length: int | None = None) -> NearestLists:
    """The lists of a full matrix (N, N) of distances of shape i from shape j, references first.

    The diagonal is ignored. `length` is the longest a list may be; None is `list_length(N)`.
    """
    count = len(distances)
    others = np.asarray(distances, np.float64) + np.diag(np.full(count, np.inf))
    length = list_length(count) if length is None else length
    reference = _sorted_rows(others[:, :reference_count], length)
    samples = _sorted_rows(others[:, reference_count:], length)
    return NearestLists(reference_count, count - reference_count, *reference, *samples)


def _sorted_rows(distances: Float64, length: int) -> tuple[Int32, Float64]:
    order = np.argsort(distances, axis=1, kind="stable")[:, :length]
    sorted_distances = np.take_along_axis(distances, order, axis=1)
    return np.where(np.isinf(sorted_distances), -1, order).astype(np.int32), sorted_distances


def set_values(lists: NearestLists) -> SetValues:
    """The metrics of the whole sets."""
    everything = np.ones((1, lists.reference_count), np.bool_), np.ones((1, lists.sample_count), np.bool_)
    return SetValues(*map(float, subset_values(lists, *everything)[0]))


def subset_values(lists: NearestLists, references: Bool, samples: Bool) -> Float64:
    """The metrics of B pairs of subsets, (B, 6) float64 in the order of `SetValues`.

    Args:
        lists: Of the whole sets.
        references: (B, R), which references belong to each subset.
        samples: (B, S), likewise.

    Returns:
        The values are exact. A row is infinite throughout when a shape's nearest neighbour inside the subset lies
        beyond the end of its list; single values are NaN where a subset is empty.
    """
    results = np.empty((len(references), len(SetValues._fields)))
    _subset_values(
        lists.reference_index,
        lists.reference_distance,
        lists.sample_index,
        lists.sample_distance,
        np.ascontiguousarray(references, np.bool_),
        np.ascontiguousarray(samples, np.bool_),
        results,
    )
    return results


@numba.njit(cache=True, nogil=True)
def _subset_values(
    reference_index: Int32,
    reference_distance: Float64,
    sample_index: Int32,
    sample_distance: Float64,
    references: Bool,
    samples: Bool,
    results: Float64,
) -> None:
    reference_total, sample_total = references.shape[1], samples.shape[1]
    for subset in range(len(results)):
        covered = np.zeros(reference_total, np.bool_)
        sizes = np.zeros(2, np.int64)
        correct = np.zeros(2, np.int64)
        sums = np.zeros(2)
        exhausted = False
        for item in range(reference_total + sample_total):
            is_sample = item >= reference_total
            if not (samples[subset, item - reference_total] if is_sample else references[subset, item]):
                continue
            near = _first_listed(reference_index[item], references[subset], reference_total - (not is_sample))
            far = _first_listed(sample_index[item], samples[subset], sample_total - is_sample)
            if near == _BEYOND or far == _BEYOND:
                exhausted = True
                break
            to_reference = reference_distance[item, near] if near >= 0 else np.inf
            to_sample = sample_distance[item, far] if far >= 0 else np.inf
            side = 1 if is_sample else 0
            sizes[side] += 1
            sums[side] += to_reference if is_sample else to_sample
            correct[side] += (to_sample < to_reference) if is_sample else (to_reference <= to_sample)
            if is_sample and near >= 0:
                covered[reference_index[item, near]] = True
        results[subset] = np.inf
        if exhausted:
            continue
        results[subset, 0] = sums[0] / sizes[0] if sizes[0] and sizes[1] else np.nan
        results[subset, 1] = sums[1] / sizes[1] if sizes[0] and sizes[1] else np.nan
        results[subset, 2] = covered.sum() / sizes[0] if sizes[0] and sizes[1] else np.nan
        # With one shape in a set, that shape has no other of its own to be nearest to.
        told = sizes[0] > 1 and sizes[1] > 1
        results[subset, 3] = (correct[0] + correct[1]) / (sizes[0] + sizes[1]) if told else np.nan
        results[subset, 4] = correct[1] / sizes[1] if told else np.nan
        results[subset, 5] = correct[0] / sizes[0] if told else np.nan


_ABSENT, _BEYOND = -1, -2


@numba.njit(cache=True, nogil=True)
def _first_listed(indices: Int32, members: Bool, others: int) -> int:
    """Position in a list of its first entry among `members`; `others` is how many entries a complete list has."""
    for position in range(len(indices)):
        if indices[position] < 0:
            return _ABSENT
        if members[indices[position]]:
            return position
    return _ABSENT if len(indices) >= others else _BEYOND

"""Which metrics two sample sets can be compared by in pairs, from their statistics alone.

Statistics are files, and may be anyone's: whatever would not come from scoring is refused here, before a kernel
indexes with it.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from hdbench.errors import HdbenchError
from hdbench.metrics.divergence import NODES, subset_divergences
from hdbench.metrics.frechet import subset_frechet_distances, subset_kernel_distances
from hdbench.metrics.nearest import NearestLists, SetValues
from hdbench.metrics.scoring import Statistics
from hdbench.metrics.uncertainty import SPLITS, ScoredSet, set_metric

Array = npt.NDArray[Any]

FEW_SPLITS = 100
"""Random splits where a value takes milliseconds: the deviation is then known to some 7 %."""
_DISTANCES = ("cd", "emd_published", "emd")
"""Families of set metrics; a name before those it begins with."""
_FEATURE_METRICS = {"fpd": subset_frechet_distances, "kpd": subset_kernel_distances}


def scored_set(statistics: Statistics, protocol: str, metric: str) -> ScoredSet | None:
    """What `metric` under `protocol` was made from, ready to be compared; None where the statistics lack it.

    Raises HdbenchError for statistics that no scoring has written.
    """
    try:
        if metric == "jsd":
            return _divergence(*_pair(statistics, f"{protocol}/jsd", "nodes"))
        if metric in _FEATURE_METRICS:
            return _features(*_pair(statistics, f"{protocol}/features", "features"), metric)
        name, family = _set_metric(metric)
        lists = statistics.nearest_lists(protocol, family) if family else None
        return None if lists is None else set_metric(_measured(lists), name)
    except _Absent:
        return None
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise HdbenchError(
            f"The statistics of {metric} are not what hdbench writes ({error}); score the shapes again."
        ) from error


def scored_sets(statistics: Iterable[Statistics | None], protocol: str, metric: str) -> list[ScoredSet]:
    """`scored_set` of the statistics of each seed; none where any is missing."""
    found = [scored_set(one, protocol, metric) if one else None for one in statistics]
    present = [one for one in found if one is not None]
    return present if len(present) == len(found) else []


def splits_of(metric: str) -> int:
    """How many random splits a comparison by `metric` takes."""
    return SPLITS if _set_metric(metric)[1] else FEW_SPLITS


class _Absent(Exception):
    """The statistics hold nothing of this family."""


def _set_metric(metric: str) -> tuple[str, str]:
    """(`nna_samples`, `cd`) of `nna_cd_samples`; the second is "" where it is no set metric."""
    name, _, rest = metric.partition("_")
    family = next((one for one in _DISTANCES if rest == one or rest.startswith(f"{one}_")), "")
    half = rest.removeprefix(family)
    return (f"{name}{half}", family) if f"{name}{half}" in SetValues._fields else ("", "")


def _pair(statistics: Statistics, prefix: str, name: str) -> tuple[Array, Array]:
    """The arrays of the reference and of the samples, (R, D) and (S, D)."""
    found = [statistics.arrays.get(f"{prefix}/{role}_{name}") for role in ("reference", "sample")]
    if found[0] is None or found[1] is None:
        raise _Absent
    reference, samples = found[0], found[1]
    if reference.ndim != 2 or samples.ndim != 2 or not reference.size or not samples.size:
        raise ValueError(f"arrays of shape {reference.shape} and {samples.shape}")
    return reference, samples


def _divergence(reference: Array, samples: Array) -> ScoredSet:
    for nodes in (reference, samples):
        if nodes.dtype.kind != "i" or nodes.min() < 0 or nodes.max() >= NODES:
            raise ValueError("nodes outside the grid")
    values = partial(subset_divergences, reference, samples)
    return ScoredSet(len(reference), len(samples), values, reference)


def _features(reference: Array, samples: Array, metric: str) -> ScoredSet:
    if reference.shape[1] != samples.shape[1]:
        raise ValueError(f"{reference.shape[1]} and {samples.shape[1]} features")
    for features in (reference, samples):
        if features.dtype.kind != "f" or not np.isfinite(features).all():
            raise ValueError("features that are no finite numbers")
    values = partial(_FEATURE_METRICS[metric], reference, samples)
    return ScoredSet(len(reference), len(samples), values, reference)


def _measured(lists: NearestLists) -> NearestLists:
    """`lists`, when all their distances can have been measured."""
    for distance in (lists.reference_distance, lists.sample_distance):
        if np.isnan(distance).any() or (distance < 0).any():
            raise ValueError("distances that are none")
    return lists

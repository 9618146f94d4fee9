"""What a family of metrics is: names with their targets, and one function from two point sets to values.

A new family is one module with such a function, and one line in `hdbench.metrics.scoring.FAMILIES`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from hdbench.metrics.protocols import Protocol
from hdbench.progress import Progress
from hdbench.records import Target

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Metric:
    """A value's name and what it should be."""

    name: str
    title: str
    target: Target
    unit: str
    """"fraction", "bits", …; "distance" stands for "length" or "squared length", as the convention has it."""


@dataclass(frozen=True)
class Estimate:
    """A value and how sure it is."""

    value: float | None
    interval: tuple[float, float] | None = None
    reason: str | None = None
    """Why there is no value, or no interval."""


@dataclass(frozen=True, eq=False)
class Inputs:
    """Two point sets of one layout, (N, P, 3) or (N, T, P, 3) float32, ready to be compared."""

    protocol: Protocol
    samples: Float32
    """Normalised by the protocol."""
    reference: Float32
    """Normalised by the protocol."""
    raw_samples: Float32
    """The same points before normalisation (de-normalised, where the protocol does and moments were given)."""
    raw_reference: Float32
    seed: int
    workers: int | None
    progress: Progress
    train: Float32 | None = None
    """The training shapes, normalised by the protocol, where they are known."""
    trained_on: str = ""
    """What they are, for signatures, where the reference does not say it."""
    extractor: str | None = None
    """Name of the feature extractor; None is the published one where it was imported, else the embedded one."""
    backend: str | None = None
    """Which code computes Chamfer distances (`hdbench.distances.backends`); None is the exact search on the CPU."""
    shared: dict[str, Any] = field(default_factory=dict, repr=False)
    """What one family has computed and another needs too, by name."""


@dataclass(frozen=True, eq=False)
class FamilyScores:
    """What a family's function returns."""

    estimates: Mapping[str, Estimate]
    """By metric name."""
    distance: str
    """Convention, as signatures name it: `cd_sq`, `emd_l2`, a histogram's grid, a feature extractor."""
    interval_method: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    """Whatever else decides the values, for the signature."""
    arrays: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    """Sufficient statistics, for npz."""
    warnings: tuple[str, ...] = ()
    """What makes these values doubtful, in the words that signatures use."""


@dataclass(frozen=True)
class Family:
    """Metrics that are computed together."""

    name: str
    function: str
    """`module:function` taking `Inputs` and returning `FamilyScores`; imported when first needed."""
    metrics: tuple[Metric, ...]
    version: int = 1
    """Raised whenever the same points would get another value, interval or statistic."""


def set_metrics(suffix: str, title: str) -> tuple[Metric, ...]:
    """The metrics of `hdbench.metrics.nearest` under one distance: `mmd_<suffix>`, `cov_<suffix>`, `nna_<suffix>` …"""
    return (
        Metric(f"mmd_{suffix}", f"MMD-{title}", "lower", "distance"),
        Metric(f"mmd_{suffix}_samples", f"MMD-{title} (samples)", "lower", "distance"),
        Metric(f"cov_{suffix}", f"COV-{title}", "higher", "fraction"),
        Metric(f"nna_{suffix}", f"1-NNA-{title}", 0.5, "fraction"),
        Metric(f"nna_{suffix}_samples", f"1-NNA-{title} (samples)", 0.5, "fraction"),
        Metric(f"nna_{suffix}_reference", f"1-NNA-{title} (reference)", 0.5, "fraction"),
    )


DIVERGENCE = (Metric("jsd", "JSD", "lower", "bits"),)
FEATURES = (
    Metric("fpd", "FPD", "lower", "squared feature length"),
    Metric("kpd", "KPD", "lower", "squared feature discrepancy"),
)
NOVELTY = (
    Metric("novelty_ratio", "Novelty", 1.0, "ratio"),
    Metric("novelty_p", "Novelty p", "higher", "probability"),
    Metric("near_copies", "Near copies", "lower", "fraction"),
    Metric("duplicates", "Duplicates", "lower", "fraction"),
)

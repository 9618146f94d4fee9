"""FPD and KPD: how far apart the features of two sets of shapes are.

FPD is the Fréchet distance of two Gaussians with the features' means and covariances (Heusel et al. 2017 for images;
on PointNet++ features as HyperDiffusion computes it). It is biased upward in small sets, the more so the more
dimensions: below three shapes per feature dimension its signature says so. KPD is the unbiased squared maximum mean
discrepancy under the cubic polynomial kernel (x·y / d + 1)³ (Bińkowski et al. 2018); it may come out below 0.

All arithmetic is float64 on one thread, so that values do not depend on how many there are.
"""

from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from hdbench.metrics.family import FEATURES, Estimate, FamilyScores, Inputs
from hdbench.metrics.uncertainty import SMALLEST_SET, deviation_by_halves, distance_interval

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Features = Float32 | Float64
Bool = npt.NDArray[np.bool_]
Interval = tuple[float, float]

SPLITS = 100
"""Random splits behind an interval: an FPD takes milliseconds, and its deviation is then known to some 7 %."""
METHOD = f"split-halves-{SPLITS}"

SHAPES_PER_DIMENSION = 3
_REACH = 1.959964


class FeatureIntervals(NamedTuple):
    """95 % intervals of the two distances."""

    fpd: Interval
    kpd: Interval


def score_features(inputs: Inputs) -> FamilyScores:
    """`fpd` and `kpd` of PointNet++ features, with intervals."""
    from hdbench.extractors import choose_extractor
    from hdbench.features.extraction import extract_features

    extractor = choose_extractor(inputs.extractor)
    if inputs.samples.ndim == 4:
        return _without_value(extractor.signature, "features are those of single clouds, not of sequences")
    reference, samples = (
        extract_features(points, extractor, progress=inputs.progress) for points in (inputs.reference, inputs.samples)
    )
    arrays = {"reference_features": reference, "sample_features": samples}
    smaller = min(len(reference), len(samples))
    if smaller < 2:
        return _without_value(extractor.signature, "each set needs at least two shapes")
    intervals = feature_intervals(reference, samples, seed=inputs.seed)
    reason = None if intervals else f"no interval: a set has fewer than {SMALLEST_SET} shapes"
    fpd = Estimate(frechet_distance(reference, samples), intervals and intervals.fpd, reason)
    kpd = Estimate(kernel_distance(reference, samples), intervals and intervals.kpd, reason)
    few = smaller < SHAPES_PER_DIMENSION * reference.shape[1]
    return FamilyScores(
        {"fpd": fpd, "kpd": kpd},
        extractor.signature,
        interval_method=METHOD if intervals else "",
        arrays=arrays,
        warnings=(f"fewer-than-{SHAPES_PER_DIMENSION}-shapes-per-feature",) if few else (),
    )


def frechet_distance(a: Float32, b: Float32) -> float:
    """|μa - μb|² + tr Σa + tr Σb - 2 tr (Σa Σb)^½ of features (N, D) and (M, D), covariances over n - 1; at least 0.

    The last trace is the sum of the singular values of Xa Xbᵀ, for centred features X scaled so that XᵀX = Σ: exact
    for singular covariances too, where the published matrix square root loses half the digits.
    """
    with threadpool_limits(1, "blas"):
        return _frechet(np.asarray(a, np.float64), np.asarray(b, np.float64))


def kernel_distance(a: Float32, b: Float32) -> float:
    """The unbiased squared maximum mean discrepancy of features (N, D) and (M, D) under (x·y / D + 1)³."""
    with threadpool_limits(1, "blas"):
        everything = np.ones((1, len(a)), np.bool_), np.ones((1, len(b)), np.bool_)
        return float(_mean_discrepancies(_kernel(a, b), *everything)[0])


def feature_intervals(
    reference: Float32, samples: Float32, *, seed: int, splits: int = SPLITS
) -> FeatureIntervals | None:
    """95 % intervals of both distances from split halves; None when a set has fewer than `SMALLEST_SET` shapes.

    They say how much the values vary with the shapes drawn. The bias of FPD is in value and interval alike.
    Simulated coverage: FPD 93 to 100 %, KPD 82 to 98 % (its estimate is skewed).
    """
    sizes = len(reference), len(samples)
    if min(sizes) < SMALLEST_SET:
        return None
    a, b = np.asarray(reference, np.float64), np.asarray(samples, np.float64)
    fpd, kpd = (
        deviation_by_halves(partial(values, a, b), sizes, seed=seed, splits=splits)
        for values in (subset_frechet_distances, subset_kernel_distances)
    )
    with threadpool_limits(1, "blas"):
        value, discrepancy = _frechet(a, b), kernel_distance(reference, samples)
    return FeatureIntervals(distance_interval(value, fpd), _discrepancy_interval(discrepancy, kpd))


def subset_frechet_distances(a: Features, b: Features, of_a: Bool, of_b: Bool) -> Float64:
    """FPD (B,) of B pairs of subsets, (B, N) and (B, M), of features (N, D) and (M, D)."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    with threadpool_limits(1, "blas"):
        return np.array([_frechet(a[i], b[j]) for i, j in zip(of_a, of_b, strict=True)])


def subset_kernel_distances(a: Features, b: Features, of_a: Bool, of_b: Bool) -> Float64:
    """KPD (B,) of B pairs of subsets, (B, N) and (B, M), of features (N, D) and (M, D)."""
    with threadpool_limits(1, "blas"):
        return _mean_discrepancies(_kernel(a, b), of_a, of_b)


def _discrepancy_interval(value: float, deviation: float) -> Interval:
    """Symmetric around values that could be 0; in the logarithm around larger ones, which vary the more."""
    reach = _REACH * deviation
    return distance_interval(value, deviation) if value > reach else (value - reach, value + reach)


def _frechet(a: Float64, b: Float64) -> float:
    from scipy.linalg import svdvals

    means = a.mean(0), b.mean(0)
    x, y = ((part - mean) / np.sqrt(len(part) - 1) for part, mean in zip((a, b), means, strict=True))
    overlap = svdvals(_square_root(x) @ _square_root(y).T, check_finite=False).sum()
    distance = ((means[0] - means[1]) ** 2).sum() + (x**2).sum() + (y**2).sum() - 2 * overlap
    return max(0.0, float(distance))


def _square_root(x: Float64) -> Float64:
    """A factor R with as few rows as can be and RᵀR = XᵀX."""
    from scipy.linalg import qr

    return x if len(x) <= x.shape[1] else np.asarray(qr(x, mode="r", check_finite=False)[0][: x.shape[1]])


def _kernel(a: Features, b: Features) -> Float64:
    """Kernel values among all N + M features, those of `a` first."""
    features = np.concatenate([a, b]).astype(np.float64)
    return np.asarray((features @ features.T / features.shape[1] + 1) ** 3)


def _mean_discrepancies(kernel: Float64, of_a: Bool, of_b: Bool) -> Float64:
    """Unbiased discrepancies of B pairs of subsets, (B, N) and (B, M)."""
    n = of_a.shape[1]
    among_a = _within(kernel[:n, :n], of_a)
    among_b = _within(kernel[n:, n:], of_b)
    counts = of_a.sum(1) * of_b.sum(1)
    between = ((of_a.astype(np.float64) @ kernel[:n, n:]) * of_b).sum(1) / counts
    return np.asarray(among_a + among_b - 2 * between)


def _within(kernel: Float64, members: Bool) -> Float64:
    """Mean kernel value over pairs of different members."""
    weights = members.astype(np.float64)
    counts = weights.sum(1)
    pairs = ((weights @ kernel) * weights).sum(1) - weights @ kernel.diagonal()
    return np.asarray(pairs / (counts * (counts - 1)))


def _without_value(distance: str, reason: str) -> FamilyScores:
    return FamilyScores({metric.name: Estimate(None, reason=reason) for metric in FEATURES}, distance)

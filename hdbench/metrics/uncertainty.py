"""How sure a set metric is: intervals from split halves, and paired comparisons of two sample sets.

Resampling with replacement is wrong for set-against-set metrics: a shape drawn twice is its own nearest neighbour,
and a true 1-NNA of 0.50 comes out as 0.8. Here both sets are split at random into two halves without replacement.
The halves A and A' are independent data sets of half the size, so for any metric

    Var(theta_m) = E[(theta_A - theta_A')^2] / 2        and        Var(theta_n) = Var(theta_m) m / n

for metrics whose variance falls with the number of shapes, as those of nearest neighbours do. (The deviation of the
half-samples around their own mean, scaled by sqrt(m / (n - m)), is right for averages only: it counts interactions
between shapes three times and more, and gives 1-NNA intervals that are a quarter too wide.)

Fractions get Wilson's interval at the effective number of shapes that this deviation implies, distances one that is
symmetric in the logarithm. Simulated coverage of the 95 % intervals (docs/statistics.md, tests): 1-NNA and COV 93 to
97 %; MMD 97 to 99 %, since the nearest of twice as many shapes is nearer: its deviation is somewhat overestimated.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from hdbench.errors import HdbenchError
from hdbench.metrics.nearest import NearestLists, SetValues, set_values, subset_values
from hdbench.seeds import generator

Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
Interval = tuple[float, float]

SPLITS = 400
"""Random splits behind an interval: its width then varies by some 4 % with the seed."""

SMALLEST_SET = 8
"""Sets with fewer shapes get no interval."""

METHOD = f"split-halves-{SPLITS}"
"""What signatures call the intervals of this module."""

_QUANTILE = NormalDist().inv_cdf(0.975)
_ATTEMPTS = 64


class Halves(NamedTuple):
    """B random splits of a set of n shapes: two disjoint subsets of n // 2 (one shape is left out when n is odd)."""

    first: Bool
    """(B, n)."""
    second: Bool
    """(B, n)."""


def split_halves(count: int, splits: int, rng: np.random.Generator) -> Halves:
    """`splits` random splits of `count` shapes."""
    places = rng.permuted(np.tile(np.arange(count), (splits, 1)), axis=1)
    half = count // 2
    return Halves(places < half, (places >= half) & (places < 2 * half))


def half_deviation(first: Float64, second: Float64, *, counts: tuple[int, ...]) -> Float64:
    """The standard deviation of a metric of the whole sets from its values on the halves of splits.

    Args:
        first: (B, ...), the metric on one half of each split.
        second: (B, ...), on the other.
        counts: Sizes of the sets that were split.
    """
    share = sum(count // 2 for count in counts) / sum(counts)
    return np.asarray(np.sqrt(share * ((first - second) ** 2).mean(axis=0) / 2))


def fraction_interval(value: float, deviation: float, *, count: int) -> Interval:
    """Wilson's 95 % interval of a fraction of `count` shapes, at the effective number that `deviation` implies."""
    spread = value * (1 - value)
    effective = spread / deviation**2 if spread > 0 and deviation > 0 else count
    squared = _QUANTILE**2
    centre = (value + squared / (2 * effective)) / (1 + squared / effective)
    reach = _QUANTILE / (1 + squared / effective) * math.sqrt(spread / effective + squared / (4 * effective**2))
    return max(0.0, min(value, centre - reach)), min(1.0, max(value, centre + reach))


def distance_interval(value: float, deviation: float) -> Interval:
    """The 95 % interval of a positive value, symmetric in its logarithm."""
    if value <= 0:
        return 0.0, _QUANTILE * deviation
    factor = math.exp(min(_QUANTILE * deviation / value, 700.0))
    return value / factor, value * factor


def set_intervals(lists: NearestLists, *, seed: int, splits: int = SPLITS) -> dict[str, Interval] | None:
    """95 % intervals of all `SetValues` by name; None when a set has fewer than `SMALLEST_SET` shapes."""
    counts = (lists.reference_count, lists.sample_count)
    if min(counts) < SMALLEST_SET:
        return None
    first, second = _values_of_halves((lists,), seed=seed, splits=splits)[0]
    deviations = SetValues(*map(float, half_deviation(first, second, counts=counts)))
    value = set_values(lists)
    shapes = {"nna": sum(counts), "nna_samples": counts[1], "nna_reference": counts[0], "cov": counts[0]}
    return {
        name: fraction_interval(getattr(value, name), getattr(deviations, name), count=shapes[name])
        if name in shapes
        else distance_interval(getattr(value, name), getattr(deviations, name))
        for name in SetValues._fields
    }


@dataclass(frozen=True)
class Comparison:
    """Whether one sample set is better than another against the same reference."""

    metric: str
    value_a: float
    value_b: float
    difference: float
    """How much farther `a` is from the metric's target than `b`: negative when `a` is better."""
    interval: Interval
    """95 %, of the difference."""
    p_value: float
    """Two-sided, of no difference."""
    deviation: float
    """Standard, of the difference."""

    @property
    def better(self) -> Literal["a", "b"] | None:
        """Which set is better at the 5 % level; None when they cannot be told apart."""
        if self.p_value >= 0.05:
            return None
        return "a" if self.difference < 0 else "b"


def paired_comparison(
    lists_a: NearestLists | Sequence[NearestLists],
    lists_b: NearestLists | Sequence[NearestLists],
    metric: str,
    *,
    seed: int,
    splits: int = SPLITS,
) -> Comparison:
    """Compare sample sets `a` and `b` by one of `SetValues`, with the same halves of their common reference.

    What the reference contributes to both values cancels, so the difference is surer than two intervals say. Several
    sets on a side, of one model with several seeds, are compared by their mean.

    Raises:
        HdbenchError: When the references differ, or a set has fewer than `SMALLEST_SET` shapes.
    """
    sets_a, sets_b = ((lists,) if isinstance(lists, NearestLists) else tuple(lists) for lists in (lists_a, lists_b))
    for other in (*sets_a[1:], *sets_b):
        _refuse_unpaired(sets_a[0], other)
    column = SetValues._fields.index(metric)
    value_a, value_b = (float(np.mean([set_values(one)[column] for one in sets])) for sets in (sets_a, sets_b))
    signs = _sign(metric, value_a), _sign(metric, value_b)
    halves = _values_of_halves((*sets_a, *sets_b), seed=seed, splits=splits)
    first, second = (
        signs[0] * np.mean([pair[half][:, column] for pair in halves[: len(sets_a)]], axis=0)
        - signs[1] * np.mean([pair[half][:, column] for pair in halves[len(sets_a) :]], axis=0)
        for half in range(2)
    )
    sizes = [one.sample_count for one in (*sets_a, *sets_b)]
    deviation = float(half_deviation(first, second, counts=(sets_a[0].reference_count, sum(sizes) // len(sizes))))
    target = 0.5 if metric.startswith("nna") else 0.0
    difference = signs[0] * (value_a - target) - signs[1] * (value_b - target)
    reach = _QUANTILE * deviation
    return Comparison(
        metric,
        value_a,
        value_b,
        difference,
        (difference - reach, difference + reach),
        two_sided(difference, deviation),
        deviation,
    )


def two_sided(difference: float, deviation: float) -> float:
    """The p-value of no difference, of a normal difference with this deviation."""
    if deviation > 0:
        return math.erfc(abs(difference) / deviation / math.sqrt(2))
    return 1.0 if difference == 0 else 0.0


def _sign(metric: str, value: float) -> float:
    """What turns a value into one whose smaller is better, to first order."""
    if metric.startswith("nna"):
        return 1.0 if value >= 0.5 else -1.0
    return -1.0 if metric == "cov" else 1.0


def _refuse_unpaired(a: NearestLists, b: NearestLists) -> None:
    count = a.reference_count
    # The references' distances among themselves are the same exactly when the references are.
    shared = min(a.reference_distance.shape[1], b.reference_distance.shape[1])
    if count != b.reference_count or not np.array_equal(
        a.reference_distance[:count, :shared], b.reference_distance[:count, :shared]
    ):
        raise HdbenchError("The two sample sets were not scored against the same reference; score both again.")
    if min(count, a.sample_count, b.sample_count) < SMALLEST_SET:
        raise HdbenchError(f"A comparison needs at least {SMALLEST_SET} shapes in every set.")


def _values_of_halves(lists: tuple[NearestLists, ...], *, seed: int, splits: int) -> list[tuple[Float64, Float64]]:
    """For each of `lists`, its values (splits, 6) on the first and second halves; all share the reference's halves.

    Lists may end before the nearest neighbour inside a half. Such splits, fewer than one in sixteen, are drawn again:
    no value is ever wrong, and what is left out has nothing to do with the metrics.
    """
    results = [(np.empty((splits, len(SetValues._fields))), np.empty((splits, len(SetValues._fields)))) for _ in lists]
    pending = np.arange(splits)
    for attempt in range(_ATTEMPTS):
        drawn = list(_draw(lists, len(pending), seed=seed, attempt=attempt))
        for (first, second), (new_first, new_second) in zip(results, drawn, strict=True):
            first[pending], second[pending] = new_first, new_second
        exhausted = [np.isinf(values[:, 0]) for pair in drawn for values in pair]
        pending = pending[np.any(exhausted, axis=0)]
        if not len(pending):
            return results
    raise HdbenchError("The nearest-neighbour lists are too short for intervals; score the shapes again.")


def _draw(
    lists: tuple[NearestLists, ...], splits: int, *, seed: int, attempt: int
) -> Iterator[tuple[Float64, Float64]]:
    references = split_halves(lists[0].reference_count, splits, generator(seed, "halves", "reference", attempt))
    for index, one in enumerate(lists):
        samples = split_halves(one.sample_count, splits, generator(seed, "halves", "samples", index, attempt))
        yield (
            subset_values(one, references.first, samples.first),
            subset_values(one, references.second, samples.second),
        )

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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import NormalDist
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from hdbench.errors import HdbenchError
from hdbench.metrics.nearest import NearestLists, SetValues, set_values, subset_values
from hdbench.records import Target, distance_from
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
_SAME = 0.99
"""Share of a reference's numbers that must agree, to `_ROUNDING`, between two scorings of it: machines round apart."""
_ROUNDING = 1e-4


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


def deviation_by_halves(
    values: Callable[[Bool, Bool], Float64], counts: tuple[int, int], *, seed: int, splits: int = SPLITS
) -> float:
    """The standard deviation of a metric over the sets that might have been drawn.

    `values` gives it (B,) of B pairs of subsets, (B, R) and (B, S), of the sets of `counts` = (R, S) shapes.
    """
    references, samples = (
        split_halves(count, splits, generator(seed, "halves", role))
        for count, role in zip(counts, ("reference", "samples"), strict=True)
    )
    first, second = (values(*pair) for pair in zip(references, samples, strict=True))
    return float(half_deviation(first, second, counts=counts))


def fraction_interval(value: float, deviation: float, *, count: int) -> Interval:
    """Wilson's 95 % interval of a fraction of `count` shapes, at the effective number that `deviation` implies."""
    spread = value * (1 - value)
    effective = spread / deviation**2 if spread > 0 and deviation > 0 else count
    squared = _QUANTILE**2
    centre = (value + squared / (2 * effective)) / (1 + squared / effective)
    reach = _QUANTILE / (1 + squared / effective) * math.sqrt(spread / effective + squared / (4 * effective**2))
    return max(0.0, min(value, centre - reach)), min(1.0, max(value, centre + reach))


def distance_interval(value: float, deviation: float) -> Interval:
    """The 95 % interval of a value that is not negative, symmetric in its logarithm where it exceeds 1.96 deviations.

    Nearer to 0 the upper end would grow without bound; there it is value + (e - 1) 1.96 deviations. At the border both
    are the same.
    """
    reach = _QUANTILE * deviation
    if value <= reach:
        return value * math.exp(-reach / value) if value > 0 else 0.0, value + (math.e - 1) * reach
    factor = math.exp(reach / value)
    return value / factor, value * factor


@dataclass(frozen=True, eq=False)
class ScoredSet:
    """A sample set scored against a reference, as far as comparisons need it."""

    reference_count: int
    """R."""
    sample_count: int
    """S."""
    values: Callable[[Bool, Bool], Float64]
    """Values (B, …) of B pairs of subsets, (B, R) and (B, S); infinite where the statistics do not reach that far."""
    reference: npt.NDArray[Any]
    """(R, …): numbers that tell this reference from any other."""

    @property
    def value(self) -> Float64:
        """Of the whole sets."""
        everything = np.ones((1, self.reference_count), np.bool_), np.ones((1, self.sample_count), np.bool_)
        return self.values(*everything)[0]


def set_intervals(lists: NearestLists, *, seed: int, splits: int = SPLITS) -> dict[str, Interval] | None:
    """95 % intervals of all `SetValues` by name; None when a set has fewer than `SMALLEST_SET` shapes."""
    counts = (lists.reference_count, lists.sample_count)
    if min(counts) < SMALLEST_SET:
        return None
    everything = ScoredSet(*counts, partial(subset_values, lists), lists.reference_distance)
    first, second = _values_of_halves([everything], places=[0], seed=seed, splits=splits)[0]
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


def set_metric(lists: NearestLists, metric: str) -> ScoredSet:
    """One of `SetValues` of `lists`, ready to be compared."""
    column = SetValues._fields.index(metric)

    def values(references: Bool, samples: Bool) -> Float64:
        return subset_values(lists, references, samples)[:, column]

    # The references' distances among themselves are the same exactly when the references are.
    own = lists.reference_distance[: lists.reference_count]
    return ScoredSet(lists.reference_count, lists.sample_count, values, own)


def paired_comparison(
    lists_a: NearestLists | Sequence[NearestLists],
    lists_b: NearestLists | Sequence[NearestLists],
    metric: str,
    *,
    seed: int,
    splits: int = SPLITS,
) -> Comparison:
    """`compare` sample sets by one of `SetValues`, from their nearest lists."""
    sets_a, sets_b = ((lists,) if isinstance(lists, NearestLists) else tuple(lists) for lists in (lists_a, lists_b))
    a, b = ([set_metric(lists, metric) for lists in sets] for sets in (sets_a, sets_b))
    target: Target = 0.5 if metric.startswith("nna") else "higher" if metric == "cov" else "lower"
    return compare(a, b, metric=metric, target=target, seed=seed, splits=splits)


def compare(
    sets_a: Sequence[ScoredSet],
    sets_b: Sequence[ScoredSet],
    *,
    metric: str,
    target: Target,
    seed: int,
    splits: int = SPLITS,
) -> Comparison:
    """Compare models `a` and `b` by sample sets of each, one or several seeds, with the same halves of the reference.

    What the reference contributes to both values cancels, so the difference is surer than two intervals say. Sets in
    the same place of both sides are split alike as well: where sample i of both came from the same noise, what the two
    share cancels too, and where they have nothing in common it does no harm. Several sets are compared by their mean.

    Raises:
        HdbenchError: When the references differ, or a set has fewer than `SMALLEST_SET` shapes.
    """
    for other in (*sets_a, *sets_b):
        _refuse_unpaired(sets_a[0], other)
    value_a, value_b = (float(np.mean([one.value for one in sets])) for sets in (sets_a, sets_b))
    signs = _sign(target, value_a), _sign(target, value_b)
    places = [*range(len(sets_a)), *range(len(sets_b))]
    halves = _values_of_halves((*sets_a, *sets_b), places=places, seed=seed, splits=splits)
    first, second = (
        signs[0] * np.mean([pair[half] for pair in halves[: len(sets_a)]], axis=0)
        - signs[1] * np.mean([pair[half] for pair in halves[len(sets_a) :]], axis=0)
        for half in range(2)
    )
    sizes = [one.sample_count for one in (*sets_a, *sets_b)]
    deviation = float(half_deviation(first, second, counts=(sets_a[0].reference_count, sum(sizes) // len(sizes))))
    difference = distance_from(target, value_a) - distance_from(target, value_b)
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


def _sign(target: Target, value: float) -> float:
    """What turns a value into one whose smaller is better, to first order."""
    if isinstance(target, float):
        return 1.0 if value >= target else -1.0
    return -1.0 if target == "higher" else 1.0


def _refuse_unpaired(a: ScoredSet, b: ScoredSet) -> None:
    if min(a.reference_count, a.sample_count, b.reference_count, b.sample_count) < SMALLEST_SET:
        raise HdbenchError(
            f"A comparison needs at least {SMALLEST_SET} shapes in every set; draw more (--count), or lift --limit."
        )
    if not _is_same(a.reference, b.reference):
        raise HdbenchError("The two sample sets were not scored against the same reference; score both again.")


def _is_same(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> bool:
    """Whether two references are one, by numbers of which either side may list fewer per shape."""
    if len(a) != len(b):
        return False
    shared = min(a.shape[1], b.shape[1])
    agree = np.isclose(a[:, :shared], b[:, :shared], rtol=_ROUNDING, atol=0)
    return bool(agree.mean() >= _SAME)


def _values_of_halves(
    sets: Sequence[ScoredSet], *, places: Sequence[int], seed: int, splits: int
) -> list[tuple[Float64, Float64]]:
    """For each of `sets`, its values (splits, …) on the first and second halves; all share the reference's halves.

    Sets of the same place share the splits of their samples, too. Lists may end before the nearest neighbour inside a
    half. Such splits, fewer than one in sixteen, are drawn again: no value is ever wrong, and what is left out has
    nothing to do with the metrics.
    """
    results = list(_draw(sets, splits, places=places, seed=seed, attempt=0))
    pending = np.flatnonzero(_exhausted(results))
    for attempt in range(1, _ATTEMPTS):
        if not len(pending):
            return results
        drawn = list(_draw(sets, len(pending), places=places, seed=seed, attempt=attempt))
        for (first, second), (new_first, new_second) in zip(results, drawn, strict=True):
            first[pending], second[pending] = new_first, new_second
        pending = pending[_exhausted(drawn)]
    raise HdbenchError("The nearest-neighbour lists are too short for intervals; score the shapes again.")


def _exhausted(pairs: Sequence[tuple[Float64, Float64]]) -> Bool:
    """(B,): whether any set lacked a neighbour in either half."""
    lacking = [np.isinf(values).reshape(len(values), -1).any(1) for pair in pairs for values in pair]
    return np.asarray(np.any(lacking, axis=0))


def _draw(
    sets: Sequence[ScoredSet], splits: int, *, places: Sequence[int], seed: int, attempt: int
) -> Iterator[tuple[Float64, Float64]]:
    references = split_halves(sets[0].reference_count, splits, generator(seed, "halves", "reference", attempt))
    for place, one in zip(places, sets, strict=True):
        samples = split_halves(one.sample_count, splits, generator(seed, "halves", "samples", place, attempt))
        yield one.values(references.first, samples.first), one.values(references.second, samples.second)

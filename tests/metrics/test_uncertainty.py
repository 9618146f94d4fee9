import numpy as np
import pytest
from scipy.spatial.distance import cdist

from hdbench.errors import HdbenchError
from hdbench.metrics.nearest import SetValues, lists_from_matrix, set_values, subset_values
from hdbench.metrics.uncertainty import (
    distance_interval,
    fraction_interval,
    half_deviation,
    paired_comparison,
    set_intervals,
    split_halves,
)

SIMULATIONS = 400


def lists_of(references, samples):
    union = np.concatenate([references, samples])
    return lists_from_matrix(cdist(union, union) ** 2, reference_count=len(references))


def simulate(count, *, dimensions, shift=0.0, spread=1.0):
    """Values (SIMULATIONS, 6) and intervals of sets drawn afresh each time, as shapes of a model would be."""
    values, intervals = [], []
    for seed in range(SIMULATIONS):
        rng = np.random.default_rng([seed, count])
        references = rng.normal(size=(count, dimensions))
        lists = lists_of(references, shift + spread * rng.normal(size=(count, dimensions)))
        values.append(set_values(lists))
        intervals.append(list(set_intervals(lists, seed=seed, splits=100).values()))
    return np.array(values), np.array(intervals)


def coverage(intervals, truth):
    return ((intervals[:, 0] <= truth) & (truth <= intervals[:, 1])).mean()


# Of 400 simulations, 95 % is 380 +- 4.4: the bands below are about three of these wide, and one-sided where the
# method is known to be on the safe side.
@pytest.mark.parametrize(
    ("count", "settings"),
    [
        (16, {"dimensions": 2}),
        (60, {"dimensions": 2}),
        (60, {"dimensions": 8}),
        (60, {"dimensions": 8, "shift": 0.4}),
        (60, {"dimensions": 4, "spread": 0.7}),
    ],
)
def test_intervals_cover_the_expected_value(count, settings):
    values, intervals = simulate(count, **settings)
    for column, name in enumerate(SetValues._fields):
        covered = coverage(intervals[:, column], values[:, column].mean())
        low = 0.90 if name.startswith("mmd") else 0.91
        assert low <= covered, name
        if name in ("nna", "cov") and count > 16:
            assert covered <= 0.985, name  # wider intervals than needed hide real differences


def test_held_out_shapes_cannot_be_told_from_the_reference():
    _, intervals = simulate(60, dimensions=8)
    assert 0.91 <= coverage(intervals[:, SetValues._fields.index("nna")], 0.5) <= 0.985


def test_resampling_with_replacement_would_be_wrong():
    """Why there are halves: with replacement, copies are their own neighbours and 1-NNA is far too high."""
    rng = np.random.default_rng(0)
    references, samples = rng.normal(size=(2, 100, 8))
    drawn = [
        set_values(lists_of(references[rng.integers(0, 100, 100)], samples[rng.integers(0, 100, 100)])).nna
        for _ in range(50)
    ]
    assert np.quantile(drawn, 0.025) > 0.6
    low, high = set_intervals(lists_of(references, samples), seed=0)["nna"]
    assert low < 0.5 < high


def test_deviation_is_that_of_repeated_experiments():
    """Plain subsampling around its mean would be a quarter too wide here."""
    values, deviations = [], []
    for seed in range(SIMULATIONS):
        rng = np.random.default_rng(seed)
        union = rng.normal(size=(120, 2))
        lists = lists_from_matrix(cdist(union, union), reference_count=60, length=120)
        values.append(set_values(lists).nna)
        first, second = (
            subset_values(lists, a, b)[:, 3]
            for a, b in zip(split_halves(60, 100, rng), split_halves(60, 100, rng), strict=True)
        )
        deviations.append(half_deviation(first, second, counts=(60, 60)))
    estimated = np.sqrt(np.mean(np.square(deviations)))
    assert estimated == pytest.approx(np.std(values), rel=0.13)  # a deviation of 400 values is known to 3.5 %


def test_halves_are_disjoint_and_of_equal_size():
    for count in (8, 9):
        first, second = split_halves(count, 50, np.random.default_rng(0))
        assert not (first & second).any()
        assert (first.sum(1) == count // 2).all()
        assert (second.sum(1) == count // 2).all()
    assert len(np.unique(first, axis=0)) > 30


def test_same_seed_same_bits_other_seed_about_the_same():
    lists = lists_of(*np.random.default_rng(0).normal(size=(2, 80, 4)))
    assert set_intervals(lists, seed=1) == set_intervals(lists, seed=1)
    one, other = set_intervals(lists, seed=1), set_intervals(lists, seed=2)
    assert one != other
    for name in SetValues._fields:
        assert np.diff(one[name]) == pytest.approx(np.diff(other[name]), rel=0.3)


def test_intervals_stay_in_range_and_contain_the_value():
    rng = np.random.default_rng(0)
    references = rng.normal(size=(30, 3))
    for samples in (rng.normal(size=(30, 3)) + 100, references.copy(), np.repeat(references[:1], 30, 0)):
        lists = lists_of(references, samples)
        values, intervals = set_values(lists)._asdict(), set_intervals(lists, seed=0)
        for name, (low, high) in intervals.items():
            assert 0 <= low <= values[name] <= high
            assert name.startswith("mmd") or high <= 1
    far = set_intervals(lists_of(references, references + 100), seed=0)["nna"]
    assert far[0] < far[1] == 1  # thirty shapes cannot prove that all are told apart


def test_small_sets_have_no_interval():
    assert set_intervals(lists_of(*np.random.default_rng(0).normal(size=(2, 7, 3))), seed=0) is None


def test_interval_formulas_at_their_borders():
    assert fraction_interval(1.0, 0.0, count=100)[0] == pytest.approx(100 / (100 + 1.959964**2), rel=1e-6)
    assert fraction_interval(0.5, 0.01, count=10) == pytest.approx((0.4804, 0.5196), abs=1e-4)
    assert distance_interval(0.0, 0.0) == (0.0, 0.0)
    low, high = distance_interval(2.0, 0.1)
    assert low * high == pytest.approx(4.0)


def test_distances_far_below_their_deviation_have_finite_intervals():
    """The upper end is continuous, and never further up than the deviation accounts for."""
    values = [0.0, 1e-300, 1e-9, 0.1, 1.0, 1.95, 1.97, 5.0]
    ends = [distance_interval(value, 1.0) for value in values]
    assert all(0 <= low <= value <= high < value + 3.6 for (low, high), value in zip(ends, values, strict=True))
    highs = [high for _, high in ends]
    assert highs == sorted(highs)
    assert distance_interval(1e-9, 1.0)[1] == pytest.approx(distance_interval(0.0, 1.0)[1])


def paired_sets(seed, *, shift):
    rng = np.random.default_rng(seed)
    references, a, b = rng.normal(size=(3, 60, 6))
    return lists_of(references, a), lists_of(references, b + shift)


@pytest.mark.parametrize("metric", ["mmd", "cov", "nna"])
def test_equal_models_are_rarely_called_different(metric):
    verdicts = [paired_comparison(*paired_sets(seed, shift=0), metric, seed=0, splits=100) for seed in range(150)]
    wrong = np.mean([verdict.better is not None for verdict in verdicts])
    assert wrong <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 150)


@pytest.mark.parametrize("metric", ["mmd", "cov", "nna"])
def test_a_worse_model_is_found_worse(metric):
    verdicts = [paired_comparison(*paired_sets(seed, shift=1.5), metric, seed=0, splits=100) for seed in range(20)]
    assert all(verdict.better == "a" for verdict in verdicts)
    assert all(verdict.difference < 0 and verdict.interval[1] < 0 for verdict in verdicts)


def test_swapping_the_sets_turns_the_verdict():
    a, b = paired_sets(0, shift=0.8)
    forward, backward = (paired_comparison(*pair, "nna", seed=0) for pair in ((a, b), (b, a)))
    assert forward.better == "a"
    assert backward.better == "b"
    assert forward.difference == -backward.difference
    same = paired_comparison(a, a, "mmd", seed=0)
    assert same.difference == 0
    assert same.better is None


def test_more_seeds_make_a_comparison_surer():
    rng = np.random.default_rng(5)
    references, *samples = rng.normal(size=(9, 60, 6))
    a, b = (
        [lists_of(references, one + shift) for one in part] for part, shift in ((samples[:4], 0), (samples[4:], 0.4))
    )
    one, four = paired_comparison(a[0], b[0], "mmd", seed=0), paired_comparison(a, b, "mmd", seed=0)
    assert four.value_a == pytest.approx(np.mean([paired_comparison(x, x, "mmd", seed=0).value_a for x in a]))
    assert four.deviation < 0.75 * one.deviation
    assert four.better == "a"


def test_comparisons_across_references_are_refused():
    a, _ = paired_sets(0, shift=0)
    b, _ = paired_sets(1, shift=0)
    with pytest.raises(HdbenchError, match="same reference"):
        paired_comparison(a, b, "nna", seed=0)
    small = lists_of(*np.random.default_rng(0).normal(size=(2, 5, 3)))
    with pytest.raises(HdbenchError, match="at least 8"):
        paired_comparison(small, small, "nna", seed=0)

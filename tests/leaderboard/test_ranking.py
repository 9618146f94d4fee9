import time

import numpy as np
import pytest
from board_examples import COUNT, distances, set_scores, told

from hdbench.leaderboard.ranking import Standing, halves_of, standings
from hdbench.metrics.uncertainty import paired_comparison


def standings_of(shifts, metric="nna", count=64):
    lists = [distances(seed, shift, count) for seed, shift in enumerate(shifts)]
    scores = [next(score for score in set_scores(one) if score.metric == f"{metric}_cd") for one in lists]
    return standings(scores, [halves_of(one) for one in lists], metric)


def test_equals_are_tied_and_the_worst_is_last():
    first, second, worst = standings_of([0, 0, 4])
    assert (first.low, first.high) == (second.low, second.high) == (1, 2)
    assert first.is_tied
    assert second.group == first.group == 1
    assert worst == Standing(3, 3, 2, is_tied=False)


def test_two_entries_are_told_apart_as_the_paired_comparison_tells_them():
    agreed = 0
    for seed in range(40):
        lists = distances(seed, 0.0, 48), distances(seed + 500, 0.5, 48)
        scores = [next(score for score in set_scores(one) if score.metric == "mmd_cd") for one in lists]
        a, b = standings(scores, [halves_of(one) for one in lists], "mmd")
        agreed += (a.low != b.low) == (paired_comparison(*lists, "mmd", seed=0).better is not None)
    assert agreed >= 36  # the two draw their halves anew: what lies at the edge may fall on either side


def test_equal_models_are_seldom_told_apart():
    """Of ten equal models, the best is told from another one by chance, in few boards of twenty."""
    told_apart = sum(
        any(standing.low > 1 for standing in standings_of_seeds(range(10 * board, 10 * board + 10)))
        for board in range(20)
    )
    assert told_apart <= 5


def standings_of_seeds(seeds):
    lists = [distances(seed, 0.0, 32) for seed in seeds]
    scores = [next(score for score in set_scores(one) if score.metric == "nna_cd") for one in lists]
    return standings(scores, [halves_of(one) for one in lists], "nna")


def test_without_lists_intervals_decide_and_without_intervals_nothing_does():
    apart = [told("fpd", 1.0, (0.9, 1.1)), told("fpd", 3.0, (2.9, 3.1)), told("fpd", 3.05, (2.9, 3.2))]
    assert [str(one) for one in standings(apart, [None] * 3, None)] == ["1", "2–3", "2–3"]
    unknown = [told("kpd", 1.0, None), told("kpd", 3.0, None)]
    assert [str(one) for one in standings(unknown, [None] * 2, None)] == ["1–2", "1–2"]


def test_higher_is_better_for_coverage():
    good, bad = standings_of([0, 6], metric="cov")
    assert (good.low, bad.low) == (1, 2)


def test_too_small_sets_have_no_halves():
    assert halves_of(distances(0, 0.0, 6)) is None


def test_another_reference_leaves_only_intervals():
    lists = [distances(seed, 0.0) for seed in range(3)]
    halves = [halves_of(one) for one in lists]
    scores = [next(score for score in set_scores(one) if score.metric == "nna_cd") for one in lists]
    object.__setattr__(halves[1], "reference", halves[1].reference * 2)
    assert standings(scores, halves, "nna") == standings(scores, [None] * 3, None)


def test_a_thousand_entries_are_ranked_in_seconds():
    rng = np.random.default_rng(0)
    base = halves_of(distances(0, 0.0))
    scores = [told("nna_cd", value, (value - 0.02, value + 0.02)) for value in rng.uniform(0.5, 0.9, 1000)]
    start = time.perf_counter()
    found = standings(scores, [base] * 1000, "nna")
    assert time.perf_counter() - start < 10
    assert min(one.low for one in found) == 1


@pytest.mark.parametrize("count", [1, COUNT])
def test_identical_entries_share_every_rank(count):
    scores = [told("nna_cd", 0.6, (0.5, 0.7))] * count
    assert {(one.low, one.high, one.group) for one in standings(scores, [None] * count, None)} == {(1, count, 1)}

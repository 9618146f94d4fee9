from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from hdbench.distances.chamfer import cd_sq
from hdbench.metrics.family import Inputs
from hdbench.metrics.nearest import lists_from_matrix
from hdbench.metrics.novelty import (
    TrainingNeighbours,
    duplicates,
    near_copies,
    novelty_p,
    novelty_ratio,
    ratio_interval,
    sampling_floors,
    score_novelty,
)
from hdbench.metrics.protocols import get_protocol
from hdbench.progress import Progress

TRAIN, REFERENCES, DIMENSIONS = 200, 50, 6
ONES = np.ones(REFERENCES)


def nothing_learnt(rng, train):
    return rng.normal(size=(REFERENCES, DIMENSIONS))


def crowded(rng, train):
    return 0.5 * nothing_learnt(rng, train)


def poor(rng, train):
    return 3 * nothing_learnt(rng, train)


def copied(rng, train):
    return train[:REFERENCES] + 0.05 * nothing_learnt(rng, train)


def half_copied(rng, train):
    return np.where(np.arange(REFERENCES)[:, None] % 2, copied(rng, train), nothing_learnt(rng, train))


def statistics(make, seed):
    """Shapes stood for by points of a normal cloud, so that hundreds of experiments cost nothing."""
    rng = np.random.default_rng(seed)
    train, reference = rng.normal(size=(TRAIN, DIMENSIONS)), rng.normal(size=(REFERENCES, DIMENSIONS))
    samples = make(rng, train)
    together = np.concatenate([reference, samples])
    lists = lists_from_matrix(cdist(together, together, "sqeuclidean"), reference_count=REFERENCES)
    to_train = cdist(together, train, "sqeuclidean")
    index, distance = to_train.argmin(1).astype(np.int32), to_train.min(1)
    return lists, TrainingNeighbours(
        train_count=TRAIN,
        reference_index=index[:REFERENCES],
        reference_distance=distance[:REFERENCES],
        sample_index=index[REFERENCES:],
        sample_distance=distance[REFERENCES:],
        reference_floor=ONES,
        sample_floor=ONES,
    )


def test_ratio_agrees_with_its_definition():
    lists, training = statistics(nothing_learnt, 0)
    reference, samples = lists.reference_distance[:REFERENCES, 0], lists.reference_distance[REFERENCES:, 0]
    real = np.median(np.log(training.reference_distance / reference))
    assert novelty_ratio(lists, training) == pytest.approx(
        np.exp(np.median(np.log(training.sample_distance / samples)) - real)
    )


def test_ratio_is_one_for_new_shapes_and_small_for_copies():
    new = [novelty_ratio(*statistics(nothing_learnt, seed)) for seed in range(60)]
    # Its deviation over experiments is 0.14, so that the mean's is 0.02.
    assert np.mean(new) == pytest.approx(1, abs=0.06)
    assert novelty_ratio(*statistics(copied, 0)) < 0.05


def test_exact_copies_have_a_finite_ratio():
    lists, training = statistics(lambda rng, train: train[:REFERENCES], 0)
    assert 0 < novelty_ratio(lists, training) < 1e-20
    assert near_copies(training) == 1


@pytest.mark.parametrize("make", [nothing_learnt, crowded, poor])
def test_p_values_of_models_that_copy_nothing_are_uniform_or_larger(make):
    values = [novelty_p(*statistics(make, seed), seed=seed, permutations=199) for seed in range(80)]
    # Votes are few, so the test is conservative; 5 % of 80 is 4, and 11 would come up once in a thousand.
    assert np.sum(np.array(values) < 0.05) <= 10
    assert np.mean(values) > 0.4


@pytest.mark.parametrize(("make", "most"), [(copied, 0.001), (half_copied, 0.05)])
def test_p_values_of_copies_are_small(make, most):
    values = [novelty_p(*statistics(make, seed), seed=seed, permutations=1999) for seed in range(9)]
    assert np.median(values) <= most


def test_p_counts_ties_for_neither_side():
    lists, training = statistics(nothing_learnt, 0)
    tied = replace(training, sample_distance=lists.reference_distance[REFERENCES:, 0])
    assert novelty_p(lists, tied, seed=0, permutations=50) == 1


def test_p_is_the_same_every_time():
    lists, training = statistics(half_copied, 1)
    assert novelty_p(lists, training, seed=3) == novelty_p(lists, training, seed=3)


def test_near_copies_are_counted():
    new = np.mean([near_copies(statistics(nothing_learnt, seed)[1]) for seed in range(60)])
    # The threshold is the third smallest of fifty references, below which three in fifty-one of their like fall.
    assert new == pytest.approx(3 / (REFERENCES + 1), abs=0.02)
    assert near_copies(statistics(copied, 0)[1]) > 0.95
    assert near_copies(statistics(half_copied, 0)[1]) == pytest.approx(0.5, abs=0.1)


def test_duplicates_are_counted():
    def twice(rng, train):
        once = nothing_learnt(rng, train)
        return np.concatenate([once[:10], once[:10] + 0.01, once[20:]])

    assert duplicates(statistics(twice, 0)[0], ONES, ONES) == pytest.approx(20 / REFERENCES, abs=0.1)
    assert np.mean([duplicates(statistics(nothing_learnt, seed)[0], ONES, ONES) for seed in range(60)]) < 0.12


def test_the_sampling_floor_is_how_far_two_draws_lie_apart():
    rng = np.random.default_rng(0)

    def draw(count, size):
        directions = rng.normal(size=(count, 600, 3))
        return (size * directions / np.linalg.norm(directions, axis=-1, keepdims=True)).astype(np.float32)

    for size in (0.5, 2.0):
        apart = np.mean([cd_sq(a, b) for a, b in zip(draw(20, size), draw(20, size), strict=True)])
        assert sampling_floors(draw(20, size)).mean() == pytest.approx(apart, rel=0.05)


def test_intervals_of_the_ratio_cover():
    covered = []
    for seed in range(60):
        lists, training = statistics(nothing_learnt, seed)
        low, high = ratio_interval(lists, training, seed=seed, splits=60)
        covered.append(low <= 1 <= high)
    assert np.mean(covered) >= 0.85


class TestScores:
    @staticmethod
    def clouds(seed, count):
        rng = np.random.default_rng(seed)
        directions = rng.normal(size=(count, 64, 3))
        directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
        return (directions * np.exp(0.4 * rng.normal(size=(count, 1, 3)))).astype(np.float32)

    def score(self, samples, train, references=20):
        reference = self.clouds(1, references)
        protocol = get_protocol("hdbench")
        inputs = Inputs(protocol, samples, reference, samples, reference, 0, 1, Progress(), train=train)
        return score_novelty(inputs)

    def test_copies_of_training_shapes_are_told(self):
        train = self.clouds(2, 80)
        values = self.score(train[:20].copy(), train).estimates
        assert values["novelty_ratio"].value < 1e-9
        assert values["novelty_p"].value < 0.01
        assert values["near_copies"].value == 1
        honest = self.score(self.clouds(3, 20), train)
        assert honest.estimates["novelty_p"].value > 0.01
        assert honest.estimates["near_copies"].value < 0.3
        assert honest.facts == {"train": "80"}
        assert honest.arrays["train_sample_index"].shape == (20,)

    def test_without_training_shapes_only_duplicates_are_known(self):
        values = self.score(self.clouds(3, 20), None).estimates
        assert values["duplicates"].value is not None
        assert values["novelty_ratio"].value is None
        assert "--train" in values["novelty_ratio"].reason

    def test_few_shapes_have_no_interval_and_one_no_value(self):
        train = self.clouds(2, 80)
        assert self.score(self.clouds(3, 4), train).estimates["novelty_ratio"].interval is None
        assert self.score(self.clouds(3, 1), train).estimates["duplicates"].value is None

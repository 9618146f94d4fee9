import numpy as np
import pytest

from hdbench.distances.emd import emd_l2_matrix, emd_sq_matrix
from hdbench.distances.emd_bounds import project, sliced_bounds
from hdbench.distances.emd_coarse import coarse_bound, make_clouds
from hdbench.distances.emd_search import LIST_GAP, emd_nearest
from hdbench.metrics.nearest import lists_from_matrix


def shapes(seed, count, points, *, spread=1.0):
    """Bent sheets of varying proportions: near ones and far ones."""
    rng = np.random.default_rng(seed)
    u, v = rng.uniform(-1, 1, (2, count, points))
    bend, width, height = (rng.uniform(0.3, 0.3 + spread, (count, 1)) for _ in range(3))
    return np.stack([u, v * width, height * np.sin(3 * bend * u)], -1).astype(np.float32)


def full_matrix(points, *, squared):
    return (emd_sq_matrix if squared else emd_l2_matrix)(points)


def check(points, first_group, length, *, squared=False):
    """The search against the full matrix; returns what the search found."""
    matrix = full_matrix(points, squared=squared)
    found = emd_nearest(points, first_group=first_group, length=length, squared=squared)
    wanted = lists_from_matrix(matrix, reference_count=first_group, length=length)
    pairs = [(wanted.reference_index, wanted.reference_distance), (wanted.sample_index, wanted.sample_distance)]
    for group, (index, distance) in enumerate(pairs):
        columns = index.shape[1]
        members, distances = found.members[:, group, :columns], found.distances[:, group, :columns]
        assert (found.members[:, group, columns:] == -1).all()
        if not columns:
            continue
        # The nearest is exact: the optimum to the rounding of float64 sums, and the same shape.
        np.testing.assert_allclose(distances[:, 0], distance[:, 0], rtol=1e-12)
        np.testing.assert_array_equal(members[:, 0], index[:, 0])
        # The k-th smallest of values each at most 1 % too large is at most 1 % too large itself.
        finite = np.isfinite(distance)
        np.testing.assert_array_equal(np.isfinite(distances), finite)
        ratio = distances[finite] / np.where(distance[finite] > 0, distance[finite], 1)
        assert ratio.max(initial=1) <= 1 / (1 - LIST_GAP)
        assert ratio[distance[finite] > 0].min(initial=1) >= 1 - 1e-12
        # Every entry is the cost of a matching of that very pair.
        offset = first_group if group else 0
        rows, places = np.nonzero(members >= 0)
        exact = matrix[rows, members[rows, places] + offset]
        assert np.all(distances[rows, places] >= exact * (1 - 1e-12))
        assert np.all(distances[rows, places] * (1 - LIST_GAP) <= exact)
    return found


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("length", [1, 5])
@pytest.mark.parametrize("points", [40, 300])
def test_lists_are_those_of_the_full_matrix(squared, length, points):
    check(shapes(0, 24, points), 13, length, squared=squared)


def test_few_pairs_are_matched_on_shapes():
    found = check(shapes(1, 60, 300, spread=2.0), 30, 1)
    assert found.measured < 0.35 * 60 * 59 / 2


def test_noise_is_searched_to_the_end():
    points = np.random.default_rng(2).normal(size=(14, 64, 3)).astype(np.float32)
    check(points, 7, 3)


def test_duplicates_lists_longer_than_sets_and_lone_shapes():
    points = shapes(3, 8, 50)
    points[5] = points[1]
    points[6] = points[1][::-1]
    check(points, 4, 20)
    check(points, 1, 2)
    check(points[:2], 1, 1)
    check(np.zeros((5, 20, 3), np.float32), 2, 2)


def test_sequences():
    frames = shapes(4, 12 * 3, 60).reshape(12, 3, 60, 3)
    check(frames, 6, 2)
    check(frames, 6, 2, squared=True)


def test_threads_change_no_bit():
    points = shapes(5, 20, 270)
    one = emd_nearest(points, first_group=10, length=3, workers=1)
    two = emd_nearest(points, first_group=10, length=3, workers=2)
    assert np.array_equal(one.members, two.members)
    assert np.array_equal(one.distances, two.distances)


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("offset", [0.0, 30.0])
@pytest.mark.parametrize("points", [3, 70, 333])
def test_bounds_never_exceed_the_distance(squared, scale, offset, points):
    rng = np.random.default_rng(points)
    odd = [rng.normal(size=(points, 3)), np.tile(rng.normal(size=3), (points, 1)), rng.integers(0, 3, (points, 3))]
    clouds = (np.concatenate([shapes(6, 5, points), odd]) * scale + offset * scale).astype(np.float32)
    clouds = np.concatenate([clouds, clouds[:1]])
    matrix = full_matrix(clouds, squared=squared)
    sliced = sliced_bounds(clouds, squared=squared)
    assert np.all(sliced <= matrix * (1 + 1e-12))
    assert np.array_equal(sliced, sliced.T)
    prepared = make_clouds(clouds)
    for i in range(len(clouds)):
        for j in range(len(clouds)):
            assert coarse_bound(prepared, i, prepared, j, squared) <= matrix[i, j] * (1 + 1e-12)


def test_bounds_are_worth_having():
    clouds = shapes(7, 10, 2048, spread=2.0)
    matrix = emd_l2_matrix(clouds, tolerance=1e-3)
    upper = np.triu_indices(10, 1)
    assert np.median(sliced_bounds(clouds)[upper] / matrix[upper]) > 0.7
    prepared = make_clouds(clouds)
    sharper = [coarse_bound(prepared, i, prepared, j, False) / matrix[i, j] for i, j in zip(*upper, strict=True)]
    assert np.median(sharper) > 0.9


def test_projections_of_uneven_counts_keep_the_mean():
    cloud = np.random.default_rng(8).normal(size=(1, 77, 3)).astype(np.float32)
    projections = project(cloud)
    assert projections.weights.sum() == pytest.approx(1, rel=1e-6)
    # Clouds are centred before, so that every axis averages to zero.
    np.testing.assert_allclose(projections.means @ projections.weights, 0, atol=1e-6)

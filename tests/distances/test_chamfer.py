import numpy as np
import pytest
from scipy.spatial import cKDTree

from hdbench.distances.blocks import make_blocks
from hdbench.distances.chamfer import cd_l2, cd_l2_directions, cd_l2_matrix, cd_sq, cd_sq_directions, cd_sq_matrix
from hdbench.errors import HdbenchError


def oracle(a, b):
    """Mean squared and mean Euclidean nearest distances of both directions, in float64."""
    difference = a[:, None].astype(np.float64) - b[None].astype(np.float64)
    squared = (difference**2).sum(-1)
    forward, backward = squared.min(1), squared.min(0)
    return (forward.mean(), backward.mean()), (np.sqrt(forward).mean(), np.sqrt(backward).mean())


def surface(rng, count):
    """Points on a bent sheet: what shapes look like to the pruning."""
    u, v = rng.uniform(-1, 1, (2, count))
    return np.stack([u, v * rng.uniform(0.2, 1), np.sin(3 * u) * rng.uniform(0, 0.5)], -1).astype(np.float32)


@pytest.mark.parametrize("counts", [(1, 1), (1, 40), (16, 16), (17, 15), (100, 333), (255, 257), (300, 300)])
@pytest.mark.parametrize("kind", ["noise", "surface"])
def test_agrees_with_the_oracle(counts, kind):
    rng = np.random.default_rng(counts)
    make = (lambda n: rng.normal(size=(n, 3)).astype(np.float32)) if kind == "noise" else (lambda n: surface(rng, n))
    a, b = map(make, counts)
    squared, euclidean = oracle(a, b)
    assert cd_sq_directions(a, b) == pytest.approx(squared, rel=1e-6)
    assert cd_l2_directions(a, b) == pytest.approx(euclidean, rel=1e-6)
    assert cd_sq(a, b) == pytest.approx(sum(squared), rel=1e-6)
    assert cd_l2(a, b) == pytest.approx(sum(euclidean), rel=1e-6)


def test_full_size_clouds_agree_with_a_tree():
    rng = np.random.default_rng(0)
    a, b = surface(rng, 2048), surface(rng, 2048)
    forward, backward = cKDTree(b.astype(float)).query(a)[0], cKDTree(a.astype(float)).query(b)[0]
    assert cd_sq(a, b) == pytest.approx((forward**2).mean() + (backward**2).mean(), rel=1e-6)


def test_far_from_the_origin_nothing_cancels():
    rng = np.random.default_rng(1)
    a, b = ((0.1 * rng.normal(size=(200, 3)) + 5).astype(np.float32) for _ in range(2))
    assert cd_sq(a, b) == pytest.approx(sum(oracle(a, b)[0]), rel=1e-6)


def test_matrix_is_symmetric_and_zero_on_the_diagonal():
    rng = np.random.default_rng(2)
    clouds = np.stack([surface(rng, 130) for _ in range(70)])
    matrix = cd_sq_matrix(clouds)
    assert matrix.dtype == np.float64
    assert np.array_equal(matrix, matrix.T)
    assert not matrix.diagonal().any()
    assert np.array_equal(matrix, cd_sq_matrix(clouds, clouds))
    assert matrix[3, 68] == cd_sq(clouds[3], clouds[68])


def test_matrix_of_two_sets_with_unequal_point_counts():
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(5, 33, 3)).astype(np.float32), rng.normal(size=(3, 20, 3)).astype(np.float32)
    squared = [[sum(oracle(x, y)[0]) for y in b] for x in a]
    euclidean = [[sum(oracle(x, y)[1]) for y in b] for x in a]
    np.testing.assert_allclose(cd_sq_matrix(a, b), squared, rtol=1e-6)
    np.testing.assert_allclose(cd_l2_matrix(a, b), euclidean, rtol=1e-6)


def test_threads_change_no_bit():
    rng = np.random.default_rng(4)
    clouds = np.stack([surface(rng, 100) for _ in range(150)])
    alone = cd_sq_matrix(clouds, workers=1)
    for workers in (2, 3):
        assert np.array_equal(alone, cd_sq_matrix(clouds, workers=workers))


def test_order_of_the_points_changes_no_bit():
    rng = np.random.default_rng(5)
    a, b = surface(rng, 500), np.round(surface(rng, 500), 1)  # rounding makes ties along every axis
    assert cd_sq(a, b) == cd_sq(rng.permutation(a), rng.permutation(b))


def test_sequences_are_compared_frame_by_frame():
    rng = np.random.default_rng(6)
    a, b = rng.normal(size=(3, 4, 50, 3)).astype(np.float32), rng.normal(size=(2, 4, 60, 3)).astype(np.float32)
    expected = [[np.mean([sum(oracle(x[t], y[t])[0]) for t in range(4)]) for y in b] for x in a]
    np.testing.assert_allclose(cd_sq_matrix(a, b), expected, rtol=1e-6)
    assert cd_sq(a[0], b[1]) == cd_sq_matrix(a, b)[0, 1]
    assert np.array_equal(cd_sq_matrix(a), cd_sq_matrix(a).T)


def test_duplicates_and_constant_clouds():
    rng = np.random.default_rng(7)
    cloud = rng.normal(size=(100, 3)).astype(np.float32)
    constant = np.ones((37, 3), np.float32)
    assert cd_sq(cloud, np.concatenate([cloud, cloud])) == 0
    assert cd_sq(constant, constant[:5]) == 0
    assert cd_sq(constant, cloud) == pytest.approx(sum(oracle(constant, cloud)[0]), rel=1e-6)


def test_one_point():
    assert cd_sq(np.zeros((1, 3), np.float32), np.array([[3, 4, 0]], np.float32)) == 50
    assert cd_l2(np.zeros((1, 3), np.float32), np.array([[3, 4, 0]], np.float32)) == 10


def test_empty_sets_give_empty_matrices():
    clouds = np.zeros((3, 5, 3), np.float32)
    assert cd_sq_matrix(clouds[:0]).shape == (0, 0)
    assert cd_sq_matrix(clouds, clouds[:0]).shape == (3, 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
def test_unusable_coordinates_are_refused_by_index(bad):
    clouds = np.zeros((4, 20, 3), np.float32)
    clouds[2, 11, 1] = bad
    with pytest.raises(HdbenchError, match="cloud 2 of 4"):
        cd_sq_matrix(clouds)


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(HdbenchError, match=r"\(N, P, 3\)"):
        cd_sq_matrix(np.zeros((4, 20, 2), np.float32))
    with pytest.raises(HdbenchError, match="no points"):
        cd_sq_matrix(np.zeros((4, 0, 3), np.float32))
    with pytest.raises(HdbenchError, match="no frames"):
        cd_sq_matrix(np.zeros((4, 0, 8, 3), np.float32))
    with pytest.raises(HdbenchError, match="2 and 3 frames"):
        cd_sq_matrix(np.zeros((1, 2, 8, 3), np.float32), np.zeros((1, 3, 8, 3), np.float32))


@pytest.mark.parametrize("count", [1, 16, 17, 256, 257, 1000])
def test_blocks_hold_every_point_once_inside_its_box(count):
    points = np.random.default_rng(count).normal(size=(2, count, 3)).astype(np.float32)
    blocks = make_blocks(points)
    flat = blocks.leaves.transpose(0, 1, 3, 2).reshape(2, -1, 3)
    for cloud in range(2):
        assert np.array_equal(np.unique(flat[cloud, :count], axis=0), np.unique(points[cloud], axis=0))
        assert (flat[cloud, count:] == flat[cloud, count - 1]).all()
    leaf_count = blocks.leaves.shape[1]
    boxes = blocks.boxes.transpose(0, 1, 3, 2).reshape(2, -1, 6)
    assert np.array_equal(boxes[:, :leaf_count, :3], blocks.leaves.min(-1))
    assert np.array_equal(boxes[:, :leaf_count, 3:], blocks.leaves.max(-1))
    assert (boxes[:, leaf_count:, :3] == np.inf).all()

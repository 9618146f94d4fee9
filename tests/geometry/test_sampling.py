import numpy as np
import pytest
from scipy.stats import chi2

from hdbench.geometry.sampling import sample_surface, shape_points
from hdbench.shapes import Mesh, PointCloud, Sequence

# Two triangles in z = 0 and z = 1 with areas 1 and 3, and a third without area.
MESH = Mesh(
    [[0, 0, 0], [2, 0, 0], [0, 1, 0], [0, 0, 1], [2, 0, 1], [0, 3, 1], [9, 9, 9]], [[0, 1, 2], [3, 4, 5], [6, 6, 6]]
)
CLOUD = PointCloud(np.random.default_rng(0).normal(size=(100, 3)))


def test_points_lie_on_the_triangles_in_proportion_to_area():
    points = sample_surface(MESH, 20_000, seed=0)
    assert points.shape == (20_000, 3)
    assert points.dtype == np.float32
    upper = points[:, 2] == 1
    assert np.isin(points[:, 2], (0, 1)).all()
    # a share of 0.75 has a deviation of sqrt(.75 * .25 / 20000) = 0.003; five of them
    assert abs(upper.mean() - 0.75) < 0.0155
    x, y = points[:, 0], points[:, 1]
    height = np.where(upper, 3, 1)
    assert (x >= 0).all()
    assert (y >= 0).all()
    assert (x / 2 + y / height <= 1 + 1e-6).all()


def test_points_are_uniform_within_a_triangle():
    triangle = Mesh([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]])
    x, y, _ = sample_surface(triangle, 40_000, seed=1).T.astype(np.float64)
    # P(x + y < s) = s², so (x + y)² is uniform on [0, 1], and x / (x + y) is too, independently
    cells, _, _ = np.histogram2d((x + y) ** 2, x / (x + y), bins=8, range=[[0, 1], [0, 1]])
    assert ((cells - 625) ** 2 / 625).sum() < chi2.isf(1e-9, 63)


def test_seeds():
    assert np.array_equal(sample_surface(MESH, 50, seed=3), sample_surface(MESH, 50, seed=3))
    assert not np.array_equal(sample_surface(MESH, 50, seed=3), sample_surface(MESH, 50, seed=4))


def test_no_global_random_state_is_read():
    first = sample_surface(MESH, 50, seed=3)
    np.random.random(7)  # noqa: NPY002 - it is the global state that is moved
    assert np.array_equal(sample_surface(MESH, 50, seed=3), first)


class TestShapePoints:
    def test_a_stream_for_each_name(self):
        draws = [shape_points(MESH, 20, seed=seed, name=name) for seed, name in ((0, "a"), (0, "b"), (1, "a"))]
        assert len({draw.tobytes() for draw in draws}) == 3
        assert np.array_equal(shape_points(MESH, 20, seed=0, name="a"), draws[0])

    def test_large_clouds_are_thinned_out(self):
        points = shape_points(CLOUD, 40, seed=0, name="a")
        rows = [np.flatnonzero((CLOUD.points == point).all(axis=1)).item() for point in points]
        assert rows == sorted(set(rows))
        assert not np.array_equal(points, shape_points(CLOUD, 40, seed=0, name="b"))

    def test_each_point_is_as_likely_as_any(self):
        counts = np.zeros(100)
        for seed in range(400):
            points = shape_points(CLOUD, 40, seed=seed, name="a")
            counts[[np.flatnonzero(CLOUD.points[:, 0] == x).item() for x in points[:, 0]]] += 1
        # each is drawn 160 times with a deviation of sqrt(400 * .4 * .6) = 9.8
        assert abs(counts - 160).max() < 5 * 9.8

    @pytest.mark.parametrize("count", [100, 101])
    def test_small_clouds_are_taken_whole(self, count):
        assert np.array_equal(shape_points(CLOUD, count, seed=0, name="a"), CLOUD.points)

    def test_frames_have_streams_of_their_own(self):
        points = shape_points(Sequence((MESH, MESH)), 20, seed=0, name="a")
        assert points.shape == (2, 20, 3)
        assert not np.array_equal(points[0], points[1])
        assert np.array_equal(points[1], shape_points(MESH, 20, seed=0, name="a/1"))

import numpy as np
import pytest

from hdbench.geometry.isosurface import isosurface, lattice_axes
from hdbench.geometry.sparse_lattice import BLOCKS, certified_values


class Solid:
    """max of `radius_k - |(p - center_k) * squash_k|`, whose slope is at most 40: bounds by that, and a record."""

    slope = 40.0

    def __init__(self, *parts, spoil=lambda values: values):
        self.parts, self.spoil = parts, spoil
        self.evaluated, self.asked = 0, []

    def __call__(self, x, y, z):
        lattice = self.on_lattice(x, y, z)
        return lattice.values(np.arange(len(x) * len(y) * len(z))).reshape(len(x), len(y), len(z))

    def on_lattice(self, x, y, z):
        self.axes, self.shape = (x, y, z), (len(x), len(y), len(z))
        return self

    def values(self, points):
        self.evaluated += len(points)
        indices = np.unravel_index(points, self.shape)
        places = np.stack([axis[i] for axis, i in zip(self.axes, indices, strict=True)], 1).astype(np.float64)
        return self.spoil(self._at(places).astype(np.float32))

    def _at(self, places):
        return np.max([r - np.linalg.norm((places - c) * np.array(s), axis=1) for c, r, s in self.parts], axis=0)

    def bounds(self, low, high):
        self.asked.append((low, high))
        corners = [np.stack([a[i] for a, i in zip(self.axes, ends.T, strict=True)], 1) for ends in (low, high)]
        reach = self.slope * np.linalg.norm(corners[1] - corners[0], axis=1) / 2
        middle = self._at((corners[0] + corners[1]).astype(np.float64) / 2)
        return (middle - reach - 1e-5).astype(np.float32), (middle + reach + 1e-5).astype(np.float32)


BALL = ((0.1, -0.05, 0.02), 0.3, (1, 1, 1))
SHEET = ((0.0, 0.0, 0.101), 0.4, (1, 1, 40))  # two hundredths thick at most: less than a cell of coarse lattices
CORNER = ((0.5, 0.5, 0.5), 0.6, (1, 1, 1))


def assert_same(one, other):
    np.testing.assert_array_equal(one.vertices, other.vertices)
    np.testing.assert_array_equal(one.faces, other.faces)


@pytest.mark.parametrize("resolution", [2, 3, 16, 17, 18, 33, 50, 65])
@pytest.mark.parametrize("parts", [(BALL,), (SHEET,), (CORNER,), (BALL, SHEET, CORNER)])
def test_mesh_is_that_of_the_whole_lattice_to_the_last_bit(resolution, parts):
    field = Solid(*parts)
    assert_same(isosurface(field, resolution=resolution), isosurface(field.__call__, resolution=resolution))


def test_level_and_box_may_be_any():
    field, bounds = Solid(BALL), ((-0.5, -0.4, -0.45), (0.4, 0.3, 0.5))
    for level in (-0.11, 0.07, 0.1):  # no float32
        sparse, dense = (isosurface(f, resolution=40, level=level, bounds=bounds) for f in (field, field.__call__))
        assert len(sparse.faces)
        assert_same(sparse, dense)


def test_few_points_are_evaluated_and_each_once():
    field = Solid(BALL)
    field.slope = 1.0
    isosurface(field, resolution=128)
    assert 0 < field.evaluated < 0.1 * 128**3


def test_values_are_exact_beside_the_surface_and_of_the_right_side_elsewhere():
    field, resolution = Solid(BALL, SHEET), 70
    dense = field(*lattice_axes(resolution))
    known = certified_values(field.on_lattice(*lattice_axes(resolution)), dense.shape, np.float32(0))
    whole = np.full_like(dense, -np.inf)
    region = tuple(slice(first, first + size) for first, size in zip(known.first, known.values.shape, strict=True))
    whole[region] = known.values
    np.testing.assert_array_equal(whole > 0, dense > 0)
    finite = np.isfinite(whole)
    np.testing.assert_array_equal(whole[finite], dense[finite])
    for axis in range(3):
        crossed = np.diff((dense > 0).astype(int), axis=axis) != 0
        for exact in (np.delete(finite, -1, axis), np.delete(finite, 0, axis)):
            assert exact[crossed].all()


def test_blocks_cover_every_cell_and_shrink():
    field = Solid(BALL)
    field.slope = np.inf  # nothing is proven
    isosurface(field, resolution=21)
    assert field.evaluated == 21**3
    for size, (low, high) in zip(BLOCKS, field.asked, strict=True):
        assert (high - low).max() <= size
        covered = np.zeros((20,) * 3, int)
        for first, last in zip(low, high, strict=True):
            covered[tuple(slice(a, b) for a, b in zip(first, last, strict=True))] += 1
        assert (covered == 1).all()


@pytest.mark.parametrize("claim", [np.nan, np.inf])
def test_bounds_that_claim_nothing_prove_nothing(claim):
    field = Solid(BALL)
    field.bounds = lambda low, high: (np.full(len(low), -claim, np.float32), np.full(len(low), claim, np.float32))
    assert_same(isosurface(field, resolution=20), isosurface(field.__call__, resolution=20))


@pytest.mark.parametrize("radius", [9.0, -9.0])
def test_all_inside_and_all_outside_give_empty_meshes_unseen(radius):
    field = Solid(((0, 0, 0), radius, (1, 1, 1)))
    mesh = isosurface(field, resolution=40)
    assert mesh.vertices.shape == mesh.faces.shape == (0, 3)
    assert field.evaluated == 0


@pytest.mark.parametrize("spoilt", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_do_not_crash(spoilt):
    def spoil(values):
        return np.where(values > 0.05, np.float32(spoilt), values)

    field = Solid(BALL, spoil=spoil)
    field.slope = np.inf
    assert_same(isosurface(field, resolution=24), isosurface(field.__call__, resolution=24))


def test_values_equal_to_the_level_are_outside():
    def field(x, y, z):
        values = np.full((len(x), len(y), len(z)), -1, np.float32)
        values[3, 3, 3] = np.float32(1.386)  # a little above 1.386 itself
        return values

    assert len(isosurface(field, resolution=8, level=1.386).faces) == 8
    assert not len(isosurface(field, resolution=8, level=float(np.float32(1.386))).faces)

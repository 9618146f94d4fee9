import numpy as np
import pytest
import trimesh

from hdbench.geometry.isosurface import isosurface, lattice_axes


def sphere(center, radius):
    def field(x, y, z):
        squares = ((axis - c) ** 2 for axis, c in zip((x, y, z), center, strict=True))
        a, b, c = squares
        return (radius - np.sqrt(a[:, None, None] + b[None, :, None] + c[None, None, :])).astype(np.float32)

    return field


def test_sphere_has_its_radius_place_and_volume_and_looks_outward():
    center, radius = (0.1, -0.05, 0.02), 0.3
    mesh = isosurface(sphere(center, radius), resolution=64)
    step = 1 / 63
    distances = np.linalg.norm(mesh.vertices - np.float32(center), axis=1)
    assert np.abs(distances - radius).max() < step**2  # linear interpolation errs by the curvature's share
    solid = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    assert solid.is_watertight
    assert solid.volume == pytest.approx(4 / 3 * np.pi * radius**3, rel=5e-3)  # positive: fronts outward


def test_level_moves_the_surface():
    mesh = isosurface(sphere((0, 0, 0), 0.3), resolution=48, level=0.1)
    assert np.linalg.norm(mesh.vertices, axis=1).max() == pytest.approx(0.2, abs=1e-3)


def test_cropping_changes_nothing():
    """The crop is there for speed; without it scikit-image sees the whole lattice."""
    from skimage.measure import marching_cubes

    field = sphere((0.2, 0.0, -0.3), 0.12)
    mesh = isosurface(field, resolution=40)
    vertices, faces, _, _ = marching_cubes(field(*lattice_axes(40)), 0.0)
    expected = trimesh.Trimesh(vertices / 39 - 0.5, faces[:, ::-1], process=False)
    np.testing.assert_allclose(mesh.vertices, expected.vertices, atol=2e-6)
    np.testing.assert_array_equal(mesh.faces, expected.faces)


def test_box_may_be_any():
    bounds = ((0.0, -2.0, 1.0), (4.0, 0.0, 2.5))
    mesh = isosurface(sphere((2.0, -1.0, 1.75), 0.6), resolution=50, bounds=bounds)
    np.testing.assert_allclose(mesh.vertices.min(0), [1.4, -1.6, 1.15], atol=2e-3)
    np.testing.assert_allclose(mesh.vertices.max(0), [2.6, -0.4, 2.35], atol=2e-3)


def test_surface_is_open_at_the_box():
    mesh = isosurface(sphere((0.5, 0, 0), 0.3), resolution=32)
    assert mesh.vertices[:, 0].max() == np.float32(0.5)
    assert not trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).is_watertight


@pytest.mark.parametrize("value", [-1.0, 1.0, 0.0, np.nan])
def test_field_without_a_surface_gives_an_empty_mesh(value):
    mesh = isosurface(lambda x, y, z: np.full((len(x), len(y), len(z)), value, np.float32), resolution=8)
    assert mesh.vertices.shape == (0, 3)
    assert mesh.faces.shape == (0, 3)


def test_lattice_needs_a_cell():
    with pytest.raises(ValueError, match="resolution=1"):
        isosurface(sphere((0, 0, 0), 0.3), resolution=1)
    assert isosurface(sphere((0.5, 0.5, 0.5), 0.6), resolution=2).faces.shape == (1, 3)

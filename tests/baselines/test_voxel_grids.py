from types import MappingProxyType

import numpy as np
import pytest
import trimesh
from golden import GOLDEN, needs_golden
from hdbench_baselines.placement import Placement
from hdbench_baselines.voxel.recipe import GridRecipe, SamplingRecipe
from hdbench_baselines.voxel.voxels import grid_surface, pitch, shape_of, surface_grid, voxelize, voxelize_all

from hdbench.datasets.base import Dataset
from hdbench.errors import HdbenchError
from hdbench.method import Context
from hdbench.progress import Progress
from hdbench.shapes import Mesh, PointCloud
from hdbench.shapes import Sequence as Frames

SIDES = np.array([2.0, 1.0, 0.1])
CENTER = np.array([0.0, 3.0, 0.0])
TRAVEL = np.array([0.25, 0.0, 0.0])
VALUES = SamplingRecipe(binary=False)
BLOCKS = SamplingRecipe(binary=True)


class Slabs(Dataset):
    """Thin slabs: meshes, or sequences of slabs that travel along x."""

    name, category = "slabs", "slab"
    skipped = MappingProxyType({})

    def __init__(self, frames=None, names=("slab",)):
        self.frames, self.names = frames, names
        self.kind = "mesh" if frames is None else "sequence"
        self.asked = 0

    def ids(self, split):
        return self.names if split == "train" else ()

    def shape(self, name):
        if name == "empty":
            return Mesh(np.zeros((0, 3)), np.zeros((0, 3)))
        if name == "cloud":
            return PointCloud(np.random.default_rng(0).normal(size=(8, 3)))
        count = {"short": 2}.get(name, self.frames)
        slabs = tuple(self.slab(frame) for frame in range(count or 1))
        return slabs[0] if count is None else Frames(slabs)

    def slab(self, frame):
        box = trimesh.creation.box(SIDES)
        return Mesh(box.vertices + CENTER + frame * TRAVEL, box.faces)

    def occupancy(self, name, points, *, frame=0):
        self.asked += len(points)
        return (np.abs(points - CENTER - frame * TRAVEL) <= SIDES / 2).all(1)

    def fingerprint(self):
        return {}


def recipe(**fields):
    return GridRecipe(**{"placement": "box", "content": "share", "resolution": 16, "subdivisions": 3, **fields})


def context(folder):
    folder.mkdir(parents=True, exist_ok=True)
    return Context("cpu", Progress(), folder, 1, 0)


def test_share_is_that_of_all_places_of_all_voxels():
    dataset, size, parts = Slabs(), 16, 3
    found = voxelize(dataset, "slab", recipe(exponent=1.0), seed=0).values[0]
    asked = dataset.asked
    fine = (np.arange(size * parts) - (size * parts - 1) / 2) * pitch(size) / parts
    places = np.stack(np.meshgrid(fine, fine, fine, indexing="ij"), -1).reshape(-1, 3)
    inside = dataset.occupancy("slab", Placement(tuple(CENTER), 0.475).to_dataset(places))
    naive = inside.reshape(size, parts, size, parts, size, parts).mean((1, 3, 5))
    np.testing.assert_allclose(found, 2 * naive - 1, atol=1e-6)
    assert 0 < (found > -1).mean() < 0.2
    assert asked < len(places) / 4


def test_exponent_raises_what_is_thin():
    values = [voxelize(Slabs(), "slab", recipe(exponent=exponent), seed=0).values[0] for exponent in (1.0, 0.5)]
    shares = (values[0] + 1) / 2
    np.testing.assert_allclose(values[1], 2 * np.sqrt(shares) - 1, atol=1e-6)


def test_shape_comes_back_where_it_was():
    voxelized = voxelize(Slabs(), "slab", recipe(resolution=24), seed=0)
    mesh = shape_of(voxelized.values, voxelized.placement, VALUES, sequence=False)
    lowest, highest = mesh.vertices.min(0), mesh.vertices.max(0)
    voxel = 2 / 23
    np.testing.assert_allclose((lowest + highest) / 2, CENTER, atol=0.01)
    np.testing.assert_allclose(highest - lowest, SIDES, atol=1.5 * voxel)


def test_small_loose_parts_are_left_out():
    grid = np.full((12, 12, 12), -1, np.float32)
    grid[2:8, 2:8, 2:8] = grid[10, 10, 10] = 1
    extents = [
        np.ptp(shape_of(grid[None], Placement((0, 0, 0), 1.0), sampling, sequence=False).vertices, axis=0)
        for sampling in (VALUES, VALUES.model_copy(update={"smallest_part": 0.05}))
    ]
    np.testing.assert_allclose(extents, np.outer([9, 6], np.full(3, pitch(12))), rtol=1e-5)


def test_sequence_has_one_placement_and_keeps_its_travel():
    voxelized = voxelize(Slabs(frames=4), "slab", recipe(), seed=0)
    assert voxelized.values.shape == (4, 16, 16, 16)
    sequence = shape_of(voxelized.values, voxelized.placement, VALUES, sequence=True)
    middles = [(frame.vertices.min(0) + frame.vertices.max(0))[0] / 2 for frame in sequence.frames]
    np.testing.assert_allclose(middles, [0, 0.25, 0.5, 0.75], atol=0.03)


def test_surface_grid_is_trimeshs_in_the_middle():
    ball = trimesh.creation.icosphere(3, 0.3)
    grid, middle = surface_grid(Mesh(ball.vertices + np.array([0.1, 0, 0]), ball.faces), 24)
    distances = np.linalg.norm(np.stack(np.nonzero(grid), 1) - 11.5, axis=1) * pitch(24)
    assert grid[12, 12, 12]
    assert distances.max() < 0.3 + 1.5 * pitch(24)
    radius = (grid.sum() * 3 / 4 / np.pi) ** (1 / 3) * pitch(24)
    assert 0.3 < radius < 0.3 + pitch(24)
    np.testing.assert_allclose(middle, [0.1, 0, 0], atol=pitch(24))


def test_surface_grid_keeps_thin_slabs_and_places_them():
    voxelized = voxelize(Slabs(), "slab", recipe(content="surface", placement="vertices", resolution=24), seed=0)
    assert set(np.unique(voxelized.values)) == {-1, 1}
    mesh = shape_of(voxelized.values, voxelized.placement, BLOCKS, sequence=False)
    np.testing.assert_allclose((mesh.vertices.min(0) + mesh.vertices.max(0)) / 2, CENTER, atol=1e-5)


def test_surface_grid_of_too_many_voxels_loses_its_outermost_layers():
    box = trimesh.creation.box((1.0, 0.5, 0.5))
    grid, middle = surface_grid(Mesh(box.vertices, box.faces), 24)  # 25 voxels along x
    assert grid.shape == (24, 24, 24)
    assert grid.any((1, 2)).all()
    assert abs(middle[0]) < pitch(24)


@needs_golden
@pytest.mark.parametrize("index", range(3))
def test_binary_surface_is_the_originals(index):
    with np.load(GOLDEN / "norm" / "hd_voxel_to_mesh.npz", allow_pickle=False) as stored:
        grid, expected = stored["grids"][index], stored[f"raw_vertices_{index}"]
    mesh = grid_surface(grid, level=0.0, binary=True)
    own = (mesh.vertices.astype(np.float64) + 0.475) / pitch(len(grid))

    def ordered(vertices):
        return np.array(sorted(map(tuple, np.round(vertices * 2).astype(int))))

    assert np.abs(own * 2 - np.round(own * 2)).max() < 1e-5  # all half-way between voxel centres
    np.testing.assert_array_equal(ordered(own), ordered(expected))


def test_surface_is_closed_and_faces_outward():
    x, y, z = np.mgrid[0:8, 0:8, 0:8]
    grid = np.sin(x / 2 + y / 3 + z / 5).astype(np.float32)  # inside reaches the border as well
    for binary in (True, False):
        mesh = grid_surface(grid, level=0.0, binary=binary)
        solid = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
        assert solid.is_watertight
        assert solid.volume > 0


def test_empty_grid_has_no_surface():
    assert len(grid_surface(np.full((4, 4, 4), -1, np.float32), level=0.0, binary=True).faces) == 0


def test_what_cannot_be_voxelised_is_listed(tmp_path):
    collection = voxelize_all(
        Slabs(names=("slab", "empty", "cloud")), ("slab", "empty", "cloud"), recipe(), context(tmp_path)
    )
    assert collection.values.shape == (1, 1, 16, 16, 16)
    assert set(collection.left_out) == {"empty", "cloud"}
    assert "encloses nothing" in collection.left_out["cloud"]
    with pytest.raises(HdbenchError, match=r"empty, no faces"):
        voxelize_all(Slabs(), ("empty",), recipe(), context(tmp_path / "none"))


def test_sequences_of_different_length_are_refused(tmp_path):
    with pytest.raises(HdbenchError, match="short has 2 frames where slab has 4"):
        voxelize_all(Slabs(frames=4), ("slab", "short"), recipe(), context(tmp_path))


def test_voxelising_goes_on_where_it_was(tmp_path):
    names = ("a", "b", "c")
    first = voxelize_all(Slabs(), names, recipe(unit=1), context(tmp_path))
    (tmp_path / "voxels" / "000001.safetensors").unlink()
    dataset, whole = Slabs(), Slabs()
    again = voxelize_all(dataset, names, recipe(unit=1), context(tmp_path))
    voxelize_all(whole, ("b",), recipe(), context(tmp_path / "other"))
    assert dataset.asked == whole.asked
    np.testing.assert_array_equal(first.values, again.values)
    assert first.placements == again.placements

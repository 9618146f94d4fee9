from pathlib import Path

import numpy as np
import pytest
import torch
from hdbench_baselines.hyperdiffusion.fields import FieldLayout, lattice_field
from hdbench_baselines.hyperdiffusion.sheared import sheared_isosurface, sheared_points, sheared_triangles
from pydantic import ValidationError

from hdbench.geometry.isosurface import isosurface

FOLDER = Path(__file__).resolve().parents[2].parent / "shared" / "golden" / "hyperdiffusion"
needs_golden = pytest.mark.skipif(not FOLDER.is_dir(), reason="the golden data are not beside this checkout")
CASES = [
    ("mlp3d", "grid_N24_level1.386", 24, 1.386, None),
    ("mlp3d", "grid_N20_level0", 20, 0.0, None),
    ("mlp4d", "grid_N20_level0_t1", 20, 0.0, 1.0),
    ("mlp4d", "grid_N22_level0_t15", 22, 0.0, 15.0),
    ("mlp4d", "grid_N12_level0_t5", 12, 0.0, 5.0),
]


@needs_golden
@pytest.mark.parametrize(("name", "grid", "resolution", "level", "time"), CASES)
def test_sheared_lattices_and_meshes_are_the_originals(name, grid, resolution, level, time):
    with np.load(FOLDER / f"{name}_io.npz", allow_pickle=False) as stored:
        coordinates, values, vertices, faces = (
            stored[f"{grid}_{what}"] for what in ("coords", "values", "verts", "faces")
        )
        vector = stored["flat"]
    np.testing.assert_array_equal(sheared_points(resolution, 0, resolution**3).numpy(), coordinates[:, :3])
    from_values = sheared_triangles(values, level)
    np.testing.assert_array_equal(from_values.vertices, vertices)
    np.testing.assert_array_equal(from_values.faces, faces[:, [0, 2, 1]])
    layout = FieldLayout((128, 128, 128), 4, dimensions=3 if time is None else 4)
    mesh = sheared_isosurface(layout, vector, resolution=resolution, level=level, time=time)
    # The stored values are the original's to 1e-4, so its surface may move by that over the field's slope.
    np.testing.assert_allclose(mesh.vertices, vertices, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(mesh.faces, from_values.faces)


def test_points_come_in_any_portions_and_some_of_the_papers_wrap_around():
    whole = sheared_points(20, 0, 8000)
    assert torch.equal(torch.cat([sheared_points(20, first, 3000) for first in range(0, 8000, 3000)]), whole)
    last, wrapped = 356**3 * 7 // 8, []
    points, index = sheared_points(356, last, 356**3), torch.arange(last, 356**3)
    for axis, meant in enumerate((index // 356**2, index // 356 % 356)):
        wrapped.append(int(((points[:, axis] + 0.5) * 355 - meant).abs().gt(2).sum()))
    assert wrapped == [2, 90]  # of the 2 and 316 counted in all of the original's lattice


def test_sheared_surface_is_near_the_right_one():
    layout = FieldLayout((12,), 1)
    vector = (layout.initial(np.random.default_rng(3)) * 3).numpy()
    level = float(np.median(lattice_field(layout, vector)(*[np.linspace(-0.5, 0.5, 9, dtype=np.float32)] * 3)))
    sheared = sheared_isosurface(layout, vector, resolution=16, level=level)
    regular = isosurface(lattice_field(layout, vector), resolution=16, level=level)
    gaps = np.linalg.norm(sheared.vertices[:, None] - regular.vertices, axis=2)
    assert 0 < gaps.min(1).max() < 4 / 15  # voxels, with the overshoot at the border
    normals = [np.cross(*np.diff(m.vertices[m.faces], axis=1).transpose(1, 0, 2)).sum(0) for m in (sheared, regular)]
    assert np.dot(*normals) > 0


def test_field_without_a_surface_gives_an_empty_mesh():
    layout = FieldLayout((4,), 0)
    for constant in (np.nan, 1.0):
        mesh = sheared_isosurface(layout, np.full(layout.count, constant, np.float32), resolution=6, level=50.0)
        assert mesh.faces.shape == (0, 3)


def test_recipe_has_the_switch():
    from hdbench_baselines.hyperdiffusion.recipe import SamplingRecipe

    assert SamplingRecipe().grid == "regular"
    assert SamplingRecipe(grid="sheared").grid == "sheared"
    with pytest.raises(ValidationError):
        SamplingRecipe(grid="tilted")

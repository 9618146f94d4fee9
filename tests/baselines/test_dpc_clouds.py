from pathlib import Path

import numpy as np
import pytest
from hdbench_baselines.dpc.clouds import CloudsRecipe, Placement, centers_and_scales, training_clouds

from hdbench.datasets.base import Dataset
from hdbench.errors import HdbenchError
from hdbench.method import Context
from hdbench.progress import Progress
from hdbench.shapes import Mesh, PointCloud

GOLDEN = Path(__file__).resolve().parents[2].parent / "shared" / "golden" / "norm" / "dpc_scale_modes.npz"


class Clouds(Dataset):
    """Gaussian clouds: number i has i + 1 times the spread of the first and stands i to the right."""

    name, category, kind, skipped = "clouds", "cloud", "points", {}

    def __init__(self, sizes=(300, 300, 300), broken=()):
        self.sizes, self.broken = sizes, broken

    def ids(self, split):
        return tuple(f"c{index}" for index in range(len(self.sizes))) if split == "train" else ()

    def shape(self, name):
        index = int(name[1:])
        if index in self.broken:
            return PointCloud(np.full((5, 3), np.nan))
        points = np.random.default_rng(index).normal(size=(self.sizes[index], 3))
        return PointCloud(points * (index + 1) + [index, 0, 0])

    def occupancy(self, name, points, *, frame=0):
        raise NotImplementedError

    def fingerprint(self):
        return {}


def context(tmp_path, workers=1):
    return Context("cpu", Progress(), tmp_path, workers, seed=0)


def clouds(tmp_path, dataset=None, workers=1, **recipe):
    dataset = dataset or Clouds()
    return training_clouds(dataset, dataset.ids("train"), CloudsRecipe(**recipe), context(tmp_path, workers))


@pytest.mark.skipif(not GOLDEN.exists(), reason="the golden data are not beside this checkout")
@pytest.mark.parametrize("mode", ["global_unit", "shape_unit", "shape_bbox", "shape_half", "shape_34", "none"])
def test_scale_modes_are_the_originals(mode):
    with np.load(GOLDEN, allow_pickle=False) as golden:
        raw = golden["h5_test"][golden["order_ids"]]
        centers, scales = centers_and_scales(raw, mode, deviation=float(golden["stats_std"]))
        name = "None" if mode == "none" else mode
        np.testing.assert_allclose(centers, np.broadcast_to(golden[f"{name}_shift"], centers.shape), atol=1e-6)
        np.testing.assert_allclose(scales, golden[f"{name}_scale"], atol=1e-6)
        np.testing.assert_allclose((raw - centers) / scales, golden[f"{name}_pointclouds"], atol=1e-6)


def test_dataset_mode_has_mean_0_and_deviation_1(tmp_path):
    found = clouds(tmp_path, scale="dataset", pool=300)
    np.testing.assert_allclose(found.points.mean((0, 1)), 0, atol=1e-6)
    assert found.points.std() == pytest.approx(1, abs=0.15)  # but for the spread between the means of the axes
    back = np.stack([found.placement.to_dataset(cloud) for cloud in found.points])
    expected = np.stack([Clouds().shape(name).points for name in ("c0", "c1", "c2")])
    np.testing.assert_allclose(np.sort(back[..., 0]), np.sort(expected[..., 0]), atol=1e-5)


def test_samples_are_put_at_the_mean_centre_and_median_scale(tmp_path):
    placement = clouds(tmp_path, scale="shape_unit", pool=300).placement
    np.testing.assert_allclose(placement.center, [1, 0, 0], atol=0.3)
    assert placement.scale == pytest.approx(2, rel=0.1)
    np.testing.assert_allclose(Placement((1.0, 0, 0), 2.0).to_dataset(np.ones((1, 3), np.float32)), [[3, 2, 2]])


def test_points_come_in_random_order(tmp_path):
    """A cloud whose points are sorted along x: neighbours in the pool are not neighbours in space."""

    class Sorted(Clouds):
        def shape(self, name):
            return PointCloud(np.sort(super().shape(name).points, axis=0))

    found = clouds(tmp_path, Sorted(), scale="none", pool=300).points[0, :, 0]
    np.testing.assert_array_equal(np.sort(found), np.sort(Sorted().shape("c0").points[:, 0]))
    assert abs(np.corrcoef(found[:-1], found[1:])[0, 1]) < 0.2


def test_short_clouds_shorten_the_pool(tmp_path):
    assert clouds(tmp_path, Clouds((300, 120, 300)), pool=200).points.shape == (3, 120, 3)
    assert clouds(tmp_path, Clouds((300, 120, 300)), pool=50).points.shape == (3, 50, 3)


def test_broken_shapes_are_left_out_with_their_reason(tmp_path):
    found = clouds(tmp_path, Clouds(broken=(1,)), pool=100)
    assert len(found.points) == 2
    assert list(found.left_out) == ["c1"]
    assert "finite" in found.left_out["c1"]
    for dataset in (Clouds(broken=(0, 1, 2)), Clouds(())):
        with pytest.raises(HdbenchError, match="no shape to learn from") as caught:
            clouds(tmp_path, dataset)
        assert "\n" not in str(caught.value)


def test_meshes_are_sampled_on_their_surface(tmp_path):
    class Boxes(Clouds):
        kind = "mesh"

        def shape(self, name):
            import trimesh

            box = trimesh.creation.box((2, 2, 2))
            return Mesh(box.vertices, box.faces)

    found = clouds(tmp_path, Boxes(), pool=500, scale="none").points
    assert found.shape == (3, 500, 3)
    np.testing.assert_allclose(np.abs(found).max(2), 1, atol=1e-6)
    assert not np.array_equal(found[0], found[1])


def test_number_of_processes_changes_nothing(tmp_path):
    dataset = Clouds((60,) * 20)
    alone, together = (clouds(tmp_path, dataset, workers, pool=50) for workers in (1, 2))
    np.testing.assert_array_equal(alone.points, together.points)
    assert alone.placement == together.placement

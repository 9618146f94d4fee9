from pathlib import Path

import numba
import numpy as np
import pytest
import torch

from hdbench.geometry import point_operations
from hdbench.geometry.point_operations import (
    average_into_voxels,
    ball_query,
    devoxelise,
    farthest_points,
    group_maximum,
    interpolate,
    three_nearest,
    voxelise,
)

GOLDEN = Path(__file__).resolve().parents[2].parent / "shared" / "golden" / "pvd" / "ops.npz"
needs_golden = pytest.mark.skipif(not GOLDEN.is_file(), reason="the golden data are not beside the repository")


def squared_distance(a, b):
    dx, dy, dz = (np.float32(p) - np.float32(q) for p, q in zip(a, b, strict=True))
    return np.float32(np.float32(dx * dx + dy * dy) + dz * dz)


def naive_farthest(points, count, start):
    distances = [np.float32(np.inf)] * len(points)
    chosen = [start]
    while len(chosen) < count:
        distances = [min(d, squared_distance(p, points[chosen[-1]])) for d, p in zip(distances, points, strict=True)]
        chosen.append(max(range(len(points)), key=lambda i: (distances[i], -i)))
    return chosen


def naive_ball(centre, points, radius, count, boundary):
    closed_limit, open_limit = np.float32(radius**2), np.float32(radius) * np.float32(radius)
    distances = [squared_distance(centre, p) for p in points]
    hits = [i for i, d in enumerate(distances) if (d <= closed_limit if boundary == "closed" else d < open_limit)]
    hits = hits[:count]
    return hits + [hits[0] if hits else 0] * (count - len(hits))


def clouds(seed, count, size):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(count, size, 3)).astype(np.float32))


def on_a_lattice(seed, count, size):
    """Few distinct, exactly equidistant coordinates: ties and points on the very edge of balls everywhere."""
    return torch.from_numpy(np.random.default_rng(seed).integers(-2, 3, (count, size, 3)).astype(np.float32) / 4)


@pytest.fixture(params=["kernel", "torch"])
def path(request, monkeypatch):
    """Both ways: the CPU kernels, and the torch code other devices take (run here on CPU tensors)."""
    if request.param == "torch":
        monkeypatch.setattr(point_operations, "KERNEL_DEVICE", "none")
    return request.param


@pytest.mark.usefixtures("path")
class TestFarthestPoints:
    @pytest.mark.parametrize("make", [clouds, on_a_lattice])
    @pytest.mark.parametrize(("size", "count", "start"), [(1, 1, 0), (63, 20, 5), (64, 64, 63), (130, 30, 0)])
    def test_agrees_with_a_naive_loop(self, make, size, count, start):
        points = make(size, 3, size)
        expected = [naive_farthest(cloud.numpy(), count, start) for cloud in points]
        assert farthest_points(points, count, start=start).tolist() == expected

    def test_a_cloud_of_one_place_repeats_the_first_index(self):
        assert farthest_points(torch.ones(1, 10, 3), 4, start=3).tolist() == [[3, 0, 0, 0]]

    def test_a_start_outside_the_cloud_is_refused(self):
        with pytest.raises(ValueError, match="start=5"):
            farthest_points(torch.zeros(1, 5, 3), 2, start=5)


@pytest.mark.usefixtures("path")
class TestBallQuery:
    @pytest.mark.parametrize("boundary", ["closed", "open"])
    @pytest.mark.parametrize(("make", "radius"), [(clouds, 0.8), (on_a_lattice, 0.5), (on_a_lattice, 0.25)])
    @pytest.mark.parametrize(("size", "count"), [(1, 3), (63, 8), (64, 64), (200, 16)])
    def test_agrees_with_a_naive_loop(self, boundary, make, radius, size, count):
        points, centres = make(1, 2, size), make(2, 2, 9)
        expected = [
            [naive_ball(centre, cloud, radius, count, boundary) for centre in cloud_centres]
            for cloud_centres, cloud in zip(centres.numpy(), points.numpy(), strict=True)
        ]
        assert ball_query(centres, points, radius=radius, count=count, boundary=boundary).tolist() == expected

    def test_only_a_closed_ball_holds_its_edge(self):
        centre, points = torch.zeros(1, 1, 3), torch.tensor([[[2.0, 0, 0], [0.5, 0, 0], [0.25, 0, 0]]])
        assert ball_query(centre, points, radius=0.5, count=2).tolist() == [[[1, 2]]]
        assert ball_query(centre, points, radius=0.5, count=2, boundary="open").tolist() == [[[2, 2]]]

    def test_an_empty_ball_holds_index_zero(self):
        assert ball_query(torch.zeros(1, 1, 3), torch.full((1, 5, 3), 9.0), radius=1, count=3).tolist() == [[[0] * 3]]


@pytest.mark.usefixtures("path")
class TestThreeNearest:
    def test_agrees_with_sorting_all_distances(self):
        queries, points = clouds(1, 2, 50), clouds(2, 2, 130)
        indices, weights = three_nearest(queries, points)
        distances = ((queries[:, :, None].double() - points[:, None].double()) ** 2).sum(-1)
        nearest = distances.sort(dim=2)
        inverse = 1 / nearest.values[..., :3]
        assert torch.equal(indices, nearest.indices[..., :3])
        torch.testing.assert_close(weights, (inverse / inverse.sum(-1, keepdim=True)).float())

    def test_a_query_on_a_point_takes_its_feature(self):
        points, features = clouds(3, 1, 20), torch.arange(20.0)[None, None]
        # 1e-10 is the clamp on squared distances; the other two weigh about 1e-10 in 1.
        torch.testing.assert_close(interpolate(features, three_nearest(points, points)), features)

    def test_fewer_than_three_points_are_refused(self):
        with pytest.raises(ValueError, match="three points"):
            three_nearest(torch.zeros(1, 4, 3), torch.zeros(1, 2, 3))


@pytest.mark.usefixtures("path")
class TestVoxels:
    def test_averages_are_those_of_a_naive_loop(self):
        points, features = clouds(4, 2, 40), torch.from_numpy(np.random.default_rng(5).normal(size=(2, 3, 40)))
        voxels = voxelise(points, 4)
        grid = average_into_voxels(features.float(), voxels)
        expected = np.zeros((2, 3, 4, 4, 4))
        for cloud in range(2):
            members = {}
            for i, (x, y, z) in enumerate(np.rint(voxels.coordinates[cloud].numpy()).astype(int)):
                members.setdefault((x, y, z), []).append(i)
            for (x, y, z), inside in members.items():
                expected[cloud, :, x, y, z] = features[cloud][:, inside].mean(1)
        np.testing.assert_allclose(grid, expected, atol=1e-6)

    def test_trilinear_interpolation_is_exact_for_linear_functions(self):
        voxels = voxelise(clouds(6, 2, 100), 8)
        x, y, z = torch.meshgrid(*[torch.arange(8.0)] * 3, indexing="ij")
        grid = (2 * x - 3 * y + 5 * z + 1).expand(2, 1, 8, 8, 8)
        expected = voxels.coordinates @ torch.tensor([2.0, -3, 5]) + 1
        torch.testing.assert_close(devoxelise(grid, voxels)[:, 0], expected)

    def test_a_cloud_of_one_place_lies_in_the_middle(self):
        assert voxelise(torch.full((1, 4, 3), 7.0), 8).coordinates.unique().tolist() == [4.0]

    def test_gradients_are_those_of_finite_differences(self):
        voxels, nearest = voxelise(clouds(7, 2, 12), 3), three_nearest(clouds(8, 2, 5), clouds(7, 2, 12))
        generator = torch.Generator().manual_seed(0)
        for function, layout in [
            (lambda values: average_into_voxels(values, voxels), (2, 2, 12)),
            (lambda values: devoxelise(values, voxels), (2, 2, 3, 3, 3)),
            (lambda values: interpolate(values, nearest), (2, 2, 12)),
        ]:
            values = torch.randn(layout, generator=generator, requires_grad=True)
            direction = torch.randn(layout, generator=generator)
            outward = torch.randn(function(values).shape, generator=generator)
            (function(values) * outward).sum().backward()
            # The functions are linear, so the slope along a direction is their value there.
            torch.testing.assert_close((values.grad * direction).sum(), (function(direction) * outward).sum())


@pytest.mark.usefixtures("path")
class TestGroupMaximum:
    def test_values_and_gradients_agree_with_a_naive_loop(self):
        sizes = torch.tensor([1, 5, 2, 9])
        rows = torch.from_numpy(np.random.default_rng(11).integers(-2, 3, (17, 4)).astype(np.float32))  # with ties
        rows.requires_grad_()
        outward = torch.arange(16.0).reshape(4, 4)
        highest = group_maximum(rows, sizes)
        (highest * outward).sum().backward()
        gradient = torch.zeros(17, 4)
        for index, part in enumerate(torch.arange(17).split(sizes.tolist())):
            for channel in range(4):
                column = rows[part, channel].tolist()
                assert highest[index, channel].item() == max(column)
                gradient[part[column.index(max(column))], channel] = outward[index, channel]
        assert torch.equal(rows.grad, gradient)


@needs_golden
@pytest.mark.usefixtures("path")
class TestGolden:
    """What PVD's own kernels compute. Indices are exact, values to 2e-6 (the recording's stated tolerance)."""

    @pytest.fixture
    def recorded(self):
        with np.load(GOLDEN, allow_pickle=False) as data:
            return {name: torch.from_numpy(data[name]) for name in data}

    def test_farthest_points(self, recorded):
        points = recorded["points"].mT.contiguous()
        chosen = farthest_points(points, 64)
        assert torch.equal(chosen, recorded["fps_idx"].long())
        centres = torch.stack([cloud[index] for cloud, index in zip(points, chosen, strict=True)])
        assert torch.equal(centres.mT, recorded["centers"])

    @pytest.mark.parametrize(("radius", "count"), [(0.2, 32), (0.4, 32), (0.8, 8)])
    def test_ball_query(self, recorded, radius, count):
        centres, points = recorded["centers"].mT, recorded["points"].mT
        found = ball_query(centres, points, radius=radius, count=count, boundary="open")
        assert torch.equal(found, recorded[f"ball_idx_r{radius}_u{count}"].long())

    def test_three_nearest(self, recorded):
        nearest = three_nearest(recorded["points"].mT, recorded["centers"].mT)
        assert torch.equal(nearest.indices.mT, recorded["nn3_idx"].long())
        torch.testing.assert_close(nearest.weights.mT, recorded["nn3_w"], atol=2e-6, rtol=0)
        torch.testing.assert_close(
            interpolate(recorded["center_feats"], nearest), recorded["nn3_out"], atol=2e-6, rtol=0
        )

    @pytest.mark.parametrize("resolution", [8, 16])
    def test_voxels(self, recorded, resolution):
        name = f"vox{resolution}"
        voxels = voxelise(recorded["points"].mT, resolution)
        torch.testing.assert_close(voxels.coordinates.mT, recorded[f"{name}_norm_coords"], atol=2e-6, rtol=0)
        assert torch.equal(voxels.cells, recorded[f"{name}_ind"].long())
        grid = average_into_voxels(recorded["feats"], voxels)
        torch.testing.assert_close(grid.flatten(2), recorded[f"{name}_out"], atol=2e-6, rtol=0)
        grid = recorded[f"devox{resolution}_feats"].unflatten(2, (resolution,) * 3)
        # From the recorded coordinates: an ulp of ours would pass through the grid's slopes.
        voxels = voxels._replace(coordinates=recorded[f"{name}_norm_coords"].mT)
        torch.testing.assert_close(devoxelise(grid, voxels), recorded[f"devox{resolution}_out"], atol=2e-6, rtol=0)


def test_no_bit_depends_on_batch_or_threads():
    points, features = clouds(9, 5, 300), clouds(10, 5, 300).mT.contiguous()

    def everything(rows):
        chosen = points[rows]
        voxels, centres = voxelise(chosen, 6), chosen[:, :40].contiguous()
        nearest = three_nearest(chosen, centres)
        return [
            farthest_points(chosen, 50),
            ball_query(centres, chosen, radius=0.5, count=16),
            *nearest,
            voxels.coordinates,
            average_into_voxels(features[rows], voxels),
            devoxelise(average_into_voxels(features[rows], voxels), voxels),
            interpolate(features[rows][..., :40], nearest),
        ]

    together = everything(slice(None))
    threads = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        alone = [torch.cat(parts) for parts in zip(*(everything(slice(i, i + 1)) for i in range(5)), strict=True)]
    finally:
        numba.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(together, alone, strict=True))

import filecmp
import json
from contextlib import contextmanager

import numpy as np
import pytest
import torch
import trimesh
from hdbench_baselines.dpc.clouds import Placement, TrainingClouds
from hdbench_baselines.dpc.method import DPC, Objective
from hdbench_baselines.dpc.network import DPCNetwork

from hdbench.conformance import ToySolids, check_method
from hdbench.datasets.base import Dataset, LearningView
from hdbench.errors import HdbenchError
from hdbench.method import Context
from hdbench.progress import Progress
from hdbench.shapes import Mesh, PointCloud, defect


class Boxes(Dataset):
    """Boxes of many proportions, longest side 2, centred on (0, 1, 0)."""

    name, category, kind, skipped = "boxes", "box", "mesh", {}

    def ids(self, split):
        return {"train": tuple(f"box-{i}" for i in range(6)), "val": (), "test": ("box-6",)}[split]

    def shape(self, name):
        box = trimesh.creation.box([2.0, 1.0 + 0.15 * int(name[4:]), 0.8])
        return Mesh(box.vertices + np.array([0, 1, 0]), box.faces)

    def occupancy(self, name, points, *, frame=0):
        raise NotImplementedError

    def fingerprint(self):
        return {}


@pytest.fixture(scope="module")
def recipe():
    return DPC.load_recipe("smoke")


def context(folder, workers=1):
    folder.mkdir(exist_ok=True, parents=True)
    return Context("cpu", Progress(), folder, workers=workers, seed=0)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory, recipe):
    folder = tmp_path_factory.mktemp("dpc")
    model = DPC()
    model.fit(LearningView(Boxes()), recipe, context(folder / "workspace"))
    model.save(folder / "model")
    return model, folder


@pytest.mark.parametrize("preset", ["smoke", "default", "paper"])
def test_presets_are_valid(preset):
    assert DPC.estimate_seconds(Boxes(), DPC.load_recipe(preset), 64) > 0


def test_paper_is_the_papers():
    recipe = DPC.load_recipe("paper")
    assert recipe.diffusion.build().alphas_cumprod[-1] == pytest.approx(0.3636, abs=1e-4)
    training = recipe.training
    assert [training.rate(step, 2832) for step in (0, 200_000, 399_999)] == pytest.approx([2e-3, 2e-3, 1e-4], rel=1e-3)
    assert training.rate(300_000, 2832) == pytest.approx(1.05e-3)
    assert training.ema is None


def test_default_models_stay_small():
    recipe = DPC.load_recipe("default")
    network = DPCNetwork(recipe.diffusion.build(), **dict(recipe.network))
    assert sum(parameter.numel() for parameter in network.parameters()) < 5_000_000


def test_keeps_the_contract(tmp_path):
    checks = check_method(DPC, workspace=tmp_path, progress=Progress())
    assert [check for check in checks if not check.passed] == []
    assert len(checks) >= 14


def test_sequences_are_refused():
    assert "sequences" in (DPC.supports(ToySolids("sequence")) or "")
    assert DPC.supports(ToySolids("mesh")) is None
    assert DPC.supports(ToySolids("points")) is None


def test_samples_are_clouds_where_the_data_are(fitted):
    model, folder = fitted
    samples = list(model.sample(range(8), 1, context(folder)))
    assert all(isinstance(sample, PointCloud) and defect(sample) is None for sample in samples)
    points = np.stack([sample.points for sample in samples])
    assert points.shape == (8, 2048, 3)
    np.testing.assert_allclose(points.mean((0, 1)), [0, 1, 0], atol=0.25)
    assert 0.3 < points.std() < 0.9  # of the training shapes' points: 0.7


def test_a_sample_hangs_on_its_index_alone(fitted):
    model, folder = fitted
    together = [sample.points for sample in model.sample(range(10), 1, context(folder))]
    for index in (9, 2, 0):
        (alone,) = model.sample([index], 1, context(folder))
        np.testing.assert_array_equal(alone.points, together[index])
    assert not np.array_equal(next(model.sample([0], 2, context(folder))).points, together[0])
    assert not np.array_equal(together[0], together[4])


def test_workers_change_no_bit(fitted):
    model, folder = fitted
    alone = list(model.sample([5, 0, 2], 1, context(folder)))
    together = list(model.sample([5, 0, 2], 1, context(folder, workers=2)))
    assert all(np.array_equal(a.points, b.points) for a, b in zip(alone, together, strict=True))


def test_saved_model_is_the_model(fitted, tmp_path):
    model, folder = fitted
    loaded = DPC.load(folder / "model", context(tmp_path))
    loaded.save(tmp_path / "again")
    for name in ("model.json", "model.safetensors"):
        assert filecmp.cmp(folder / "model" / name, tmp_path / "again" / name, shallow=False)
    first, second = (next(m.sample([1], 7, context(tmp_path))).points for m in (loaded, model))
    np.testing.assert_array_equal(first, second)
    assert loaded.report == model.report
    assert loaded.loss_curve()[-1][0] == 60


def test_model_remembers_how_it_was_made(fitted):
    _, folder = fitted
    report = json.loads((folder / "model" / "model.json").read_text(encoding="utf-8"))["report"]
    assert report["shapes"] == 6
    assert report["left_out"] == {}
    assert "moving average" in report["checkpoint_rule"]
    np.testing.assert_allclose(report["placement"]["center"], [0, 1, 0], atol=0.05)


class Killed(Exception):
    pass


class Impatient(Progress):
    """Ends the run when the training is half way."""

    @contextmanager
    def task(self, description, total, *, done=0):
        class Counting:
            left = total // 2 if "training DPC" in description else 10**9

            def advance(self, steps=1, note=""):
                self.left -= steps
                if self.left < 0:
                    raise Killed

        yield Counting()


def test_interrupted_fit_ends_with_the_same_bits(fitted, recipe, tmp_path):
    _, folder = fitted
    workspace = context(tmp_path / "workspace").workspace
    with pytest.raises(Killed):
        DPC().fit(Boxes(), recipe, Context("cpu", Impatient(), workspace, 1, 0))
    model = DPC()
    model.fit(Boxes(), recipe, context(workspace))
    model.save(tmp_path / "model")
    for name in ("model.json", "model.safetensors"):
        assert filecmp.cmp(folder / "model" / name, tmp_path / "model" / name, shallow=False)


class TestObjective:
    """Clouds that tell their number by their x, and their points' places in the pool by their y."""

    POOL = 40

    def objective(self, recipe, **changes):
        clouds = np.zeros((5, self.POOL, 3), np.float32)
        clouds[..., 0] = np.arange(5)[:, None]
        clouds[..., 1] = np.arange(self.POOL)
        whole = recipe.model_copy(
            update={
                "clouds": recipe.clouds.model_copy(update={"points": changes.pop("points", 12)}),
                "objective": recipe.objective.model_copy(update=changes),
            }
        )
        network = DPCNetwork(whole.diffusion.build(), **dict(whole.network))
        network.initialize(0)
        return Objective(network, whole, TrainingClouds(clouds, Placement(), {}), "cpu")

    def test_draws_distinct_points_of_the_clouds_asked_for(self, recipe):
        drawn = self.objective(recipe)._draw(torch.tensor([4, 0, 4]), torch.Generator().manual_seed(0))
        assert drawn.shape == (3, 12, 3)
        assert drawn[..., 0].unique(dim=1).flatten().tolist() == [4, 0, 4]
        assert all(len(cloud[:, 1].unique()) == 12 for cloud in drawn)
        assert not torch.equal(drawn[0], drawn[2])

    @pytest.mark.parametrize(("points", "groups", "expected"), [(13, 4, 12), (100, 1, 40), (100, 3, 39)])
    def test_takes_no_more_points_than_there_are(self, recipe, points, groups, expected):
        assert self.objective(recipe, points=points, time_steps=groups).points == expected

    def test_too_few_points_to_deal_out_are_refused(self, recipe):
        with pytest.raises(HdbenchError, match="time_steps = 20"):
            self.objective(recipe, points=12, time_steps=20)

    def test_spread_times_take_each_part_of_the_diffusion_once(self, recipe):
        times = self.objective(recipe, spread_times=True)._times(20, torch.Generator().manual_seed(0))
        assert sorted(times.tolist()) == list(range(20))
        assert times.tolist() != list(range(20))

    def test_independent_times_cover_the_diffusion(self, recipe):
        times = self.objective(recipe, spread_times=False)._times(2000, torch.Generator().manual_seed(0))
        assert times.unique().tolist() == list(range(20))

    def test_one_cloud_is_enough(self, recipe):
        loss = self.objective(recipe)(torch.tensor([3]), torch.Generator().manual_seed(0))
        assert torch.isfinite(loss)

    def test_loss_is_error_and_divergence(self, recipe):
        """Against the same noise drawn by hand."""
        objective = self.objective(recipe, kl_weight=0.5, time_steps=1, spread_times=False)
        rows, network = torch.tensor([1, 2]), objective.network
        noise = torch.Generator().manual_seed(3)
        points = objective._draw(rows, noise)
        mean, log_variance = network.encoder(points)
        latents = mean + torch.exp(log_variance / 2) * torch.randn(2, 16, generator=noise)
        times = torch.randint(20, (2,), generator=noise)
        epsilon = torch.randn(2, 12, 3, generator=noise)
        signal = torch.from_numpy(objective.diffusion.alphas_cumprod)[times][:, None, None].float()
        noisy = signal.sqrt() * points + (1 - signal).sqrt() * epsilon
        error = (network.denoise(noisy, times, latents) - epsilon).square().mean()
        expected = error + 0.5 * network.divergence(latents, log_variance).mean()
        torch.testing.assert_close(objective(rows, torch.Generator().manual_seed(3)), expected)

import filecmp
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hdbench_baselines.pvd import method
from hdbench_baselines.pvd.clouds import read_clouds
from hdbench_baselines.pvd.method import PVD, with_fixed_noise
from hdbench_baselines.pvd.pvcnn import PVCNN2
from hdbench_baselines.pvd.recipe import DataRecipe, NetworkRecipe, PVDRecipe
from hdbench_baselines.pvd.targets import expected_points

from hdbench.conformance import ToySolids, check_method
from hdbench.datasets.base import Dataset, LearningView
from hdbench.errors import HdbenchError
from hdbench.method import Context
from hdbench.progress import Progress
from hdbench.recipe import load_recipe
from hdbench.shapes import PointCloud, defect

PACKAGE = "hdbench_baselines.pvd"
GOLDEN = Path(__file__).resolve().parents[2].parent / "shared" / "golden"
needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="the golden data are not beside this checkout")


class Clouds(Dataset):
    """Given clouds, all of the training split."""

    name, category, kind = "clouds", "thing", "points"

    def __init__(self, clouds, reduction="first"):
        self.clouds = dict(enumerate(clouds))
        self.reduction = reduction
        self.skipped = {}

    def ids(self, split):
        return tuple(map(str, self.clouds)) if split == "train" else ()

    def shape(self, name):
        return PointCloud(self.clouds[int(name)])

    def occupancy(self, name, points, *, frame=0):
        raise NotImplementedError

    def fingerprint(self):
        return {}


def preset(name, *circumstances, **changes):
    return load_recipe(PVDRecipe, PACKAGE, name, circumstances=circumstances, changes=changes)


def context(folder, workers=1):
    folder.mkdir(exist_ok=True, parents=True)
    return Context("cpu", Progress(), folder, workers, seed=0)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pvd")
    model = PVD()
    model.fit(LearningView(ToySolids()), preset("smoke"), context(folder / "workspace"))
    model.save(folder / "model")
    return model, folder


def test_samples_follow_the_order_of_the_recipe(fitted, tmp_path):
    model, folder = fitted
    other = PVD.load(folder / "model", context(tmp_path))
    other.sample_by(PVD.load_recipe("smoke", changes={"sampling": {"order": 2}}))
    (first,), (second,) = (list(each.sample([0], 1, context(tmp_path))) for each in (model, other))
    assert not np.array_equal(first.points, second.points)


def test_paper_is_the_papers():
    recipe = preset("paper", "chair")
    assert recipe.network.size == type(recipe.network.size)()
    assert (recipe.data.cloud, recipe.data.pool, recipe.data.points) == (15000, 10000, 2048)
    assert recipe.fixed_noise
    assert not recipe.expected_targets
    training = recipe.training
    assert training.total_steps(2832) == 10_000 * (2832 // 16)
    assert (training.optimizer, training.betas, training.ema, training.clip_norm) == ("adam", (0.5, 0.999), None, None)
    assert training.rate(177 * 3, 2832) == pytest.approx(2e-4 * 0.998**3)
    sampling = recipe.sampling
    assert (sampling.sampler, sampling.steps, sampling.points) == ("ddpm", 1000, 2048)
    diffusion = recipe.diffusion.build()
    assert (diffusion.prediction, diffusion.variance) == ("epsilon", "fixed_small")
    assert diffusion.alphas_cumprod[-1] == pytest.approx(4.0e-5, rel=0.02)


def test_airplanes_have_a_schedule_of_their_own():
    airplane = preset("paper", "airplane").diffusion.build()
    assert airplane.alphas_cumprod[-1] == pytest.approx(4.85e-4, rel=0.01)
    assert (airplane.betas[100:] == 8e-3).all()
    assert airplane.betas[0] == pytest.approx(1e-5)


@pytest.mark.parametrize("name", ["smoke", "default", "paper"])
def test_presets_are_valid_and_tell_their_time(name):
    assert PVD.estimate_seconds(ToySolids(), preset(name), 64) > 0


def test_default_models_stay_small():
    network = PVCNN2(preset("default").network.size)
    assert sum(parameter.numel() for parameter in network.parameters()) < 5_000_000


def test_keeps_the_contract(tmp_path):
    checks = check_method(PVD, workspace=tmp_path, progress=Progress())
    assert {check.name: check.detail for check in checks if not check.passed} == {}


def test_a_pointwise_network_must_be_told_of_the_cloud():
    with pytest.raises(ValueError, match=r"set network\.spectrum too"):
        NetworkRecipe(pointwise=8)


def test_means_for_targets_want_fresh_noise():
    with pytest.raises(ValueError, match="set fixed_noise to false"):
        PVDRecipe(fixed_noise=True, expected_targets=True)


def test_means_for_targets_are_over_the_item_s_own_shape(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    far = np.float32([-3, 3])[:, None, None]
    data = Clouds([rng.normal(0, 0.1, (2000, 3)).astype(np.float32) + at for at in far])
    told = []

    def told_means(noisy, signal, pools):
        means = expected_points(noisy, signal, pools)
        share = signal[:, 0, 0]
        told.append((noisy.mean((1, 2)) - share.sqrt() * means.mean((1, 2)), share))
        return means

    monkeypatch.setattr(method, "expected_points", told_means)
    PVD().fit(LearningView(data), preset("smoke"), context(tmp_path))
    gaps, signals = (torch.cat(parts) for parts in zip(*told, strict=True))
    assert len(gaps) == 24
    assert (gaps.abs() < 0.2 * (1 - signals).sqrt()).all()  # another shape's mean would be 2 sqrt(signal) away


def test_means_for_targets_leave_less_loss(fitted, tmp_path):
    model, _ = fitted
    assert model.recipe.expected_targets
    drawn = PVD()
    recipe = model.recipe.model_copy(update={"expected_targets": False})
    drawn.fit(LearningView(ToySolids()), recipe, context(tmp_path))
    losses = [np.mean([loss for _, loss in one.report.loss_curve]) for one in (model, drawn)]
    assert losses[0] < losses[1]


def test_samples_lie_where_the_data_lie(fitted):
    model, folder = fitted
    mean, deviation = np.array(model.report.moments.mean), model.report.moments.deviation
    samples = list(model.sample(range(3), 1, context(folder)))
    assert all(defect(sample) is None and sample.points.shape == (2048, 3) for sample in samples)
    # Hardly trained, it sees little behind the noise but where the data lie.
    assert np.abs(np.mean([sample.points for sample in samples], axis=(0, 1)) - mean).max() < deviation
    assert 0.1 * deviation < np.std([sample.points for sample in samples]) < 2 * deviation


def test_predictions_keep_to_the_box_of_the_training_points(fitted):
    model, folder = fitted
    recipe = model.recipe.model_copy(update={"sampling": model.recipe.sampling.model_copy(update={"clip": True})})
    assert np.allclose(model.report.extent, model.report.extent[0]) is False  # of each axis its own
    narrow = (0.1, 0.2, 0.3)
    clipped, free = PVD(), PVD()
    for copy, extent in ((clipped, narrow), (free, None)):  # nothing is known of an imported model
        copy.recipe, copy.report, copy.denoiser = recipe, replace(model.report, extent=extent), model.denoiser
    box = np.array(narrow) * model.report.moments.deviation * (1 + 1e-6)
    mean = np.array(model.report.moments.mean)
    reach = [np.abs(next(copy.sample([0], 1, context(folder))).points - mean).max(0) for copy in (clipped, free)]
    assert (reach[0] <= box + 1e-6).all()
    assert (reach[1] > box).all()


def test_workers_change_no_bit(fitted):
    model, folder = fitted
    alone = list(model.sample([5, 0, 2], 1, context(folder)))
    together = list(model.sample([5, 0, 2], 1, context(folder, workers=2)))
    assert all(np.array_equal(a.points, b.points) for a, b in zip(alone, together, strict=True))


def test_model_remembers_how_it_was_made(fitted):
    _, folder = fitted
    report = json.loads((folder / "model" / "model.json").read_text(encoding="utf-8"))["report"]
    assert report["shapes"] == 5
    assert 0.1 < report["moments"]["deviation"] < 0.4
    assert "moving average" in report["checkpoint_rule"]
    assert report["loss_curve"][-1][0] == preset("smoke").training.steps


def test_sequences_are_refused():
    assert "sequences" in (PVD.supports(ToySolids("sequence")) or "")
    assert PVD.supports(ToySolids("points")) is None


@needs_golden
def test_normalisation_is_the_originals():
    with np.load(GOLDEN / "norm" / "pc15k.npz", allow_pickle=False) as data:
        raw = [data[f"raw_train_m{i}"].astype(np.float32) for i in (0, 2, 1)]  # the recorded order
        clouds = read_clouds(Clouds(raw), ("0", "1", "2"), DataRecipe(), seed=0, progress=Progress())
        np.testing.assert_allclose(clouds.moments.mean, data["PVD_globalnorm_mean"].ravel(), atol=2e-5)
        np.testing.assert_allclose(clouds.moments.deviation, data["PVD_globalnorm_std"].item(), rtol=1e-5)
        assert clouds.pools.shape == (3, 10000, 3)
        expected = (raw[1][:10000] - data["PVD_globalnorm_mean"][0]) / data["PVD_globalnorm_std"].item()
        np.testing.assert_allclose(clouds.pools[1], expected, atol=1e-4)


def test_small_clouds_fill_their_pool_and_weigh_as_they_are():
    rng = np.random.default_rng(0)
    clouds = [rng.normal(size=(7, 3)).astype(np.float32), rng.normal(5, 2, (20, 3)).astype(np.float32)]
    read = read_clouds(Clouds(clouds), ("0", "1"), DataRecipe(cloud=50, pool=16), seed=0, progress=Progress())
    everything = np.concatenate(clouds).astype(np.float64)
    np.testing.assert_allclose(read.moments.mean, everything.mean(0), rtol=1e-12)
    np.testing.assert_allclose(read.moments.deviation, everything.std(), rtol=1e-12)
    np.testing.assert_array_equal(read.pools[0, 7:14], read.pools[0, :7])
    restored = read.pools[1] * read.moments.deviation + np.array(read.moments.mean)
    np.testing.assert_allclose(restored, clouds[1][:16], atol=1e-5)


def test_clouds_in_an_order_of_their_own_are_not_learnt_from_in_part():
    cloud = np.linspace(-1, 1, 3000, dtype=np.float32)[:, None] * np.ones(3, np.float32)
    spread = {}
    for reduction in ("first", "random"):
        data = Clouds([cloud], reduction)
        read = read_clouds(data, ("0",), DataRecipe(cloud=1500, pool=500), seed=0, progress=Progress())
        spread[reduction] = np.ptp(read.pools) * read.moments.deviation
    assert spread["first"] == pytest.approx(1 / 3, abs=0.01)
    assert spread["random"] > 1.9


def test_given_moments_take_the_place_of_measured_ones():
    recipe = DataRecipe(cloud=9, pool=9, mean=(1.0, 2.0, 3.0), deviation=2.0)
    cloud = np.arange(27, dtype=np.float32).reshape(9, 3)
    read = read_clouds(Clouds([cloud]), ("0",), recipe, seed=0, progress=Progress())
    np.testing.assert_array_equal(read.pools[0], (cloud - [1, 2, 3]) / 2)
    with pytest.raises(ValueError, match="or neither"):
        DataRecipe(deviation=1.0)


def test_training_data_without_extent_or_shapes_are_refused():
    for clouds, complaint in (([np.ones((5, 3), np.float32)], "one place"), ([], "no training shapes")):
        data = Clouds(clouds)
        with pytest.raises(HdbenchError, match=complaint):
            read_clouds(data, data.ids("train"), DataRecipe(), seed=0, progress=Progress())


def test_first_steps_meet_the_same_noise_each_time():
    rows, steps = torch.tensor([4, 7, 4]), torch.tensor([0, 3, 0])
    fresh = [torch.randn(3, 3, 10, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    first, second = (with_fixed_noise(noise, rows, steps, seed=9) for noise in fresh)
    assert torch.equal(first[0], first[2])
    assert torch.equal(first[[0, 2]], second[[0, 2]])
    assert torch.equal(first[1], fresh[0][1])
    assert not torch.equal(first[0], with_fixed_noise(fresh[0], rows, steps, seed=8)[0])


class TestImport:
    CHANGES = {"network": {"width": 0.25}}  # noqa: RUF012 - never changed

    @pytest.fixture
    def original(self, tmp_path):
        """A checkpoint as the released code saves it, its weights under the prefixes of two wrappers."""
        network = PVCNN2(preset("paper", network={"width": 0.25}).network.size)
        network.initialize(3)
        state = {f"model.module.{name}": tensor for name, tensor in network.state_dict().items()}
        optimizer = torch.optim.Adam(network.parameters())
        path = tmp_path / "epoch_100.pth"
        torch.save({"epoch": 100, "model_state": state, "optimizer_state": optimizer.state_dict()}, path)
        return path, network

    def imported(self, path, tmp_path, changes=CHANGES):
        said = PVD.import_original(path, tmp_path / "model", context(tmp_path), category="airplane", changes=changes)
        return said, PVD.load(tmp_path / "model", context(tmp_path))

    def test_weights_and_schedule_arrive(self, original, tmp_path):
        path, network = original
        said, model = self.imported(path, tmp_path)
        assert "1,821,427" in said
        assert "normalised" in said
        assert all(torch.equal(model.denoiser.state_dict()[k], v) for k, v in network.state_dict().items())
        assert model.recipe.diffusion.schedule == "warm0.1"
        assert model.report.checkpoint_rule == "imported from epoch_100.pth"
        model.save(tmp_path / "again")
        for name in ("model.json", "model.safetensors"):
            assert filecmp.cmp(tmp_path / "model" / name, tmp_path / "again" / name, shallow=False)

    def test_given_moments_become_the_models(self, original, tmp_path):
        data = {"mean": [0.5, 0.0, 0.25], "deviation": 0.2}
        said, model = self.imported(original[0], tmp_path, {**self.CHANGES, "data": data})
        assert "normalised" not in said
        assert model.report.moments == ((0.5, 0.0, 0.25), 0.2)

    def test_what_does_not_fit_is_named(self, original, tmp_path):
        with pytest.raises(HdbenchError, match=r"sa_layers\.0\.0\.voxel_layers\.0\.weight") as caught:
            self.imported(original[0], tmp_path, {})
        assert "\n" not in str(caught.value)

    def test_other_files_are_refused(self, tmp_path):
        torch.save({"state_dict": {}}, tmp_path / "other.pth")
        with pytest.raises(HdbenchError, match="model_state"):
            self.imported(tmp_path / "other.pth", tmp_path)

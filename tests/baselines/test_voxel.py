import filecmp
import json
import shutil

import numpy as np
import pytest
import torch
import trimesh
from hdbench_baselines.voxel.method import MULTIPLICATIONS_PER_SECOND, VoxelDiffusion, multiplications, unet
from hdbench_baselines.voxel.recipe import NetworkRecipe
from hdbench_baselines.voxel.window import Window

from hdbench.conformance import ToySolids, check_method
from hdbench.datasets.base import LearningView
from hdbench.method import Context
from hdbench.progress import Progress
from hdbench.shapes import Mesh, Sequence, defect

PRESETS = ["smoke", "default", "paper"]


def preset(name, *circumstances, **network):
    recipe = VoxelDiffusion.load_recipe(name, circumstances)
    return recipe.model_copy(update={"network": recipe.network.model_copy(update=network)})


def context(folder, workers=1):
    folder.mkdir(exist_ok=True, parents=True)
    return Context("cpu", Progress(), folder, workers, seed=0)


def fit(folder, kind, **network):
    model = VoxelDiffusion()
    model.fit(LearningView(ToySolids(kind)), preset("smoke", kind, **network), context(folder / "workspace"))
    model.save(folder / "model")
    return model


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("voxel")
    return fit(folder, "mesh"), folder


def same(a, b):
    return np.array_equal(a.vertices, b.vertices) and np.array_equal(a.faces, b.faces)


def test_keeps_the_contract(tmp_path):
    checks = check_method(VoxelDiffusion, workspace=tmp_path, progress=Progress())
    assert [check for check in checks if not check.passed] == []


def test_samples_follow_the_order_of_the_recipe(fitted, tmp_path):
    model, folder = fitted
    other = VoxelDiffusion.load(folder / "model", context(tmp_path))
    other.sample_by(VoxelDiffusion.load_recipe("smoke", changes={"sampling": {"order": 2}}))
    (first,), (second,) = (list(each.sample([0], 1, context(tmp_path))) for each in (model, other))
    assert not same(first, second)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("kind", ["mesh", "sequence"])
def test_presets_are_valid(name, kind):
    assert VoxelDiffusion.estimate_seconds(ToySolids(kind), preset(name, kind, "car"), 64) > 0


@pytest.mark.parametrize(("kind", "category"), [("mesh", "car"), ("mesh", "chair"), ("sequence", "animal")])
def test_default_models_stay_small(kind, category):
    recipe = preset("default", kind, category)
    model = unet(recipe, None if kind == "mesh" else 16, Window.whole(recipe.grid.resolution).edges)
    assert sum(p.numel() for p in model.parameters()) < 5_000_000


def test_paper_is_the_originals():
    recipe = preset("paper")
    assert recipe.network == NetworkRecipe()
    assert recipe.grid.resolution == 24
    assert recipe.grid.content == "surface"
    assert recipe.training.total_steps(2749) == 516_000
    np.testing.assert_allclose(recipe.diffusion.build().alphas_cumprod[-1], 0.006353, rtol=1e-4)
    assert recipe.training.ema is None
    assert sum(p.numel() for p in unet(recipe, None, (24, 24, 24)).parameters()) == 10_420_289


def test_multiplications_are_those_of_the_convolutions():
    recipe = preset("paper", width=4, groups=2, multipliers=(1,), blocks=1, attention=())
    total = multiplications(recipe, None, (4, 4, 4))
    convolutions = 27 * 64 * (4 + 2 * 16 + 4 * 16 + 2 * (32 + 16) + 4)  # ends, down, middle, up
    others = 64 * (2 * 8 * 4) + 64 * (16 * 3 + 16) + 2 * 64 * 64 * 4 + (4 * 16 + 16 * 16) + 5 * 16 * 4
    assert total == convolutions + others


def test_samples_are_meshes_where_the_data_are(fitted):
    model, folder = fitted
    samples = list(model.sample(range(6), 1, context(folder)))
    assert model.sample_kind == "mesh"
    assert all(isinstance(sample, Mesh) and defect(sample) is None for sample in samples)
    centers = np.array([(s.vertices.min(0) + s.vertices.max(0)) / 2 for s in samples])
    sizes = np.array([np.ptp(s.vertices, axis=0).max() for s in samples])
    assert np.abs(np.median(centers, axis=0)).max() < 0.2
    assert 0.5 < np.median(sizes) < 1.3  # solids of 0.4 to 1
    assert trimesh.Trimesh(samples[0].vertices, samples[0].faces).is_watertight


def test_a_sample_hangs_on_its_index_alone(fitted):
    model, folder = fitted
    all_at_once = list(model.sample(range(10), 1, context(folder)))
    for index in (9, 2, 0):
        (alone,) = model.sample([index], 1, context(folder))
        assert same(alone, all_at_once[index])
    assert not same(next(model.sample([0], 2, context(folder))), all_at_once[0])


def test_saved_model_is_the_model(fitted, tmp_path):
    model, folder = fitted
    loaded = VoxelDiffusion.load(folder / "model", context(tmp_path))
    assert loaded.report == model.report
    assert loaded.recipe == model.recipe
    loaded.save(tmp_path / "again")
    for name in ("model.json", "model.safetensors"):
        assert filecmp.cmp(folder / "model" / name, tmp_path / "again" / name, shallow=False)
    assert loaded.loss_curve()[-1][0] == 30


def test_model_remembers_how_it_was_made(fitted):
    _, folder = fitted
    report = json.loads((folder / "model" / "model.json").read_text(encoding="utf-8"))["report"]
    assert report["shapes"] == 5
    assert report["frames"] is None
    assert report["left_out"] == {}
    assert "moving average" in report["checkpoint_rule"]


@pytest.mark.parametrize("frames", ["channels", "items", "neighbours"])
def test_sequences_are_learnt_in_all_readings(tmp_path, frames):
    model = fit(tmp_path, "sequence", frames=frames)
    loaded = VoxelDiffusion.load(tmp_path / "model", context(tmp_path))
    (sample,) = loaded.sample([1], 3, context(tmp_path))
    (again,) = model.sample([1], 3, context(tmp_path))
    assert loaded.sample_kind == "sequence"
    assert isinstance(sample, Sequence)
    assert len(sample.frames) == 3
    assert all(map(same, sample.frames, again.frames))
    assert defect(sample) is None
    if frames != "channels":
        assert loaded.network.label_emb.weight.shape[0] == 3


def test_frames_that_are_items_start_from_one_noise(tmp_path):
    model = fit(tmp_path, "sequence", frames="items")
    model.network.label_emb.weight.data[1:] = model.network.label_emb.weight.data[:1]
    model.mean[1:] = model.mean[:1]
    (sample,) = model.sample([0], 0, context(tmp_path))
    assert all(same(frame, sample.frames[0]) for frame in sample.frames[1:])


def cropped(recipe):
    return recipe.model_copy(update={"grid": recipe.grid.model_copy(update={"crop": True})})


class Nothing(ToySolids):
    """No shape to learn from."""

    def ids(self, split):
        return ()


class FlatSolids(ToySolids):
    """Solids that leave much of a cube empty."""

    def _half_extents(self, name):
        return super()._half_extents(name) * (1, 0.2, 1)


@pytest.mark.parametrize(
    ("kind", "frames"),
    [("mesh", "channels"), ("sequence", "channels"), ("sequence", "items"), ("sequence", "neighbours")],
)
def test_a_model_denoises_its_window_alone(tmp_path, kind, frames):
    model = VoxelDiffusion()
    recipe = cropped(preset("smoke", kind, frames=frames))
    model.fit(LearningView(FlatSolids(kind)), recipe, context(tmp_path / "workspace"))
    window = model.report.window
    assert window.edges == (12, 4, 12)
    grids = np.stack(list(model.sample_grids(range(3), 0, context(tmp_path))))
    outside = grids - model.mean.numpy()
    window.of(torch.from_numpy(outside)).zero_()
    assert not outside.any()
    assert window.of(torch.from_numpy(grids - model.mean.numpy())).std() > 0.1
    model.save(tmp_path / "model")
    loaded = VoxelDiffusion.load(tmp_path / "model", context(tmp_path))
    assert loaded.report.window == window
    assert np.array_equal(np.stack(list(loaded.sample_grids(range(3), 0, context(tmp_path)))), grids)


@pytest.mark.parametrize("kind", ["mesh", "sequence"])
def test_the_estimate_knows_the_window(kind):
    recipe = preset("smoke", kind)
    whole, part = (VoxelDiffusion.estimate_seconds(FlatSolids(kind), r, 0) for r in (recipe, cropped(recipe)))
    assert part - 5 < 0.8 * (whole - 5)  # all estimates have five seconds to begin with
    assert VoxelDiffusion.estimate_seconds(Nothing(kind), cropped(recipe), 64) > 0


def test_the_estimate_knows_that_frames_are_denoised_one_by_one():
    solids, recipe = ToySolids("sequence"), preset("default", "sequence")
    looks_once = recipe.model_copy(update={"network": recipe.network.model_copy(update={"self_conditioning": False})})
    drawn = VoxelDiffusion.estimate_seconds(solids, recipe, 64) - VoxelDiffusion.estimate_seconds(solids, recipe, 0)
    edges = Window.whole(recipe.grid.resolution).edges
    forwards = 64 * 16 * recipe.sampling.steps * multiplications(recipe, 16, edges) / MULTIPLICATIONS_PER_SECOND
    assert drawn == pytest.approx(forwards / 2 + 64 * 16 * 0.01, rel=0.2)  # in a window of almost the cube
    fitted = VoxelDiffusion.estimate_seconds(solids, recipe, 0)
    assert 1.2 < (fitted - 5) / (VoxelDiffusion.estimate_seconds(solids, looks_once, 0) - 5) < 1.6


def test_a_model_older_than_windows_denoises_all_of_the_cube(fitted, tmp_path):
    _, folder = fitted
    shutil.copytree(folder / "model", tmp_path / "model")
    described = json.loads((tmp_path / "model" / "model.json").read_text(encoding="utf-8"))
    assert described["report"].pop("window") == {"start": [0, 0, 0], "edges": [12, 12, 12]}
    (tmp_path / "model" / "model.json").write_text(json.dumps(described), encoding="utf-8")
    assert VoxelDiffusion.load(tmp_path / "model", context(tmp_path)).report.window == Window.whole(12)


def test_point_clouds_are_refused():
    assert "meshes" in (VoxelDiffusion.supports(ToySolids("points")) or "")
    assert VoxelDiffusion.supports(ToySolids("mesh")) is None

import filecmp
import json
from types import MappingProxyType

import numpy as np
import pytest
import trimesh
from hdbench_baselines.hyperdiffusion.method import HyperDiffusion
from hdbench_baselines.hyperdiffusion.recipe import HyperDiffusionRecipe

from hdbench.datasets.base import Dataset, LearningView
from hdbench.errors import HdbenchError
from hdbench.method import Context, get_method
from hdbench.progress import Progress
from hdbench.recipe import load_recipe
from hdbench.shapes import Mesh, defect

PACKAGE = "hdbench_baselines.hyperdiffusion"


class Boxes(Dataset):
    """Boxes of many proportions, longest side 2, centred on (0, 1, 0)."""

    name, category, kind = "boxes", "box", "mesh"
    skipped = MappingProxyType({})

    def ids(self, split):
        return {"train": tuple(f"box-{i}" for i in range(6)), "val": (), "test": ("box-6",)}[split]

    def sides(self, name):
        return np.array([2.0, 1.0 + 0.15 * int(name[4:]), 0.8])

    def shape(self, name):
        box = trimesh.creation.box(self.sides(name))
        return Mesh(box.vertices + np.array([0, 1, 0]), box.faces)

    def occupancy(self, name, points, *, frame=0):
        return (np.abs(points - [0, 1, 0]) <= self.sides(name) / 2).all(1)

    def fingerprint(self):
        return {}


@pytest.fixture(scope="module")
def recipe():
    return load_recipe(HyperDiffusionRecipe, PACKAGE, "smoke")


def context(folder, workers=1):
    folder.mkdir(exist_ok=True, parents=True)
    return Context("cpu", Progress(), folder, workers, seed=0)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory, recipe):
    folder = tmp_path_factory.mktemp("hyperdiffusion")
    model = HyperDiffusion()
    model.fit(LearningView(Boxes()), recipe, context(folder / "workspace"))
    model.save(folder / "model")
    return model, folder


def same(a, b):
    return np.array_equal(a.vertices, b.vertices) and np.array_equal(a.faces, b.faces)


def test_is_found_as_a_plug_in():
    assert get_method("hyperdiffusion") is HyperDiffusion


@pytest.mark.parametrize("preset", ["smoke", "default", "paper"])
def test_presets_are_valid(preset):
    recipe = load_recipe(HyperDiffusionRecipe, PACKAGE, preset)
    assert HyperDiffusion.estimate_seconds(Boxes(), recipe, 64) > 0


def test_default_models_stay_small():
    recipe = load_recipe(HyperDiffusionRecipe, PACKAGE, "default")
    model = HyperDiffusion()
    model.recipe = recipe
    model._build("cpu")
    assert sum(p.numel() for p in model.denoiser.parameters()) + recipe.fields.layout.count < 5_000_000


def test_paper_is_the_papers():
    recipe = load_recipe(HyperDiffusionRecipe, PACKAGE, "paper")
    assert recipe.fields.layout.sizes == (3456, 128, 16384, 128, 16384, 128, 128, 1)
    assert recipe.training.total_steps(2749) == 516_000
    diffusion = recipe.diffusion.build()
    np.testing.assert_allclose(diffusion.alphas_cumprod[-1], 0.006353, rtol=1e-4)
    assert not recipe.denoiser.standardize
    assert recipe.training.ema is None


def test_samples_are_meshes_where_the_data_are(fitted):
    model, folder = fitted
    samples = list(model.sample(range(4), 1, context(folder)))
    assert all(isinstance(sample, Mesh) and defect(sample) is None for sample in samples)
    centers = np.array([(s.vertices.min(0) + s.vertices.max(0)) / 2 for s in samples])
    sizes = np.array([np.ptp(s.vertices, axis=0).max() for s in samples])
    assert np.abs(np.median(centers, axis=0) - [0, 1, 0]).max() < 0.3
    assert 1.4 < np.median(sizes) < 2.2
    solid = trimesh.Trimesh(samples[0].vertices, samples[0].faces, process=False)
    assert not solid.is_watertight or solid.volume > 0


def test_a_sample_hangs_on_its_index_alone(fitted):
    model, folder = fitted
    all_at_once = list(model.sample(range(10), 1, context(folder)))
    for index in (9, 2, 0):
        (alone,) = model.sample([index], 1, context(folder))
        assert same(alone, all_at_once[index])
    in_two_processes = list(model.sample([9, 2], 1, context(folder, workers=2)))
    assert same(in_two_processes[0], all_at_once[9])
    assert same(in_two_processes[1], all_at_once[2])
    assert not same(next(model.sample([0], 2, context(folder))), all_at_once[0])


def test_saved_model_is_the_model(fitted, tmp_path):
    model, folder = fitted
    loaded = HyperDiffusion.load(folder / "model", context(tmp_path))
    loaded.save(tmp_path / "again")
    for name in ("model.json", "model.safetensors"):
        assert filecmp.cmp(folder / "model" / name, tmp_path / "again" / name, shallow=False)
    assert same(next(loaded.sample([1], 7, context(tmp_path))), next(model.sample([1], 7, context(tmp_path))))
    assert loaded.loss_curve() == model.loss_curve()
    assert loaded.loss_curve()[-1][0] == 60


def test_model_remembers_how_it_was_made(fitted):
    _, folder = fitted
    report = json.loads((folder / "model" / "model.json").read_text(encoding="utf-8"))["report"]
    assert report["anchor"] == "box-0"
    assert report["fields"]["count"] == 6
    assert 0 < report["fields"]["iou_lowest"] <= report["fields"]["iou_median"] <= 1
    assert report["left_out"] == {}
    assert "moving average" in report["checkpoint_rule"]
    np.testing.assert_allclose(report["placement"]["center"], [0, 1, 0], atol=1e-6)


def test_interrupted_fit_ends_with_the_same_bits(fitted, recipe, tmp_path):
    class Killed(Exception):
        pass

    class Impatient(Progress):
        """Ends the run when the training is half way."""

        def task(self, description, total, *, done=0):
            import contextlib

            @contextlib.contextmanager
            def run():
                class Counting:
                    left = total // 2 if "training" in description else 10**9

                    def advance(self, steps=1, note=""):
                        self.left -= steps
                        if self.left < 0:
                            raise Killed

                yield Counting()

            return run()

    _, folder = fitted
    model = HyperDiffusion()
    workspace = context(tmp_path / "workspace").workspace
    with pytest.raises(Killed):
        model.fit(Boxes(), recipe, Context("cpu", Impatient(), workspace, 1, 0))
    model = HyperDiffusion()
    model.fit(Boxes(), recipe, context(workspace))
    model.save(tmp_path / "model")
    for name in ("model.json", "model.safetensors"):
        assert filecmp.cmp(folder / "model" / name, tmp_path / "model" / name, shallow=False)


def test_weights_are_standardised_by_one_deviation(fitted):
    model, _ = fitted
    assert model.mean.shape == (model.recipe.fields.layout.count,)
    assert model.deviation.ndim == 0
    assert 0 < float(model.deviation) < 1


def test_point_clouds_are_refused():
    clouds = Boxes()
    clouds.kind = "points"
    assert "meshes" in (HyperDiffusion.supports(clouds) or "")
    assert HyperDiffusion.supports(Boxes()) is None


@pytest.mark.parametrize("damage", ["missing", "text", "field", "weights"])
def test_damaged_models_are_refused_with_one_line(fitted, tmp_path, damage):
    model, _ = fitted
    if damage != "missing":
        model.save(tmp_path)
    if damage == "text":
        (tmp_path / "model.json").write_text("{", encoding="utf-8")
    if damage == "field":
        (tmp_path / "model.json").write_text('{"recipe": {}}', encoding="utf-8")
    if damage == "weights":
        (tmp_path / "model.safetensors").write_bytes(b"0" * 64)
    with pytest.raises(HdbenchError) as caught:
        HyperDiffusion.load(tmp_path, context(tmp_path / "workspace"))
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)

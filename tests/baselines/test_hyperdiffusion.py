import filecmp
import json
from itertools import pairwise
from types import MappingProxyType

import numpy as np
import pytest
import torch
import trimesh
from hdbench_baselines.hyperdiffusion.method import HyperDiffusion, great_circle
from hdbench_baselines.hyperdiffusion.recipe import HyperDiffusionRecipe
from hdbench_baselines.hyperdiffusion.transformer import Transformer

from hdbench.datasets.base import Dataset, LearningView
from hdbench.errors import HdbenchError
from hdbench.method import Context, get_method
from hdbench.progress import Progress
from hdbench.recipe import load_recipe, parse_changes
from hdbench.shapes import Mesh, PointCloud, defect
from hdbench.shapes import Sequence as Clip

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


@pytest.mark.parametrize(
    ("circumstances", "width", "parameters"),
    [
        (("mesh", "airplane"), 2880, 1_407_225_600),
        (("mesh", "chair"), 2880, 1_407_225_600),
        (("mesh", "car"), 1920, 672_729_600),
        (("sequence", "animal"), 1440, 408_332_160),
    ],
)
def test_paper_has_the_papers_sizes(circumstances, width, parameters):
    """Counts of FACTS (a.4)."""
    recipe = HyperDiffusion.load_recipe("paper", circumstances)
    assert (recipe.denoiser.width, recipe.denoiser.depth, recipe.denoiser.heads) == (width, 12, 16)
    with torch.device("meta"):
        denoiser = Transformer(recipe.fields.layout.sizes, width=width, depth=12, heads=16)
    assert sum(parameter.numel() for parameter in denoiser.parameters()) == parameters


def test_paper_of_sequences_is_the_papers():
    recipe = HyperDiffusion.load_recipe("paper", ("sequence", "animal"))
    assert recipe.fields.layout.sizes == (4608, 128, 16384, 128, 16384, 128, 128, 1)
    assert (recipe.training.learning_rate, recipe.training.decay) == (5e-5, "none")
    assert (recipe.sampling.resolution, recipe.sampling.level) == (128, 0.0)
    np.testing.assert_array_equal(recipe.fields.times(16), np.arange(16))


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


def test_sequences_of_points_are_refused():
    class Clouds(GrowingBoxes):
        def shape(self, name):
            return Clip(tuple(PointCloud(frame.vertices) for frame in super().shape(name).frames))

    assert "sequences of points" in (HyperDiffusion.supports(Clouds()) or "")
    assert HyperDiffusion.supports(GrowingBoxes()) is None


class GrowingBoxes(Boxes):
    """The boxes, growing to twice their width in four frames."""

    kind = "sequence"

    def shape(self, name):
        box = super().shape(name)
        return Clip(tuple(Mesh(box.vertices * np.float32([1, 1, 1 + t / 3]), box.faces) for t in range(4)))

    def occupancy(self, name, points, *, frame=0):
        return super().occupancy(name, points / np.float32([1, 1, 1 + frame / 3]))


def test_sequences_are_learnt_and_drawn_as_sequences(tmp_path):
    recipe = HyperDiffusion.load_recipe("smoke", ("sequence", "box"))
    recipe = recipe.model_copy(update={"fields": recipe.fields.model_copy(update={"steps": 300, "anchor_steps": 300})})
    model = HyperDiffusion()
    model.fit(LearningView(GrowingBoxes()), recipe, context(tmp_path / "workspace"))
    model.save(tmp_path / "model")
    loaded = HyperDiffusion.load(tmp_path / "model", context(tmp_path / "workspace"))
    assert loaded.sample_kind == "sequence"
    clips = list(loaded.sample(range(4), 1, context(tmp_path / "workspace")))
    assert all(isinstance(clip, Clip) and len(clip.frames) == 4 for clip in clips)
    widths = np.array([[np.ptp(frame.vertices[:, 2]) for frame in clip.frames] for clip in clips])
    assert np.median(widths[:, -1] / widths[:, 0]) > 1.3


@pytest.mark.parametrize(
    "change",
    [
        "fields.initialization=independent",
        "fields.octaves=0",
        "denoiser.positions=false",
        "denoiser.standardize=false",
        "sampling.steps=10",
        "sampling.sampler=ddpm",
        "sampling.order=2",
    ],
)
@pytest.mark.parametrize("preset", ["smoke", "default", "paper"])
def test_ablations_are_one_switch_each(preset, change):
    plain = HyperDiffusion.load_recipe(preset)
    changed = HyperDiffusion.load_recipe(preset, changes=parse_changes([change]))
    table, field = change.partition("=")[0].split(".")
    differing = {name for name in plain.model_dump() if getattr(plain, name) != getattr(changed, name)}
    assert differing <= {table}
    assert str(getattr(getattr(changed, table), field)).lower() == change.partition("=")[2]


def test_fields_without_encoding_and_tokens_without_positions_can_be_learnt(tmp_path):
    changes = ["fields.octaves=0", "denoiser.positions=false", "denoiser.standardize=false", "training.steps=5"]
    recipe = HyperDiffusion.load_recipe("smoke", changes=parse_changes([*changes, "fields.initialization=independent"]))
    model = HyperDiffusion()
    model.fit(Boxes(), recipe, context(tmp_path / "workspace"))
    assert model.report.anchor is None
    assert model.recipe.fields.layout.sizes[0] == 3 * 24
    assert not model.denoiser.decoder.pos_emb.any()
    assert (model.mean == 0).all()
    assert len(list(model.sample([0], 1, context(tmp_path / "workspace")))) == 1


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
@pytest.mark.parametrize("steps", [1, 10, 100])
def test_any_number_of_steps_samples(fitted, sampler, steps):
    model, folder = fitted
    sampling = model.recipe.sampling.model_copy(update={"sampler": sampler, "steps": steps})
    other = HyperDiffusion.load(folder / "model", context(folder / "workspace"))
    other.recipe = model.recipe.model_copy(update={"sampling": sampling})
    vectors = other.sample_weights([0, 3], 1, context(folder / "workspace"))
    assert vectors.shape == (2, model.recipe.fields.layout.count)
    assert np.isfinite(vectors).all()


def test_switches_for_gpus_change_nothing_on_a_cpu(fitted):
    model, folder = fitted
    other = HyperDiffusion.load(folder / "model", context(folder / "workspace"))
    sampling = model.recipe.sampling.model_copy(update={"mixed_precision": True})
    denoiser = model.recipe.denoiser.model_copy(update={"compile": True})
    other.recipe = model.recipe.model_copy(update={"sampling": sampling, "denoiser": denoiser})
    drawn = [each.sample_weights([0, 5], 1, context(folder / "workspace")) for each in (model, other)]
    np.testing.assert_array_equal(*drawn)


class TestFigures:
    def test_denoising_ends_at_the_sample(self, fitted):
        model, folder = fitted
        stages = model.denoising(2, 1, context(folder / "workspace"))
        left = [steps for steps, _ in stages]
        assert len(stages) == 6
        assert left == sorted(left, reverse=True)
        assert (left[0] < model.recipe.diffusion.timesteps, left[-1]) == (True, 0)
        (sample,) = model.sample([2], 1, context(folder / "workspace"))
        assert same(stages[-1][1], sample)
        assert not same(stages[0][1], sample)

    @pytest.mark.parametrize("order", [1, 2])
    def test_interpolation_leads_from_sample_to_sample(self, fitted, order):
        fitted_model, folder = fitted
        model = HyperDiffusion.load(folder / "model", context(folder / "workspace"))
        model.sample_by(HyperDiffusion.load_recipe("smoke", changes={"sampling": {"order": order}}))
        weights = [each.sample_weights([1], 1, context(folder / "workspace")) for each in (fitted_model, model)]
        assert np.array_equal(*weights) == (order == 1)
        way = model.interpolation(1, 4, 5, 1, context(folder / "workspace"))
        ends = model.sample([1, 4], 1, context(folder / "workspace"))
        assert len(way) == 5
        for shape, sample in zip((way[0], way[-1]), ends, strict=True):  # up to the rounding of another batch
            np.testing.assert_allclose(shape.vertices.min(0), sample.vertices.min(0), atol=1e-4)
            np.testing.assert_allclose(shape.vertices.max(0), sample.vertices.max(0), atol=1e-4)
        assert not same(way[0], way[2])

    def test_the_way_between_normal_vectors_stays_normal(self):
        start, end = np.random.default_rng(0).standard_normal((2, 4096)).astype(np.float32)
        points = great_circle(start, end, 9)
        np.testing.assert_allclose(points[[0, -1]], [start, end], atol=1e-6)
        np.testing.assert_allclose(points.std(axis=1), 1, atol=0.05)
        turned = [np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) for a, b in pairwise(points)]
        np.testing.assert_allclose(turned, turned[0], rtol=0.05)
        np.testing.assert_allclose(great_circle(start, start, 3), [start] * 3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("fields.hidden=[]", "--set fields.hidden: "),
        ("fields.hidden=[0]", "--set fields.hidden.0: "),
        ("fields.octaves=1100", "--set fields.octaves: "),
        ("sampling.level=nan", "sampling.level is not finite"),
    ],
)
def test_recipes_that_nothing_can_come_of_are_refused(change, words):
    with pytest.raises(HdbenchError) as caught:
        HyperDiffusion.load_recipe("smoke", changes=parse_changes([change]))
    assert words in str(caught.value)

from types import MappingProxyType

import numpy as np
import pytest
import torch
import trimesh
from hdbench_baselines.hyperdiffusion.collection import FitUnit, fit_fields, fit_in_batches, fit_unit, load_fields
from hdbench_baselines.hyperdiffusion.fields import FieldLayout
from hdbench_baselines.hyperdiffusion.fitting import (
    Batches,
    FittingRecipe,
    LabelledPoints,
    PlacedShape,
    fit,
    fit_together,
    labelled_points,
    volume_iou,
)
from hdbench_baselines.placement import place
from hdbench_baselines.training import fixed_threads

from hdbench.datasets.base import Dataset
from hdbench.errors import HdbenchError
from hdbench.method import Context
from hdbench.progress import Progress
from hdbench.shapes import Mesh, Sequence

RECIPE = FittingRecipe(
    hidden=(16, 16), octaves=3, placement="box", surface_points=2000, uniform_points=2000, noise=0.02,
    batch_points=512, learning_rate=0.04, steps=40, anchor_steps=120, minimum_iou=0.3, held_out_points=4096, unit=2,
)  # fmt: skip


class Solids(Dataset):
    """Ellipsoids with exact occupancy; "nothing" has no faces, "sheet" no inside."""

    name, category, kind = "solids", "solid", "mesh"
    skipped = MappingProxyType({})
    radii = MappingProxyType({"ball": (1, 1, 1), "disc": (1, 0.4, 1), "rod": (0.5, 0.5, 1), "egg": (0.6, 0.6, 0.9)})

    def __init__(self, names=("ball", "disc", "rod", "egg")):
        self.names = names

    def ids(self, split):
        return tuple(self.names) if split == "train" else ()

    def shape(self, name):
        if name == "nothing":
            return Mesh(np.zeros((0, 3)), np.zeros((0, 3)))
        if name == "sheet":
            return Mesh(np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]]), np.array([[0, 1, 2]]))
        ball = trimesh.creation.icosphere(3)
        return Mesh(ball.vertices * self.radii[name] + np.array([5, 0, 0]), ball.faces)

    def occupancy(self, name, points, *, frame=0):
        if name not in self.radii:
            return np.zeros(len(points), bool)
        return np.linalg.norm((points - np.float32([5, 0, 0])) / np.float32(self.radii[name]), axis=1) < 1

    def fingerprint(self):
        return {"names": list(self.names)}


def context(folder, workers=1):
    folder.mkdir(exist_ok=True)
    return Context("cpu", Progress(), folder, workers, seed=3)


def placed(dataset, name):
    mesh = dataset.shape(name)
    return PlacedShape(dataset, name, (mesh,), place([mesh], "box"), None)


def measured(shape, count, recipe=RECIPE):
    return labelled_points(shape, recipe.model_copy(update={"held_out_points": count}), seed=1)[1]


@pytest.mark.parametrize("optimizer", ["muon", "adam"])
def test_both_optimizers_fit_a_ball(optimizer):
    recipe = RECIPE.model_copy(
        update={"optimizer": optimizer, "learning_rate": {"muon": 0.04, "adam": 0.01}[optimizer], "steps": 300}
    )
    dataset = Solids()
    unit = FitUnit(dataset, ("ball",), recipe, None, seed=0)
    (field,) = fit_unit(unit)
    assert field.reason is None
    assert field.iou > 0.93
    assert field.placement.center == pytest.approx((5, 0, 0), abs=1e-6)


def test_patience_ends_the_originals_fit():
    """Labels that nothing explains stop improving, and the fit stops long before its cap."""
    rng = np.random.default_rng(0)
    noise = LabelledPoints(
        rng.uniform(-0.5, 0.5, (64, 3)).astype(np.float32), rng.random(64) > 0.5, np.ones(64, np.float32)
    )
    recipe = RECIPE.model_copy(update={"optimizer": "adam", "batch_points": 64, "learning_rate": 1.0})
    start = recipe.layout.initial(rng)[None]
    ends = [fit(start, [noise], recipe, steps=steps, seed=1) for steps in (20_000, 40_000)]
    assert torch.equal(*ends)


@pytest.mark.parametrize("mode", ["box", "vertices"])
def test_placement_goes_there_and_back(mode):
    mesh = Solids().shape("rod")
    (placement,) = place([mesh], mode)
    inside = placement.to_cube(mesh.vertices)
    assert np.abs(inside).max() == pytest.approx(0.475, abs=1e-6)
    np.testing.assert_allclose(placement.to_dataset(inside), mesh.vertices, atol=2e-6)


def test_vertex_mean_is_the_original_centre():
    skewed = Mesh(np.array([[0, 0, 0], [0, 0, 0], [0, 0, 0], [4, 0, 1]]), np.array([[0, 1, 3], [2, 1, 3]]))
    assert place([skewed], "vertices")[0].center == (1, 0, 0.25)
    assert place([skewed], "box")[0].center == (2, 0, 0.5)


def test_held_out_points_measure_volumes():
    dataset = Solids()
    held_out = measured(placed(dataset, "disc"), 200_000)
    volume = 4 / 3 * np.pi * 0.475**3 * 0.4
    assert held_out.volumes.sum() == pytest.approx(1, rel=0.01)
    assert held_out.volumes[held_out.occupied].sum() == pytest.approx(volume, rel=0.01)
    nothing = torch.zeros(RECIPE.layout.count)
    assert volume_iou(RECIPE.layout, nothing, held_out) == 0
    everything = nothing.clone()
    everything[-1] = 1.0
    assert volume_iou(RECIPE.layout, everything, held_out) == pytest.approx(volume, rel=0.01)


def test_fields_hang_neither_on_grouping_nor_on_workers_nor_on_interruptions(tmp_path):
    dataset, names = Solids(), ("ball", "disc", "rod", "egg")
    alone = fit_fields(dataset, names, RECIPE.model_copy(update={"unit": 1}), context(tmp_path / "alone"))
    together = fit_fields(dataset, names, RECIPE.model_copy(update={"unit": 4}), context(tmp_path / "together"))
    spread = fit_fields(dataset, names, RECIPE, context(tmp_path / "spread", workers=2))
    (tmp_path / "spread" / "fields" / "000001.safetensors").unlink()
    resumed = fit_fields(dataset, names, RECIPE, context(tmp_path / "spread"))
    for other in (together, spread, resumed):
        np.testing.assert_array_equal(alone.vectors, other.vectors)
        assert alone.ious == other.ious
    assert alone.anchor == "ball"
    assert alone.vectors.shape == (4, RECIPE.layout.count)


def test_bad_shapes_are_listed_and_left_out(tmp_path):
    dataset = Solids(("nothing", "sheet", "ball", "disc"))
    said = []

    class Listening(Progress):
        def say(self, message):
            said.append(message)

    quiet = context(tmp_path)
    fields = fit_fields(dataset, dataset.names, RECIPE, Context("cpu", Listening(), quiet.workspace, 1, quiet.seed))
    assert fields.left_out == {"nothing": "no faces", "sheet": "encloses no volume"}
    assert len(fields.vectors) == 2
    assert fields.anchor == "ball"
    assert said
    assert "nothing (no faces)" in said[0]
    assert [field.name for field in load_fields(tmp_path / "fields" / "000000.safetensors")] == ["nothing", "sheet"]


def test_poor_fits_are_left_out_by_their_iou(tmp_path):
    recipe = RECIPE.model_copy(update={"initialization": "independent", "minimum_iou": 0.999})
    with pytest.raises(HdbenchError, match="IoU"):
        fit_fields(Solids(), ("ball",), recipe, context(tmp_path))


@pytest.mark.parametrize("in_batches", [False, True])
def test_a_fit_takes_as_many_rounds_as_its_shape_needs(tmp_path, in_batches):
    recipe = RECIPE.model_copy(update={"steps": 15, "initialization": "independent", "minimum_iou": 0.0})
    names = ("ball", "disc", "rod")

    def ious(**update):
        changed = recipe.model_copy(update=update)
        target = context(tmp_path / str(len(list(tmp_path.iterdir()))))
        if in_batches:
            return np.array([field.iou for field in fit_in_batches(Solids(), names, changed, None, target)])
        return np.array(list(fit_fields(Solids(), names, changed, target).ious.values()))

    once, four_times = ious(), ious(rounds=4)
    enough = np.sort(once)[:2].mean()  # two shapes reach it in one round, one does not
    stopped = ious(rounds=4, stop_iou=enough)
    assert (four_times > once).all()
    np.testing.assert_array_equal(stopped[once > enough], once[once > enough])
    assert (stopped[once < enough] > once[once < enough]).all()
    assert stopped.min() >= enough


def test_anchor_can_be_named_and_must_exist(tmp_path):
    recipe = RECIPE.model_copy(update={"anchor": "rod"})
    assert fit_fields(Solids(), ("ball", "rod"), recipe, context(tmp_path / "a")).anchor == "rod"
    with pytest.raises(HdbenchError, match="cone"):
        fit_fields(Solids(), ("ball",), RECIPE.model_copy(update={"anchor": "cone"}), context(tmp_path / "b"))


def test_no_anchor_to_be_found_is_said(tmp_path):
    with pytest.raises(HdbenchError, match="No anchor"):
        fit_fields(Solids(), ("nothing", "sheet"), RECIPE, context(tmp_path))


def test_independent_fields_start_apart(tmp_path):
    recipe = RECIPE.model_copy(update={"initialization": "independent", "minimum_iou": 0.0})
    independent = fit_fields(Solids(), ("ball", "egg"), recipe, context(tmp_path / "a"))
    anchored = fit_fields(Solids(), ("ball", "egg"), RECIPE, context(tmp_path / "b"))
    assert independent.anchor is None
    distance = [np.linalg.norm(np.diff(fields.vectors, axis=0)) for fields in (independent, anchored)]
    assert distance[0] > 1.5 * distance[1]


def test_common_start_brings_the_fields_together(tmp_path):
    """Reptile's start lies nearer to all fits, so that as many steps lead further and end closer together."""
    recipe = RECIPE.model_copy(update={"learning_rate": 0.01, "minimum_iou": 0.0})
    averaged = recipe.model_copy(update={"averaging_rounds": 6, "averaging_shapes": 4, "averaging_steps": 20})
    names = Solids().names
    plain = fit_fields(Solids(), names, recipe, context(tmp_path / "plain"))
    first = fit_fields(Solids(), names, averaged, context(tmp_path / "averaged"))
    assert first.anchor == plain.anchor
    assert np.mean(list(first.ious.values())) > np.mean(list(plain.ious.values()))
    again = fit_fields(Solids(), names, averaged, context(tmp_path / "again"))
    np.testing.assert_array_equal(first.vectors, again.vectors)
    (tmp_path / "averaged" / "fields" / "000000.safetensors").unlink()
    resumed = fit_fields(Solids(), names, averaged, context(tmp_path / "averaged"))
    np.testing.assert_array_equal(first.vectors, resumed.vectors)


class Swelling(Solids):
    """A ball that wanders along x and grows, four frames; its volume and travel are known."""

    kind = "sequence"
    frames = 4
    radii = MappingProxyType({"slow": (0.5, 0.1), "fast": (0.4, 0.2)})

    def __init__(self, names=("slow", "fast")):
        super().__init__(names)

    def shape(self, name):
        ball = trimesh.creation.icosphere(3)
        return Sequence(tuple(Mesh(ball.vertices * r + [x, 0, 0], ball.faces) for x, r in self.motion(name)))

    def motion(self, name):
        first, growth = self.radii[name]
        return [(0.5 * k, first + growth * k) for k in range(self.frames)]

    def occupancy(self, name, points, *, frame=0):
        x, radius = self.motion(name)[frame]
        return np.linalg.norm(points - np.float32([x, 0, 0]), axis=1) < radius


IN_TIME = RECIPE.model_copy(
    update={"dimensions": 4, "time": "unit", "surface_points": 800, "uniform_points": 800, "held_out_points": 1024}
)


def clip(mode, recipe=IN_TIME):
    dataset = Swelling()
    frames = dataset.shape("slow").frames
    return PlacedShape(dataset, "slow", frames, place(frames, mode), recipe.times(len(frames)))


def test_a_sequence_has_one_scale_and_keeps_or_loses_its_travel():
    for mode, centers in (("box", [0.9] * 4), ("vertices", [0.0, 0.5, 1.0, 1.5])):
        placed_clip = clip(mode)
        assert [p.center[0] for p in placed_clip.placements] == pytest.approx(centers, abs=1e-3)
        assert len({p.scale for p in placed_clip.placements}) == 1
        frames = zip(placed_clip.frames, placed_clip.placements, strict=True)
        inside = np.concatenate([placement.to_cube(mesh.vertices) for mesh, placement in frames])
        assert np.abs(inside).max() == pytest.approx(0.475, abs=1e-6)
        assert placed_clip.placement.center[0] == pytest.approx(np.mean(centers), abs=1e-3)


@pytest.mark.parametrize(("mode", "times"), [("index", [0, 1, 2, 3]), ("unit", [-0.475, -0.1583333, 0.1583333, 0.475])])
def test_time_is_the_frames_number_or_a_coordinate_like_the_others(mode, times):
    recipe = IN_TIME.model_copy(update={"time": mode})
    labelled = labelled_points(clip("box", recipe), recipe, seed=0)[0]
    assert labelled.points.shape == (4 * 1600, 4)
    assert labelled.frames == 4
    for k, points in enumerate(labelled.points.reshape(4, 1600, 4)):
        np.testing.assert_allclose(points[:, 3], times[k], atol=1e-6)
        inside = clip("box").occupied(k, points[:, :3])
        np.testing.assert_array_equal(inside, labelled.occupied.reshape(4, 1600)[k])
    assert len(np.unique(labelled.points[:, :3], axis=0)) == 4 * 1600  # no frame sees another's points


def test_held_out_points_measure_all_frames():
    held_out = measured(clip("box"), 50_000)
    scale = clip("box").placement.scale
    volume = sum(4 / 3 * np.pi * (radius * scale) ** 3 for _, radius in Swelling().motion("slow"))
    assert held_out.volumes.sum() == pytest.approx(4, rel=0.01)
    assert held_out.volumes[held_out.occupied].sum() == pytest.approx(volume, rel=0.01)


@pytest.mark.parametrize(
    "update", [{"steps": 250}, {"optimizer": "adam", "learning_rate": 0.01, "steps": 600, "time": "index"}]
)
def test_clips_become_fields_of_four_dimensions(tmp_path, update):
    recipe = IN_TIME.model_copy(update={**update, "minimum_iou": 0.0})
    fields = fit_fields(Swelling(), ("slow", "fast"), recipe, context(tmp_path))
    assert fields.vectors.shape == (2, FieldLayout((16, 16), 3, 4).count)
    assert fields.frames == 4
    assert min(fields.ious.values()) > 0.85
    assert fields.placements[0].center[0] == pytest.approx(0.9, abs=1e-3)
    # The same field, its frames in reverse order, is another: it does know time.
    placed_clip = clip("box", recipe)
    held_out = measured(placed_clip, 4096, recipe)
    backwards = LabelledPoints(
        np.column_stack([held_out.points[:, :3], held_out.points[::-1, 3]]), held_out.occupied, held_out.volumes
    )
    vector = torch.from_numpy(fields.vectors[0])
    assert volume_iou(recipe.layout, vector, backwards) < volume_iou(recipe.layout, vector, held_out) - 0.2


@pytest.mark.parametrize(("dataset", "recipe"), [(Solids(), IN_TIME), (Swelling(), RECIPE)])
def test_recipes_for_another_kind_are_refused(tmp_path, dataset, recipe):
    with pytest.raises(HdbenchError, match=f"for.{dataset.kind}.fields"):
        fit_fields(dataset, dataset.names, recipe, context(tmp_path))


def test_the_originals_batches_are_frames_by_shared_points():
    recipe = IN_TIME.model_copy(update={"optimizer": "adam", "batch_points": 2048})
    batches = list(Batches(16 * 4096, 16, recipe).draw(5, 0, torch.device("cpu")))
    assert len(batches) == 5
    for rows in batches:
        frames, points = (rows // 4096).view(16, 128), (rows % 4096).view(16, 128)
        assert (frames == frames[:, :1]).all()
        assert (points == points[:1]).all()
        assert len(frames[:, 0].unique()) < 16  # with replacement; all 16 at once come once in 880,000 draws


def test_our_batches_go_through_all_rows():
    batches = list(Batches(1000, 4, RECIPE.model_copy(update={"batch_points": 250})).draw(10, 0, torch.device("cpu")))
    for first in (0, 4):
        assert sorted(torch.cat(batches[first : first + 4]).tolist()) == list(range(1000))
    assert len(batches) == 10
    assert not torch.equal(batches[0], batches[4])


@pytest.mark.parametrize("update", [{}, {"optimizer": "adam", "learning_rate": 0.01}])
def test_fields_fitted_together_are_those_fitted_one_by_one(update):
    """Up to rounding, which a few steps have not yet blown up; see the next test for whole fits."""
    recipe = RECIPE.model_copy(update=update)
    dataset = Solids()
    labelled = [labelled_points(placed(dataset, name), recipe, seed=2)[0] for name in dataset.names]
    starts = torch.stack([recipe.layout.initial(np.random.default_rng(k)) for k in range(len(labelled))])
    with fixed_threads(1):
        together = fit_together(starts, labelled, recipe, steps=8, seed=1)
        alone = fit(starts, labelled, recipe, steps=8, seed=1)
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-4)


def test_batches_of_shapes_resume_and_reach_what_single_fits_do(tmp_path):
    """What a GPU does, here on the CPU: the same IoU, whatever shares the batch, and nothing done twice."""
    dataset = Solids(("ball", "nothing", "disc", "rod", "egg"))
    recipe = RECIPE.model_copy(update={"batch_shapes": 3, "steps": 150})
    start = recipe.layout.initial(np.random.default_rng(0)).numpy()

    def run(folder, update):
        return list(fit_in_batches(dataset, dataset.names, recipe.model_copy(update=update), start, context(folder)))

    fields = run(tmp_path / "three", {})
    assert [field.name for field in fields] == list(dataset.names)
    assert [field.reason for field in fields] == [None, "no faces", None, None, None]
    for others in (run(tmp_path / "one", {"batch_shapes": 1}), run(tmp_path / "all", {"batch_shapes": 9})):
        np.testing.assert_allclose([f.iou for f in fields], [f.iou for f in others], atol=0.01)
    first, second = (tmp_path / "three" / "batches" / f"00000{k}.safetensors" for k in range(2))
    second.unlink()
    written = first.stat().st_mtime_ns
    for field, again in zip(fields, run(tmp_path / "three", {}), strict=True):
        np.testing.assert_array_equal(field.vector, again.vector)
    assert first.stat().st_mtime_ns == written

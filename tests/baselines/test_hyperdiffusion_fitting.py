from types import MappingProxyType

import numpy as np
import pytest
import torch
import trimesh
from hdbench_baselines.hyperdiffusion.collection import FitUnit, fit_fields, fit_unit, load_fields
from hdbench_baselines.hyperdiffusion.fitting import (
    FittingRecipe,
    LabelledPoints,
    PlacedShape,
    fit,
    held_out_points,
    place,
    volume_iou,
)

from hdbench.datasets.base import Dataset
from hdbench.errors import HdbenchError
from hdbench.method import Context
from hdbench.progress import Progress
from hdbench.shapes import Mesh

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


@pytest.mark.parametrize("optimizer", ["muon", "adam"])
def test_both_optimizers_fit_a_ball(optimizer):
    recipe = RECIPE.model_copy(
        update={"optimizer": optimizer, "learning_rate": {"muon": 0.04, "adam": 0.01}[optimizer]}
    )
    dataset = Solids()
    unit = FitUnit(dataset, ("ball",), recipe, 300, None, seed=0)
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
    inside = placement.to_field(mesh.vertices)
    assert np.abs(inside).max() == pytest.approx(0.475, abs=1e-6)
    np.testing.assert_allclose(placement.to_dataset(inside), mesh.vertices, atol=2e-6)


def test_vertex_mean_is_the_original_centre():
    skewed = Mesh(np.array([[0, 0, 0], [0, 0, 0], [0, 0, 0], [4, 0, 1]]), np.array([[0, 1, 3], [2, 1, 3]]))
    assert place([skewed], "vertices")[0].center == (1, 0, 0.25)
    assert place([skewed], "box")[0].center == (2, 0, 0.5)


def test_held_out_points_measure_volumes():
    dataset = Solids()
    held_out = held_out_points(placed(dataset, "disc"), 200_000, seed=1)
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

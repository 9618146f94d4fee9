"""Stages are keyed by hand-raised versions: a stage whose output changes without a new version is noticed here."""

import hashlib
import json
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest

from hdbench import stages
from hdbench.datasets.folder import Folder
from hdbench.evaluation import PointSet
from hdbench.method import Method, get_method
from hdbench.metrics.protocols import get_protocol
from hdbench.progress import Progress
from hdbench.recipe import Recipe
from hdbench.scoring import SCORE_VERSION, Scoring, read_scores, score
from hdbench.shape_files import ShapeSet
from hdbench.shapes import PointCloud
from hdbench.stages import Entrant, Workshop
from hdbench.store import Store

DIGESTS = {
    ("prepare", 1): "00206e0044d1e9f6",
    ("samples", 1): "ed0669abc10f1e37",
    ("scores", 2): "47f9328806bd841e",
}
"""Of each stage's output at each version: change an entry only together with the version."""


@pytest.fixture
def workshop(tmp_path):
    return Workshop(Store(tmp_path / "store"), Progress(), "cpu", 1)


@pytest.fixture
def dataset(tmp_path):
    rng = np.random.default_rng(0)
    for split, count in (("train", 9), ("test", 9)):
        (tmp_path / "data" / split).mkdir(parents=True)
        for index in range(count):
            points = rng.standard_normal((2048, 3)) * rng.uniform(0.3, 1.0, 3)
            np.save(tmp_path / "data" / split / f"{split}-{index}.npy", points.astype(np.float32))
    return Folder(tmp_path / "data", "blob")


def points_digest(shapes: ShapeSet) -> str:
    return hashlib.sha256(np.round(shapes.points, 5).tobytes()).hexdigest()[:16]


def walk(workshop, dataset):
    reference = stages.prepare(workshop, dataset, dataset.ids("test"), keep_meshes=True, title="reference")
    train = stages.prepare(workshop, dataset, dataset.ids("train"), keep_meshes=False, title="train")
    method = get_method("noise")
    entrant = Entrant(method, method.load_recipe("default"))
    model = stages.obtain(workshop, dataset, entrant, seed=3)
    samples = stages.draw(workshop, method, model, count=9, seed=3)
    compared = Scoring(
        PointSet.of(ShapeSet.open(samples.folder), "samples"),
        PointSet.of(reference, "reference"),
        PointSet.of(train, "train"),
        protocol=replace(get_protocol("pvd"), metrics=("mmd_cd", "cov_cd", "nna_cd", "jsd")),
        data="blob",
        seed=0,
        neighbours=2,
    )
    scored = score(workshop, compared)
    return reference, samples, scored


def test_the_output_of_each_stage_is_that_of_its_version(workshop, dataset):
    reference, samples, scored = walk(workshop, dataset)
    scores, neighbours = read_scores(scored)
    values = [(score.metric, score.value and round(score.value, 9)) for score in scores]
    nearest = [entry.training for entry in neighbours]
    made = {
        ("prepare", stages.PREPARE_VERSION): points_digest(reference),
        ("samples", stages.SAMPLE_VERSION): points_digest(ShapeSet.open(samples.folder)),
        ("scores", SCORE_VERSION): hashlib.sha256(json.dumps([values, nearest]).encode()).hexdigest()[:16],
    }
    assert made == {key: DIGESTS.get(key) for key in made}


def test_the_names_of_shapes_are_part_of_what_scores_are_made_from(workshop, dataset, tmp_path):
    _, _, first = walk(workshop, dataset)
    for path in (tmp_path / "data" / "train").iterdir():
        path.rename(path.with_name(f"renamed-{path.name}"))
    _, _, second = walk(workshop, Folder(tmp_path / "data", "blob"))
    _, neighbours = read_scores(second)
    assert second.key.digest != first.key.digest
    assert all("renamed-" in name for entry in neighbours for name in entry.training)


def test_everything_is_found_again(workshop, dataset):
    walk(workshop, dataset)
    assert not walk(workshop, dataset)[2].fresh


class DotsRecipe(Recipe):
    sampling_fields = frozenset({"scale"})

    place: float = 0.0
    scale: float = 1.0


class Dots(Method):
    """Two dots at a place learnt, as far from each other as sampling is told."""

    name, title, output, recipe_type = "dots", "Dots", "points", DotsRecipe
    fits: ClassVar[list[DotsRecipe]]

    def fit(self, dataset, recipe, context):
        self.recipe = recipe
        self.fits.append(recipe)

    def sample(self, indices, seed, context):
        for _ in indices:
            yield PointCloud(
                np.array([[self.recipe.place] * 3, [self.recipe.place + self.recipe.scale] * 3], np.float32)
            )

    def save(self, folder):
        folder.mkdir()
        (folder / "recipe.json").write_text(self.recipe.model_dump_json())

    @classmethod
    def load(cls, folder, context):
        model = cls()
        model.recipe = DotsRecipe.model_validate_json((folder / "recipe.json").read_text())
        return model


def test_a_model_samples_otherwise_without_another_fit(workshop, dataset, monkeypatch):
    monkeypatch.setattr(Dots, "fits", [], raising=False)
    extents, models, samples = [], [], []
    for recipe in (DotsRecipe(scale=2), DotsRecipe(scale=3), DotsRecipe(scale=2), DotsRecipe(place=9, scale=2)):
        model = stages.obtain(workshop, dataset, Entrant(Dots, recipe), seed=0)
        models.append(model.key.digest)
        samples.append(stages.draw(workshop, Dots, model, count=1, seed=0, recipe=recipe))
        extents.append(float(np.ptp(ShapeSet.open(samples[-1].folder).points)))
    assert extents == [2, 3, 2, 2]
    assert [drawn.fresh for drawn in samples] == [True, True, False, True]
    assert models[0] == models[1] == models[2] != models[3]
    assert [fit.place for fit in Dots.fits] == [0, 9]


def test_a_model_keeps_what_it_samples_by_when_it_is_written(workshop, dataset, monkeypatch, tmp_path):
    monkeypatch.setattr(Dots, "fits", [], raising=False)
    model = stages.obtain(workshop, dataset, Entrant(Dots, DotsRecipe(place=4)), seed=0)
    recipe = DotsRecipe(place=7, scale=2)
    stages.save_model(Dots, model.folder / "model", recipe, tmp_path / "model", workshop.context(tmp_path, 0))
    assert Dots.load(tmp_path / "model", None).recipe == DotsRecipe(place=4, scale=2)


def test_sampling_fields_must_be_fields():
    with pytest.raises(TypeError, match="no field 'sclae'"):

        class Mistyped(Recipe):
            sampling_fields = frozenset({"sclae"})

import json
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from hdbench.conformance import ToySolids, check_method
from hdbench.geometry.occupancy import occupancy
from hdbench.method import Method, get_method
from hdbench.progress import Progress
from hdbench.recipe import Recipe
from hdbench.seeds import generator
from hdbench.shapes import PointCloud
from hdbench.store import write_atomic

STEPS = 8


class Walk(Method):
    """An honest method: its only weight walks towards the size of the training shapes, step by resumable step."""

    name, title, output = "walk", "Walk", "points"

    @classmethod
    def supports(cls, dataset):
        return None if dataset.kind == "mesh" else "it learns from meshes"

    def fit(self, dataset, recipe, context):
        sizes = [float(np.ptp(dataset.shape(name).vertices)) for name in dataset.ids("train")]
        state = context.workspace / "state.json"
        done, self.weight = json.loads(state.read_text()) if state.exists() else (0, 0.0)
        with context.progress.task("walking", STEPS, done=done) as task:
            for step in range(done, STEPS):
                self.weight += (sizes[step % len(sizes)] - self.weight) * generator(context.seed, step).random()
                write_atomic(state, json.dumps([step + 1, self.weight]))
                task.advance()

    def sample(self, indices, seed, context):
        for index in indices:
            yield PointCloud(self.weight * generator(seed, index).normal(size=(16, 3)))

    def save(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"weight": np.array([self.weight])}, folder / "weight.safetensors")

    @classmethod
    def load(cls, folder, context):
        model = cls()
        model.weight = float(load_file(folder / "weight.safetensors")["weight"][0])
        return model


def failures(method, workspace: Path, recipe: Recipe | None = None) -> dict[str, str]:
    checks = check_method(method, workspace=workspace, progress=Progress(), recipe=recipe or Recipe())
    return {check.name: check.detail for check in checks if not check.passed}


def test_an_honest_method_passes(tmp_path):
    checks = check_method(Walk, workspace=tmp_path, progress=Progress(), recipe=Recipe())
    assert [check.name for check in checks if not check.passed] == []
    assert len(checks) == 14
    assert len({check.name for check in checks}) == 14


class Sizes(Recipe):
    scale: float = 1.0


class Travelled(Walk):
    """Learns from meshes and from sequences of them, and keeps what the recipe says of each."""

    recipe_type = Sizes

    @classmethod
    def supports(cls, dataset):
        return "it learns from meshes" if dataset.kind == "points" else None

    def fit(self, dataset, recipe, context):
        shapes = [dataset.shape(name) for name in dataset.ids("train")]
        if dataset.kind == "sequence" and recipe.scale != 2.0:
            raise ValueError("this is the recipe of meshes")
        super().fit(dataset if dataset.kind == "mesh" else FirstFrames(dataset, shapes), recipe, context)


class FirstFrames:
    def __init__(self, dataset, shapes):
        self.ids, self.shapes = dataset.ids, dict(zip(dataset.ids("train"), shapes, strict=True))

    def shape(self, name):
        return self.shapes[name].frames[0]


@pytest.fixture
def packaged(tmp_path, monkeypatch):
    """A package with a preset for meshes and a table for sequences."""
    (tmp_path / "package" / "recipes").mkdir(parents=True)
    (tmp_path / "package" / "__init__.py").touch()
    (tmp_path / "package" / "recipes" / "smoke.toml").write_text("scale = 1.0\n[for.sequence]\nscale = 2.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(Travelled, "__module__", "package.walk")
    yield
    sys.modules.pop("package", None)


@pytest.mark.usefixtures("packaged")
def test_every_kind_a_method_supports_is_checked_with_its_own_recipe(tmp_path):
    checks = check_method(Travelled, workspace=tmp_path / "workspace", progress=Progress())
    assert [check for check in checks if not check.passed] == []
    names = {check.name for check in checks}
    assert {"fits (mesh)", "fits (sequence)", "says what it supports"} <= names
    assert len(checks) == 2 + 2 * 12
    assert "of kind mesh, sequence" in next(check.detail for check in checks if check.name == "says what it supports")


@pytest.mark.usefixtures("packaged")
def test_a_fault_with_one_kind_is_found(tmp_path):
    checks = check_method(Travelled, workspace=tmp_path, progress=Progress(), recipe=Sizes())
    (broken,) = (check for check in checks if not check.passed)
    assert broken.name == "fits (sequence)"


@pytest.mark.parametrize("name", ["train-copy", "held-out", "noise"])
def test_the_controls_pass(name, tmp_path):
    checks = check_method(get_method(name), workspace=tmp_path, progress=Progress())
    assert [check for check in checks if not check.passed] == []


class Unfinished(Method):
    name, title, output = "unfinished", "Unfinished", "points"


class Nameless(Walk):
    output = "voxels"


class Borrowing(get_method("noise")):
    title = "Louder noise"


class Choosy(Walk):
    @classmethod
    def supports(cls, dataset):
        return "it likes none"


class Mumbling(Walk):
    @classmethod
    def supports(cls, dataset):
        return False


class Peeking(Walk):
    def fit(self, dataset, recipe, context):
        dataset.ids("test")


class Crashing(Walk):
    def fit(self, dataset, recipe, context):
        raise ZeroDivisionError("by design")


class Silent(Walk):
    def fit(self, dataset, recipe, context):
        self.weight = 1.0


class Boasting(Walk):
    def fit(self, dataset, recipe, context):
        super().fit(dataset, recipe, context)
        with context.progress.task("boasting", 1) as task:
            task.advance(2)


class Pickling(Walk):
    def save(self, folder):
        super().save(folder)
        (folder / "weights.pkl").write_bytes(b"")


class Restless(Walk):
    saves = 0

    def save(self, folder):
        super().save(folder)
        Restless.saves += 1
        (folder / "count.json").write_text(str(Restless.saves))


class Forgetful(Walk):
    @classmethod
    def load(cls, folder, context):
        model = super().load(folder, context)
        model.weight += 1
        return model

    def save(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"weight": np.array([round(self.weight) * 0.0])}, folder / "weight.safetensors")


class Moody(Walk):
    def sample(self, indices, seed, context):
        for _ in indices:
            yield PointCloud(np.random.normal(size=(16, 3)))  # noqa: NPY002 - the fault to be found


class Batching(Walk):
    def sample(self, indices, seed, context):
        rng = generator(seed)
        for _ in indices:
            yield PointCloud(rng.normal(size=(16, 3)))


class Deaf(Walk):
    def sample(self, indices, seed, context):
        return super().sample(indices, 0, context)


class Short(Walk):
    def sample(self, indices, seed, context):
        return super().sample(indices[1:], seed, context)


class Infinite(Walk):
    def sample(self, indices, seed, context):
        for shape in super().sample(indices, seed, context):
            yield PointCloud(shape.points / np.float32(0) if shape is not None else shape)


class Mistaken(Walk):
    output = "mesh"


class Amnesiac(Walk):
    """Goes on from where it was, with another random stream than without the interruption."""

    def fit(self, dataset, recipe, context):
        resumed = (context.workspace / "state.json").exists()
        super().fit(dataset, recipe, context)
        self.weight += 0.001 * resumed


class Unstoppable(Walk):
    def fit(self, dataset, recipe, context):
        for _ in range(STEPS):
            with suppress(BaseException):
                super().fit(dataset, recipe, context)
                return


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize(
    ("method", "clause", "words"),
    [
        (Unfinished, "is described", "not implemented: fit, load, sample, save"),
        (Nameless, "is described", "'voxels'"),
        (Borrowing, "is described", "'noise' is the name of another method; set `name` in the class Borrowing"),
        (Choosy, "says what it supports", "it likes none"),
        (Mumbling, "says what it supports", "False"),
        (Peeking, "fits", "may not see the test split"),
        (Crashing, "fits", "raised ZeroDivisionError: by design"),
        (Silent, "reports progress", "never advanced"),
        (Boasting, "reports progress", "'boasting' reported 2 steps of 1"),
        (Pickling, "saves", "weights.pkl"),
        (Restless, "saves the same bytes again", "count.json"),
        (Forgetful, "samples the same from the same seed", "than the loaded one"),
        (Moody, "samples the same from the same seed", "the second time"),
        (Batching, "samples each shape alone", "of a batch"),
        (Deaf, "samples others from another seed", "every seed"),
        (Short, "samples", "gave 2 shapes"),
        (Infinite, "makes finite shapes of its kind", "not finite"),
        (Mistaken, "makes finite shapes of its kind", "is a PointCloud"),
        (Amnesiac, "survives interruptions unchanged", "weight.safetensors differ"),
        (Unstoppable, "survives interruptions unchanged", "could not be interrupted"),
    ],
)
def test_each_fault_is_found(method, clause, words, tmp_path):
    found = failures(method, tmp_path)
    assert clause in found
    assert words in found[clause]


class TestRecipe:
    def test_none_is_needed(self, tmp_path):
        assert all(check.passed for check in check_method(Walk, workspace=tmp_path, progress=Progress()))

    def test_without_a_smoke_preset(self, tmp_path, monkeypatch):
        (tmp_path / "package" / "recipes").mkdir(parents=True)
        (tmp_path / "package" / "__init__.py").touch()
        (tmp_path / "package" / "recipes" / "paper.toml").touch()
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setattr(Walk, "__module__", "package.walk")
        check = check_method(Walk, workspace=tmp_path / "workspace", progress=Progress())[-1]
        assert not check.passed
        assert check.name == "has a smoke preset"
        assert "Available: paper" in check.detail


class TestToySolids:
    def test_splits_hold_different_shapes(self):
        solids = ToySolids()
        names = [name for split in ("train", "val", "test") for name in solids.ids(split)]
        assert len(set(names)) == len(names) == 13
        assert solids.ids("val") == ()

    def test_occupancy_is_that_of_the_mesh(self):
        solids = ToySolids()
        points = np.random.default_rng(0).uniform(-0.5, 0.5, (4000, 3)).astype(np.float32)
        for name in solids.ids("train"):
            inside = solids.occupancy(name, points)
            # the polyhedron lies inside its ellipsoid: its volume is 1.4 % less
            assert np.mean(inside != occupancy(solids.shape(name), points)) < 0.015
            assert 0.02 < inside.mean() < 0.9

    @pytest.mark.parametrize("kind", ["mesh", "points", "sequence"])
    def test_comes_in_every_kind(self, kind):
        solids = ToySolids(kind)
        assert solids.kind == kind
        assert type(solids.shape("box-1")).__name__ == {"mesh": "Mesh", "points": "PointCloud"}.get(kind, "Sequence")

"""Models in folders: fitted, sampled and imported from the command line."""

import json

import numpy as np
import pytest

from hdbench import models, stages
from hdbench.benchmark import make_entrant, open_limited
from hdbench.datasets.registry import open_dataset
from hdbench.errors import HdbenchError
from hdbench.method import Method, get_method
from hdbench.progress import Progress
from hdbench.recipe import Recipe
from hdbench.shape_files import ShapeSet
from hdbench.stages import Workshop
from hdbench.store import Store, write_atomic

NOISE = get_method("noise")


@pytest.fixture
def command(monkeypatch, tmp_path, call):
    """Run a command in this process, in a folder with a data set of clouds; returns (exit code, output, errors)."""
    monkeypatch.setenv("HDBENCH_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    for split in ("train", "test"):
        (tmp_path / "data" / split).mkdir(parents=True)
        for index in range(5):
            points = np.random.default_rng(index).standard_normal((2048, 3)).astype(np.float32)
            np.save(tmp_path / "data" / split / f"{split}-{index}.npy", points)
    return call


FIT = ("fit", "noise", "--category", "blob", "--dataset", "data", "--quiet")


def test_fit_then_sample(command, tmp_path):
    code, out, err = command(*FIT)
    assert code == 0, err
    (folder,) = (tmp_path / "models").iterdir()
    assert out == f"Model: models/{folder.name}\n"
    assert folder.name.startswith("blob-noise-")
    code, out, err = command("sample", folder, "--count", 3, "--seed", 4, "--out", "mine", "--quiet")
    assert code == 0, err
    samples = ShapeSet.open(tmp_path / "mine")
    assert len(samples) == 3
    assert samples.points.shape == (3, 2048, 3)
    assert samples.valid.all()
    command("sample", folder, "--count", 3, "--seed", 5, "--quiet")
    other = ShapeSet.open(tmp_path / "models" / f"{folder.name}-samples-5")
    assert not np.array_equal(samples.points, other.points)
    code, _, err = command("evaluate", "mine", "--reference", "data/test", "--quiet", "--json", "scores.json")
    assert code == 0, err


def test_run_uses_the_fitted_model(command, tmp_path):
    command(*FIT)
    fitted = set((tmp_path / "store" / "artefacts" / "model").iterdir())
    code, _, err = command(
        "run", "--category", "blob", "--dataset", "data", "--methods", "noise", "--out", "run", "--quiet"
    )
    assert code == 0, err
    assert set((tmp_path / "store" / "artefacts" / "model").iterdir()) == fitted


def test_fitting_again_finds_the_folder_again(command, tmp_path):
    assert command(*FIT, "--out", "model")[0] == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    assert command(*FIT, "--out", "model")[0] == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()} == before


@pytest.mark.parametrize("out", ["data", "file"])
def test_what_is_not_ours_is_never_replaced(command, tmp_path, out):
    (tmp_path / "file").write_text("precious")
    (tmp_path / "data" / "manifest.json").write_text("{}")  # many tools call files so
    code, _, err = command(*FIT, "--out", out)
    assert code == 2
    assert "--out" in err
    assert (tmp_path / "data" / "train" / "train-0.npy").is_file()
    assert (tmp_path / "file").read_text() == "precious"


def test_models_samples_and_sources_never_replace_each_other(command, tmp_path):
    assert command(*FIT, "--out", "model")[0] == 0
    for out, words in (("model", "would replace"), (".", "would replace")):
        code, _, err = command("sample", "model", "--count", 1, "--out", out, "--quiet")
        assert code == 2
        assert words in err
    assert command(*FIT, "--out", "other")[0] == 0
    code, _, err = command("sample", "model", "--count", 1, "--out", "other", "--quiet")
    assert code == 2
    assert "holds no samples" in err
    assert (tmp_path / "other" / "hdbench.json").is_file()
    assert command("sample", "model", "--count", 1, "--out", "mine", "--quiet")[0] == 0
    code, _, err = command(*FIT, "--out", "mine")
    assert code == 2
    assert "holds no model" in err
    assert command("sample", "model", "--count", 2, "--out", "mine", "--quiet")[0] == 0


def test_samples_of_the_model_one_stands_in_lie_beside_it(command, tmp_path, monkeypatch):
    assert command(*FIT, "--out", "model")[0] == 0
    monkeypatch.chdir(tmp_path / "model")
    assert command("sample", ".", "--count", 1, "--quiet")[0] == 0
    assert ShapeSet.is_one(tmp_path / "model-samples-0")


def test_places_that_cannot_be_written_are_refused_before_any_work(command, tmp_path):
    (tmp_path / "file").touch()
    code, _, err = command(*FIT, "--out", "file/model")
    assert code == 2
    assert "cannot be written" in err
    assert not (tmp_path / "store" / "artefacts" / "model").exists()


def test_samples_belong_to_the_device_they_were_drawn_on(command, tmp_path):
    assert command(*FIT, "--out", "model")[0] == 0
    store = Store(tmp_path / "store")
    shops = (Workshop(store, Progress(), device, 1) for device in ("cpu", "cuda"))
    assert len({stages.adopt(shop, NOISE, tmp_path / "model").key.digest for shop in shops}) == 2


def test_methods_without_fields_refuse_them(command, tmp_path):
    (tmp_path / "fields").mkdir()
    code, _, err = command(*FIT, "--from-fields", "fields")
    assert code == 2
    assert "does not learn from fields" in err


def test_methods_without_originals_refuse_them(command):
    code, _, err = command("zoo", "import", "noise", "data")
    assert code == 2
    assert "knows no original files" in err


class Importing(Method):
    name, title, output = "noise", "Importing", "points"

    @classmethod
    def import_original(cls, path, folder, context, *, category=None, changes):
        if path.read_text() == "bad":
            raise HdbenchError(f"{path} is bad.")
        write_atomic(folder / "model.json", json.dumps([path.read_text(), category, changes]))
        return "a file"


def test_methods_that_know_their_originals_import_them(tmp_path):
    workshop = Workshop(Store(tmp_path / "store"), Progress(), "cpu", 1)
    (tmp_path / "original").write_text("content")
    what = models.import_original(
        Importing, tmp_path / "original", tmp_path / "out", workshop, category="car", changes={"a": 1}
    )
    assert what == "a file"
    assert json.loads((tmp_path / "out" / "model.json").read_text()) == ["content", "car", {"a": 1}]
    assert models.method_of(tmp_path / "out") is NOISE


def test_a_failed_import_leaves_nothing(tmp_path):
    workshop = Workshop(Store(tmp_path / "store"), Progress(), "cpu", 1)
    (tmp_path / "original").write_text("bad")
    with pytest.raises(HdbenchError, match="is bad"):
        models.import_original(Importing, tmp_path / "original", tmp_path / "out", workshop, category=None, changes={})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("label", ["{", "{}", '{"schema": "hdbench/model/9", "method": "noise"}', "[]"])
def test_foreign_folders_are_refused(tmp_path, label):
    (tmp_path / "hdbench.json").write_text(label)
    with pytest.raises(HdbenchError, match="is no model's folder"):
        models.method_of(tmp_path)


def test_a_folder_without_a_model_is_told_from_none(tmp_path):
    with pytest.raises(HdbenchError, match=r"it has no hdbench\.json\); expected one written by hdbench fit, zoo pull"):
        models.method_of(tmp_path)
    with pytest.raises(HdbenchError, match="there is no such folder"):
        models.method_of(tmp_path / "nowhere")


def test_models_of_methods_that_are_not_installed_are_named(tmp_path):
    (tmp_path / "hdbench.json").write_text('{"schema": "hdbench/model/1", "method": "nois"}')
    with pytest.raises(HdbenchError, match="Did you mean 'noise'"):
        models.method_of(tmp_path)


def test_changed_recipes_do_not_pass_for_the_method_as_it_is(tmp_path, command):
    dataset = open_limited("data", "blob", None, strict=False, store=Store(tmp_path / "s"), progress=Progress())
    plain = make_entrant(Scaled, dataset, "default", ())
    changed = make_entrant(Scaled, dataset, "default", ("scale=2",))
    assert (plain.title, changed.title) == ("Scaled", "Scaled (scale=2)")
    assert changed.recipe.scale == 2
    with pytest.raises(HdbenchError, match="Method 'scaled': --set: Unknown field 'scal'"):
        make_entrant(Scaled, dataset, "default", ("scal=2",))


class ScaleRecipe(Recipe):
    scale: float = 1.0


class Scaled(Method):
    name, title, output, recipe_type = "scaled", "Scaled", "points", ScaleRecipe
    __module__ = "alone"


@pytest.mark.parametrize("said", ["somewhere", 3, ["a"], None])
def test_a_damaged_word_about_the_data_says_nothing(tmp_path, said):
    label = json.loads(models.label(NOISE)) | {"learnt_from": said}
    (tmp_path / "hdbench.json").write_text(json.dumps(label), encoding="utf-8")
    models.refuse_other_data(tmp_path, open_dataset("procedural", "chair"))

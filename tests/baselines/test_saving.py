import filecmp
import json

import pytest
from hdbench_baselines.dpc.clouds import Placement
from hdbench_baselines.dpc.method import DPC, FitReport

from hdbench.errors import HdbenchError
from hdbench.method import Context
from hdbench.progress import Progress


@pytest.fixture(scope="module")
def model():
    """A model that has learned nothing: all methods are saved and loaded in the same way."""
    fresh = DPC()
    fresh.recipe = DPC.load_recipe("smoke")
    fresh._build("cpu")
    fresh.network.initialize(0)
    fresh.report = FitReport(
        seed=0, shapes=1, left_out={}, placement=Placement(), checkpoint_rule="none", loss_curve=[(1, 0.5)]
    )
    return fresh


def loaded(folder):
    return DPC.load(folder, Context("cpu", Progress(), folder / "workspace", 1, 0))


def test_what_is_loaded_is_saved_with_the_same_bytes(model, tmp_path):
    model.save(tmp_path / "first")
    again = loaded(tmp_path / "first")
    again.save(tmp_path / "second")
    assert again.loss_curve() == [(1, 0.5)]
    for name in ("model.json", "model.safetensors"):
        assert filecmp.cmp(tmp_path / "first" / name, tmp_path / "second" / name, shallow=False)


def test_a_folder_says_whose_model_it_holds(model, tmp_path):
    model.save(tmp_path)
    described = json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))
    assert (described["method"], described["version"]) == ("dpc", DPC.version)


@pytest.mark.parametrize("damage", ["missing", "text", "field", "curve", "weights", "other weights"])
def test_damaged_models_are_refused_with_one_line(model, tmp_path, damage):
    description, weights = tmp_path / "model.json", tmp_path / "model.safetensors"
    if damage != "missing":
        model.save(tmp_path)
    if damage == "text":
        description.write_text("{", encoding="utf-8")
    if damage == "field":
        description.write_text('{"recipe": {}}', encoding="utf-8")
    if damage == "curve":
        told = json.loads(description.read_text(encoding="utf-8"))
        told["report"]["loss_curve"] = [[1, "low"]]
        description.write_text(json.dumps(told), encoding="utf-8")
    if damage == "weights":
        weights.write_bytes(b"0" * 64)
    if damage == "other weights":
        weights.write_bytes(b"\x02\x00\x00\x00\x00\x00\x00\x00{}")
    with pytest.raises(HdbenchError, match="holds no DPC model") as caught:
        loaded(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)

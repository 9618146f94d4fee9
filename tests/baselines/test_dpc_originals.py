import argparse
import json
import pathlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hdbench_baselines.dpc.method import DPC
from safetensors.torch import load_file

from hdbench.errors import HdbenchError
from hdbench.method import Context
from hdbench.progress import Progress

GOLDEN = Path(__file__).resolve().parents[2].parent / "shared" / "golden"


@pytest.fixture(scope="module")
def content():
    """What the original training script saves, in small."""
    if not GOLDEN.exists():
        pytest.skip("the golden data are not beside this checkout")
    manifest = json.loads((GOLDEN / "manifest.json").read_text(encoding="utf-8"))
    entry = next(entry for entry in manifest["files"] if entry["file"] == "dpc/flow_small_io.npz")
    options = {**entry["args"]["namespace"], "max_iters": float("inf")}
    stored = load_file(GOLDEN / "dpc" / "flow_small_state_dict.safetensors")
    state = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in stored.items()}
    return {"args": argparse.Namespace(**options), "state_dict": state, "others": {"optimizer": {}, "scheduler": {}}}


def context(folder):
    return Context("cpu", Progress(), folder, workers=1, seed=0)


def imported(content, tmp_path, **changes):
    path = tmp_path / "GEN_small.pt"
    torch.save(content, path)
    what = DPC.import_original(path, tmp_path / "model", context(tmp_path), changes=changes)
    return DPC.load(tmp_path / "model", context(tmp_path)), what


def changed(content, *, options=None, state=None):
    arguments = argparse.Namespace(**{**vars(content["args"]), **(options or {})})
    return {**content, "args": arguments, "state_dict": {**content["state_dict"], **(state or {})}}


def test_checkpoint_becomes_a_model(content, tmp_path):
    model, what = imported(content, tmp_path, sampling={"block": 1, "points": 256})
    assert "parameters" in what
    assert (model.recipe.network.latent, model.recipe.network.flow_depth) == (24, 4)
    assert model.report.checkpoint_rule == "imported from GEN_small.pt"
    for name, tensor in content["state_dict"].items():
        assert torch.equal(model.network.state_dict()[name], tensor), name
    (sample,) = model.sample([3], 0, context(tmp_path))
    assert sample.points.shape == (256, 3)
    assert np.isfinite(sample.points).all()


def test_gaussian_prior_is_imported(content, tmp_path):
    state = {name: tensor for name, tensor in content["state_dict"].items() if not name.startswith("flow.")}
    gaussian = {**changed(content, options={"model": "gaussian"}), "state_dict": state}
    model, _ = imported(gaussian, tmp_path)
    assert model.recipe.network.flow_depth == 0


def test_changes_have_the_last_word(content, tmp_path):
    model, _ = imported(content, tmp_path, sampling={"points": 100, "block": 1}, diffusion={"flexibility": 1.0})
    assert next(model.sample([0], 0, context(tmp_path))).points.shape == (100, 3)
    assert model.recipe.diffusion.flexibility == 1
    assert model.recipe.diffusion.timesteps == 100


@pytest.mark.parametrize(
    ("options", "state", "words"),
    [
        ({"model": None}, {}, "autoencoder"),
        ({"model": "AE"}, {}, "'AE'"),
        ({"spectral_norm": True}, {}, "spectral norm"),
        ({"beta_T": 0.05}, {}, "betas from 0.0001 to 0.02"),
        ({"latent_dim": 32}, {}, "fc3_m.weight"),
        ({"num_steps": "many"}, {}, "timesteps"),
        ({"sched_mode": "cubic"}, {}, "schedule"),
        ({}, {"flow.chain.9.weight": torch.zeros(1)}, "flow.chain.9.weight"),
        ({}, {"encoder.bn1.bias": "no tensor"}, "state_dict"),
    ],
)
def test_what_does_not_fit_is_refused_with_one_line(content, tmp_path, options, state, words):
    with pytest.raises(HdbenchError) as caught:
        imported(changed(content, options=options, state=state), tmp_path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("content_of_file", [{"state_dict": {}}, [1, 2], {"args": 7, "state_dict": {}}])
def test_other_files_are_refused(tmp_path, content_of_file):
    with pytest.raises(HdbenchError, match="args"):
        imported(content_of_file, tmp_path)


def test_nothing_is_unpickled(content, tmp_path):
    """A class that is not on the list, here a harmless one, is refused by its name."""
    with pytest.raises(HdbenchError, match=r"pathlib|Path"):
        imported({**content, "others": pathlib.PureWindowsPath("x")}, tmp_path)

"""Foreign torch files: read without running anything they hold."""

import argparse
import collections
import os
import pathlib
import pickle

import numpy as np
import pytest
import torch

from hdbench.checkpoints import read_checkpoint, refuse_misfit, tensors_of
from hdbench.errors import HdbenchError


class Evil:
    def __reduce__(self):
        return pathlib.Path("owned").touch, ()


def refusal(path) -> str:
    with pytest.raises(HdbenchError) as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_what_training_scripts_store_beside_the_weights_is_read(tmp_path):
    stored = {
        "state_dict": {"weight": torch.arange(3.0)},
        "args": argparse.Namespace(latent_dim=256, model="flow"),
        "accuracy": np.float64(0.5),
        "callbacks": collections.defaultdict(dict, {"path": pathlib.PosixPath("some/file.ckpt")}),
        "epoch": 3,
    }
    torch.save(stored, tmp_path / "file.ckpt")
    read = read_checkpoint(tmp_path / "file.ckpt")
    assert torch.equal(read["state_dict"]["weight"], torch.arange(3.0))
    assert read["args"].latent_dim == 256
    assert read["accuracy"] == 0.5
    assert str(read["callbacks"]["path"]) == "some/file.ckpt"


def test_torch_files_of_the_old_format_are_read(tmp_path):
    torch.save({"weight": torch.ones(2)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert torch.equal(read_checkpoint(tmp_path / "old.pth")["weight"], torch.ones(2))


def test_code_is_refused_by_name_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": torch.ones(2), "other": Evil()}, "evil.ckpt")
    assert "pathlib" in refusal(pathlib.Path("evil.ckpt")) or "getattr" in refusal(pathlib.Path("evil.ckpt"))
    assert not pathlib.Path("owned").exists()


def test_blocked_modules_are_refused_by_name(tmp_path):
    class Shell:
        def __reduce__(self):
            return os.system, ("true",)

    torch.save(Shell(), tmp_path / "shell.ckpt")
    assert "system" in refusal(tmp_path / "shell.ckpt")


def test_unknown_classes_are_refused_by_name(tmp_path):
    torch.save({"when": collections.UserDict()}, tmp_path / "file.ckpt")
    assert "collections.UserDict" in refusal(tmp_path / "file.ckpt")


@pytest.mark.parametrize("content", [b"", b"no torch file", pickle.dumps({"weight": 1})[:-3], b"PK\x03\x04 broken"])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "file.ckpt").write_bytes(content)
    refusal(tmp_path / "file.ckpt")


@pytest.mark.parametrize("zipped", [True, False])
def test_damaged_files_are_refused_whatever_torch_makes_of_them(tmp_path, zipped):
    path = tmp_path / "file.ckpt"
    torch.save({"weight": torch.zeros(2), "others": [1.5, "text"]}, path, _use_new_zipfile_serialization=zipped)
    whole, rng = path.read_bytes(), np.random.default_rng(5)
    refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        for place in rng.integers(len(whole), size=rng.integers(1, 5)):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged[: rng.integers(len(whole))] if rng.random() < 0.2 else damaged)
        try:
            read_checkpoint(path)
        except HdbenchError:
            refused += 1
    assert refused > 50


def test_files_that_cannot_be_read_are_named(tmp_path):
    assert "No such file" in refusal(tmp_path / "missing.ckpt")
    assert "directory" in refusal(tmp_path)


def test_state_dicts_hold_tensors():
    assert list(tensors_of({"a": torch.ones(1)}, "file")) == ["a"]
    for wrong in ({"a": 1}, [torch.ones(1)], None):
        with pytest.raises(HdbenchError, match="file is no state dict"):
            tensors_of(wrong, "file")


@pytest.mark.parametrize(
    "tensor", [torch.eye(2).to_sparse(), torch.ones(2, device="meta"), torch.ones(2, dtype=torch.complex64)]
)
def test_tensors_are_plain(tensor):
    with pytest.raises(HdbenchError, match="file does not fit: tensor 'a' is no dense tensor"):
        tensors_of({"a": tensor}, "file")


def test_parameters_are_read_as_tensors():
    assert not tensors_of({"a": torch.nn.Parameter(torch.ones(2))}, "file")["a"].requires_grad


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"a": (2, 3)}, "'b' is missing"),
        ({"a": (2, 3), "b": (1,), "c": (1,)}, "'c' has no place"),
        ({"a": (3, 2), "b": (1,)}, r"'a' has shape \(3, 2\), expected \(2, 3\)"),
    ],
)
def test_misfits_are_named(found, words):
    with pytest.raises(HdbenchError, match=words):
        refuse_misfit({name: torch.ones(shape) for name, shape in found.items()}, {"a": (2, 3), "b": (1,)}, "file")

"""Weights at half size."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from hdbench.errors import HdbenchError
from hdbench.zoo.precision import halve, widen


@pytest.fixture
def weights(tmp_path):
    generator = torch.Generator().manual_seed(0)
    tensors = {
        "matrix": torch.randn(40, 30, generator=generator),
        "kernel": torch.randn(4, 3, 3, 3, 3, generator=generator),
        "bias": torch.randn(40, generator=generator),
        "mean": torch.tensor([1e-9, 1e9]),
        "steps": torch.arange(6).reshape(2, 3),
        "wide": torch.randn(3, 3, generator=generator, dtype=torch.float64),
        "scalar": torch.tensor(3.5),
    }
    save_file(tensors, tmp_path / "full.safetensors")
    return tmp_path, tensors


def test_matrices_are_halved_and_all_else_is_kept(weights):
    folder, tensors = weights
    halve(folder / "full.safetensors", folder / "half.safetensors")
    half = load_file(folder / "half.safetensors")
    assert {name for name, tensor in half.items() if tensor.dtype == torch.float16} == {"matrix", "kernel"}
    widen(folder / "half.safetensors", folder / "wide.safetensors")
    wide = load_file(folder / "wide.safetensors")
    assert wide.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert wide[name].dtype == tensor.dtype
        if name in ("matrix", "kernel"):  # half a unit in the last of float16's 11 binary places
            torch.testing.assert_close(wide[name], tensor, rtol=2**-11, atol=2**-25)
            assert torch.equal(wide[name], tensor.half().float())
        else:
            assert torch.equal(wide[name], tensor)


def test_the_same_weights_give_the_same_bytes(weights):
    folder, _ = weights
    for name in ("one", "two"):
        halve(folder / "full.safetensors", folder / f"{name}.half")
        widen(folder / f"{name}.half", folder / f"{name}.wide")
    assert (folder / "one.half").read_bytes() == (folder / "two.half").read_bytes()
    assert (folder / "one.wide").read_bytes() == (folder / "two.wide").read_bytes()


def test_what_was_not_halved_stays_byte_for_byte(weights):
    folder, tensors = weights
    save_file({**tensors, "native": torch.ones(2, 2, dtype=torch.float16)}, folder / "mixed.safetensors")
    widen(folder / "mixed.safetensors", folder / "same.safetensors")
    assert (folder / "same.safetensors").read_bytes() == (folder / "mixed.safetensors").read_bytes()


def test_a_weight_beyond_float16_is_refused(tmp_path):
    save_file({"matrix": torch.full((2, 2), 7e4)}, tmp_path / "full.safetensors")
    with pytest.raises(HdbenchError, match="'matrix' does not fit float16"):
        halve(tmp_path / "full.safetensors", tmp_path / "half.safetensors")


@pytest.mark.parametrize("content", [b"", b"\x80\x04 a pickle", b"\xff" * 64])
def test_no_safetensors_file(tmp_path, content):
    (tmp_path / "model.safetensors").write_bytes(content)
    for function in (halve, widen):
        with pytest.raises(HdbenchError, match="no safetensors file"):
            function(tmp_path / "model.safetensors", tmp_path / "out")


def test_widening_reads_what_halving_marked(weights):
    folder, _ = weights
    halve(folder / "full.safetensors", folder / "half.safetensors")
    with safe_open(folder / "half.safetensors", framework="pt") as stored:
        assert stored.metadata() == {"hdbench.precision": "float16"}

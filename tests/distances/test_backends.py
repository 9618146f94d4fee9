import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from hdbench.distances import backends, chamfer
from hdbench.distances.backends import Backend, choose_backend, cross_check
from hdbench.errors import HdbenchError

A = np.random.default_rng(0).normal(size=(4, 30, 3)).astype(np.float32)
B = np.random.default_rng(1).normal(size=(3, 25, 3)).astype(np.float32)


@pytest.mark.parametrize("name", ["numba", "torch"])
def test_back_ends_agree_with_plain_arithmetic(name):
    backend = choose_backend(name)
    assert (backend.name, backend.device) == (name, "cpu")
    assert cross_check(backend) < 1e-6


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_back_ends_on_a_gpu_agree_with_plain_arithmetic():
    assert cross_check(choose_backend("torch", device="cuda")) < 1e-6
    assert cross_check(choose_backend("auto", device="cuda")) < 1e-6


def test_pytorch3d_agrees_with_plain_arithmetic():
    pytest.importorskip("pytorch3d", reason="pytorch3d is not installed (optional)")
    assert cross_check(choose_backend("pytorch3d")) < 1e-6


def test_the_pytorch3d_adapter_takes_squared_distances_both_ways(monkeypatch):
    def knn_points(x, y):
        """What pytorch3d's function of that name returns: squared distances to the K = 1 nearest, (N, P, 1)."""
        return SimpleNamespace(dists=((x[:, :, None] - y[:, None]) ** 2).sum(-1).amin(2, keepdim=True))

    package, operations = ModuleType("pytorch3d"), ModuleType("pytorch3d.ops")
    operations.knn_points = knn_points
    monkeypatch.setitem(sys.modules, "pytorch3d", package)
    monkeypatch.setitem(sys.modules, "pytorch3d.ops", operations)
    monkeypatch.setattr(backends, "find_spec", lambda name: object())
    assert cross_check(choose_backend("pytorch3d")) < 1e-6


def test_the_cross_check_notices_a_wrong_back_end():
    doubled = Backend("doubled", "cpu", lambda a, b=None, **_: 2 * chamfer.cd_sq_matrix(a, b), chamfer.cd_l2_matrix)
    assert cross_check(doubled) == pytest.approx(1)
    swapped = Backend("swapped", "cpu", chamfer.cd_sq_matrix, chamfer.cd_sq_matrix)
    assert cross_check(swapped) > 0.1


def test_the_number_of_threads_changes_no_bit():
    alone, three = (choose_backend("numba", workers=workers) for workers in (1, 3))
    assert np.array_equal(alone.cd_sq_matrix(A, B), three.cd_sq_matrix(A, B))


@pytest.mark.parametrize(
    ("device", "installed", "expected"), [("cpu", True, "numba"), ("cuda", True, "triton"), ("cuda", False, "torch")]
)
def test_auto_takes_the_fastest_there_is(device, installed, expected, monkeypatch):
    monkeypatch.setattr(backends, "find_spec", lambda name: object() if installed else None)
    monkeypatch.setattr(backends, "BACKENDS", dict.fromkeys(backends.BACKENDS) | {expected: lambda *_: "chosen"})
    assert choose_backend("auto", device=device) == "chosen"


@pytest.mark.parametrize("name", ["triton", "pytorch3d"])
def test_a_missing_package_is_named_with_its_installation(name, monkeypatch):
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    with pytest.raises(HdbenchError, match=f"{name}.*pip install"):
        choose_backend(name, device="cuda")


def test_triton_without_a_gpu_is_refused(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(backends, "find_spec", lambda name: object())
    with pytest.raises(HdbenchError, match="--device cuda"):
        choose_backend("triton", device="cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_a_gpu_is_refused():
    with pytest.raises(HdbenchError, match="no CUDA device"):
        choose_backend("torch", device="cuda")


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(HdbenchError, match="Did you mean 'triton'"):
        choose_backend("tritton")

"""The doctor finds what is sound sound, and what is broken broken."""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import pytest

import hdbench.distances.backends
from hdbench.cli import _main
from hdbench.doctor import diagnose


@pytest.fixture
def store(monkeypatch, tmp_path):
    monkeypatch.setenv("HDBENCH_STORE", str(tmp_path / "store"))


def test_a_sound_installation(store, capsys):
    assert _main(["doctor"]) == 0
    assert "FAILED" not in capsys.readouterr().out


def test_a_wrong_kernel_is_found(store, monkeypatch, capsys):
    monkeypatch.setattr(hdbench.distances.backends, "cross_check", lambda backend: 1e-3)
    findings = {finding.name: finding for finding in diagnose()}
    assert not findings["distances: numba"].healthy
    assert "1.0e-03" in findings["distances: numba"].detail
    assert findings["occupancy"].healthy
    assert _main(["doctor"]) == 1


@pytest.fixture
def pytorch3d(monkeypatch):
    """A stand-in for the package, whose distances to the nearest can be set wrong by a factor."""

    def knn_points(x, y):
        squared = ((x[:, :, None] - y[:, None]) ** 2).sum(-1)
        return SimpleNamespace(dists=package.factor * squared.amin(2, keepdim=True))

    package, operations = ModuleType("pytorch3d"), ModuleType("pytorch3d.ops")
    package.__spec__, package.factor = ModuleSpec("pytorch3d", None), 1.0
    operations.knn_points = knn_points
    monkeypatch.setitem(sys.modules, "pytorch3d", package)
    monkeypatch.setitem(sys.modules, "pytorch3d.ops", operations)
    return package


def pytorch3d_finding():
    return next(finding for finding in diagnose() if finding.name == "distances: pytorch3d")


def test_distances_are_checked_against_pytorch3d_where_it_is_installed(store, pytorch3d):
    assert pytorch3d_finding().healthy
    assert "agrees with plain arithmetic" in pytorch3d_finding().detail
    pytorch3d.factor = 1 + 1e-5
    assert not pytorch3d_finding().healthy
    assert "differs from plain arithmetic by 1.0e-05" in pytorch3d_finding().detail


def test_a_package_that_is_not_there_is_no_fault(store, monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch3d", None)
    assert pytorch3d_finding().healthy
    assert "pip install" in pytorch3d_finding().detail


def test_a_store_that_cannot_be_written_is_found(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HDBENCH_STORE", str(tmp_path / "file"))
    assert [finding.name for finding in diagnose() if not finding.healthy] == ["store"]

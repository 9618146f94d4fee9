"""The doctor finds what is sound sound, and what is broken broken."""

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


def test_a_store_that_cannot_be_written_is_found(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HDBENCH_STORE", str(tmp_path / "file"))
    assert [finding.name for finding in diagnose() if not finding.healthy] == ["store"]

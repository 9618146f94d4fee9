"""The figures of papers in a run: made on request, of methods that have them, and shown in the report."""

import numpy as np
import pytest

from hdbench.cli import _main
from hdbench.conformance import ToySolids
from hdbench.method import get_method
from hdbench.progress import Progress
from hdbench.shape_files import ShapeSet
from hdbench.showcase import draw_figures
from hdbench.stages import Entrant, Workshop, obtain
from hdbench.store import Store


@pytest.fixture
def workshop(tmp_path):
    return Workshop(Store(tmp_path / "store"), Progress(), "cpu", 1)


def test_methods_without_figures_leave_none(workshop):
    noise = get_method("noise")
    model = obtain(workshop, ToySolids(), Entrant(noise, noise.load_recipe("smoke")), seed=0)
    figures = draw_figures(workshop, noise, model, seed=0)
    assert [path.name for path in figures.folder.iterdir()] == ["artefact.json"]


def test_a_run_shows_them_on_request(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HDBENCH_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    smoke = ["run", "--category", "airplane", "--preset", "smoke", "--limit", "4", "--count", "4", "--quiet"]
    options = ["--methods", "hyperdiffusion,noise", "--set", "training.steps=30"]
    assert _main([*smoke, *options, "--figures", "--out", "with"]) == 0, capsys.readouterr().err
    denoising = ShapeSet.open(tmp_path / "with" / "figures" / "hyperdiffusion" / "denoising")
    assert denoising.ids[:2] == ("0-0-89 left", "0-1-67 left")
    assert len(denoising) == 12
    between = ShapeSet.open(tmp_path / "with" / "figures" / "hyperdiffusion" / "interpolation")
    assert [name.split("-", 2)[2] for name in between.ids[:7]] == [
        "sample 0", *(f"{k} of 6" for k in range(1, 6)), "sample 1"
    ]  # fmt: skip
    samples = ShapeSet.open(tmp_path / "with" / "samples" / "hyperdiffusion")
    if samples.valid[0]:
        np.testing.assert_allclose(denoising.points[5].mean(0), samples.points[0].mean(0), atol=0.05)
    page = (tmp_path / "with" / "report.html").read_text()
    assert "HyperDiffusion (training.steps=30): denoising" in page
    assert "interpolation between samples" in page
    assert "89 left" in page
    results = (tmp_path / "with" / "results.json").read_text()
    assert '"HyperDiffusion (training.steps=30)"' in results
    assert not (tmp_path / "with" / "figures" / "noise" / "denoising").exists()
    assert _main([*smoke, *options, "--out", "without"]) == 0, capsys.readouterr().err
    assert "Denoising and interpolation" not in (tmp_path / "without" / "report.html").read_text()

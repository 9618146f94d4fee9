"""A method that lives outside this repository: installed by pip, found by its entry point, run like ours."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent / "plugin"


@pytest.fixture(scope="module")
def hdbench(tmp_path_factory):
    """Run the command in an environment where the package is installed."""
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"
    shutil.copytree(PACKAGE, source)  # pip builds in place
    offline = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    subprocess.run([sys.executable, "-m", "pip", "install", *offline, "--target", folder / "site", source], check=True)
    environment = {**os.environ, "PYTHONPATH": str(folder / "site"), "HDBENCH_STORE": str(folder / "store")}

    def run(*arguments):
        command = [sys.executable, "-m", "hdbench", *map(str, arguments)]
        return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)

    return run


def test_it_is_listed(hdbench):
    listed = hdbench("methods", "list")
    assert listed.returncode == 0, listed.stderr
    assert "ellipsoids" in listed.stdout


def test_it_keeps_the_contract(hdbench):
    tested = hdbench("methods", "test", "ellipsoids")
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_it_stands_in_a_run_beside_a_control(hdbench, tmp_path):
    options = ["--limit", "10", "--count", "8", "--out", tmp_path / "run"]
    finished = hdbench("run", "--category", "chair", "--methods", "ellipsoids,noise", *options)
    assert finished.returncode == 0, finished.stderr
    rows = json.loads((tmp_path / "run" / "results.json").read_text())["rows"]
    assert {row["method"] for row in rows} == {"ellipsoids", "noise"}
    assert (tmp_path / "run" / "report.html").is_file()

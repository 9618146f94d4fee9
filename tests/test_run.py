"""The main job, as a user starts it: a smoke run in a process of its own, killed and repeated."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from hdbench.results import load_results
from hdbench.shape_files import ShapeSet
from hdbench.store import MANIFEST, lock

METHODS = ["hyperdiffusion", "held-out", "noise", "train-copy"]
"""One method stands for all: what differs between them is the conformance check's affair."""
SMOKE = ["run", "--category", "airplane", "--preset", "smoke", "--limit", "12", "--count", "4"]
SMOKE += ["--methods", ",".join(METHODS)]


def hdbench(*arguments: str, store: Path, cwd: Path, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hdbench", *arguments],
        cwd=cwd,
        # No commit in the results: a change of this repository in between would change them.
        env={**os.environ, "HDBENCH_STORE": str(store), "GIT_DIR": os.devnull},
        capture_output=True,
        text=True,
        timeout=300,
        **options,
    )


@pytest.fixture(scope="session")
def smoke(tmp_path_factory, worker_id):
    """An undisturbed smoke run: (working folder, store, run folder). Workers of pytest take a copy each of one run."""
    base = tmp_path_factory.getbasetemp()
    made = (base if worker_id == "master" else base.parent) / "undisturbed"
    with lock(made.with_suffix(".lock")):
        if not made.exists():
            working = tmp_path_factory.mktemp("undisturbed")
            done = hdbench(*SMOKE, store=working / "store", cwd=working)
            assert done.returncode == 0, done.stderr
            working.rename(made)
    home = tmp_path_factory.mktemp("smoke") / "home"
    shutil.copytree(made, home)
    (folder,) = (home / "runs").iterdir()
    return home, home / "store", folder


def scores(folder: Path) -> str:
    rows = json.loads((folder / "results.json").read_text())["rows"]
    return json.dumps([(row["method"], row["samples"]["sha256"], row["scores"], row["neighbours"]) for row in rows])


def test_run_writes_everything_a_report_needs(smoke):
    _, _, folder = smoke
    names = {path.name for path in folder.iterdir()}
    assert {"results.json", "report.html", "report.md", "leaderboard.csv"} <= names
    assert {"samples", "reference", "neighbours"} <= names
    results = load_results(folder)
    assert [row.method for row in results.rows] == METHODS
    for row in results.rows:
        drawn = ShapeSet.open(folder / "samples" / row.method)
        assert len(drawn) == 4
        assert drawn.points.shape == (4, 2048, 3)
        assert {score.metric for score in row.scores} >= {"mmd_cd", "cov_cd", "nna_cd"}
        assert all(score.signature for score in row.scores)


def test_reference_is_the_test_split_and_training_shapes_are_not_in_it(smoke):
    results = load_results(smoke[2])
    named = {name for row in results.rows for entry in row.neighbours for name in entry.training}
    assert named
    assert not named & set(results.dataset.reference_ids)


def test_train_copy_is_flagged_by_its_nearest_training_shapes(smoke):
    controls = [row for row in load_results(smoke[2]).rows if row.source == "control"]
    distances = {row.method: np.mean([entry.distances[0] for entry in row.neighbours]) for row in controls}
    # What is left is sampling noise: two samples of 2,048 points of one surface.
    assert distances["train-copy"] < 0.5 * distances["held-out"]


def written(store):
    """When each file and folder of an artefact was written; a manifest's time says when it was last used."""
    found = (path for path in (store / "artefacts").rglob("*") if path.name != MANIFEST)
    return {path: path.stat().st_mtime_ns for path in found}


def test_the_same_command_again_computes_nothing(smoke):
    home, store, folder = smoke
    before = written(store)
    results = (folder / "results.json").read_bytes()
    again = hdbench(*SMOKE, store=store, cwd=home)
    assert again.returncode == 0, again.stderr
    assert written(store) == before
    assert (folder / "results.json").read_bytes() == results


def test_a_damaged_artefact_is_made_again(smoke):
    home, store, folder = smoke
    expected = scores(folder)
    victim = next((store / "artefacts" / "samples").rglob("points.npz"))
    content = victim.read_bytes()
    victim.write_bytes(content[: len(content) // 2])
    assert hdbench(*SMOKE, store=store, cwd=home).returncode == 0
    assert victim.read_bytes() == content
    assert scores(folder) == expected


@pytest.mark.parametrize("kills", [3, pytest.param(10, marks=pytest.mark.slow)])
def test_a_run_killed_at_random_moments_ends_with_the_same_scores(smoke, tmp_path, kills):
    moments = random.Random(kills)
    store = tmp_path / "store"
    for _ in range(kills):
        process = subprocess.Popen(
            [sys.executable, "-m", "hdbench", *SMOKE, "--quiet"],
            cwd=tmp_path,
            env={**os.environ, "HDBENCH_STORE": str(store)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(moments.uniform(1.0, 12.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
    last = hdbench(*SMOKE, store=store, cwd=tmp_path)
    assert last.returncode == 0, last.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    assert scores(folder) == scores(smoke[2])
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".tmp")]
    assert not list((store / "workspaces").glob("*/*"))


def test_seeds_give_a_row_each_from_one_model(smoke, tmp_path):
    home, store, _ = smoke
    done = hdbench(*SMOKE, "--methods", "noise", "--seeds", "2", "--out", str(tmp_path / "run"), store=store, cwd=home)
    assert done.returncode == 0, done.stderr
    first, second = load_results(tmp_path / "run").rows
    assert first.model == second.model
    assert first.samples.sha256 != second.samples.sha256
    assert len(ShapeSet.open(tmp_path / "run" / "samples" / "noise" / "seed-1")) == 4


def test_json_prints_the_results(smoke):
    home, store, folder = smoke
    done = hdbench(*SMOKE, "--json", "--quiet", store=store, cwd=home)
    assert json.loads(done.stdout)["rows"] == json.loads((folder / "results.json").read_text())["rows"]
    assert not done.stderr


def test_ctrl_c_ends_with_one_line_and_goes_on_from_there(smoke, tmp_path):
    store = tmp_path / "store"
    process = subprocess.Popen(
        [sys.executable, "-m", "hdbench", *SMOKE, "--quiet"],
        cwd=tmp_path,
        env={**os.environ, "HDBENCH_STORE": str(store)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not list((store / "workspaces").glob("*/*")) and process.poll() is None:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert [line for line in err.splitlines() if line] == [
        "hdbench: interrupted; nothing finished is lost, the same command goes on from here."
    ]
    assert hdbench(*SMOKE, store=store, cwd=tmp_path).returncode == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert scores(folder) == scores(smoke[2])


def test_a_folder_that_holds_something_else_is_refused_untouched(smoke, tmp_path):
    home, store, folder = smoke
    precious = tmp_path / "mine" / "train" / ".editor.tmp"
    precious.parent.mkdir(parents=True)
    precious.write_text("mine")
    refused = hdbench(*SMOKE, "--out", str(tmp_path / "mine"), store=store, cwd=home)
    assert refused.returncode == 2
    assert "holds no run" in refused.stderr
    assert precious.read_text() == "mine"
    other = hdbench(*SMOKE, "--seed", "5", "--out", str(folder), store=store, cwd=home)
    assert other.returncode == 2
    assert "holds another run" in other.stderr


def test_evaluating_the_samples_of_a_run_gives_the_values_of_the_run(smoke, tmp_path):
    home, store, folder = smoke
    done = hdbench(
        *("evaluate", str(folder / "samples" / "held-out"), "--reference", str(folder / "reference")),
        *("--metrics", "cd", "--json", str(tmp_path / "scores.json")),
        store=store,
        cwd=home,
    )
    assert done.returncode == 0, done.stderr
    scored = {score["metric"]: score["value"] for score in json.loads((tmp_path / "scores.json").read_text())["scores"]}
    (row,) = [row for row in load_results(folder).rows if row.method == "held-out"]
    assert scored == {score.metric: score.value for score in row.scores if score.metric in scored}

"""Adding to a board, from the command line, with real scores of small clouds."""

import json
import zipfile
from functools import partial

import numpy as np
import pytest

from hdbench.cli import _main
from hdbench.leaderboard.entry import open_entries
from hdbench.leaderboard.lint import lint_board

COUNT = 9


def boxes(seed, count):
    rng = np.random.default_rng(seed)
    return (rng.uniform(-1, 1, (count, 2048, 3)) * rng.uniform(0.3, 1, (count, 1, 3))).astype(np.float32)


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    """A dataset of boxes: 12 to train on, 9 to test on."""
    folder = tmp_path_factory.mktemp("data") / "toys"
    for split, count, seed in (("train", 12, 0), ("test", COUNT, 1)):
        (folder / split).mkdir(parents=True)
        for index, points in enumerate(boxes(seed, count)):
            np.save(folder / split / f"{split}-{index}.npy", points)
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def command(monkeypatch, tmp_path, call, store):
    monkeypatch.setenv("HDBENCH_STORE", str(store))
    monkeypatch.chdir(tmp_path)
    return partial(call, "leaderboard")


@pytest.fixture
def samples(tmp_path):
    path = tmp_path / "samples.npz"
    np.savez(path, points=boxes(2, COUNT) / 2)
    return path


@pytest.fixture
def named(toys):
    return ("--name", "Boxes", "--dataset", toys, "--category", "chair", "--protocol", "hyperdiffusion", "--quiet")


def test_samples_become_an_entry_that_is_scored_here_once(command, samples, named, tmp_path):
    code, out, _ = command("add", samples, *named)
    assert code == 0
    assert out.startswith("added: Boxes: toys-chair-boxes-")
    (stored,) = open_entries(tmp_path / "leaderboard")
    assert {score.metric for score in stored.scored.scores} >= {"mmd_cd", "cov_cd", "nna_cd"}
    assert stored.scored.audited("near_copies") is not None
    assert [finding for finding in lint_board(tmp_path / "leaderboard") if finding.level == "error"] == []
    before = {path: path.stat().st_mtime_ns for path in stored.folder.iterdir()}
    assert command("add", samples, *named)[1].startswith("unchanged: Boxes")
    assert {path: path.stat().st_mtime_ns for path in stored.folder.iterdir()} == before


def test_scores_that_were_tampered_with_are_computed_again(command, samples, named, tmp_path, toys):
    command("add", samples, *named)
    board = tmp_path / "leaderboard"
    (stored,) = open_entries(board)
    honest = (stored.folder / "scores.json").read_bytes()
    forged = json.loads(honest)
    forged["protocols"][0]["scores"][0]["value"] /= 2
    forged["protocols"][0]["key"] = "0" * 64
    (stored.folder / "scores.json").write_text(json.dumps(forged))
    code, out, _ = command("lint", board)
    assert code == 1
    assert "statistics.npz gives" in out
    assert command("build", board, tmp_path / "site")[0] == 1
    assert not (tmp_path / "site").exists()
    assert command("add", stored.folder, "--dataset", toys, "--board", board, "--quiet")[1].startswith("added")
    assert json.loads((stored.folder / "scores.json").read_bytes())["protocols"] == json.loads(honest)["protocols"]
    assert command("lint", board)[0] == 0


def test_a_packed_submission_is_taken_by_any_board(command, samples, named, tmp_path, toys):
    assert command("pack", samples, tmp_path / "in.zip", *named, "--licence", "MIT")[0] == 0
    with zipfile.ZipFile(tmp_path / "in.zip") as packed:
        assert sorted(packed.namelist()) == ["entry.json", "samples.npz"]
    code, out, _ = command("add", tmp_path / "in.zip", "--dataset", toys, "--board", "other", "--quiet")
    assert (code, out[:12]) == (0, "added: Boxes")
    assert open_entries(tmp_path / "other")[0].entry.licence == "MIT"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--category", "sofa"), "sofa"),
        (("--protocol", "hyperdifusion"), "Did you mean 'hyperdiffusion'"),
        (("--dataset", "toyz"), "Unknown dataset"),
        (("--name", "x" * 100), "name"),
        (("--url", "ftp://x.org"), "http"),
        (("--sha256", "0" * 64), "expected sha256"),
    ],
)
def test_wrong_claims_are_one_line_and_leave_no_entry(command, samples, named, arguments, expected, tmp_path):
    code, _, err = command("add", samples, *named, *arguments)
    if arguments[0] == "--category":  # a folder of shapes has whatever category one says
        assert code == 0
        return
    assert code == 2
    assert expected in err
    assert err.count("\n") == 1
    assert open_entries(tmp_path / "leaderboard") == []


def test_the_number_of_samples_is_that_of_the_references(command, named, tmp_path):
    for count, relation in ((COUNT - 1, "fewer"), (COUNT + 1, "more")):
        np.savez(tmp_path / "samples.npz", points=boxes(3, count))
        code, _, err = command("add", tmp_path / "samples.npz", *named)
        assert code == 2
        assert f"{relation} than the {COUNT} asked for" in err


def test_other_versions_of_the_dataset_are_refused(command, samples, named, toys, tmp_path):
    command("pack", samples, tmp_path / "in.zip", *named)
    with zipfile.ZipFile(tmp_path / "in.zip") as packed:
        packed.extractall(tmp_path / "in")
    entry = json.loads((tmp_path / "in" / "entry.json").read_text())
    entry["dataset"]["version"] = "00000000"
    (tmp_path / "in" / "entry.json").write_text(json.dumps(entry))
    code, _, err = command("add", tmp_path / "in", "--dataset", toys)
    assert code == 2
    assert "made for dataset toys/chair@00000000, which is unknown here" in err


def test_a_protocol_that_the_board_does_not_have_is_refused(command, samples, named):
    command("add", samples, *named)
    code, _, err = command("add", samples, *named, "--protocol", "pvd")
    assert code == 2
    assert "protocol 'pvd' is not one of the board's (hyperdiffusion)" in err


def test_the_same_samples_under_another_name_are_refused(command, samples, named):
    command("add", samples, *named)
    code, _, err = command("add", samples, *named, "--name", "Mine")
    assert code == 2
    assert "is on the board already" in err


def test_a_run_is_added_whole_and_what_it_says_of_itself_is_checked(command, toys, tmp_path):
    run = tmp_path / "run"
    controls = "train-copy,noise,held-out"
    options = ["--dataset", toys, "--methods", controls, "--protocol", "hyperdiffusion", "--out", run, "--quiet"]
    assert _main(["run", "--category", "chair", *map(str, options)]) == 0
    code, _, err = command("add", run)
    assert code == 2
    assert "dataset 'toys' is unknown here" in err
    code, out, _ = command("add", run, "--dataset", toys, "--quiet")
    assert code == 0
    assert out.count("added: ") == 2
    assert "left out: " in out  # held-out, which stood against a half of the references
    assert {stored.entry.kind for stored in open_entries(tmp_path / "leaderboard")} == {"control"}
    results = json.loads((run / "results.json").read_text())
    results["rows"][0]["samples"]["sha256"] = "0" * 64
    (run / "results.json").write_text(json.dumps(results))
    assert "does not hold the samples of results.json" in command("add", run, "--dataset", toys)[2]
    results["rows"][0]["method"] = "../../reference"
    (run / "results.json").write_text(json.dumps(results))
    assert "leads out of the run's folder" in command("add", run, "--dataset", toys)[2]


def test_a_folder_without_a_board_is_told_so(command, tmp_path):
    for arguments in (("lint", tmp_path), ("build", tmp_path, tmp_path / "site"), ("publish", tmp_path, "site")):
        code, _, err = command(*arguments)
        assert code == 2
        assert "holds no leaderboard" in err

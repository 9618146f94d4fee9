"""The command line: help without weight, and one clear line for everything the user can mend."""

import os
import subprocess
import sys

import numpy as np
import pytest

from hdbench.metrics.protocols import PROTOCOLS
from hdbench.results import load_results, load_scores


@pytest.fixture
def command(monkeypatch, tmp_path, call):
    """Run a command in this process; returns (exit code, standard output, standard error)."""
    monkeypatch.setenv("HDBENCH_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    return call


def clouds(path, count=6, points=2048, seed=0):
    np.savez(path, points=np.random.default_rng(seed).standard_normal((count, points, 3)).astype(np.float32))
    return path


def test_help_imports_nothing_heavy():
    heavy = "('torch', 'numpy', 'numba', 'trimesh', 'scipy', 'pydantic', 'pyvista', 'pandas')"
    code = (
        "import sys\n"
        "from hdbench.cli import _main\n"
        "assert _main(['--help']) == 0\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "arguments",
    [["run"], ["fit"], ["sample"], ["evaluate"], ["report"], ["gate"],
     ["leaderboard", "add"], ["leaderboard", "pack"], ["leaderboard", "lint"], ["leaderboard", "build"],
     ["leaderboard", "publish"], ["data", "list"], ["data", "prepare"], ["methods", "list"], ["methods", "test"],
     ["protocols", "list"], ["protocols", "show"], ["zoo", "import"], ["doctor"]],
    ids=" ".join,
)  # fmt: skip
def test_each_command_shows_an_example(command, arguments):
    code, out, _ = command(*arguments, "--help")
    assert code == 0
    assert f"Example: hdbench {' '.join(arguments)}" in " ".join(out.split())


def test_the_help_of_train_names_the_protocols_that_denormalise_with_it(command):
    words = set(command("evaluate", "--help")[1].replace(",", " ").replace(";", " ").split())
    assert {name for name, protocol in PROTOCOLS.items() if protocol.denormalises} <= words
    assert {"novelty", "de-normalise"} <= words


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run", "--category", "airplan"], "Did you mean 'airplane'?"),
        (["run", "--category", "airplane", "--methods", "hyperdifusion"], "Did you mean 'hyperdiffusion'?"),
        (["run", "--category", "airplane", "--protocol", "hyperdiffusoin"], "Did you mean 'hyperdiffusion'?"),
        (["run", "--category", "airplane", "--preset", "smok"], "Did you mean 'smoke'?"),
        (["run", "--category", "airplane", "--dataset", "procedurall"], "Did you mean 'procedural'?"),
        (["run", "--category", "airplane", "--device", "tpu"], "auto, cpu or cuda"),
        (["run", "--category", "airplane", "--count", "0"], "--count"),
        (["run", "--category", "../airplane"], "plain name"),
        (["run"], "--category"),
        (["run", "--category", "airplane", "--set", "fields.octaves=0"], "name those it is for with --methods"),
        (
            ["run", "--category", "airplane", "--methods", "hyperdiffusion", "--set", "fields.octave=0"],
            "--set: Unknown field 'fields.octave'. Did you mean 'fields.octaves'?",
        ),
        (["run", "--category", "airplane", "--set", "fields"], "FIELD=VALUE"),
        (["run", "--category", "airplane", "--methods", "noise", "--set", "count=3"], "only controls take part"),
        (["fit", "hyperdifusion", "--category", "airplane"], "Did you mean 'hyperdiffusion'?"),
        (["fit", "hyperdiffusion", "--category", "airplan"], "Did you mean 'airplane'?"),
        (["fit", "hyperdiffusion", "--category", "airplane", "--set", "denoiser.width=-1"], "denoiser.width"),
        (["fit", "hyperdiffusion", "--category", "airplane", "--from-fields", "nowhere"], "no folder nowhere"),
        (["sample", "nowhere"], "nowhere is no model's folder (there is no such folder); expected one written by"),
        (["zoo", "pull", "voxel-airplan"], "Did you mean 'voxel-airplane'?"),
        (["zoo", "pull", "./nowhere"], "There is no folder ./nowhere"),
        (["zoo", "import", "hyperdiffusion", "nowhere.ckpt"], "nowhere.ckpt"),
        (["frobnicate"], "frobnicate"),
        (["methods", "test", "nois"], "Did you mean 'noise'?"),
        (["zoo", "import", "pointnet", "best_model.pth"], "Did you mean 'pointnet2'?"),
        (["zoo", "import", "pointnet2", "nowhere.pth"], "nowhere.pth"),
        (["protocols", "show", "pvdd"], "Did you mean 'pvd'?"),
        (["report", "nowhere"], "nowhere"),
        (["evaluate", "nowhere.npz", "--reference", "nowhere.npz"], "nowhere.npz"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_command_lines_end_with_one_line_and_code_2(command, arguments, expected):
    code, _, err = command(*arguments)
    assert code == 2
    assert expected in err
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in err


def test_an_empty_folder_is_refused(command, tmp_path):
    (tmp_path / "empty").mkdir()
    for arguments in (
        ["run", "--category", "chair", "--dataset", tmp_path / "empty"],
        ["evaluate", tmp_path / "empty", "--reference", clouds(tmp_path / "reference.npz")],
    ):
        code, _, err = command(*arguments)
        assert code == 2
        assert "empty" in err
        assert len(err.strip().splitlines()) == 1


def test_an_unreadable_mesh_is_named(command, tmp_path):
    folder = tmp_path / "shapes"
    folder.mkdir()
    (folder / "broken.obj").write_text("v 1 2\nf 1 2 3\n")
    code, _, err = command("evaluate", folder, "--reference", clouds(tmp_path / "reference.npz"))
    assert code == 2
    assert "broken" in err


def test_an_unwritable_output_is_refused(command, tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("")
    code, _, err = command(
        "run", "--category", "airplane", "--preset", "smoke", "--limit", "2", "--out", blocker / "run"
    )
    assert code == 2
    assert "cannot be written" in err


def test_an_unwritable_store_is_refused(command, tmp_path, monkeypatch):
    (tmp_path / "blocked").write_text("")
    monkeypatch.setenv("HDBENCH_STORE", str(tmp_path / "blocked"))
    code, _, err = command("run", "--category", "airplane")
    assert code == 2
    assert "HDBENCH_STORE" in err


@pytest.mark.parametrize("place", ["reference.npz/scores.json", "."])
def test_a_place_that_cannot_hold_the_scores_is_refused_before_the_work(command, tmp_path, place):
    reference = clouds(tmp_path / "reference.npz")
    code, _, err = command("evaluate", reference, "--reference", reference, "--json", tmp_path / place)
    assert code == 2
    assert "cannot be written" in err
    assert [path.name for path in tmp_path.iterdir()] == ["reference.npz"]


def test_nan_points_are_left_out_and_counted(command, tmp_path):
    reference = clouds(tmp_path / "reference.npz", seed=1)
    points = np.random.default_rng(2).standard_normal((6, 2048, 3)).astype(np.float32)
    points[2, 7, 1] = np.nan
    np.savez(tmp_path / "samples.npz", points=points)
    code, _, err = command(
        "evaluate", tmp_path / "samples.npz", "--reference", reference, "--json", tmp_path / "s.json"
    )
    assert code == 0, err
    text = (tmp_path / "s.json").read_text()
    assert '"invalid": 1' in text
    assert "not finite" in text


def test_only_nan_points_are_refused(command, tmp_path):
    np.savez(tmp_path / "samples.npz", points=np.full((3, 2048, 3), np.nan, np.float32))
    code, _, err = command("evaluate", tmp_path / "samples.npz", "--reference", clouds(tmp_path / "reference.npz"))
    assert code == 2
    assert "not finite" in err


def test_unequal_point_counts_are_refused_where_the_protocol_needs_equal_ones(command, tmp_path):
    samples, reference = clouds(tmp_path / "samples.npz", points=1000), clouds(tmp_path / "reference.npz", points=1500)
    code, _, err = command("evaluate", samples, "--reference", reference)
    assert code == 2
    assert "1000" in err
    assert "1500" in err


def test_gate_says_how_it_went(command, tmp_path):
    rng = np.random.default_rng(0)
    reference, good, other, bad = rng.normal(size=(4, 40, 32, 3)) * np.exp(0.3 * rng.normal(size=(4, 40, 1, 3)))
    np.savez(tmp_path / "reference.npz", points=reference)
    for name, points in {"good": good, "other": other, "bad": bad * 3 + 1}.items():
        np.savez(tmp_path / f"{name}.npz", points=points)
        options = ["--reference", tmp_path / "reference.npz", "--metrics", "cd", "--json", tmp_path / f"{name}.json"]
        assert command("evaluate", tmp_path / f"{name}.npz", "--protocol", "lion", *options)[0] == 0
    against = ["--against", tmp_path / "good.json"]
    assert command("gate", tmp_path / "good.json", *against)[0] == 0
    assert command("gate", tmp_path / "other.json", *against)[0] == 0
    assert command("gate", tmp_path / "other.json", *against, "--strict")[0] == 3
    files = ["--junit", tmp_path / "j.xml", "--markdown", tmp_path / "m.md"]
    code, out, _ = command("gate", tmp_path / "bad.json", *against, *files)
    assert code == 1
    assert "regressed" in out
    assert "<failure" in (tmp_path / "j.xml").read_text()
    assert "regressed" in (tmp_path / "m.md").read_text()
    assert command("gate", tmp_path / "missing.json", *against)[0] == 2


@pytest.mark.skipif(sys.platform != "linux", reason="file names are any bytes on Linux alone")
def test_file_names_that_are_not_utf8_are_written_out(command, tmp_path):
    folder = tmp_path / os.fsdecode(b"f\xff")
    for split in ("train", "test"):
        (folder / split).mkdir(parents=True)
        for index, points in enumerate(np.random.default_rng(0).standard_normal((3, 20, 3))):
            np.save(folder / split / os.fsdecode(b"St\xfchl%d.npy" % index), points)
        (folder / split / os.fsdecode(b"bad\xfe.ply")).write_bytes(b"not a mesh")
    code, _, err = command("evaluate", folder / "train", "--reference", folder / "test", "--json", "scores.json")
    assert code == 0, err
    samples = load_scores("scores.json").samples
    assert samples.path.endswith("f%FF/train")
    assert set(samples.invalid_ids) == {"bad%FE"}
    code, _, err = command(
        "run", "--category", "chair", "--dataset", folder, "--methods", "noise", "--out", "run", "--log-file", "log"
    )
    assert code == 0, err
    results = load_results("run")
    assert results.dataset.name == "f%FF"
    assert results.dataset.reference_ids == ["test/St%FChl0", "test/St%FChl1", "test/St%FChl2"]
    code, _, err = command("data", "prepare", folder, "--category", "chair")
    assert code == 0, err


@pytest.mark.skipif(sys.platform != "linux", reason="file names are any bytes on Linux alone")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["evaluate", "set.npz", "--reference", "set.npz", "--json", b"\xff.json"], "%FF.json cannot be written"),
        (["evaluate", b"\xff.npz", "--reference", "set.npz"], "There is no file or folder %FF.npz"),
        (["run", "--methods", "noise", "--dataset", "set.npz", "--category", b"\xff"], "cannot name a category"),
    ],
)
def test_arguments_that_are_not_utf8_are_refused_in_one_line(command, tmp_path, arguments, expected):
    clouds(tmp_path / "set.npz")
    code, _, err = command(*map(os.fsdecode, arguments), "--quiet")
    assert code == 2
    assert expected in err
    assert len(err.strip().splitlines()) == 1

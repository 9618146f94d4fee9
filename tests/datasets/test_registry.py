import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hdbench.datasets.base import Dataset
from hdbench.datasets.folder import Folder
from hdbench.datasets.registry import Named, dataset_names, open_dataset, open_split, parse_name, verify_dataset
from hdbench.errors import HdbenchError
from hdbench.progress import Progress


@pytest.fixture
def clouds(tmp_path):
    for split in ("train", "test"):
        (tmp_path / "clouds" / split).mkdir(parents=True)
        np.save(tmp_path / "clouds" / split / "a.npy", np.eye(3))
    return tmp_path / "clouds"


def test_by_name():
    dataset = open_dataset("procedural", "chair", size=40)
    assert isinstance(dataset, Dataset)
    assert (dataset.name, dataset.category) == ("procedural", "chair")
    assert sum(len(dataset.ids(split)) for split in ("train", "val", "test")) == 40
    assert (
        open_dataset("procedural", "chair", seed=1).fingerprint() != open_dataset("procedural", "chair").fingerprint()
    )


def test_a_run_compares_with_some_of_what_can_be_made(clouds):
    assert open_dataset("procedural", "chair").natural_count == 64
    assert open_dataset(str(clouds), "any").natural_count is None


def test_by_path(clouds, monkeypatch):
    assert isinstance(open_dataset(str(clouds), "any"), Folder)
    monkeypatch.chdir(clouds.parent)
    assert open_dataset("clouds", "any").name == "clouds"
    assert open_dataset("./clouds", "any").name == "clouds"


def test_a_name_goes_before_a_folder(clouds, monkeypatch):
    clouds.rename(clouds.parent / "procedural")
    monkeypatch.chdir(clouds.parent)
    assert open_dataset("procedural", "car").name == "procedural"
    assert isinstance(open_dataset("./procedural", "car"), Folder)


def test_strictness_is_handed_on(clouds):
    (clouds / "train" / "b.ply").write_bytes(b"not a mesh")
    assert open_dataset(str(clouds), "any").skipped
    with pytest.raises(HdbenchError, match="1 of 3 shapes"):
        open_dataset(str(clouds), "any", strict=True)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("procedual", "Did you mean 'procedural'"),
        ("shapenett", "Unknown dataset"),
        ("missing/folder", "There is no file or folder"),
        ("missing.npz", "There is no file or folder"),
    ],
)
def test_unknown(name, words):
    with pytest.raises(HdbenchError, match=words):
        open_dataset(name, "chair")


def test_a_size_is_for_made_datasets(clouds):
    with pytest.raises(HdbenchError, match="size"):
        open_dataset(str(clouds), "any", size=3)


def test_known_names():
    assert "procedural" in dataset_names()


def test_asking_for_names_loads_nothing_heavy():
    code = (
        "import sys; from hdbench.datasets.registry import dataset_names; dataset_names();"
        "print({'torch', 'trimesh', 'numba', 'point_cloud_utils', 'skimage', 'scipy'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("shapenet", Named("shapenet", None)),
        ("shapenet:/a/b", Named("shapenet", Path("/a/b"))),
        ("shapenet:/a@b/c@chair/test", Named("shapenet", Path("/a@b/c"), "chair", "test")),
        ("shapenet@03001627", Named("shapenet", None, "03001627")),
        ("procedural@chair/val", Named("procedural", None, "chair", "val")),
        ("/usr@chair", Named(None, Path("/usr"), "chair")),
        ("./procedural", None),
        ("shapenets", None),
        ("C:/data", None),
        ("/nowhere@chair", None),
    ],
)
def test_names(text, named):
    assert parse_name(text) == named


def test_a_named_test_split_is_what_runs_compare_with():
    for text, count in (("procedural@chair/test", 64), ("procedural@chair", 64), ("procedural@chair/val", 22)):
        assert len(open_split(text, progress=Progress()).shapes) == count


def test_a_published_dataset_that_is_nowhere(monkeypatch, tmp_path):
    monkeypatch.delenv("HDBENCH_DATA", raising=False)
    with pytest.raises(HdbenchError, match=r"\$HDBENCH_DATA is not set .*Write pointflow15k:.*; get it from"):
        open_dataset("pointflow15k", "chair")
    monkeypatch.setenv("HDBENCH_DATA", str(tmp_path))
    with pytest.raises(HdbenchError, match=r"holds no shapenet\.hdf5"):
        open_dataset("dpc", "chair")


def test_verifying_needs_a_layout(clouds):
    with pytest.raises(HdbenchError, match="laid out like none of"):
        verify_dataset(str(clouds), None, None, progress=Progress())
    with pytest.raises(HdbenchError, match="nothing to verify"):
        verify_dataset("procedural", None, None, progress=Progress())


def test_made_shapes_lie_nowhere():
    with pytest.raises(HdbenchError, match="leave out its path"):
        open_dataset("procedural:/tmp", "chair")


@pytest.mark.parametrize("text", ["procedural@airplane/tst", "{clouds}@airplane/tst"])
def test_an_unknown_split_is_told_the_known_ones(clouds, text):
    with pytest.raises(HdbenchError, match=r"Unknown split .*@airplane 'tst'\. Did you mean 'test'\? .*: test, train"):
        open_split(text.format(clouds=clouds), progress=Progress())


def test_a_split_must_follow_a_category():
    with pytest.raises(HdbenchError, match="Write procedural@airplane/test"):
        open_split("procedural", progress=Progress())
    assert open_split("nowhere@airplane/tst", progress=Progress()) is None

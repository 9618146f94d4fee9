from pathlib import Path

import numpy as np
import pytest
import trimesh

from hdbench.datasets.modelnet40 import ModelNet40, labelled_clouds
from hdbench.datasets.published import verify
from hdbench.datasets.registry import open_dataset
from hdbench.errors import HdbenchError
from hdbench.progress import Progress

CLASSES = ("chair", "night_stand")
COUNTS = {"train": 3, "test": 2}


def cloud(seed: int, count: int = 300) -> np.ndarray:
    return np.random.default_rng(seed).normal((1, 0, 0), (1, 2, 3), (count, 3))


def write_text(root: Path) -> Path:
    (root / "modelnet40_shape_names.txt").parent.mkdir(parents=True, exist_ok=True)
    (root / "modelnet40_shape_names.txt").write_text("\n".join(CLASSES))
    number = 0
    names: dict[str, list[str]] = {"train": [], "test": []}
    for label in CLASSES:
        (root / label).mkdir()
        for split, count in COUNTS.items():
            for _ in range(count):
                number += 1
                name = f"{label}_{number:04d}"
                names[split].append(name)
                rows = np.hstack([cloud(number), np.zeros((300, 3))])
                np.savetxt(root / label / f"{name}.txt", rows, delimiter=",", fmt="%.6f")
    for split, listed in names.items():
        (root / f"modelnet40_{split}.txt").write_text("\n".join(listed))
    return root


def write_off(root: Path) -> Path:
    number = 0
    for label in CLASSES:
        for split, count in COUNTS.items():
            (root / label / split).mkdir(parents=True)
            for _ in range(count):
                number += 1
                box = trimesh.creation.box(extents=(number, 20, 30))
                box.export(root / label / split / f"{label}_{number:04d}.off")
    return root


def write_hdf5(root: Path) -> Path:
    h5py = pytest.importorskip("h5py")
    root.mkdir()
    (root / "shape_names.txt").write_text("\n".join(CLASSES))
    for split, count in COUNTS.items():
        with h5py.File(root / f"ply_data_{split}0.h5", "w") as stored:
            stored["data"] = np.stack([cloud(number, 2048) for number in range(2 * count)]).astype(np.float32)
            stored["label"] = np.repeat([[0], [1]], count, axis=0).astype(np.uint8)
    return root


LAYOUTS = {"text": write_text, "off": write_off, "hdf5": write_hdf5}


@pytest.fixture(params=LAYOUTS)
def root(request, tmp_path) -> Path:
    return LAYOUTS[request.param](tmp_path / "modelnet")


def test_a_class_is_a_category(root):
    dataset = open_dataset(str(root), "night_stand")
    assert isinstance(dataset, ModelNet40)
    assert {split: len(dataset.ids(split)) for split in COUNTS} == COUNTS
    assert dataset.ids("val") == ()
    with pytest.raises(HdbenchError, match="Available: chair, night_stand"):
        ModelNet40(root, "sofa")


def test_labelled_clouds(root):
    points, labels, classes = labelled_clouds(root, "train", 200, seed=0, progress=Progress())
    assert points.shape == (6, 200, 3)
    assert classes == list(CLASSES)
    assert sorted(labels.tolist()) == [0, 0, 0, 1, 1, 1]
    assert np.isfinite(points).all()
    assert np.abs(points).max() <= 1


def test_clouds_fill_the_unit_sphere(tmp_path):
    dataset = ModelNet40(write_text(tmp_path / "text"), "chair")
    points = dataset.shape("chair_0001").points
    assert np.allclose(points.mean(axis=0), 0, atol=1e-6)
    assert np.isclose(np.linalg.norm(points, axis=1).max(), 1)
    expected = cloud(1) - cloud(1).mean(axis=0)
    assert np.allclose(points, expected / np.linalg.norm(expected, axis=1).max(), atol=1e-5)


def test_the_first_points_are_kept(tmp_path):
    root = write_text(tmp_path / "text")
    few = labelled_clouds(root, "test", 100, seed=0, progress=Progress()).points
    more = labelled_clouds(root, "test", 200, seed=1, progress=Progress()).points
    assert np.array_equal(few, more[:, :100])
    with pytest.raises(HdbenchError, match="300 points of 2048; ask for fewer"):
        labelled_clouds(root, "test", 2048, seed=0, progress=Progress())


@pytest.mark.parametrize("text", ["", "1,2\n3,4\n", "a,b,c,d,e,f\n", "1,2,nan,0,0,0\n" * 5])
def test_bad_files_are_named(tmp_path, text):
    root = write_text(tmp_path / "text")
    (root / "chair" / "chair_0001.txt").write_text(text)
    assert "chair_0001.txt" in ModelNet40(root, "chair").skipped["chair_0001"]


def test_missing_files_are_named(tmp_path):
    root = write_text(tmp_path / "text")
    (root / "chair" / "chair_0002.txt").unlink()
    assert "chair_0002.txt" in ModelNet40(root, "chair").skipped["chair_0002"]
    told = {finding.text: finding.status for finding in verify(ModelNet40, root)}
    assert told["train: 1 files are missing, such as chair_0002"] == "wrong"
    assert told["classes: 2, but 40 were published"] == "wrong"
    assert told["train shapes: 6, but 9843 were published"] == "wrong"


def test_labels_that_name_no_class_are_refused(tmp_path):
    root = write_hdf5(tmp_path / "hdf5")
    (root / "shape_names.txt").write_text("chair\n")
    with pytest.raises(HdbenchError, match="must name a class of each of 6 shapes"):
        ModelNet40(root, "chair")


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(HdbenchError, match=r"has none of modelnet40_shape_names\.txt.*get ModelNet40 from"):
        ModelNet40(tmp_path, "chair")

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import trimesh

from hdbench.datasets.base import LearningView, split_of
from hdbench.datasets.folder import Folder, group_of, in_unit_box
from hdbench.errors import HdbenchError
from hdbench.progress import Progress
from hdbench.shapes import Mesh, PointCloud, Sequence
from hdbench.store import Store

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "shapes"
needs_shapes = pytest.mark.skipif(not SHARED.is_dir(), reason="the shape pack is not beside the repository")


def write_box(path: Path, *, side: float = 1.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    trimesh.creation.box(extents=(side, 2, 3)).export(path)


@pytest.fixture
def boxes(tmp_path) -> Path:
    """Forty boxes without given splits."""
    folder = tmp_path / "boxes"
    for index in range(40):
        write_box(folder / f"box-{index}.ply", side=0.5 + index / 40)
    return folder


@pytest.fixture
def sorted_boxes(tmp_path) -> Path:
    """Boxes in train/ and test/."""
    for split, count in (("train", 3), ("test", 2)):
        for index in range(count):
            write_box(tmp_path / "sorted" / split / f"{index}.off", side=0.5 + index / 4)
    return tmp_path / "sorted"


def splits(dataset) -> dict[str, tuple[str, ...]]:
    return {split: dataset.ids(split) for split in ("train", "val", "test")}


class TestSplits:
    def test_by_hash_of_the_name(self, boxes):
        found = splits(Folder(boxes, "box"))
        assert sorted(name for names in found.values() for name in names) == sorted(f"box-{i}" for i in range(40))
        assert all(split_of(name) == split for split, names in found.items() for name in names)

    def test_by_hash_do_not_change_with_other_files(self, boxes):
        before = splits(Folder(boxes, "box"))
        (boxes / f"{before['train'][0]}.ply").unlink()
        after = splits(Folder(boxes, "box"))
        assert after == {**before, "train": before["train"][1:]}

    def test_names_stand_in_natural_order(self, boxes):
        train = Folder(boxes, "box").ids("train")
        assert list(train) == sorted(train, key=lambda name: int(name.removeprefix("box-")))

    def test_by_sub_folders(self, sorted_boxes):
        assert splits(Folder(sorted_boxes, "box")) == {
            "train": ("train/0", "train/1", "train/2"),
            "val": (),
            "test": ("test/0", "test/1"),
        }

    def test_by_manifest(self, boxes):
        rows = [f"box-{index},{('train', 'test', 'val')[index % 3]}" for index in range(40)]
        (boxes / "manifest.csv").write_text("\n".join(["id,split", *rows]))
        found = splits(Folder(boxes, "box"))
        assert found["test"] == tuple(f"box-{index}" for index in range(1, 40, 3))
        assert found["val"] == tuple(f"box-{index}" for index in range(2, 40, 3))

    def test_what_the_manifest_leaves_out_is_skipped(self, boxes):
        (boxes / "manifest.csv").write_text("split,id\ntrain,box-1\ntest,box-2\n")
        dataset = Folder(boxes, "box")
        assert splits(dataset) == {"train": ("box-1",), "val": (), "test": ("box-2",)}
        assert len(dataset.skipped) == 38
        assert "manifest.csv" in dataset.skipped["box-3"]

    @pytest.mark.parametrize("text", ["name,size\nbox-1,3\n", ""])
    def test_a_table_of_something_else_is_ignored(self, boxes, text):
        (boxes / "manifest.csv").write_text(text)
        assert splits(Folder(boxes, "box"))["train"] == tuple(
            name for name in (f"box-{i}" for i in range(40)) if split_of(name) == "train"
        )

    @pytest.mark.parametrize("text", ["id,split\nother,train\n", "id,split\n"])
    def test_a_manifest_that_lists_none_is_refused(self, boxes, text):
        (boxes / "manifest.csv").write_text(text)
        with pytest.raises(HdbenchError, match=r"manifest\.csv lists none of the 40 shapes .*'box-0'"):
            Folder(boxes, "box")

    def test_a_manifest_may_name_the_files(self, boxes):
        (boxes / "Box.PLY").write_bytes((boxes / "box-0.ply").read_bytes())
        (boxes / "manifest.csv").write_text("id,split\nbox-1.ply,train\nbox-2,test\nBox.PLY,test\n")
        assert splits(Folder(boxes, "box")) == {"train": ("box-1",), "val": (), "test": ("Box", "box-2")}

    def test_a_manifest_tells_files_of_one_stem_apart(self, boxes):
        (boxes / "box-1.obj").write_text(trimesh.creation.box().export(file_type="obj"))
        (boxes / "manifest.csv").write_text("id,split\nbox-1.ply,train\nbox-1.obj,test\n")
        assert splits(Folder(boxes, "box")) == {"train": ("box-1.ply",), "val": (), "test": ("box-1.obj",)}

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"id,split\nbox-1,trian\n", "'trian'"),
            (b"id,split\nbox-1\n", "split ''"),
            (b"id,split\nbox-1,train\nbox-1,test\n", "two splits"),
            (b"id,split\nbox-1,\xff\xfe\n", "UTF-8"),
        ],
    )
    def test_a_broken_manifest_is_refused(self, boxes, content, words):
        (boxes / "manifest.csv").write_bytes(content)
        with pytest.raises(HdbenchError, match=r"manifest\.csv") as caught:
            Folder(boxes, "box")
        assert words in str(caught.value)

    def test_an_unknown_split_is_refused_before_anything_is_prepared(self, boxes, tmp_path):
        (boxes / "manifest.csv").write_text("id,split\nbox-1,train\nbox-2,dev\n")
        with pytest.raises(HdbenchError, match=r"'box-2' into the split 'dev'; write one of train, val, test"):
            Folder(boxes, "box", store=Store(tmp_path / "store"))
        assert not (tmp_path / "store" / "artefacts").exists()

    def test_clips_of_one_animal_stay_together(self, tmp_path):
        frames = np.random.default_rng(0).normal(size=(2, 9, 3))
        for animal in range(20):
            for action in ("run", "sleep"):
                np.save(tmp_path / f"animal{animal}__{action}.npy", frames)
        found = splits(Folder(tmp_path, "animal"))
        groups = [{group_of(name) for name in names} for names in found.values()]
        assert sum(map(len, groups)) == 20
        assert all(split_of(group) == split for split, names in zip(found, groups, strict=True) for group in names)

    @pytest.mark.parametrize(("missing", "word"), [("test", "to test on"), ("train", "to train on")])
    def test_an_empty_split_is_refused(self, sorted_boxes, missing, word):
        shutil.rmtree(sorted_boxes / missing)
        with pytest.raises(HdbenchError, match=word):
            Folder(sorted_boxes, "box")


class TestShapes:
    def test_fill_a_unit_box(self, sorted_boxes):
        mesh = Folder(sorted_boxes, "box").shape("train/1")
        assert isinstance(mesh, Mesh)
        assert np.allclose(mesh.vertices.max(axis=0), (0.125, 1 / 3, 0.5))
        assert np.allclose(mesh.vertices.min(axis=0), (-0.125, -1 / 3, -0.5))

    def test_a_sequence_fills_it_as_a_whole(self):
        still = np.array([[0, 0, 0], [1, 1, 1]], np.float32)
        boxed = in_unit_box(Sequence((PointCloud(still), PointCloud(still + np.float32([3, 0, 0])))))
        assert isinstance(boxed, Sequence)
        points = np.stack([frame.points for frame in boxed.frames])
        assert np.array_equal(np.ptp(points.reshape(-1, 3), axis=0), (1, 0.25, 0.25))
        assert np.array_equal(points[0], -points[1][::-1])

    def test_occupancy(self, sorted_boxes):
        points = np.array([[0, 0, 0], [0.12, 0.3, 0.49], [0.13, 0, 0], [0, 0, 0.51]], np.float32)
        assert Folder(sorted_boxes, "box").occupancy("train/1", points).tolist() == [True, True, False, False]

    def test_occupancy_of_clouds_is_refused(self, tmp_path):
        for split in ("train", "test"):
            (tmp_path / split).mkdir()
            np.save(tmp_path / split / "a.npy", np.eye(3))
        dataset = Folder(tmp_path, "any")
        assert dataset.kind == "points"
        with pytest.raises(HdbenchError, match="encloses nothing"):
            dataset.occupancy("train/a", np.zeros((1, 3), np.float32))

    def test_unknown_name(self, sorted_boxes):
        with pytest.raises(HdbenchError, match="Did you mean 'train/1'"):
            Folder(sorted_boxes, "box").shape("train/11")

    def test_there_are_none_beyond_the_splits(self, sorted_boxes):
        assert Folder(sorted_boxes, "box").fresh(1, 0) is None

    def test_travels_to_other_processes(self, sorted_boxes):
        dataset = Folder(sorted_boxes, "box")
        again = pickle.loads(pickle.dumps(LearningView(dataset)))
        assert np.array_equal(again.shape("train/0").vertices, dataset.shape("train/0").vertices)


class TestBadFiles:
    def test_are_named_and_skipped(self, sorted_boxes):
        (sorted_boxes / "train" / "broken.ply").write_bytes(b"not a mesh")
        np.save(sorted_boxes / "train" / "cloud.npy", np.eye(3))
        dataset = Folder(sorted_boxes, "box")
        assert dataset.ids("train") == ("train/0", "train/1", "train/2")
        assert set(dataset.skipped) == {"train/broken", "train/cloud"}
        assert "broken.ply" in dataset.skipped["train/broken"]
        assert dataset.skipped["train/cloud"] == "a point cloud where most are a mesh"

    @pytest.mark.parametrize("name", ["broken.ply", "cloud.npy"])
    def test_fail_when_strict(self, sorted_boxes, name):
        if name == "broken.ply":
            (sorted_boxes / "train" / name).write_bytes(b"not a mesh")
        else:
            np.save(sorted_boxes / "train" / name, np.eye(3))
        with pytest.raises(HdbenchError, match=f"1 of 6 shapes .*train/{Path(name).stem}"):
            Folder(sorted_boxes, "box", strict=True)

    def test_none_left(self, tmp_path):
        (tmp_path / "a.ply").write_bytes(b"not a mesh")
        with pytest.raises(HdbenchError, match=r"None of the 1 shapes .*a\.ply"):
            Folder(tmp_path, "box")

    def test_no_files(self, tmp_path):
        with pytest.raises(HdbenchError, match="holds no shapes"):
            Folder(tmp_path, "box")
        with pytest.raises(HdbenchError, match="There is no file or folder"):
            Folder(tmp_path / "missing", "box")

    def test_sequences_of_other_lengths_are_skipped(self, tmp_path):
        for split, counts in (("train", (4, 4, 5)), ("test", (4,))):
            (tmp_path / split).mkdir()
            for index, frames in enumerate(counts):
                points = np.random.default_rng(index).normal(size=(frames, 9, 3))
                np.save(tmp_path / split / f"{index}.npy", points)
        skipped = Folder(tmp_path, "any").skipped
        assert skipped == {
            "train/2": "a sequence of 5 point cloud frames where most are a sequence of 4 point cloud frames"
        }


class TestCategories:
    def test_as_sub_folders(self, tmp_path, sorted_boxes):
        (tmp_path / "all").mkdir()
        sorted_boxes.rename(tmp_path / "all" / "box")
        write_box(tmp_path / "all" / "other" / "train" / "9.off")
        assert Folder(tmp_path / "all", "box").ids("train") == ("train/0", "train/1", "train/2")

    @pytest.mark.parametrize(
        "files",
        [
            ("chair/0.off", "chair/1.off", "car/0.off"),  # names everyone knows
            ("sofa/train/0.off", "sofa/test/1.off", "chair/train/0.off"),
            ("chaise/oak.off", "chaise/elm.off", "chaise/fir.off", "sofa/red.off"),  # no numbered frames
        ],
    )
    def test_mistyped_as_sub_folders(self, tmp_path, files):
        for index, file in enumerate(files):
            write_box(tmp_path / file, side=1 + index)
        known = sorted({file.partition("/")[0] for file in files})
        with pytest.raises(HdbenchError, match=f"Unknown category .* 'chiar'.*Available: {', '.join(known)}"):
            Folder(tmp_path, "chiar")

    @pytest.mark.parametrize("frames", [("0", "1", "2"), ("frame-9", "frame-10", "frame-11"), ("early", "late", "mid")])
    def test_sub_folders_of_frames_are_shapes(self, tmp_path, frames):
        for animal in range(20):
            for frame in frames:
                write_box(tmp_path / f"bear{animal}__run" / f"{frame}.off", side=1 + animal)
        dataset = Folder(tmp_path, "bear")
        assert dataset.kind == "sequence"
        assert sum(map(len, splits(dataset).values())) == 20

    @pytest.mark.parametrize("category", ["", ".", "..", ".hidden", "../box", "a/b", "a\\b", "/etc"])
    def test_that_lead_elsewhere_are_refused(self, sorted_boxes, category):
        with pytest.raises(HdbenchError, match="cannot name a category"):
            Folder(sorted_boxes, category)

    def test_in_an_archive(self, tmp_path):
        box = trimesh.creation.box()
        names = [*(f"chair/c{i}" for i in range(30)), *(f"car/k{i}" for i in range(3))]
        arrays = {f"{name}/{key}": part for name in names for key, part in (("v", box.vertices), ("f", box.faces))}
        np.savez(tmp_path / "all.npz", **arrays)
        dataset = Folder(tmp_path / "all.npz", "chair")
        assert sorted(name for names in splits(dataset).values() for name in names) == sorted(
            f"c{i}" for i in range(30)
        )
        with pytest.raises(HdbenchError, match=r"Did you mean 'chair'\? Available: car, chair"):
            Folder(tmp_path / "all.npz", "chairs")

    def test_in_a_manifest(self, boxes):
        rows = ["box-0,box,train", "box-1,box,test", "box-2,ball,train"]
        (boxes / "manifest.csv").write_text("\n".join(["id,category,split", *rows]))
        assert splits(Folder(boxes, "box")) == {"train": ("box-0",), "val": (), "test": ("box-1",)}
        with pytest.raises(HdbenchError, match="Available: ball, box"):
            Folder(boxes, "bix")


class TestFingerprint:
    def test_is_the_same_wherever_the_files_lie(self, boxes, tmp_path):
        before = Folder(boxes, "box").fingerprint()
        boxes.rename(tmp_path / "moved")
        assert Folder(tmp_path / "moved", "box").fingerprint() == before

    @pytest.mark.parametrize("change", ["content", "name", "split", "category"])
    def test_changes_with(self, sorted_boxes, change):
        before = Folder(sorted_boxes, "box").fingerprint()
        if change == "content":
            write_box(sorted_boxes / "train" / "0.off", side=0.9)
        if change == "name":
            (sorted_boxes / "train" / "0.off").rename(sorted_boxes / "train" / "zero.off")
        if change == "split":
            (sorted_boxes / "train" / "2.off").rename(sorted_boxes / "test" / "2.off")
        assert Folder(sorted_boxes, "bin" if change == "category" else "box").fingerprint() != before

    def test_changes_with_the_manifest(self, boxes):
        before = Folder(boxes, "box").fingerprint()
        (boxes / "manifest.csv").write_text("id,split\nbox-1,train\nbox-2,test\n")
        assert Folder(boxes, "box").fingerprint() != before


class _Counting(Progress):
    def __init__(self) -> None:
        self.opened = 0

    def task(self, *arguments, **keywords):
        self.opened += 1
        return super().task(*arguments, **keywords)


def test_files_are_checked_once_per_content(sorted_boxes, tmp_path):
    progress, store = _Counting(), Store(tmp_path / "store")
    (sorted_boxes / "train" / "broken.ply").write_bytes(b"not a mesh")
    first = Folder(sorted_boxes, "box", store=store, progress=progress)
    second = Folder(sorted_boxes, "box", store=store, progress=progress)
    assert progress.opened == 1
    assert (first.kind, first.skipped, splits(first)) == (second.kind, second.skipped, splits(second))
    write_box(sorted_boxes / "train" / "broken.ply")
    third = Folder(sorted_boxes, "box", store=store, progress=progress)
    assert progress.opened == 2
    assert not third.skipped


@needs_shapes
@pytest.mark.parametrize(
    ("file", "category", "kind", "counts"),
    [
        ("chair_permissive", "chair", "mesh", (102, 0, 51)),
        ("car_permissive", "car", "mesh", (59, 0, 17)),
        ("animal_permissive", "animal", "sequence", (112, 0, 57)),
        ("mini_permissive", "airplane", "mesh", (6, 0, 2)),
    ],
)
def test_the_shape_pack(file, category, kind, counts):
    dataset = Folder(SHARED / f"{file}.npz", category)
    assert dataset.kind == kind
    assert tuple(len(dataset.ids(split)) for split in ("train", "val", "test")) == counts
    assert not dataset.skipped
    shape = dataset.shape(dataset.ids("test")[0])
    vertices = np.concatenate([f.vertices for f in shape.frames]) if kind == "sequence" else shape.vertices
    assert np.isclose(np.ptp(vertices, axis=0).max(), 1, atol=1e-6)
    assert np.allclose(vertices.max(axis=0), -vertices.min(axis=0), atol=1e-6)
    if kind == "mesh":
        inside = dataset.occupancy(dataset.ids("train")[0], np.random.default_rng(0).uniform(-0.5, 0.5, (2000, 3)))
        assert 0 < inside.mean() < 0.5

import time
from pathlib import Path

import numpy as np
import pytest
import trimesh

from hdbench.datasets import preparation
from hdbench.datasets.folder import Folder, in_unit_box
from hdbench.datasets.preparation import measure_inside, prepare_entries
from hdbench.datasets.readers import entries
from hdbench.errors import HdbenchError
from hdbench.geometry.occupancy import is_inverted
from hdbench.progress import Progress
from hdbench.shapes import Mesh, Sequence
from hdbench.store import Store, file_digest


def write_mesh(path: Path, mesh: trimesh.Trimesh) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mesh.export(path)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Twenty boxes of other sizes, the third with its faces inwards."""
    for index in range(20):
        box = trimesh.creation.box(extents=(0.5 + index / 20, 2, 3))
        if index == 2:
            box.invert()
        write_mesh(tmp_path / "boxes" / f"{index}.ply", box)
    return tmp_path / "boxes"


def prepare(folder: Path, store: Store | None, *, workers: int = 1):
    return prepare_entries(
        entries(folder), folder, in_unit_box, "content", store=store, progress=Progress(), workers=workers
    )


def digests(store: Store) -> dict[str, str]:
    """Of what was prepared, by file; the manifest, which also says when and where, is the store's own."""
    found = (store.root / "artefacts" / "shapes").rglob("*")
    return {path.name: file_digest(path) for path in found if path.is_file() and path.name != "artefact.json"}


class TestKeptShapes:
    def test_are_what_the_files_hold(self, folder, tmp_path):
        kept, read = prepare(folder, Store(tmp_path / "store")), prepare(folder, None)
        assert kept.kind == "mesh"
        assert list(kept.entries) == [str(index) for index in range(20)]
        for name in kept.entries:
            assert np.array_equal(kept.shape(name).vertices, read.shape(name).vertices)
            assert np.array_equal(kept.shape(name).faces, read.shape(name).faces)

    def test_are_read_once(self, folder, tmp_path, monkeypatch):
        first = prepare(folder, Store(tmp_path / "store"))
        monkeypatch.setattr(preparation, "prepared_shape", None)
        again = prepare(folder, Store(tmp_path / "store"))
        assert (again.skipped, again.inside) == (first.skipped, first.inside)
        assert np.ptp(again.shape("19").vertices, axis=0).max() == 1

    def test_look_outwards(self, folder, tmp_path):
        prepared = prepare(folder, Store(tmp_path / "store"))
        assert [name for name, inside in prepared.inside.items() if inside.inverted] == ["2"]
        assert not is_inverted(prepared.shape("2"))

    def test_sequences(self, tmp_path):
        for clip in ("shared", "changing"):
            for frame in range(3):
                ball = trimesh.creation.icosphere(1 + (frame if clip == "changing" else 0))
                ball.apply_translation((frame, 0, 0))
                ball.invert()
                write_mesh(tmp_path / "clips" / clip / f"{frame}.off", ball)
        prepared = prepare(tmp_path / "clips", Store(tmp_path / "store"))
        for name, faces in (("shared", [80, 80, 80]), ("changing", [80, 320, 1280])):
            shape = prepared.shape(name)
            assert isinstance(shape, Sequence)
            assert [len(frame.faces) for frame in shape.frames] == faces
            assert not any(is_inverted(frame) for frame in shape.frames)
            assert np.isclose(np.ptp(np.concatenate([frame.vertices for frame in shape.frames]), axis=0).max(), 1)

    def test_clouds_stay_where_they_are(self, tmp_path):
        (tmp_path / "clouds").mkdir()
        for index in range(3):
            np.save(tmp_path / "clouds" / f"{index}.npy", np.eye(3) * (index + 1))
        store = Store(tmp_path / "store")
        prepared = prepare(tmp_path / "clouds", store)
        assert (prepared.kind, dict(prepared.inside)) == ("points", {})
        assert set(digests(store)) == {"records.json"}
        assert np.ptp(prepared.shape("2").points) == 1


class TestBits:
    def test_are_the_same_twice_and_in_two_processes(self, folder, tmp_path):
        found = []
        for name, workers in (("a", 1), ("b", 1), ("c", 2)):
            store = Store(tmp_path / name)
            prepare(folder, store, workers=workers)
            found.append(digests(store))
        assert len(found[0]) == 6
        assert found[0] == found[1] == found[2]

    def test_are_the_same_after_a_kill(self, folder, tmp_path, monkeypatch):
        whole, killed = Store(tmp_path / "whole"), Store(tmp_path / "killed")
        prepare(folder, whole)
        asked = []

        def die_at_the_tenth(entry, normalise):
            asked.append(entry.name)
            if len(asked) == 10:
                raise KeyboardInterrupt
            return original(entry, normalise)

        original = preparation.prepared_shape
        monkeypatch.setattr(preparation, "prepared_shape", die_at_the_tenth)
        with pytest.raises(KeyboardInterrupt):
            prepare(folder, killed)
        assert not digests(killed)
        prepare(folder, killed)
        assert asked[10:] == [str(index) for index in range(8, 20)]  # the first two parts were done
        assert digests(killed) == digests(whole)


class TestBadMeshes:
    @pytest.fixture
    def with_bad_ones(self, folder):
        (folder / "bad-empty.ply").write_bytes(b"")
        (folder / "bad-cut.ply").write_bytes((folder / "0.ply").read_bytes()[:-40])
        (folder / "bad-nan.obj").write_text(
            "v 0 0 nan\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 2 3\nf 1 2 4\nf 1 3 4\nf 2 3 4\n"
        )
        (folder / "bad-one.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
        return folder

    @pytest.mark.parametrize("stored", [True, False])
    def test_are_named_with_the_reason(self, with_bad_ones, tmp_path, stored):
        prepared = prepare(with_bad_ones, Store(tmp_path / "store") if stored else None)
        assert set(prepared.skipped) == {"bad-empty", "bad-cut", "bad-nan", "bad-one"}
        assert all(f"{name}." in reason for name, reason in prepared.skipped.items())
        assert "not finite" in prepared.skipped["bad-nan"]
        assert "1 faces; a shape has at least 4" in prepared.skipped["bad-one"]
        assert len(prepared.entries) == 20

    def test_more_than_ten_million_faces_are_refused_in_no_time(self, tmp_path):
        (tmp_path / "obj").mkdir()
        path = tmp_path / "obj" / "huge.obj"
        path.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\n" + "f 1 2 3\n" * 10_000_001)
        start = time.process_time()
        with pytest.raises(HdbenchError, match=r"huge\.obj: 10000001 faces, more than 10000000"):
            prepare(path.parent, None)
        assert time.process_time() - start < 5

    def test_an_error_is_not_kept(self, tmp_path):
        (tmp_path / "bad").mkdir()
        (tmp_path / "bad" / "a.ply").write_bytes(b"")
        store = Store(tmp_path / "store")
        for _ in range(2):
            with pytest.raises(HdbenchError, match="None of the 1 shapes"):
                prepare(tmp_path / "bad", store)
        assert not digests(store)


class TestInside:
    def test_of_a_box_is_all_of_it(self):
        box = trimesh.creation.box()
        inside = measure_inside(Mesh(box.vertices, box.faces))
        assert inside.faces == 12
        assert inside.filled > 0.99
        assert inside.doubtful < 0.01

    def test_of_a_ball_is_its_volume(self):
        ball = trimesh.creation.icosphere(4)
        assert abs(measure_inside(Mesh(ball.vertices, ball.faces)).filled - np.pi / 6) < 0.015  # 4 deviations

    def test_of_an_open_box_is_doubtful(self):
        box = trimesh.creation.box()
        assert measure_inside(Mesh(box.vertices, box.faces[2:])).doubtful > 0.1


def test_a_dataset_answers_occupancy_like_its_file(folder, tmp_path):
    kept, read = Folder(folder, "box", store=Store(tmp_path / "store")), Folder(folder, "box")
    points = np.random.default_rng(0).uniform(-0.6, 0.6, (500, 3)).astype(np.float32)
    assert kept.is_at_hand
    assert not read.is_at_hand
    for name in ("2", "7"):
        inside = (np.abs(points) < np.abs(read.shape(name).vertices).max(axis=0)).all(axis=1)
        assert np.array_equal(kept.occupancy(name, points), inside)
        assert np.array_equal(read.occupancy(name, points), inside)

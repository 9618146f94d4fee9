import os
import pickle
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import trimesh

from hdbench.datasets.arrays import LARGEST_COORDINATE, shape_from_mesh
from hdbench.datasets.readers import entries, natural_order, read_shape, read_shapes
from hdbench.errors import HdbenchError
from hdbench.shape_files import write_shape_set
from hdbench.shapes import Mesh, PointCloud, Sequence

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "shapes"
needs_shapes = pytest.mark.skipif(not SHARED.is_dir(), reason="the shape pack is not beside the repository")


@pytest.fixture
def box() -> trimesh.Trimesh:
    return trimesh.creation.box(extents=(1, 2, 3))


def cloud(count: int = 20, *, seed: int = 0, frames: int | None = None) -> np.ndarray:
    size = (count, 3) if frames is None else (frames, count, 3)
    return np.random.default_rng(seed).normal(size=size).astype(np.float32)


def read_all(path: Path) -> dict[str, object]:
    return dict(read_shapes(path))


class TestOneFile:
    @pytest.mark.parametrize("suffix", ["ply", "obj", "off", "stl", "glb", "PLY"])
    def test_meshes(self, tmp_path, box, suffix):
        path = tmp_path / f"box.{suffix}"
        path.write_bytes(_exported(box, suffix.lower()))
        mesh = read_shape(path)
        assert isinstance(mesh, Mesh)
        assert len(mesh.faces) == 12
        corners = mesh.vertices[mesh.faces]
        assert np.allclose(np.ptp(corners.reshape(-1, 3), axis=0), (1, 2, 3))
        volume = np.einsum("fi,fi->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6
        assert np.isclose(volume, 6)  # fronts still look outwards

    def test_point_clouds(self, tmp_path):
        points = cloud()
        trimesh.PointCloud(points).export(tmp_path / "a.ply")
        np.savetxt(tmp_path / "a.xyz", points)
        np.savetxt(tmp_path / "coloured.xyz", np.hstack([points, np.full((20, 3), 7)]))
        np.save(tmp_path / "a.npy", points.astype(np.float64))
        np.savez(tmp_path / "a.npz", points=points.astype(np.float16))
        np.savez(tmp_path / "unnamed.npz", points)
        for path in sorted(tmp_path.iterdir()):
            found = read_shape(path)
            assert isinstance(found, PointCloud), path
            assert found.points.dtype == np.float32
            assert np.allclose(found.points, points, atol=2e-3), path

    def test_meshes_without_faces_are_clouds(self, tmp_path):
        (tmp_path / "a.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\n")
        (tmp_path / "a.off").write_text("OFF\n3 0 0\n0 0 0\n1 0 0\n0 1 0\n")
        assert all(isinstance(shape, PointCloud) for shape in read_all(tmp_path).values())

    def test_scenes_are_joined_where_they_stand(self, tmp_path, box):
        scene = trimesh.Scene()
        scene.add_geometry(box)
        scene.add_geometry(box.copy(), transform=trimesh.transformations.translation_matrix((10, 0, 0)))
        scene.add_geometry(trimesh.PointCloud(cloud()))
        scene.export(tmp_path / "scene.glb")
        mesh = read_shape(tmp_path / "scene.glb")
        assert isinstance(mesh, Mesh)
        assert len(mesh.faces) == 24
        assert np.allclose(np.ptp(mesh.vertices, axis=0), (11, 2, 3))

    def test_obj_with_materials_polygons_and_no_material_file(self, tmp_path):
        (tmp_path / "a.obj").write_text(
            "mtllib missing.mtl\nusemtl a\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nv 0 0 1\nvt 0 0\n"
            "f 1/1 2/1 3/1 4/1\nusemtl b\nf 1 2 5\nf -1 -2 -3\n"
        )
        mesh = read_shape(tmp_path / "a.obj")
        assert isinstance(mesh, Mesh)
        assert len(mesh.faces) == 4

    @pytest.mark.parametrize("keys", [("vertices", "faces"), ("v", "f")])
    def test_mesh_arrays(self, tmp_path, box, keys):
        np.savez(tmp_path / "a.npz", **dict(zip(keys, (box.vertices, box.faces), strict=True)))
        mesh = read_shape(tmp_path / "a.npz")
        assert isinstance(mesh, Mesh)
        assert np.array_equal(mesh.vertices[mesh.faces], box.vertices[box.faces].astype(np.float32))

    def test_sequences(self, tmp_path, box):
        np.save(tmp_path / "points.npy", cloud(frames=4))
        np.savez(tmp_path / "meshes.npz", v=np.stack([box.vertices, box.vertices * 2]).astype(np.float16), f=box.faces)
        points, meshes = read_shape(tmp_path / "points.npy"), read_shape(tmp_path / "meshes.npz")
        assert isinstance(points, Sequence)
        assert isinstance(meshes, Sequence)
        assert np.array_equal([frame.points for frame in points.frames], cloud(frames=4))
        assert [np.ptp(frame.vertices[:, 2]) for frame in meshes.frames] == [3, 6]

    def test_unused_vertices_are_dropped(self):
        mesh = shape_from_mesh(np.array([[99, 99, 99], [0, 0, 0], [1, 0, 0], [0, 1, 0]]), np.array([[1, 2, 3]]), "a")
        assert isinstance(mesh, Mesh)
        assert mesh.vertices.max() == 1
        assert mesh.faces.tolist() == [[0, 1, 2]]


class TestBadFiles:
    """Each is refused in one line that names the file."""

    @pytest.mark.parametrize("suffix", ["ply", "obj", "off", "stl", "glb", "npy", "npz", "xyz"])
    @pytest.mark.parametrize("content", [b"", b"\x00", bytes(range(256)) * 9, b"hello\nworld\n"])
    def test_garbage(self, tmp_path, suffix, content):
        path = tmp_path / f"bad.{suffix}"
        path.write_bytes(content)
        complaint(path)

    # Text formats are not among them: with half their faces they are whole files of another shape.
    @pytest.mark.parametrize("suffix", ["ply", "stl", "glb", "npy", "npz"])
    @pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
    def test_truncated(self, tmp_path, box, suffix, share):
        path = tmp_path / f"cut.{suffix}"
        if suffix == "npy":
            np.save(path, cloud())
        elif suffix == "npz":
            np.savez(path, points=cloud())
        else:
            path.write_bytes(_exported(box, suffix))
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
        complaint(path)

    @pytest.mark.parametrize(
        ("points", "words"),
        [
            (np.full((5, 3), np.nan), "not finite"),
            (np.array([[0, 0, 0], [np.inf, 0, 0]]), "not finite"),
            (np.zeros((0, 3)), "no points"),
            (np.zeros((5, 3)), "one place"),
            (np.ones((5, 4)), "three columns"),
            (np.ones((3, 50)), "transpose"),
            (np.ones(9), "one shape is points"),
            (np.ones((2, 2, 5, 3)), "one shape is points"),
            (np.array([["a", "b", "c"]]), "expected numbers"),
            (np.eye(3) * 1j, "expected numbers"),
            (np.eye(3) * LARGEST_COORDINATE * 2, "scale them"),
            (np.eye(3) * 1e300, "scale them"),
            (np.eye(3) + np.array([5e5, 4.6e6, 100]), "too coarse; subtract one offset"),
        ],
    )
    def test_points(self, tmp_path, points, words):
        np.save(tmp_path / "bad.npy", points)
        assert words in complaint(tmp_path / "bad.npy")

    @pytest.mark.parametrize(
        ("vertices", "faces", "words"),
        [
            (np.eye(3), [[0, 1, 3]], "missing vertices"),
            (np.eye(3), [[0, 1, -1]], "missing vertices"),
            (np.eye(3), np.zeros((0, 3), int), "no faces"),
            (np.eye(3), [[0, 0, 1]], "no surface area"),
            (np.eye(3), [[0.0, 1.0, 2.0]], "whole numbers"),
            (np.eye(3), [[0, 1, 2, 0]], "whole numbers"),
            (np.eye(3) * np.nan, [[0, 1, 2]], "not finite"),
            (np.ones(3), [[0, 1, 2]], "expected (V, 3)"),
        ],
    )
    def test_meshes(self, tmp_path, vertices, faces, words):
        np.savez(tmp_path / "bad.npz", v=vertices, f=np.asarray(faces))
        assert words in complaint(tmp_path / "bad.npz")

    def test_mesh_files(self, tmp_path):
        (tmp_path / "range.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n")
        (tmp_path / "nan.obj").write_text("v 0 0 nan\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
        (tmp_path / "huge.obj").write_text("v 0 0 0\nv 1e30 0 0\nv 0 1 0\nf 1 2 3\n")
        for path in sorted(tmp_path.iterdir()):
            complaint(path)

    def test_nothing_is_unpickled(self, tmp_path):
        class Bomb:
            def __reduce__(self):
                return Path.touch, (tmp_path / "exploded",)

        (tmp_path / "pickle.npy").write_bytes(pickle.dumps(Bomb()))
        np.save(tmp_path / "object.npy", np.array([Bomb()], object), allow_pickle=True)
        np.savez(tmp_path / "object.npz", points=np.array([Bomb()], object))
        for path in sorted(tmp_path.iterdir()):
            complaint(path)
        assert not (tmp_path / "exploded").exists()

    def test_a_forged_size_allocates_nothing(self, tmp_path):
        header = str({"descr": "<f4", "fortran_order": False, "shape": (10**12, 3)}).encode()
        content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + b"\0" * 99
        (tmp_path / "forged.npy").write_bytes(content)
        complaint(tmp_path / "forged.npy")
        with zipfile.ZipFile(tmp_path / "forged.npz", "w") as archive:
            archive.writestr("points.npy", content)
        complaint(tmp_path / "forged.npz")

    def test_archives_without_shapes(self, tmp_path):
        np.savez(tmp_path / "other.npz", colours=cloud(), normals=cloud())
        assert "colours, normals" in complaint(tmp_path / "other.npz")
        np.savez(tmp_path / "none.npz")
        assert "nothing" in complaint(tmp_path / "none.npz")

    def test_unknown_kind(self, tmp_path):
        (tmp_path / "a.fbx").write_bytes(b"x")
        assert ".ply .obj" in complaint(tmp_path / "a.fbx")


class TestSets:
    @pytest.mark.parametrize("frames", [None, 2])
    def test_rows_of_an_npy(self, tmp_path, frames):
        points = np.stack([cloud(seed=i, frames=frames) for i in range(11)])
        np.save(tmp_path / "set.npy", points)
        found = read_all(tmp_path / "set.npy")
        assert list(found) == [f"{i:02d}" for i in range(11)]
        kind = PointCloud if frames is None else Sequence
        assert all(isinstance(shape, kind) for shape in found.values())
        last = found["10"]
        assert np.array_equal(last.points if frames is None else [f.points for f in last.frames], points[10])

    def test_rows_of_the_only_array_of_an_npz(self, tmp_path):
        points = np.stack([cloud(seed=seed) for seed in range(3)])
        np.savez(tmp_path / "set.npz", points)
        found = read_all(tmp_path / "set.npz")
        assert list(found) == ["0", "1", "2"]
        assert all(np.array_equal(shape.points, row) for shape, row in zip(found.values(), points, strict=True))
        assert isinstance(read_shape(tmp_path / "set.npz"), Sequence)  # one file of many: one shape

    @pytest.mark.parametrize(
        "arrays", [{"points": np.ones((2, 9, 3)), "ids": ["a", "b"]}, {"points": np.ones((2, 4, 9, 3))}]
    )
    def test_a_set_among_single_shapes_is_refused(self, tmp_path, arrays):
        np.savez(tmp_path / "set.npz", **arrays)
        assert "name the file itself" in complaint(tmp_path / "set.npz")

    def test_rows_of_an_npz_with_ids(self, tmp_path):
        points = np.stack([cloud(seed=i) for i in range(3)])
        points[1, 0, 0] = np.nan
        np.savez(tmp_path / "set.npz", points=points, ids=["c", "a", "b"], valid=[True, True, False])
        found = read_all(tmp_path / "set.npz")
        assert list(found) == ["c", "a", "b"]
        assert np.array_equal(found["c"].points, points[0])
        assert "not finite" in str(found["a"])
        assert "marked as invalid" in str(found["b"])

    @pytest.mark.parametrize("extra", [{"ids": ["a", "a"]}, {"ids": ["a"]}, {"ids": ["../a", "b"]}, {"ids": ["", "b"]}])
    def test_ids_must_name_the_rows(self, tmp_path, extra):
        np.savez(tmp_path / "set.npz", points=np.stack([cloud(), cloud()]), **extra)
        with pytest.raises(HdbenchError, match=r"set\.npz"):
            read_all(tmp_path / "set.npz")

    def test_valid_must_have_one_mark_per_row(self, tmp_path):
        np.savez(tmp_path / "set.npz", points=np.stack([cloud(), cloud()]), valid=[True])
        assert all("`valid` has shape" in str(shape) for shape in read_all(tmp_path / "set.npz").values())

    def test_packed_meshes(self, tmp_path, box):
        arrays = {"car/one/v": box.vertices, "car/one/f": box.faces, "two/v": box.vertices[None], "two/f": box.faces}
        np.savez(tmp_path / "pack.npz", **arrays, **{"lost/v": box.vertices})
        found = read_all(tmp_path / "pack.npz")
        assert list(found) == ["car/one", "two", "lost"]
        assert isinstance(found["car/one"], Mesh)
        assert isinstance(found["two"], Sequence)
        assert "lost/f" in str(found["lost"])

    def test_samples_of_a_run(self, tmp_path, box):
        mesh = Mesh(box.vertices, box.faces)
        empty = Mesh(np.zeros((0, 3)), np.zeros((0, 3)))
        write_shape_set(tmp_path / "s", [("a", mesh), ("b", empty)], kind="mesh", point_count=8, seed=0)
        found = read_all(tmp_path / "s")
        assert isinstance(found["a"], Mesh)
        assert "no faces" in str(found["b"])
        with pytest.raises(HdbenchError, match=r"several sets of samples \(s\)"):
            read_all(tmp_path)

    @needs_shapes
    def test_the_shape_pack(self):
        static = next(read_shapes(SHARED / "chair_permissive.npz"))
        moving = next(read_shapes(SHARED / "animal_permissive.npz"))
        assert isinstance(static[1], Mesh)
        assert isinstance(moving[1], Sequence)
        assert len(moving[1].frames) == 16


class TestFolders:
    def test_files_in_natural_order(self, tmp_path):
        for name in ("s10.npy", "s9.npy", "s1.npy", ".hidden.npy"):
            np.save(tmp_path / name, cloud())
        (tmp_path / "readme.txt").write_text("no shape")
        (tmp_path / "manifest.csv").write_text("id,split\n")
        assert [entry.name for entry in entries(tmp_path)] == ["s1", "s9", "s10"]

    def test_same_stem_twice(self, tmp_path, box):
        np.save(tmp_path / "a.npy", cloud())
        box.export(tmp_path / "a.ply")
        np.save(tmp_path / "b.npy", cloud())
        assert [entry.name for entry in entries(tmp_path)] == ["a.npy", "a.ply", "b"]

    def test_broken_files_stand_in_their_place(self, tmp_path):
        np.save(tmp_path / "a.npy", cloud())
        (tmp_path / "b.ply").write_bytes(b"broken")
        found = read_all(tmp_path)
        assert isinstance(found["a"], PointCloud)
        assert isinstance(found["b"], HdbenchError)
        assert str(tmp_path / "b.ply") in str(found["b"])

    def test_frames_in_natural_order(self, tmp_path):
        for frame in (10, 2, 1):
            (tmp_path / "clip").mkdir(exist_ok=True)
            np.save(tmp_path / "clip" / f"f{frame}.npy", cloud() + frame)
        clip = read_all(tmp_path)["clip"]
        assert isinstance(clip, Sequence)
        assert [round(float((frame.points - cloud()).mean())) for frame in clip.frames] == [1, 2, 10]

    def test_a_sub_folder_with_one_file_is_no_sequence(self, tmp_path, box):
        (tmp_path / "a").mkdir()
        box.export(tmp_path / "a" / "model.ply")
        assert isinstance(read_all(tmp_path)["a"], Mesh)

    def test_frames_of_different_kinds(self, tmp_path, box):
        (tmp_path / "a").mkdir()
        box.export(tmp_path / "a" / "0.ply")
        np.save(tmp_path / "a" / "1.npy", cloud())
        assert "not a frame of the kind" in str(read_all(tmp_path)["a"])

    def test_split_folders(self, tmp_path):
        for split in ("train", "test"):
            (tmp_path / split).mkdir()
            np.save(tmp_path / split / "a.npy", cloud())
        np.save(tmp_path / "beside.npy", cloud())
        assert [entry.name for entry in entries(tmp_path)] == ["test/a", "train/a"]

    def test_nothing_there(self, tmp_path):
        with pytest.raises(HdbenchError, match="There is no file or folder"):
            entries(tmp_path / "missing")
        (tmp_path / "readme.txt").write_text("no shape")
        with pytest.raises(HdbenchError, match="holds no shapes"):
            entries(tmp_path)

    def test_only_what_is_asked_for_is_read(self, tmp_path):
        np.save(tmp_path / "a.npy", cloud())
        (tmp_path / "b.npy").write_bytes(b"broken")
        assert isinstance(next(read_shapes(tmp_path))[1], PointCloud)

    def test_entries_travel_to_other_processes(self, tmp_path, box):
        np.savez(tmp_path / "pack.npz", **{"one/v": box.vertices, "one/f": box.faces})
        (entry,) = entries(tmp_path / "pack.npz")
        entry.read()
        again = pickle.loads(pickle.dumps(entry))
        assert np.array_equal(again.read().vertices, entry.read().vertices)


def test_natural_order():
    names = ["b", "a10", "a9", "a", "10", "9", "a9b2", "a9b10", "a09"]
    assert sorted(names, key=natural_order) == ["9", "10", "a", "a09", "a9", "a9b2", "a9b10", "a10", "b"]


def complaint(path: Path) -> str:
    """The one line with which `path` is refused."""
    with pytest.raises(HdbenchError) as caught:
        read_shape(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def _exported(mesh: trimesh.Trimesh, suffix: str) -> bytes:
    content = mesh.export(file_type=suffix)
    return content.encode() if isinstance(content, str) else content


def test_one_array_alone_in_a_folder_is_a_set(tmp_path):
    np.savez(tmp_path / "samples.npz", points=np.random.default_rng(0).normal(size=(4, 30, 3)))
    assert [shape.points.shape for _, shape in read_shapes(tmp_path)] == [(30, 3)] * 4


@pytest.mark.skipif(sys.platform != "linux", reason="file names are any bytes on Linux alone")
def test_names_are_utf8_whatever_the_bytes_of_the_file(tmp_path):
    for name in (b"St\xfchl.npy", "Stühl 100%.npy".encode()):
        np.save(tmp_path / os.fsdecode(name), cloud())
    assert [(entry.name, entry.read().points.shape) for entry in entries(tmp_path)] == [
        ("Stühl 100%", (20, 3)),
        ("St%FChl", (20, 3)),
    ]
    np.save(tmp_path / "St%FChl.npy", cloud())
    with pytest.raises(HdbenchError, match="two shapes are called 'St%FChl'"):
        entries(tmp_path)


def test_files_that_make_two_shapes_of_one_name_are_refused(tmp_path):
    for name in ("a.ply", "a.obj", "a.ply.obj"):
        (tmp_path / name).touch()
    with pytest.raises(HdbenchError, match=r"two shapes are called 'a\.ply'; rename"):
        entries(tmp_path)

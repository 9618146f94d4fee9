import json
import math

import numpy as np
import pytest
import trimesh

from hdbench.errors import HdbenchError
from hdbench.geometry.sampling import shape_points
from hdbench.shape_files import (
    ShapeSet,
    load_shape,
    read_ply,
    save_shape,
    write_ply,
    write_shape_set,
)
from hdbench.shapes import Mesh, PointCloud, Sequence, defect, surface_area

EMPTY = Mesh(np.zeros((0, 3)), np.zeros((0, 3)))
TRIANGLE = Mesh([[0, 0, 0], [3, 0, 0], [0, 4, 0]], [[0, 1, 2]])


@pytest.fixture
def box() -> Mesh:
    solid = trimesh.creation.box(extents=(1, 2, 3))
    return Mesh(solid.vertices + 0.1, solid.faces)


def cloud(count: int = 30, *, seed: int = 0) -> PointCloud:
    return PointCloud(np.random.default_rng(seed).normal(size=(count, 3)))


def arrays(shape) -> list[np.ndarray]:
    if isinstance(shape, Sequence):
        return [array for frame in shape.frames for array in arrays(frame)]
    return [shape.vertices, shape.faces] if isinstance(shape, Mesh) else [shape.points]


def same(first, second) -> bool:
    pairs = zip(arrays(first), arrays(second), strict=True)
    return type(first) is type(second) and all(np.array_equal(a, b, equal_nan=True) for a, b in pairs)


def test_arrays_take_the_types_of_the_contract():
    mesh = Mesh([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]])
    assert (mesh.vertices.dtype, mesh.faces.dtype) == (np.float32, np.int32)
    assert PointCloud(np.zeros((2, 3), np.float64)).points.dtype == np.float32


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        (TRIANGLE, None),
        (cloud(), None),
        (Sequence((cloud(), cloud())), None),
        (EMPTY, "no faces"),
        (Mesh(np.eye(3), np.zeros((0, 3))), "no faces"),
        (Mesh(np.zeros((0, 3)), [[0, 1, 2]]), "no points"),
        (PointCloud(np.zeros((0, 3))), "no points"),
        (PointCloud([[0, 0, 0], [0, np.nan, 1]]), "coordinates that are not finite"),
        (Mesh([[0, 0, 0], [1, np.inf, 0], [0, 1, 0]], [[0, 1, 2]]), "coordinates that are not finite"),
        (Mesh(np.eye(3), [[0, 1, 3]]), "faces that name missing vertices"),
        (Mesh(np.eye(3), [[0, 1, -1]]), "faces that name missing vertices"),
        (PointCloud(np.ones((9, 3))), "all points in one place"),
        (Mesh(np.ones((3, 3)), [[0, 1, 2]]), "all points in one place"),
        (Mesh([[0, 0, 0], [1, 0, 0], [2, 0, 0]], [[0, 1, 2]]), "no surface area"),
        (Sequence(()), "no frames"),
        (Sequence((cloud(), EMPTY)), "frame 1: no faces"),
    ],
)
def test_defect(shape, reason):
    assert defect(shape) == reason


def test_surface_area(box):
    assert surface_area(TRIANGLE) == 6
    assert math.isclose(surface_area(box), 22, rel_tol=1e-6)
    assert surface_area(EMPTY) == 0


@pytest.mark.parametrize("mesh", [TRIANGLE, EMPTY, Mesh(np.eye(3) * np.pi, [[2, 1, 0], [0, 1, 2]])])
def test_ply_keeps_every_bit(tmp_path, mesh):
    write_ply(tmp_path / "folder" / "a.ply", mesh)
    assert same(read_ply(tmp_path / "folder" / "a.ply"), mesh)


@pytest.mark.parametrize(
    "shape",
    [TRIANGLE, EMPTY, cloud(), Sequence(()), Sequence((TRIANGLE,)), Sequence((cloud(), cloud(seed=1)))],
    ids=["mesh", "empty", "points", "no frames", "meshes", "clouds"],
)
def test_saved_shapes_keep_every_bit(tmp_path, shape):
    for name in ("a", "b"):
        save_shape(tmp_path / f"{name}.npz", shape)
    assert same(load_shape(tmp_path / "a.npz"), shape)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "b.npz"]


class TestShapeSet:
    def test_holds_what_was_written(self, tmp_path, box):
        written = write_shape_set(tmp_path / "s", [("b", box), ("a", TRIANGLE)], kind="mesh", point_count=64, seed=3)
        opened = ShapeSet.open(tmp_path / "s")
        assert opened.ids == written.ids == ("b", "a")
        assert opened.points.shape == (2, 64, 3)
        assert np.array_equal(opened.points, written.points)
        assert opened.valid.all()
        assert len(opened) == 2
        assert [name for name, _ in opened] == ["b", "a"]
        assert same(opened.shape(0), box)
        manifest = json.loads((tmp_path / "s" / "manifest.json").read_text())
        assert manifest == {"kind": "mesh", "count": 2, "point_count": 64, "seed": 3, "invalid": {}}

    def test_points_depend_on_seed_and_name_alone(self, tmp_path, box):
        both = write_shape_set(tmp_path / "a", [("x", TRIANGLE), ("y", box)], kind="mesh", point_count=16, seed=3)
        alone = write_shape_set(tmp_path / "b", [("y", box)], kind="mesh", point_count=16, seed=3)
        other = write_shape_set(tmp_path / "c", [("y", box)], kind="mesh", point_count=16, seed=4)
        assert np.array_equal(both.points[1], alone.points[0])
        assert np.array_equal(alone.points[0], shape_points(box, 16, seed=3, name="y"))
        assert not np.array_equal(alone.points[0], other.points[0])

    def test_invalid_shapes_keep_their_row(self, tmp_path, box):
        shapes = [("none", EMPTY), ("good", box), ("nan", Mesh(np.full((3, 3), np.nan), [[0, 1, 2]]))]
        write_shape_set(tmp_path / "s", shapes, kind="mesh", point_count=16, seed=0)
        opened = ShapeSet.open(tmp_path / "s")
        assert opened.valid.tolist() == [False, True, False]
        assert opened.invalid == {"none": "no faces", "nan": "coordinates that are not finite"}
        assert np.isnan(opened.points[[0, 2]]).all()
        assert np.isfinite(opened.points[1]).all()
        assert same(opened.shape(0), EMPTY)

    @pytest.mark.parametrize("frame", [TRIANGLE, cloud(40)], ids=["meshes", "clouds"])
    def test_sequences(self, tmp_path, frame):
        moving = Sequence(tuple(frame for _ in range(11)))
        still = Sequence((EMPTY,) * 11)
        write_shape_set(tmp_path / "s", [("m", moving), ("e", still)], kind="sequence", point_count=40, seed=0)
        opened = ShapeSet.open(tmp_path / "s")
        assert opened.points.shape == (2, 11, 40, 3)
        assert opened.valid.tolist() == [True, False]
        assert same(opened.shape(0), moving)

    def test_points(self, tmp_path):
        write_shape_set(tmp_path / "s", [("a", cloud(40)), ("b", cloud(50))], kind="points", point_count=40, seed=0)
        opened = ShapeSet.open(tmp_path / "s")
        assert np.array_equal(opened.points[0], cloud(40).points)
        assert same(opened.shape(1), PointCloud(opened.points[1]))
        assert not (tmp_path / "s" / "meshes").exists()

    def test_ids_may_have_folders(self, tmp_path, box):
        write_shape_set(tmp_path / "s", [("train/a.b", box)], kind="mesh", point_count=8, seed=0)
        assert same(ShapeSet.open(tmp_path / "s").shape(0), box)

    @pytest.mark.parametrize("shapes", [[], [("e", EMPTY)]], ids=["none", "none valid"])
    def test_nothing_to_score(self, tmp_path, shapes):
        write_shape_set(tmp_path / "s", shapes, kind="mesh", point_count=8, seed=0)
        opened = ShapeSet.open(tmp_path / "s")
        assert opened.points.shape == (len(shapes), 8, 3)
        assert not opened.valid.any()

    def test_small_clouds_must_be_of_one_size(self, tmp_path):
        shapes = [("a", cloud(30)), ("b", cloud(31))]
        write_shape_set(tmp_path / "fine", shapes, kind="points", point_count=30, seed=0)
        with pytest.raises(HdbenchError, match=r"b has points \(31, 3\) where others have \(30, 3\)"):
            write_shape_set(tmp_path / "s", shapes, kind="points", point_count=64, seed=0)

    def test_sets_are_the_same_bytes_each_time(self, tmp_path, box):
        for name in ("a", "b"):
            write_shape_set(tmp_path / name, [("x", box), ("y", EMPTY)], kind="mesh", point_count=16, seed=0)
        files = [path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*")]
        assert len(files) == 4
        assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files)

    @pytest.mark.parametrize("damage", ["no folder", "no points", "cut", "garbage", "no manifest", "list", "not JSON"])
    def test_what_is_no_set_is_refused(self, tmp_path, box, damage):
        folder = tmp_path / "s"
        if damage != "no folder":
            write_shape_set(folder, [("x", box)], kind="mesh", point_count=16, seed=0)
        if damage == "no points":
            np.savez(folder / "points.npz", other=np.zeros(3))
        if damage == "cut":
            (folder / "points.npz").write_bytes((folder / "points.npz").read_bytes()[:200])
        if damage == "garbage":
            (folder / "points.npz").write_bytes(b"")
        if damage == "no manifest":
            (folder / "manifest.json").unlink()
        if damage == "list":
            (folder / "manifest.json").write_text("[]")
        if damage == "not JSON":
            (folder / "manifest.json").write_text("{")
        with pytest.raises(HdbenchError, match="is not a set of samples"):
            ShapeSet.open(folder)

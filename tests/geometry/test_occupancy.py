import igl
import numpy as np
import pytest
import trimesh

from hdbench.errors import HdbenchError
from hdbench.geometry.occupancy import flipped, is_inverted, occupancy, winding_number
from hdbench.shapes import Mesh

EMPTY = Mesh(np.zeros((0, 3)), np.zeros((0, 3)))


def as_mesh(solid: trimesh.Trimesh) -> Mesh:
    return Mesh(solid.vertices, solid.faces)


def uniform_points(count: int, *, reach: float = 1.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-reach, reach, (count, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def sphere() -> Mesh:
    return as_mesh(trimesh.creation.icosphere(4, radius=0.7))


@pytest.fixture(scope="module")
def thin_box() -> Mesh:
    return as_mesh(trimesh.creation.box(extents=(1.6, 0.01, 1.0)))


def test_agrees_with_a_sphere(sphere):
    points = uniform_points(5000)
    radius = np.linalg.norm(points, axis=1)
    sure = abs(radius - 0.7) > 0.01  # the polyhedron lies within 0.003 of its sphere
    assert np.array_equal(occupancy(sphere, points)[sure], (radius <= 0.7)[sure])


def test_agrees_with_a_thin_box(thin_box):
    points = uniform_points(20_000) * np.float32([1, 0.02, 1])
    inside = (abs(points) < np.float32([0.8, 0.005, 0.5])).all(axis=1)
    sure = abs(abs(points[:, 1]) - 0.005) > 2e-4
    found = occupancy(thin_box, points)
    assert inside.sum() > 1000
    assert np.mean(found[sure] != inside[sure]) < 1e-3


@pytest.mark.parametrize("damage", ["none", "missing", "duplicated", "part inside"])
def test_agrees_with_the_exact_winding_number(sphere, damage):
    rng = np.random.default_rng(1)
    mesh = sphere
    if damage == "missing":
        mesh = Mesh(sphere.vertices, sphere.faces[rng.random(len(sphere.faces)) > 0.03])
    if damage == "duplicated":
        mesh = Mesh(sphere.vertices, np.concatenate([sphere.faces, sphere.faces[rng.random(len(sphere.faces)) < 0.2]]))
    if damage == "part inside":
        mesh = as_mesh(trimesh.util.concatenate([trimesh.creation.box((0.3, 0.4, 0.5)), trimesh.creation.icosphere(3)]))
    points = uniform_points(2000, reach=1.2)
    exact = igl.winding_number(mesh.vertices.astype(np.float64), mesh.faces.astype(np.int64), points.astype(np.float64))
    fast = winding_number(mesh, points)
    assert abs(fast - exact).max() < 0.03  # of the tree's expansion, measured at most 0.015
    sure = abs(exact - 0.5) > 0.03
    assert np.array_equal(occupancy(mesh, points)[sure], (exact >= 0.5)[sure])


def test_missing_faces_change_next_to_nothing(sphere):
    points = uniform_points(5000)
    holed = Mesh(sphere.vertices, sphere.faces[np.random.default_rng(2).random(len(sphere.faces)) > 0.03])
    assert np.mean(occupancy(holed, points) != occupancy(sphere, points)) < 2e-3


@pytest.mark.parametrize("name", ["sphere", "thin_box"])
def test_a_globally_inverted_mesh_is_turned_round(name, request):
    mesh = request.getfixturevalue(name)
    points = uniform_points(3000)
    assert not is_inverted(mesh)
    assert is_inverted(flipped(mesh))
    assert winding_number(flipped(mesh), points).min() < -0.9
    assert np.array_equal(occupancy(flipped(mesh), points), occupancy(mesh, points))


def test_an_inverted_mesh_with_holes_is_recognised(sphere):
    holed = Mesh(sphere.vertices, sphere.faces[np.random.default_rng(3).random(len(sphere.faces)) > 0.05])
    assert is_inverted(flipped(holed))
    assert not is_inverted(holed)


def test_a_few_flipped_faces_do_not_invert_a_mesh(sphere):
    chosen = np.random.default_rng(4).random(len(sphere.faces)) < 0.05
    mesh = Mesh(sphere.vertices, np.where(chosen[:, None], sphere.faces[:, ::-1], sphere.faces))
    points = uniform_points(5000)
    assert not is_inverted(mesh)
    assert np.mean(occupancy(mesh, points) != occupancy(sphere, points)) < 0.02


def test_an_open_sheet_is_not_inverted_and_holds_nothing():
    sheet = Mesh([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], [[0, 1, 2], [0, 2, 3]])
    assert not is_inverted(sheet)
    assert not is_inverted(flipped(sheet))
    assert not occupancy(sheet, uniform_points(100)).any()


def test_each_point_is_judged_alone(sphere):
    points = uniform_points(500)
    order = np.random.default_rng(5).permutation(len(points))
    assert np.array_equal(winding_number(sphere, points)[order], winding_number(sphere, points[order]))
    assert np.array_equal(winding_number(sphere, points)[:1], winding_number(sphere, points[:1]))


def test_is_as_good_far_from_the_origin_and_at_any_size(sphere):
    points = uniform_points(2000)
    moved = Mesh(sphere.vertices * 1000 + 5000, sphere.faces)
    assert np.mean(occupancy(moved, points * 1000 + 5000) != occupancy(sphere, points)) < 1e-3


@pytest.mark.parametrize(
    "mesh",
    [
        EMPTY,
        Mesh(np.zeros((4, 3)), [[0, 1, 2], [1, 2, 3]]),
        Mesh([[0, 0, 0], [1, 0, 0], [2, 0, 0]], [[0, 1, 2]]),
        Mesh([[0, 0, 0], [1, 1, 1]], np.zeros((0, 3))),
    ],
    ids=["empty", "one place", "one line", "no faces"],
)
def test_what_encloses_nothing_holds_nothing(mesh):
    assert not occupancy(mesh, uniform_points(50)).any()
    assert not is_inverted(mesh)


def test_degenerate_faces_do_no_harm(sphere):
    points = uniform_points(2000)
    mesh = Mesh(sphere.vertices, np.concatenate([sphere.faces, [[0, 0, 0], [1, 1, 2]]]))
    assert np.array_equal(occupancy(mesh, points), occupancy(sphere, points))


def test_points_that_are_not_finite_lie_outside(sphere):
    points = np.array([[0, 0, 0], [np.nan, 0, 0], [np.inf, 0, 0]], np.float32)
    assert occupancy(sphere, points).tolist() == [True, False, False]


def test_no_points_no_answers(sphere):
    assert occupancy(sphere, np.zeros((0, 3), np.float32)).shape == (0,)


@pytest.mark.parametrize(
    ("mesh", "complaint"),
    [
        (Mesh([[0, 0, 0], [1, 0, np.nan], [0, 1, 0]], [[0, 1, 2]]), "not finite"),
        (Mesh([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 3]]), "faces that name missing vertices"),
        (Mesh([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, -1]]), "faces that name missing vertices"),
    ],
)
def test_broken_meshes_are_refused_in_words(mesh, complaint):
    with pytest.raises(HdbenchError, match=complaint):
        occupancy(mesh, uniform_points(3))

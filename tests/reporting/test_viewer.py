import io
import json

import numpy as np
import pytest
import trimesh
from report_examples import box, cloud

from hdbench.reporting.viewer import (
    CLIP_FACES,
    FACES,
    FRAME_FACES,
    FRAME_POINTS,
    POINTS,
    packed,
    script_hashes,
    to_glb,
    viewer_page,
)
from hdbench.shapes import Mesh, PointCloud, Sequence

COLOR = (120, 170, 214)


def read(glb: bytes) -> trimesh.Trimesh | trimesh.PointCloud:
    """The geometry of a glTF, in its scene's coordinates."""
    scene = trimesh.load(io.BytesIO(glb), file_type="glb")
    (name,) = scene.geometry
    transform, _ = scene.graph[scene.graph.geometry_nodes[name][0]]
    geometry = scene.geometry[name]
    geometry.apply_transform(transform)
    return geometry


def test_a_mesh_reads_back_in_the_unit_ball():
    mesh = box(0)
    moved = Mesh(mesh.vertices * 7 + 3, mesh.faces)
    found = read(to_glb(moved, color=COLOR))
    extent = np.ptp(mesh.vertices, axis=0)
    expected = extent / (np.linalg.norm(extent) / 2)
    assert np.ptp(found.vertices, axis=0) == pytest.approx(expected, abs=2 / 32767)
    assert len(found.faces) == len(mesh.faces)
    assert found.area == pytest.approx(trimesh.Trimesh(*map(np.asarray, (mesh.vertices, mesh.faces))).area
                                       / (np.linalg.norm(extent) / 2) ** 2, rel=1e-3)  # fmt: skip


def test_large_meshes_and_clouds_become_small():
    sphere = trimesh.creation.icosphere(subdivisions=5)  # 20,480 faces
    found = read(to_glb(Mesh(sphere.vertices, sphere.faces), color=COLOR))
    assert 0.9 * FACES <= len(found.faces) <= FACES
    assert np.linalg.norm(found.vertices, axis=1).min() > 0.97
    points = PointCloud(np.random.default_rng(0).normal(size=(3 * POINTS, 3)))
    assert len(read(to_glb(points, color=COLOR)).vertices) == POINTS


def test_points_and_a_sequence_of_one_frame():
    points = cloud(0)
    found = read(to_glb(points, color=COLOR))
    assert len(found.vertices) == len(points.points)
    assert to_glb(Sequence((points,)), color=COLOR) == to_glb(points, color=COLOR)


def frames_of(glb: bytes) -> tuple[dict, list[np.ndarray]]:
    """The document of a glTF, and the vertices of its frames in their order."""
    document = json.loads(glb[20 : 20 + int.from_bytes(glb[12:16], "little")])
    names = [node["name"] for node in document["nodes"][:-1]]
    assert names == [f"frame{index}" for index in range(len(names))]
    scene = trimesh.load(io.BytesIO(glb), file_type="glb")
    nodes = [scene.graph[name] for name in names]
    return document, [trimesh.transform_points(scene.geometry[mesh].vertices, place) for place, mesh in nodes]


def test_frames_of_one_topology_share_their_faces_and_move():
    mesh = box(0)
    clip = Sequence(tuple(Mesh(mesh.vertices + np.float32([0, 0.1 * k, 0]), mesh.faces) for k in range(5)))
    document, frames = frames_of(to_glb(clip, color=COLOR))
    assert len(frames) == 5
    assert len({mesh["primitives"][0]["indices"] for mesh in document["meshes"]}) == 1
    steps = np.diff([frame[:, 1].mean() for frame in frames])
    np.testing.assert_allclose(steps, steps[0], atol=2 / 32767)
    assert steps[0] > 0.01


def test_large_clips_of_one_topology_keep_it():
    sphere = trimesh.creation.icosphere(subdivisions=5)
    clip = Sequence(tuple(Mesh(sphere.vertices * [1, 1 + k / 4, 1], sphere.faces) for k in range(3)))
    document, frames = frames_of(to_glb(clip, color=COLOR))
    assert len({mesh["primitives"][0]["indices"] for mesh in document["meshes"]}) == 1
    indices = document["accessors"][document["meshes"][0]["primitives"][0]["indices"]]
    assert indices["count"] / 3 == pytest.approx(CLIP_FACES, rel=0.05)
    heights = [np.ptp(frame[:, 1]) for frame in frames]
    assert heights == pytest.approx([4 / 3, 5 / 3, 2], rel=0.01)  # the clip's tallest frame fills the ball


def test_clips_of_many_topologies_and_of_points():
    spheres = [trimesh.creation.icosphere(subdivisions=level) for level in (1, 4)]
    clip = Sequence(tuple(Mesh(sphere.vertices, sphere.faces) for sphere in spheres))
    document, _ = frames_of(to_glb(clip, color=COLOR))
    counts = [document["accessors"][mesh["primitives"][0]["indices"]]["count"] / 3 for mesh in document["meshes"]]
    assert counts[0] == 80
    assert 0.9 * FRAME_FACES <= counts[1] <= FRAME_FACES
    points = [PointCloud(np.random.default_rng(k).normal(size=(3000, 3))) for k in range(2)]
    _, frames = frames_of(to_glb(Sequence(tuple(points)), color=COLOR))
    assert all(len(frame) <= FRAME_POINTS for frame in frames)


def test_container_is_sound():
    glb = to_glb(box(0), color=COLOR)
    assert glb[:4] == b"glTF"
    assert int.from_bytes(glb[8:12], "little") == len(glb)
    length = int.from_bytes(glb[12:16], "little")
    document = json.loads(glb[20 : 20 + length])
    assert document["buffers"][0]["byteLength"] == len(glb) - 28 - length
    camera = np.array(document["nodes"][1]["matrix"]).reshape(4, 4).T
    assert camera[:3, :3] @ camera[:3, :3].T == pytest.approx(np.eye(3))
    assert np.linalg.det(camera[:3, :3]) == pytest.approx(1)
    for view in document["bufferViews"]:
        assert view["byteOffset"] % 4 == 0


def test_viewer_page_has_the_two_scripts_and_no_shape_of_its_own():
    page = viewer_page("tweak()")
    assert page.count("<script>") == 2
    assert "tweak()" in page
    assert "$B64GLTF" not in page
    assert "window.frameElement.dataset.glb" in page
    assert len(set(script_hashes(page))) == 2
    assert packed(page) == packed(page)

import io
import json

import numpy as np
import pytest
import trimesh
from report_examples import box, cloud

from hdbench.reporting.viewer import FACES, POINTS, packed, script_hashes, to_glb, viewer_page
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


def test_points_and_sequences():
    points = cloud(0)
    found = read(to_glb(points, color=COLOR))
    assert len(found.vertices) == len(points.points)
    assert to_glb(Sequence((points, cloud(1))), color=COLOR) == to_glb(points, color=COLOR)


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

import json
import struct

import numpy as np
import pytest
import trimesh

from hdbench.datasets.gltf import refuse_unsound
from hdbench.datasets.readers import read_shape
from hdbench.errors import HdbenchError
from hdbench.shapes import Mesh, surface_area

POINTS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 1]], "<f4")
STRIP = np.arange(4, dtype="<u2")


def document(**changes: object) -> dict[str, object]:
    """A triangle strip under two nodes."""
    made: dict[str, object] = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"children": [1], "translation": [1, 2, 3], "scale": [2, 2, 2]}, {"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1, "mode": 5}]}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 4, "type": "VEC3"},
            {"bufferView": 1, "componentType": 5123, "count": 4, "type": "SCALAR"},
        ],
        "bufferViews": [
            {"buffer": 0, "byteLength": 48},
            {"buffer": 0, "byteOffset": 48, "byteLength": 8},
        ],
        "buffers": [{"byteLength": 56}],
    }
    return {**made, **changes}


BINARY = POINTS.tobytes() + STRIP.tobytes()


def write_glb(path, made, binary=BINARY):
    text = json.dumps(made).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    path.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks)
    return path


def complaint(path) -> str:
    with pytest.raises(HdbenchError) as caught:
        read_shape(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_nodes_place_the_mesh(tmp_path):
    mesh = read_shape(write_glb(tmp_path / "a.glb", document()))
    assert isinstance(mesh, Mesh)
    assert np.array_equal(mesh.vertices, POINTS * 2 + (1, 2, 3))
    assert len(mesh.faces) == 2


@pytest.mark.parametrize("suffix", ["glb", "gltf"])
def test_several_meshes_under_several_nodes(tmp_path, suffix):
    scene = trimesh.Scene()
    box, ball = trimesh.creation.box(extents=(1, 2, 3)), trimesh.creation.icosphere(subdivisions=1)
    scene.add_geometry(box, node_name="box")
    turned = trimesh.transformations.rotation_matrix(0.5, (0, 1, 0), (1, 0, 0))
    turned[:3, 3] += (5, 0, 0)
    scene.add_geometry(ball, node_name="left", parent_node_name="box", transform=turned)
    scene.add_geometry(ball, node_name="right", transform=np.diag([2.0, 2.0, 2.0, 1.0]))
    if suffix == "glb":
        (tmp_path / "scene.glb").write_bytes(scene.export(file_type="glb"))
    else:
        for name, content in scene.export(file_type="gltf").items():
            (tmp_path / name.replace("model.gltf", "scene.gltf")).write_bytes(content)
    mesh = read_shape(tmp_path / f"scene.{suffix}")
    assert len(mesh.faces) == len(box.faces) + 2 * len(ball.faces)
    assert np.isclose(surface_area(mesh), box.area + 5 * ball.area, rtol=1e-4)
    moved = ball.vertices @ turned[:3, :3].T + turned[:3, 3]
    assert np.allclose(mesh.vertices.max(axis=0)[0], moved[:, 0].max(), atol=1e-5)


def test_textures_are_not_looked_at(tmp_path):
    images = {"images": [{"uri": "../../secret.png"}], "textures": [{"source": 0}]}
    material = {"materials": [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}]}
    assert len(read_shape(write_glb(tmp_path / "a.glb", document(**images, **material))).faces) == 2


def nodes(count: int) -> list[dict[str, object]]:
    return [{"children": [index + 1]} for index in range(count)] + [{"mesh": 0}]


BUFFERLESS = {"componentType": 5126, "count": 2**36, "type": "VEC3"}
WIDE = {"bufferView": 0, "componentType": 5126, "count": 5, "type": "VEC3"}
SPARSE = {"bufferView": 0, "componentType": 5126, "count": 4, "type": "VEC3", "sparse": {"count": 1}}
INDICES = document()["accessors"][1]
FAN = [{"primitives": [{"attributes": {"POSITION": 0}, "mode": 6}]}]
LINES = [{"primitives": [{"attributes": {"POSITION": 0}, "mode": 1}]}]
NOWHERE = [{"primitives": [{"attributes": {}}]}]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"accessors": [BUFFERLESS, INDICES]}, "arrays of 824633720840 bytes"),
        ({"accessors": [WIDE, INDICES]}, "array 0 ends beyond its buffer view"),
        ({"accessors": [SPARSE, INDICES]}, "sparse"),
        ({"bufferViews": [{"buffer": 0, "byteLength": 57}] * 2}, "view 0 ends beyond its buffer"),
        ({"buffers": [{"byteLength": 57}]}, "56 bytes of 57"),
        ({"buffers": [{"byteLength": 56}, {"byteLength": 1}]}, "buffer 1 is not there"),
        ({"buffers": [{"byteLength": 4, "uri": "../secret.bin"}]}, "outside its folder"),
        ({"buffers": [{"byteLength": 4, "uri": "/etc/passwd"}]}, "outside its folder"),
        ({"buffers": [{"byteLength": 4, "uri": "file:///etc/passwd"}]}, "outside its folder"),
        ({"buffers": [{"byteLength": 4, "uri": "http://127.0.0.1:9/a.bin"}]}, "outside its folder"),
        ({"buffers": [{"byteLength": 4, "uri": "link.bin"}]}, "outside its folder"),
        ({"buffers": [{"byteLength": 4, "uri": "other.bin"}]}, "is missing"),
        ({"nodes": [{"children": [1]}, {"children": [0]}]}, "node 0 lies within itself"),
        ({"nodes": [{"children": [1, 1]}, {"mesh": 0}]}, "node 1 lies"),
        ({"nodes": nodes(300)}, "201 deep"),
        ({"nodes": [{"mesh": 7}]}, "names a part that is not there"),
        ({"nodes": [{"mesh": 0}], "scenes": [{"nodes": []}]}, "shows no triangles"),
        ({"meshes": FAN}, "fans of triangles"),
        ({"meshes": LINES}, "shows no triangles"),
        ({"meshes": NOWHERE}, "without coordinates"),
        ({"extensionsRequired": ["KHR_draco_mesh_compression"]}, "KHR_draco_mesh_compression"),
        ({"nodes": 3}, "nodes: Input should be a valid array"),
        ({"scene": 4}, "names a part that is not there"),
    ],
)
def test_what_is_refused(tmp_path, changes, words):
    (tmp_path / "secret.bin").write_bytes(bytes(60))
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    assert words in complaint(write_glb(folder / "a.glb", document(**changes)))


def test_a_mesh_placed_a_million_times(tmp_path):
    # 90,000 nodes that show one mesh of 120 triangles
    points = np.random.default_rng(0).normal(size=(122, 3)).astype("<f4").tobytes()
    made = document(
        scenes=[{"nodes": list(range(90_000))}],
        nodes=[{"mesh": 0}] * 90_000,
        meshes=[{"primitives": [{"attributes": {"POSITION": 0}, "mode": 5}]}],
        accessors=[{"bufferView": 0, "componentType": 5126, "count": 122, "type": "VEC3"}],
        bufferViews=[{"buffer": 0, "byteLength": len(points)}],
        buffers=[{"byteLength": len(points)}],
    )
    assert "10800000 faces" in complaint(write_glb(tmp_path / "a.glb", made, points))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda content: content[:-1], "bytes of"),
        (lambda content: b"gltf" + content[4:], "does not begin like"),
        (lambda content: content[:4] + b"\x01" + content[5:], "glTF 1"),
        (lambda content: content[:12] + b"\xff\xff\xff\x7f" + content[16:], "a part of 2147483647 bytes"),
        (lambda content: content[:16] + b"BIN\0" + content[20:], "does not begin with the scene"),
        (lambda content: content[:11], "cannot be read"),
    ],
)
def test_damaged_containers(tmp_path, damage, words):
    path = write_glb(tmp_path / "a.glb", document())
    path.write_bytes(damage(path.read_bytes()))
    assert words in complaint(path)


def test_nesting_that_would_kill_a_parser(tmp_path):
    (tmp_path / "a.gltf").write_text("[" * 100_000)
    complaint(tmp_path / "a.gltf")


def test_a_sound_scene_passes(tmp_path):
    refuse_unsound(write_glb(tmp_path / "a.glb", document(extensionsRequired=["KHR_texture_transform"])))

"""Valid files of every kind that hdbench reads, a few bytes to a few kilobytes each: what the fuzzer damages."""

import base64
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import trimesh

REPOSITORY = Path(__file__).resolve().parents[2]


def seeds(kind: str) -> list[bytes]:
    """Valid contents of files of `kind`: a suffix without the dot."""
    made = _MAKERS[kind]()
    assert made
    return made


def _box() -> trimesh.Trimesh:
    return trimesh.creation.box(extents=(1, 2, 3))


def _cloud() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)


def _bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content


def _obj() -> list[bytes]:
    textured = b"""# made by hand
mtllib box.mtl
o one
v 0 0 0 1 0 0
v 1 0 0 0 1 0
v 1 1 0 0 0 1
v 0 1 1e-1 1 1 1
vt 0 0
vt 1 0.5
vn 0 0 1
usemtl red
s off
g front back
f 1/1/1 2/2/1 3/1/1 4/2/1
o two
f -4//1 -3//1 -1//1
f 1 2 3
l 1 2
"""
    return [textured, _bytes(_box().export(file_type="obj")), b"v 0 0 0\nv 1 0 0\nv 0 1 2\n"]


def _ply() -> list[bytes]:
    quads = b"""ply
format ascii 1.0
comment by hand
element vertex 4
property float x
property float y
property float z
property uchar red
element face 1
property list uchar int vertex_indices
element edge 1
property int vertex1
property int vertex2
end_header
0 0 0 255
1 0 0 255
1 1 0 9
0 1 0.5 0
4 0 1 2 3
0 1
"""
    binary = _bytes(_box().export(file_type="ply"))
    big = (
        b"ply\nformat binary_big_endian 1.0\nelement vertex 3\nproperty double x\nproperty double y\n"
        b"property double z\nelement face 1\nproperty list uchar uint vertex_indices\nend_header\n"
        + np.array([0, 0, 0, 1, 0, 0, 0, 1, 0], ">f8").tobytes()
        + b"\x03"
        + np.array([0, 1, 2], ">u4").tobytes()
    )
    cloud = _bytes(trimesh.PointCloud(_cloud()).export(file_type="ply"))
    return [quads, binary, big, cloud, _bytes(_box().export(file_type="ply", encoding="ascii"))]


def _off() -> list[bytes]:
    quads = b"OFF\n# by hand\n4 2 0\n0 0 0\n1 0 0\n1 1 0\n0 1 0.5\n4 0 1 2 3\n3 0 1 2 255 0 0\n"
    return [quads, _bytes(_box().export(file_type="off")), quads.replace(b"OFF\n", b"OFF")]


def _stl() -> list[bytes]:
    return [_bytes(_box().export(file_type="stl")), _bytes(_box().export(file_type="stl_ascii"))]


def _xyz() -> list[bytes]:
    return [b"0 0 0\n1 2 3\n4.5 -6 7e-1\n", b"0 0 0 255 0 0\n1 2 3 0 0 255\n2 2 2 1 2 3\n"]


def scene() -> trimesh.Scene:
    """Two meshes under turned and scaled nodes, one of them twice."""
    made = trimesh.Scene()
    ball = trimesh.creation.icosphere(subdivisions=0)
    made.add_geometry(_box(), node_name="table", geom_name="box")
    turned = trimesh.transformations.rotation_matrix(0.5, (0, 1, 0), (1, 0, 0))
    made.add_geometry(ball, node_name="left", geom_name="ball", parent_node_name="table", transform=turned)
    made.add_geometry(ball, node_name="right", geom_name="ball", transform=np.diag([2.0, 2.0, 2.0, 1.0]))
    return made


def _glb() -> list[bytes]:
    return [scene().export(file_type="glb"), _box().export(file_type="glb"), gltf_with_strips()]


def _gltf() -> list[bytes]:
    """The GLB files again, their buffers written out as data URIs."""
    found = []
    for content in _glb():
        length = int.from_bytes(content[12:16], "little")
        document = json.loads(content[20 : 20 + length])
        coded = base64.b64encode(content[28 + length :]).decode()
        document["buffers"][0]["uri"] = f"data:application/octet-stream;base64,{coded}"
        found.append(json.dumps(document).encode())
    return found


def gltf_with_strips() -> bytes:
    """A GLB of a triangle strip with 16-bit indices under a node of translation, rotation and scale."""
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 1]], "<f4").tobytes()
    binary = points + np.arange(4, dtype="<u2").tobytes()
    document = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [
            {"children": [1], "translation": [1, 2, 3], "rotation": [0, 0, 0, 1], "scale": [1, 2, 1]},
            {"mesh": 0, "matrix": np.eye(4).ravel().tolist()},
        ],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1, "mode": 5, "material": 0}]}],
        "materials": [{"pbrMetallicRoughness": {"baseColorFactor": [1, 0, 0, 1]}}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 4, "type": "VEC3", "min": [0, 0, 0], "max": [1, 1, 1]},
            {"bufferView": 1, "componentType": 5123, "count": 4, "type": "SCALAR"},
        ],
        "bufferViews": [
            {"buffer": 0, "byteOffset": 0, "byteLength": 48},
            {"buffer": 0, "byteOffset": 48, "byteLength": 8},
        ],
        "buffers": [{"byteLength": len(binary)}],
    }
    return packed_glb(document, binary)


def packed_glb(document: dict[str, object], binary: bytes) -> bytes:
    """A GLB file of a glTF document and its buffer."""
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    chunks = len(text).to_bytes(4, "little") + b"JSON" + text + len(binary).to_bytes(4, "little") + b"BIN\0" + binary
    return b"glTF" + (2).to_bytes(4, "little") + (12 + len(chunks)).to_bytes(4, "little") + chunks


def _npy() -> list[bytes]:
    arrays = (_cloud(), np.asfortranarray(_cloud()), np.stack([_cloud()] * 4), _cloud().astype(np.float64))
    return [_saved(np.save, array) for array in arrays]


def _npz() -> list[bytes]:
    box = _box()
    sets = np.stack([_cloud()] * 3)
    mesh = {"vertices": box.vertices.astype(np.float32), "faces": box.faces}
    packed = {"chair/a/v": box.vertices, "chair/a/f": box.faces, "chair/b/v": box.vertices, "chair/b/f": box.faces}
    return [
        _saved(np.savez, points=_cloud()),
        _saved(np.savez_compressed, points=sets, ids=np.array(["a", "b", "c"]), valid=np.array([True, False, True])),
        _saved(np.savez_compressed, **mesh),
        _saved(np.savez, **packed),
    ]


def _zip() -> list[bytes]:
    found = []
    for packing in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", packing) as archive:
            for name in (
                "03001627/a/models/model_normalized.obj",
                "03001627/b/models/model_normalized.obj",
                "readme.txt",
            ):
                archive.writestr(name, _bytes(_box().export(file_type="obj")))
        found.append(stream.getvalue())
    return found


def _saved(save, *arrays, **named) -> bytes:
    stream = io.BytesIO()
    save(stream, *arrays, **named)
    return stream.getvalue()


def anime(vertices: np.ndarray, faces: np.ndarray) -> bytes:
    """An .anime file of a clip: vertices (F, V, 3), faces (N, 3)."""
    vertices = np.asarray(vertices, "<f4")
    header = np.array([len(vertices), vertices.shape[1], len(faces)], "<i4")
    parts = (header, vertices[0], np.asarray(faces, "<i4"), vertices[1:] - vertices[:1])
    return b"".join(part.tobytes() for part in parts)


def _anime() -> list[bytes]:
    box = _box()
    moving = np.stack([box.vertices + np.array([frame, 0, 0]) for frame in range(20)])
    return [anime(moving, box.faces), anime(moving[:2], box.faces)]


def _hdf5() -> list[bytes]:
    """DPC's layout: a group per category, in it an array per split; packed and not."""
    import h5py

    found = []
    for options in ({}, {"compression": "gzip", "chunks": (1, 2048, 3)}):
        stream = io.BytesIO()
        with h5py.File(stream, "w") as stored:
            for split in ("train", "val", "test"):
                points = np.random.default_rng(0).normal(size=(1, 2048, 3)).round(1).astype(np.float32)
                stored.create_dataset(f"03001627/{split}", data=points, **options)
        found.append(stream.getvalue())
    return found


def _toml() -> list[bytes]:
    folders = (REPOSITORY / "baselines", REPOSITORY / "zoo")
    found = [file.read_bytes() for folder in folders for file in sorted(folder.rglob("*.toml"))]
    thresholds = b'[tool.hdbench.gate."mmd_*"]\nfloor = 0.03\ndetect = 0.25\nrelative = true\n'
    return [*found, _MODEL, thresholds]


_MODEL = b"""schema = "hdbench/zoo/1"
title = "PVD"
method = "pvd"
method_version = 1
preset = "default"
recipe = "0000000000000000000000000000000000000000000000000000000000000000"
category = "chair"
status = "unverified"
licence = "MIT"
origin = "this repository"
selection = "last step"
sources = ["embedded", "hf://someone/model"]

[dataset]
name = "procedural"
version = "0000000000000000000000000000000000000000000000000000000000000000"

[[files]]
path = "weights.safetensors"
sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
size = 12

[[expected]]
protocol = "hdbench"
metric = "nna_cd"
value = 0.6
interval = [0.5, 0.7]
target = 0.5
count = 64
seed = 0
signature = "hdbench"
"""


def _json() -> list[bytes]:
    signature = "hdbench|cd:sq|n:4"
    score = {
        "protocol": "hdbench", "metric": "mmd_cd", "value": 0.25, "interval": [0.2, 0.3], "target": "lower",
        "unit": "squared length", "signature": signature, "reason": None,
    }  # fmt: skip
    half = {**score, "metric": "nna_cd", "value": None, "interval": None, "target": 0.5, "reason": "too few"}
    shapes = {"path": "samples", "sha256": "0" * 64, "count": 4, "invalid": 1, "invalid_ids": {"3": "no faces"}}
    provenance = {
        "hdbench": "0.1.0", "git": {"commit": "0" * 40, "dirty": False}, "packages": {"numpy": "2"},
        "machine": {"cores": 2}, "seeds": [0], "command": "hdbench evaluate a",
    }  # fmt: skip
    scores = {
        "schema": "hdbench/scores/1", "samples": shapes, "reference": shapes, "train": None, "scores": [score, half],
        "statistics": {"a.statistics.npz": "0" * 64}, "provenance": provenance,
    }  # fmt: skip
    row = {
        "method": "pvd", "title": "PVD", "model": "0" * 64, "source": "trained", "seed": 0, "samples": shapes,
        "scores": [score, half], "statistics": {"pvd.statistics.npz": "0" * 64},
        "neighbours": [{"sample": "0", "training": ["a", "b"], "distances": [0.1, 0.2]}],
        "cost": {"fit_s": 1.5, "sample_s_per_shape": None, "peak_memory_bytes": 10, "device": "cpu"},
        "recipe": {"steps": 3}, "loss_curve": [[0, 1.0], [1, 0.5]],
    }  # fmt: skip
    dataset = {
        "name": "procedural", "category": "chair", "fingerprint": "0" * 64, "counts": {"train": 2, "test": 2},
        "skipped": {}, "reference": shapes, "reference_ids": ["a", "b"],
    }  # fmt: skip
    results = {
        "schema": "hdbench/results/1", "run": {"category": "chair", "methods": ["pvd"]}, "dataset": dataset,
        "rows": [row], "provenance": provenance,
    }  # fmt: skip
    manifest = {"kind": "points", "count": 2, "point_count": 12, "seed": 0, "invalid": {}}
    label = {"schema": "hdbench/model/1", "method": "pvd", "category": "chair"}
    return [json.dumps(document).encode() for document in (scores, results, manifest, label)]


_MAKERS = {
    "obj": _obj, "ply": _ply, "off": _off, "stl": _stl, "xyz": _xyz, "glb": _glb, "gltf": _gltf, "npy": _npy,
    "npz": _npz, "anime": _anime, "hdf5": _hdf5, "zip": _zip, "toml": _toml, "json": _json,
}  # fmt: skip
KINDS = tuple(_MAKERS)

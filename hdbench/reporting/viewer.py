"""Shapes to turn in the browser: trimesh's viewer (which embeds three.js) once per page, and a small glTF per shape."""

import base64
import gzip
import io
import json
import re
import zipfile
from hashlib import sha256
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt
import pyvista

from hdbench.geometry.rendering import RIGHT, UP, VIEW, Color, centred, creased
from hdbench.shapes import Float32, Int32, Mesh, PointCloud, Sequence, Shape

FACES = 4000
"""Larger meshes are simplified to so many faces for the page; scores never see that."""
POINTS = 4096
"""Larger clouds are thinned to at most so many points for the page."""

_STEPS = 32767
"""Coordinates in [-1, 1] are stored as 16-bit integers, with the extension KHR_mesh_quantization."""
_TRIANGLES, _POINTS = 4, 0
_SHORT = 5122
_INDEX_TYPES = {np.dtype(np.uint16): 5123, np.dtype(np.uint32): 5125}
_VERTEX_BUFFER, _INDEX_BUFFER = 34962, 34963
_FIELD_OF_VIEW = 0.6
"""Of the camera, in radians, upright."""


def viewer_page(tweaks: str) -> str:
    """trimesh's viewer as an HTML page that shows the glTF its frame carries in `data-glb`, base64.

    `tweaks` is a script run after the viewer's own.
    """
    archive = files("trimesh.resources") / "templates" / "viewer.zip"
    with zipfile.ZipFile(io.BytesIO(archive.read_bytes())) as packed:
        page = packed.read("viewer.html.template").decode("utf-8")
    page = page.replace("\r\n", "\n").replace('"$B64GLTF"', "window.frameElement.dataset.glb")
    return page.replace("</body>", f"<script>{tweaks}</script></body>")


def script_hashes(page: str) -> list[str]:
    """Content-security-policy sources for the inline scripts of an HTML page."""
    scripts = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    return [f"'sha256-{base64.b64encode(sha256(script.encode()).digest()).decode()}'" for script in scripts]


def packed(text: str) -> str:
    """`text` compressed and in base64, for the browser's DecompressionStream."""
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()


def to_glb(shape: Shape, *, color: Color) -> bytes:
    """`shape` (the first frame of a sequence) and a camera as binary glTF; it must be free of defects.

    The shape stands in the unit ball, seen as in the still pictures.
    """
    if isinstance(shape, Sequence):
        return to_glb(shape.frames[0], color=color)
    vertices, faces = _light_geometry(shape)
    positions = np.zeros((len(vertices), 4), np.int16)  # padded to eight bytes, as glTF asks
    positions[:, :3] = np.round(vertices * _STEPS)
    buffers: list[tuple[npt.NDArray[Any], int]] = [(positions, _VERTEX_BUFFER)]
    primitive: dict[str, Any] = {"attributes": {"POSITION": 0}, "material": 0, "mode": _POINTS}
    accessors: list[dict[str, Any]] = [
        {
            "bufferView": 0,
            "componentType": _SHORT,
            "count": len(positions),
            "type": "VEC3",
            "min": positions[:, :3].min(axis=0).tolist(),
            "max": positions[:, :3].max(axis=0).tolist(),
        }
    ]
    if faces is not None:
        indices = faces.astype(np.uint16 if len(vertices) < 2**16 else np.uint32).reshape(-1)
        component = _INDEX_TYPES[indices.dtype]
        buffers.append((indices, _INDEX_BUFFER))
        primitive |= {"indices": 1, "mode": _TRIANGLES}
        accessors.append({"bufferView": 1, "componentType": component, "count": len(indices), "type": "SCALAR"})
    return _binary_gltf(primitive, accessors, buffers, color)


def _light_geometry(shape: Mesh | PointCloud) -> tuple[Float32, Int32 | None]:
    """Vertices in the unit ball, doubled at sharp edges, and faces (None for points), few enough for a page."""
    shape = centred(shape)
    if isinstance(shape, PointCloud):
        return shape.points[:: -(-len(shape.points) // POINTS)], None
    if len(shape.faces) > FACES:
        surface = pyvista.PolyData.from_regular_faces(shape.vertices, shape.faces)
        surface = surface.decimate(1 - FACES / len(shape.faces))
        shape = Mesh(surface.points, surface.regular_faces)
    surface = creased(shape)
    return np.clip(surface.points, -1, 1), surface.regular_faces


def _binary_gltf(
    primitive: dict[str, Any],
    accessors: list[dict[str, Any]],
    buffers: list[tuple[npt.NDArray[Any], int]],
    color: Color,
) -> bytes:
    """The container: a JSON chunk that describes one mesh and a camera, and a binary chunk with their numbers."""
    views, data = [], b""
    for array, target in buffers:
        view = {"buffer": 0, "byteOffset": len(data), "byteLength": array.nbytes, "target": target}
        views.append(view | ({"byteStride": 8} if target == _VERTEX_BUFFER else {}))
        data += array.tobytes().ljust(-(-array.nbytes // 4) * 4, b"\0")
    camera = np.eye(4)  # its axes and place as columns; it looks along its own -z
    camera[:3] = np.stack([RIGHT, UP, VIEW, VIEW / np.sin(_FIELD_OF_VIEW / 2)], axis=1)
    linear = [*((np.array(color) / 255) ** 2.2).round(4).tolist(), 1]
    document = {
        "asset": {"version": "2.0", "generator": "hdbench"},
        "extensionsUsed": ["KHR_mesh_quantization"],
        "extensionsRequired": ["KHR_mesh_quantization"],
        "scene": 0,
        "scenes": [{"nodes": [0, 1]}],
        "nodes": [{"mesh": 0, "scale": [1 / _STEPS] * 3}, {"camera": 0, "matrix": camera.T.reshape(-1).tolist()}],
        "cameras": [{"type": "perspective", "perspective": {"yfov": _FIELD_OF_VIEW, "znear": 0.01, "zfar": 100}}],
        "materials": [
            {
                "doubleSided": True,
                "pbrMetallicRoughness": {"baseColorFactor": linear, "metallicFactor": 0, "roughnessFactor": 0.65},
            }
        ],
        "meshes": [{"primitives": [primitive]}],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": len(data)}],
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    text = text.ljust(-(-len(text) // 4) * 4)
    chunks = len(text).to_bytes(4, "little") + b"JSON" + text + len(data).to_bytes(4, "little") + b"BIN\0" + data
    return b"glTF" + (2).to_bytes(4, "little") + (12 + len(chunks)).to_bytes(4, "little") + chunks

"""Shapes to turn in the browser: trimesh's viewer (which embeds three.js) once per page, and a small glTF per shape.

A clip is one glTF with a node per frame, of which the page's script shows one at a time.
"""

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
CLIP_FACES = 2500
"""Likewise for clips whose frames share their faces."""
FRAME_FACES, FRAME_POINTS = 1000, 1024
"""Likewise for each frame of other clips."""

_STEPS = 32767
"""Coordinates in [-1, 1] are stored as 16-bit integers, with the extension KHR_mesh_quantization."""
_TRIANGLES, _POINTS = 4, 0
_SHORT = 5122
_INDEX_TYPES = {np.dtype(np.uint16): 5123, np.dtype(np.uint32): 5125}
_VERTEX_BUFFER, _INDEX_BUFFER = 34962, 34963
_FIELD_OF_VIEW = 0.6
"""Of the camera, in radians, upright."""

_Geometry = tuple[Float32, Int32 | None]
"""Vertices (V, 3), and faces (F, 3), which points have none of."""


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
    """`shape` and a camera as binary glTF; it must be free of defects.

    The shape stands in the unit ball, seen as in the still pictures. The frames of a sequence are nodes called
    `frame0`, `frame1`, …; frames of the same faces share them.
    """
    scene = _Scene(color)
    for vertices, faces in _light_frames(shape if isinstance(shape, Sequence) else Sequence((shape,))):
        scene.add_frame(vertices, faces)
    return scene.binary()


def _light_frames(clip: Sequence) -> list[_Geometry]:
    """The frames of `clip` in the unit ball, few enough in vertices and faces for a page."""
    clip = centred(clip)
    first = clip.frames[0]
    if len(clip.frames) == 1:
        return [_light(first, faces=FACES, points=POINTS)]
    if isinstance(first, Mesh) and all(
        isinstance(frame, Mesh) and np.array_equal(frame.faces, first.faces) for frame in clip.frames
    ):
        kept, faces = _thinned(first, CLIP_FACES)
        return [(frame.vertices[kept], faces) for frame in clip.frames if isinstance(frame, Mesh)]
    return [_light(frame, faces=FRAME_FACES, points=FRAME_POINTS) for frame in clip.frames]


def _light(shape: Mesh | PointCloud, *, faces: int, points: int) -> _Geometry:
    """Vertices, doubled at sharp edges, and faces (None for points), at most so many."""
    if isinstance(shape, PointCloud):
        return shape.points[:: -(-len(shape.points) // points)], None
    if len(shape.faces) > faces:
        surface = pyvista.PolyData.from_regular_faces(shape.vertices, shape.faces)
        surface = surface.decimate(1 - faces / len(shape.faces))
        shape = Mesh(surface.points, surface.regular_faces)
    surface = creased(shape)
    return np.clip(surface.points, -1, 1), surface.regular_faces


def _thinned(mesh: Mesh, count: int) -> tuple[npt.NDArray[np.intp], Int32]:
    """Which vertices of `mesh` to keep, and about `count` faces between them: what fits every frame of a clip."""
    if len(mesh.faces) <= count:
        return np.arange(len(mesh.vertices)), mesh.faces
    from scipy.spatial import KDTree

    surface = pyvista.PolyData.from_regular_faces(mesh.vertices, mesh.faces)
    surface = surface.decimate_pro(1 - count / len(mesh.faces), preserve_topology=True, feature_angle=60)
    _, kept = KDTree(mesh.vertices).query(surface.points)  # this decimation moves no vertex
    return np.asarray(kept, np.intp), surface.regular_faces.astype(np.int32)


class _Scene:
    """glTF in the making: a node per frame, and the numbers they are made of."""

    def __init__(self, color: Color) -> None:
        self._color = color
        self._meshes: list[dict[str, Any]] = []
        self._accessors: list[dict[str, Any]] = []
        self._views: list[dict[str, Any]] = []
        self._data = b""
        self._last: tuple[Int32, int] | None = None
        """Faces of the frame before, and the accessor of their indices."""

    def add_frame(self, vertices: Float32, faces: Int32 | None) -> None:
        """Append a frame; faces None is for points."""
        positions = np.zeros((len(vertices), 4), np.int16)  # padded to eight bytes, as glTF asks
        positions[:, :3] = np.round(np.clip(vertices, -1, 1) * _STEPS)
        extent = {bound: of(positions[:, :3], axis=0).tolist() for bound, of in (("min", np.min), ("max", np.max))}
        place = self._store(positions, _VERTEX_BUFFER, {"componentType": _SHORT, "type": "VEC3", **extent})
        primitive: dict[str, Any] = {"attributes": {"POSITION": place}, "material": 0, "mode": _POINTS}
        if faces is not None:
            primitive |= {"indices": self._indices(faces, len(vertices)), "mode": _TRIANGLES}
        self._meshes.append({"primitives": [primitive]})

    def _indices(self, faces: Int32, vertices: int) -> int:
        if self._last is None or self._last[0] is not faces:
            indices = faces.astype(np.uint16 if vertices < 2**16 else np.uint32).reshape(-1)
            form = {"componentType": _INDEX_TYPES[indices.dtype], "type": "SCALAR"}
            self._last = faces, self._store(indices, _INDEX_BUFFER, form)
        return self._last[1]

    def _store(self, array: npt.NDArray[Any], target: int, form: dict[str, Any]) -> int:
        view = {"buffer": 0, "byteOffset": len(self._data), "byteLength": array.nbytes, "target": target}
        self._views.append(view | ({"byteStride": 8} if target == _VERTEX_BUFFER else {}))
        self._accessors.append({"bufferView": len(self._views) - 1, "count": len(array), **form})
        self._data += array.tobytes().ljust(-(-array.nbytes // 4) * 4, b"\0")
        return len(self._accessors) - 1

    def binary(self) -> bytes:
        """The container: a JSON chunk that describes the frames and a camera, and a binary chunk with their numbers."""
        camera = np.eye(4)  # its axes and place as columns; it looks along its own -z
        camera[:3] = np.stack([RIGHT, UP, VIEW, VIEW / np.sin(_FIELD_OF_VIEW / 2)], axis=1)
        linear = [*((np.array(self._color) / 255) ** 2.2).round(4).tolist(), 1]
        surface = {"baseColorFactor": linear, "metallicFactor": 0, "roughnessFactor": 0.65}
        frames = [{"name": f"frame{k}", "mesh": k, "scale": [1 / _STEPS] * 3} for k in range(len(self._meshes))]
        document = {
            "asset": {"version": "2.0", "generator": "hdbench"},
            "extensionsUsed": ["KHR_mesh_quantization"],
            "extensionsRequired": ["KHR_mesh_quantization"],
            "scene": 0,
            "scenes": [{"nodes": [*range(len(frames) + 1)]}],
            "nodes": [*frames, {"camera": 0, "matrix": camera.T.reshape(-1).tolist()}],
            "cameras": [{"type": "perspective", "perspective": {"yfov": _FIELD_OF_VIEW, "znear": 0.01, "zfar": 100}}],
            "materials": [{"doubleSided": True, "pbrMetallicRoughness": surface}],
            "meshes": self._meshes,
            "accessors": self._accessors,
            "bufferViews": self._views,
            "buffers": [{"byteLength": len(self._data)}],
        }
        text = json.dumps(document, separators=(",", ":")).encode()
        text = text.ljust(-(-len(text) // 4) * 4)
        data = len(self._data).to_bytes(4, "little") + b"BIN\0" + self._data
        chunks = len(text).to_bytes(4, "little") + b"JSON" + text + data
        return b"glTF" + (2).to_bytes(4, "little") + (12 + len(chunks)).to_bytes(4, "little") + chunks

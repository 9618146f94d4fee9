"""Looks at a glTF scene before it is loaded, so that loading is bounded and the geometry whole.

A scene of a few bytes may declare terabytes: arrays without data, a mesh placed a million times, nodes that contain
themselves. It may name files elsewhere on this machine. And it may hold what the loader leaves out without a word:
compressed or sparse coordinates, fans of triangles. All these are refused here, by name. Images are never looked at.

Source: Khronos glTF 2.0 specification, sections 3 (JSON) and 4 (GLB container).
"""

import struct
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from hdbench.datasets.arrays import LARGEST_MESH
from hdbench.errors import HdbenchError
from hdbench.npz import one_line
from hdbench.recipe import first_complaint

MOST_NODES = 100_000
DEEPEST = 200
"""Nodes within nodes."""
_EXPANSION, _SPARE = 8, 1 << 24
"""All arrays together may be so many times as large as the buffers they lie in, and some bytes more."""
_MAGIC, _JSON = b"glTF", b"JSON"
_COMPONENT_BYTES = {5120: 1, 5121: 1, 5122: 2, 5123: 2, 5125: 4, 5126: 4}
_COMPONENTS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
_TRIANGLES, _STRIP, _FAN = 4, 5, 6
_HARMLESS = ("KHR_materials_", "KHR_texture_", "EXT_texture_", "KHR_lights_", "MSFT_texture_")
_QUANTIZED = "KHR_mesh_quantization"

_Count = Annotated[int, Field(ge=0, lt=2**40)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", alias_generator=to_camel, strict=True)


class _Accessor(_Part):
    buffer_view: _Count | None = None
    byte_offset: _Count = 0
    component_type: Literal[5120, 5121, 5122, 5123, 5125, 5126]
    count: _Count
    type: Literal["SCALAR", "VEC2", "VEC3", "VEC4", "MAT2", "MAT3", "MAT4"]
    normalized: bool = False
    sparse: dict[str, Any] | None = None

    @property
    def row_bytes(self) -> int:
        return _COMPONENT_BYTES[self.component_type] * _COMPONENTS[self.type]


class _View(_Part):
    buffer: _Count
    byte_offset: _Count = 0
    byte_length: _Count
    byte_stride: Annotated[int, Field(gt=0, le=255)] | None = None


class _Buffer(_Part):
    byte_length: _Count
    uri: str | None = None


class _Primitive(_Part):
    attributes: dict[str, _Count]
    indices: _Count | None = None
    mode: Annotated[int, Field(ge=0, le=6)] = _TRIANGLES


class _Mesh(_Part):
    primitives: list[_Primitive]


class _Node(_Part):
    children: list[_Count] = []
    mesh: _Count | None = None


class _Scene(_Part):
    nodes: list[_Count] = []


class _Document(_Part):
    scene: _Count = 0
    scenes: list[_Scene]
    nodes: list[_Node] = Field(max_length=MOST_NODES)
    meshes: list[_Mesh]
    accessors: list[_Accessor]
    buffer_views: list[_View]
    buffers: list[_Buffer]
    extensions_required: list[str] = []


def refuse_unsound(path: Path) -> None:
    """Raise HdbenchError, which names `path` (.glb or .gltf), unless its geometry is whole, bounded, and its own."""
    try:
        text, embedded = _container(path)
        document = _Document.model_validate_json(text)
        _refuse_extensions(document)
        _refuse_arrays(document, _buffer_sizes(document, path, embedded))
        _refuse_scene(document)
    except ValidationError as error:
        raise HdbenchError(
            f"{path} is no glTF scene with meshes ({first_complaint(error)}); export it again."
        ) from error
    except IndexError as error:
        raise HdbenchError(f"{path} names a part that is not there; export it again, or remove it.") from error
    except (OSError, ValueError, struct.error) as error:
        raise HdbenchError(f"{path} cannot be read ({one_line(error)}); export it again, or remove it.") from error


def _container(path: Path) -> tuple[bytes, int | None]:
    """The JSON of a scene, and how many bytes of a buffer follow in the file itself, if any."""
    content = path.read_bytes()
    if not content.startswith(_MAGIC):
        if path.suffix.lower() == ".glb":
            raise ValueError("it does not begin like a GLB file")
        return content, None
    version, length = struct.unpack_from("<II", content, 4)
    if version != 2:
        raise ValueError(f"glTF {version} where 2 can be read")
    if length != len(content):  # the loader would go on reading where the file says it ends
        raise ValueError(f"{len(content)} bytes of {length}")
    chunks = list(_chunks(content))
    if not chunks or chunks[0][0] != _JSON:
        raise ValueError("it does not begin with the scene")
    return chunks[0][1], sum(len(data) for kind, data in chunks[1:2])


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 12
    while at < len(content):
        length, kind = struct.unpack_from("<I4s", content, at)
        if at + 8 + length > len(content):
            raise ValueError(f"a part of {length} bytes where {len(content) - at - 8} are left")
        yield kind, content[at + 8 : at + 8 + length]
        at += 8 + length


def _buffer_sizes(document: _Document, path: Path, embedded: int | None) -> list[int]:
    """Bytes of each buffer, once they are there: in the file itself, or in one beside it."""
    sizes = []
    for number, buffer in enumerate(document.buffers):
        if buffer.uri is None:
            if number or embedded is None:
                raise ValueError(f"buffer {number} is not there")
            size = embedded
        elif buffer.uri.startswith("data:"):
            size = len(buffer.uri.partition("base64,")[2]) * 3 // 4
        else:
            size = _beside(path, buffer.uri).stat().st_size
        if size < buffer.byte_length:
            raise ValueError(f"buffer {number} has {size} bytes of {buffer.byte_length}")
        sizes.append(size)
    return sizes


def _beside(path: Path, uri: str) -> Path:
    """The file that a scene names, which must lie in the scene's folder or below."""
    relative = PurePosixPath(uri)
    folder = path.parent.resolve()
    file = (folder / relative).resolve()
    if ":" in uri or "\\" in uri or relative.is_absolute() or folder not in file.parents:
        raise ValueError(f"its buffer {uri[:60]!r} lies outside its folder")
    if not file.is_file():
        raise ValueError(f"its buffer {uri[:60]!r} is missing")
    return file


def _refuse_extensions(document: _Document) -> None:
    for name in document.extensions_required:
        if name != _QUANTIZED and not name.startswith(_HARMLESS):
            raise ValueError(f"it needs {name[:60]}, which cannot be undone here; export it without compression")


def _refuse_arrays(document: _Document, buffers: list[int]) -> None:
    """Every view lies within its buffer, every array within its view, and all together within bounds."""
    for number, view in enumerate(document.buffer_views):
        if view.byte_offset + view.byte_length > buffers[view.buffer]:
            raise ValueError(f"buffer view {number} ends beyond its buffer")
    total = 0
    for number, accessor in enumerate(document.accessors):
        total += accessor.count * accessor.row_bytes
        if accessor.buffer_view is None or not accessor.count:
            continue
        view = document.buffer_views[accessor.buffer_view]
        stride = view.byte_stride or accessor.row_bytes
        if accessor.byte_offset + (accessor.count - 1) * stride + accessor.row_bytes > view.byte_length:
            raise ValueError(f"array {number} ends beyond its buffer view")
    views = sum(view.byte_length for view in document.buffer_views)
    if max(total, views) > _EXPANSION * sum(buffers) + _SPARE:
        raise ValueError(f"arrays of {max(total, views)} bytes from buffers of {sum(buffers)}")


def _refuse_scene(document: _Document) -> None:
    """The nodes are a tree of bounded depth, and the placed meshes have a bounded number of whole faces."""
    faces = [sum(_faces(document, primitive) for primitive in mesh.primitives) for mesh in document.meshes]
    placed, seen = 0, set[int]()
    waiting = [(root, 1) for root in document.scenes[document.scene].nodes]
    while waiting:
        index, depth = waiting.pop()
        if index in seen or depth > DEEPEST:
            raise ValueError(f"node {index} lies within itself, in two others, or {depth} deep")
        seen.add(index)
        node = document.nodes[index]
        placed += 0 if node.mesh is None else faces[node.mesh]
        waiting += [(child, depth + 1) for child in node.children]
    if not placed:
        raise ValueError("its scene shows no triangles")
    if placed > LARGEST_MESH:
        raise ValueError(f"{placed} faces, more than {LARGEST_MESH}; simplify it")


def _faces(document: _Document, primitive: _Primitive) -> int:
    """How many triangles a primitive has: none where it is lines or points."""
    if primitive.mode == _FAN:
        raise ValueError("it has fans of triangles, which are not read; export it as triangles")
    if primitive.mode not in (_TRIANGLES, _STRIP):
        return 0
    if "POSITION" not in primitive.attributes:
        raise ValueError("it has triangles without coordinates")
    used = [primitive.attributes["POSITION"], *([] if primitive.indices is None else [primitive.indices])]
    for index in used:
        accessor = document.accessors[index]
        if accessor.buffer_view is None or accessor.sparse is not None or accessor.normalized:
            raise ValueError(f"array {index} is sparse, compressed or normalised; export it plainly")
    corners = document.accessors[used[-1]].count
    return corners // 3 if primitive.mode == _TRIANGLES else max(0, corners - 2)

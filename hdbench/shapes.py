"""Shapes in memory; `hdbench.shape_files` keeps them on disk.

Frame: +Y up, -Z front, as in ShapeNet v2. Coordinates are float32.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
Bool = npt.NDArray[np.bool_]
Kind = Literal["mesh", "points", "sequence"]


@dataclass(frozen=True, eq=False)
class Mesh:
    """A triangle mesh: vertices (V, 3) float32, faces (F, 3) int32 with counter-clockwise fronts."""

    vertices: Float32
    faces: Int32

    def __post_init__(self) -> None:
        object.__setattr__(self, "vertices", np.asarray(self.vertices, np.float32).reshape(-1, 3))
        object.__setattr__(self, "faces", np.asarray(self.faces, np.int32).reshape(-1, 3))


@dataclass(frozen=True, eq=False)
class PointCloud:
    """Points (P, 3) float32, in no particular order."""

    points: Float32

    def __post_init__(self) -> None:
        object.__setattr__(self, "points", np.asarray(self.points, np.float32).reshape(-1, 3))


@dataclass(frozen=True, eq=False)
class Sequence:
    """A 4D shape: frames of one kind, in order of time."""

    frames: tuple[Mesh | PointCloud, ...]


Shape = Mesh | PointCloud | Sequence

_FACES_AT_ONCE = 1 << 18
"""Triangles whose corners are in float64 at once."""


def defect(shape: Shape) -> str | None:
    """Why `shape` cannot be scored (empty, not finite, degenerate), or None when it can."""
    if isinstance(shape, Sequence):
        if not shape.frames:
            return "no frames"
        reasons = ((index, defect(frame)) for index, frame in enumerate(shape.frames))
        return next((f"frame {index}: {reason}" for index, reason in reasons if reason), None)
    points = shape.vertices if isinstance(shape, Mesh) else shape.points
    if isinstance(shape, Mesh) and not len(shape.faces):
        return "no faces"
    if not len(points):
        return "no points"
    if not np.isfinite(points).all():
        return "coordinates that are not finite"
    if isinstance(shape, Mesh) and (shape.faces.min() < 0 or shape.faces.max() >= len(points)):
        return "faces that name missing vertices"
    if not np.ptp(points, axis=0).any():
        return "all points in one place"
    if isinstance(shape, Mesh) and not surface_area(shape) > 0:
        return "no surface area"
    return None


def surface_area(mesh: Mesh) -> float:
    """Total area of the triangles, in squared units of the vertices."""
    total = 0.0
    for start in range(0, len(mesh.faces), _FACES_AT_ONCE):
        faces = mesh.faces[start : start + _FACES_AT_ONCE]
        a, b, c = (mesh.vertices[faces[:, corner]].astype(np.float64) for corner in range(3))
        total += float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)
    return total


def can_name_shape(name: str) -> bool:
    """Whether files can be called by `name`, which may hold `/`, without leaving their folder."""
    return name.isprintable() and not (name.startswith("/") or "\\" in name or {"", ".", ".."} & set(name.split("/")))

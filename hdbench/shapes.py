"""Shapes in memory, and sets of shapes on disk.

Frame: +Y up, -Z front, as in ShapeNet v2. Coordinates are float32.

A `ShapeSet` folder is what a run writes under `samples/<method>/` and what `hdbench evaluate` reads back:

    points.npz       points (N, P, 3) or (N, T, P, 3) float32, valid (N,) bool, ids (N,) str
    meshes/<id>.ply  for methods that make meshes; meshes/<id>/<frame>.ply for sequences of meshes
    manifest.json    kind, count, invalid ids with the reason
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from hdbench.errors import HdbenchError
from hdbench.interrupts import interrupts_deferred
from hdbench.npz import Npz
from hdbench.store import atomic_path

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


@dataclass(frozen=True)
class ShapeSet:
    """Shapes on disk, opened from a folder written by `write_shape_set`."""

    folder: Path
    kind: Kind
    ids: tuple[str, ...]
    points: Float32 = field(repr=False)
    """(N, P, 3) or (N, T, P, 3); rows of invalid shapes are NaN."""
    valid: Bool = field(repr=False)
    invalid: dict[str, str]
    """Reason by id."""

    @classmethod
    def open(cls, folder: Path) -> "ShapeSet":
        """Open `folder`; raises HdbenchError when it is not a shape set."""
        try:
            manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
            stored = Npz(folder / "points.npz")
            points, valid, ids = stored["points"], stored["valid"], stored["ids"]
            if points.ndim not in (3, 4) or not (len(points),) == valid.shape == ids.shape:
                raise ValueError(f"points {points.shape}, valid {valid.shape} and ids {ids.shape} do not fit together")
            if points.dtype.kind != "f" or points.shape[-1] != 3:
                raise ValueError(f"points {points.shape} of type {points.dtype} are no coordinates")
            kind: Kind = manifest["kind"]
            if kind not in get_args(Kind):
                raise ValueError(f"kind {kind!r} is unknown")
            names = tuple(map(str, ids))
            if unfit := next((name for name in names if not can_name_shape(name)), None):
                raise ValueError(f"{unfit!r} cannot name a shape")
            invalid = {str(name): str(reason) for name, reason in dict(manifest["invalid"]).items()}
            return cls(folder, kind, names, points, valid.astype(bool), invalid)
        except (OSError, KeyError, TypeError, ValueError, RecursionError, HdbenchError) as error:
            raise HdbenchError(
                f"{folder} is not a set of samples ({error}); expected points.npz and manifest.json."
            ) from error

    @staticmethod
    def is_one(folder: Path) -> bool:
        """Whether `folder` looks like a shape set."""
        return (folder / "points.npz").is_file() and (folder / "manifest.json").is_file()

    def shape(self, index: int) -> Shape:
        """Shape `index` in its native form: the mesh where meshes are kept, else its points."""
        path = self.folder / "meshes" / self.ids[index]
        if self.kind == "mesh":
            return read_ply(path.with_name(f"{path.name}.ply"))
        if self.kind == "sequence" and path.is_dir():
            return Sequence(tuple(read_ply(path / f"{frame:03d}.ply") for frame in range(self.points.shape[1])))
        if self.kind == "sequence":
            return Sequence(tuple(PointCloud(frame) for frame in self.points[index]))
        return PointCloud(self.points[index])

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[tuple[str, Shape]]:
        return ((name, self.shape(index)) for index, name in enumerate(self.ids))


def write_shape_set(
    folder: Path,
    shapes: Iterable[tuple[str, Shape]],
    *,
    kind: Kind,
    point_count: int,
    seed: int,
    points_of: Callable[[str], Float32] | None = None,
) -> ShapeSet:
    """Write `shapes` as a shape set into `folder` (created; the caller publishes it atomically).

    Meshes are kept as PLY and sampled at `point_count` area-weighted points, each shape from a stream of its
    own, so that shape i's points depend on (seed, id) alone; where `points_of` is given, it has them by name already.
    Invalid shapes keep their row, filled with NaN.
    Raises HdbenchError when clouds of fewer than `point_count` points are not all of one size.
    """
    from hdbench.geometry.sampling import shape_points

    ids: list[str] = []
    rows: list[Float32 | None] = []
    invalid: dict[str, str] = {}
    folder.mkdir(parents=True, exist_ok=True)
    for name, shape in shapes:
        reason = defect(shape)
        ids.append(name)
        if reason:
            invalid[name] = reason
        if reason:
            rows.append(None)
        elif points_of is not None:
            rows.append(points_of(name))
        else:
            rows.append(shape_points(shape, point_count, seed=seed, name=name))
        _write_meshes(folder / "meshes", name, shape)
    layout = next((row.shape for row in rows if row is not None), (point_count, 3))
    for name, row in zip(ids, rows, strict=True):
        if row is not None and row.shape != layout:
            raise HdbenchError(
                f"{name} has points {row.shape} where others have {layout}; give all shapes the same number of frames, "
                f"and the same number of points or at least {point_count}."
            )
    blank = np.full(layout, np.nan, np.float32)
    points = np.stack([blank if row is None else row for row in rows]) if rows else blank[None][:0]
    valid = np.array([row is not None for row in rows], bool)
    np.savez(folder / "points.npz", points=points, valid=valid, ids=np.array(ids, dtype=np.str_))
    manifest = {"kind": kind, "count": len(ids), "point_count": point_count, "seed": seed, "invalid": invalid}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    return ShapeSet(folder, kind, tuple(ids), points, valid, invalid)


def _write_meshes(folder: Path, name: str, shape: Shape) -> None:
    if isinstance(shape, Mesh):
        write_ply(folder / f"{name}.ply", shape)
    elif isinstance(shape, Sequence):
        for index, frame in enumerate(shape.frames):
            if isinstance(frame, Mesh):
                write_ply(folder / name / f"{index:03d}.ply", frame)


def save_shape(path: Path, shape: Shape) -> None:
    """Write one shape as an npz, in one step."""
    frames = shape.frames if isinstance(shape, Sequence) else (shape,)
    arrays: dict[str, Any] = {"sequence": isinstance(shape, Sequence), "frames": len(frames)}
    for index, frame in enumerate(frames):
        if isinstance(frame, Mesh):
            arrays |= {f"{index}/vertices": frame.vertices, f"{index}/faces": frame.faces}
        else:
            arrays[f"{index}/points"] = frame.points
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)


def load_shape(path: Path) -> Shape:
    """Read a shape written by `save_shape`."""
    with np.load(path, allow_pickle=False) as stored:
        frames = tuple(_load_frame(stored, index) for index in range(int(stored["frames"])))
        return Sequence(frames) if stored["sequence"] else frames[0]


def _load_frame(stored: Any, index: int) -> Mesh | PointCloud:
    if f"{index}/points" in stored:
        return PointCloud(stored[f"{index}/points"])
    return Mesh(stored[f"{index}/vertices"], stored[f"{index}/faces"])


def write_ply(path: Path, mesh: Mesh) -> None:
    """Write `mesh` as binary PLY."""
    with interrupts_deferred():
        import trimesh

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).export(file_type="ply"))


def read_ply(path: Path) -> Mesh:
    """Read a mesh written by `write_ply` (foreign files go through `hdbench.datasets.readers`)."""
    with interrupts_deferred():
        import trimesh

    try:
        mesh = trimesh.load(path, file_type="ply", force="mesh", process=False)
        return Mesh(mesh.vertices, mesh.faces)
    except Exception as error:  # whatever a damaged file makes the parser raise
        raise HdbenchError(f"{path} cannot be read as a mesh ({error}); make the samples again.") from error

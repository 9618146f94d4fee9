"""Shapes from arrays, in memory or in NumPy's files. Nothing is ever unpickled."""

from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from hdbench.errors import HdbenchError
from hdbench.npz import Npz, one_line
from hdbench.shapes import Float32, Mesh, PointCloud, Sequence, Shape, can_name_shape, defect

LARGEST_COORDINATE = 1e9
"""Beyond this, squared distances lose all meaning in float32."""
COARSEST_STEP = 1e-3
"""Largest step between neighbours in single precision, in extents of the shape: points move by up to half of it."""
LARGEST_MESH = 10_000_000
"""Faces of a mesh beyond which no one wants to wait for it."""

_Numbers = npt.NDArray[Any]
_SomeShape = TypeVar("_SomeShape", bound=Shape)


def shape_from_points(points: _Numbers, where: str) -> PointCloud | Sequence:
    """Points (P, 3) as a cloud, (T, P, 3) as a sequence of clouds.

    Raises HdbenchError, which names `where`, unless they are finite numbers with an extent.
    """
    if points.ndim not in (2, 3):
        raise HdbenchError(
            f"{where}: an array of shape {points.shape}; one shape is points (P, 3), or (T, P, 3) in 4D."
        )
    points = _coordinates(points, where)
    return sound(PointCloud(points) if points.ndim == 2 else Sequence(tuple(map(PointCloud, points))), where)


def shape_from_mesh(vertices: _Numbers, faces: _Numbers, where: str) -> Mesh | Sequence:
    """Vertices (V, 3), or (T, V, 3) for a sequence, with the faces (F, 3) they share; unused vertices are dropped.

    Raises HdbenchError, which names `where`, unless they are finite and the faces have an area.
    """
    if vertices.ndim not in (2, 3):
        raise HdbenchError(f"{where}: vertices of shape {vertices.shape}; expected (V, 3), or (T, V, 3) in 4D.")
    if faces.ndim != 2 or faces.shape[-1] != 3 or faces.dtype.kind not in "iu":
        raise HdbenchError(
            f"{where}: faces of shape {faces.shape} and type {faces.dtype}; expected whole numbers (F, 3)."
        )
    if len(faces) > LARGEST_MESH:
        raise HdbenchError(f"{where}: {len(faces)} faces, more than {LARGEST_MESH}; simplify or remove it.")
    vertices = _coordinates(vertices, where)
    if faces.size and not 0 <= faces.min() <= faces.max() < vertices.shape[-2]:
        raise HdbenchError(f"{where}: faces that name missing vertices; export it again, or remove it.")
    used = np.zeros(vertices.shape[-2], np.bool_)
    used[faces] = True
    vertices, faces = vertices[..., used, :], (np.cumsum(used, dtype=np.int32) - 1)[faces]
    return sound(
        Mesh(vertices, faces) if vertices.ndim == 2 else Sequence(tuple(Mesh(v, faces) for v in vertices)), where
    )


def sound(shape: _SomeShape, where: str) -> _SomeShape:
    """`shape`, if it can be scored; else HdbenchError with `where` and the reason."""
    if reason := defect(shape):
        raise HdbenchError(f"{where}: {reason}; repair or remove it.")
    return shape


def load_npy(path: Path) -> _Numbers:
    """The array in the .npy file `path`, left on disk until it is read; HdbenchError if it is none of numbers."""
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # each forged header and each cut makes another place stumble
        raise HdbenchError(
            f"{path} is not a NumPy array of numbers ({one_line(error)}); save it again with numpy.save."
        ) from error
    if not array.nbytes:  # or endless rows of nothing
        raise HdbenchError(f"{path}: an array of shape {array.shape}, with no points; remove it.")
    return array


def row_names(count: int) -> list[str]:
    """Names for the rows of a set that gives none: their numbers, of equal length."""
    return [f"{index:0{len(str(max(0, count - 1)))}d}" for index in range(count)]


class Archive:
    """An .npz file of shapes. It is opened on first use, and again in each process it is sent to."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[type["Archive"], tuple[Path]]:
        return Archive, (self.path,)

    @cached_property
    def names(self) -> list[str]:
        """Ids of the meshes under `<id>/v` and `<id>/f`, or of the rows of a set; else the name of the file alone."""
        packed = [key.removesuffix("/v") for key in self._keys if key.endswith("/v")]
        return [self._harmless(name) for name in packed or self._rows or [self.path.stem]]

    def shape(self, name: str) -> Shape:
        """The shape called `name`; HdbenchError when it cannot be read or scored."""
        if f"{name}/v" in self._keys:
            return self._mesh(f"{name}/v", f"{name}/f")
        return self._row(self._rows[name]) if self._rows else self.only_shape()

    def only_shape(self) -> Shape:
        """The archive as one shape: `points` (P, 3) or (T, P, 3), vertices with faces, or a single array of points."""
        for vertices, faces in (("vertices", "faces"), ("v", "f")):
            if {vertices, faces} <= self._keys.keys():
                return self._mesh(vertices, faces)
        if self._points is not None:
            if self._points.ndim == 4 or (self._points.ndim == 3 and {"ids", "valid"} & self._keys.keys()):
                raise HdbenchError(f"{self.path} is a set of shapes, not one; name the file itself, not its folder.")
            return shape_from_points(self._points, f"{self.path}, {self._points_key!r}")
        raise HdbenchError(
            f"{self.path} holds {one_line(', '.join(list(self._keys)[:6]) or 'nothing')}; "
            "expected `points`, or `vertices` and `faces`, or `<id>/v` and `<id>/f`."
        )

    def _mesh(self, vertices: str, faces: str) -> Mesh | Sequence:
        return shape_from_mesh(self._array(vertices), self._array(faces), f"{self.path}, {vertices!r}")

    def _row(self, index: int) -> Shape:
        where = f"{self.path}, row {index}"
        if self._valid is not None and not self._valid[index]:
            raise HdbenchError(f"{where}: marked as invalid; remove it.")
        assert self._points is not None
        return shape_from_points(self._points[index], where)

    @cached_property
    def _stored(self) -> Npz:
        return Npz(self.path)

    @property
    def _keys(self) -> dict[str, Any]:
        """The keys in their order; a dictionary, as they are looked up once per shape."""
        return self._stored.members

    def _array(self, key: str) -> _Numbers:
        return self._stored[key]

    @property
    def _points_key(self) -> str | None:
        """Where the points are: under `points`, or in the only array there is."""
        return "points" if "points" in self._keys else next(iter(self._keys)) if len(self._keys) == 1 else None

    @cached_property
    def _points(self) -> _Numbers | None:
        return None if self._points_key is None else self._array(self._points_key)

    @cached_property
    def _rows(self) -> dict[str, int]:
        """Row by name when the archive is a set, points (N, P, 3) or (N, T, P, 3); else none."""
        if self._points is None or self._points.ndim not in (3, 4) or not self._points.nbytes:
            return {}
        count = len(self._points)
        names = [str(name) for name in self._array("ids").ravel()] if "ids" in self._keys else row_names(count)
        if len(names) != count or len(set(names)) != count:
            raise HdbenchError(f"{self.path}: `ids` must name each of the {count} rows of `points`, and no two alike.")
        return {name: index for index, name in enumerate(names)}

    @cached_property
    def _valid(self) -> _Numbers | None:
        if "valid" not in self._keys:
            return None
        valid, count = self._array("valid"), len(self._rows)
        if valid.shape != (count,):
            raise HdbenchError(f"{self.path}: `valid` has shape {valid.shape}; expected ({count},).")
        return valid

    def _harmless(self, name: str) -> str:
        """`name`, if files can be called by it without leaving their folder."""
        if not can_name_shape(name):
            raise HdbenchError(f"{self.path}: {name!r} cannot name a shape; use letters, digits, '-', '_' and '/'.")
        return name


def _coordinates(array: _Numbers, where: str) -> Float32:
    """`array` (..., 3) in float32, once everything that is often wrong with coordinates is ruled out."""
    if array.dtype.kind not in "fiu":
        raise HdbenchError(f"{where}: values of type {array.dtype}; expected numbers.")
    if array.shape[-1] != 3:
        mend = "transpose it" if array.shape[-2] == 3 else "keep three columns"
        raise HdbenchError(f"{where}: an array of shape {array.shape}, whose last axis must be x, y, z; {mend}.")
    if not array.size:
        raise HdbenchError(f"{where}: no points; remove it.")
    if not np.isfinite(array).all():
        raise HdbenchError(f"{where}: coordinates that are not finite (NaN or infinite); repair or remove it.")
    if (largest := float(abs(array).max())) > LARGEST_COORDINATE:
        raise HdbenchError(f"{where}: coordinates up to {largest:.3g}; scale them below {LARGEST_COORDINATE:g}.")
    extent = float(np.ptp(array.reshape(-1, 3), axis=0).max())
    if 0 < extent < np.spacing(np.float32(largest)) / COARSEST_STEP:
        raise HdbenchError(
            f"{where}: {extent:.3g} wide at coordinates up to {largest:.3g}, where single precision is too coarse; "
            "subtract one offset from all shapes."
        )
    return array.astype(np.float32)

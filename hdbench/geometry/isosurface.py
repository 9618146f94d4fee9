"""Triangles on the level set of a field."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from hdbench.geometry.sparse_lattice import BoundedField, LatticeValues, certified_values
from hdbench.shapes import Float32, Mesh

Field = Callable[[Float32, Float32, Float32], npt.NDArray[np.float32]]
"""A scalar field on a lattice: coordinates of the planes in x (X,), y (Y,) and z (Z,) -> values (X, Y, Z)."""
Bounds = tuple[tuple[float, float, float], tuple[float, float, float]]
"""Lowest and highest corner of a box."""
UNIT_CUBE: Bounds = ((-0.5, -0.5, -0.5), (0.5, 0.5, 0.5))


def lattice_axes(resolution: int, bounds: Bounds = UNIT_CUBE) -> tuple[Float32, Float32, Float32]:
    """Coordinates of `resolution` planes per axis, both faces of the box included."""
    x, y, z = (
        np.linspace(low, high, resolution).astype(np.float32) for low, high in zip(bounds[0], bounds[1], strict=True)
    )
    return x, y, z


def isosurface(field: Field | BoundedField, *, resolution: int, level: float = 0.0, bounds: Bounds = UNIT_CUBE) -> Mesh:
    """The surface between values above `level` (inside) and the rest, from `resolution`^3 lattice values.

    Marching cubes (Lewiner et al. 2003); vertices in the field's coordinates, faces outward. Where the inside
    reaches the box the surface is left open. A field that never crosses the level gives an empty mesh; where values
    are NaN or infinite so are the vertices beside them.

    A field that knows bounds (`BoundedField`) is evaluated only where they leave it open on which side of the level
    its values lie. The mesh is the same to the last bit.
    """
    if resolution < 2:
        raise ValueError(f"a lattice of {resolution=} has no cells")
    axes = lattice_axes(resolution, bounds)
    threshold = _threshold(level)
    if isinstance(field, BoundedField):
        known = certified_values(field.on_lattice(*axes), (resolution,) * 3, threshold)
    else:
        known = LatticeValues(field(*axes), (0, 0, 0))
    corner, opposite = np.asarray(bounds, np.float64)
    return _triangulate(known, level, threshold, corner, (opposite - corner) / (resolution - 1))


def _threshold(level: float) -> np.float32:
    """The largest float32 that is not above `level`: float32 values are above both or neither."""
    nearest = np.float32(level)
    return nearest if float(nearest) <= level else np.nextafter(nearest, np.float32(-np.inf))


def _triangulate(
    known: LatticeValues,
    level: float,
    threshold: np.float32,
    corner: npt.NDArray[np.float64],
    step: npt.NDArray[np.float64],
) -> Mesh:
    from skimage.measure import marching_cubes

    inside = known.values > threshold
    if inside.all() or not inside.any():
        return Mesh(np.empty((0, 3), np.float32), np.empty((0, 3), np.int32))
    low, high = _extent(inside)  # marching cubes spends its time on empty space
    crop = known.values[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    vertices, faces, _, _ = marching_cubes(crop, level)
    placed = corner + (vertices.astype(np.float64) + (low + known.first)) * step
    return Mesh(placed.astype(np.float32), faces[:, ::-1])  # scikit-image's fronts face the higher values


def _extent(inside: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """First index and one past the last of the box around `inside`, one plane wider where there is one."""
    in_xy, in_yz = inside.any(axis=2), inside.any(axis=0)
    planes = [np.flatnonzero(seen) for seen in (np.any(in_xy, axis=1), np.any(in_xy, axis=0), np.any(in_yz, axis=0))]
    low = np.array([max(0, p[0] - 1) for p in planes])
    high = np.array([min(size, p[-1] + 2) for p, size in zip(planes, inside.shape, strict=True)])
    return low, high

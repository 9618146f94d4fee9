"""The original's isosurface: a lattice whose points are not where its vertices say they are.

The original counts lattice points by one number and divides it by the resolution N to have the indices of a point,
with fractions where whole numbers were meant. So the field is asked at (i + j/N + k/N^2, j + k/N, k) where (i, j, k)
is meant, in steps of 1 / (N - 1) from -0.5, and the surface comes out sheared by up to a voxel. In float32 a handful
of points of large lattices also land on the opposite face. Paper-exact samples need it (`grid = "sheared"` in a
recipe); nothing else does.
"""

import numpy as np
import torch
from torch import Tensor

from hdbench.shapes import Float32, Mesh

from .fields import FieldLayout, logits

BATCH = 64**3
"""Points evaluated at once, as in the original."""


def sheared_points(resolution: int, first: int, count: int) -> Tensor:
    """Coordinates (count, 3) float32 of the lattice points with flat indices from `first` on, as the original's."""
    index = torch.arange(first, min(first + count, resolution**3))
    rows = index / resolution  # of whole numbers, and yet a float32: here is the shear
    indices = torch.stack([rows / resolution % resolution, rows % resolution, (index % resolution).float()], 1)
    return indices * (1 / (resolution - 1)) + -0.5


def sheared_isosurface(
    layout: FieldLayout, vector: Float32, *, resolution: int, level: float, time: float | None = None
) -> Mesh:
    """The mesh that the original makes of the field `vector` (D,), every lattice point evaluated.

    Vertices in steps of 1 / (N - 1) from -0.5, faces outward. `time` is for fields of four dimensions. A field that
    never crosses the level gives an empty mesh.
    """
    weights, values = torch.from_numpy(vector), np.empty(resolution**3, np.float32)
    for first in range(0, len(values), BATCH):
        points = sheared_points(resolution, first, BATCH)
        if time is not None:
            points = torch.cat([points, torch.full((len(points), 1), time)], 1)
        values[first : first + BATCH] = logits(layout, weights, points).numpy()
    return sheared_triangles(values.reshape((resolution,) * 3), level)


def sheared_triangles(values: Float32, level: float) -> Mesh:
    """Marching cubes on values (N, N, N), its vertices placed as the original places them."""
    from skimage.measure import marching_cubes

    inside = values > level
    if inside.all() or not inside.any():
        return Mesh(np.empty((0, 3), np.float32), np.empty((0, 3), np.int32))
    step = 1 / (len(values) - 1)
    vertices, faces, _, _ = marching_cubes(values, level, spacing=(step, step, step))
    return Mesh((vertices - 0.5).astype(np.float32), faces[:, [0, 2, 1]])  # it turns the faces round in this way

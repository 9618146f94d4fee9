"""Points on surfaces."""

from typing import Literal

import numpy as np

from hdbench.interrupts import interrupts_deferred
from hdbench.seeds import derive_seed, generator
from hdbench.shapes import Float32, Mesh, PointCloud, Shape

Reduction = Literal["first", "random"]
"""Which points are kept of a cloud that has more than wanted."""


def sample_surface(mesh: Mesh, count: int, *, seed: int) -> Float32:
    """`count` area-weighted uniform points on the triangles of `mesh`, (count, 3)."""
    with interrupts_deferred():
        import trimesh

    surface = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    points, _ = trimesh.sample.sample_surface(surface, count, seed=seed)
    return np.asarray(points, np.float32)


def shape_points(shape: Shape, count: int, *, seed: int, name: str, keep: Reduction = "random") -> Float32:
    """`count` points of any shape, (count, 3), or (T, count, 3) for a sequence.

    A mesh is sampled on its surface. Of a cloud with more points a random `count` is kept, or the first ones; one with
    `count` or fewer is taken as it is. The stream depends on (seed, name) alone.
    """
    if isinstance(shape, Mesh):
        return sample_surface(shape, count, seed=derive_seed(seed, "points", name))
    if isinstance(shape, PointCloud):
        if len(shape.points) <= count or keep == "first":
            return shape.points[:count]
        chosen = generator(seed, "points", name).choice(len(shape.points), count, replace=False)
        return shape.points[np.sort(chosen)]
    frames = (
        shape_points(frame, count, seed=seed, name=f"{name}/{index}", keep=keep)
        for index, frame in enumerate(shape.frames)
    )
    return np.stack(list(frames))

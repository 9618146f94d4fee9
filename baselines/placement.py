"""Where shapes stand in the cube that fields and voxel grids fill."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np

from hdbench.shapes import Float32, Mesh

LARGEST_COORDINATE = 0.475
"""The cube is [-0.5, 0.5]^3; shapes fill 95 % of it."""


@dataclass(frozen=True)
class Placement:
    """From the dataset's coordinates to the cube's: subtract `center`, multiply by `scale`."""

    center: tuple[float, float, float]
    scale: float

    def to_cube(self, points: Float32) -> Float32:
        """Coordinates in the cube of points (P, 3) of the dataset."""
        return ((points.astype(np.float64) - self.center) * self.scale).astype(np.float32)

    def to_dataset(self, points: Float32) -> Float32:
        """Coordinates in the dataset of points (P, 3) of the cube."""
        return (points.astype(np.float64) / self.scale + self.center).astype(np.float32)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """The placement that `dataclasses.asdict` made `stored` of."""
        x, y, z = (float(value) for value in stored["center"])
        return cls((x, y, z), float(stored["scale"]))


def place(frames: Sequence[Mesh], mode: Literal["box", "vertices"]) -> tuple[Placement, ...]:
    """Where each of `frames` goes in the cube; a mesh is one frame.

    Moved to the origin is the centre of the bounding box of all frames together, or the mean of the vertices of each.
    They are scaled together: the largest |coordinate| is 0.475.
    """
    vertices = [frame.vertices.astype(np.float64) for frame in frames]
    if mode == "box":
        together = np.concatenate(vertices)
        centers = [(together.min(0) + together.max(0)) / 2] * len(frames)
    else:
        centers = [points.mean(0) for points in vertices]
    largest = max(float(np.abs(v - center).max()) for v, center in zip(vertices, centers, strict=True))
    return tuple(Placement((x, y, z), LARGEST_COORDINATE / largest) for x, y, z in (c.tolist() for c in centers))

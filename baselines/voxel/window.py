"""The part of a cube that is worth denoising: outside of it all training grids are alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

Edges = tuple[int, int, int]
"""Voxels along each axis of a box."""


@dataclass(frozen=True)
class Window:
    """A box of voxels in a cube."""

    start: Edges
    """Its first voxel."""
    edges: Edges

    @classmethod
    def whole(cls, resolution: int) -> Self:
        """All of the cube."""
        return cls((0, 0, 0), (resolution, resolution, resolution))

    @classmethod
    def around(cls, grids: Tensor, *, multiple: int) -> Self:
        """The smallest box of edges that are multiples, as R is, around where grids (N, T, R, R, R) differ."""
        differing = torch.zeros(grids.shape[2:], dtype=torch.bool)
        for grid in grids:  # one by one: all at once would need as much memory again
            differing |= (grid != grids[0]).any(0)
        places = differing.nonzero() if differing.any() else torch.zeros(1, 3, dtype=torch.int64)
        first, count = places.amin(0), places.amax(0) - places.amin(0) + 1
        edges = -(-count // multiple) * multiple
        start = (first - (edges - count) // 2).clamp(min=torch.zeros_like(first), max=grids.shape[-1] - edges)
        return cls(_three(start.tolist()), _three(edges.tolist()))

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """What `dataclasses.asdict` made of one."""
        return cls(_three(stored["start"]), _three(stored["edges"]))

    def of(self, grids: Tensor) -> Tensor:
        """A view of this part of grids (..., R, R, R)."""
        x, y, z = (slice(first, first + count) for first, count in zip(self.start, self.edges, strict=True))
        return grids[..., x, y, z]


def _three(values: Any) -> Edges:
    x, y, z = map(int, values)
    return x, y, z

"""Occupancy fields: small MLPs on encoded coordinates, handled as flat weight vectors.

A vector holds the tensors `layers.k.weight` (out, in) and `layers.k.bias` (out,) of a field in state-dict order,
each row-major. That is the order of the original's files and of the denoiser's tokens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hdbench.geometry.isosurface import Field
from hdbench.shapes import Float32

CHUNK = 4096
"""Points evaluated at once: few enough that their activations stay in the cache."""


@dataclass(frozen=True)
class FieldLayout:
    """Architecture of a field: coordinates -> encoding -> hidden layers with ReLU -> one logit."""

    hidden: tuple[int, ...]
    octaves: int
    dimensions: int = 3
    """Coordinates per point: 3, or 4 with time."""

    @cached_property
    def features(self) -> int:
        """Size of an encoded point."""
        return self.dimensions * (1 + 2 * self.octaves)

    @cached_property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the weight tensors, in state-dict order."""
        widths = (self.features, *self.hidden, 1)
        return tuple(shape for inputs, outputs in pairwise(widths) for shape in ((outputs, inputs), (outputs,)))

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Numbers in each weight tensor: the token sizes of the denoiser."""
        return tuple(int(np.prod(shape)) for shape in self.shapes)

    @property
    def count(self) -> int:
        """Numbers in a weight vector."""
        return sum(self.sizes)

    def unpack(self, vector: Tensor) -> list[Tensor]:
        """Views of the weight tensors in `vector` (D,)."""
        return [part.view(shape) for part, shape in zip(vector.split(self.sizes), self.shapes, strict=True)]

    def flatten(self, state: Mapping[str, Tensor]) -> Tensor:
        """The vector (D,) of a state dict with the original's keys `layers.k.weight`, `layers.k.bias`."""
        names = [f"layers.{k // 2}.{'bias' if k % 2 else 'weight'}" for k in range(len(self.shapes))]
        return torch.cat([state[name].reshape(-1) for name in names])

    def initial(self, rng: np.random.Generator) -> Tensor:
        """A fresh vector (D,): every tensor uniform within one over the square root of its layer's inputs."""
        layers = self.shapes[::2]
        bounds = [1 / np.sqrt(inputs) for _, inputs in layers for _ in range(2)]
        parts = [rng.uniform(-b, b, size) for b, size in zip(bounds, self.sizes, strict=True)]
        return torch.from_numpy(np.concatenate(parts).astype(np.float32))


def encode(points: Tensor, octaves: int) -> Tensor:
    """NeRF encoding of points (…, dimensions): the point, then sine and cosine of it times 1, 2, 4, …; no pi."""
    parts = [points]
    for octave in range(octaves):
        parts += [(points * 2.0**octave).sin(), (points * 2.0**octave).cos()]
    return torch.cat(parts, -1)


def logits(layout: FieldLayout, vector: Tensor, points: Tensor, *, chunk: int = CHUNK) -> Tensor:
    """Occupancy logits (P,) of the field `vector` (D,) at points (P, dimensions), `chunk` points at once."""
    tensors = layout.unpack(vector)
    chunks = [encode(some, layout.octaves) @ tensors[0].T + tensors[1] for some in points.split(chunk)]
    return torch.cat([_after_first_layer(tensors, some) for some in chunks])


def frozen_at(layout: FieldLayout, vector: Float32, time: float) -> tuple[FieldLayout, Float32]:
    """The 3D field that the 4D field `vector` (D,) is at one time: its layout and its vector.

    What the first layer makes of the time coordinate's features is the same everywhere, and goes into its bias.
    """
    weight, bias, *others = layout.unpack(torch.from_numpy(vector))
    of_time = torch.arange(layout.features) % layout.dimensions == layout.dimensions - 1
    encoded = encode(torch.tensor([time], dtype=torch.float32), layout.octaves)  # (1 + 2 octaves,)
    tensors = [weight[:, ~of_time], bias + weight[:, of_time] @ encoded, *others]
    return FieldLayout(layout.hidden, layout.octaves), torch.cat([tensor.reshape(-1) for tensor in tensors]).numpy()


def lattice_field(layout: FieldLayout, vector: Float32) -> Field:
    """The 3D field `vector` (D,) as a function on lattices.

    Each feature depends on one coordinate alone, so what the first layer makes of a lattice point is the sum of
    three rows, one per axis, taken from tables of as many rows as the lattice has planes.
    """
    tensors = layout.unpack(torch.from_numpy(vector))

    def on_lattice(x: Float32, y: Float32, z: Float32) -> npt.NDArray[np.float32]:
        in_x, in_y, in_z = (_axis_table(layout, tensors[0], axis, at) for axis, at in enumerate((x, y, z)))
        in_x = in_x + tensors[1]
        values = torch.empty(len(x), len(y), len(z))
        rows = max(1, CHUNK // len(z))
        for i in range(len(x)):
            for j in range(0, len(y), rows):
                first = in_x[i] + in_y[j : j + rows, None] + in_z  # (rows, Z, width)
                values[i, j : j + rows] = _after_first_layer(tensors, first.flatten(0, 1)).view(-1, len(z))
        return values.numpy()

    return on_lattice


def _axis_table(layout: FieldLayout, weight: Tensor, axis: int, coordinates: Float32) -> Tensor:
    """What the features of one axis add to the first layer at each coordinate, (planes, width)."""
    columns = slice(axis, None, layout.dimensions)
    encoded = encode(torch.from_numpy(coordinates)[:, None], layout.octaves)  # (planes, 1 + 2 octaves)
    return encoded @ weight[:, columns].T


def _after_first_layer(tensors: Sequence[Tensor], first: Tensor) -> Tensor:
    """Logits (P,) from the first layer's output before its ReLU (P, width), which is overwritten."""
    hidden = first.relu_()
    for weight, bias in zip(tensors[2:-2:2], tensors[3:-2:2], strict=True):
        hidden = torch.addmm(bias, hidden, weight.T).relu_()
    return torch.addmv(tensors[-1], hidden, tensors[-2][0])

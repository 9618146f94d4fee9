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

from hdbench.shapes import Float32

from .field_bounds import FieldLattice
from .field_kernels import make_layers

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


def lattice_field(layout: FieldLayout, vector: Float32, *, time: float | None = None) -> "LatticeField":
    """The field `vector` (D,) as a function on lattices; a field of four dimensions at one `time` (a frame's index)."""
    if (time is None) != (layout.dimensions == 3):
        raise ValueError(f"a field of {layout.dimensions} dimensions at {time=}")
    return LatticeField(layout, vector, time)


class LatticeField:
    """A field on lattices of points in space, with bounds: see `hdbench.geometry.sparse_lattice.BoundedField`.

    Each feature depends on one coordinate alone, so what the first layer makes of a lattice point is the sum of
    three rows, one per axis, taken from tables of as many rows as the lattice has planes. A value has the same bits
    whichever points are evaluated with it.
    """

    def __init__(self, layout: FieldLayout, vector: Float32, time: float | None) -> None:
        self._octaves = layout.octaves
        weight, bias, *self._others = layout.unpack(torch.from_numpy(vector))
        self._columns = weight.double().T.unflatten(0, (-1, layout.dimensions))  # (1 + 2 octaves, dimensions, width)
        self._constant = bias.double()
        if time is not None:
            self._constant = self._constant + self._features(np.array([time], np.float32)) @ self._columns[:, 3]

    def __call__(self, x: Float32, y: Float32, z: Float32) -> npt.NDArray[np.float32]:
        """All values (X, Y, Z)."""
        lattice, plane = self.on_lattice(x, y, z), len(y) * len(z)
        planes = [lattice.values(np.arange(i * plane, (i + 1) * plane)) for i in range(len(x))]
        return np.stack(planes).reshape(len(x), len(y), len(z))

    def on_lattice(self, x: Float32, y: Float32, z: Float32) -> FieldLattice:
        """The field where some of its values, and bounds, can be asked for."""
        in_x, in_y, in_z = (self._features(at) @ self._columns[:, axis] for axis, at in enumerate((x, y, z)))
        x_table, y_table, z_table = (table.float().numpy() for table in (in_x + self._constant, in_y, in_z))
        weights, biases = ([tensor.numpy() for tensor in self._others[start::2]] for start in (0, 1))
        return FieldLattice(make_layers((x_table, y_table, z_table), weights, biases))

    def _features(self, coordinates: Float32) -> Tensor:
        """What the encoding makes of coordinates of one axis, (planes, 1 + 2 octaves) float64."""
        return encode(torch.from_numpy(coordinates).double()[:, None], self._octaves)


def _after_first_layer(tensors: Sequence[Tensor], first: Tensor) -> Tensor:
    """Logits (P,) from the first layer's output before its ReLU (P, width), which is overwritten."""
    hidden = first.relu_()
    for weight, bias in zip(tensors[2:-2:2], tensors[3:-2:2], strict=True):
        hidden = torch.addmm(bias, hidden, weight.T).relu_()
    return torch.addmv(tensors[-1], hidden, tensors[-2][0])

"""Fitting one field to one shape: labelled points, the optimisers, and how good the fit is.

CPU fitting is one field at a time: its activations, in chunks, stay in the cache, which batched fields do not.
The backward pass is written out, since autograd's bookkeeping costs as much as the arithmetic at this size.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from hdbench.datasets.base import Dataset
from hdbench.geometry.sampling import sample_surface
from hdbench.seeds import derive_seed, generator
from hdbench.shapes import Bool, Float32, Mesh

from .fields import FieldLayout, encode, logits

CHUNK = 512
"""Rows of a batch taken through the network at once."""
LARGEST_COORDINATE = 0.475
"""Fields live in [-0.5, 0.5]^3; shapes fill 95 % of it."""
MUON_MOMENTUM = 0.95
ADAM_SHARE = 0.3
"""Learning rate of Adam, for what is no matrix, as a share of Muon's."""


class FittingRecipe(BaseModel):
    """The field part of a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hidden: tuple[int, ...] = (128, 128, 128)
    octaves: int = Field(default=4, ge=0)
    placement: Literal["box", "vertices"] = "vertices"
    """What is moved to the origin before scaling: the centre of the bounding box, or the mean of the vertices."""
    surface_points: int = Field(default=100_000, ge=1)
    uniform_points: int = Field(default=100_000, ge=1)
    noise: float = Field(default=0.01, gt=0)
    """Deviation of the surface points from the surface."""
    batch_points: int = Field(default=2048, ge=1)
    optimizer: Literal["muon", "adam"] = "muon"
    """`muon` with a cosine schedule over `steps`; or `adam`, cut on plateaus, stopped by patience (the original)."""
    learning_rate: float = Field(default=0.03, gt=0)
    steps: int = Field(default=2000, ge=1)
    """Length of a fit; with `adam` the longest."""
    initialization: Literal["anchor", "independent"] = "anchor"
    """Start every field from the fitted anchor, or each from its own random weights (the paper's ablation)."""
    anchor: str | None = None
    """The anchor shape; without a name the first training shape that can be fitted."""
    anchor_steps: int = Field(default=2000, ge=1)
    averaging_rounds: int = Field(default=0, ge=0)
    """Times the start is moved from the anchor towards all shapes: to the mean of short fits (Reptile)."""
    averaging_shapes: int = Field(default=12, ge=1)
    """Shapes of each round, the same every time, evenly spread over the training split."""
    averaging_steps: int = Field(default=150, ge=1)
    """Length of the short fits."""
    minimum_iou: float = Field(default=0.8, ge=0, le=1)
    """Fields with less held-out IoU are left out, and listed."""
    held_out_points: int = Field(default=16_384, ge=2)
    """Fresh points on which the IoU is measured."""
    unit: int = Field(default=16, ge=1)
    """Shapes per unit of work: the grain at which fitting resumes."""

    @property
    def layout(self) -> FieldLayout:
        """Architecture of the fields."""
        return FieldLayout(self.hidden, self.octaves)


@dataclass(frozen=True)
class Placement:
    """From the dataset's coordinates to the field's: subtract `center`, multiply by `scale`."""

    center: tuple[float, float, float]
    scale: float

    def to_field(self, points: Float32) -> Float32:
        """Field coordinates of points (P, 3)."""
        return ((points.astype(np.float64) - self.center) * self.scale).astype(np.float32)

    def to_dataset(self, points: Float32) -> Float32:
        """Dataset coordinates of points (P, 3) of the field."""
        return (points.astype(np.float64) / self.scale + self.center).astype(np.float32)


def place(mesh: Mesh, mode: Literal["box", "vertices"]) -> Placement:
    """Where `mesh` goes in the field's cube: centred as `mode` says, its largest |coordinate| 0.475."""
    vertices = mesh.vertices.astype(np.float64)
    center = (vertices.min(0) + vertices.max(0)) / 2 if mode == "box" else vertices.mean(0)
    x, y, z = center.tolist()
    return Placement((x, y, z), LARGEST_COORDINATE / float(np.abs(vertices - center).max()))


@dataclass(frozen=True, eq=False)
class LabelledPoints:
    """Points of the field's cube and whether they lie in the shape."""

    points: Float32
    """(P, 3)."""
    occupied: Bool
    """(P,)."""
    volumes: Float32
    """(P,): volume each point stands for, where the points are to measure volumes."""


def training_points(
    dataset: Dataset, name: str, mesh: Mesh, placement: Placement, recipe: FittingRecipe, *, seed: int
) -> LabelledPoints:
    """Noisy surface points and uniform points of the cube, surface first, with their occupancy."""
    rng = generator(seed, "fit points", name)
    surface = sample_surface(mesh, recipe.surface_points, seed=derive_seed(seed, "fit surface", name))
    near = placement.to_field(surface) + rng.normal(0, recipe.noise, (recipe.surface_points, 3)).astype(np.float32)
    uniform = rng.uniform(-0.5, 0.5, (recipe.uniform_points, 3)).astype(np.float32)
    points = np.concatenate([near, uniform])
    return _labelled(dataset, name, placement, points, np.ones(len(points), np.float32))


def held_out_points(
    dataset: Dataset, name: str, mesh: Mesh, placement: Placement, count: int, *, seed: int
) -> LabelledPoints:
    """Fresh points to measure volumes with: half uniform in the shape's bounding box, half in the cube around it."""
    rng = generator(seed, "held-out points", name)
    corners = placement.to_field(np.stack([mesh.vertices.min(0), mesh.vertices.max(0)]))
    in_box = rng.uniform(corners[0], corners[1], (count // 2, 3)).astype(np.float32)
    in_cube = rng.uniform(-0.5, 0.5, (count - len(in_box), 3)).astype(np.float32)
    around = in_cube[~((in_cube >= corners[0]) & (in_cube <= corners[1])).all(1)]
    box = float(np.prod(corners[1] - corners[0]))
    volumes = np.concatenate([np.full(len(in_box), box / len(in_box)), np.full(len(around), 1 / len(in_cube))])
    return _labelled(dataset, name, placement, np.concatenate([in_box, around]), volumes.astype(np.float32))


def _labelled(dataset: Dataset, name: str, placement: Placement, points: Float32, volumes: Float32) -> LabelledPoints:
    return LabelledPoints(points, dataset.occupancy(name, placement.to_dataset(points)), volumes)


def volume_iou(layout: FieldLayout, vector: Tensor, held_out: LabelledPoints) -> float:
    """Intersection over union of the field's inside (logit > 0) and the shape; 0 where both are empty."""
    inside = (logits(layout, vector, torch.from_numpy(held_out.points)) > 0).numpy()
    volumes = held_out.volumes.astype(np.float64)
    union = volumes[inside | held_out.occupied].sum()
    return float(volumes[inside & held_out.occupied].sum() / union) if union > 0 else 0.0


def fit_field(
    start: Tensor, labelled: LabelledPoints, recipe: FittingRecipe, *, steps: int, rng: np.random.Generator
) -> Tensor:
    """The vector (D,) that `start` (D,) becomes when fitted to the labelled points."""
    network = FieldNetwork(recipe.layout, start)
    features = encode(torch.from_numpy(labelled.points), recipe.octaves)
    targets = torch.from_numpy(labelled.occupied.astype(np.float32))
    batch = min(recipe.batch_points, len(targets))
    optimizer: _Optimizer
    if recipe.optimizer == "muon":
        optimizer = _MuonCosine(network, recipe.learning_rate, steps)
    else:
        optimizer = _AdamPlateau(network, recipe.learning_rate, steps_per_epoch=max(1, len(targets) // batch))
    for rows in _batches(len(targets), batch, steps, rng, replace=recipe.optimizer == "adam"):
        loss = network.gradient(features[rows], targets[rows])
        if not optimizer.step(loss):
            break
    return network.vector


def _batches(items: int, batch: int, steps: int, rng: np.random.Generator, *, replace: bool) -> Iterator[Tensor]:
    """Row indices of each step: drawn with replacement as the original does, or by permutations of all rows."""
    if replace:
        for _ in range(steps):
            yield torch.from_numpy(rng.integers(items, size=batch))
        return
    order, place = rng.permutation(items), 0
    for _ in range(steps):
        if place + batch > items:
            order, place = rng.permutation(items), 0
        yield torch.from_numpy(order[place : place + batch])
        place += batch


class FieldNetwork:
    """A field being fitted: its weight vector, and the gradient of the mean cross-entropy in the same layout."""

    def __init__(self, layout: FieldLayout, start: Tensor) -> None:
        self.vector = start.clone()
        self.slope = torch.zeros_like(self.vector)
        self.tensors = layout.unpack(self.vector)
        self.slopes = layout.unpack(self.slope)

    def gradient(self, features: Tensor, targets: Tensor) -> Tensor:
        """Set `slope` to the gradient on encoded points (P, features), targets (P,); returns the mean loss."""
        self.slope.zero_()
        chunks = zip(features.split(CHUNK), targets.split(CHUNK), strict=True)
        losses = [self._accumulate(rows, occupied, share=1 / len(targets)) for rows, occupied in chunks]
        return torch.stack(losses).sum()

    def _accumulate(self, features: Tensor, targets: Tensor, *, share: float) -> Tensor:
        weights, biases = self.tensors[::2], self.tensors[1::2]
        activations = [features]
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            activations.append(torch.addmm(bias, activations[-1], weight.T).relu_())
        output = torch.addmv(biases[-1], activations[-1], weights[-1][0])
        loss = torch.nn.functional.binary_cross_entropy_with_logits(output, targets, reduction="sum") * share
        slope = ((output.sigmoid_() - targets) * share)[:, None]  # by the logits, (P, 1)
        for layer in reversed(range(len(weights))):
            self.slopes[2 * layer].addmm_(slope.T, activations[layer])
            self.slopes[2 * layer + 1] += slope.sum(0)
            if layer:
                slope = torch.ops.aten.threshold_backward(slope @ weights[layer], activations[layer], 0)
        return loss


class _Optimizer(Protocol):
    def step(self, loss: Tensor) -> bool:
        """Move the network along its slope; False when there is nothing more to gain."""


class _Adam:
    """Adam (Kingma and Ba 2015) on a flat vector."""

    def __init__(self, network: FieldNetwork) -> None:
        self.network = network
        self.first = torch.zeros_like(network.vector)
        self.second = torch.zeros_like(network.vector)
        self.steps = 0

    def direction(self, beta1: float = 0.9, beta2: float = 0.999) -> Tensor:
        """The step of learning rate 1, to be subtracted."""
        self.steps += 1
        slope = self.network.slope
        self.first.lerp_(slope, 1 - beta1)
        self.second.mul_(beta2).addcmul_(slope, slope, value=1 - beta2)
        scale = (self.second / (1 - beta2**self.steps)).sqrt_().add_(1e-8)
        return self.first / scale / (1 - beta1**self.steps)


class _MuonCosine:
    """Muon (Jordan et al. 2024) on the matrices, Adam on the rest; warm-up over 5 %, then a cosine to zero."""

    def __init__(self, network: FieldNetwork, learning_rate: float, steps: int) -> None:
        self.network, self.learning_rate, self.total = network, learning_rate, steps
        self.adam = _Adam(network)
        self.matrices = [k for k, slope in enumerate(network.slopes) if slope.ndim == 2 and len(slope) > 1]
        self.momenta = [torch.zeros_like(network.slopes[k]) for k in self.matrices]
        self.done = 0

    def step(self, loss: Tensor) -> bool:
        self.done += 1
        rate = self.learning_rate * self._schedule()
        updates = []
        for k, momentum in zip(self.matrices, self.momenta, strict=True):
            slope = self.network.slopes[k]
            momentum.mul_(MUON_MOMENTUM).add_(slope)
            update = orthogonalized(slope + MUON_MOMENTUM * momentum)
            updates.append(update * (rate * math.sqrt(max(1, len(update) / update.shape[1]))))
            slope.zero_()  # so that Adam leaves it alone
        self.network.vector.sub_(self.adam.direction(), alpha=rate * ADAM_SHARE)
        for k, update in zip(self.matrices, updates, strict=True):
            self.network.tensors[k].sub_(update)
        return True

    def _schedule(self) -> float:
        warmup = max(1, min(self.total, max(20, self.total // 20)))
        if self.done < warmup:
            return self.done / warmup
        return 0.5 * (1 + math.cos(math.pi * (self.done - warmup) / max(1, self.total - warmup)))


def orthogonalized(matrix: Tensor, iterations: int = 5) -> Tensor:
    """Near the orthogonal factor of `matrix` (m, n): singular values between about 0.7 and 1.2.

    Newton-Schulz iteration with Muon's quintic (3.4445, -4.7750, 2.0315).
    """
    x = matrix if len(matrix) <= matrix.shape[1] else matrix.T
    x = x / (x.norm() + 1e-7)
    for _ in range(iterations):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return x if len(matrix) <= matrix.shape[1] else x.T


class _AdamPlateau:
    """The original's: Adam, rate times 0.8 after 10 epochs without a new best loss, end after 50."""

    def __init__(self, network: FieldNetwork, learning_rate: float, *, steps_per_epoch: int) -> None:
        self.network, self.rate, self.steps_per_epoch = network, learning_rate, steps_per_epoch
        self.adam = _Adam(network)
        self.losses: list[Tensor] = []
        self.best = math.inf
        self.since_best = 0
        self.since_cut = 0

    def step(self, loss: Tensor) -> bool:
        self.network.vector.sub_(self.adam.direction(), alpha=self.rate)
        self.losses.append(loss)
        return len(self.losses) < self.steps_per_epoch or self._end_epoch()

    def _end_epoch(self) -> bool:
        mean = float(torch.stack(self.losses).mean())
        self.losses = []
        if mean < self.best:
            self.best, self.since_best, self.since_cut = mean, 0, 0
            return True
        self.since_best += 1
        self.since_cut += 1
        if self.since_cut > 10:
            self.rate, self.since_cut = max(0.8 * self.rate, 1e-5), 0
        return self.since_best < 50

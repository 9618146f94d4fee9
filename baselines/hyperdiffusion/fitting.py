"""Fitting fields to shapes: where a shape is placed, labelled points, the fit itself, and how good it is.

Shapes are meshes, or sequences of meshes that become one field over (x, y, z, time). On a CPU fields are fitted one
at a time: the activations of one, in chunks, stay in the cache. On a GPU many are fitted in one batched computation.
Both are the same code and draw the same rows of the points for every field, so that neither the order of the fields
nor their neighbours matter beyond the rounding of batched products.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import Tensor

from hdbench.datasets.base import Dataset
from hdbench.geometry.sampling import sample_surface
from hdbench.seeds import derive_seed, generator
from hdbench.shapes import Bool, Float32, Mesh

from ..placement import LARGEST_COORDINATE, Placement
from .fields import CHUNK, FieldLayout, encode, logits
from .optimization import AdamPlateau, FieldNetworks, MuonCosine, Optimizer

FRAME_DRAWS = 16
"""Frames drawn for each batch of the original's 4D fits; the points are shared by all draws."""
KEPT_FEATURES = 2**24
"""Numbers up to which encoded points are kept; of larger sets each batch is encoded anew."""


class FittingRecipe(BaseModel):
    """The field part of a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hidden: tuple[PositiveInt, ...] = Field(default=(128, 128, 128), min_length=1)
    octaves: int = Field(default=4, ge=0, le=64)
    dimensions: Literal[3, 4] = 3
    """4: fields over (x, y, z, time), for sequences."""
    time: Literal["index", "unit"] = "index"
    """Time of a frame: its number, from 0 (the original); or evenly from -0.475 to 0.475, as the coordinates are."""
    placement: Literal["box", "vertices"] = "vertices"
    """What is moved to the origin before scaling: the centre of the bounding box, of a sequence that of all frames
    together; or the mean of the vertices, of a sequence frame by frame, which takes its travel away."""
    surface_points: int = Field(default=100_000, ge=1)
    """Of each frame, as are `uniform_points` and `held_out_points`."""
    uniform_points: int = Field(default=100_000, ge=1)
    noise: float = Field(default=0.01, gt=0)
    """Deviation of the surface points from the surface."""
    batch_points: int = Field(default=2048, ge=1)
    optimizer: Literal["muon", "adam"] = "muon"
    """`muon` with a cosine schedule over `steps`; or `adam`, cut on plateaus, stopped by patience (the original)."""
    learning_rate: float = Field(default=0.03, gt=0)
    steps: int = Field(default=2500, ge=1)
    """Length of a round; with `adam` the longest."""
    rounds: int = Field(default=1, ge=1)
    """Rounds a fit may take, each going on where the last ended: as many as it takes to reach `stop_iou`."""
    stop_iou: float = Field(default=1.0, ge=0, le=1)
    """Held-out IoU at which a shape is good enough, asked at the end of each round."""
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
    """Shapes per unit of work on CPUs: the grain at which fitting resumes."""
    batch_shapes: int = Field(default=256, ge=1)
    """Shapes fitted in one computation on a GPU, and the grain there."""

    @property
    def layout(self) -> FieldLayout:
        """Architecture of the fields."""
        return FieldLayout(self.hidden, self.octaves, self.dimensions)

    def times(self, frames: int) -> Float32:
        """Time coordinates (frames,) of a sequence's frames, as its field knows them."""
        if self.time == "index":
            return np.arange(frames, dtype=np.float32)
        return np.linspace(-LARGEST_COORDINATE, LARGEST_COORDINATE, frames, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class PlacedShape:
    """A shape about to be fitted: its frames (a mesh has one) and where they go."""

    dataset: Dataset
    name: str
    frames: tuple[Mesh, ...]
    placements: tuple[Placement, ...]
    times: Float32 | None
    """(frames,), or None where fields know no time."""

    @property
    def placement(self) -> Placement:
        """One placement for the whole shape: the mean of the frames' centres, and their scale."""
        x, y, z = np.mean([placement.center for placement in self.placements], axis=0).tolist()
        return Placement((x, y, z), self.placements[0].scale)

    def occupied(self, frame: int, points: Float32) -> Bool:
        """Which of the field's points (P, 3) lie inside the shape at `frame`."""
        return self.dataset.occupancy(self.name, self.placements[frame].to_dataset(points), frame=frame)

    def at_time(self, frame: int, points: Float32) -> Float32:
        """Points (P, 3) with the time of `frame` as their last coordinate, where fields know time."""
        if self.times is None:
            return points
        return np.column_stack([points, np.full(len(points), self.times[frame])])


@dataclass(frozen=True, eq=False)
class LabelledPoints:
    """Points of the field's cube and whether they lie in the shape, frame after frame."""

    points: Float32
    """(P, 3), or (P, 4) with time."""
    occupied: Bool
    """(P,)."""
    volumes: Float32
    """(P,): volume each point stands for, where the points are to measure volumes."""
    frames: int = 1


def labelled_points(shape: PlacedShape, recipe: FittingRecipe, *, seed: int) -> tuple[LabelledPoints, LabelledPoints]:
    """Points to fit to, and fresh ones to measure volumes with.

    To fit to: of each frame noisy surface points and then uniform points of the cube, as many as the recipe says. To
    measure: half uniform in the frame's bounding box, half in the cube around it.
    """
    training, held_out = [], []
    for k in range(len(shape.frames)):
        points = _training_coordinates(shape, k, recipe, seed)
        fresh, volumes = _held_out_coordinates(shape, k, recipe.held_out_points, seed)
        occupied = shape.occupied(k, np.concatenate([points, fresh]))  # together: asking costs, however few they are
        training.append(LabelledPoints(shape.at_time(k, points), occupied[: len(points)], np.ones_like(points[:, 0])))
        held_out.append(LabelledPoints(shape.at_time(k, fresh), occupied[len(points) :], volumes))
    return _joined(training), _joined(held_out)


def _training_coordinates(shape: PlacedShape, frame: int, recipe: FittingRecipe, seed: int) -> Float32:
    rng = generator(seed, "fit points", shape.name, frame)
    surface_seed = derive_seed(seed, "fit surface", shape.name, frame)
    surface = sample_surface(shape.frames[frame], recipe.surface_points, seed=surface_seed)
    noise = rng.normal(0, recipe.noise, surface.shape).astype(np.float32)
    uniform = rng.uniform(-0.5, 0.5, (recipe.uniform_points, 3)).astype(np.float32)
    return np.concatenate([shape.placements[frame].to_cube(surface) + noise, uniform])


def _held_out_coordinates(shape: PlacedShape, frame: int, count: int, seed: int) -> tuple[Float32, Float32]:
    """Points (P, 3), at most `count`, and the volume each stands for."""
    rng = generator(seed, "held-out points", shape.name, frame)
    vertices = shape.frames[frame].vertices
    corners = shape.placements[frame].to_cube(np.stack([vertices.min(0), vertices.max(0)]))
    in_box = rng.uniform(corners[0], corners[1], (count // 2, 3)).astype(np.float32)
    in_cube = rng.uniform(-0.5, 0.5, (count - len(in_box), 3)).astype(np.float32)
    around = in_cube[~((in_cube >= corners[0]) & (in_cube <= corners[1])).all(1)]
    box = float(np.prod(corners[1] - corners[0]))
    volumes = np.concatenate([np.full(len(in_box), box / len(in_box)), np.full(len(around), 1 / len(in_cube))])
    return np.concatenate([in_box, around]), volumes.astype(np.float32)


def _joined(parts: Sequence[LabelledPoints]) -> LabelledPoints:
    return LabelledPoints(
        np.concatenate([part.points for part in parts]),
        np.concatenate([part.occupied for part in parts]),
        np.concatenate([part.volumes for part in parts]),
        frames=len(parts),
    )


def volume_iou(layout: FieldLayout, vector: Tensor, held_out: LabelledPoints) -> float:
    """Intersection over union of the field's inside (logit > 0) and the shape, over all frames.

    0 where both are empty. Computed where `vector` (D,) lies.
    """
    chunk = CHUNK if vector.device.type == "cpu" else len(held_out.points)
    points = torch.from_numpy(held_out.points).to(vector.device)
    inside = (logits(layout, vector, points, chunk=chunk) > 0).cpu().numpy()
    volumes = held_out.volumes.astype(np.float64)
    union = volumes[inside | held_out.occupied].sum()
    return float(volumes[inside & held_out.occupied].sum() / union) if union > 0 else 0.0


def fit(starts: Tensor, labelled: Sequence[LabelledPoints], recipe: FittingRecipe, *, steps: int, seed: int) -> Tensor:
    """The vectors (S, D) that `starts` (S, D) become when fitted to the labelled points of S shapes.

    Computed where `starts` lie: on a CPU one field after the other, on a GPU all together, its matrix products in
    TF32 where it has that. Which rows of the points make up which batch is drawn from `seed` alone.
    """
    if starts.device.type != "cpu":
        with tensor_cores():
            return fit_together(starts, labelled, recipe, steps=steps, seed=seed)
    singles = zip(starts.split(1), labelled, strict=True)
    return torch.cat([fit_together(start, [points], recipe, steps=steps, seed=seed) for start, points in singles])


@contextmanager
def tensor_cores() -> Iterator[None]:
    """Run a block with the matrix products of float32 in TF32, where the device has that."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def fit_together(
    starts: Tensor, labelled: Sequence[LabelledPoints], recipe: FittingRecipe, *, steps: int, seed: int
) -> Tensor:
    """What `fit` does, in one batched computation; all shapes must have the same numbers of points and frames."""
    device = starts.device
    networks = FieldNetworks(recipe.layout, starts)
    points = torch.from_numpy(np.stack([shape.points for shape in labelled])).to(device)  # (S, P, 3 or 4)
    targets = torch.from_numpy(np.stack([shape.occupied for shape in labelled])).to(device)  # (S, P)
    kept = None
    if len(labelled) * points.shape[1] * recipe.layout.features <= KEPT_FEATURES:
        kept = encode(points, recipe.octaves)
    batches = Batches(points.shape[1], labelled[0].frames, recipe)
    optimizer: Optimizer
    if recipe.optimizer == "muon":
        optimizer = MuonCosine(networks, recipe.learning_rate, steps)
    else:
        optimizer = AdamPlateau(
            networks, recipe.learning_rate, batch=batches.size, steps_per_epoch=batches.steps_per_pass
        )
    for rows in batches.draw(steps, seed, device):
        chosen = encode(points.index_select(1, rows), recipe.octaves) if kept is None else kept.index_select(1, rows)
        losses = networks.gradient(chosen, targets.index_select(1, rows).float())
        if not optimizer.step(losses):
            break
    return networks.vectors


class Batches:
    """Which rows of the points make up each batch, the same for every field.

    Ours go through permutations of all rows. The original draws with replacement: rows of a mesh; of a sequence, 16
    frames and one set of points for all of them; and calls as many steps a pass as one frame's points would fill.
    """

    def __init__(self, rows: int, frames: int, recipe: FittingRecipe) -> None:
        self.rows, self.frames = rows, frames
        self.replace = recipe.optimizer == "adam"
        self.size = min(recipe.batch_points, rows)
        self.steps_per_pass = max(1, (rows // frames if self.replace else rows) // self.size)

    def draw(self, steps: int, seed: int, device: torch.device) -> Iterator[Tensor]:
        """Row numbers (size,) of each of `steps` batches."""
        rng = generator(seed, "batches")
        for first in range(0, steps, self.steps_per_pass):
            yield from torch.from_numpy(self._pass(rng)[: steps - first]).to(device)

    def _pass(self, rng: np.random.Generator) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
        if not self.replace:
            return rng.permutation(self.rows)[: self.steps_per_pass * self.size].reshape(-1, self.size)
        if self.frames == 1:
            return rng.integers(self.rows, size=(self.steps_per_pass, self.size))
        per_frame = self.rows // self.frames
        frames = rng.integers(self.frames, size=(self.steps_per_pass, FRAME_DRAWS, 1))
        shared = rng.integers(per_frame, size=(self.steps_per_pass, 1, max(1, self.size // FRAME_DRAWS)))
        return (frames * per_frame + shared).reshape(self.steps_per_pass, -1)

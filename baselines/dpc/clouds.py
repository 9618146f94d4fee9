"""The clouds DPC learns from: surface points of the training shapes, placed and scaled as the recipe says."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from hdbench.datasets.base import Dataset
from hdbench.errors import HdbenchError
from hdbench.execution import run_units
from hdbench.geometry.sampling import shape_points
from hdbench.method import Context
from hdbench.seeds import derive_seed, generator
from hdbench.shapes import Float32, defect

from ..units import tell_left_out

Float64 = npt.NDArray[np.float64]
ScaleMode = Literal["shape_unit", "shape_half", "shape_34", "shape_bbox", "global_unit", "dataset", "none"]
CHUNK = 16
"""Shapes sampled per unit of work."""
_SPREAD = {"shape_unit": 1.0, "shape_half": 0.5, "shape_34": 0.75}
"""What each cloud's deviation becomes."""


class CloudsRecipe(BaseModel):
    """The data part of a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pool: int = Field(default=2048, ge=2)
    """Surface points known of each training shape."""
    points: int = Field(default=2048, ge=1)
    """How many of them are learnt from in one step: a fresh choice each time."""
    scale: ScaleMode = "shape_unit"
    """How clouds are placed and scaled. `shape_…`: each by its own mean (bbox: the middle of its bounding box) and
    deviation (bbox: half its largest side), brought to 1 (half: 0.5, 34: 0.75). `global_unit`: by its own mean, and
    the deviation of the whole training split. `dataset`: by mean and deviation of the whole training split."""


@dataclass(frozen=True)
class Placement:
    """From a sample to the dataset's coordinates: times `scale`, plus `center`."""

    center: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: float = 1.0

    def to_dataset(self, points: Float32) -> Float32:
        """Points (P, 3) in the dataset's coordinates."""
        return np.asarray(points.astype(np.float64) * self.scale + self.center, np.float32)


@dataclass(frozen=True, eq=False)
class TrainingClouds:
    """The training split as clouds."""

    points: Float32
    """(N, pool, 3), placed and scaled; the points of a cloud in random order."""
    placement: Placement
    """Where samples are put: the mean centre and median scale of the training shapes."""
    left_out: dict[str, str]
    """Reason by name of training shape."""


@dataclass(frozen=True, eq=False)
class CloudUnit:
    """One unit of work: surface points of these shapes."""

    dataset: Dataset
    names: tuple[str, ...]
    count: int
    seed: int


def training_clouds(dataset: Dataset, names: Sequence[str], recipe: CloudsRecipe, context: Context) -> TrainingClouds:
    """Surface points of the named shapes. Raises HdbenchError when none of them has any.

    Where the dataset's clouds have fewer points than the recipe's pool, all are cut to the smallest.
    """
    seed = derive_seed(context.seed, "clouds")
    units = [
        CloudUnit(dataset, tuple(names[start : start + CHUNK]), recipe.pool, seed)
        for start in range(0, len(names), CHUNK)
    ]
    sampled = run_units(
        cloud_unit,
        units,
        workers=context.workers,
        progress=context.progress,
        description="sampling surfaces for DPC",
        weight=lambda unit: len(unit.names),
        engine=context.engine,
    )
    results = [result for part in sampled for result in part]
    left_out = {name: found for name, found in zip(names, results, strict=True) if isinstance(found, str)}
    clouds = [found for found in results if not isinstance(found, str)]
    if not clouds:
        reason = next(iter(left_out.values()), "it is empty")
        raise HdbenchError(f"The training split of {dataset.name!r} has no shape to learn from ({reason}).")
    tell_left_out(left_out, len(names), "DPC", context.progress)
    size = min(map(len, clouds))
    points = np.stack([cloud[:size] for cloud in clouds])
    centers, scales = centers_and_scales(points, recipe.scale, deviation=float(points.std(dtype=np.float64, ddof=1)))
    x, y, z = centers[:, 0].mean(0).tolist()
    placement = Placement((x, y, z), float(np.median(scales)))
    return TrainingClouds(((points - centers) / scales).astype(np.float32), placement, left_out)


def cloud_unit(unit: CloudUnit) -> list[Float32 | str]:
    """Points (up to count, 3) of each shape in random order, or why it has none."""
    return [_cloud(unit, name) for name in unit.names]


def _cloud(unit: CloudUnit, name: str) -> Float32 | str:
    shape = unit.dataset.shape(name)
    if reason := defect(shape):
        return reason
    points = shape_points(shape, unit.count, seed=unit.seed, name=name)
    return points[generator(unit.seed, "order", name).permutation(len(points))]


def centers_and_scales(points: Float32, mode: ScaleMode, *, deviation: float) -> tuple[Float64, Float64]:
    """What clouds (N, P, 3) are moved by, (N, 1, 3), and then divided by, (N, 1, 1).

    `deviation` is that of all coordinates of the training split. As in DPC, deviations are unbiased and taken of raw
    coordinates: they include how far the means of the three axes lie apart.
    """
    raw = points.astype(np.float64)
    count = len(raw)
    if mode == "none":
        return np.zeros((count, 1, 3)), np.ones((count, 1, 1))
    if mode == "dataset":
        return np.broadcast_to(raw.mean((0, 1)), (count, 1, 3)), np.full((count, 1, 1), deviation)
    if mode == "shape_bbox":
        low, high = raw.min(1, keepdims=True), raw.max(1, keepdims=True)
        return (low + high) / 2, (high - low).max(2, keepdims=True) / 2
    center = raw.mean(1, keepdims=True)
    if mode == "global_unit":
        return center, np.full((count, 1, 1), deviation)
    return center, raw.std((1, 2), ddof=1, keepdims=True) / _SPREAD[mode]

"""Controls: pseudo-methods whose scores are known in advance, to read every other row of a table by.

`train-copy` hands out training shapes: the best score that no new shape has earned. `held-out` hands out real shapes
that are not the reference: what a perfect model would score. `noise` hands out uniform points: the other end.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from pydantic import Field
from safetensors.numpy import load_file, save_file

from hdbench import shapes as forms
from hdbench.datasets.base import Dataset
from hdbench.errors import HdbenchError
from hdbench.method import Context, Method
from hdbench.recipe import Recipe
from hdbench.seeds import generator
from hdbench.shape_files import load_shape, save_shape
from hdbench.shapes import Float32, Kind, Mesh, PointCloud, Shape
from hdbench.store import write_atomic

LEAST_KEPT = 64
"""Shapes kept where the recipe gives no number, the test split is smaller, and there are more."""
MOST_POINTS = 2048
"""Points of noise where the recipe gives no number, and the training shapes are meshes or larger clouds."""
LEAST_HALVED = 4
"""Test shapes without which there are no two halves to compare."""


class ControlRecipe(Recipe):
    """What little there is to choose about a control."""

    count: int | None = Field(None, ge=1)
    """Shapes to keep; None: as many as the test split holds, and `LEAST_KEPT` at least."""


class NoiseRecipe(ControlRecipe):
    """What there is to choose about noise."""

    points: int | None = Field(None, ge=1)
    """Points per shape, or per frame; None: as many as the smallest training cloud has, `MOST_POINTS` at most."""


class RealShapes(Method):
    """A control that hands out real shapes it has kept: a folder of them is the whole model."""

    output: ClassVar[Kind] = "mesh"
    is_control: ClassVar[bool] = True
    recipe_type: ClassVar[type[Recipe]] = ControlRecipe

    kind: Kind
    ids: tuple[str, ...]
    shapes: list[Shape]
    reference: tuple[str, ...] | None = None

    @property
    def sample_kind(self) -> Kind:
        """See `Method.sample_kind`: that of the dataset."""
        return self.kind

    @property
    def reference_ids(self) -> tuple[str, ...] | None:
        """See `Method.reference_ids`."""
        return self.reference

    def sample(self, indices: Sequence[int], seed: int, context: Context) -> Iterator[Shape]:
        """See `Method.sample`: the shapes kept, in an order of the seed's, over again when they run out.

        Another seed's samples are thus no others, where as many are drawn as were kept.
        """
        order = generator(seed, self.name).permutation(len(self.shapes))
        return (self.shapes[order[index % len(order)]] for index in indices)

    def save(self, folder: Path) -> None:
        """See `Method.save`: `model.json`, and the shapes as `shapes/<number>.npz`."""
        for index, shape in enumerate(self.shapes):
            save_shape(_shape_path(folder, index), shape)
        record = {"kind": self.kind, "ids": self.ids, "reference_ids": self.reference}
        write_atomic(folder / "model.json", json.dumps(record, indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, folder: Path, context: Context) -> Self:
        """See `Method.load`."""
        model = cls()
        try:
            record = json.loads((folder / "model.json").read_text(encoding="utf-8"))
            model.kind, model.ids = record["kind"], tuple(record["ids"])
            model.reference = None if record["reference_ids"] is None else tuple(record["reference_ids"])
            model.shapes = [load_shape(_shape_path(folder, index)) for index in range(len(model.ids))]
        except (OSError, KeyError, ValueError) as error:
            raise HdbenchError(f"{folder} holds no {cls.name} control that can be read ({error}).") from error
        return model

    def _keep(self, dataset: Dataset, shapes: Iterable[tuple[str, Shape]], count: int, context: Context) -> None:
        self.kind = dataset.kind
        kept = []
        with context.progress.task(f"Keeping shapes for {self.name}", count) as task:
            for item in shapes:
                kept.append(item)
                task.advance()
        self.ids, self.shapes = tuple(name for name, _ in kept), [shape for _, shape in kept]


class TrainCopy(RealShapes):
    """Samples are training shapes."""

    name: ClassVar[str] = "train-copy"
    title: ClassVar[str] = "Training shapes"

    def fit(self, dataset: Dataset, recipe: Recipe, context: Context) -> None:
        """Keep training shapes, chosen by the context's seed where there are more than wanted."""
        names = _shuffled(dataset.ids("train"), context.seed, self.name)[: _wanted(dataset, recipe)]
        self._keep(dataset, ((name, dataset.shape(name)) for name in names), len(names), context)


class HeldOut(RealShapes):
    """Samples are real shapes that are not the reference.

    Where the dataset makes shapes, they are fresh. Elsewhere the test split is halved by the context's seed: one half
    are the samples, the other, `reference_ids`, is what they must be scored against.
    """

    name: ClassVar[str] = "held-out"
    title: ClassVar[str] = "Held-out shapes"

    @classmethod
    def supports(cls, dataset: Dataset) -> str | None:
        """See `Method.supports`: there must be shapes to spare."""
        count = len(dataset.ids("test"))
        if count >= LEAST_HALVED or dataset.fresh(0, 0) is not None:
            return None
        return f"it needs at least {LEAST_HALVED} test shapes to halve, and {dataset.name!r} has {count}"

    @property
    def sample_limit(self) -> int:
        """See `Method.sample_limit`: no shape is handed out twice."""
        return len(self.shapes)

    def fit(self, dataset: Dataset, recipe: Recipe, context: Context) -> None:
        """Keep fresh shapes, or half of the test split."""
        count = _wanted(dataset, recipe)
        fresh = dataset.fresh(count, context.seed)
        if fresh is not None:
            self._keep(dataset, fresh, count, context)
            return
        if reason := self.supports(dataset):
            raise HdbenchError(f"The control {self.name} cannot use this dataset: {reason}.")
        names = _shuffled(dataset.ids("test"), context.seed, self.name)
        half = len(names) // 2
        self.reference = tuple(name for name in dataset.ids("test") if name in set(names[half : 2 * half]))
        self._keep(dataset, ((name, dataset.shape(name)) for name in names[:half]), half, context)

    def sample(self, indices: Sequence[int], seed: int, context: Context) -> Iterator[Shape]:
        """See `Method.sample`; raises HdbenchError for an index beyond the shapes kept."""
        if max(indices, default=0) >= len(self.shapes):
            raise HdbenchError(
                f"The control {self.name} kept {len(self.shapes)} shapes and cannot draw {max(indices) + 1}; "
                "ask for fewer samples, or fit it with a larger count."
            )
        return super().sample(indices, seed, context)


class Noise(Method):
    """Samples are uniform points in the bounding box of the training shapes."""

    name: ClassVar[str] = "noise"
    title: ClassVar[str] = "Uniform noise"
    output: ClassVar[Kind] = "points"
    is_control: ClassVar[bool] = True
    recipe_type: ClassVar[type[Recipe]] = NoiseRecipe

    box: Float32
    """(2, 3): the lowest and the highest corner."""
    layout: tuple[int, ...]
    """(P,), or (T, P) for sequences."""

    @property
    def sample_kind(self) -> Kind:
        """See `Method.sample_kind`: points, or sequences of them."""
        return "points" if len(self.layout) == 1 else "sequence"

    def fit(self, dataset: Dataset, recipe: Recipe, context: Context) -> None:
        """Measure the box that holds the training shapes (some of them, where there are more than wanted)."""
        assert isinstance(recipe, NoiseRecipe)
        names = _shuffled(dataset.ids("train"), context.seed, self.name)[: _wanted(dataset, recipe)]
        corners, points = [], MOST_POINTS
        with context.progress.task("Measuring the training shapes", len(names)) as task:
            for name in names:
                frames = _frames(dataset.shape(name))
                corners += [corner(_coordinates(frame), axis=0) for frame in frames for corner in (np.min, np.max)]
                points = min([points, *(len(frame.points) for frame in frames if isinstance(frame, PointCloud))])
                task.advance()
        self.box = np.stack([np.min(corners, axis=0), np.max(corners, axis=0)])
        points = recipe.points or points
        self.layout = (len(frames), points) if dataset.kind == "sequence" else (points,)

    def sample(self, indices: Sequence[int], seed: int, context: Context) -> Iterator[Shape]:
        """See `Method.sample`."""
        return (self._draw(seed, index) for index in indices)

    def _draw(self, seed: int, index: int) -> Shape:
        uniform = generator(seed, self.name, index).random((*self.layout, 3), np.float32)
        points = self.box[0] + uniform * (self.box[1] - self.box[0])
        return PointCloud(points) if points.ndim == 2 else forms.Sequence(tuple(map(PointCloud, points)))

    def save(self, folder: Path) -> None:
        """See `Method.save`: `model.safetensors`."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"box": self.box, "layout": np.array(self.layout)}, folder / "model.safetensors")

    @classmethod
    def load(cls, folder: Path, context: Context) -> Self:
        """See `Method.load`."""
        model = cls()
        try:
            stored = load_file(folder / "model.safetensors")
            model.box, model.layout = stored["box"], tuple(stored["layout"].tolist())
        except (OSError, KeyError, ValueError) as error:
            raise HdbenchError(f"{folder} holds no noise control that can be read ({error}).") from error
        return model


def _wanted(dataset: Dataset, recipe: Recipe) -> int:
    assert isinstance(recipe, ControlRecipe)
    return recipe.count or max(LEAST_KEPT, len(dataset.ids("test")))


def _shuffled(names: Sequence[str], seed: int, purpose: str) -> list[str]:
    return [names[index] for index in generator(seed, purpose, "choice").permutation(len(names))]


def _frames(shape: Shape) -> tuple[Mesh | PointCloud, ...]:
    return shape.frames if isinstance(shape, forms.Sequence) else (shape,)


def _coordinates(frame: Mesh | PointCloud) -> Float32:
    return frame.vertices if isinstance(frame, Mesh) else frame.points


def _shape_path(folder: Path, index: int) -> Path:
    return folder / "shapes" / f"{index:05d}.npz"

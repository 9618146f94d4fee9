"""Shapes as ellipsoids: a normal distribution over centres and logarithms of half-axes, learnt from bounding boxes."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import trimesh
from pydantic import Field
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from hdbench.datasets.base import Dataset
from hdbench.errors import HdbenchError
from hdbench.method import Context, Method
from hdbench.recipe import Recipe
from hdbench.seeds import generator
from hdbench.shapes import Float32, Kind, Mesh


class EllipsoidRecipe(Recipe):
    """The hyperparameters; `recipes/*.toml` are its presets."""

    sampling_fields: ClassVar[frozenset[str]] = frozenset({"subdivisions", "spread"})

    smallest: float = Field(default=1e-6, gt=0)
    """What thinner bounding boxes are taken to measure, so that they have logarithms."""
    subdivisions: int = Field(default=3, ge=0, le=6)
    """Of the icosahedron that samples are made from."""
    spread: float = Field(default=1.0, ge=0)
    """Deviation of the samples as a share of that of the training shapes."""


class Ellipsoids(Method):
    """Draws ellipsoids of the sizes and places of the training shapes."""

    name: ClassVar[str] = "ellipsoids"
    title: ClassVar[str] = "Ellipsoids"
    output: ClassVar[Kind] = "mesh"
    recipe_type: ClassVar[type[Recipe]] = EllipsoidRecipe

    recipe: EllipsoidRecipe
    mean: Float32
    """(6,): centre, and logarithm of the half-axes."""
    root: Float32
    """(6, 6): a square root of their covariance."""

    @classmethod
    def supports(cls, dataset: Dataset) -> str | None:
        """See `Method.supports`."""
        return None if dataset.kind == "mesh" else f"it measures meshes, and {dataset.name!r} holds {dataset.kind}"

    def fit(self, dataset: Dataset, recipe: Recipe, context: Context) -> None:
        """See `Method.fit`. It takes a moment, so it keeps nothing in `context.workspace` to go on from."""
        assert isinstance(recipe, EllipsoidRecipe)
        self.recipe = recipe
        rows = []
        with context.progress.task("measuring shapes", len(dataset.ids("train"))) as task:
            for name in dataset.ids("train"):
                shape = dataset.shape(name)
                assert isinstance(shape, Mesh)
                low, high = shape.vertices.min(0), shape.vertices.max(0)
                rows.append(np.concatenate([(low + high) / 2, np.log(np.maximum(high - low, recipe.smallest) / 2)]))
                task.advance()
        measured = np.array(rows, np.float64)
        values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(measured.T)))
        self.mean = measured.mean(0).astype(np.float32)
        self.root = (vectors * np.sqrt(np.maximum(values, 0))).astype(np.float32)

    def sample(self, indices: Sequence[int], seed: int, context: Context) -> Iterator[Mesh]:
        """See `Method.sample`: each shape from a stream of its own, so that it depends on (seed, index) alone."""
        ball = trimesh.creation.icosphere(self.recipe.subdivisions)
        with context.progress.task("drawing ellipsoids", len(indices)) as task:
            for index in indices:
                noise = generator(seed, self.name, index).standard_normal(6).astype(np.float32)
                center, logarithm = np.split(self.mean + self.recipe.spread * self.root @ noise, 2)
                yield Mesh(center + ball.vertices * np.exp(logarithm), ball.faces)
                task.advance()

    def save(self, folder: Path) -> None:
        """See `Method.save`: `model.safetensors` and `recipe.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"mean": self.mean, "root": self.root}, folder / "model.safetensors")
        (folder / "recipe.json").write_text(self.recipe.model_dump_json() + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, context: Context) -> Self:
        """See `Method.load`."""
        model = cls()
        try:
            model.recipe = EllipsoidRecipe(**json.loads((folder / "recipe.json").read_text(encoding="utf-8")))
            stored = load_file(folder / "model.safetensors")
            model.mean, model.root = stored["mean"], stored["root"]
        except (OSError, KeyError, ValueError, SafetensorError) as error:
            raise HdbenchError(f"{folder} holds no ellipsoids that can be read ({error}).") from error
        return model

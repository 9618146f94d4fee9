"""Shapes for the figures of papers: how samples come about, and what lies between two of them.

A stage like those in `stages`, walked only when a run is asked for `--figures`.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from hdbench.drawing import load_model
from hdbench.evaluation import POINT_COUNT
from hdbench.method import Context, Method
from hdbench.recipe import Recipe
from hdbench.shape_files import write_shape_set
from hdbench.shapes import Shape
from hdbench.stages import Workshop, sampling_of
from hdbench.store import Artefact, Key

FIGURES_VERSION = 1
DENOISED = (0, 1)
"""Samples whose denoising is shown."""
INTERPOLATED = ((0, 1), (2, 3))
"""Pairs of samples between which is interpolated, in `INTERPOLATION_SHAPES` shapes."""
INTERPOLATION_SHAPES = 7

Row = list[tuple[str, Shape]]
"""Shapes side by side, with captions."""


def draw_figures(
    workshop: Workshop, method: type[Method], model: Artefact, *, seed: int, recipe: Recipe | None = None
) -> Artefact:
    """Shapes for the figures of papers: sets denoising/ and interpolation/, each only where the method knows it.

    Ids are `<row>-<column>-<caption>`. They are drawn as `recipe` says, see `stages.draw`.
    """
    inputs = {"model": model.key.digest, "seed": seed, "points": POINT_COUNT, **sampling_of(recipe)}

    def make(workspace: Path) -> None:
        context = replace(workshop.context(workspace, seed), workers=1)  # so few shapes are not worth processes
        loaded = load_model(method, model.folder / "model", recipe, context)
        rows_of = {
            "denoising": _denoising(loaded, seed, context),
            "interpolation": _interpolation(loaded, seed, context),
        }
        for name, rows in rows_of.items():
            if shapes := list(_numbered(rows)):
                kind = loaded.sample_kind
                write_shape_set(workspace / name, shapes, kind=kind, point_count=POINT_COUNT, seed=seed)

    return workshop.store.get_or_make(Key("figures", FIGURES_VERSION, inputs), make)


def _denoising(model: Method, seed: int, context: Context) -> list[Row]:
    stages = [model.denoising(index, seed, context) for index in DENOISED]
    return [[(f"{left} left", shape) for left, shape in row] for row in stages]


def _interpolation(model: Method, seed: int, context: Context) -> list[Row]:
    ways = [(pair, model.interpolation(*pair, INTERPOLATION_SHAPES, seed, context)) for pair in INTERPOLATED]
    return [[(_between(k, len(way), pair), shape) for k, shape in enumerate(way)] for pair, way in ways]


def _numbered(rows: list[Row]) -> Iterator[tuple[str, Shape]]:
    for place, row in enumerate(rows):
        for column, (caption, shape) in enumerate(row):
            yield f"{place}-{column}-{caption}", shape


def _between(index: int, count: int, pair: tuple[int, int]) -> str:
    if index in (0, count - 1):
        return f"sample {pair[bool(index)]}"
    return f"{index} of {count - 1}"

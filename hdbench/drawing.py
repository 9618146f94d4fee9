"""Samples of a saved model: drawn here, or in batches that are units of work on a cluster."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path

from hdbench.execution import run_units
from hdbench.method import Context, Method
from hdbench.progress import Progress
from hdbench.recipe import Recipe
from hdbench.shapes import Shape
from hdbench.store import Artefact

BATCH = 32
"""Samples per unit: a multiple of what methods draw in one computation, so that no unit draws for another."""


@dataclass(frozen=True)
class DrawUnit:
    """One unit of work: these samples of the model in the folder model/ of an artefact."""

    method: type[Method]
    model: Artefact
    indices: tuple[int, ...]
    seed: int
    device: str
    recipe: Recipe | None = None


def load_model(method: type[Method], folder: Path, recipe: Recipe | None, context: Context) -> Method:
    """The model saved in `folder`, to sample as `recipe` says; without one, or `sampling_fields`, as it says itself."""
    model = method.load(folder, context)
    if recipe and recipe.sampling_fields:
        model.sample_by(recipe)
    return model


def drawn_shapes(
    method: type[Method],
    model: Artefact,
    indices: Sequence[int],
    *,
    seed: int,
    context: Context,
    recipe: Recipe | None = None,
) -> Iterator[Shape]:
    """Yield the samples `indices`, ascending, of the model in the folder model/ of an artefact; by `load_model`."""
    if not context.engine.is_cluster:
        yield from load_model(method, model.folder / "model", recipe, context).sample(indices, seed, context)
        return
    batches = [tuple(batch) for _, batch in groupby(indices, key=lambda index: index // BATCH)]
    drawn = run_units(
        draw_batch,
        [DrawUnit(method, model, batch, seed, context.device, recipe) for batch in batches],
        workers=context.workers,
        progress=context.progress,
        description="drawing batches",
        weight=lambda unit: len(unit.indices),
        engine=context.engine,
        device=context.device,
    )
    yield from chain.from_iterable(drawn)


def draw_batch(unit: DrawUnit) -> list[Shape]:
    """The samples of one unit, drawn in this process alone."""
    with tempfile.TemporaryDirectory() as workspace:
        context = Context(unit.device, Progress(), Path(workspace), workers=1, seed=unit.seed)
        model = load_model(unit.method, unit.model.folder / "model", unit.recipe, context)
        return list(model.sample(unit.indices, unit.seed, context))

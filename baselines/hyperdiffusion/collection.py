"""Fields of a whole training split: units of work that resume, and the fields that are good enough to learn from."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from hdbench.datasets.base import Dataset
from hdbench.errors import HdbenchError
from hdbench.execution import run_units
from hdbench.method import Context
from hdbench.seeds import derive_seed, generator
from hdbench.shapes import Float32, Mesh, defect
from hdbench.store import atomic_path

from ..training import fixed_threads
from .fitting import (
    FittingRecipe,
    LabelledPoints,
    Placement,
    fit_field,
    held_out_points,
    place,
    training_points,
    volume_iou,
)

ANCHOR_CANDIDATES = 20
"""Training shapes tried as the anchor before the data are called unfit."""


@dataclass(frozen=True, eq=False)
class FittedField:
    """The field of one shape, or why there is none."""

    name: str
    vector: Float32
    """(D,); NaN where there is no field."""
    placement: Placement
    iou: float
    """On held-out points."""
    reason: str | None
    """Why it is left out, or None."""


@dataclass(frozen=True, eq=False)
class FieldCollection:
    """Fields to learn from."""

    vectors: npt.NDArray[np.float32]
    """(N, D)."""
    placements: tuple[Placement, ...]
    ious: dict[str, float]
    """Held-out IoU by name, those left out included."""
    left_out: dict[str, str]
    """Reason by name."""
    anchor: str | None
    """Name of the shape all fields started from; None where they started independently."""


@dataclass(frozen=True, eq=False)
class FitUnit:
    """One unit of work: fit these shapes, all from `start`, or each from weights of its own where that is None."""

    dataset: Dataset
    names: tuple[str, ...]
    recipe: FittingRecipe
    steps: int
    start: Float32 | None
    seed: int


def fit_unit(unit: FitUnit) -> list[FittedField]:
    """Fit the shapes of one unit; each is seeded by its name, so that grouping changes nothing."""
    with fixed_threads(1):
        return [_fit_shape(unit, name) for name in unit.names]


def _fit_shape(unit: FitUnit, name: str) -> FittedField:
    layout, recipe = unit.recipe.layout, unit.recipe
    nothing = np.full(layout.count, np.nan, np.float32)
    mesh = _mesh(unit.dataset, name)
    if reason := defect(mesh):
        return FittedField(name, nothing, Placement((0.0, 0.0, 0.0), 1.0), 0.0, reason)
    placement = place(mesh, recipe.placement)
    held_out = held_out_points(unit.dataset, name, mesh, placement, recipe.held_out_points, seed=unit.seed)
    labelled = training_points(unit.dataset, name, mesh, placement, recipe, seed=unit.seed)
    if not labelled.occupied.any() or not held_out.occupied.any():
        return FittedField(name, nothing, placement, 0.0, "encloses no volume")
    if unit.start is None:
        start = layout.initial(generator(unit.seed, "initial weights", name))
    else:
        start = torch.from_numpy(unit.start)
    vector = fit_field(start, labelled, recipe, steps=unit.steps, rng=generator(unit.seed, "fit", name))
    iou = volume_iou(layout, vector, held_out)
    reason = f"held-out IoU {iou:.3f} is below {recipe.minimum_iou}" if iou < recipe.minimum_iou else None
    if not torch.isfinite(vector).all():
        reason = "the fit diverged"
    return FittedField(name, vector.numpy(), placement, iou, reason)


def _mesh(dataset: Dataset, name: str) -> Mesh:
    shape = dataset.shape(name)
    if not isinstance(shape, Mesh):
        raise TypeError(f"{name} is no mesh but a {type(shape).__name__}")
    return shape


def fit_fields(dataset: Dataset, names: Sequence[str], recipe: FittingRecipe, context: Context) -> FieldCollection:
    """Fit a field to each shape, going on from what `context.workspace` holds, and sort out the bad ones.

    Raises HdbenchError when no shape can be fitted.
    """
    anchor = None
    if recipe.initialization == "anchor":
        anchor = _fit_anchor(dataset, names, recipe, context)
    start = None if anchor is None else _common_start(dataset, names, recipe, anchor.vector, context)
    fields = list(_fit_rest(dataset, names, recipe, start, context))
    good = [field for field in fields if field.reason is None]
    left_out = {field.name: field.reason for field in fields if field.reason is not None}
    if not good:
        name, reason = next(iter(left_out.items()), ("the training split", "empty"))
        raise HdbenchError(
            f"No training shape of {dataset.name!r} could be fitted with a field (first: {name}, {reason}); "
            "check the meshes, or lower minimum_iou in the recipe."
        )
    if left_out:
        shown = ", ".join(f"{name} ({reason})" for name, reason in list(left_out.items())[:5])
        more = f" and {len(left_out) - 5} more" if len(left_out) > 5 else ""
        context.progress.say(f"{len(left_out)} of {len(fields)} shapes are left out of training: {shown}{more}")
    return FieldCollection(
        np.stack([field.vector for field in good]),
        tuple(field.placement for field in good),
        {field.name: field.iou for field in fields},
        left_out,
        anchor.name if anchor else None,
    )


def _fit_anchor(dataset: Dataset, names: Sequence[str], recipe: FittingRecipe, context: Context) -> FittedField:
    """The field all others start from: of the recipe's anchor shape, else of the first shape that can be fitted."""
    if recipe.anchor is not None and recipe.anchor not in names:
        raise HdbenchError(f"The recipe's anchor {recipe.anchor!r} is no training shape of {dataset.name!r}.")
    path = context.workspace / "anchor.safetensors"
    if path.exists():
        return load_fields(path)[0]
    # Its start is the same whatever shape it is: only the category's data decide what the weights become.
    start = recipe.layout.initial(generator(context.seed, "initial weights")).numpy()
    candidates = [recipe.anchor] if recipe.anchor is not None else names[:ANCHOR_CANDIDATES]
    reasons = []
    for name in candidates:
        unit = FitUnit(dataset, (name,), recipe, recipe.anchor_steps, start, derive_seed(context.seed, "fields"))
        ((field,),) = run_units(
            fit_unit, [unit], workers=1, progress=context.progress, description=f"fitting the anchor {name}"
        )
        if field.reason is None:
            save_fields(path, [field])
            return field
        reasons.append(f"{name}: {field.reason}")
    raise HdbenchError(
        f"No anchor could be fitted in {dataset.name!r} ({'; '.join(reasons[:3])}); check the meshes, name another "
        "anchor in the recipe, or lower its minimum_iou."
    )


def _common_start(
    dataset: Dataset, names: Sequence[str], recipe: FittingRecipe, anchor: Float32, context: Context
) -> Float32:
    """Weights from which any shape of the category is a short way off: the anchor's, moved by Reptile.

    Reptile (Nichol et al. 2018): fit a few shapes for a few steps each, go on from the mean of the results. Fits
    that start there end nearer to each other, with less in them that no denoiser could foresee.
    """
    path = context.workspace / "start.safetensors"
    if not recipe.averaging_rounds:
        return anchor
    if path.exists():
        return load_file(path)["vector"]
    seed = derive_seed(context.seed, "start")
    spread = [names[index * len(names) // recipe.averaging_shapes] for index in range(recipe.averaging_shapes)]
    labelled = list(_labelled_shapes(dataset, dict.fromkeys(spread), recipe, seed))
    start = torch.from_numpy(anchor)
    total = recipe.averaging_rounds * len(labelled)
    with fixed_threads(1), context.progress.task("finding a common start", total) as task:
        for turn in range(recipe.averaging_rounds):
            ends = []
            for points in labelled:
                rng = generator(seed, "averaging", turn)
                ends.append(fit_field(start, points, recipe, steps=recipe.averaging_steps, rng=rng))
                task.advance()
            start = torch.stack(ends).mean(0)
    with atomic_path(path) as temporary:
        save_file({"vector": start.numpy()}, temporary)
    return start.numpy()


def _labelled_shapes(
    dataset: Dataset, names: Iterable[str], recipe: FittingRecipe, seed: int
) -> Iterator[LabelledPoints]:
    """Training points of those of the named shapes that have an inside."""
    for name in names:
        mesh = _mesh(dataset, name)
        if defect(mesh) is None:
            points = training_points(dataset, name, mesh, place(mesh, recipe.placement), recipe, seed=seed)
            if points.occupied.any():
                yield points


def _fit_rest(
    dataset: Dataset, names: Sequence[str], recipe: FittingRecipe, start: Float32 | None, context: Context
) -> Iterator[FittedField]:
    groups = [tuple(names[first : first + recipe.unit]) for first in range(0, len(names), recipe.unit)]
    paths = {group: context.workspace / "fields" / f"{index:06d}.safetensors" for index, group in enumerate(groups)}
    missing = [group for group in groups if not paths[group].exists()]
    seed = derive_seed(context.seed, "fields")
    results = run_units(
        fit_unit,
        [FitUnit(dataset, group, recipe, recipe.steps, start, seed) for group in missing],
        workers=context.workers,
        progress=context.progress,
        description="fitting fields",
        weight=lambda unit: len(unit.names),
        total=len(names),
        done=len(names) - sum(map(len, missing)),
    )
    for group, fields in zip(missing, results, strict=True):
        save_fields(paths[group], fields)
    return (field for group in groups for field in load_fields(paths[group]))


def save_fields(path: Path, fields: Sequence[FittedField]) -> None:
    """Write fields into one file, whole or not at all."""
    described = [{k: v for k, v in asdict(field).items() if k != "vector"} for field in fields]
    with atomic_path(path) as temporary:
        save_file({"vectors": np.stack([f.vector for f in fields])}, temporary, {"fields": json.dumps(described)})


def load_fields(path: Path) -> list[FittedField]:
    """Read what `save_fields` wrote."""
    with safe_open(path, framework="np") as stored:
        described = json.loads(stored.metadata()["fields"])
        vectors = stored.get_tensor("vectors")
    return [
        FittedField(
            entry["name"],
            vector,
            Placement(tuple(entry["placement"]["center"]), entry["placement"]["scale"]),
            entry["iou"],
            entry["reason"],
        )
        for entry, vector in zip(described, vectors, strict=True)
    ]

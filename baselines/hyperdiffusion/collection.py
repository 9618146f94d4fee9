"""Fields of a whole training split: units of work that resume, and the fields that are good enough to learn from."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from torch import Tensor

from hdbench.datasets.base import Dataset
from hdbench.errors import HdbenchError
from hdbench.execution import run_units
from hdbench.method import Context
from hdbench.seeds import derive_seed, generator
from hdbench.shapes import Float32, Mesh, Shape, defect
from hdbench.shapes import Sequence as Clip
from hdbench.store import is_sound, sealed_path

from ..placement import Placement, place
from ..training import fixed_threads
from ..units import groups_of, made_in_units, tell_left_out
from .fitting import FittingRecipe, LabelledPoints, PlacedShape, fit, labelled_points, volume_iou

ANCHOR_CANDIDATES = 20
"""Training shapes tried as the anchor before the data are called unfit."""
NOWHERE = Placement((0.0, 0.0, 0.0), 1.0)


@dataclass(frozen=True, eq=False)
class FittedField:
    """The field of one shape, or why there is none."""

    name: str
    vector: Float32
    """(D,); NaN where there is no field."""
    placement: Placement
    """Of a sequence whose frames are centred one by one, with their mean centre."""
    frames: int
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
    frames: int
    """Frames of the shortest shape learnt from: as many as every field knows. 1 for meshes."""
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
    start: Float32 | None
    seed: int


@dataclass(frozen=True, eq=False)
class PreparedShape:
    """What is needed to fit one shape, or why it cannot be fitted."""

    name: str
    placement: Placement = NOWHERE
    frames: int = 0
    points: tuple[LabelledPoints, LabelledPoints] | None = None
    """To fit to, and held out."""
    reason: str = ""


def fit_unit(unit: FitUnit) -> list[FittedField]:
    """Fit the shapes of one unit on a CPU; nothing hangs on how shapes are grouped."""
    with fixed_threads(1):
        return [field for name in unit.names for field in _fit_prepared(unit, [_prepare(unit, name)], "cpu")]


def prepare_unit(unit: FitUnit) -> list[PreparedShape]:
    """Make and label the points of the shapes of one unit."""
    return [_prepare(unit, name) for name in unit.names]


def _prepare(unit: FitUnit, name: str) -> PreparedShape:
    recipe = unit.recipe
    shape = unit.dataset.shape(name)
    if reason := defect(shape):
        return PreparedShape(name, reason=reason)
    placed = _placed(unit.dataset, name, shape, recipe)
    points = labelled_points(placed, recipe, seed=unit.seed)
    if not all(part.occupied.any() for part in points):
        return PreparedShape(name, placed.placement, reason="encloses no volume")
    return PreparedShape(name, placed.placement, len(placed.frames), points)


def _placed(dataset: Dataset, name: str, shape: Shape, recipe: FittingRecipe) -> PlacedShape:
    meshes = tuple(f for f in (shape.frames if isinstance(shape, Clip) else (shape,)) if isinstance(f, Mesh))
    if not meshes:
        raise TypeError(f"{name} is no mesh but a {type(shape).__name__}")
    times = recipe.times(len(meshes)) if recipe.dimensions == 4 else None
    return PlacedShape(dataset, name, meshes, place(meshes, recipe.placement), times)


def _fit_prepared(unit: FitUnit, shapes: Sequence[PreparedShape], device: str) -> list[FittedField]:
    """The fields of shapes that can be fitted, and the reasons of the others."""
    recipe = unit.recipe
    nothing = np.full(recipe.layout.count, np.nan, np.float32)
    fields = {s.name: FittedField(s.name, nothing, s.placement, s.frames, 0.0, s.reason) for s in shapes}
    fittable = {shape.name: shape.points for shape in shapes if shape.points}
    for name, (vector, iou) in _fit_until_good(unit, fittable, device).items():
        reason = f"held-out IoU {iou:.3f} is below {recipe.minimum_iou}" if iou < recipe.minimum_iou else None
        if not np.isfinite(vector).all():
            reason = "the fit diverged"
        fields[name] = replace(fields[name], vector=vector, iou=iou, reason=reason)
    return list(fields.values())


def _fit_until_good(
    unit: FitUnit, points: Mapping[str, tuple[LabelledPoints, LabelledPoints]], device: str
) -> dict[str, tuple[Float32, float]]:
    """Vector and held-out IoU by name, from the points to fit to and those held out."""
    recipe = unit.recipe
    vectors = {name: _start(unit, name).to(device) for name in points}
    ious = dict.fromkeys(points, 0.0)
    for turn in range(recipe.rounds):
        names = [name for name, iou in ious.items() if turn == 0 or iou < recipe.stop_iou]
        if not names:
            break
        seed = derive_seed(unit.seed, "round", turn)
        starts = torch.stack([vectors[name] for name in names])
        fitted = fit(starts, [points[name][0] for name in names], recipe, steps=recipe.steps, seed=seed)
        for name, vector in zip(names, fitted, strict=True):
            vectors[name], ious[name] = vector, volume_iou(recipe.layout, vector, points[name][1])
    return {name: (vectors[name].cpu().numpy(), ious[name]) for name in points}


def _start(unit: FitUnit, name: str) -> Tensor:
    if unit.start is not None:
        return torch.from_numpy(unit.start)
    return unit.recipe.layout.initial(generator(unit.seed, "initial weights", name))


def fit_fields(dataset: Dataset, names: Sequence[str], recipe: FittingRecipe, context: Context) -> FieldCollection:
    """Fit a field to each shape, going on from what `context.workspace` holds, and sort out the bad ones.

    On a CPU shape by shape, in units of work for `context.workers` processes; on a GPU in batches of shapes.
    Raises HdbenchError when no shape can be fitted, or the recipe's fields are not for the dataset's kind.
    """
    _refuse_other_kinds(dataset, recipe)
    anchor = None
    if recipe.initialization == "anchor":
        anchor = _fit_anchor(dataset, names, recipe, context)
    start = None if anchor is None else _common_start(dataset, names, recipe, anchor.vector, context)
    fit_rest = _fit_in_units if context.device == "cpu" else fit_in_batches
    fields = list(fit_rest(dataset, names, recipe, start, context))
    good = [field for field in fields if field.reason is None]
    left_out = {field.name: field.reason for field in fields if field.reason is not None}
    if not good:
        name, reason = next(iter(left_out.items()), ("the training split", "empty"))
        raise HdbenchError(
            f"No training shape of {dataset.name!r} could be fitted with a field (first: {name}, {reason}); "
            "check the meshes, or lower minimum_iou in the recipe."
        )
    tell_left_out(left_out, len(fields), "HyperDiffusion", context.progress)
    return FieldCollection(
        np.stack([field.vector for field in good]),
        tuple(field.placement for field in good),
        min(field.frames for field in good),
        {field.name: field.iou for field in fields},
        left_out,
        anchor.name if anchor else None,
    )


def _refuse_other_kinds(dataset: Dataset, recipe: FittingRecipe) -> None:
    needed = 4 if dataset.kind == "sequence" else 3
    if recipe.dimensions != needed:
        raise HdbenchError(
            f"The recipe's fields have {recipe.dimensions} dimensions, and {dataset.name!r} holds shapes of kind "
            f"{dataset.kind!r}; write `dimensions = {needed}` into its table [for.{dataset.kind}.fields]."
        )


def _fit_anchor(dataset: Dataset, names: Sequence[str], recipe: FittingRecipe, context: Context) -> FittedField:
    """The field all others start from: of the recipe's anchor shape, else of the first shape that can be fitted."""
    if recipe.anchor is not None and recipe.anchor not in names:
        raise HdbenchError(f"The recipe's anchor {recipe.anchor!r} is no training shape of {dataset.name!r}.")
    path = context.workspace / "anchor.safetensors"
    if is_sound(path):
        return load_fields(path)[0]
    # Its start is the same whatever shape it is: only the category's data decide what the weights become.
    start = recipe.layout.initial(generator(context.seed, "initial weights")).numpy()
    candidates = [recipe.anchor] if recipe.anchor is not None else names[:ANCHOR_CANDIDATES]
    once = recipe.model_copy(update={"steps": recipe.anchor_steps, "rounds": 1})
    reasons = []
    for name in candidates:
        unit = FitUnit(dataset, (name,), once, start, derive_seed(context.seed, "fields"))
        with fixed_threads(1), context.progress.task(f"fitting the anchor {name}", 1) as task:
            (field,) = _fit_prepared(unit, prepare_unit(unit), context.device)
            task.advance()
        if field.reason is None:
            with sealed_path(path) as temporary:
                save_fields(temporary, [field])
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
    if is_sound(path):
        return load_file(path)["vector"]
    seed = derive_seed(context.seed, "start")
    spread = [names[index * len(names) // recipe.averaging_shapes] for index in range(recipe.averaging_shapes)]
    unit = FitUnit(dataset, tuple(dict.fromkeys(spread)), recipe, anchor, seed)
    labelled = [shape.points[0] for shape in prepare_unit(unit) if shape.points]
    start = torch.from_numpy(anchor).to(context.device)
    with fixed_threads(1), context.progress.task("finding a common start", recipe.averaging_rounds) as task:
        for turn in range(recipe.averaging_rounds):
            seed_of_turn = derive_seed(seed, "averaging", turn)
            starts = start.expand(len(labelled), -1)
            start = fit(starts, labelled, recipe, steps=recipe.averaging_steps, seed=seed_of_turn).mean(0)
            task.advance()
    with sealed_path(path) as temporary:
        save_file({"vector": start.cpu().numpy()}, temporary)
    return start.cpu().numpy()


def _fit_in_units(
    dataset: Dataset, names: Sequence[str], recipe: FittingRecipe, start: Float32 | None, context: Context
) -> Iterator[FittedField]:
    seed = derive_seed(context.seed, "fields")
    return made_in_units(
        fit_unit,
        [FitUnit(dataset, group, recipe, start, seed) for group in groups_of(names, recipe.unit)],
        context.workspace / "fields",
        save=save_fields,
        load=load_fields,
        context=context,
        description="fitting fields",
    )


def fit_in_batches(
    dataset: Dataset, names: Sequence[str], recipe: FittingRecipe, start: Float32 | None, context: Context
) -> Iterator[FittedField]:
    """The fields of `names`, `recipe.batch_shapes` in one computation on `context.device`.

    The CPUs only make and label points. What a batch became is kept in `context.workspace`.
    """
    groups = groups_of(names, recipe.batch_shapes)
    paths = {group: context.workspace / "batches" / f"{index:06d}.safetensors" for index, group in enumerate(groups)}
    missing = [group for group in groups if not is_sound(paths[group])]
    seed = derive_seed(context.seed, "fields")
    done = len(names) - sum(map(len, missing))
    with fixed_threads(1), context.progress.task("fitting fields", len(names), done=done) as task:
        for group in missing:
            unit = FitUnit(dataset, group, recipe, start, seed)
            fields = _fit_prepared(unit, _prepare_in_processes(unit, context), context.device)
            with sealed_path(paths[group]) as path:
                save_fields(path, fields)
            task.advance(len(group))
    return (field for group in groups for field in load_fields(paths[group]))


def _prepare_in_processes(unit: FitUnit, context: Context) -> list[PreparedShape]:
    parts = run_units(
        prepare_unit,
        [replace(unit, names=names) for names in groups_of(unit.names, unit.recipe.unit)],
        workers=context.workers,
        progress=context.progress,
        description="labelling points",
        weight=lambda part: len(part.names),
        engine=context.engine,
    )
    return [shape for part in parts for shape in part]


def save_fields(path: Path, fields: Sequence[FittedField]) -> None:
    """Write fields into one file."""
    described = [{k: v for k, v in asdict(field).items() if k != "vector"} for field in fields]
    save_file({"vectors": np.stack([f.vector for f in fields])}, path, {"fields": json.dumps(described)})


def load_fields(path: Path) -> list[FittedField]:
    """Read what `save_fields` wrote."""
    with safe_open(path, framework="np") as stored:
        described = json.loads(stored.metadata()["fields"])
        vectors = stored.get_tensor("vectors")
    return [
        FittedField(
            entry["name"],
            vector,
            Placement.from_json(entry["placement"]),
            entry["frames"],
            entry["iou"],
            entry["reason"],
        )
        for entry, vector in zip(described, vectors, strict=True)
    ]

"""Fields kept in a folder, so that a denoiser can be trained on them again: imported ones, and those of a fit.

fields.safetensors   the weight vectors and what is known of each (see `collection.save_fields`)
fields.json          their architecture and where they come from
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from safetensors import SafetensorError

from hdbench.datasets.base import Dataset
from hdbench.errors import HdbenchError
from hdbench.method import Context
from hdbench.store import Key, atomic_path, write_atomic

from .collection import FieldCollection, FittedField, fit_fields, load_fields, save_fields
from .fields import FieldLayout
from .fitting import FittingRecipe

FOLDERS = ("fields", "batches")
"""Where `collection` keeps fields: those fitted on a CPU, or imported, and those fitted on a GPU."""


@dataclass(frozen=True, eq=False)
class Library:
    """Fields to learn from, and what making them took."""

    fields: FieldCollection
    seconds: float | None
    """None where the fit was interrupted, or nobody knows."""


def import_fields(folder: Path, fields: Sequence[FittedField], layout: FieldLayout, *, origin: str) -> None:
    """Write fields of one architecture that others have fitted into `folder`."""
    with atomic_path(folder / "fields" / "000000.safetensors") as temporary:
        save_fields(temporary, fields)
    _describe(folder, layout, origin=origin, seconds=None)


def fitted_library(dataset: Dataset, recipe: FittingRecipe, version: int, context: Context) -> Library:
    """The fields of the training split of `dataset`, fitted where the store has none.

    Fits that differ in their denoiser alone share them. `version` is that of the method. Without a store in
    `context` they are fitted in its workspace.
    """
    names = dataset.ids("train")
    if context.store is None:
        return Library(fit_fields(dataset, names, recipe, context), seconds=0.0)
    inputs = {
        "dataset": dataset.fingerprint(),
        "names": list(names),
        "recipe": recipe.model_dump(mode="json"),
        "version": version,
        "seed": context.seed,
        "device": context.device,
    }

    def make(workspace: Path) -> None:
        resumed = any(workspace.iterdir())
        start = time.monotonic()
        fit_fields(dataset, names, recipe, replace(context, workspace=workspace))
        origin = f"{dataset.category} from {dataset.name}"
        _describe(workspace, recipe.layout, origin=origin, seconds=None if resumed else time.monotonic() - start)

    kept = context.store.get_or_make(Key("fields", version, inputs), make)
    context.progress.say(f"{'Fitted' if kept.fresh else 'Found the'} fields: {kept.folder}")
    seconds = 0.0 if kept.fresh else json.loads((kept.folder / "fields.json").read_text(encoding="utf-8"))["seconds"]
    # Everything is there, so nothing is fitted again: the fields are read, and the bad ones sorted out.
    return Library(fit_fields(dataset, names, recipe, replace(context, workspace=kept.folder)), seconds)


def _describe(folder: Path, layout: FieldLayout, *, origin: str, seconds: float | None) -> None:
    facts = {"layout": asdict(layout), "origin": origin, "seconds": seconds}
    write_atomic(folder / "fields.json", json.dumps(facts, indent=1, ensure_ascii=False) + "\n")


def load_library(folder: Path, layout: FieldLayout) -> Library:
    """The fields in `folder`, those that are good enough to learn from.

    Raises HdbenchError where there are none, or they are of another architecture than `layout`.
    """
    try:
        facts = json.loads((folder / "fields.json").read_text(encoding="utf-8"))
        stored = FieldLayout(**{**facts["layout"], "hidden": tuple(facts["layout"]["hidden"])})
        files = [path for kept in FOLDERS for path in sorted((folder / kept).glob("*.safetensors"))]
        fields = [field for path in files for field in load_fields(path)]
        anchor = folder / "anchor.safetensors"
        anchor_name = load_fields(anchor)[0].name if anchor.exists() else None
    except (OSError, ValueError, LookupError, TypeError, RecursionError, SafetensorError) as error:
        raise HdbenchError(
            f"{folder} holds no fields to learn from ({error}); import some with hdbench zoo import hyperdiffusion."
        ) from error
    if stored != layout:
        raise HdbenchError(
            f"The fields in {folder} are {_described(stored)}, the recipe's are {_described(layout)}; choose another "
            "--preset, or set the recipe's fields accordingly."
        )
    if any(field.vector.shape != (layout.count,) for field in fields):
        raise HdbenchError(
            f"The fields in {folder} are not the {_described(layout)} they are said to be; import again."
        )
    good = [field for field in fields if field.reason is None]
    if not good:
        raise HdbenchError(f"None of the {len(fields)} fields in {folder} can be used.")
    collection = FieldCollection(
        vectors=np.stack([field.vector for field in good]),
        placements=tuple(field.placement for field in good),
        frames=min(field.frames for field in good),
        ious={field.name: field.iou for field in fields},
        left_out={field.name: field.reason for field in fields if field.reason is not None},
        anchor=anchor_name,
    )
    return Library(collection, facts.get("seconds"))


def _described(layout: FieldLayout) -> str:
    widths = "-".join(map(str, (layout.dimensions, *layout.hidden, 1)))
    return f"{widths} networks with {layout.octaves} octaves"

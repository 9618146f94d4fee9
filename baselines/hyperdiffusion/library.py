"""Fields kept in a folder, so that a denoiser can be trained on them again: imported ones, and those of a fit.

fields.safetensors   the weight vectors and what is known of each (see `collection.save_fields`)
fields.json          their architecture and where they come from
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from safetensors import SafetensorError

from hdbench.errors import HdbenchError
from hdbench.store import write_atomic

from .collection import FieldCollection, FittedField, load_fields, save_fields
from .fields import FieldLayout


def save_library(folder: Path, fields: Sequence[FittedField], layout: FieldLayout, *, origin: str) -> None:
    """Write `fields` of one architecture into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    save_fields(folder / "fields.safetensors", fields)
    facts = {"layout": asdict(layout), "origin": origin, "count": len(fields)}
    write_atomic(folder / "fields.json", json.dumps(facts, indent=1, ensure_ascii=False) + "\n")


def load_library(folder: Path, layout: FieldLayout) -> FieldCollection:
    """The fields in `folder` that are good enough to learn from.

    Raises HdbenchError where there are none, or they are of another architecture than `layout`.
    """
    try:
        facts = json.loads((folder / "fields.json").read_text(encoding="utf-8"))
        stored = FieldLayout(**{**facts["layout"], "hidden": tuple(facts["layout"]["hidden"])})
        fields = load_fields(folder / "fields.safetensors")
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise HdbenchError(
            f"{folder} holds no fields to learn from ({error}); import some with hdbench zoo import hyperdiffusion."
        ) from error
    if stored != layout:
        raise HdbenchError(
            f"The fields in {folder} are {_described(stored)}, the recipe's are {_described(layout)}; choose another "
            "--preset, or set the recipe's fields accordingly."
        )
    good = [field for field in fields if field.reason is None]
    if not good:
        raise HdbenchError(f"None of the {len(fields)} fields in {folder} can be used.")
    return FieldCollection(
        vectors=np.stack([field.vector for field in good]),
        placements=tuple(field.placement for field in good),
        frames=min(field.frames for field in good),
        ious={field.name: field.iou for field in fields},
        left_out={field.name: field.reason for field in fields if field.reason is not None},
        anchor=None,
    )


def _described(layout: FieldLayout) -> str:
    widths = "-".join(map(str, (layout.dimensions, *layout.hidden, 1)))
    return f"{widths} networks with {layout.octaves} octaves"

"""From a field's weights to its surface: the last step of every sample, and a unit of work."""

from dataclasses import dataclass

import torch

from hdbench.geometry.isosurface import isosurface
from hdbench.geometry.parts import larger_parts
from hdbench.shapes import Float32, Mesh
from hdbench.shapes import Sequence as Clip

from ..placement import Placement
from ..training import fixed_threads
from .fields import FieldLayout, frozen_at, lattice_field
from .recipe import HyperDiffusionRecipe
from .sheared import sheared_isosurface


@dataclass(frozen=True, eq=False)
class ShapeUnit:
    """One unit of work: the surface of this field, or of its frames."""

    vector: Float32
    recipe: HyperDiffusionRecipe
    placement: Placement
    frames: int


def shape_unit(unit: ShapeUnit) -> Mesh | Clip:
    """The shape of one field in the dataset's coordinates."""
    fields = unit.recipe.fields
    if fields.dimensions == 3:
        return _surface(unit, fields.layout, unit.vector)
    frozen = (frozen_at(fields.layout, unit.vector, float(time)) for time in fields.times(unit.frames))
    return Clip(tuple(_surface(unit, layout, vector) for layout, vector in frozen))


def _surface(unit: ShapeUnit, layout: FieldLayout, vector: Float32) -> Mesh:
    sampling = unit.recipe.sampling
    with torch.inference_mode(), fixed_threads(1):
        if sampling.grid == "sheared":
            mesh = sheared_isosurface(layout, vector, resolution=sampling.resolution, level=sampling.level)
        else:
            mesh = isosurface(lattice_field(layout, vector), resolution=sampling.resolution, level=sampling.level)
    mesh = larger_parts(mesh, sampling.smallest_part)
    return Mesh(unit.placement.to_dataset(mesh.vertices), mesh.faces)

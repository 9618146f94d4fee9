"""Shapes as grids of voxels, and grids as shapes: units of work that resume, and surfaces by marching cubes."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import safe_open
from safetensors.numpy import save_file

from hdbench.datasets.base import Dataset
from hdbench.errors import HdbenchError
from hdbench.geometry.parts import larger_parts
from hdbench.geometry.sampling import sample_surface
from hdbench.interrupts import interrupts_deferred
from hdbench.method import Context
from hdbench.seeds import derive_seed
from hdbench.shapes import Bool, Float32, Mesh, Shape, defect
from hdbench.shapes import Sequence as Frames

from ..placement import LARGEST_COORDINATE, Placement, place
from ..units import groups_of, made_in_units, tell_left_out
from .recipe import GridRecipe, SamplingRecipe

SURFACE_DENSITY = 70
"""Points on the surface, per square of the resolution, by which the voxels it passes through are found."""


@dataclass(frozen=True, eq=False)
class Voxelized:
    """The grids of one shape, or why there are none."""

    name: str
    values: Float32
    """(T, R, R, R), from -1 (empty) to 1 (full); T is 1 for a mesh, and 0 where there are no grids."""
    placement: Placement
    """From the dataset's coordinates to the cube of the grids; of a sequence the first frame's."""
    reason: str | None
    """Why it is left out, or None."""


@dataclass(frozen=True, eq=False)
class GridCollection:
    """Grids to learn from."""

    values: Float32
    """(N, T, R, R, R)."""
    placements: tuple[Placement, ...]
    left_out: dict[str, str]
    """Reason by name."""

    @property
    def placement(self) -> Placement:
        """Where a new shape goes: the mean centre and the median scale of these."""
        x, y, z = np.mean([placement.center for placement in self.placements], axis=0).tolist()
        return Placement((x, y, z), float(np.median([placement.scale for placement in self.placements])))


def pitch(resolution: int) -> float:
    """Distance between voxel centres in the cube from -0.5 to 0.5, where the outermost lie at +-0.475."""
    return 2 * LARGEST_COORDINATE / (resolution - 1)


def surface_grid(mesh: Mesh, resolution: int) -> tuple[Bool, npt.NDArray[np.float64]]:
    """The voxels (R, R, R) that the surface of a placed mesh passes through or encloses, as the original has them.

    The voxels in use are moved to the middle of the grid; the second result, (3,), is where its middle then lies. A
    shape of more voxels than the grid has (which the original fails at) loses its outermost layers.
    """
    with interrupts_deferred():
        import trimesh
    step = pitch(resolution)
    solid = trimesh.Trimesh(mesh.vertices.astype(np.float64), mesh.faces, process=False)
    cells = trimesh.voxel.creation.voxelize(solid, step).fill()
    found = np.asarray(cells.matrix)
    before = np.floor_divide(resolution - np.array(found.shape), 2)  # empty layers in front; below 0, layers cut off
    grid = np.zeros((resolution,) * 3, bool)
    sides = [_overlap(first, count, resolution) for first, count in zip(before.tolist(), found.shape, strict=True)]
    grid[tuple(inner for inner, _ in sides)] = found[tuple(kept for _, kept in sides)]
    return grid, np.asarray(cells.translation) + ((resolution - 1) / 2 - before) * step


def _overlap(first: int, count: int, size: int) -> tuple[slice, slice]:
    """Where `count` layers that begin at layer `first` lie in a grid of `size`, and which of them do."""
    start, stop = max(first, 0), min(first + count, size)
    return slice(start, stop), slice(start - first, stop - first)


def share_grid(
    dataset: Dataset, name: str, frame: int, mesh: Mesh, placement: Placement, recipe: GridRecipe, *, seed: int
) -> Float32:
    """The share of each voxel (R, R, R) that lies inside, from 0 to 1.

    Voxels that the surface passes through are asked at `subdivisions`^3 places, the others at their centre.
    """
    size = recipe.resolution
    centers = _cube(size, pitch(size))  # (R, R, R, 3)
    surface = sample_surface(mesh, SURFACE_DENSITY * size**2, seed=derive_seed(seed, "voxel surface", name, frame))
    crossed = _holding(placement.to_cube(surface), size)
    corners = placement.to_cube(np.stack([mesh.vertices.min(0), mesh.vertices.max(0)]))
    whole = ~crossed & ((centers >= corners[0]) & (centers <= corners[1])).all(-1)
    offsets = _cube(recipe.subdivisions, pitch(size) / recipe.subdivisions).reshape(-1, 3)
    within = (centers[crossed][:, None] + offsets).reshape(-1, 3)
    asked = placement.to_dataset(np.concatenate([centers[whole], within]).astype(np.float32))
    inside = dataset.occupancy(name, asked, frame=frame)
    shares = np.zeros((size,) * 3, np.float32)
    shares[whole] = inside[: len(inside) - len(within)]
    shares[crossed] = inside[len(inside) - len(within) :].reshape(-1, len(offsets)).mean(1)
    return shares


def _cube(size: int, step: float) -> npt.NDArray[np.float64]:
    """Places (size, size, size, 3) at distances of `step` around the origin."""
    axis = (np.arange(size) - (size - 1) / 2) * step
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1)


def _holding(points: Float32, size: int) -> Bool:
    """Which voxels (size, size, size) hold any of the points (P, 3) of the cube."""
    cells = np.rint(points / pitch(size) + (size - 1) / 2).astype(np.int64).clip(0, size - 1)
    grid = np.zeros((size,) * 3, bool)
    grid[tuple(cells.T)] = True
    return grid


def voxelize(dataset: Dataset, name: str, recipe: GridRecipe, *, seed: int) -> Voxelized:
    """The grids of the shape called `name`, one per frame."""
    shape = dataset.shape(name)
    frames = shape.frames if isinstance(shape, Frames) else (shape,)
    meshes = [frame for frame in frames if isinstance(frame, Mesh)]
    reason = defect(shape) if len(meshes) == len(frames) else "a cloud of points encloses nothing"
    if reason is not None:
        return _left_out(name, reason)
    placements = list(place(meshes, recipe.placement))
    grids = []
    for frame, mesh in enumerate(meshes):
        if recipe.content == "share":
            shares = share_grid(dataset, name, frame, mesh, placements[frame], recipe, seed=seed)
            grids.append(2 * shares**recipe.exponent - 1)
        else:
            placed = Mesh(placements[frame].to_cube(mesh.vertices), mesh.faces)
            cells, middle = surface_grid(placed, recipe.resolution)
            grids.append(np.where(cells, np.float32(1), np.float32(-1)))
            placements[frame] = _moved(placements[frame], middle)
    values = np.stack(grids).astype(np.float32)
    if not (values > -1).reshape(len(values), -1).any(1).all():
        return _left_out(name, "encloses no volume")
    return Voxelized(name, values, placements[0], None)


def _left_out(name: str, reason: str) -> Voxelized:
    return Voxelized(name, np.zeros((0, 0, 0, 0), np.float32), Placement((0.0, 0.0, 0.0), 1.0), reason)


def _moved(placement: Placement, middle: npt.NDArray[np.float64]) -> Placement:
    """`placement` for a cube whose middle is this place (3,) of its old one."""
    x, y, z = (np.array(placement.center) + middle / placement.scale).tolist()
    return Placement((x, y, z), placement.scale)


@dataclass(frozen=True)
class VoxelUnit:
    """One unit of work: voxelise these shapes."""

    dataset: Dataset
    names: tuple[str, ...]
    recipe: GridRecipe
    seed: int


def voxel_unit(unit: VoxelUnit) -> list[Voxelized]:
    """The grids of one unit's shapes."""
    return [voxelize(unit.dataset, name, unit.recipe, seed=unit.seed) for name in unit.names]


def voxelize_all(dataset: Dataset, names: Sequence[str], recipe: GridRecipe, context: Context) -> GridCollection:
    """The grids of all shapes that have any, going on from what `context.workspace` holds.

    Raises HdbenchError when there are none, or when sequences differ in their number of frames.
    """
    shapes = list(_voxelized(dataset, names, recipe, context))
    good = [shape for shape in shapes if shape.reason is None]
    left_out = {shape.name: shape.reason for shape in shapes if shape.reason is not None}
    if not good:
        name, reason = next(iter(left_out.items()), ("the training split", "empty"))
        raise HdbenchError(
            f"No training shape of {dataset.name!r} can be voxelised (first: {name}, {reason}); check the meshes."
        )
    tell_left_out(left_out, len(shapes), "voxel diffusion", context.progress)
    frames = len(good[0].values)
    other = next((shape for shape in good if len(shape.values) != frames), None)
    if other is not None:
        raise HdbenchError(
            f"{other.name} has {len(other.values)} frames where {good[0].name} has {frames}; "
            "give all sequences the same number of frames."
        )
    return GridCollection(np.stack([shape.values for shape in good]), tuple(s.placement for s in good), left_out)


def _voxelized(dataset: Dataset, names: Sequence[str], recipe: GridRecipe, context: Context) -> Iterator[Voxelized]:
    seed = derive_seed(context.seed, "voxels")
    return made_in_units(
        voxel_unit,
        [VoxelUnit(dataset, group, recipe, seed) for group in groups_of(names, recipe.unit)],
        context.workspace / "voxels",
        save=_save,
        load=_load,
        context=context,
        description="voxelising shapes",
    )


def _save(path: Path, shapes: Sequence[Voxelized]) -> None:
    described = [{k: v for k, v in asdict(shape).items() if k != "values"} for shape in shapes]
    grids = {str(index): shape.values for index, shape in enumerate(shapes)}
    save_file(grids, path, {"shapes": json.dumps(described)})


def _load(path: Path) -> list[Voxelized]:
    with safe_open(path, framework="np") as stored:
        described = json.loads(stored.metadata()["shapes"])
        values = [stored.get_tensor(str(index)) for index in range(len(described))]
    return [
        Voxelized(entry["name"], grids, Placement.from_json(entry["placement"]), entry["reason"])
        for entry, grids in zip(described, values, strict=True)
    ]


def grid_surface(values: Float32, *, level: float, binary: bool) -> Mesh:
    """The closed surface around the voxels of a grid (R, R, R) above `level`, in the cube from -0.5 to 0.5.

    Marching cubes (Lewiner et al. 2003) between voxel centres, with empty voxels all around. `binary` puts it half-way
    between inside and outside whatever the values are, as the original does. An empty grid gives an empty mesh.
    """
    from skimage.measure import marching_cubes

    inside = values > level
    if not inside.any():
        return Mesh(np.empty((0, 3), np.float32), np.empty((0, 3), np.int32))
    heights = np.where(inside, np.float32(1), np.float32(-1)) if binary else (values - level).astype(np.float32)
    padded = np.pad(heights, 1, constant_values=-1 if binary else min(-1.0 - level, float(heights.min())))
    vertices, faces, _, _ = marching_cubes(padded, 0.0)
    placed = (vertices.astype(np.float64) - 1) * pitch(len(values)) - LARGEST_COORDINATE
    return Mesh(placed.astype(np.float32), faces[:, ::-1])  # scikit-image's fronts face the higher values


def shape_of(values: Float32, placement: Placement, sampling: SamplingRecipe, *, sequence: bool) -> Shape:
    """The shape in grids (T, R, R, R), in the dataset's coordinates: a mesh, or a sequence of T meshes."""
    surfaces = (
        larger_parts(grid_surface(grid, level=sampling.level, binary=sampling.binary), sampling.smallest_part)
        for grid in values
    )
    meshes = tuple(Mesh(placement.to_dataset(mesh.vertices), mesh.faces) for mesh in surfaces)
    return Frames(meshes) if sequence else meshes[0]

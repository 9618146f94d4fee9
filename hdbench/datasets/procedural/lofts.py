"""Closed solids by lofting, and their union.

The one primitive is the loft: polygons of equal corner count, placed one behind the other, skinned and capped.
Everything the shapes consist of (fuselages, wings, car bodies, wheels, legs, cushions) is a loft; the functions
here only differ in how they place the sections. Lofts are united to one watertight mesh by manifold3d.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hdbench.interrupts import interrupts_deferred
from hdbench.shapes import Mesh

Array = npt.NDArray[np.float64]
Vector = Sequence[float] | Array

X, Y, Z = np.eye(3)


@dataclass(frozen=True, eq=False)
class Solid:
    """A closed surface with outward fronts: vertices (V, 3) float64, faces (F, 3) int32."""

    vertices: Array
    faces: npt.NDArray[np.int32]


def loft(sections: Array) -> Solid:
    """Skin `sections` (S, K, 3) in their order and close both ends.

    Each section is a polygon seen whole from its centroid (convex ones are); all turn the same way. Fronts point
    outward whichever way that is.
    """
    count, corners, _ = sections.shape
    near, far = count * corners, count * corners + 1
    vertices = np.concatenate([sections.reshape(-1, 3), sections[[0, -1]].mean(axis=1)])
    here = np.arange(corners)
    after = (here + 1) % corners
    rows = corners * np.arange(count - 1)[:, None]
    a, b, c, d = rows + here, rows + after, rows + corners + after, rows + corners + here
    last = corners * (count - 1)
    faces = np.concatenate(
        [
            np.stack([a, b, c], axis=-1).reshape(-1, 3),
            np.stack([a, c, d], axis=-1).reshape(-1, 3),
            np.stack([np.full(corners, near), after, here], axis=-1),
            np.stack([np.full(corners, far), last + here, last + after], axis=-1),
        ]
    ).astype(np.int32)
    return Solid(vertices, faces if _volume(vertices, faces) > 0 else faces[:, ::-1])


def _volume(vertices: Array, faces: npt.NDArray[np.int32]) -> float:
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)


def superellipse(exponent: float = 2.0, corners: int = 16) -> Array:
    """The polygon |x|^exponent + |y|^exponent = 1, (corners, 2): a circle at 2, nearly a square at 8.

    Its corners stand closest where it bends most.
    """
    angle = 2 * np.pi * (np.arange(corners) + 0.5) / corners
    cos, sin = np.cos(angle), np.sin(angle)
    power = 2 / exponent
    return np.stack([np.sign(cos) * np.abs(cos) ** power, np.sign(sin) * np.abs(sin) ** power], axis=1)


def rounded_rectangle(half_width: float, half_length: float, radius: float, steps: int = 5) -> Array:
    """A rectangle around 0 with its corners rounded off by arcs of `radius`, (4 steps, 2)."""
    radius = min(radius, half_width, half_length)
    angle = np.linspace(0, np.pi / 2, steps)
    centres = np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)]) * [half_width - radius, half_length - radius]
    arcs = [
        centre + radius * np.stack([np.cos(angle + turn), np.sin(angle + turn)], axis=1)
        for centre, turn in zip(centres, np.pi / 2 * np.arange(4), strict=True)
    ]
    return np.concatenate(arcs)


def aerofoil(points: int = 9) -> Array:
    """A symmetric wing section, (2 points - 2, 2): chord from 0 to 1, half thickness up to 1, blunt at the back."""
    chord = (1 - np.cos(np.pi * np.linspace(0, 1, points))) / 2
    half = 2.6 * np.sqrt(chord) * (1 - chord) + 0.3 * chord  # fullest at a third of the chord
    half = half / half.max()
    half[0] = 0.0
    upper = np.stack([chord, half], axis=1)
    return np.concatenate([upper[::-1], np.stack([chord, -half], axis=1)[1:]])


def smooth(stations: Array, count: int) -> Array:
    """`count` rows along the monotone cubic through `stations` (S, D), whose first column increases."""
    from scipy.interpolate import PchipInterpolator

    at = np.linspace(stations[0, 0], stations[-1, 0], count)
    return np.column_stack([at, PchipInterpolator(stations[:, 0], stations[:, 1:])(at)])


def fillet(corners: Sequence[Vector], radius: float, steps: int = 5) -> Array:
    """The polyline through `corners` (S, 3) with its inner corners rounded off over `radius` on either side."""
    path = np.asarray(corners, np.float64)
    t = np.linspace(0, 1, steps)[:, None]
    rows = [path[:1]]
    for before, corner, after in zip(path[:-2], path[1:-1], path[2:], strict=True):
        start, end = (
            corner + (other - corner) * min(0.49, radius / np.linalg.norm(other - corner)) for other in (before, after)
        )
        rows.append((1 - t) ** 2 * start + 2 * t * (1 - t) * corner + t**2 * end)
    return np.concatenate([*rows, path[-1:]])


def along(axis: Vector, stations: Array, *, exponent: float | Array = 2.0, corners: int = 16) -> Solid:
    """A body along a coordinate axis: `stations` (S, 5) hold position, the two centre and two half sizes across.

    Across the z axis stand (x, y), across the y axis (x, z), across the x axis (z, y).
    """
    exponents = np.broadcast_to(exponent, len(stations))
    outlines = np.stack([superellipse(float(e), corners) for e in exponents])  # (S, K, 2)
    across = stations[:, None, 1:3] + stations[:, None, 3:5] * outlines
    place = np.broadcast_to(stations[:, :1], across.shape[:2])
    order = {0: (2, 1), 1: (0, 2), 2: (0, 1)}
    main = int(np.argmax(np.abs(axis)))
    sections = np.empty((*place.shape, 3))
    sections[..., main] = place
    sections[..., order[main]] = across
    return loft(sections)


def block(low: Vector, high: Vector, *, radius: float = 0.01, bevel: float = 0.0) -> Solid:
    """A box from corner `low` to corner `high`: upright edges rounded by `radius`, rims bevelled by `bevel`."""
    bottom, top = np.asarray(low, np.float64), np.asarray(high, np.float64)
    x, y, z = (top - bottom) / 2
    levels = [(0.0, bevel), (0.3 * bevel, 0.3 * bevel), (bevel, 0.0)] if bevel else [(0.0, 0.0)]
    rims = levels + [(2 * y - height, inset) for height, inset in reversed(levels)]
    middle = (bottom + top) / 2
    return tower([(bottom[1] + height, middle[0], middle[2], x - d, z - d) for height, d in rims], radius=radius)


def tower(stations: Sequence[Vector] | Array, *, radius: float) -> Solid:
    """Rounded rectangles one above the other: rows of height, centre x and z, half sizes along x and z."""
    rows = np.asarray(stations, np.float64)
    outlines = np.stack([rounded_rectangle(half_x, half_z, radius) for *_, half_x, half_z in rows])  # (S, K, 2)
    heights = np.broadcast_to(rows[:, :1], outlines.shape[:2])
    return loft(np.stack([rows[:, 1:2] + outlines[..., 0], heights, rows[:, 2:3] + outlines[..., 1]], axis=-1))


def turned(profile: Sequence[Vector] | Array, centre: Vector, axis: Vector, *, corners: int = 20) -> Solid:
    """A solid of revolution about `axis` (x, y or z) through `centre`: `profile` rows are (offset, radius).

    A profile may run back on itself, which makes the mouth of an engine or the dish of a wheel.
    """
    rows = np.asarray(profile, np.float64)
    main = int(np.argmax(np.abs(axis)))
    middle = np.asarray(centre, np.float64)
    first, second = {0: (2, 1), 1: (0, 2), 2: (0, 1)}[main]
    ones = np.ones(len(rows))
    stations = [middle[main] + rows[:, 0], middle[first] * ones, middle[second] * ones, rows[:, 1], rows[:, 1]]
    return along(axis, np.column_stack(stations), corners=corners)


def spindle(length: float, radius: float, steps: int = 9) -> Array:
    """The profile of a streamlined body of revolution about its middle: (offset, radius) rows for `turned`."""
    share = np.linspace(0, 1, steps)
    return np.column_stack([(share - 0.5) * length, radius * np.maximum(0.12, np.abs(np.sin(np.pi * share)) ** 0.6)])


def sweep(path: Array, half: Array, side: Vector, *, exponent: float = 2.0, corners: int = 10) -> Solid:
    """Sections along `path` (S, 3), a curve in the plane across `side`, set square to it.

    `half` (2,) or (S, 2): half the size along `side`, and across both `side` and the path.
    """
    across = np.asarray(side, np.float64) / np.linalg.norm(side)
    tangent = np.gradient(path, axis=0)
    third = np.cross(across, tangent)
    third /= np.linalg.norm(third, axis=1, keepdims=True)
    sizes = np.broadcast_to(half, (len(path), 2))
    outline = superellipse(exponent, corners)
    first = sizes[:, None, :1] * outline[None, :, :1] * across
    second = sizes[:, None, 1:] * outline[None, :, 1:] * third[:, None, :]
    return loft(path[:, None, :] + first + second)


def beam(start: Vector, end: Vector, half: Vector, *, taper: float = 1.0, **outline: Any) -> Solid:
    """A straight bar with half sizes `half` at `start` and `taper` times that at `end`.

    The first half size lies along x where the bar does not, else along z.
    """
    path = np.array([start, end], np.float64)
    direction = path[1] - path[0]
    side = Z if abs(direction[0]) > 0.8 * np.linalg.norm(direction) else X
    side = side - direction * (side @ direction) / (direction @ direction)
    return sweep(path, np.array([half, np.multiply(half, taper)], np.float64), side, **outline)


def wing(leading: Array, chords: Array, thicknesses: Array, normals: Array) -> Solid:
    """Wing sections with leading edges at `leading` (S, 3), chords along +z and thickness along `normals` (S, 3)."""
    outline = aerofoil()
    chord = chords[:, None, None] * outline[None, :, :1] * Z
    half = thicknesses[:, None, None] / 2 * outline[None, :, 1:] * normals[:, None, :]
    return loft(leading[:, None, :] + chord + half)


def mirrored(solids: Iterable[Solid]) -> list[Solid]:
    """`solids` and their mirror images across x = 0."""
    originals = list(solids)
    return originals + [Solid(solid.vertices * [-1, 1, 1], solid.faces[:, ::-1]) for solid in originals]


def merged(solids: Iterable[Solid], *, without: Iterable[Solid] = ()) -> Solid:
    """The union of `solids`, less the union of `without`."""
    result = _manifold(solids)
    cutters = list(without)
    if cutters:
        result = result - _manifold(cutters)
    return _solid(result)


def _solid(manifold: Any) -> Solid:
    mesh = manifold.to_mesh64()
    return Solid(np.array(mesh.vert_properties[:, :3], order="C"), np.array(mesh.tri_verts, np.int32, order="C"))


def _manifold(solids: Iterable[Solid]) -> Any:
    with interrupts_deferred():
        from manifold3d import Manifold, Mesh64, OpType

    parts = [
        Manifold(Mesh64(np.ascontiguousarray(solid.vertices), np.ascontiguousarray(solid.faces, np.uint64)))
        for solid in solids
    ]
    broken = next((index for index, part in enumerate(parts) if part.is_empty()), None)
    if broken is not None:
        raise ValueError(f"part {broken} is not a solid: {parts[broken].status()}")
    return Manifold.batch_boolean(parts, OpType.Add)


def united(solids: Iterable[Solid]) -> Mesh:
    """The union of `solids` as a mesh with its bounding box's centre at 0 and its longest side 1.

    Splinters and closed hollows of less than a thousandth of its volume are left out.
    """
    with interrupts_deferred():
        from manifold3d import Manifold

    whole = _manifold(solids)
    union = _solid(Manifold.compose([part for part in whole.decompose() if part.volume() > 1e-3 * whole.volume()]))
    low, high = union.vertices.min(axis=0), union.vertices.max(axis=0)
    return Mesh(((union.vertices - (low + high) / 2) / (high - low).max()).astype(np.float32), union.faces)

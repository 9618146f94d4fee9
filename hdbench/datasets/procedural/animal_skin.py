"""Skin on bones: lofts with weights, and their union.

Each loft brings its weights along as properties of its vertices, which the union interpolates where it cuts; the
seams between lofts are then evened out along the surface, so that skin stretches there and does not tear.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hdbench.datasets.procedural.animal_skeleton import BONES
from hdbench.datasets.procedural.lofts import Array, Solid
from hdbench.interrupts import interrupts_deferred

EVENINGS = 4
"""Rounds in which a vertex takes on half of what its neighbours hang on."""


@dataclass(frozen=True, eq=False)
class Part:
    """A solid with the weights of its vertices, (V, bones)."""

    solid: Solid
    weights: Array


@dataclass(frozen=True, eq=False)
class Skin:
    """A closed surface at rest with its weights: vertices (V, 3), faces (F, 3), weights (V, bones)."""

    vertices: Array
    faces: npt.NDArray[np.int32]
    weights: Array


def rigid(solid: Solid, bone: str) -> Part:
    """A part that moves with one bone alone."""
    return Part(solid, np.tile(np.eye(len(BONES))[BONES.index(bone)], (len(solid.vertices), 1)))


def flexible(solid: Solid, ring_weights: Array) -> Part:
    """A loft whose sections have `ring_weights` (S, bones)."""
    corners = (len(solid.vertices) - 2) // len(ring_weights)
    ends = ring_weights[[0, -1]]
    return Part(solid, np.concatenate([np.repeat(ring_weights, corners, axis=0), ends]))


def chain(at: Array, bones: Sequence[str], joints: Sequence[tuple[float, float]]) -> Array:
    """Weights (S, bones) at places `at` along bones that follow each other.

    Each joint is the place where the next bone begins, and over which length on either side the two blend.
    """
    unit_weights = np.eye(len(BONES))
    weights = np.tile(unit_weights[BONES.index(bones[0])], (len(at), 1))
    for bone, (place, reach) in zip(bones[1:], joints, strict=True):
        share = np.clip((at - place + reach) / (2 * reach), 0, 1)[:, None]
        share = share**2 * (3 - 2 * share)
        weights = (1 - share) * weights + share * unit_weights[BONES.index(bone)]
    return weights


def lengths_along(path: Array) -> Array:
    """How far each point (S, 3) of a path lies from its start, (S,)."""
    return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])


def curved(corners: Array, count: int) -> Array:
    """`count` points, evenly along a smooth curve through `corners` (S, 3)."""
    from scipy.interpolate import CubicSpline

    at = lengths_along(corners)
    curve: Array = CubicSpline(at, corners)(np.linspace(0, at[-1], count))
    return curve


def united(parts: Sequence[Part]) -> Skin:
    """The union of `parts`, without splinters and closed hollows of less than a thousandth of its volume."""
    with interrupts_deferred():
        from manifold3d import Manifold, Mesh64, OpType

    solids = [
        Manifold(
            Mesh64(np.hstack([part.solid.vertices, part.weights]), np.ascontiguousarray(part.solid.faces, np.uint64))
        )
        for part in parts
    ]
    broken = next((index for index, solid in enumerate(solids) if solid.is_empty()), None)
    if broken is not None:
        raise ValueError(f"part {broken} is not a solid: {solids[broken].status()}")
    whole = Manifold.batch_boolean(solids, OpType.Add)
    mesh = Manifold.compose(
        [piece for piece in whole.decompose() if piece.volume() > 1e-3 * whole.volume()]
    ).to_mesh64()
    # Along seams a vertex comes once per part; they are joined, and their weights averaged.
    same = np.arange(len(mesh.vert_properties))
    same[np.asarray(mesh.merge_from_vert, int)] = np.asarray(mesh.merge_to_vert, int)
    kept, joined, count = np.unique(same, return_inverse=True, return_counts=True)
    weights = np.zeros((len(kept), len(BONES)))
    np.add.at(weights, joined, mesh.vert_properties[:, 3:])
    faces = joined[np.asarray(mesh.tri_verts, int)].astype(np.int32)
    return Skin(mesh.vert_properties[kept, :3].copy(), faces, evened(faces, weights / count[:, None]))


def evened(faces: npt.NDArray[np.int32], weights: Array) -> Array:
    """`weights` (V, bones), smoothed along the edges of `faces`."""
    from scipy.sparse import csr_matrix

    start, end = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    share = 1 / np.bincount(start, minlength=len(weights))[start]
    neighbours = csr_matrix((share, (start, end)), shape=(len(weights), len(weights)))
    for _ in range(EVENINGS):
        weights = (weights + neighbours @ weights) / 2
    return weights / weights.sum(axis=1, keepdims=True)

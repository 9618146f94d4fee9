"""Heads of animals: skull and muzzle, ears, antlers, tusks and trunk."""

import numpy as np

from hdbench.datasets.procedural.animal_parameters import Animal
from hdbench.datasets.procedural.animal_skeleton import TRUNK, Skeleton
from hdbench.datasets.procedural.animal_skin import Part, chain, curved, flexible, lengths_along, rigid
from hdbench.datasets.procedural.lofts import Array, Solid, X, Y, Z, mirrored, smooth, sweep


def head(animal: Animal, skeleton: Skeleton) -> list[Part]:
    """Everything that hangs on the head bone."""
    place = _Face(animal, skeleton)
    parts = [_skull(animal, place), *_ears(animal, place), *_horns(animal, place)]
    solids = [rigid(solid, "head") for solid in parts]
    return [*solids, _trunk(animal, skeleton)] if animal.trunk_length else solids


class _Face:
    """Where things are on a head: `at(onwards, up, aside)` in head lengths, depths and half widths."""

    def __init__(self, animal: Animal, skeleton: Skeleton) -> None:
        angle = np.radians(animal.head_angle)
        self.origin = skeleton.neck[2]
        self.onwards = np.array([0.0, -np.sin(angle), -np.cos(angle)])
        self.up = np.array([0.0, np.cos(angle), -np.sin(angle)])
        self.length, self.depth = animal.head_length, animal.head_depth
        self.half_width = animal.head_width * animal.head_depth / 2

    def at(self, onwards: float, up: float, aside: float = 0.0) -> Array:
        """The place so far from the poll towards the muzzle, above the middle and to the right."""
        along = onwards * self.length * self.onwards + up * self.depth * self.up
        place: Array = self.origin + along + aside * self.half_width * X
        return place


def _skull(animal: Animal, face: _Face) -> Solid:
    brow, muzzle = animal.brow, animal.muzzle_depth
    rows = [
        (0.0, 0.3, 0.3),
        (0.05, 0.68, 0.7),
        (0.16, 0.95, 0.96),
        (0.28, 1.0, 1.0),
        (brow, 0.9, 0.9),
        (0.6 * brow + 0.4, 0.35 + 0.65 * muzzle, 0.2 + 0.7 * muzzle),
        (0.93, muzzle, 0.85 * muzzle),
        (0.98, 0.8 * muzzle, 0.7 * muzzle),
        (1.0, 0.45 * muzzle, 0.4 * muzzle),
    ]
    stations = np.array(rows)
    at, depth, width = smooth(stations, 16).T
    at[[1, -2]] = 0.03, 0.985
    depth, width = (np.interp(at, *smooth(stations[:, [0, column]], 100).T) for column in (1, 2))
    # The forehead falls to the muzzle, the jaw is nearly straight.
    path = np.stack(
        [face.at(-0.22 + 1.22 * place, 0.06 - 0.24 * (1 - high)) for place, high in zip(at, depth, strict=True)]
    )
    half = np.column_stack([face.half_width * width, face.depth / 2 * depth])
    return sweep(path, half, X, exponent=2.2, corners=14)


def _ears(animal: Animal, face: _Face) -> list[Solid]:
    long = animal.ear_length
    shapes = {
        "upright": ([(0, 0, 0), (0.1, 0.5, 0.02), (0.22, 1.0, 0.1)], 0.3, 0.12, X),
        "round": ([(0, 0, 0), (0.1, 0.4, 0.0), (0.2, 0.9, 0.0)], 0.5, 0.24, X),
        "long": ([(0, 0, 0), (0.05, 0.5, 0.16), (0.14, 0.95, 0.42)], 0.15, 0.07, X),
        "floppy": ([(-0.15, -0.1, 0), (0.3, 0.02, -0.02), (0.5, -0.4, -0.04), (0.5, -0.95, -0.06)], 0.26, 0.13, Z),
        "flaps": ([(-0.2, 0, -0.1), (0.22, 0.02, 0.2), (0.52, -0.06, 0.56), (0.66, -0.16, 0.86)], 0.62, 0.045, Y),
    }
    if animal.ears == "none":
        return []
    offsets, width, thickness, side = shapes[animal.ears]
    root = face.at(*{"flaps": (0.2, -0.02, 0.82), "round": (0.0, 0.3, 0.5)}.get(animal.ears, (-0.04, 0.36, 0.55)))
    path = curved(root + long * np.array(offsets), 8)
    leaf = np.array([0.7, 0.92, 1.0, 0.98, 0.88, 0.7, 0.45, 0.14])
    if animal.ears in ("round", "flaps", "floppy"):
        leaf = np.array([0.72, 0.88, 0.98, 1.0, 0.98, 0.9, 0.72, 0.35])
    half = np.column_stack([width * long * leaf, np.maximum(0.022, thickness * long) * (0.35 + 0.65 * leaf)])
    return mirrored([sweep(path, half, side, corners=10)])


def _horns(animal: Animal, face: _Face) -> list[Solid]:
    long = animal.horn_length
    crown = face.at(0.06, 0.36, 0.42)
    if animal.horns == "knobs":
        path = crown + long * np.outer(np.linspace(-0.2, 1, 7), [0.1, 0.95, 0.25])
        half = np.array([0.03, 0.03, 0.028, 0.027, 0.036, 0.036, 0.015])
        return mirrored([sweep(path, np.column_stack([half, half]), X, corners=8)])
    if animal.horns == "tusks":
        root = face.at(0.72, -0.18, 0.4)
        offsets = np.array([(0, 0.1, 0.1), (0.03, -0.25, -0.3), (0.06, -0.42, -0.72), (0.05, -0.36, -1.05)])
        return mirrored([_tapered(curved(root + long * offsets, 9), 0.046, 0.018)])
    if animal.horns == "antlers":
        beam = curved(
            crown + long * np.array([(0, -0.1, 0), (0.22, 0.3, 0.16), (0.46, 0.68, 0.2), (0.5, 1.0, 0.02)]), 10
        )
        tines = [
            _tapered(
                curved(beam[root] + long * np.array([(0, 0, 0), (0.02, 0.12, -0.16), (0.04, 0.34, -0.24)]), 5),
                0.026,
                0.015,
            )
            for root in (2, 5, 7)
        ]
        return mirrored([_tapered(beam, 0.034, 0.017), *tines])
    return []


def _tapered(path: Array, root: float, tip: float) -> Solid:
    half = np.linspace(root, tip, len(path))
    half[-1] *= 0.6
    return sweep(path, np.column_stack([half, half]), X, corners=8)


def _trunk(animal: Animal, skeleton: Skeleton) -> Part:
    inside = skeleton.trunk[0] + np.array([0.0, 0.16, 0.05])
    path = curved(np.concatenate([[inside], skeleton.trunk]), 14)
    at = lengths_along(path)
    root, step = 0.17, animal.trunk_length / 3
    share = at / at[-1]
    half = 0.3 * animal.muzzle_depth * animal.head_depth * (1.2 - 0.62 * share)
    joints = [(root + (index + 0.1) * step, 0.4 * step) for index in range(len(TRUNK))]
    return flexible(sweep(path, np.column_stack([half, half]), X, corners=12), chain(at, ("head", *TRUNK), joints))

"""The body of an animal at rest: trunk, neck, tail, legs and feet, each a loft along its bones."""

import numpy as np

from hdbench.datasets.procedural.animal_head import head
from hdbench.datasets.procedural.animal_parameters import Animal
from hdbench.datasets.procedural.animal_skeleton import SEGMENTS, TAIL, Leg, Skeleton, unit
from hdbench.datasets.procedural.animal_skin import (
    Part,
    Skin,
    chain,
    curved,
    flexible,
    lengths_along,
    rigid,
    united,
)
from hdbench.datasets.procedural.lofts import X, Z, along, fillet, smooth, sweep, tower


def body(animal: Animal, skeleton: Skeleton) -> Skin:
    """The skin of `animal` as it stands."""
    parts = [_torso(animal), *_neck(animal, skeleton), _tail(animal, skeleton), *head(animal, skeleton)]
    if animal.wings:
        parts += [_wing(animal, side) for side in (-1.0, 1.0)]
    for leg in skeleton.legs:
        parts += [_leg(animal, leg), _foot(animal, leg)]
    return united(parts)


def _torso(animal: Animal) -> Part:
    hips, shoulders = np.array([0, animal.hind, 0.5]), np.array([0, animal.fore, -0.5])
    length = np.linalg.norm(shoulders - hips)
    onwards = (shoulders - hips) / length
    behind, before = 0.4 * animal.rump_depth / length, 0.42 * animal.chest_depth / length
    rump, chest = animal.rump_depth, animal.chest_depth
    profile = [
        (-behind, 0.3 * rump),
        (-0.75 * behind, 0.72 * rump),
        (-0.3 * behind, 0.95 * rump),
        (0.06, rump),
        (0.42, animal.waist_depth),
        (0.88, chest),
        (1 + 0.4 * before, 0.88 * chest),
        (1 + 0.8 * before, 0.58 * chest),
        (1 + before, 0.25 * chest),
    ]
    at = -behind + (1 + behind + before) * (1 - np.cos(np.linspace(0, np.pi, 18))) / 2
    depth = np.interp(at, *smooth(np.array(profile), 80).T)
    usual = np.interp(at, [0, 1], [rump, chest])
    # The back is straight: where the trunk is slim, it is the belly that rises.
    height = 0.1 * usual + 0.35 * (usual - depth) + animal.hump * np.sin(np.pi * np.clip(at, 0, 1)) ** 2
    path = hips + np.outer(length * at, onwards) + np.outer(height, np.cross(X, -onwards))
    solid = sweep(path, np.column_stack([animal.girth * depth / 2, depth / 2]), X, exponent=2.2, corners=20)
    return flexible(solid, chain(at, ("pelvis", "chest"), [(0.5, 0.42)]))


def _neck(animal: Animal, skeleton: Skeleton) -> list[Part]:
    inside = skeleton.neck[0] + np.array([0, -0.05, 0.22]) * animal.chest_depth
    path = curved(np.concatenate([[inside], skeleton.neck]), 12)
    share = np.linspace(0, 1, 12)
    depth = np.interp(share, *smooth(np.array([(0, 1.0), (0.25, 1.0), (0.6, 0.35), (1, 0.0)]), 30).T)
    half = (animal.neck_end + (animal.neck_base - animal.neck_end) * depth) / 2
    at = lengths_along(path)
    root, length = float(np.linalg.norm(skeleton.neck[0] - inside)), animal.neck_length
    joints = [(root + 0.15 * length, 0.25 * length), (at[-1] - 0.5 * length, 0.2 * length), (at[-1], 0.08 * length)]
    weights = chain(at, ("chest", "neck", "nape", "head"), joints)
    parts = [flexible(sweep(path, np.column_stack([0.72 * half, half]), X, corners=14), weights)]
    if animal.mane:
        upwards = np.cross(unit(np.gradient(path, axis=0)), X)
        crest = path + (half - 0.02)[:, None] * upwards
        height = animal.mane * np.minimum(1, 8 * share * (1.08 - share)) + 0.02
        parts.append(flexible(sweep(crest, np.column_stack([np.full(12, 0.022), height]), X, corners=8), weights))
    return parts


def _tail(animal: Animal, skeleton: Skeleton) -> Part:
    inside = skeleton.tail[0] - np.array([0.0, 0.1, 0.3]) * animal.rump_depth
    path = curved(np.concatenate([[inside], skeleton.tail]), 18)
    at = lengths_along(path)
    root, step = float(np.linalg.norm(skeleton.tail[0] - inside)), animal.tail_length / 4
    share = np.clip((at - root) / animal.tail_length, 0, 1)
    half = animal.tail_width / 2 * (1 + (animal.tail_tip - 1) * share)
    half += animal.tail_width / 2 * animal.tail_bush * np.sin(np.pi * np.clip((share - 0.12) / 0.88, 0, 1)) ** 0.8
    half[-1] *= 0.45
    joints = [(root + (index + (0.15 if index == 0 else 0.0)) * step, 0.5 * step) for index in range(len(TAIL))]
    flat = 0.8 if animal.sprawl else 1.0
    solid = sweep(path, np.column_stack([half * flat, half]), X, corners=10)
    return flexible(solid, chain(at, ("pelvis", *TAIL), joints))


def _wing(animal: Animal, side: float) -> Part:
    """A folded wing."""
    share = np.linspace(-1, 1, 9)
    half = np.maximum(0.15, 1 - share**2) ** 0.5
    middle = np.array([side * 0.44 * animal.girth * animal.waist_depth, (animal.hind + animal.fore) / 2 + 0.1, 0.0])
    path = middle + np.outer(0.52 * share, [0.0, -0.12, 1.0])
    solid = sweep(path, np.column_stack([0.1 * half, 0.24 * half]), X, corners=12)
    return flexible(solid, chain(path[:, 2], ("chest", "pelvis"), [(0.0, 0.42)]))


def _leg(animal: Animal, leg: Leg) -> Part:
    """A leg without its foot, from inside the trunk downwards."""
    top, shank = (animal.thigh if leg.is_hind else animal.upper_arm), animal.shank
    if leg.is_arm:
        shank = 0.75 * shank
    first = leg.joints[0] + 0.7 * top * unit(leg.joints[0] - leg.joints[1])
    bent = fillet([first, *leg.joints], 0.3 * float(leg.lengths.min()))
    at = lengths_along(bent)
    even = np.linspace(0, at[-1], 22)
    path = np.column_stack([np.interp(even, at, bent[:, axis]) for axis in range(3)])
    hip = 0.7 * top
    knee, ankle, end = hip + np.cumsum(leg.lengths) * (even[-1] - hip) / leg.lengths.sum()
    calf = 0.45 * top + 0.55 * shank
    rows = [
        (0.0, 0.2 * top, 0.3 * top),
        (0.5 * hip, 0.55 * top, 0.8 * top),
        (hip, 0.68 * top, top),
        (0.55 * hip + 0.45 * knee, 0.62 * top + 0.1 * shank, 0.82 * top + 0.1 * shank),
        (knee, 0.75 * calf + 0.1 * shank, calf),
        (0.6 * knee + 0.4 * ankle, 0.35 * calf + 0.6 * shank, 0.55 * calf + 0.4 * shank),
        (ankle, 1.0 * shank, 1.12 * shank),
        (0.5 * ankle + 0.5 * end, 0.86 * shank, 0.86 * shank),
        (even[-1], 1.05 * shank, 1.05 * shank),
    ]
    half = smooth(np.array(rows), 22)[:, 1:]
    blends = [(hip + 0.3 * leg.lengths[0], 0.3), (knee, 0.2), (ankle, 0.2), (end, 0.1)]
    reach = leg.lengths[[0, 0, 2, 2]]
    joints = [(place, share * length) for (place, share), length in zip(blends, reach, strict=True)]
    bones = ("pelvis" if leg.is_hind else "chest", *(f"{leg.name} {segment}" for segment in SEGMENTS))
    solid = sweep(path, half, Z if animal.sprawl else X, corners=10)
    return flexible(solid, chain(even, bones, joints))


def _foot(animal: Animal, leg: Leg) -> Part:
    """A paw or a hoof, flat on the ground; a hand where the leg is an arm."""
    x, y, z = leg.joints[3]
    long, half = animal.paw_length, animal.paw_width / 2
    if not leg.is_hind:
        long = 0.85 * long if animal.hind_foot_angle < 40 else min(long, 0.16)
    bone = f"{leg.name} foot"
    if leg.is_arm:
        hand = np.array([(0.02, 0.6), (-0.02, 1.0), (-0.08, 0.9), (-0.11, 0.5)])
        stations = [(z + dz, x, y - 0.02, 0.035 * share, 0.03 * share) for dz, share in hand]
        return rigid(along(Z, np.array(stations), corners=10), bone)
    if animal.hooves:
        hoof = [(0.0, 1.0, -0.1, 1.0), (0.5, 0.95, -0.08, 0.95), (1.2, 0.88, -0.02, 0.8), (1.6, 0.7, 0.0, 0.6)]
        plan = [(high * y, x, z + dz * long, wide * half, 0.5 * far * long) for high, wide, dz, far in hoof]
        return rigid(tower(plan, radius=0.8 * half), bone)
    paw = [(0.32, 0.5, 0.55), (0.22, 0.8, 0.8), (0, 1, 0.95), (-0.35, 0.85, 1), (-0.6, 0.55, 0.85), (-0.68, 0.3, 0.5)]
    stations = [(z + dz * long, x, 0.75 * y * high, wide * half, 0.75 * y * high) for dz, high, wide in paw]
    return rigid(along(Z, np.array(stations), exponent=2.6, corners=12), bone)

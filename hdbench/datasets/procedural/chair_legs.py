"""What a chair stands on."""

import numpy as np

from hdbench.datasets.procedural.chair_parameters import Chair
from hdbench.datasets.procedural.lofts import Array, Solid, Vector, X, Y, beam, block, fillet, mirrored, sweep, turned


def legs(chair: Chair) -> list[Solid]:
    """Everything under the seat."""
    builders = {
        "four": _four,
        "three": _three,
        "sled": _sled,
        "cantilever": _cantilever,
        "star": _star,
        "disc": _disc,
        "rockers": _rockers,
        "plinth": _plinth,
    }
    return builders[chair.legs](chair)


def _leg(chair: Chair, top: Vector, foot: Vector) -> Solid:
    half = chair.leg_size / 2
    return beam(top, foot, (half, half), taper=chair.leg_taper, exponent=chair.leg_roundness, corners=12)


def _rod(chair: Chair, start: Vector, end: Vector, half: float) -> Solid:
    """A bar in the section of the chair's legs."""
    return beam(start, end, (half, half), exponent=chair.leg_roundness, corners=12)


def _four(chair: Chair) -> list[Solid]:
    """Four legs, splayed and braced."""
    front, rear, z = chair.anchor
    top = chair.leg_top
    out = np.tan(np.radians(chair.splay)) * top
    tops = np.array([(front, top, -z), (rear, top, z)])
    feet = np.array([(front + out, 0, -z - out), (rear + out, 0, z + out)])
    knees = tops + 0.7 * (feet - tops)
    half = 0.5 * max(0.03, 0.75 * chair.leg_size)
    right = [_leg(chair, start, end) for start, end in zip(tops, feet, strict=True)]
    across: list[Solid] = []
    if chair.stretchers != "none":
        right.append(_rod(chair, knees[0], knees[1], half))
    if chair.stretchers == "cross":
        across = [_span(chair, knees.mean(axis=0), half)]
    if chair.stretchers == "ring":
        across = [_span(chair, knee, half) for knee in knees]
    return mirrored(right) + across


def _span(chair: Chair, end: Array, half: float) -> Solid:
    """A bar from the mirror image of `end` to `end`."""
    return _rod(chair, end * [-1, 1, 1], end, half)


def _three(chair: Chair) -> list[Solid]:
    radius = 0.33 * min(chair.seat_width, chair.seat_depth)
    reach = radius + np.tan(np.radians(max(6.0, chair.splay))) * chair.leg_top
    directions = [(np.cos(angle), np.sin(angle)) for angle in np.radians([-90, 30, 150])]
    return [_leg(chair, (radius * x, chair.leg_top, radius * z), (reach * x, 0, reach * z)) for x, z in directions]


def _sled(chair: Chair) -> list[Solid]:
    """A closed runner on either side, joined under the seat."""
    x, _, z = chair.anchor
    half = chair.leg_size / 2
    top = chair.seat_bottom + half
    corners = [(x, top, 0.03 - z), (x, half, -z - 0.02), (x, half, z + 0.02), (x, top, z - 0.03)]
    side = sweep(fillet(corners, 0.06), np.array([half, half]), X, exponent=chair.leg_roundness, corners=12)
    bars = [_span(chair, np.array([x, top - 0.01, at]), half) for at in (0.04 - z, z - 0.04)]
    return mirrored([side]) + bars


def _cantilever(chair: Chair) -> list[Solid]:
    """Tubes from under the seat forwards, down and back along the floor."""
    half = chair.leg_size / 2
    x, z = chair.seat_width / 2 - half, chair.seat_depth / 2
    level = chair.seat_bottom + 0.25 * half
    corners = [(x, level, z - 0.03), (x, level, 0.01 - z), (x, half, -z - 0.02), (x, half, z)]
    side = sweep(fillet(corners, 0.08), np.array([half, half]), X, exponent=chair.leg_roundness, corners=12)
    return [*mirrored([side]), _span(chair, np.array([x, half, z - half]), half)]


def _star(chair: Chair) -> list[Solid]:
    """A column on spokes with castors."""
    reach = 0.58 * max(chair.seat_width, chair.seat_depth)
    seat, half = chair.seat_bottom, chair.leg_size / 2
    column = [(0.045, 0.04), (0.16, 0.04), (0.17, 0.028), (seat - 0.05, 0.028), (seat - 0.03, 0.09), (seat + 0.01, 0.1)]
    parts = [turned(column, (0, 0, 0), Y, corners=18)]
    sizes = np.array([[1.1, 1.1], [1.0, 1.0], [0.8, 0.75]]) * half
    for angle in np.pi / 2 + 2 * np.pi * (np.arange(chair.spokes) + 0.5) / chair.spokes:
        end = reach * np.array([np.cos(angle), 0, np.sin(angle)])
        across = np.cross(Y, end / reach)
        spoke = np.outer([0, 0.5, 1], end) + np.outer([0.1, 0.09, 0.065], Y)
        castor = end + 0.032 * Y + np.outer([-0.02, 0.02], across)
        parts.append(sweep(spoke, sizes, across, exponent=4, corners=12))
        parts.append(sweep(castor, np.array([0.032, 0.032]), Y, corners=14))
    return parts


def _disc(chair: Chair) -> list[Solid]:
    """A column on a round foot; a tall one carries a foot rest."""
    reach, seat = 0.5 * max(chair.seat_width, chair.seat_depth), chair.seat_bottom
    foot = [(0.0, reach), (0.018, reach), (0.03, 0.85 * reach), (0.05, 0.035), (0.07, 0.028)]
    parts = [turned([*foot, (seat - 0.03, 0.028), (seat + 0.01, 0.09)], (0, 0, 0), Y, corners=24)]
    if chair.seat_height > 0.6:
        arc = np.linspace(np.pi, 2 * np.pi, 15)
        hoop = np.column_stack([0.14 * np.cos(arc), np.full(15, 0.26), 0.14 * np.sin(arc)])
        rod = np.array([0.015, 0.015])
        ends = [((0, 0.26, 0), (0, 0.26, -0.15)), ((-0.14, 0.26, 0), (0.14, 0.26, 0))]
        parts += [sweep(hoop, rod, Y), *(beam(*pair, rod) for pair in ends)]
    return parts


def _rockers(chair: Chair) -> list[Solid]:
    """Four legs on two curved runners."""
    front, rear, z = chair.anchor
    half = chair.leg_size / 2
    x = (front + rear) / 2 + np.tan(np.radians(chair.splay)) * chair.leg_top
    share = np.linspace(-1, 1, 17)
    path = np.column_stack([np.full(17, x), half + 0.11 * share**2, share * (0.5 * chair.seat_depth + 0.2) + 0.05])
    runner = sweep(path, np.array([half, 0.9 * half]), X, exponent=4, corners=12)
    joints = ((front, -z, -z - 0.03), (rear, z, z + 0.03))
    standing = [_leg(chair, (x_top, chair.leg_top, z_top), (x, 0.04, z_foot)) for x_top, z_top, z_foot in joints]
    braces = (z + 0.02, -z - 0.02) if chair.stretchers == "sides" else (z + 0.02,)
    return mirrored([runner, *standing]) + [_span(chair, np.array([x, 0.16, at]), 0.8 * half) for at in braces]


def _plinth(chair: Chair) -> list[Solid]:
    half_width, half_depth = 0.47 * chair.seat_width, 0.46 * chair.seat_depth
    top = chair.seat_bottom + 0.02
    radius = 0.6 * half_depth if chair.back == "shell" else 0.05
    return [block((-half_width, 0.0, -half_depth), (half_width, top, half_depth), radius=radius)]

"""Chairs: dining and arm-chairs, office and lounge chairs, stools, rocking and cantilever chairs.

Lengths are roughly metres; the floor is at y = 0, the sitter looks along -z. Backs are built upright and then
leaned back by a shear.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hdbench.datasets.procedural.lofts import (
    Array,
    Solid,
    Vector,
    X,
    Y,
    Z,
    along,
    beam,
    block,
    fillet,
    loft,
    mirrored,
    superellipse,
    sweep,
    turned,
)
from hdbench.datasets.procedural.parameters import Between, OneOf, Subtype


@dataclass(frozen=True)
class Chair:
    """One chair. Lengths in metres, angles in degrees."""

    seat_width: float = 0.46
    seat_depth: float = 0.44
    seat_height: float = 0.46
    """Height of the seat's upper face."""
    seat_thickness: float = 0.045
    seat_roundness: float = 7.0
    """Superellipse exponent of the seat in plan: 2 is round, 8 nearly square."""
    seat_taper: float = 0.08
    """How much narrower the seat is at the back, as a share."""
    cushion: float = 0.0
    """Thickness of a cushion on the seat; 0 is none."""
    back: Literal["none", "panel", "ladder", "slats", "spindles", "splat", "frame", "medallion", "shell", "padded"] = (
        "panel"
    )
    back_height: float = 0.46
    """Above the seat."""
    back_thickness: float = 0.035
    back_gap: float = 0.0
    """Free height between seat and back panel."""
    recline: float = 8.0
    crest: float = 0.02
    """How much higher the back is at its middle than at its sides."""
    bow: float = 0.02
    """How far the back's middle lies behind its sides."""
    bars: int = 4
    headrest: bool = False
    legs: Literal["four", "three", "sled", "cantilever", "star", "disc", "rockers", "plinth"] = "four"
    leg_size: float = 0.036
    leg_roundness: float = 6.0
    leg_taper: float = 0.75
    splay: float = 2.0
    stretchers: Literal["none", "sides", "cross", "ring"] = "none"
    spokes: int = 5
    arms: Literal["none", "posts", "loop", "padded", "pads"] = "none"
    arm_height: float = 0.21
    """Above the seat."""
    arm_size: float = 0.035
    apron: bool = False

    @property
    def seat_bottom(self) -> float:
        """Height of the seat's lower face."""
        return self.seat_height - self.seat_thickness

    @property
    def back_at(self) -> float:
        """z of the back's middle plane where it meets the seat."""
        return self.corner * self.seat_depth / 2 - 0.2 * self.back_thickness

    @property
    def corner(self) -> float:
        """Where the seat's rounded corners lie, as a share of its half width and half depth."""
        return 2 ** -(1 / self.seat_roundness)


# fmt: off
DINING = {
    "seat_width": Between(0.42, 0.5), "seat_depth": Between(0.41, 0.46), "seat_height": Between(0.44, 0.48),
    "seat_thickness": Between(0.035, 0.06), "seat_roundness": Between(4, 10), "seat_taper": Between(0.0, 0.16),
    "cushion": OneOf(0.0, 0.0, 0.04),
    "back": OneOf("panel", "ladder", "ladder", "slats", "slats", "spindles", "splat", "frame", "medallion"),
    "back_height": Between(0.4, 0.58), "back_thickness": Between(0.034, 0.042), "back_gap": OneOf(0.0, 0.14, 0.2),
    "recline": Between(4, 12), "crest": Between(-0.01, 0.05), "bow": Between(0.0, 0.04), "bars": OneOf(3, 4, 5),
    "legs": "four", "leg_size": Between(0.036, 0.048), "leg_roundness": OneOf(2.0, 7.0),
    "leg_taper": Between(0.65, 1.0), "splay": Between(0, 5), "stretchers": OneOf("none", "none", "sides", "cross"),
    "arms": OneOf("none", "none", "none", "none", "posts"), "apron": OneOf(False, True),
}
ARMCHAIR = {
    "seat_width": Between(0.62, 0.78), "seat_depth": Between(0.62, 0.72), "seat_height": Between(0.38, 0.42),
    "seat_thickness": Between(0.18, 0.26), "seat_roundness": Between(7, 10), "seat_taper": 0.0,
    "cushion": Between(0.04, 0.08), "back": OneOf("padded", "padded", "shell"), "back_height": Between(0.4, 0.6),
    "back_thickness": Between(0.14, 0.2), "recline": Between(5, 14), "crest": Between(0.0, 0.06), "bow": 0.0,
    "legs": OneOf("four", "four", "plinth"), "leg_size": Between(0.045, 0.06), "leg_roundness": OneOf(2.0, 7.0),
    "leg_taper": Between(0.55, 0.9), "splay": Between(0, 8), "arms": "padded", "arm_height": Between(0.16, 0.24),
    "arm_size": Between(0.1, 0.16),
}
OFFICE = {
    "seat_width": Between(0.47, 0.54), "seat_depth": Between(0.45, 0.52), "seat_height": Between(0.44, 0.52),
    "seat_thickness": Between(0.06, 0.09), "seat_roundness": Between(3.5, 6), "seat_taper": Between(0.0, 0.1),
    "back": "panel", "back_height": Between(0.5, 0.75), "back_thickness": Between(0.05, 0.07),
    "back_gap": OneOf(0.0, 0.1, 0.14), "recline": Between(4, 14), "crest": Between(0.0, 0.04),
    "bow": Between(0.02, 0.07), "headrest": OneOf(False, False, True), "legs": "star",
    "leg_size": Between(0.045, 0.055), "spokes": OneOf(4, 5, 5, 5), "arms": OneOf("none", "pads", "pads", "loop"),
    "arm_height": Between(0.19, 0.24), "arm_size": Between(0.034, 0.042),
}
LOUNGE = {
    "seat_width": Between(0.56, 0.68), "seat_depth": Between(0.56, 0.68), "seat_height": Between(0.34, 0.4),
    "seat_thickness": Between(0.07, 0.12), "seat_roundness": Between(5, 10), "seat_taper": Between(0.0, 0.06),
    "back": OneOf("panel", "panel", "ladder", "slats", "shell"), "back_height": Between(0.48, 0.64),
    "back_thickness": Between(0.06, 0.1), "recline": Between(20, 30), "crest": Between(0.0, 0.04),
    "bow": Between(0.0, 0.03), "bars": OneOf(4, 5), "headrest": OneOf(False, True),
    "legs": OneOf("four", "four", "sled", "star"), "leg_size": Between(0.04, 0.052), "leg_roundness": OneOf(2.0, 7.0),
    "leg_taper": Between(0.6, 1.0), "splay": Between(4, 12), "arms": OneOf("posts", "posts", "none"),
    "arm_height": Between(0.18, 0.24), "arm_size": Between(0.04, 0.055), "spokes": OneOf(4, 5),
}
STOOL = {
    "seat_width": Between(0.34, 0.42), "seat_depth": Between(0.33, 0.4), "seat_height": Between(0.42, 0.8),
    "seat_thickness": Between(0.035, 0.07), "seat_roundness": OneOf(2.0, 2.0, 4.0, 9.0), "seat_taper": 0.0,
    "cushion": OneOf(0.0, 0.0, 0.05), "back": "none", "recline": 5.0, "legs": OneOf("four", "four", "three", "disc"),
    "leg_size": Between(0.034, 0.044), "leg_roundness": OneOf(2.0, 2.0, 7.0), "leg_taper": Between(0.7, 1.0),
    "splay": Between(3, 11), "stretchers": OneOf("none", "ring", "cross", "sides"),
}
ROCKING = {
    "seat_width": Between(0.48, 0.56), "seat_depth": Between(0.46, 0.52), "seat_height": Between(0.42, 0.46),
    "seat_thickness": Between(0.04, 0.06), "seat_roundness": Between(4.5, 8), "seat_taper": Between(0.05, 0.16),
    "cushion": OneOf(0.0, 0.04), "back": OneOf("spindles", "slats", "ladder", "panel"),
    "back_height": Between(0.58, 0.72), "back_thickness": Between(0.036, 0.046), "recline": Between(12, 20),
    "crest": Between(0.0, 0.05), "bow": Between(0.0, 0.05), "bars": OneOf(4, 5, 6), "legs": "rockers",
    "leg_size": Between(0.04, 0.05), "leg_roundness": OneOf(2.0, 7.0), "leg_taper": Between(0.8, 1.0),
    "splay": Between(2, 5), "stretchers": OneOf("none", "sides"), "arms": OneOf("posts", "posts", "posts", "none"),
    "arm_height": Between(0.2, 0.24), "arm_size": Between(0.038, 0.048),
}
CANTILEVER = {
    "seat_width": Between(0.46, 0.54), "seat_depth": Between(0.43, 0.5), "seat_height": Between(0.44, 0.48),
    "seat_thickness": Between(0.036, 0.055), "seat_roundness": Between(5, 9), "seat_taper": 0.0, "back": "panel",
    "back_height": Between(0.38, 0.48), "back_thickness": Between(0.034, 0.042), "back_gap": OneOf(0.0, 0.12, 0.18),
    "recline": Between(7, 16), "crest": Between(0.0, 0.02), "bow": Between(0.0, 0.03), "legs": "cantilever",
    "leg_size": Between(0.034, 0.042), "leg_roundness": OneOf(2.0, 7.0), "arms": OneOf("none", "none", "loop"),
    "arm_height": Between(0.19, 0.23), "arm_size": Between(0.034, 0.04),
}

# fmt: on

SUBTYPES = {
    "dining": Subtype(0.3, DINING),
    "armchair": Subtype(0.16, ARMCHAIR),
    "office": Subtype(0.16, OFFICE),
    "stool": Subtype(0.12, STOOL),
    "lounge": Subtype(0.1, LOUNGE),
    "cantilever": Subtype(0.08, CANTILEVER),
    "rocking": Subtype(0.08, ROCKING),
}


def build(chair: Chair) -> list[Solid]:
    """The solids whose union is `chair`."""
    return [*_seat(chair), *_back(chair), *_legs(chair), *_arms(chair)]


def _slab(
    width: float, depth: float, low: float, high: float, *, roundness: float, taper: float, bevel: float
) -> Solid:
    """A plate in plan like a superellipse, narrower at the back by `taper`."""
    outline = superellipse(roundness, 28) * [width / 2, depth / 2]
    outline[:, 0] *= 1 - taper * (outline[:, 1] / depth + 0.5)
    shrink = 1 - 2 * bevel / min(width, depth)
    rims = [
        (low, shrink),
        (low + bevel, 1.0),
        (high - bevel, 1.0),
        (high - 0.3 * bevel, 0.5 + 0.5 * shrink),
        (high, shrink),
    ]
    sections = [np.column_stack([s * outline[:, 0], np.full(28, y), s * outline[:, 1]]) for y, s in rims]
    return loft(np.stack(sections))


def _seat(chair: Chair) -> list[Solid]:
    form = {"roundness": chair.seat_roundness, "taper": chair.seat_taper}
    bevel = min(0.012, 0.25 * chair.seat_thickness)
    parts = [_slab(chair.seat_width, chair.seat_depth, chair.seat_bottom, chair.seat_height, bevel=bevel, **form)]
    if chair.cushion:
        top = chair.seat_height + chair.cushion
        parts.append(
            _slab(
                0.93 * chair.seat_width,
                0.93 * chair.seat_depth,
                chair.seat_height - 0.01,
                top,
                bevel=0.4 * chair.cushion,
                **form,
            )
        )
    if chair.apron:
        low = chair.seat_bottom - 0.05
        size = (0.84 * chair.seat_width * (1 - chair.seat_taper / 2), 0.84 * chair.seat_depth)
        parts.append(_slab(*size, low, chair.seat_height - 0.01, roundness=9, taper=chair.seat_taper, bevel=0.005))
    return parts


def _leaned(chair: Chair, solids: list[Solid]) -> list[Solid]:
    """Back parts, built upright around z = 0, sheared backwards and put at the seat's rear edge."""
    slope = np.tan(np.radians(chair.recline))

    def lean(vertices: Array) -> Array:
        moved = vertices.copy()
        moved[:, 2] += chair.back_at + slope * np.maximum(0.0, vertices[:, 1] - chair.seat_bottom)
        return moved

    return [Solid(lean(solid.vertices), solid.faces) for solid in solids]


def _back_width(chair: Chair) -> float:
    return chair.corner * chair.seat_width * (1 - 0.9 * chair.seat_taper) + 0.01


def _board(
    chair: Chair, low: float, high: float, width: float, thickness: float, *, crest: float, exponent: float = 6.0
) -> Solid:
    """An upright board across the back, arched along its upper edge and bowed backwards."""
    x = np.linspace(-1, 1, 13)
    arch = 1 - x**2
    x = np.concatenate([[-1.0], x[1:-1] * 0.99, [1.0]])
    top = high + crest * arch
    round_off = np.where(np.abs(x) == 1, 0.9, 1.0)
    half = (top - low) / 2 * round_off
    stations = [
        x * width / 2,
        chair.bow * arch,
        (top + low) / 2,
        np.full(13, thickness / 2) * np.where(np.abs(x) == 1, 0.7, 1.0),
        half,
    ]
    return along(X, np.column_stack(stations), exponent=exponent, corners=12)


def _back(chair: Chair) -> list[Solid]:
    if chair.back == "none":
        return []
    if chair.back == "shell":
        return _shell(chair)
    base, top = chair.seat_height, chair.seat_height + chair.back_height
    width, thick = _back_width(chair), chair.back_thickness
    post = max(chair.leg_size, 0.034)
    x_post = width / 2 - post / 2
    rail = 0.07
    half_post = (post / 2, thick / 2)

    def posts(height: float) -> list[Solid]:
        return mirrored(
            [
                beam(
                    (x_post, chair.seat_bottom + 0.005, 0),
                    (x_post, height, 0),
                    half_post,
                    exponent=chair.leg_roundness,
                    corners=12,
                )
            ]
        )

    parts: list[Solid] = []
    inner = 2 * x_post
    if chair.back == "padded":
        parts = [_board(chair, chair.seat_bottom, top, width, thick, crest=chair.crest, exponent=5)]
    elif chair.back == "panel" and chair.legs == "star":
        low = base + chair.back_gap if chair.back_gap else chair.seat_bottom + 0.01
        parts = [_board(chair, low, top, 0.9 * width, thick, crest=chair.crest, exponent=5)]
        if chair.back_gap:
            parts.append(
                beam(
                    (0, chair.seat_bottom + 0.01, 0.3 * chair.bow),
                    (0, low + 0.1, chair.bow),
                    (0.05, 0.028),
                    exponent=5,
                    corners=12,
                )
            )
    elif chair.back == "panel":
        low = base + chair.back_gap
        parts = [
            _board(chair, low if chair.back_gap else chair.seat_bottom + 0.005, top, width, thick, crest=chair.crest)
        ]
        if chair.back_gap:
            parts += posts(low + 0.06)
    elif chair.back == "medallion":
        radius = (0.46 * width, 0.42 * chair.back_height)
        centre = top - radius[1]
        disc = [
            (-thick / 2, 0, centre, 0.93 * radius[0], 0.93 * radius[1]),
            (-0.2 * thick, 0, centre, *radius),
            (0.2 * thick, 0, centre, *radius),
            (thick / 2, 0, centre, 0.93 * radius[0], 0.93 * radius[1]),
        ]
        x = 0.5 * radius[0]
        parts = [along(Z, np.array(disc), exponent=2.2, corners=28)]
        parts += mirrored(
            [
                beam(
                    (x, chair.seat_bottom + 0.005, 0),
                    (x, centre, 0),
                    half_post,
                    exponent=chair.leg_roundness,
                    corners=12,
                )
            ]
        )
    else:
        parts = [_board(chair, top - rail, top, width, thick, crest=chair.crest)]
        parts += _back_filling(chair, base, top - rail, inner, posts)
    if chair.headrest:
        parts.append(_board(chair, top + 0.03, top + 0.15, 0.55 * width, 0.9 * thick, crest=0.01, exponent=4))
        parts.append(beam((0, top - 0.06, chair.bow), (0, top + 0.06, chair.bow), (0.05, 0.02), exponent=5, corners=12))
    return _leaned(chair, parts)


def _back_filling(
    chair: Chair, base: float, rail: float, inner: float, posts: Callable[[float], list[Solid]]
) -> list[Solid]:
    """What stands between the seat at height `base` and the top rail's lower edge at `rail`."""
    thin = 0.8 * chair.back_thickness
    parts: list[Solid] = []
    if chair.back != "spindles":
        parts += posts(rail + 0.04)
    if chair.back == "ladder":
        levels = np.linspace(base, rail, chair.bars + 1)[1:-1]
        parts += [_board(chair, y - 0.02, y + 0.025, inner, thin, crest=chair.crest) for y in levels]
    elif chair.back in ("slats", "spindles"):
        low = base + 0.09 if chair.back == "slats" else chair.seat_bottom + 0.005
        if chair.back == "slats":
            parts.append(_board(chair, low - 0.03, low + 0.01, inner, thin, crest=0.0))
        count = chair.bars + (2 if chair.back == "spindles" else 0)
        spread = inner if chair.back == "spindles" else inner * (1 - 1.0 / (count + 1)) - 0.02
        half = (0.015, 0.015) if chair.back == "spindles" else (0.018, 0.45 * thin)
        for share in np.linspace(-1, 1, count):
            x = share * spread / 2
            arch = chair.bow * (1 - (2 * x / inner) ** 2)
            foot = 0.85 * x if chair.back == "spindles" else x
            start_bow = 0.0 if chair.back == "spindles" else arch
            exponent = 2.0 if chair.back == "spindles" else 6.0
            parts.append(beam((foot, low, start_bow), (x, rail + 0.03, arch), half, exponent=exponent, corners=12))
    elif chair.back == "splat":
        share = np.linspace(0, 1, 9)
        y = chair.seat_bottom + 0.005 + share * (rail + 0.03 - chair.seat_bottom)
        width = 0.05 + 0.035 * np.sin(2 * np.pi * share * 0.9) ** 2
        path = np.column_stack([np.zeros(9), y, chair.bow * share])
        parts.append(sweep(path, np.column_stack([width, np.full(9, thin / 2)]), X, exponent=6, corners=12))
    return parts


def _shell(chair: Chair) -> list[Solid]:
    """A tub: a wall around the back and the sides, highest behind."""
    angle = np.radians(np.linspace(-20, 200, 27))
    half = np.array([chair.seat_width / 2, chair.seat_depth / 2]) - 0.01
    share = np.clip((np.sin(angle) + 0.15) / 1.15, 0, 1) ** 1.5
    top = chair.seat_height + chair.arm_height + (chair.back_height - chair.arm_height) * share
    low = chair.seat_bottom
    thickness = np.clip(0.5 * chair.back_thickness, 0.04, 0.1)
    lean = 0.25 * (top - chair.seat_height) * share * np.tan(np.radians(chair.recline))
    path = np.column_stack([half[0] * np.cos(angle), (top + low) / 2, half[1] * np.sin(angle) + lean])
    path[:, 2] = np.maximum(path[:, 2], -half[1] * 0.9)
    sizes = np.column_stack([(top - low) / 2, np.full(27, thickness / 2)])
    return [sweep(path, sizes, Y, exponent=6, corners=12)]


def _leg_anchor(chair: Chair) -> tuple[float, float, float]:
    """Half distances of the legs' tops: x in front, x behind, z."""
    margin = 0.65 * chair.leg_size
    x = chair.corner * chair.seat_width / 2 - margin
    return x, x * (1 - chair.seat_taper), chair.corner * chair.seat_depth / 2 - margin


def _legs(chair: Chair) -> list[Solid]:
    builders = {
        "four": _four_legs, "three": _three_legs, "sled": _sled, "cantilever": _cantilever, "star": _star,
        "disc": _disc, "rockers": _rockers, "plinth": _plinth,
    }  # fmt: skip
    return builders[chair.legs](chair)


def _leg(chair: Chair, top: Vector, foot: Vector) -> Solid:
    half = chair.leg_size / 2
    return beam(top, foot, (half, half), taper=chair.leg_taper, exponent=chair.leg_roundness, corners=12)


def _four_legs(chair: Chair, floor: float = 0.0) -> list[Solid]:
    front, rear, z = _leg_anchor(chair)
    top = chair.seat_bottom + 0.6 * min(chair.seat_thickness, 0.06)
    out = np.tan(np.radians(chair.splay)) * top
    ends = [((front, top, -z), (front + out, floor, -z - out)), ((rear, top, z), (rear + out, floor, z + out))]
    parts = [_leg(chair, *end) for end in ends]
    bar = 0.5 * max(0.03, 0.75 * chair.leg_size)

    def at(end: tuple[Vector, Vector], height: float) -> Array:
        a, b = np.array(end[0]), np.array(end[1])
        return a + (b - a) * (top - height) / (top - floor)

    level = 0.3 * top + floor
    single: list[Solid] = []
    if chair.stretchers in ("sides", "cross", "ring"):
        parts.append(beam(at(ends[0], level), at(ends[1], level), (bar, bar), exponent=chair.leg_roundness, corners=12))
    if chair.stretchers == "cross":
        middle = (at(ends[0], level) + at(ends[1], level)) / 2
        single.append(beam(middle * [-1, 1, 1], middle, (bar, bar), exponent=chair.leg_roundness, corners=12))
    if chair.stretchers == "ring":
        single += [
            beam(at(end, level) * [-1, 1, 1], at(end, level), (bar, bar), exponent=chair.leg_roundness, corners=12)
            for end in ends
        ]
    return mirrored(parts) + single


def _three_legs(chair: Chair) -> list[Solid]:
    radius = 0.33 * min(chair.seat_width, chair.seat_depth)
    top = chair.seat_bottom + 0.6 * chair.seat_thickness
    reach = radius + np.tan(np.radians(max(6.0, chair.splay))) * top
    angles = np.radians([-90, 30, 150])
    return [
        _leg(chair, (radius * np.cos(a), top, radius * np.sin(a)), (reach * np.cos(a), 0, reach * np.sin(a)))
        for a in angles
    ]


def _sled(chair: Chair) -> list[Solid]:
    x, _, z = _leg_anchor(chair)
    half = chair.leg_size / 2
    top = chair.seat_bottom + half
    corners = [(x, top, -z + 0.03), (x, half, -z - 0.02), (x, half, z + 0.02), (x, top, z - 0.03)]
    side = sweep(fillet(corners, 0.06), np.array([half, half]), X, exponent=chair.leg_roundness, corners=12)
    bars = [beam((-x, top - 0.01, at), (x, top - 0.01, at), (half, half), corners=12) for at in (-z + 0.04, z - 0.04)]
    return mirrored([side]) + bars


def _cantilever(chair: Chair) -> list[Solid]:
    half = chair.leg_size / 2
    x = chair.seat_width / 2 - half
    z = chair.seat_depth / 2
    level = chair.seat_bottom + 0.25 * half
    corners = [(x, level, z - 0.03), (x, level, -z + 0.01), (x, half, -z - 0.02), (x, half, z)]
    side = sweep(fillet(corners, 0.08), np.array([half, half]), X, exponent=chair.leg_roundness, corners=12)
    bar = beam((-x, half, z - half), (x, half, z - half), (half, half), exponent=chair.leg_roundness, corners=12)
    return [*mirrored([side]), bar]


def _star(chair: Chair) -> list[Solid]:
    reach = 0.58 * max(chair.seat_width, chair.seat_depth)
    hub = 0.1
    column = [
        (0.045, 0.04),
        (0.16, 0.04),
        (0.17, 0.028),
        (chair.seat_bottom - 0.05, 0.028),
        (chair.seat_bottom - 0.03, 0.09),
        (chair.seat_bottom + 0.01, 0.1),
    ]
    parts = [turned(column, (0, 0, 0), Y, corners=18)]
    half = chair.leg_size / 2
    for spoke in range(chair.spokes):
        angle = np.pi / 2 + 2 * np.pi * (spoke + 0.5) / chair.spokes
        direction = np.array([np.cos(angle), 0, np.sin(angle)])
        end = reach * direction
        path = np.outer([0, 0.5, 1], end) + np.outer([hub, 0.09, 0.065], Y)
        across = np.cross(Y, direction)
        sizes = np.array([[1.1 * half, 1.1 * half], [half, half], [0.8 * half, 0.75 * half]])
        parts.append(sweep(path, sizes, across, exponent=4, corners=12))
        wheel = np.array([[0, 0.032, 0]]) + end + np.outer([-0.02, 0.02], across)
        parts.append(sweep(wheel, np.array([0.032, 0.032]), Y, corners=14))
    return parts


def _disc(chair: Chair) -> list[Solid]:
    reach = 0.5 * max(chair.seat_width, chair.seat_depth)
    profile = [
        (0.0, reach),
        (0.018, reach),
        (0.03, 0.85 * reach),
        (0.05, 0.035),
        (0.07, 0.026),
        (chair.seat_bottom - 0.03, 0.026),
        (chair.seat_bottom + 0.01, 0.09),
    ]
    parts = [turned(profile, (0, 0, 0), Y, corners=24)]
    if chair.seat_height > 0.6:
        parts.append(beam((0, 0.26, 0), (0, 0.26, -0.15), (0.015, 0.015)))
        arc = np.linspace(np.pi, 2 * np.pi, 15)
        path = np.column_stack([0.14 * np.cos(arc), np.full(15, 0.26), 0.14 * np.sin(arc)])
        parts.append(sweep(path, np.array([0.015, 0.015]), Y))
        parts.append(beam((-0.14, 0.26, 0), (0.14, 0.26, 0), (0.015, 0.015)))
    return parts


def _rockers(chair: Chair) -> list[Solid]:
    front, rear, z = _leg_anchor(chair)
    half = chair.leg_size / 2
    top = chair.seat_bottom + 0.6 * min(chair.seat_thickness, 0.06)
    out = np.tan(np.radians(chair.splay)) * top
    x = (front + rear) / 2 + out
    share = np.linspace(-1, 1, 17)
    reach = 0.5 * chair.seat_depth + 0.2
    along_z = share * reach + 0.05
    height = half + 0.11 * share**2
    path = np.column_stack([np.full(17, x), height, along_z])
    runner = sweep(path, np.array([half, 0.9 * half]), X, exponent=4, corners=12)
    legs = [_leg(chair, (a, top, s * z), (x, 0.04, s * (z + 0.03))) for a, s in ((front, -1), (rear, 1))]
    parts = mirrored([runner, *legs])
    parts.append(beam((-x, 0.16, z + 0.02), (x, 0.16, z + 0.02), (0.8 * half, 0.8 * half)))
    if chair.stretchers == "sides":
        parts.append(beam((-x, 0.16, -z - 0.02), (x, 0.16, -z - 0.02), (0.8 * half, 0.8 * half)))
    return parts


def _plinth(chair: Chair) -> list[Solid]:
    w, d = 0.46 * chair.seat_width, 0.46 * chair.seat_depth
    return [block((-w, 0.0, -d), (w, chair.seat_bottom + 0.02, d), radius=0.05)]


def _arms(chair: Chair) -> list[Solid]:
    if chair.arms == "none" or chair.back == "shell":
        return []
    half = chair.arm_size / 2
    level = chair.seat_height + chair.arm_height
    x = chair.seat_width / 2
    z = chair.seat_depth / 2
    rear = chair.back_at + np.tan(np.radians(chair.recline)) * (level - chair.seat_bottom)
    if chair.arms == "padded":
        low = chair.seat_bottom - 0.02
        arm = block(
            (x - 0.4 * chair.arm_size, low, -z - 0.01), (x + 0.6 * chair.arm_size, level, z), radius=0.03, bevel=0.025
        )
        return mirrored([arm])
    if chair.arms == "pads":
        post = beam(
            (x - 0.06, chair.seat_bottom + 0.02, 0.04),
            (x + 0.02, chair.seat_bottom + 0.03, 0.04),
            (0.03, 0.018),
            exponent=5,
            corners=12,
        )
        riser = beam(
            (x + 0.02, chair.seat_bottom + 0.01, 0.04),
            (x + 0.02, level - 0.01, 0.04),
            (0.018, 0.03),
            exponent=5,
            corners=12,
        )
        pad = block((x - 0.02, level - 0.035, -0.13), (x + 0.055, level, 0.14), radius=0.02, bevel=0.01)
        return mirrored([post, riser, pad])
    if chair.arms == "loop":
        base = chair.seat_bottom + 0.5 * chair.seat_thickness
        corners = [(x, base, -0.3 * z), (x, level - half, -0.55 * z), (x, level - half, rear + 0.01)]
        loop = sweep(fillet(corners, 0.07), np.array([half, half]), X, exponent=3, corners=12)
        return mirrored([loop])
    front, _, leg_z = _leg_anchor(chair)
    x = max(front, _back_width(chair) / 2) + 0.0
    post = beam(
        (front, chair.seat_bottom + 0.005, -leg_z + 0.02),
        (x, level - 0.01, -leg_z + 0.04),
        (0.9 * half, 0.9 * half),
        exponent=chair.leg_roundness,
        corners=12,
    )
    rest = beam(
        (x, level - half, -leg_z - 0.01),
        (_back_width(chair) / 2 - half, level - half, rear),
        (1.3 * half, 0.9 * half),
        exponent=5,
        corners=12,
    )
    return mirrored([post, rest])

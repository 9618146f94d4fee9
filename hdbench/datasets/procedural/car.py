"""Cars: saloons, hatchbacks, estates, SUVs, pickups, vans, buses, sports cars.

Lengths are in car lengths; the front is at z = -0.5, the ground at y = 0. A car is a body (a loft from front to
back, wheel arches cut out), a cabin (a loft from belt line to roof, its windows let in), wheels and fittings.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from hdbench.datasets.procedural.lofts import (
    Solid,
    X,
    Z,
    along,
    beam,
    block,
    loft,
    merged,
    mirrored,
    smooth,
    tower,
    turned,
)
from hdbench.datasets.procedural.parameters import Between, OneOf, Subtype

_PANE_DEPTH = 0.014
_PILLAR = 0.024
_CORNER = 0.03
"""Radius of the cabin's corners seen from above."""
_ARCH = 1.17
"""Radius of a wheel arch over the wheel's."""


@dataclass(frozen=True)
class Car:
    """One car. Lengths in car lengths; places are distances from the front unless stated."""

    width: float = 0.4
    height: float = 0.33
    clearance: float = 0.05
    """Height of the sill above the ground."""
    wheel_radius: float = 0.075
    wheel_width: float = 0.06
    front_axle: float = 0.19
    rear_axle: float = 0.79
    squareness: float = 5.0
    """Superellipse exponent of the body's section."""
    front_taper: float = 0.15
    """Narrowing of the body at the front end, as a share of the width."""
    rear_taper: float = 0.1
    nose: float = 0.75
    """Height of the bonnet's front edge over the belt line's."""
    belt: float = 0.22
    """Height of the belt line, where the windows begin."""
    deck: float = 1.0
    """Height of the boot lid or bed over the belt line's."""
    cowl: float = 0.28
    """Where the windscreen begins."""
    windscreen: float = 0.14
    """Length of the windscreen seen from above."""
    roof_end: float = 0.7
    rear_window: float = 0.12
    """Length of the rear window seen from above."""
    tumblehome: float = 0.16
    """How much narrower the roof is than the belt line, as a share."""
    crown: float = 0.02
    """Height over which the roof's edge is rounded."""
    panes: int = 2
    """Windows on each side."""
    glazed: float = 1.0
    """Share of the side that has windows, from the front."""
    bed: bool = False
    """An open load bed behind the cabin."""
    spoiler: Literal["none", "lip", "wing", "roof"] = "none"
    rack: bool = False
    spare_wheel: bool = False
    running_board: bool = False
    bumper: float = 0.012
    """How far the bumpers stand out."""
    lamps: Literal["none", "round"] = "none"
    mirrors: bool = True


# fmt: off
SALOON = {
    "width": Between(0.37, 0.41), "height": Between(0.295, 0.33), "clearance": Between(0.04, 0.055),
    "wheel_radius": Between(0.068, 0.078), "front_axle": Between(0.18, 0.21), "rear_axle": Between(0.77, 0.8),
    "squareness": Between(3.8, 6), "front_taper": Between(0.1, 0.22), "rear_taper": Between(0.08, 0.16),
    "nose": Between(0.72, 0.88), "belt": Between(0.2, 0.22), "deck": Between(0.98, 1.08), "cowl": Between(0.27, 0.33),
    "windscreen": Between(0.12, 0.17), "roof_end": Between(0.64, 0.7), "rear_window": Between(0.1, 0.15),
    "tumblehome": Between(0.14, 0.24), "crown": Between(0.015, 0.03), "panes": 2,
    "spoiler": OneOf("none", "none", "none", "lip"), "bumper": Between(0.006, 0.02),
    "lamps": OneOf("none", "none", "round"),
}
HATCHBACK = SALOON | {
    "width": Between(0.42, 0.46), "height": Between(0.36, 0.4), "wheel_radius": Between(0.078, 0.088),
    "front_axle": Between(0.18, 0.2), "rear_axle": Between(0.81, 0.84), "nose": Between(0.7, 0.85),
    "belt": Between(0.235, 0.26), "deck": Between(0.95, 1.05), "cowl": Between(0.24, 0.29),
    "windscreen": Between(0.14, 0.19), "roof_end": Between(0.84, 0.89), "rear_window": Between(0.07, 0.12),
    "spoiler": OneOf("none", "roof"),
}
ESTATE = SALOON | {
    "height": Between(0.3, 0.34), "roof_end": Between(0.88, 0.92), "rear_window": Between(0.05, 0.08), "panes": 3,
    "deck": 1.0, "rack": OneOf(False, True), "spoiler": OneOf("none", "none", "roof"),
}
SUV = {
    "width": Between(0.4, 0.45), "height": Between(0.38, 0.44), "clearance": Between(0.07, 0.095),
    "wheel_radius": Between(0.085, 0.1), "wheel_width": Between(0.06, 0.075), "front_axle": Between(0.18, 0.2),
    "rear_axle": Between(0.79, 0.82), "squareness": Between(5, 9), "front_taper": Between(0.04, 0.12),
    "rear_taper": Between(0.02, 0.08), "nose": Between(0.85, 0.97), "belt": Between(0.26, 0.29), "deck": 1.0,
    "cowl": Between(0.27, 0.32), "windscreen": Between(0.05, 0.12), "roof_end": Between(0.91, 0.96),
    "rear_window": Between(0.01, 0.05), "tumblehome": Between(0.08, 0.16), "crown": Between(0.015, 0.03),
    "panes": OneOf(2, 3, 3), "rack": OneOf(False, True), "spare_wheel": OneOf(False, False, True),
    "running_board": OneOf(False, True), "bumper": Between(0.012, 0.03), "lamps": OneOf("none", "round"),
}
PICKUP = {
    "width": Between(0.35, 0.39), "height": Between(0.33, 0.37), "clearance": Between(0.07, 0.09),
    "wheel_radius": Between(0.075, 0.088), "wheel_width": Between(0.06, 0.07), "front_axle": Between(0.17, 0.19),
    "rear_axle": Between(0.76, 0.79), "squareness": Between(5, 9), "front_taper": Between(0.04, 0.12),
    "rear_taper": Between(0.0, 0.04), "nose": Between(0.85, 0.97), "belt": Between(0.225, 0.25), "deck": 1.0,
    "cowl": Between(0.24, 0.29), "windscreen": Between(0.07, 0.11), "roof_end": Between(0.5, 0.62),
    "rear_window": Between(0.005, 0.03), "tumblehome": Between(0.12, 0.2), "crown": Between(0.015, 0.03),
    "panes": OneOf(1, 2), "bed": True, "running_board": OneOf(False, True), "bumper": Between(0.012, 0.025),
    "lamps": OneOf("none", "round"),
}
VAN = {
    "width": Between(0.37, 0.41), "height": Between(0.4, 0.48), "clearance": Between(0.05, 0.07),
    "wheel_radius": Between(0.068, 0.078), "front_axle": Between(0.16, 0.19), "rear_axle": Between(0.76, 0.81),
    "squareness": Between(5, 9), "front_taper": Between(0.08, 0.16), "rear_taper": Between(0.0, 0.04),
    "nose": Between(0.78, 0.9), "belt": Between(0.23, 0.26), "deck": 1.0, "cowl": Between(0.06, 0.16),
    "windscreen": Between(0.1, 0.18), "roof_end": Between(0.97, 0.985), "rear_window": Between(0.0, 0.015),
    "tumblehome": Between(0.06, 0.14), "crown": Between(0.02, 0.035), "panes": OneOf(1, 3, 3),
    "glazed": OneOf(0.33, 1.0, 1.0), "rack": OneOf(False, False, True), "bumper": Between(0.006, 0.015),
}
BUS = {
    "width": Between(0.22, 0.29), "height": Between(0.27, 0.34), "clearance": Between(0.03, 0.045),
    "wheel_radius": Between(0.042, 0.05), "wheel_width": 0.045, "front_axle": Between(0.17, 0.24),
    "rear_axle": Between(0.72, 0.78), "squareness": Between(7, 10), "front_taper": Between(0.02, 0.08),
    "rear_taper": Between(0.0, 0.04), "nose": 0.98, "belt": Between(0.13, 0.155), "deck": 1.0,
    "cowl": Between(0.01, 0.02), "windscreen": Between(0.01, 0.04), "roof_end": Between(0.975, 0.985),
    "rear_window": Between(0.0, 0.01), "tumblehome": Between(0.02, 0.08), "crown": Between(0.02, 0.04),
    "panes": OneOf(4, 5, 6, 7), "rack": OneOf(False, False, False, True), "bumper": Between(0.004, 0.012),
}
SPORTS = {
    "width": Between(0.42, 0.46), "height": Between(0.25, 0.285), "clearance": Between(0.028, 0.04),
    "wheel_radius": Between(0.072, 0.08), "wheel_width": Between(0.07, 0.08), "front_axle": Between(0.19, 0.23),
    "rear_axle": Between(0.79, 0.82), "squareness": Between(3, 4.5), "front_taper": Between(0.18, 0.3),
    "rear_taper": Between(0.08, 0.18), "nose": Between(0.55, 0.7), "belt": Between(0.185, 0.2),
    "deck": Between(1.0, 1.1), "cowl": Between(0.3, 0.42), "windscreen": Between(0.15, 0.2),
    "roof_end": Between(0.6, 0.68), "rear_window": Between(0.18, 0.26), "tumblehome": Between(0.22, 0.32),
    "crown": Between(0.02, 0.03), "panes": 1, "spoiler": OneOf("none", "lip", "wing"), "bumper": Between(0.0, 0.008),
}

# fmt: on

SUBTYPES = {
    "saloon": Subtype(0.22, SALOON),
    "suv": Subtype(0.18, SUV),
    "hatchback": Subtype(0.15, HATCHBACK),
    "sports": Subtype(0.14, SPORTS),
    "pickup": Subtype(0.11, PICKUP),
    "van": Subtype(0.08, VAN),
    "estate": Subtype(0.07, ESTATE),
    "bus": Subtype(0.05, BUS),
}


def build(car: Car) -> list[Solid]:
    """The solids whose union is `car`."""
    return [_lower_body(car), *_cabin(car), *_wheels(car), *_fittings(car)]


def _half_width(car: Car, at: float) -> float:
    front = max(0.0, 1 - at / 0.25) ** 2 * car.front_taper
    rear = max(0.0, 1 - (1 - at) / 0.25) ** 2 * car.rear_taper
    return car.width / 2 * (1 - front - rear)


def _body_top(car: Car) -> np.ndarray:
    """Outline of bonnet, belt and deck: (place, height) rows."""
    rear = min(0.965, car.roof_end + car.rear_window)
    nose, belt, deck = car.nose * car.belt, car.belt, car.deck * car.belt
    return np.array(
        [
            (0.0, 0.72 * nose),
            (0.035, nose),
            (car.cowl * 0.5 + 0.03, nose + 0.62 * (belt - nose)),
            (max(0.05, car.cowl) + 0.02, belt),
            (rear, deck),
            (0.985, 0.99 * deck),
            (1.0, 0.85 * deck),
        ]
    )


def _lower_body(car: Car) -> Solid:
    rows = smooth(_body_top(car), 25)
    places, tops = np.concatenate([rows[:1], [[0.012, np.interp(0.012, rows[:, 0], rows[:, 1])]], rows[1:]]).T
    lift = np.maximum(0, 1 - places / 0.12) ** 1.5 + np.maximum(0, 1 - (1 - places) / 0.12) ** 1.5
    bottoms = car.clearance + 0.03 * lift
    half = np.array([_half_width(car, at) for at in places]) * np.where((places == 0) | (places == 1), 0.93, 1.0)
    stations = np.column_stack([places - 0.5, np.zeros_like(places), (tops + bottoms) / 2, half, (tops - bottoms) / 2])
    body = along(Z, stations, exponent=car.squareness, corners=20)
    cuts = []
    radius = _ARCH * car.wheel_radius
    for axle in (car.front_axle, car.rear_axle):
        inside = _half_width(car, axle) - 1.05 * car.wheel_width
        profile = [(inside, radius), (car.width, radius)]
        cuts.append(turned(profile, (0, car.wheel_radius, axle - 0.5), X, corners=28))
    if car.bed:
        start = car.roof_end + car.rear_window + 0.03
        depth = 0.42 * (car.belt - car.clearance)
        wall = 0.028
        low = (-(car.width / 2 - wall), car.belt - depth, start - 0.5)
        cuts_bed = [block(low, (car.width / 2 - wall, car.belt + 0.1, 0.5 - wall))]
    else:
        cuts_bed = []
    return merged([body], without=mirrored(cuts) + cuts_bed)


def _cabin_frame(car: Car, share: np.ndarray, inset: float = 0.0) -> np.ndarray:
    """Stations of the cabin at `share` of its height: (y, x, z, half width, half length)."""
    front = car.cowl + car.windscreen * share + inset
    rear = np.minimum(0.985, car.roof_end + car.rear_window) - car.rear_window * share - inset
    belt = car.belt * min(1.0, car.deck)
    y = belt + share * (car.height - belt)
    half = 0.5 * car.width * (0.93 - car.tumblehome * share) - inset
    return np.column_stack([y, np.zeros_like(share), (front + rear) / 2 - 0.5, half, (rear - front) / 2])


def _cabin(car: Car) -> list[Solid]:
    """The cabin's outside less its windows, and a smaller cabin inside as the panes."""
    rim = car.crown / (car.height - car.belt)
    outer = _cabin_frame(car, np.array([0.0, 0.0, 0.5, 1 - rim, 1 - 0.35 * rim, 1.0]))
    outer[0, 0] -= 0.04
    outer[4, 3:] -= 0.3 * car.crown
    outer[5, 3:] -= 1.1 * car.crown
    inner = _cabin_frame(car, np.array([0.0, 0.0, 0.5, 1 - 0.5 * rim]), _PANE_DEPTH)
    inner[0, 0] -= 0.04
    shell = tower(list(outer), radius=_CORNER)
    panes = tower(list(inner), radius=_CORNER - 0.5 * _PANE_DEPTH)
    return [merged([shell], without=_window_openings(car, rim)), panes]


def _window_openings(car: Car, rim: float) -> list[Solid]:
    low, high = np.array([0.1]), np.array([min(0.88, 1 - 1.3 * rim)])
    (y0, _, z0, w0, l0), (y1, _, z1, w1, l1) = _cabin_frame(car, low)[0], _cabin_frame(car, high)[0]
    openings = []
    edge = _CORNER
    ends = np.array([[z0 - l0 + edge, z0 + l0 - edge], [z1 - l1 + edge, z1 + l1 - edge]])  # (low/high, front/rear)
    ends[:, 1] = ends[:, 0] + car.glazed * (ends[:, 1] - ends[:, 0])
    marks = np.linspace(0, 1, car.panes + 1)
    for first, last in pairwise(marks):
        gap = _PILLAR / 2
        corners = []
        for (front, rear), y in zip(ends, (y0, y1), strict=True):
            a = front + first * (rear - front) + (gap if first > 0 else 0)
            b = front + last * (rear - front) - (gap if last < 1 else 0)
            corners.append((y, a, b))
        (ya, fa, ra), (yb, fb, rb) = corners
        polygon = np.array([(ya, fa), (ya, ra), (yb, rb), (yb, fb)])
        sides = [np.column_stack([np.full(4, x), polygon]) for x in (-car.width, car.width)]
        openings.append(loft(np.stack(sides)))
    across = np.array([(-w0 + edge, y0), (w0 - edge, y0), (w1 - edge, y1), (-w1 + edge, y1)])
    ends_z = [(z0 - l0 - 0.1, z1 - l1 + 0.04)]
    if car.glazed == 1.0:
        ends_z.append((z1 + l1 - 0.04, z0 + l0 + 0.1))
    for near, far in ends_z:
        openings.append(loft(np.stack([np.column_stack([across, np.full(4, z)]) for z in (near, far)])))
    return openings


def _wheels(car: Car) -> list[Solid]:
    radius, width = car.wheel_radius, car.wheel_width
    wheels = []
    for axle in (car.front_axle, car.rear_axle):
        outside = _half_width(car, axle) * 0.985
        profile = [
            (outside - 1.4 * width, radius),
            (outside - 0.12 * width, radius),
            (outside, 0.9 * radius),
            (outside, 0.66 * radius),
            (outside - 0.012, 0.6 * radius),
            (outside - 0.012, 0.25 * radius),
            (outside, 0.2 * radius),
        ]
        wheels.append(turned(profile, (0, radius, axle - 0.5), X, corners=24))
    return mirrored(wheels)


def _fittings(car: Car) -> list[Solid]:
    parts: list[Solid] = []
    height = 0.045
    level = car.clearance + 0.035
    if car.bumper:
        for low, high, at in ((-0.5 - car.bumper, -0.47, 0.02), (0.47, 0.5 + car.bumper, 0.98)):
            half = 0.97 * _half_width(car, at)
            parts.append(block((-half, level, low), (half, level + height, high), bevel=0.006))
    if car.mirrors:
        at = car.cowl + 0.3 * car.windscreen + 0.03 - 0.5
        x = 0.5 * car.width * 0.9
        parts += mirrored([block((x - 0.02, car.belt, at), (x + 0.035, car.belt + 0.03, at + 0.024), bevel=0.006)])
    roof = (car.cowl + car.windscreen - 0.5, car.roof_end - 0.5)
    roof_half = _cabin_frame(car, np.array([1.0]))[0, 3]
    if car.rack:
        x = roof_half - car.crown - 0.02
        start, end = (roof[0] + 0.06, roof[1] - 0.05)
        rail = beam(
            (x, car.height + 0.006, start), (x, car.height + 0.006, end), (0.011, 0.014), exponent=5, corners=12
        )
        parts += mirrored([rail])
        bars = np.linspace(start + 0.05, end - 0.05, 3)
        parts += [
            beam((-x, car.height + 0.01, z), (x, car.height + 0.01, z), (0.011, 0.011), exponent=5, corners=12)
            for z in bars
        ]
    parts += _spoiler(car)
    if car.spare_wheel:
        radius = 0.9 * car.wheel_radius
        profile = [(-0.03, radius), (0.04, radius), (0.05, 0.85 * radius)]
        parts.append(turned(profile, (0, car.belt, 0.5), Z, corners=24))
    if car.running_board:
        x = car.width / 2
        z = (car.front_axle + 1.35 * car.wheel_radius - 0.5, car.rear_axle - 1.35 * car.wheel_radius - 0.5)
        parts += mirrored([block((x - 0.05, car.clearance - 0.005, z[0]), (x + 0.02, car.clearance + 0.025, z[1]))])
    if car.lamps == "round":
        y = 0.5 * (level + height + 0.86 * car.nose * car.belt)
        radius = min(0.026, 0.5 * (0.86 * car.nose * car.belt - level - height) + 0.006)
        x = 0.72 * _half_width(car, 0.0)
        parts += mirrored(
            [turned([(-0.012, 0.8 * radius), (-0.006, radius), (0.04, radius)], (x, y, -0.5), Z, corners=14)]
        )
    return parts


def _spoiler(car: Car) -> list[Solid]:
    half = 0.85 * _half_width(car, 0.96)
    deck = car.deck * car.belt
    if car.spoiler == "lip":
        return [block((-half, deck - 0.02, 0.44), (half, deck + 0.02, 0.475), bevel=0.006)]
    if car.spoiler == "wing":
        top = deck + 0.06
        plane = block((-half, top, 0.425), (half, top + 0.022, 0.495), bevel=0.006)
        return [
            plane,
            *mirrored(
                [
                    beam(
                        (0.65 * half, deck - 0.03, 0.455),
                        (0.65 * half, top + 0.01, 0.46),
                        (0.012, 0.02),
                        exponent=5,
                        corners=12,
                    )
                ]
            ),
        ]
    if car.spoiler == "roof":
        z = car.roof_end - 0.5
        wide = 0.9 * _cabin_frame(car, np.array([1.0]))[0, 3]
        return [block((-wide, car.height - 0.024, z - 0.05), (wide, car.height, z + 0.035), bevel=0.006)]
    return []

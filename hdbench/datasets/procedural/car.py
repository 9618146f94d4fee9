"""Cars: saloons, hatchbacks, estates, SUVs, pickups, vans, buses, sports cars.

Lengths are in car lengths; the front is at z = -0.5, the ground at y = 0. A car is a body (a loft from front to
back, wheel arches cut out), a cabin (a loft from belt line to roof, its windows let in), wheels and fittings.
"""

from itertools import pairwise

import numpy as np

from hdbench.datasets.procedural.car_parameters import Car
from hdbench.datasets.procedural.lofts import (
    Array,
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

_PANE_DEPTH = 0.014
_PILLAR = 0.024
_CORNER = 0.03
"""Radius of the cabin's corners seen from above."""
_ARCH = 1.17
"""Radius of a wheel arch over the wheel's."""


def build(car: Car) -> list[Solid]:
    """The solids whose union is `car`."""
    return [_body(car), *_cabin(car), *_wheels(car), *_front_and_back(car), *_roof_fittings(car), *_sides(car)]


def _half_width(car: Car, at: float) -> float:
    """Half the body's width at distance `at` from the front."""
    front = max(0.0, 1 - at / 0.25) ** 2 * car.front_taper
    rear = max(0.0, 1 - (1 - at) / 0.25) ** 2 * car.rear_taper
    return car.width / 2 * (1 - front - rear)


def _top_line(car: Car) -> Array:
    """Bonnet, belt line and deck from the side: rows of distance from the front and height."""
    bonnet, belt, deck = car.nose * car.belt, car.belt, car.deck * car.belt
    cowl = max(0.05, car.cowl)
    corners = [
        (0.0, car.face * bonnet),
        (0.035, bonnet),
        (0.5 * cowl + 0.03, bonnet + 0.62 * (belt - bonnet)),
        (cowl + 0.02, belt),
        (car.cabin_end - 0.02, deck),
        (0.985, 0.99 * deck),
        (1.0, 0.85 * deck),
    ]
    return np.insert(smooth(np.array(corners), 25), 1, [0.012, (0.65 * car.face + 0.35) * bonnet], axis=0)


def _body(car: Car) -> Solid:
    at, top = _top_line(car).T
    overhang = np.maximum(0, 1 - at / 0.12) ** 1.5 + np.maximum(0, 1 - (1 - at) / 0.12) ** 1.5
    bottom = car.clearance + 0.03 * overhang
    half = np.array([_half_width(car, place) for place in at]) * np.where((at == 0) | (at == 1), 0.93, 1.0)
    stations = np.column_stack([at - 0.5, np.zeros_like(at), (top + bottom) / 2, half, (top - bottom) / 2])
    shell = along(Z, stations, exponent=car.squareness, corners=20)
    openings = mirrored(_wheel_arch(car, axle, wall=0.0) for axle in car.axles)
    if car.bed:
        openings.append(_bed(car))
    return merged([shell, *_fenders(car)], without=openings)


def _wheel_arch(car: Car, axle: float, *, wall: float) -> Solid:
    """What an arch takes out of the body; with `wall`, what it takes out including a wall around it."""
    inside = _half_width(car, axle) - 1.05 * car.wheel_width - wall
    radius = _ARCH * car.wheel_radius + wall
    return turned([(inside, radius), (car.width, radius)], (0, car.wheel_radius, axle - 0.5), X, corners=28)


def _bed(car: Car) -> Solid:
    """The room of the load bed, between the wheel houses."""
    wall, depth = 0.028, 0.42 * (car.belt - car.clearance)
    half, front = car.width / 2 - wall, car.cabin_end + 0.03 - 0.5
    room = block((-half, car.belt - depth, front), (half, car.belt + 0.1, 0.5 - wall))
    return merged([room], without=mirrored([_wheel_arch(car, car.rear_axle, wall=0.022)]))


def _fenders(car: Car) -> list[Solid]:
    """Bulges over the wheels, so that no arch cuts through a low bonnet."""
    if not car.fenders:
        return []
    share = np.linspace(-1, 1, 11)
    swell = np.maximum(0.06, 1 - share**2) ** 0.6
    parts = []
    for axle in car.axles:
        top = car.wheel_radius * (1 + _ARCH) + 0.026
        bottom = car.clearance + 0.02
        level = bottom + (top - bottom) / 2 * swell
        half = 0.75 * car.wheel_width
        x = _half_width(car, axle) - half + 0.008
        place = axle - 0.5 + np.where(share < 0, 2.0, 2.3) * car.wheel_radius * share
        place = np.clip(place, -0.495, 0.495)
        stations = [place, np.full_like(share, x), level, half * swell**0.5, (top - bottom) / 2 * swell]
        parts.append(along(Z, np.column_stack(stations), exponent=3.5, corners=16))
    return mirrored(parts)


def _cabin_frame(car: Car, share: Array, inset: float = 0.0) -> Array:
    """Stations of the cabin at `share` of its height: rows of height, centre x and z, half sizes along x and z."""
    front = car.cowl + car.windscreen * share + inset
    rear = car.cabin_end - car.rear_window * share - inset
    belt = car.belt * min(1.0, car.deck)
    height = belt + share * (car.height - belt)
    half = 0.5 * car.width * (car.shoulder - car.tumblehome * share) - inset
    return np.column_stack([height, np.zeros_like(share), (front + rear) / 2 - 0.5, half, (rear - front) / 2])


def _cabin(car: Car) -> list[Solid]:
    """The cabin's outside less its windows, and a smaller cabin inside as the panes."""
    rim = car.crown / (car.height - car.belt)
    outer = _cabin_frame(car, np.array([0.0, 0.0, 0.5, 1 - rim, 1 - 0.35 * rim, 1.0]))
    inner = _cabin_frame(car, np.array([0.0, 0.0, 0.5, 1 - 0.5 * rim]), _PANE_DEPTH)
    for frame in (outer, inner):
        frame[0, 0] -= 0.04  # sunk into the body
    outer[4:, 3:] -= np.array([[0.3], [1.1]]) * car.crown
    shell, panes = tower(outer, radius=_CORNER), tower(inner, radius=_CORNER - 0.5 * _PANE_DEPTH)
    return [merged([shell], without=_window_openings(car, min(0.88, 1 - 1.3 * rim))), panes]


def _window_openings(car: Car, top: float) -> list[Solid]:
    """Prisms through the cabin's shell, up to `top` of its height."""
    frame = _cabin_frame(car, np.array([0.1, top]))
    heights, half_width = frame[:, 0], frame[:, 3] - _CORNER
    front, rear = frame[:, 2] - frame[:, 4], frame[:, 2] + frame[:, 4]
    start = front + _CORNER
    length = car.glazed * (rear - _CORNER - start)
    panes = car.panes if car.glazed == 1 else 1
    openings = []
    for first, last in pairwise(np.linspace(0, 1, panes + 1)):
        a = start + first * length + (_PILLAR / 2 if first > 0 else 0)
        b = start + last * length - (_PILLAR / 2 if last < 1 else 0)
        pane = np.array([(heights[0], a[0]), (heights[0], b[0]), (heights[1], b[1]), (heights[1], a[1])])
        openings.append(loft(np.stack([np.insert(pane, 0, x, axis=1) for x in (-car.width, car.width)])))
    screen = np.array([
        (-half_width[0], heights[0]),
        (half_width[0], heights[0]),
        (half_width[1], heights[1]),
        (-half_width[1], heights[1]),
    ])  # fmt: skip
    ends = [(front[0] - 0.1, front[1] + 0.04)]
    if car.glazed == 1:
        ends.append((rear[1] - 0.04, rear[0] + 0.1))
    return openings + [loft(np.stack([np.insert(screen, 2, z, axis=1) for z in pair])) for pair in ends]


def _wheels(car: Car) -> list[Solid]:
    radius, width = car.wheel_radius, car.wheel_width
    dish = 0.012
    parts = []
    for axle in car.axles:
        outside = _half_width(car, axle) * 0.985
        tyre = [(outside - 1.4 * width, radius), (outside - 0.12 * width, radius), (outside, 0.9 * radius)]
        rim = [(outside, 0.66), (outside - dish, 0.6), (outside - dish, 0.25), (outside, 0.2)]
        profile = tyre + [(x, share * radius) for x, share in rim]
        parts.append(turned(profile, (0, radius, axle - 0.5), X, corners=24))
    return mirrored(parts)


def _front_and_back(car: Car) -> list[Solid]:
    """Bumpers, lamps, spare wheel, and the spoiler on the boot."""
    parts = []
    low, high = car.clearance + 0.035, car.clearance + 0.08
    if car.bumper:
        for near, far, at in ((-0.5 - car.bumper, -0.47, 0.02), (0.47, 0.5 + car.bumper, 0.98)):
            half = 0.97 * _half_width(car, at)
            parts.append(block((-half, low, near), (half, high, far), bevel=0.006))
    if car.lamps:
        edge = car.face * car.nose * car.belt
        radius = float(np.clip(0.5 * (edge - high) + 0.006, 0.014, 0.026))
        lamp = [(-0.012, 0.8 * radius), (-0.006, radius), (0.04, radius)]
        centre = (0.72 * _half_width(car, 0.0), 0.5 * (high + edge), -0.5)
        parts += mirrored([turned(lamp, centre, Z, corners=14)])
    if car.spare_wheel:
        radius = 0.9 * car.wheel_radius
        parts.append(
            turned([(-0.03, radius), (0.04, radius), (0.05, 0.85 * radius)], (0, car.belt, 0.5), Z, corners=24)
        )
    half, deck = 0.85 * _half_width(car, 0.96), car.deck * car.belt
    if car.spoiler == "lip":
        parts.append(block((-half, deck - 0.03, 0.44), (half, deck + 0.018, 0.475), bevel=0.006))
    if car.spoiler == "wing":
        top = deck + 0.06
        foot = 0.65 * half
        stay = beam((foot, deck - 0.03, 0.455), (foot, top + 0.01, 0.46), (0.012, 0.02), exponent=5, corners=12)
        parts += [block((-half, top, 0.425), (half, top + 0.022, 0.495), bevel=0.006), *mirrored([stay])]
    return parts


def _roof_fittings(car: Car) -> list[Solid]:
    """Roof rack, and the spoiler above the rear window."""
    parts: list[Solid] = []
    half = _cabin_frame(car, np.ones(1))[0, 3]
    if car.rack:
        x, y = half - car.crown - 0.02, car.height + 0.006
        front, rear = car.cowl + car.windscreen - 0.44, car.roof_end - 0.55
        parts += mirrored([beam((x, y, front), (x, y, rear), (0.011, 0.014), exponent=5, corners=12)])
        for z in np.linspace(front + 0.05, rear - 0.05, 3):
            parts.append(beam((-x, y, z), (x, y, z), (0.011, 0.011), exponent=5, corners=12))
    if car.spoiler == "roof":
        z = car.roof_end - 0.5
        parts.append(
            block((-0.9 * half, car.height - 0.024, z - 0.05), (0.9 * half, car.height, z + 0.035), bevel=0.006)
        )
    return parts


def _sides(car: Car) -> list[Solid]:
    """Mirrors and running boards."""
    parts = []
    if car.mirrors:
        x = 0.485 * car.shoulder * car.width
        z = car.cowl + 0.3 * car.windscreen - 0.47
        parts.append(block((x - 0.02, car.belt, z), (x + 0.035, car.belt + 0.03, z + 0.024), bevel=0.006))
    if car.running_board:
        x, reach = car.width / 2, 1.35 * car.wheel_radius
        front, rear = car.front_axle + reach - 0.5, car.rear_axle - reach - 0.5
        parts.append(block((x - 0.05, car.clearance - 0.005, front), (x + 0.02, car.clearance + 0.025, rear)))
    return mirrored(parts)

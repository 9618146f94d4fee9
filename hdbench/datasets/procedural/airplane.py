"""Airplanes: airliners, fighters, light propeller planes, gliders, business jets, biplanes, turboprops.

Lengths are in fuselage lengths; the nose is at z = -0.5. Nothing is thinner than `THIN` of the longest side, so
that a small neural field can hold it.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from hdbench.datasets.procedural.lofts import Array, Solid, X, Y, Z, along, beam, loft, mirrored, turned, wing
from hdbench.datasets.procedural.parameters import Between, OneOf, Subtype

THIN = 0.02


@dataclass(frozen=True)
class Airplane:
    """One airplane. Angles in degrees, lengths in fuselage lengths unless stated."""

    width: float = 0.1
    """Greatest width of the fuselage."""
    flatness: float = 1.0
    """Its height over its width."""
    squareness: float = 2.0
    """Superellipse exponent of its section."""
    nose_length: float = 0.15
    nose_bluntness: float = 0.5
    """0.5 is an ellipse, 1 a parabola: larger is more pointed."""
    nose_drop: float = 0.2
    """How far the nose's tip hangs below the axis, in half heights."""
    tail_length: float = 0.35
    tail_rise: float = 0.6
    """How far the tail's end lies above the axis, in half heights."""
    tail_end: float = 0.2
    """Size of the tail's end over the fuselage's."""
    canopy: float = 0.0
    """Height of the canopy over the fuselage in half heights; 0 is none."""
    canopy_at: float = 0.25
    canopy_length: float = 0.2
    span: float = 0.95
    wing_at: float = 0.36
    """Leading edge of the wing's root, from the nose."""
    wing_level: float = -0.5
    """Height of the wing's root in half heights of the fuselage."""
    chord: float = 0.2
    taper: float = 0.3
    sweep: float = 27.0
    dihedral: float = 5.0
    kink: float = 0.0
    """Share of the half span over which the trailing edge runs straight out; 0 is none."""
    winglet: float = 0.0
    """Height over half span."""
    tip_tank: bool = False
    second_wing: float = 0.0
    """Height of a biplane's upper wing above the lower in fuselage lengths; 0 is none."""
    stagger: float = 0.0
    strut: bool = False
    """Struts from the fuselage to a high wing."""
    tail: Literal["low", "cross", "tee", "vee", "twin", "delta"] = "low"
    fin_height: float = 0.15
    fin_chord: float = 0.16
    fin_sweep: float = 38.0
    fin_taper: float = 0.4
    stabiliser_span: float = 0.36
    stabiliser_chord: float = 0.11
    stabiliser_sweep: float = 30.0
    canard: bool = False
    engines: Literal["none", "wing", "rear", "trijet", "jet", "nose", "wing props"] = "wing"
    engine_count: int = 2
    """Engines under the wings, 2 or 4."""
    engine_radius: float = 0.035
    engine_length: float = 0.13
    engine_at: float = 0.33
    """Place of the inner engine as a share of the half span."""
    blades: int = 3
    propeller: float = 0.1
    """Radius."""
    intake: Literal["side", "chin", "nose"] = "side"
    gear: Literal["none", "tricycle", "taildragger", "floats"] = "none"
    gear_height: float = 0.1
    spats: bool = False

    @property
    def height(self) -> float:
        """Greatest height of the fuselage."""
        return self.width * self.flatness

    @property
    def thin(self) -> float:
        """The least thickness anything may have."""
        return THIN * max(1.0, self.span)


# fmt: off
AIRLINER = {
    "width": Between(0.095, 0.13), "flatness": Between(1.0, 1.08), "nose_length": Between(0.1, 0.16),
    "nose_bluntness": Between(0.48, 0.6), "nose_drop": Between(0.15, 0.35), "tail_length": Between(0.3, 0.38),
    "tail_rise": Between(0.5, 0.75), "tail_end": Between(0.12, 0.2), "span": Between(0.85, 1.08),
    "wing_at": Between(0.33, 0.39), "wing_level": Between(-0.6, -0.4), "chord": Between(0.2, 0.26),
    "taper": Between(0.2, 0.32), "sweep": Between(24, 35), "dihedral": Between(4, 7), "kink": Between(0.28, 0.38),
    "winglet": OneOf(0.0, 0.0, 0.1, 0.14), "tail": OneOf("low", "low", "low", "low", "cross", "tee"),
    "fin_height": Between(0.14, 0.19), "fin_chord": Between(0.15, 0.19), "fin_sweep": Between(35, 44),
    "stabiliser_span": Between(0.34, 0.42), "stabiliser_chord": Between(0.1, 0.13),
    "stabiliser_sweep": Between(28, 36), "engines": OneOf("wing", "wing", "wing", "wing", "rear", "trijet"),
    "engine_count": OneOf(2, 2, 4), "engine_radius": Between(0.032, 0.045), "engine_length": Between(0.1, 0.15),
    "engine_at": Between(0.3, 0.36),
}
FIGHTER = {
    "width": Between(0.09, 0.13), "flatness": Between(0.75, 1.0), "squareness": Between(2.2, 3.2),
    "nose_length": Between(0.28, 0.4), "nose_bluntness": Between(0.75, 1.0), "nose_drop": Between(0.1, 0.4),
    "tail_length": Between(0.2, 0.3), "tail_rise": Between(0.0, 0.2), "tail_end": Between(0.6, 0.75),
    "canopy": Between(0.6, 0.9), "canopy_at": Between(0.2, 0.27), "canopy_length": Between(0.2, 0.26),
    "span": Between(0.55, 0.75), "wing_at": Between(0.36, 0.44), "wing_level": Between(-0.2, 0.35),
    "chord": Between(0.3, 0.42), "taper": Between(0.16, 0.35), "sweep": Between(38, 52), "dihedral": Between(-4, 1),
    "tip_tank": OneOf(False, False, True), "tail": OneOf("low", "twin", "twin", "delta"),
    "fin_height": Between(0.13, 0.17), "fin_chord": Between(0.16, 0.2), "fin_sweep": Between(38, 50),
    "stabiliser_span": Between(0.36, 0.46), "stabiliser_chord": Between(0.12, 0.16),
    "stabiliser_sweep": Between(38, 48), "canard": OneOf(False, False, True), "engines": "jet",
    "engine_count": OneOf(1, 2), "engine_radius": Between(0.035, 0.045),
    "intake": OneOf("side", "side", "chin", "nose"),
}
PROPELLER = {
    "width": Between(0.13, 0.17), "flatness": Between(1.05, 1.25), "squareness": Between(2.6, 4.0),
    "nose_length": Between(0.1, 0.16), "nose_bluntness": Between(0.3, 0.4), "nose_drop": Between(0.0, 0.2),
    "tail_length": Between(0.5, 0.58), "tail_rise": Between(0.2, 0.5), "tail_end": Between(0.2, 0.28),
    "canopy": Between(0.5, 0.75), "canopy_at": Between(0.22, 0.27), "canopy_length": Between(0.3, 0.4),
    "span": Between(1.15, 1.45), "wing_at": Between(0.24, 0.3), "wing_level": OneOf(-0.75, 1.35),
    "chord": Between(0.18, 0.23), "taper": Between(0.55, 1.0), "sweep": Between(0, 5), "dihedral": Between(2, 6),
    "strut": True, "tail": OneOf("low", "low", "low", "tee"), "fin_height": Between(0.15, 0.2),
    "fin_chord": Between(0.14, 0.18), "fin_sweep": Between(18, 38), "fin_taper": Between(0.45, 0.65),
    "stabiliser_span": Between(0.38, 0.46), "stabiliser_chord": Between(0.11, 0.14),
    "stabiliser_sweep": Between(2, 12), "engines": "nose", "blades": OneOf(2, 3, 4), "propeller": Between(0.12, 0.15),
    "gear": OneOf("tricycle", "tricycle", "taildragger", "taildragger", "none", "floats"),
    "gear_height": Between(0.07, 0.1), "spats": OneOf(False, True),
}
GLIDER = {
    "width": Between(0.1, 0.125), "flatness": Between(1.1, 1.3), "nose_length": Between(0.2, 0.28),
    "nose_bluntness": Between(0.5, 0.62), "nose_drop": Between(0.1, 0.5), "tail_length": Between(0.6, 0.68),
    "tail_rise": Between(0.2, 0.5), "tail_end": Between(0.3, 0.36), "canopy": Between(0.25, 0.45),
    "canopy_at": Between(0.18, 0.23), "canopy_length": Between(0.24, 0.3), "span": Between(1.8, 2.4),
    "wing_at": Between(0.3, 0.36), "wing_level": Between(0.3, 0.8), "chord": Between(0.14, 0.18),
    "taper": Between(0.35, 0.6), "sweep": Between(0, 3), "dihedral": Between(2, 6), "winglet": OneOf(0.0, 0.0, 0.06),
    "tail": OneOf("tee", "tee", "vee", "low"), "fin_height": Between(0.16, 0.2), "fin_chord": Between(0.12, 0.15),
    "fin_sweep": Between(10, 25), "fin_taper": Between(0.55, 0.75), "stabiliser_span": Between(0.4, 0.5),
    "stabiliser_chord": Between(0.1, 0.12), "stabiliser_sweep": Between(2, 10), "engines": "none",
}
BUSINESS_JET = {
    "width": Between(0.115, 0.14), "nose_length": Between(0.18, 0.25), "nose_bluntness": Between(0.55, 0.72),
    "nose_drop": Between(0.25, 0.5), "tail_length": Between(0.33, 0.42), "tail_rise": Between(0.4, 0.7),
    "tail_end": Between(0.15, 0.25), "canopy": Between(0.12, 0.25), "canopy_at": Between(0.16, 0.19),
    "canopy_length": Between(0.16, 0.2), "span": Between(0.9, 1.1), "wing_at": Between(0.42, 0.48),
    "wing_level": Between(-0.75, -0.55), "chord": Between(0.18, 0.22), "taper": Between(0.3, 0.45),
    "sweep": Between(12, 32), "dihedral": Between(2, 5), "winglet": OneOf(0.0, 0.12, 0.16),
    "tip_tank": OneOf(False, False, False, True), "tail": OneOf("tee", "tee", "tee", "cross"),
    "fin_height": Between(0.17, 0.21), "fin_chord": Between(0.16, 0.19), "fin_sweep": Between(38, 50),
    "fin_taper": Between(0.55, 0.7), "stabiliser_span": Between(0.36, 0.44), "stabiliser_chord": Between(0.1, 0.12),
    "stabiliser_sweep": Between(22, 34), "engines": OneOf("rear", "rear", "rear", "trijet"),
    "engine_radius": Between(0.036, 0.046), "engine_length": Between(0.17, 0.22),
}
BIPLANE = PROPELLER | {
    "width": Between(0.13, 0.16), "canopy": 0.0, "span": Between(1.1, 1.35), "wing_at": Between(0.2, 0.26),
    "wing_level": Between(-0.9, -0.7), "chord": Between(0.19, 0.23), "taper": Between(0.8, 1.0),
    "sweep": Between(0, 6), "dihedral": Between(0, 4), "second_wing": Between(0.2, 0.25),
    "stagger": Between(-0.06, 0.03), "tail": "low", "fin_height": Between(0.13, 0.16), "fin_taper": Between(0.5, 0.7),
    "gear": OneOf("taildragger", "taildragger", "floats"), "gear_height": Between(0.09, 0.12),
}
TURBOPROP = {
    "width": Between(0.1, 0.14), "flatness": Between(1.0, 1.1), "squareness": Between(2.0, 2.6),
    "nose_length": Between(0.12, 0.18), "nose_bluntness": Between(0.5, 0.62), "nose_drop": Between(0.25, 0.5),
    "tail_length": Between(0.38, 0.46), "tail_rise": Between(0.6, 0.9), "tail_end": Between(0.15, 0.25),
    "span": Between(1.1, 1.35), "wing_at": Between(0.37, 0.42), "wing_level": OneOf(-0.7, 0.95, 0.95),
    "chord": Between(0.15, 0.19), "taper": Between(0.4, 0.6), "sweep": Between(1, 6), "dihedral": Between(1, 5),
    "tail": OneOf("tee", "tee", "low", "twin"), "fin_height": Between(0.18, 0.22), "fin_chord": Between(0.16, 0.2),
    "fin_sweep": Between(22, 38), "fin_taper": Between(0.5, 0.65), "stabiliser_span": Between(0.38, 0.48),
    "stabiliser_chord": Between(0.1, 0.13), "stabiliser_sweep": Between(5, 15), "engines": "wing props",
    "engine_count": OneOf(2, 2, 4), "engine_radius": Between(0.032, 0.04), "engine_length": Between(0.2, 0.26),
    "engine_at": Between(0.28, 0.34), "blades": OneOf(3, 4), "propeller": Between(0.1, 0.13),
}

# fmt: on

SUBTYPES = {
    "airliner": Subtype(0.26, AIRLINER),
    "fighter": Subtype(0.19, FIGHTER),
    "propeller": Subtype(0.15, PROPELLER),
    "business jet": Subtype(0.13, BUSINESS_JET),
    "turboprop": Subtype(0.11, TURBOPROP),
    "glider": Subtype(0.08, GLIDER),
    "biplane": Subtype(0.08, BIPLANE),
}


def build(plane: Airplane) -> list[Solid]:
    """The solids whose union is `plane`."""
    parts = [_fuselage(plane), *_wings(plane), *_tail(plane), *_engines(plane), *_gear(plane)]
    if plane.canopy:
        parts.append(_canopy(plane))
    return parts


def _section(plane: Airplane, at: float) -> tuple[float, float]:
    """Height of the fuselage's centre and its size (share of the greatest) at distance `at` from the nose."""
    drop, rise = -plane.nose_drop, plane.tail_rise
    if at < plane.nose_length:
        ahead = 1 - at / plane.nose_length
        size = max(0.06, (1 - ahead**2) ** plane.nose_bluntness)
        return drop * ahead**2 * plane.height / 2, size
    behind = max(0.0, (at - (1 - plane.tail_length)) / plane.tail_length)
    size = 1 - (1 - plane.tail_end) * behind**1.7
    return rise * (1 - plane.tail_end) * behind**1.7 * plane.height / 2, size


def _fuselage(plane: Airplane) -> Solid:
    nose = plane.nose_length * (1 - np.cos(np.linspace(0, np.pi / 2, 9)))
    tail = 1 - plane.tail_length * np.linspace(1, 0, 8)
    places = np.concatenate([nose, tail])
    rows = [(at, *_section(plane, at)) for at in places]
    half = np.array([plane.width, plane.height]) / 2
    stations = np.array([(at - 0.5, 0, centre, size * half[0], size * half[1]) for at, centre, size in rows])
    return along(Z, stations, exponent=plane.squareness, corners=20)


def _canopy(plane: Airplane) -> Solid:
    """A teardrop half sunk into the fuselage."""
    share = np.linspace(0, 1, 11)
    swell = np.maximum(0.05, np.sin(np.pi * share**0.75)) ** 0.75
    at = plane.canopy_at + plane.canopy_length * (share - 0.3)
    centre, size = np.array([_section(plane, x) for x in at]).T
    half_height = plane.height / 2
    rise = plane.canopy * half_height * swell
    top = centre + size * half_height + rise
    bottom = centre
    half_width = np.minimum(0.4 * plane.width * swell + 0.01, 0.46 * plane.width * size)
    stations = [at - 0.5, np.zeros(11), (top + bottom) / 2, half_width, (top - bottom) / 2]
    return along(Z, np.column_stack(stations), exponent=2.3, corners=16)


def _lifting(
    root: tuple[float, float],
    half_span: float,
    chord: float,
    taper: float,
    sweep: float,
    dihedral: float,
    *,
    thin: float,
    kink: float = 0.0,
    winglet: float = 0.0,
    ratio: float = 0.12,
) -> Solid:
    """A wing through x = 0, tip to tip; `root` is (y, z) of its leading edge."""
    slope, lift = np.tan(np.radians(sweep)), np.tan(np.radians(dihedral))
    shares = [0.0, kink, 1.0] if kink else [0.0, 1.0]
    rows = []
    for share in shares:
        x = share * half_span
        width = chord * (1 - (1 - taper) * share)
        if kink and share == 0:
            width += 0.6 * kink * half_span * slope
        rows.append([x, root[0] + lift * x, root[1] + slope * x, width, max(thin, ratio * width), 0.0, 1.0])
    x, y, z, width, thick, *_ = rows[-1]
    if winglet:
        up = winglet * half_span
        rows.append([x + 0.12 * up, y + 0.06 * up, z + 0.15 * width, 0.85 * width, thin, -0.7, 0.7])
        rows.append([x + 0.35 * up, y + up, z + 0.15 * width + 0.6 * up, 0.55 * width, thin * 0.9, -1.0, 0.2])
    else:
        rows.append([x + 0.5 * thick, y, z + 0.2 * width, 0.7 * width, 0.55 * thick, 0.0, 1.0])
    right = np.array(rows)
    left = right[:0:-1] * [-1, 1, 1, 1, 1, -1, 1]
    table = np.concatenate([left, right])
    normals = np.column_stack([table[:, 5:], np.zeros(len(table))])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return wing(table[:, :3], table[:, 3], table[:, 4], normals)


def _wing_root(plane: Airplane) -> tuple[float, float]:
    return plane.wing_level * plane.height / 2, plane.wing_at - 0.5


def _wing_point(plane: Airplane, share: float) -> tuple[float, float, float, float]:
    """x, y, z of the leading edge at `share` of the half span, and the chord there."""
    y, z = _wing_root(plane)
    x = share * plane.span / 2
    slope, lift = np.tan(np.radians([plane.sweep, plane.dihedral]))
    return x, y + lift * x, z + slope * x, plane.chord * (1 - (1 - plane.taper) * share)


def _wings(plane: Airplane) -> list[Solid]:
    y, z = _wing_root(plane)
    form = (plane.span / 2, plane.chord, plane.taper, plane.sweep, plane.dihedral)
    parts = [_lifting((y, z), *form, thin=plane.thin, kink=plane.kink, winglet=plane.winglet)]
    if plane.tip_tank:
        x, y_tip, z_tip, chord = _wing_point(plane, 1.0)
        radius = 0.8 * plane.thin
        profile = _spindle(0.9 * chord + 0.08, radius)
        parts += mirrored([turned(profile, (x, y_tip, z_tip + chord / 2), Z, corners=12)])
    if plane.second_wing:
        parts += _upper_wing(plane)
    if plane.strut and plane.wing_level > 1:
        x, y_wing, z_wing, chord = _wing_point(plane, 0.5)
        foot = (0.4 * plane.width, -0.3 * plane.height, z_wing + 0.4 * chord)
        parts += mirrored([beam(foot, (x, y_wing, z_wing + 0.4 * chord), (0.6 * plane.thin, 0.5 * plane.thin))])
        middle = (plane.wing_at + 0.5 * plane.chord, 0.55 * plane.chord)
        parts.append(_pylon(plane, middle[0] - 0.5, middle[1], y + 0.2 * plane.thin))
    return parts


def _pylon(plane: Airplane, z: float, length: float, top: float) -> Solid:
    """The cabin's roof under a wing above the fuselage."""
    half = 0.36 * plane.width
    stations = [(0.0, 0, z, half * 1.2, 0.65 * length), (top, 0, z, half, 0.5 * length)]
    return along(Y, np.array(stations), exponent=4, corners=12)


def _upper_wing(plane: Airplane) -> list[Solid]:
    y, z = _wing_root(plane)
    rise, shift = plane.second_wing, plane.stagger
    form = (plane.span / 2, plane.chord, plane.taper, plane.sweep, plane.dihedral)
    parts = [_lifting((y + rise, z + shift), *form, thin=plane.thin)]
    struts = []
    for share in (0.2, 0.72):
        x, low, lead, chord = _wing_point(plane, share)
        for along_chord in (0.25, 0.7):
            foot = np.array([x, low, lead + along_chord * chord])
            if share < 0.5:
                foot = np.array([0.3 * plane.width, 0.0, foot[2]])
            top = np.array([x, low + rise, lead + along_chord * chord + shift])
            struts.append(beam(foot, top, (0.45 * plane.thin, 0.55 * plane.thin), corners=8))
    return parts + mirrored(struts)


def _tail(plane: Airplane) -> list[Solid]:
    centre, size = _section(plane, 0.96)
    top = centre + 0.3 * size * plane.height
    fin_lead = 0.5 - plane.fin_chord - 0.02
    ratio = max(plane.thin, 0.1 * plane.fin_chord)
    sweep = np.tan(np.radians(plane.fin_sweep))

    def fin(x: float, base: float, height: float, lean: float = 0.0) -> Solid:
        chords = np.array([1.0, 1 - (1 - plane.fin_taper) * 0.97, plane.fin_taper * 0.75]) * plane.fin_chord
        up = np.array([0.0, 0.97, 1.0]) * height
        leading = np.column_stack([x + lean * up, base + up, fin_lead + sweep * up])
        normals = np.broadcast_to(np.array([1.0, -lean, 0.0]) / np.hypot(1, lean), (3, 3))
        return wing(leading, chords, ratio * np.array([1.0, 0.95, 0.5]), normals)

    half = plane.stabiliser_span / 2
    form = (plane.stabiliser_chord, 0.5, plane.stabiliser_sweep)
    lead = 0.5 - plane.stabiliser_chord - 0.02
    if plane.tail == "vee":
        return mirrored([fin(0.0, centre, 0.85 * half, 0.85)])
    parts = []
    if plane.tail == "twin" and plane.engines == "jet":
        parts += mirrored([fin(0.42 * plane.width, centre, 0.95 * plane.fin_height + 0.02, 0.25)])
    elif plane.tail == "twin":
        parts += mirrored([fin(0.92 * half, centre - 0.25 * plane.fin_height, plane.fin_height)])
        form = (plane.stabiliser_chord, 0.8, 4.0)
    else:
        parts.append(fin(0.0, centre, top - centre + plane.fin_height))
    if plane.tail in ("tee", "cross"):
        up = top - centre + plane.fin_height * (0.96 if plane.tail == "tee" else 0.5)
        shift = sweep * up + (0.0 if plane.tail == "tee" else 0.2 * plane.fin_chord)
        parts.append(_lifting((centre + up, fin_lead + shift), half, *form, 0.0, thin=plane.thin))
    elif plane.tail != "delta":
        parts.append(_lifting((centre, lead), half, *form, 3.0 if plane.engines != "jet" else 0.0, thin=plane.thin))
    if plane.canard:
        y = 0.15 * plane.height
        parts.append(
            _lifting((y, plane.canopy_at - 0.5 + 0.06), 0.42 * plane.span / 2 + 0.04, 0.11, 0.4, 42, 0, thin=plane.thin)
        )
    return parts


def _spindle(length: float, radius: float, steps: int = 9) -> Array:
    """The profile of a streamlined body of revolution about its middle: (offset, radius) rows."""
    share = np.linspace(0, 1, steps)
    swell = np.maximum(0.12, np.sin(np.pi * share) ** 0.6)
    return np.column_stack([(share - 0.5) * length, radius * swell])


def _nacelle(centre: tuple[float, float, float], radius: float, length: float) -> Solid:
    """A turbofan: a cowl with a hollowed mouth; `centre` is the middle of its front."""
    profile = [
        (0.35 * radius, 0.62 * radius),
        (0.05 * radius, 0.72 * radius),
        (0.0, 0.85 * radius),
        (0.2 * radius, 0.98 * radius),
        (0.35 * length, radius),
        (0.7 * length, 0.86 * radius),
        (0.72 * length, 0.66 * radius),
        (length, 0.42 * radius),
    ]
    return turned(profile, centre, Z, corners=18)


def _propeller(plane: Airplane, hub: tuple[float, float, float], radius: float, spinner: float) -> list[Solid]:
    """A spinner and blades; `hub` is where the spinner meets the cowl."""
    share = np.linspace(0, 1, 6)
    profile = np.column_stack([-1.4 * spinner * share, spinner * np.sqrt(np.maximum(0.02, 1 - share**2))])
    profile[0, 0] = 0.5 * spinner
    parts = [turned(profile, hub, Z, corners=14)]
    for blade in range(plane.blades):
        angle = np.pi / 2 + 2 * np.pi * blade / plane.blades
        direction = np.array([np.cos(angle), np.sin(angle), 0.0])
        centre = np.array(hub) - [0, 0, 0.5 * spinner]
        parts.append(_blade(centre, direction, radius, plane.thin))
    return parts


def _blade(root: Array, direction: Array, radius: float, thin: float) -> Solid:
    across = np.cross(Z, direction)
    shares = np.array([0.0, 0.3, 0.7, 0.97, 1.0])
    widths = np.array([0.55, 0.85, 0.9, 0.6, 0.3]) * 1.7 * thin
    angles = np.linspace(0, 2 * np.pi, 10, endpoint=False)
    ring = (
        np.cos(angles)[None, :, None] * widths[:, None, None] * across + 0.5 * thin * np.sin(angles)[None, :, None] * Z
    )
    return loft(root + radius * shares[:, None, None] * direction + ring)


def _engines(plane: Airplane) -> list[Solid]:
    if plane.engines in ("wing", "wing props"):
        return _wing_engines(plane)
    if plane.engines in ("rear", "trijet"):
        return _rear_engines(plane)
    if plane.engines == "jet":
        return _jets(plane)
    if plane.engines == "nose":
        centre, _ = _section(plane, 0.0)
        spinner = max(0.03, 0.2 * plane.width)
        return _propeller(plane, (0.0, centre, -0.5), plane.propeller, spinner)
    return []


def _wing_engines(plane: Airplane) -> list[Solid]:
    shares = [plane.engine_at] if plane.engine_count == 2 else [plane.engine_at - 0.02, plane.engine_at + 0.3]
    radius, length = plane.engine_radius, plane.engine_length
    parts = []
    for number, share in enumerate(shares):
        x, y, z, chord = _wing_point(plane, share)
        scale = 1.0 if number == 0 else 0.9
        r, n = radius * scale, length * scale
        if plane.engines == "wing":
            low, front = y - 1.25 * r, z - 0.7 * n
            parts.append(_nacelle((x, low, front), r, n))
            pylon = [(low, x, z, 0.5 * plane.thin, 0.55 * n), (y, x, z + 0.3 * chord, 0.5 * plane.thin, 0.5 * n)]
            parts.append(along(Y, np.array(pylon), exponent=4, corners=12))
        else:
            front = z - 0.55 * n
            cowl = [(0.0, 0.5 * r), (0.06 * n, 0.85 * r), (0.3 * n, r), (0.6 * n, 0.95 * r), (n, 0.35 * r)]
            parts.append(turned(cowl, (x, y, front), Z, corners=16))
            parts += _propeller(plane, (x, y, front), plane.propeller * scale, 0.5 * r)
    return mirrored(parts)


def _rear_engines(plane: Airplane) -> list[Solid]:
    radius, length = plane.engine_radius, plane.engine_length
    at = 0.66
    centre, size = _section(plane, at + length / 2)
    x = size * plane.width / 2 + 1.15 * radius
    y = centre + 0.25 * plane.height
    pylon = beam(
        (0.0, centre, at + 0.5 * length - 0.5),
        (x, y, at + 0.5 * length - 0.5),
        (0.3 * length, 0.5 * plane.thin),
        exponent=4,
        corners=12,
    )
    parts = mirrored([_nacelle((x, y, at - 0.5), radius, length), pylon])
    if plane.engines == "trijet":
        centre, size = _section(plane, 0.85)
        r = 0.95 * radius
        parts.append(
            _nacelle(
                (0.0, centre + size * plane.height / 2 + 0.75 * r, 0.5 - plane.fin_chord - 0.08),
                r,
                plane.fin_chord + 0.12,
            )
        )
    return parts


def _jets(plane: Airplane) -> list[Solid]:
    """A fighter's intakes and nozzles."""
    radius = plane.engine_radius
    xs = [0.0] if plane.engine_count == 1 else [0.8 * radius, -0.8 * radius]
    scale = 1.15 if plane.engine_count == 1 else 0.95
    centre, _ = _section(plane, 0.97)
    nozzle = [(-0.16, 0.7), (-0.06, 1.0), (0.0, 0.98), (0.05, 0.8), (0.045, 0.62), (0.02, 0.5)]
    parts = [turned([(a, r * scale * radius) for a, r in nozzle], (x, centre, 0.5), Z, corners=16) for x in xs]
    w, h = plane.width / 2, plane.height / 2
    if plane.intake == "side":
        stations = [
            (-0.17, 0.95 * w, -0.05 * h, 0.42 * w, 0.6 * h),
            (0.1, 0.85 * w, -0.05 * h, 0.5 * w, 0.65 * h),
            (0.4, 0.45 * w, 0.0, 0.4 * w, 0.5 * h),
        ]
        parts += mirrored([along(Z, np.array(stations), exponent=4, corners=12)])
    elif plane.intake == "chin":
        stations = [
            (-0.17, 0, -1.1 * h, 0.7 * w, 0.42 * h),
            (0.1, 0, -0.8 * h, 0.75 * w, 0.5 * h),
            (0.4, 0, -0.3 * h, 0.5 * w, 0.3 * h),
        ]
        parts.append(along(Z, np.array(stations), exponent=3.5, corners=12))
    return parts


def _gear(plane: Airplane) -> list[Solid]:
    if plane.gear == "none":
        return []
    thin, ground = plane.thin, -plane.height / 2 - plane.gear_height
    wheel = 0.035 if not plane.spats else 0.032
    parts: list[Solid] = []
    main_at = plane.wing_at + (0.55 if plane.gear == "tricycle" else 0.1) * plane.chord - 0.5
    if plane.gear == "floats":
        x = 0.16
        bottom = ground - 0.02
        share = np.linspace(0, 1, 9)
        swell = np.maximum(0.2, np.sin(np.pi * share**0.7)) ** 0.5
        z = -0.42 + 0.75 * share
        float_half = 0.036
        stations = np.column_stack(
            [z, np.full(9, x), bottom + 0.02 * (1 - swell), float_half * swell, float_half * swell]
        )
        parts.append(along(Z, stations, exponent=3, corners=12))
        for at in (main_at - 0.04, main_at + 0.16):
            parts.append(beam((0.02, -0.3 * plane.height, at), (x, bottom, at), (0.6 * thin, 0.5 * thin)))
        return mirrored(parts)
    x = 0.12

    def leg(x: float, z: float, top: tuple[float, float, float]) -> list[Solid]:
        hub = (x, ground + wheel, z)
        rim = [(-0.5 * thin, 0.75 * wheel), (-0.35 * thin, wheel), (0.35 * thin, wheel), (0.5 * thin, 0.75 * wheel)]
        solids = [turned([(1.3 * a, r) for a, r in rim], hub, X, corners=16), beam(top, hub, (0.45 * thin, 0.5 * thin))]
        if plane.spats:
            spat = _spindle(4.6 * wheel, 1.05 * wheel)
            solids.append(turned(spat, (x, hub[1] + 0.3 * wheel, z + 0.4 * wheel), Z, corners=12))
        return solids

    parts += mirrored(leg(x, main_at, (0.02, -0.25 * plane.height, main_at)))
    if plane.gear == "tricycle":
        parts += leg(0.0, -0.4, (0.0, -0.2 * plane.height, -0.4))
    return parts

"""What airplanes differ in, and what each sub-type's parameters are drawn from."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from hdbench.datasets.procedural.parameters import Between, OneOf, Subtype

THIN = 0.02
"""Nothing is thinner than this share of the longest side, so that a small neural field can hold it."""


class WingPoint(NamedTuple):
    """A point of a wing's leading edge, and the chord behind it."""

    x: float
    y: float
    z: float
    chord: float


@dataclass(frozen=True)
class WingForm:
    """A symmetric wing seen from above and from ahead. Angles in degrees."""

    y: float
    z: float
    """Leading edge of the root."""
    half_span: float
    chord: float
    taper: float
    sweep: float = 0.0
    dihedral: float = 0.0

    def at(self, share: float) -> WingPoint:
        """The wing at `share` of its half span."""
        x = share * self.half_span
        slope, lift = np.tan(np.radians([self.sweep, self.dihedral]))
        return WingPoint(x, self.y + lift * x, self.z + slope * x, self.chord * (1 - (1 - self.taper) * share))


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
    stores: bool = False
    """A tank under each wing."""
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

    @property
    def wing(self) -> WingForm:
        """The (lower) wing."""
        root = (self.wing_level * self.height / 2, self.wing_at - 0.5)
        return WingForm(*root, self.span / 2, self.chord, self.taper, self.sweep, self.dihedral)

    def section(self, at: float) -> tuple[float, float]:
        """Height of the fuselage's centre and its size as a share of the greatest, at distance `at` from the nose."""
        if at < self.nose_length:
            ahead = 1 - at / self.nose_length
            size = max(0.06, (1 - ahead**2) ** self.nose_bluntness)
            return -self.nose_drop * ahead**2 * self.height / 2, size
        behind = max(0.0, 1 - (1 - at) / self.tail_length) ** 1.7 * (1 - self.tail_end)
        return self.tail_rise * behind * self.height / 2, 1 - behind


# fmt: off
AIRLINER = {
    "width": Between(0.095, 0.13), "flatness": Between(1.0, 1.08), "nose_length": Between(0.1, 0.16),
    "nose_bluntness": Between(0.48, 0.6), "nose_drop": Between(0.15, 0.35), "tail_length": Between(0.3, 0.38),
    "tail_rise": Between(0.5, 0.75), "tail_end": Between(0.12, 0.2), "canopy": OneOf(0.0, 0.0, 0.0, 0.0, 0.0, 0.3),
    "canopy_at": 0.16, "canopy_length": Between(0.3, 0.36), "span": Between(0.85, 1.08),
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
    "stabiliser_sweep": Between(38, 48), "canard": OneOf(False, False, True), "stores": OneOf(False, True),
    "engines": "jet", "engine_count": OneOf(1, 2), "engine_radius": Between(0.035, 0.045),
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
    "width": Between(0.115, 0.14), "flatness": Between(1.1, 1.3), "nose_length": Between(0.2, 0.28),
    "nose_bluntness": Between(0.5, 0.62), "nose_drop": Between(0.1, 0.5), "tail_length": Between(0.6, 0.68),
    "tail_rise": Between(0.2, 0.5), "tail_end": Between(0.3, 0.36), "canopy": Between(0.25, 0.45),
    "canopy_at": Between(0.18, 0.23), "canopy_length": Between(0.24, 0.3), "span": Between(1.55, 2.05),
    "wing_at": Between(0.3, 0.36), "wing_level": Between(0.3, 0.8), "chord": Between(0.15, 0.19),
    "taper": Between(0.35, 0.6), "sweep": Between(0, 3), "dihedral": Between(2, 6), "winglet": OneOf(0.0, 0.0, 0.06),
    "tail": OneOf("tee", "tee", "vee", "low"), "fin_height": Between(0.16, 0.2), "fin_chord": Between(0.12, 0.15),
    "fin_sweep": Between(10, 25), "fin_taper": Between(0.55, 0.75), "stabiliser_span": Between(0.4, 0.5),
    "stabiliser_chord": Between(0.1, 0.12), "stabiliser_sweep": Between(2, 10), "engines": "none",
}
BUSINESS_JET = {
    "width": Between(0.115, 0.14), "nose_length": Between(0.18, 0.25), "nose_bluntness": Between(0.55, 0.72),
    "nose_drop": Between(0.25, 0.5), "tail_length": Between(0.33, 0.42), "tail_rise": Between(0.4, 0.7),
    "tail_end": Between(0.15, 0.25), "canopy": Between(0.04, 0.14), "canopy_at": Between(0.15, 0.18),
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

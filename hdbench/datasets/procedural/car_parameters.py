"""What cars differ in, and what each sub-type's parameters are drawn from."""

from dataclasses import dataclass
from typing import Literal

from hdbench.datasets.procedural.parameters import Between, OneOf, Subtype


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
    face: float = 0.75
    """Height of the front's upper edge over the bonnet's front edge."""
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
    shoulder: float = 0.93
    """Width of the cabin at the belt line over the body's."""
    tumblehome: float = 0.16
    """How much narrower the roof is than the belt line, as a share."""
    crown: float = 0.02
    """Height over which the roof's edge is rounded."""
    panes: int = 2
    """Windows on each side."""
    glazed: float = 1.0
    """Share of the side that has windows, from the front; below 1 there is a single pane and no rear window."""
    bed: bool = False
    """An open load bed behind the cabin."""
    spoiler: Literal["none", "lip", "wing", "roof"] = "none"
    rack: bool = False
    spare_wheel: bool = False
    running_board: bool = False
    bumper: float = 0.012
    """How far the bumpers stand out."""
    lamps: bool = False
    """Round lamps that stand out."""
    fenders: bool = False
    """Mudguards that bulge out of the body."""
    mirrors: bool = True

    @property
    def axles(self) -> tuple[float, float]:
        """Distances of both axles from the front."""
        return self.front_axle, self.rear_axle

    @property
    def cabin_end(self) -> float:
        """Where the rear window meets the belt line."""
        return min(0.985, self.roof_end + self.rear_window)


# fmt: off
SALOON = {
    "width": Between(0.37, 0.41), "height": Between(0.295, 0.33), "clearance": Between(0.04, 0.055),
    "wheel_radius": Between(0.068, 0.078), "front_axle": Between(0.18, 0.21), "rear_axle": Between(0.77, 0.8),
    "squareness": Between(3.8, 6), "front_taper": Between(0.1, 0.22), "rear_taper": Between(0.08, 0.16),
    "nose": Between(0.74, 0.94), "belt": Between(0.2, 0.22), "deck": Between(0.98, 1.08), "cowl": Between(0.27, 0.33),
    "windscreen": Between(0.1, 0.17), "roof_end": Between(0.64, 0.7), "rear_window": Between(0.1, 0.15),
    "tumblehome": Between(0.14, 0.24), "crown": Between(0.015, 0.03), "panes": 2,
    "spoiler": OneOf("none", "none", "none", "lip"), "bumper": Between(0.006, 0.02),
    "lamps": OneOf(False, False, True), "face": Between(0.66, 0.9), "fenders": OneOf(False, False, False, True),
}
HATCHBACK = SALOON | {
    "width": Between(0.42, 0.46), "height": Between(0.36, 0.4), "wheel_radius": Between(0.078, 0.088),
    "front_axle": Between(0.18, 0.2), "rear_axle": Between(0.81, 0.84), "nose": Between(0.7, 0.9),
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
    "running_board": OneOf(False, True), "bumper": Between(0.012, 0.03), "lamps": OneOf(False, True),
    "face": Between(0.74, 0.92), "fenders": OneOf(False, False, True),
}
PICKUP = {
    "width": Between(0.35, 0.39), "height": Between(0.33, 0.37), "clearance": Between(0.07, 0.09),
    "wheel_radius": Between(0.075, 0.088), "wheel_width": Between(0.06, 0.07), "front_axle": Between(0.17, 0.19),
    "rear_axle": Between(0.76, 0.79), "squareness": Between(5, 9), "front_taper": Between(0.04, 0.12),
    "rear_taper": Between(0.0, 0.04), "nose": Between(0.85, 0.97), "belt": Between(0.225, 0.25), "deck": 1.0,
    "cowl": Between(0.24, 0.29), "windscreen": Between(0.07, 0.11), "roof_end": Between(0.5, 0.62),
    "rear_window": Between(0.005, 0.03), "tumblehome": Between(0.12, 0.2), "crown": Between(0.015, 0.03),
    "panes": OneOf(1, 2), "bed": True, "running_board": OneOf(False, True), "bumper": Between(0.012, 0.025),
    "lamps": OneOf(False, True), "face": Between(0.74, 0.92), "fenders": OneOf(False, False, True),
}
VAN = {
    "width": Between(0.37, 0.41), "height": Between(0.4, 0.48), "clearance": Between(0.05, 0.07),
    "wheel_radius": Between(0.068, 0.078), "front_axle": Between(0.16, 0.19), "rear_axle": Between(0.76, 0.81),
    "squareness": Between(5, 9), "front_taper": Between(0.08, 0.16), "rear_taper": Between(0.0, 0.04),
    "nose": Between(0.78, 0.9), "belt": Between(0.23, 0.26), "deck": 1.0, "cowl": Between(0.06, 0.16),
    "windscreen": Between(0.1, 0.18), "roof_end": Between(0.97, 0.985), "rear_window": Between(0.0, 0.015),
    "tumblehome": Between(0.06, 0.14), "crown": Between(0.02, 0.035), "panes": OneOf(2, 3),
    "glazed": OneOf(0.36, 1.0, 1.0), "rack": OneOf(False, False, False, True), "bumper": Between(0.006, 0.015),
    "face": Between(0.72, 0.9), "shoulder": 0.985,
}
BUS = {
    "width": Between(0.22, 0.29), "height": Between(0.27, 0.34), "clearance": Between(0.03, 0.045),
    "wheel_radius": Between(0.042, 0.05), "wheel_width": 0.045, "front_axle": Between(0.17, 0.24),
    "rear_axle": Between(0.72, 0.78), "squareness": Between(7, 10), "front_taper": Between(0.0, 0.03),
    "rear_taper": Between(0.0, 0.02), "nose": 1.0, "belt": Between(0.13, 0.155), "deck": 1.0,
    "cowl": Between(0.004, 0.01), "windscreen": Between(0.01, 0.04), "roof_end": Between(0.975, 0.985),
    "rear_window": Between(0.0, 0.01), "tumblehome": Between(0.02, 0.08), "crown": Between(0.02, 0.04),
    "panes": OneOf(4, 5, 6, 7), "rack": OneOf(False, False, False, True), "bumper": Between(0.004, 0.012),
    "face": 0.97, "shoulder": 0.995, "mirrors": OneOf(True, True, False),
}
SPORTS = {
    "width": Between(0.42, 0.46), "height": Between(0.255, 0.285), "clearance": Between(0.028, 0.04),
    "wheel_radius": Between(0.068, 0.076), "wheel_width": Between(0.07, 0.08), "front_axle": Between(0.19, 0.23),
    "rear_axle": Between(0.79, 0.82), "squareness": Between(3.4, 5), "front_taper": Between(0.18, 0.3),
    "rear_taper": Between(0.08, 0.18), "nose": Between(0.66, 0.84), "belt": Between(0.185, 0.2),
    "deck": Between(1.0, 1.1), "cowl": Between(0.3, 0.42), "windscreen": Between(0.15, 0.2),
    "roof_end": Between(0.58, 0.68), "rear_window": Between(0.18, 0.26), "tumblehome": Between(0.22, 0.32),
    "crown": Between(0.02, 0.03), "panes": 1, "spoiler": OneOf("none", "lip", "wing"), "bumper": Between(0.0, 0.008),
    "face": Between(0.55, 0.75), "fenders": True,
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

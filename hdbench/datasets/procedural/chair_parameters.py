"""What chairs differ in, and what each sub-type's parameters are drawn from."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

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
    wings: bool = False
    """Cheeks at the sides of a padded back."""
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
    rolled: bool = False
    """Padded arms with round tops."""
    apron: bool = False
    """A frame under the seat."""

    @property
    def seat_bottom(self) -> float:
        """Height of the seat's lower face."""
        return self.seat_height - self.seat_thickness

    @property
    def back_at(self) -> float:
        """z of the back's middle plane where it meets the seat."""
        return self.corner * self.seat_depth / 2 - 0.2 * self.back_thickness

    @property
    def plan(self) -> float:
        """Superellipse exponent of the seat in plan; a shell's seat is round."""
        return min(self.seat_roundness, 3.2) if self.back == "shell" else self.seat_roundness

    @property
    def corner(self) -> float:
        """Where the seat's rounded corners lie, as a share of its half width and half depth."""
        return float(2 ** (-1 / self.plan))

    @property
    def back_width(self) -> float:
        """Width of the back."""
        return self.corner * self.seat_width * (1 - 0.9 * self.seat_taper) + 0.01

    @property
    def back_slope(self) -> float:
        """Tangent of the recline."""
        return float(np.tan(np.radians(self.recline)))

    @property
    def anchor(self) -> tuple[float, float, float]:
        """Where legs meet the seat: x in front, x behind, z behind (and -z in front)."""
        margin = 0.65 * self.leg_size
        x = self.corner * self.seat_width / 2 - margin
        return x, x * (1 - self.seat_taper), self.corner * self.seat_depth / 2 - margin

    @property
    def leg_top(self) -> float:
        """Height of the legs' upper ends, inside the seat."""
        return self.seat_bottom + 0.6 * min(self.seat_thickness, 0.06)


# fmt: off
DINING = {
    "seat_width": Between(0.42, 0.5), "seat_depth": Between(0.41, 0.46), "seat_height": Between(0.44, 0.48),
    "seat_thickness": Between(0.035, 0.06), "seat_roundness": Between(4, 10), "seat_taper": Between(0.0, 0.16),
    "cushion": OneOf(0.0, 0.0, 0.04),
    "back": OneOf("panel", "ladder", "ladder", "slats", "slats", "spindles", "splat", "frame", "medallion"),
    "back_height": Between(0.4, 0.58), "back_thickness": Between(0.034, 0.042), "back_gap": OneOf(0.0, 0.14, 0.2),
    "recline": Between(4, 12), "crest": Between(-0.01, 0.05), "bow": Between(0.0, 0.04), "bars": OneOf(3, 4, 5),
    "legs": "four", "leg_size": Between(0.042, 0.052), "leg_roundness": OneOf(2.0, 7.0),
    "leg_taper": Between(0.72, 1.0), "splay": Between(0, 5), "stretchers": OneOf("none", "none", "sides", "cross"),
    "arms": OneOf("none", "none", "none", "none", "posts"), "apron": OneOf(False, True),
}
ARMCHAIR = {
    "seat_width": Between(0.62, 0.78), "seat_depth": Between(0.62, 0.72), "seat_height": Between(0.38, 0.42),
    "seat_thickness": Between(0.18, 0.26), "seat_roundness": Between(7, 10), "seat_taper": 0.0,
    "cushion": Between(0.04, 0.08), "back": OneOf("padded", "padded", "shell"), "back_height": Between(0.4, 0.6),
    "back_thickness": Between(0.14, 0.2), "recline": Between(5, 14), "crest": Between(0.0, 0.06), "bow": 0.0,
    "legs": OneOf("four", "plinth"), "leg_size": Between(0.045, 0.06), "leg_roundness": OneOf(2.0, 7.0),
    "leg_taper": Between(0.65, 0.9), "splay": Between(0, 8), "arms": "padded", "arm_height": Between(0.16, 0.24),
    "arm_size": Between(0.1, 0.16), "wings": OneOf(False, False, True), "rolled": OneOf(False, False, True),
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
    "legs": OneOf("four", "four", "four", "sled", "star"), "leg_size": Between(0.044, 0.056),
    "leg_roundness": OneOf(2.0, 7.0), "leg_taper": Between(0.7, 1.0), "splay": Between(4, 12),
    "arms": OneOf("posts", "posts", "none"), "arm_height": Between(0.18, 0.24), "arm_size": Between(0.04, 0.055),
    "spokes": OneOf(4, 5),
}
STOOL = {
    "seat_width": Between(0.34, 0.42), "seat_depth": Between(0.33, 0.4), "seat_height": Between(0.42, 0.8),
    "seat_thickness": Between(0.035, 0.07), "seat_roundness": OneOf(2.0, 2.0, 4.0, 9.0), "seat_taper": 0.0,
    "cushion": OneOf(0.0, 0.0, 0.05), "back": "none", "recline": 5.0,
    "legs": OneOf("four", "four", "three", "disc", "star"), "leg_size": Between(0.036, 0.044),
    "leg_roundness": OneOf(2.0, 2.0, 7.0), "leg_taper": Between(0.8, 1.0), "splay": Between(3, 11),
    "stretchers": OneOf("none", "ring", "cross", "sides"),
}
ROCKING = {
    "seat_width": Between(0.48, 0.56), "seat_depth": Between(0.46, 0.52), "seat_height": Between(0.42, 0.46),
    "seat_thickness": Between(0.04, 0.06), "seat_roundness": Between(4.5, 8), "seat_taper": Between(0.05, 0.16),
    "cushion": OneOf(0.0, 0.04), "back": OneOf("spindles", "slats", "ladder", "panel"),
    "back_height": Between(0.58, 0.72), "back_thickness": Between(0.036, 0.046), "recline": Between(12, 20),
    "crest": Between(0.0, 0.05), "bow": Between(0.0, 0.05), "bars": OneOf(4, 5, 6), "legs": "rockers",
    "leg_size": Between(0.044, 0.052), "leg_roundness": OneOf(2.0, 7.0), "leg_taper": Between(0.8, 1.0),
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

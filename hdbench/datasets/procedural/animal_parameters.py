"""What animals differ in, and what each sub-type's parameters are drawn from."""

from dataclasses import dataclass
from typing import Literal

from hdbench.datasets.procedural.parameters import Between, OneOf, Subtype


@dataclass(frozen=True)
class Animal:
    """One animal and how it moves. Lengths in distances from hip to shoulder, angles in degrees."""

    hind: float = 1.0
    """Height of the hip joints above the ground."""
    fore: float = 1.0
    """Height of the shoulder joints."""
    rump_depth: float = 0.4
    """Height of the trunk's section at the hips."""
    waist_depth: float = 0.34
    chest_depth: float = 0.5
    girth: float = 0.75
    """Width of the trunk over its depth."""
    hump: float = 0.0
    """How far the back rises over the straight line from hips to shoulders, in its middle; negative sags."""
    neck_length: float = 0.45
    neck_angle: float = 48.0
    """Of the neck over the horizontal."""
    neck_base: float = 0.34
    """Depth of the neck where it leaves the chest, and below where it meets the head."""
    neck_end: float = 0.22
    mane: float = 0.0
    """Height of a crest along the neck."""
    head_length: float = 0.46
    head_depth: float = 0.25
    head_width: float = 0.85
    """Width of the skull over its depth."""
    head_angle: float = 15.0
    """How far the face looks down."""
    muzzle_depth: float = 0.5
    """Depth of the muzzle's end over the head's."""
    brow: float = 0.45
    """Where the muzzle begins, as a share of the head's length."""
    ears: Literal["upright", "floppy", "round", "long", "flaps", "none"] = "upright"
    ear_length: float = 0.18
    horns: Literal["none", "antlers", "knobs", "tusks"] = "none"
    horn_length: float = 0.4
    trunk_length: float = 0.0
    """Of an elephant's trunk."""
    tail_length: float = 0.7
    tail_width: float = 0.07
    """Thickness of the tail's root."""
    tail_tip: float = 0.5
    """Thickness of its end over that of its root."""
    tail_bush: float = 0.0
    """How much thicker than its root the tail is in its last two thirds."""
    tail_angle: float = 20.0
    """Of the tail's root over the horizontal."""
    tail_curl: float = 0.0
    """How far the tail turns upwards from its root to its end."""
    wings: bool = False
    stance: float = 0.75
    """How far the feet stand apart sideways, over the width of the trunk."""
    hind_parts: tuple[float, float, float] = (0.37, 0.35, 0.28)
    """Thigh, shank and metatarsus as shares of the hind leg."""
    fore_parts: tuple[float, float, float] = (0.38, 0.37, 0.25)
    hind_slack: float = 1.1
    """Length of the stretched hind leg over the height of its joint."""
    fore_slack: float = 1.04
    hind_foot_angle: float = 20.0
    """How far the metatarsus leans back when the animal stands; 0 is upright, 90 lies on the ground."""
    fore_foot_angle: float = 0.0
    sprawl: float = 0.0
    """How far the feet stand outside the hips, over the height of the hips; the knees then point outwards."""
    thigh: float = 0.15
    """Half the depth of the hind leg at the hip; the other parts of legs are thick in proportion."""
    upper_arm: float = 0.11
    shank: float = 0.05
    """Half the thickness of the legs above the foot."""
    paw_length: float = 0.17
    paw_width: float = 0.1
    hooves: bool = False
    forelegs: Literal["legs", "arms", "none"] = "legs"
    gait: Literal["walk", "trot", "gallop", "bound", "run", "hop", "leap"] = "walk"
    start: float = 0.0
    """Where in its cycle the gait begins."""
    stride: float = 1.0
    """Length of the stride over what is usual for the gait; likewise the next two."""
    lift: float = 1.0
    bounce: float = 1.0
    sway: float = 6.0
    """How far the spine bends sideways in a stride."""
    wag: float = 12.0
    """How far each part of the tail swings sideways."""
    nod: float = 4.0
    gaze: float = 0.0
    """How far the head is turned to its right."""


# fmt: off
_MOVING = {
    "start": Between(0, 1), "stride": Between(0.85, 1.15), "lift": Between(0.8, 1.25), "bounce": Between(0.7, 1.2),
    "gaze": Between(-14, 14),
}
DOG = _MOVING | {
    "hind": Between(0.86, 1.1), "fore": Between(0.84, 1.08), "rump_depth": Between(0.44, 0.52),
    "waist_depth": Between(0.38, 0.48), "chest_depth": Between(0.54, 0.66), "girth": Between(0.64, 0.78),
    "hump": Between(-0.02, 0.03), "neck_length": Between(0.4, 0.52), "neck_angle": Between(40, 56),
    "neck_base": Between(0.3, 0.38), "neck_end": Between(0.2, 0.26), "head_length": Between(0.44, 0.54),
    "head_depth": Between(0.24, 0.29), "head_width": Between(0.8, 0.95), "head_angle": Between(6, 22),
    "muzzle_depth": Between(0.42, 0.58), "brow": Between(0.42, 0.52), "ears": OneOf("upright", "floppy"),
    "ear_length": Between(0.15, 0.22), "tail_length": Between(0.45, 0.75), "tail_width": Between(0.07, 0.1),
    "tail_tip": Between(0.45, 0.7), "tail_bush": Between(0.0, 0.5), "tail_angle": Between(5, 45),
    "tail_curl": Between(0, 90), "thigh": Between(0.17, 0.21), "upper_arm": Between(0.12, 0.15),
    "shank": Between(0.044, 0.056), "paw_length": Between(0.15, 0.19), "paw_width": Between(0.09, 0.11),
    "gait": OneOf("walk", "trot", "gallop", "leap"), "sway": Between(2, 6), "wag": Between(6, 20),
}
FOX = DOG | {
    "hind": Between(0.72, 0.84), "fore": Between(0.7, 0.82), "rump_depth": Between(0.38, 0.44),
    "chest_depth": Between(0.42, 0.5), "neck_angle": Between(24, 42), "head_depth": Between(0.22, 0.26),
    "head_width": Between(0.95, 1.1), "muzzle_depth": Between(0.28, 0.38), "ears": "upright",
    "ear_length": Between(0.2, 0.27), "tail_length": Between(0.8, 1.05), "tail_width": Between(0.08, 0.1),
    "tail_tip": Between(0.35, 0.5), "tail_bush": Between(1.0, 1.6), "tail_angle": Between(-25, 5),
    "tail_curl": Between(0, 30), "shank": Between(0.042, 0.05), "wag": Between(4, 12),
}
CAT = _MOVING | {
    "hind": Between(0.68, 0.82), "fore": Between(0.64, 0.78), "rump_depth": Between(0.42, 0.5),
    "waist_depth": Between(0.4, 0.48), "chest_depth": Between(0.43, 0.5), "girth": Between(0.72, 0.88),
    "hump": Between(-0.03, 0.04), "neck_length": Between(0.26, 0.36), "neck_angle": Between(28, 46),
    "neck_base": Between(0.28, 0.34), "neck_end": Between(0.22, 0.27), "head_length": Between(0.31, 0.37),
    "head_depth": Between(0.28, 0.33), "head_width": Between(0.95, 1.1), "head_angle": Between(4, 16),
    "muzzle_depth": Between(0.48, 0.6), "brow": Between(0.62, 0.72), "ears": "upright",
    "ear_length": Between(0.11, 0.16), "tail_length": Between(0.85, 1.15), "tail_width": Between(0.07, 0.09),
    "tail_tip": Between(0.7, 0.9), "tail_angle": Between(-20, 45), "tail_curl": Between(10, 90),
    "thigh": Between(0.17, 0.21), "upper_arm": Between(0.1, 0.13), "shank": Between(0.042, 0.054),
    "paw_length": Between(0.13, 0.16), "paw_width": Between(0.09, 0.11), "hind_slack": Between(1.12, 1.2),
    "gait": OneOf("walk", "trot", "gallop", "leap"), "sway": Between(4, 8), "wag": Between(8, 18),
}
HORSE = _MOVING | {
    "hind": Between(1.14, 1.3), "fore": Between(1.12, 1.28), "rump_depth": Between(0.62, 0.7),
    "waist_depth": Between(0.6, 0.68), "chest_depth": Between(0.66, 0.74), "girth": Between(0.68, 0.82),
    "hump": Between(-0.05, 0.0), "neck_length": Between(0.68, 0.84), "neck_angle": Between(42, 58),
    "neck_base": Between(0.46, 0.54), "neck_end": Between(0.24, 0.29), "mane": Between(0.03, 0.07),
    "head_length": Between(0.58, 0.68), "head_depth": Between(0.27, 0.31), "head_width": Between(0.6, 0.7),
    "head_angle": Between(38, 56), "muzzle_depth": Between(0.5, 0.6), "brow": Between(0.4, 0.5), "ears": "upright",
    "ear_length": Between(0.15, 0.19), "tail_length": Between(0.75, 1.0), "tail_width": Between(0.08, 0.1),
    "tail_tip": Between(0.5, 0.8), "tail_bush": Between(0.7, 1.2), "tail_angle": Between(-62, -45),
    "tail_curl": Between(-28, -10), "thigh": Between(0.24, 0.29), "upper_arm": Between(0.16, 0.19),
    "shank": Between(0.05, 0.06), "paw_length": Between(0.14, 0.17), "paw_width": Between(0.11, 0.13), "hooves": True,
    "hind_slack": Between(1.08, 1.14), "gait": OneOf("walk", "trot", "gallop", "gallop", "leap"),
    "sway": Between(1, 3), "wag": Between(5, 14),
}
DEER = _MOVING | {
    "hind": Between(1.12, 1.3), "fore": Between(1.06, 1.24), "rump_depth": Between(0.48, 0.55),
    "waist_depth": Between(0.46, 0.52), "chest_depth": Between(0.52, 0.6), "girth": Between(0.64, 0.76),
    "hump": Between(-0.03, 0.02), "neck_length": Between(0.6, 0.76), "neck_angle": Between(52, 68),
    "neck_base": Between(0.3, 0.36), "neck_end": Between(0.18, 0.22), "head_length": Between(0.42, 0.5),
    "head_depth": Between(0.21, 0.25), "head_width": Between(0.75, 0.85), "head_angle": Between(12, 30),
    "muzzle_depth": Between(0.42, 0.5), "brow": Between(0.42, 0.5), "ears": "upright",
    "ear_length": Between(0.19, 0.25), "horns": OneOf("none", "antlers", "antlers"),
    "horn_length": Between(0.45, 0.75), "tail_length": Between(0.16, 0.24), "tail_width": Between(0.09, 0.11),
    "tail_tip": Between(0.4, 0.6), "tail_bush": 0.3, "tail_angle": Between(-50, 20), "thigh": Between(0.19, 0.23),
    "upper_arm": Between(0.1, 0.13), "shank": Between(0.04, 0.046), "paw_length": Between(0.11, 0.13),
    "paw_width": Between(0.075, 0.09), "hooves": True, "hind_slack": Between(1.1, 1.16),
    "gait": OneOf("walk", "trot", "gallop", "leap", "leap"), "sway": Between(1, 3), "wag": Between(5, 20),
}
BEAR = _MOVING | {
    "hind": Between(0.74, 0.86), "fore": Between(0.78, 0.9), "rump_depth": Between(0.66, 0.76),
    "waist_depth": Between(0.66, 0.78), "chest_depth": Between(0.7, 0.82), "girth": Between(0.84, 1.0),
    "hump": Between(0.0, 0.06), "neck_length": Between(0.3, 0.4), "neck_angle": Between(4, 22),
    "neck_base": Between(0.5, 0.6), "neck_end": Between(0.36, 0.44), "head_length": Between(0.45, 0.53),
    "head_depth": Between(0.36, 0.43), "head_width": Between(0.95, 1.1), "head_angle": Between(4, 18),
    "muzzle_depth": Between(0.46, 0.56), "brow": Between(0.48, 0.56), "ears": "round",
    "ear_length": Between(0.13, 0.16), "tail_length": 0.16, "tail_width": 0.14, "tail_angle": -40,
    "thigh": Between(0.21, 0.25), "upper_arm": Between(0.19, 0.23), "shank": Between(0.1, 0.125),
    "paw_length": Between(0.26, 0.32), "paw_width": Between(0.2, 0.24), "hind_parts": (0.45, 0.42, 0.13),
    "fore_parts": (0.45, 0.42, 0.13), "hind_slack": Between(1.06, 1.12), "hind_foot_angle": 10.0,
    "gait": OneOf("walk", "walk", "gallop"), "sway": Between(4, 8), "wag": 4.0,
}
ELEPHANT = _MOVING | {
    "hind": Between(0.98, 1.1), "fore": Between(1.04, 1.16), "rump_depth": Between(0.76, 0.86),
    "waist_depth": Between(0.82, 0.96), "chest_depth": Between(0.82, 0.94), "girth": Between(0.74, 0.88),
    "hump": Between(0.0, 0.1), "neck_length": Between(0.26, 0.34), "neck_angle": Between(8, 22),
    "neck_base": Between(0.56, 0.64), "neck_end": Between(0.46, 0.52), "head_length": Between(0.5, 0.58),
    "head_depth": Between(0.52, 0.6), "head_width": Between(0.78, 0.9), "head_angle": Between(38, 52),
    "muzzle_depth": Between(0.42, 0.5), "brow": Between(0.5, 0.6), "ears": "flaps", "ear_length": Between(0.4, 0.62),
    "horns": OneOf("tusks", "tusks", "none"), "horn_length": Between(0.3, 0.55), "trunk_length": Between(0.85, 1.05),
    "tail_length": Between(0.5, 0.65), "tail_width": Between(0.07, 0.085), "tail_tip": 0.8, "tail_angle": -65,
    "tail_curl": Between(-20, 10), "thigh": Between(0.22, 0.26), "upper_arm": Between(0.18, 0.21),
    "shank": Between(0.125, 0.145), "paw_length": Between(0.29, 0.33), "paw_width": Between(0.27, 0.31), "hooves": True,
    "hind_parts": (0.47, 0.41, 0.12), "fore_parts": (0.47, 0.41, 0.12), "hind_slack": 1.05, "hind_foot_angle": 4.0,
    "stance": 0.68, "gait": "walk", "sway": Between(1, 3), "wag": Between(5, 12), "nod": Between(3, 6),
}
GIRAFFE = _MOVING | {
    "hind": Between(1.5, 1.66), "fore": Between(1.66, 1.86), "rump_depth": Between(0.48, 0.56),
    "waist_depth": Between(0.52, 0.6), "chest_depth": Between(0.64, 0.72), "girth": Between(0.66, 0.76),
    "hump": Between(-0.02, 0.04), "neck_length": Between(1.55, 1.95), "neck_angle": Between(56, 72),
    "neck_base": Between(0.44, 0.52), "neck_end": Between(0.2, 0.24), "mane": Between(0.02, 0.04),
    "head_length": Between(0.5, 0.58), "head_depth": Between(0.24, 0.27), "head_width": Between(0.65, 0.75),
    "head_angle": Between(18, 38), "muzzle_depth": Between(0.48, 0.56), "brow": Between(0.42, 0.5), "ears": "upright",
    "ear_length": Between(0.17, 0.21), "horns": "knobs", "horn_length": Between(0.13, 0.18),
    "tail_length": Between(0.75, 0.95), "tail_width": Between(0.075, 0.09), "tail_tip": 0.9, "tail_bush": 0.2,
    "tail_angle": -60, "tail_curl": Between(-25, 0), "thigh": Between(0.2, 0.24), "upper_arm": Between(0.15, 0.18),
    "shank": Between(0.056, 0.064), "paw_length": Between(0.16, 0.19), "paw_width": Between(0.12, 0.14), "hooves": True,
    "hind_slack": Between(1.07, 1.11), "gait": OneOf("walk", "walk", "gallop"), "sway": Between(1, 2),
    "wag": Between(6, 12), "nod": Between(4, 8),
}
CROCODILE = _MOVING | {
    "hind": Between(0.24, 0.3), "fore": Between(0.24, 0.3), "rump_depth": Between(0.2, 0.24),
    "waist_depth": Between(0.25, 0.31), "chest_depth": Between(0.23, 0.28), "girth": Between(1.3, 1.6),
    "hump": Between(0.0, 0.03), "neck_length": Between(0.2, 0.26), "neck_angle": Between(-4, 10),
    "neck_base": Between(0.21, 0.25), "neck_end": Between(0.18, 0.21), "head_length": Between(0.5, 0.68),
    "head_depth": Between(0.16, 0.2), "head_width": Between(1.4, 1.7), "head_angle": Between(-4, 8),
    "muzzle_depth": Between(0.42, 0.55), "brow": Between(0.36, 0.44), "ears": "none",
    "tail_length": Between(1.1, 1.5), "tail_width": Between(0.18, 0.22), "tail_tip": Between(0.16, 0.24),
    "tail_angle": Between(-8, -3), "tail_curl": Between(0, 8), "sprawl": Between(0.8, 1.0),
    "hind_parts": (0.46, 0.42, 0.12), "fore_parts": (0.46, 0.42, 0.12), "hind_slack": Between(2.5, 2.7),
    "fore_slack": Between(2.5, 2.7), "hind_foot_angle": 8.0, "thigh": Between(0.07, 0.085),
    "upper_arm": Between(0.06, 0.075), "shank": Between(0.042, 0.05), "paw_length": Between(0.18, 0.22),
    "paw_width": Between(0.1, 0.13), "gait": OneOf("walk", "trot"), "sway": Between(8, 13), "wag": Between(12, 20),
    "nod": 1.0, "gaze": 0.0, "stride": Between(0.85, 1.05),
}
OSTRICH = _MOVING | {
    "hind": Between(1.5, 1.75), "fore": Between(1.55, 1.85), "rump_depth": Between(0.6, 0.72),
    "waist_depth": Between(0.8, 0.92), "chest_depth": Between(0.58, 0.7), "girth": Between(0.84, 0.98),
    "hump": Between(0.0, 0.05), "neck_length": Between(1.15, 1.45), "neck_angle": Between(68, 82),
    "neck_base": Between(0.26, 0.32), "neck_end": Between(0.11, 0.13), "head_length": Between(0.34, 0.4),
    "head_depth": Between(0.17, 0.2), "head_width": Between(0.85, 1.0), "head_angle": Between(4, 20),
    "muzzle_depth": Between(0.3, 0.4), "brow": Between(0.46, 0.54), "ears": "none",
    "tail_length": Between(0.4, 0.55), "tail_width": Between(0.22, 0.28), "tail_tip": 0.5, "tail_bush": 0.35,
    "tail_angle": Between(-15, 25), "wings": True, "stance": Between(0.34, 0.44),
    "hind_parts": (0.26, 0.38, 0.36), "hind_slack": Between(1.12, 1.2), "hind_foot_angle": 22.0,
    "thigh": Between(0.2, 0.25), "shank": Between(0.046, 0.055), "paw_length": Between(0.3, 0.36),
    "paw_width": Between(0.11, 0.13), "forelegs": "none", "gait": OneOf("walk", "run", "run"),
    "sway": Between(1, 3), "wag": Between(2, 6), "nod": Between(3, 7),
}
RABBIT = _MOVING | {
    "hind": Between(0.62, 0.7), "fore": Between(0.54, 0.62), "rump_depth": Between(0.76, 0.86),
    "waist_depth": Between(0.62, 0.7), "chest_depth": Between(0.48, 0.55), "girth": Between(0.8, 0.92),
    "hump": Between(0.12, 0.18), "neck_length": Between(0.22, 0.3), "neck_angle": Between(48, 62),
    "neck_base": Between(0.4, 0.46), "neck_end": Between(0.32, 0.36), "head_length": Between(0.45, 0.5),
    "head_depth": Between(0.38, 0.43), "head_width": Between(0.8, 0.9), "head_angle": Between(10, 24),
    "muzzle_depth": Between(0.52, 0.6), "brow": Between(0.5, 0.6), "ears": "long", "ear_length": Between(0.6, 0.78),
    "tail_length": 0.2, "tail_width": 0.2, "tail_tip": 0.8, "tail_bush": 0.3, "tail_angle": Between(20, 50),
    "hind_parts": (0.34, 0.36, 0.3), "hind_slack": Between(1.38, 1.5), "hind_foot_angle": 62.0,
    "thigh": Between(0.24, 0.28), "upper_arm": Between(0.11, 0.13), "shank": Between(0.045, 0.055),
    "paw_length": Between(0.16, 0.2), "paw_width": Between(0.09, 0.11), "gait": OneOf("bound", "bound", "leap"),
    "sway": Between(0, 2), "wag": 4.0,
}
KANGAROO = _MOVING | {
    "hind": Between(0.8, 0.92), "fore": Between(1.3, 1.5), "rump_depth": Between(0.56, 0.66),
    "waist_depth": Between(0.48, 0.56), "chest_depth": Between(0.36, 0.42), "girth": Between(0.74, 0.86),
    "hump": Between(0.06, 0.12), "neck_length": Between(0.36, 0.46), "neck_angle": Between(56, 72),
    "neck_base": Between(0.24, 0.28), "neck_end": Between(0.18, 0.21), "head_length": Between(0.4, 0.46),
    "head_depth": Between(0.22, 0.25), "head_width": Between(0.75, 0.85), "head_angle": Between(16, 30),
    "muzzle_depth": Between(0.42, 0.52), "brow": Between(0.44, 0.52), "ears": "long",
    "ear_length": Between(0.25, 0.32), "tail_length": Between(1.25, 1.5), "tail_width": Between(0.19, 0.23),
    "tail_tip": Between(0.3, 0.4), "tail_angle": Between(-38, -28), "tail_curl": Between(20, 40),
    "hind_parts": (0.32, 0.4, 0.28), "hind_slack": Between(1.42, 1.5), "hind_foot_angle": 60.0,
    "thigh": Between(0.22, 0.26), "upper_arm": Between(0.07, 0.085), "shank": Between(0.05, 0.06),
    "paw_length": Between(0.3, 0.36), "paw_width": Between(0.1, 0.12), "stance": 0.85, "forelegs": "arms",
    "gait": OneOf("hop", "hop", "leap"), "sway": 0.0, "wag": Between(0, 3),
}

# fmt: on

SUBTYPES = {
    "dog": Subtype(0.14, DOG),
    "fox": Subtype(0.07, FOX),
    "cat": Subtype(0.11, CAT),
    "horse": Subtype(0.13, HORSE),
    "deer": Subtype(0.12, DEER),
    "bear": Subtype(0.08, BEAR),
    "elephant": Subtype(0.08, ELEPHANT),
    "giraffe": Subtype(0.07, GIRAFFE),
    "crocodile": Subtype(0.05, CROCODILE),
    "ostrich": Subtype(0.05, OSTRICH),
    "rabbit": Subtype(0.06, RABBIT),
    "kangaroo": Subtype(0.04, KANGAROO),
}

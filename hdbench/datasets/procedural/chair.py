"""Chairs: dining and arm-chairs, office and lounge chairs, stools, rocking and cantilever chairs.

Lengths are roughly metres; the floor is at y = 0, the sitter looks along -z. Backs are built upright around z = 0
and then leaned backwards by a shear.
"""

import numpy as np

from hdbench.datasets.procedural.chair_legs import legs
from hdbench.datasets.procedural.chair_parameters import Chair
from hdbench.datasets.procedural.lofts import (
    Array,
    Solid,
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

_SUNK = 0.005
"""How far above the seat's lower face a part that stands in the seat begins."""


def build(chair: Chair) -> list[Solid]:
    """The solids whose union is `chair`."""
    return [*_seat(chair), *_back(chair), *legs(chair), *_arms(chair)]


def _slab(chair: Chair, scale: float, low: float, high: float, *, bevel: float) -> Solid:
    """A plate in the seat's plan, `scale` times as large."""
    outline = superellipse(chair.plan, 36) / 2
    outline[:, 0] *= 1 - chair.seat_taper * (outline[:, 1] + 0.5)
    outline *= scale * np.array([chair.seat_width, chair.seat_depth])
    small = 1 - 2 * bevel / (scale * min(chair.seat_width, chair.seat_depth))
    rims = [
        (low, small),
        (low + bevel, 1.0),
        (high - bevel, 1.0),
        (high - 0.3 * bevel, 0.3 + 0.7 * small),
        (high, small - 0.03),
    ]
    return loft(np.stack([np.insert(shrink * outline, 1, height, axis=1) for height, shrink in rims]))


def _seat(chair: Chair) -> list[Solid]:
    top = chair.seat_height
    parts = [_slab(chair, 1.0, chair.seat_bottom, top, bevel=min(0.012, 0.25 * chair.seat_thickness))]
    if chair.cushion:
        parts.append(_slab(chair, 0.93, top - 0.01, top + chair.cushion, bevel=0.35 * chair.cushion))
    if chair.apron:
        parts.append(_slab(chair, 0.86, chair.seat_bottom - 0.05, top - 0.01, bevel=0.005))
    return parts


def _leaned(chair: Chair, solids: list[Solid]) -> list[Solid]:
    """Back parts, sheared backwards above the seat and put at its rear edge."""

    def lean(vertices: Array) -> Array:
        above = np.maximum(0.0, vertices[:, 1] - chair.seat_bottom)
        return vertices + np.outer(chair.back_at + chair.back_slope * above, Z)

    return [Solid(lean(solid.vertices), solid.faces) for solid in solids]


def _back(chair: Chair) -> list[Solid]:
    if chair.back == "none":
        return []
    if chair.back == "shell":
        return [_shell(chair)]
    builders = {"padded": _padded, "panel": _spined if chair.legs == "star" else _panelled, "medallion": _medallion}
    parts = builders.get(chair.back, _railed)(chair)
    if chair.headrest:
        top = chair.seat_height + chair.back_height
        parts.append(_board(chair, top + 0.03, top + 0.15, 0.55 * chair.back_width, crest=0.01, exponent=4))
        neck = (0.05, max(0.02, 0.35 * chair.back_thickness))
        parts.append(beam((0, top - 0.06, chair.bow), (0, top + 0.06, chair.bow), neck, exponent=5, corners=12))
    return _leaned(chair, parts)


def _board(
    chair: Chair,
    low: float,
    high: float,
    width: float,
    *,
    thickness: float | None = None,
    crest: float | None = None,
    exponent: float = 6.0,
) -> Solid:
    """An upright board across the back, arched along its upper edge by `crest` and bowed backwards."""
    share = np.linspace(-1, 1, 13)
    arch = 1 - share**2
    end = np.where(np.abs(share) == 1, 1.0, 0.0)
    share[1:-1] *= 0.99
    top = high + (chair.crest if crest is None else crest) * arch
    half = (chair.back_thickness if thickness is None else thickness) / 2
    columns = [share * width / 2, chair.bow * arch, (top + low) / 2, half * (1 - 0.3 * end)]
    return along(X, np.column_stack([*columns, (top - low) / 2 * (1 - 0.1 * end)]), exponent=exponent, corners=12)


def _posts(chair: Chair, x: float, top: float) -> list[Solid]:
    """A pair of uprights at `x` and its mirror image, from the seat to height `top`."""
    half = (max(chair.leg_size, 0.036) / 2, chair.back_thickness / 2)
    foot = chair.seat_bottom + _SUNK
    return mirrored([beam((x, foot, 0), (x, top, 0), half, exponent=chair.leg_roundness, corners=12)])


def _post_at(chair: Chair) -> float:
    """x of the uprights at the back's edges."""
    return chair.back_width / 2 - max(chair.leg_size, 0.036) / 2


def _padded(chair: Chair) -> list[Solid]:
    top, thick = chair.seat_height + chair.back_height, chair.back_thickness
    parts = [_board(chair, chair.seat_bottom, top, chair.back_width, exponent=5)]
    if chair.wings:
        edge = chair.back_width / 2
        wing = block((edge - 0.09, chair.seat_height, -0.2), (edge, top - 0.04, 0.3 * thick), radius=0.03, bevel=0.025)
        parts += mirrored([wing])
    return parts


def _spined(chair: Chair) -> list[Solid]:
    """The back of an office chair: a board, on a spine where it hangs free."""
    low = chair.seat_height + chair.back_gap if chair.back_gap else chair.seat_bottom + 0.01
    parts = [_board(chair, low, chair.seat_height + chair.back_height, 0.95 * chair.back_width, exponent=5)]
    if chair.back_gap:
        foot, top = (0, chair.seat_bottom + 0.01, 0.3 * chair.bow), (0, low + 0.1, chair.bow)
        parts.append(beam(foot, top, (0.05, 0.028), exponent=5, corners=12))
    return parts


def _panelled(chair: Chair) -> list[Solid]:
    """One board, standing on the seat or hanging between uprights."""
    top = chair.seat_height + chair.back_height
    if not chair.back_gap:
        return [_board(chair, chair.seat_bottom + _SUNK, top, chair.back_width)]
    low = chair.seat_height + chair.back_gap
    return [_board(chair, low, top, chair.back_width), *_posts(chair, _post_at(chair), low + 0.06)]


def _medallion(chair: Chair) -> list[Solid]:
    """An oval on two uprights."""
    half_width, half_height = 0.46 * chair.back_width, 0.42 * chair.back_height
    centre = chair.seat_height + chair.back_height - half_height
    rims = [(-0.5, 0.93), (-0.2, 1.0), (0.2, 1.0), (0.5, 0.93)]
    rows = [(z * chair.back_thickness, 0, centre, s * half_width, s * half_height) for z, s in rims]
    return [along(Z, np.array(rows), exponent=2.2, corners=28), *_posts(chair, 0.5 * half_width, centre)]


def _railed(chair: Chair) -> list[Solid]:
    """A top rail on uprights or spindles, and what stands between seat and rail."""
    top = chair.seat_height + chair.back_height
    rail = top - 0.075
    x = _post_at(chair)
    parts = [_board(chair, rail, top, chair.back_width)]
    if chair.back == "spindles":
        return parts + _spindles(chair, x, rail + 0.03)
    parts += _posts(chair, x, rail + 0.04)
    thin = 0.85 * chair.back_thickness
    if chair.back == "ladder":
        levels = np.linspace(chair.seat_height, rail, chair.bars + 1)[1:-1]
        parts += [_board(chair, level - 0.022, level + 0.024, 2 * x, thickness=thin) for level in levels]
    elif chair.back == "slats":
        low = chair.seat_height + 0.07
        parts.append(_board(chair, low, low + 0.04, 2 * x, thickness=thin, crest=0.0))
        for place in np.linspace(-1, 1, chair.bars + 2)[1:-1]:
            behind = chair.bow * (1 - place**2)
            foot, end = (place * x, low + 0.02, behind), (place * x, rail + 0.03, behind)
            parts.append(beam(foot, end, (0.02, 0.45 * thin), exponent=6, corners=12))
    elif chair.back == "splat":
        parts.append(_splat(chair, rail + 0.03, thin))
    return parts


def _spindles(chair: Chair, reach: float, top: float) -> list[Solid]:
    """Round bars that fan out upwards over (-reach, reach)."""
    parts = []
    for place in np.linspace(-1, 1, chair.bars + 2):
        foot = (0.85 * place * reach, chair.seat_bottom + _SUNK, 0.0)
        end = (place * reach, top, chair.bow * (1 - (place * reach / (chair.back_width / 2)) ** 2))
        parts.append(beam(foot, end, (0.0155, 0.0155), corners=12))
    return parts


def _splat(chair: Chair, top: float, thickness: float) -> Solid:
    """A vase-shaped board up the middle of the back."""
    share = np.linspace(0, 1, 9)
    foot = chair.seat_bottom + _SUNK
    half = 0.05 + 0.035 * np.sin(1.8 * np.pi * share) ** 2
    path = np.column_stack([np.zeros(9), foot + share * (top - foot), chair.bow * share])
    return sweep(path, np.column_stack([half, np.full(9, thickness / 2)]), X, exponent=6, corners=12)


def _shell(chair: Chair) -> Solid:
    """A tub: a wall around the seat's back and sides, highest behind."""
    angle = np.radians(np.linspace(-32, 212, 33))
    cos, sin = np.cos(angle), np.sin(angle)
    power = 2 / chair.plan
    thickness = float(np.clip(0.5 * chair.back_thickness, 0.045, 0.09))
    rise = np.clip((sin + 0.2) / 1.2, 0, 1) ** 1.5
    top = chair.seat_height + chair.arm_height + max(0.0, chair.back_height - chair.arm_height) * rise
    low = chair.seat_bottom + _SUNK
    lean = 0.4 * chair.back_slope * (top - chair.seat_height) * rise
    x = np.sign(cos) * np.abs(cos) ** power * (chair.seat_width / 2 - 0.01)
    z = np.sign(sin) * np.abs(sin) ** power * (chair.seat_depth / 2 - 0.01) + lean
    half = np.column_stack([(top - low) / 2, np.full_like(top, thickness / 2)])
    return sweep(np.column_stack([x, (top + low) / 2, z]), half, Y, exponent=5, corners=12)


def _arms(chair: Chair) -> list[Solid]:
    if chair.arms == "none" or chair.back == "shell":
        return []
    builders = {"padded": _padded_arm, "pads": _office_arm, "loop": _loop_arm, "posts": _wooden_arm}
    return mirrored(builders[chair.arms](chair))


def _arm_ends(chair: Chair) -> tuple[float, float]:
    """Height of the arm's upper face, and z where it meets the back."""
    level = chair.seat_height + chair.arm_height
    return level, chair.back_at + chair.back_slope * (level - chair.seat_bottom)


def _padded_arm(chair: Chair) -> list[Solid]:
    level, _ = _arm_ends(chair)
    x, z, size = chair.seat_width / 2, chair.seat_depth / 2, chair.arm_size
    low = 0.05 if chair.legs == "plinth" else chair.seat_bottom - 0.02
    parts = [block((x - 0.4 * size, low, -z - 0.01), (x + 0.6 * size, level, z), radius=0.03, bevel=0.025)]
    if chair.rolled:
        radius = 0.62 * size
        roll = [(-z - 0.03, 0.85 * radius), (-z - 0.015, radius), (z - 0.015, radius), (z, 0.85 * radius)]
        parts.append(turned(roll, (x + 0.15 * size, level - 0.35 * radius, 0), Z, corners=20))
    return parts


def _office_arm(chair: Chair) -> list[Solid]:
    """A pad on a bracket from under the seat."""
    level, _ = _arm_ends(chair)
    x, foot = chair.seat_width / 2 + 0.02, chair.seat_bottom + 0.02
    bracket = beam((x - 0.09, foot, 0.04), (x, foot, 0.04), (0.03, 0.018), exponent=5, corners=12)
    riser = beam((x, foot - 0.018, 0.04), (x, level - 0.01, 0.04), (0.018, 0.03), exponent=5, corners=12)
    return [bracket, riser, block((x - 0.04, level - 0.035, -0.13), (x + 0.035, level, 0.14), radius=0.02, bevel=0.01)]


def _loop_arm(chair: Chair) -> list[Solid]:
    """A bent tube from the seat's side up and back."""
    level, rear = _arm_ends(chair)
    half, z = chair.arm_size / 2, chair.seat_depth / 2
    x, foot = chair.seat_width / 2, chair.seat_bottom + 0.5 * chair.seat_thickness
    behind = (chair.back_width / 2 - half, level - half, rear + 0.01)
    bend = fillet([(x, foot, -0.3 * z), (x, level - half, -0.55 * z), (x, level - half, rear + 0.01)], 0.07)
    bend[:, 0] += (behind[0] - x) * np.clip((bend[:, 2] + 0.3 * z) / (rear + 0.3 * z), 0, 1)
    return [sweep(bend, np.array([half, half]), X, exponent=3, corners=12)]


def _wooden_arm(chair: Chair) -> list[Solid]:
    """A rest from the back to a post at the seat's front corner."""
    level, rear = _arm_ends(chair)
    half = chair.arm_size / 2
    front, _, z = chair.anchor
    x = max(front, chair.back_width / 2)
    foot, top = (front, chair.seat_bottom + _SUNK, 0.02 - z), (x, level - 0.01, 0.04 - z)
    post = beam(foot, top, (0.9 * half, 0.9 * half), exponent=chair.leg_roundness, corners=12)
    ends = (x, level - half, -z - 0.01), (chair.back_width / 2 - half, level - half, rear)
    return [post, beam(*ends, (1.3 * half, 0.9 * half), exponent=5, corners=12)]

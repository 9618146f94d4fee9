"""Airplanes: airliners, fighters, light propeller planes, gliders, business jets, biplanes, turboprops.

Lengths are in fuselage lengths; the nose is at z = -0.5, the fuselage's axis at x = y = 0.
"""

import numpy as np

from hdbench.datasets.procedural.airplane_engines import engines
from hdbench.datasets.procedural.airplane_parameters import Airplane, WingForm
from hdbench.datasets.procedural.lofts import Solid, X, Y, Z, along, beam, mirrored, spindle, turned, wing


def build(plane: Airplane) -> list[Solid]:
    """The solids whose union is `plane`."""
    canopy = [_canopy(plane)] if plane.canopy else []
    return [_fuselage(plane), *canopy, *_wings(plane), *_tail(plane), *engines(plane), *_gear(plane)]


def _fuselage(plane: Airplane) -> Solid:
    nose = plane.nose_length * (1 - np.cos(np.linspace(0, np.pi / 2, 9)))  # closer together where it is blunt
    tail = 1 - plane.tail_length * np.linspace(1, 0, 8)
    rows = [(at, *plane.section(at)) for at in np.concatenate([nose, tail])]
    stations = [(at - 0.5, 0, y, size * plane.width / 2, size * plane.height / 2) for at, y, size in rows]
    return along(Z, np.array(stations), exponent=plane.squareness, corners=20)


def _canopy(plane: Airplane) -> Solid:
    """A teardrop half sunk into the fuselage."""
    share = np.linspace(0, 1, 11)
    swell = np.maximum(0.05, np.sin(np.pi * share**0.75)) ** 0.75
    at = plane.canopy_at + plane.canopy_length * (share - 0.3)
    bottom, size = np.array([plane.section(place) for place in at]).T
    top = bottom + (size + plane.canopy * swell) * plane.height / 2
    half_width = np.minimum(0.4 * plane.width * swell + 0.01, 0.46 * plane.width * size)
    stations = [at - 0.5, np.zeros_like(at), (top + bottom) / 2, half_width, (top - bottom) / 2]
    return along(Z, np.column_stack(stations), exponent=2.3, corners=16)


def _tip_to_tip(form: WingForm, *, thin: float, kink: float = 0.0, winglet: float = 0.0) -> Solid:
    """The wing of `form`, at least `thin` thick.

    Out to `kink` of the half span its trailing edge runs straight; `winglet` is its height over the half span.
    """
    rows = []  # x, y, z, chord, thickness, and the normal's x and y
    for share in sorted({0.0, kink, 1.0}):
        x, y, z, chord = form.at(share)
        if kink and share == 0:
            chord += 0.6 * kink * form.half_span * np.tan(np.radians(form.sweep))
        rows.append([x, y, z, chord, max(thin, 0.12 * chord), 0.0, 1.0])
    x, y, z, chord, thickness, *_ = rows[-1]
    if winglet:
        up = winglet * form.half_span
        rows.append([x + 0.12 * up, y + 0.06 * up, z + 0.15 * chord, 0.85 * chord, thin, -0.7, 0.7])
        rows.append([x + 0.35 * up, y + up, z + 0.15 * chord + 0.6 * up, 0.55 * chord, 0.9 * thin, -1.0, 0.2])
    else:
        rows.append([x + 0.5 * thickness, y, z + 0.2 * chord, 0.7 * chord, 0.55 * thickness, 0.0, 1.0])
    right = np.array(rows)
    table = np.concatenate([right[:0:-1] * [-1, 1, 1, 1, 1, -1, 1], right])
    normals = np.pad(table[:, 5:], ((0, 0), (0, 1)))
    return wing(table[:, :3], table[:, 3], table[:, 4], normals / np.linalg.norm(normals, axis=1, keepdims=True))


def _wings(plane: Airplane) -> list[Solid]:
    parts = [_tip_to_tip(plane.wing, thin=plane.thin, kink=plane.kink, winglet=plane.winglet)]
    if plane.tip_tank:
        tip = plane.wing.at(1.0)
        tank = spindle(0.9 * tip.chord + 0.08, 0.8 * plane.thin)
        parts += mirrored([turned(tank, (tip.x, tip.y, tip.z + tip.chord / 2), Z, corners=12)])
    if plane.stores:
        point = plane.wing.at(0.52)
        tank = spindle(0.26, 0.9 * plane.thin)
        parts += mirrored(
            [turned(tank, (point.x, point.y - 1.2 * plane.thin, point.z + 0.4 * point.chord), Z, corners=12)]
        )
    if plane.second_wing:
        parts += _upper_wing(plane)
    elif plane.strut and plane.wing_level > 1:
        parts += _strutted_roof(plane)
    return parts


def _strutted_roof(plane: Airplane) -> list[Solid]:
    """The cabin's roof under a wing above the fuselage, and the wing's struts."""
    point = plane.wing.at(0.5)
    at = point.z + 0.4 * point.chord
    strut = beam((0.4 * plane.width, -0.3 * plane.height, at), (*point[:2], at), (0.6 * plane.thin, 0.5 * plane.thin))
    middle, half = plane.wing.z + 0.5 * plane.chord, 0.36 * plane.width
    roof = [
        (0.0, 0.0, middle, 1.2 * half, 0.36 * plane.chord),
        (plane.wing.y + 0.2 * plane.thin, 0.0, middle, half, 0.28 * plane.chord),
    ]
    return [along(Y, np.array(roof), exponent=4, corners=12), *mirrored([strut])]


def _upper_wing(plane: Airplane) -> list[Solid]:
    """A biplane's second wing and the struts that carry it."""
    lower = plane.wing
    form = (lower.half_span, lower.chord, lower.taper, lower.sweep, lower.dihedral)
    upper = WingForm(lower.y + plane.second_wing, lower.z + plane.stagger, *form)
    struts = []
    for share in (0.2, 0.72):
        foot, top = lower.at(share), upper.at(share)
        for place in (0.25 * foot.chord, 0.7 * foot.chord):
            start = (0.3 * plane.width, 0.0, foot.z + place) if share < 0.5 else (foot.x, foot.y, foot.z + place)
            end = (top.x, top.y, top.z + place)
            struts.append(beam(start, end, (0.45 * plane.thin, 0.55 * plane.thin), corners=8))
    return [_tip_to_tip(upper, thin=plane.thin), *mirrored(struts)]


def _fin(plane: Airplane, x: float, base: float, height: float, *, lean: float = 0.0) -> Solid:
    """A fin standing on (x, base), leaning outwards by `lean` per unit of height."""
    share = np.array([0.0, 0.97, 1.0])
    up = share * height
    chords = plane.fin_chord * np.array([1.0, 1 - (1 - plane.fin_taper) * 0.97, 0.75 * plane.fin_taper])
    lead = 0.48 - plane.fin_chord + np.tan(np.radians(plane.fin_sweep)) * up
    normals = np.broadcast_to(np.array([1.0, -lean, 0.0]) / np.hypot(1, lean), (3, 3))
    thickness = max(plane.thin, 0.1 * plane.fin_chord) * np.array([1.0, 0.95, 0.5])
    return wing(np.column_stack([x + lean * up, base + up, lead]), chords, thickness, normals)


def _tail(plane: Airplane) -> list[Solid]:
    centre, size = plane.section(0.96)
    rise = 0.3 * size * plane.height + plane.fin_height
    half, chord, sweep = plane.stabiliser_span / 2, plane.stabiliser_chord, plane.stabiliser_sweep
    low = WingForm(centre, 0.48 - chord, half, chord, 0.5, sweep, 0.0 if plane.engines == "jet" else 3.0)
    parts = []
    if plane.canard:
        front = WingForm(0.15 * plane.height, plane.canopy_at - 0.44, 0.21 * plane.span + 0.04, 0.11, 0.4, 42)
        parts.append(_tip_to_tip(front, thin=plane.thin))
    if plane.tail == "vee":
        return parts + mirrored([_fin(plane, 0.0, centre, 0.85 * half, lean=0.85)])
    if plane.tail == "twin" and plane.engines == "jet":
        fins = mirrored([_fin(plane, 0.42 * plane.width, centre, 0.95 * plane.fin_height + 0.02, lean=0.25)])
        return [*parts, *fins, _tip_to_tip(low, thin=plane.thin)]
    if plane.tail == "twin":
        fins = mirrored([_fin(plane, 0.92 * half, centre - 0.25 * plane.fin_height, plane.fin_height)])
        straight = WingForm(low.y, low.z, half, chord, 0.8, 4.0, low.dihedral)
        return [*parts, *fins, _tip_to_tip(straight, thin=plane.thin)]
    parts.append(_fin(plane, 0.0, centre, rise))
    if plane.tail in ("tee", "cross"):
        up, back = (0.96, 0.0) if plane.tail == "tee" else (0.5, 0.2)
        lead = 0.48 - (1 - back) * plane.fin_chord + np.tan(np.radians(plane.fin_sweep)) * up * rise
        parts.append(_tip_to_tip(WingForm(centre + up * rise, lead, half, chord, 0.5, sweep), thin=plane.thin))
    elif plane.tail == "low":
        parts.append(_tip_to_tip(low, thin=plane.thin))
    return parts


def _gear(plane: Airplane) -> list[Solid]:
    if plane.gear == "none":
        return []
    main = plane.wing.z + (0.55 if plane.gear == "tricycle" else 0.1) * plane.chord
    if plane.gear == "floats":
        return _floats(plane, main)
    legs = mirrored(_wheel_leg(plane, (0.12, main), (0.02, -0.25 * plane.height, main)))
    if plane.gear == "tricycle":
        legs += _wheel_leg(plane, (0.0, -0.4), (0.0, -0.2 * plane.height, -0.4))
    return legs


def _wheel_leg(plane: Airplane, place: tuple[float, float], top: tuple[float, float, float]) -> list[Solid]:
    """A leg from `top` to a wheel at `place` (x, z), with or without a fairing."""
    radius, thin = 0.034, plane.thin
    hub = (place[0], radius - plane.height / 2 - plane.gear_height, place[1])
    tyre = [(-0.65 * thin, 0.75 * radius), (-0.45 * thin, radius), (0.45 * thin, radius), (0.65 * thin, 0.75 * radius)]
    parts = [turned(tyre, hub, X, corners=16), beam(top, hub, (0.45 * thin, 0.5 * thin))]
    if plane.spats:
        middle = (hub[0], hub[1] + 0.3 * radius, hub[2] + 0.4 * radius)
        parts.append(turned(spindle(4.6 * radius, 1.05 * radius), middle, Z, corners=12))
    return parts


def _floats(plane: Airplane, main: float) -> list[Solid]:
    """A pair of floats, braced at `main` and behind it."""
    x, y, radius = 0.16, -plane.height / 2 - plane.gear_height - 0.02, 0.036
    share = np.linspace(0, 1, 9)
    swell = np.maximum(0.2, np.sin(np.pi * share**0.7)) ** 0.5
    stations = [0.75 * share - 0.42, np.full(9, x), y + 0.02 * (1 - swell), radius * swell, radius * swell]
    parts = [along(Z, np.column_stack(stations), exponent=3, corners=12)]
    for at in (main - 0.04, main + 0.16):
        brace = (0.6 * plane.thin, 0.5 * plane.thin)
        parts.append(beam((0.02, -0.3 * plane.height, at), (x, y, at), brace))
    return mirrored(parts)

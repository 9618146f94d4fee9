"""What drives an airplane: turbofans, jets with their intakes, propellers."""

import numpy as np

from hdbench.datasets.procedural.airplane_parameters import Airplane
from hdbench.datasets.procedural.lofts import Array, Solid, Y, Z, along, beam, loft, mirrored, turned

Point = tuple[float, float, float]


def engines(plane: Airplane) -> list[Solid]:
    """The engines of `plane`, with pylons, intakes and propellers."""
    if plane.engines == "wing":
        return _turbofans_under_wings(plane)
    if plane.engines == "wing props":
        return _propellers_on_wings(plane)
    if plane.engines in ("rear", "trijet"):
        return _turbofans_at_rear(plane)
    if plane.engines == "jet":
        return [*_nozzles(plane), *_intakes(plane)]
    if plane.engines == "nose":
        hub = (0.0, plane.section(0.0)[0], -0.5)
        return _propeller(plane, hub, radius=plane.propeller, spinner=max(0.03, 0.2 * plane.width))
    return []


def _turbofan(front: Point, radius: float, length: float) -> Solid:
    """A cowl with a hollowed mouth and a narrower core; `front` is the middle of its mouth."""
    lip = [(0.35, 0.62), (0.05, 0.72), (0.0, 0.85), (0.2, 0.98)]
    cowl = [(0.35, 1.0), (0.7, 0.86), (0.72, 0.66), (1.0, 0.42)]
    profile = [(a * radius, r * radius) for a, r in lip] + [(a * length, r * radius) for a, r in cowl]
    return turned(profile, front, Z, corners=18)


def _propeller(plane: Airplane, hub: Point, *, radius: float, spinner: float) -> list[Solid]:
    """A spinner and blades; `hub` is the middle of the spinner's back."""
    share = np.linspace(0, 1, 6)
    profile = np.column_stack([-1.4 * spinner * share, spinner * np.sqrt(np.maximum(0.02, 1 - share**2))])
    profile[0, 0] = 0.5 * spinner
    root = np.array(hub) - 0.5 * spinner * Z
    angles = np.pi / 2 + 2 * np.pi * np.arange(plane.blades) / plane.blades
    blades = [_blade(root, angle, radius, plane.thin) for angle in angles]
    return [turned(profile, hub, Z, corners=14), *blades]


def _blade(root: Array, angle: float, radius: float, thin: float) -> Solid:
    outward = np.array([np.cos(angle), np.sin(angle), 0.0])
    share = np.array([0.0, 0.3, 0.7, 0.97, 1.0])
    half_width = 1.4 * thin * np.array([0.55, 0.85, 0.95, 0.65, 0.3])
    around = np.linspace(0, 2 * np.pi, 10, endpoint=False)[None, :, None]
    ring = np.cos(around) * half_width[:, None, None] * np.cross(Z, outward) + 0.5 * thin * np.sin(around) * Z
    return loft(root + radius * share[:, None, None] * outward + ring)


def _engine_places(plane: Airplane) -> list[tuple[float, float]]:
    """Share of the half span and relative size of the engines on one wing."""
    if plane.engine_count == 2:
        return [(plane.engine_at, 1.0)]
    return [(plane.engine_at - 0.03, 0.95), (plane.engine_at + 0.3, 0.85)]


def _turbofans_under_wings(plane: Airplane) -> list[Solid]:
    parts = []
    for share, scale in _engine_places(plane):
        x, y, z, chord = plane.wing.at(share)
        radius, length = plane.engine_radius * scale, plane.engine_length * scale
        low = y - 1.25 * radius
        parts.append(_turbofan((x, low, z - 0.7 * length), radius, length))
        half = 0.5 * plane.thin
        pylon = [(low, x, z, half, 0.55 * length), (y, x, z + 0.3 * chord, half, 0.5 * length)]
        parts.append(along(Y, np.array(pylon), exponent=4, corners=12))
    return mirrored(parts)


def _propellers_on_wings(plane: Airplane) -> list[Solid]:
    parts = []
    for share, scale in _engine_places(plane):
        x, y, z, _ = plane.wing.at(share)
        radius, length = plane.engine_radius * scale, plane.engine_length * scale
        front = (x, y, z - 0.55 * length)
        cowl = [(0.0, 0.5), (0.06, 0.85), (0.3, 1.0), (0.6, 0.95), (1.0, 0.35)]
        parts.append(turned([(a * length, r * radius) for a, r in cowl], front, Z, corners=16))
        reach = plane.propeller * (1.0 if plane.engine_count == 2 else 0.75)
        parts += _propeller(plane, front, radius=reach, spinner=0.5 * radius)
    return mirrored(parts)


def _turbofans_at_rear(plane: Airplane) -> list[Solid]:
    radius, length = plane.engine_radius, plane.engine_length
    front = 0.66
    centre, size = plane.section(front + length / 2)
    x, y, z = size * plane.width / 2 + 1.15 * radius, centre + 0.25 * plane.height, front - 0.5
    middle = z + length / 2
    pylon = beam((0.0, centre, middle), (x, y, middle), (0.3 * length, 0.5 * plane.thin), exponent=4, corners=12)
    parts = mirrored([_turbofan((x, y, z), radius, length), pylon])
    if plane.engines == "trijet":
        centre, size = plane.section(0.85)
        level = centre + size * plane.height / 2 + 0.7 * radius
        parts.append(_turbofan((0.0, level, 0.42 - plane.fin_chord), 0.95 * radius, plane.fin_chord + 0.12))
    return parts


def _nozzles(plane: Airplane) -> list[Solid]:
    single = plane.engine_count == 1
    radius = (1.15 if single else 0.95) * plane.engine_radius
    places = [0.0] if single else [-0.8 * plane.engine_radius, 0.8 * plane.engine_radius]
    profile = [(-0.16, 0.7), (-0.06, 1.0), (0.0, 0.98), (0.05, 0.8), (0.045, 0.62), (0.02, 0.5)]
    level = plane.section(0.97)[0]
    return [turned([(a, r * radius) for a, r in profile], (x, level, 0.5), Z, corners=16) for x in places]


def _intakes(plane: Airplane) -> list[Solid]:
    """Trunks that begin ahead of the wing and sink into the fuselage behind; rows of place, centre, half sizes."""
    size = np.array([1.0, plane.width / 2, plane.height / 2, plane.width / 2, plane.height / 2])
    if plane.intake == "side":
        trunk = [(-0.17, 0.95, -0.05, 0.42, 0.6), (0.1, 0.85, -0.05, 0.5, 0.65), (0.4, 0.45, 0.0, 0.4, 0.5)]
        return mirrored([along(Z, np.array(trunk) * size, exponent=4, corners=12)])
    if plane.intake == "chin":
        trunk = [(-0.17, 0.0, -1.1, 0.7, 0.42), (0.1, 0.0, -0.8, 0.75, 0.5), (0.4, 0.0, -0.3, 0.5, 0.3)]
        return [along(Z, np.array(trunk) * size, exponent=3.5, corners=12)]
    return []

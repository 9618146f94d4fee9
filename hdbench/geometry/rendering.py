"""Still pictures of shapes, drawn off screen: no display is needed, and the same shape gives the same bytes.

Shapes stand in a small studio: warm key light from the front right, cool fill, soft ambient occlusion, seen in
three-quarter front view (frame: +Y up, -Z front) and scaled so that they just fill the picture.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import pyvista

from hdbench.shapes import Float32, Mesh, PointCloud, Sequence, Shape, defect

UInt8 = npt.NDArray[np.uint8]
Float64 = npt.NDArray[np.float64]
Color = tuple[int, int, int]

GENERATED: Color = (120, 170, 214)
"""Material of what a model made."""
REAL: Color = (186, 180, 170)
"""Material of what came from a dataset."""

SUPERSAMPLING = 2
"""Pixels drawn per pixel kept, along each side."""
VIEW_ANGLE = 24.0
"""Full opening of the camera, in degrees: a long lens, so that near parts do not bulge."""
MARGIN = 1.05
"""Half the picture over half the shape."""


def _direction(azimuth: float, elevation: float) -> Float64:
    """Unit vector to a place `azimuth` degrees right of the front (towards +X) and `elevation` degrees up."""
    turn, rise = np.radians([azimuth, elevation])
    return np.array([np.sin(turn) * np.cos(rise), np.sin(rise), -np.cos(turn) * np.cos(rise)])


VIEW = _direction(38, 22)
RIGHT = np.cross((0.0, 1.0, 0.0), VIEW) / np.linalg.norm(np.cross((0.0, 1.0, 0.0), VIEW))
UP = np.cross(VIEW, RIGHT)
LIGHTS = (
    (_direction(75, 50), 0.75, "#fff8ec"),
    (_direction(-30, 20), 0.38, "#e6f0ff"),
    (_direction(200, 35), 0.35, "#ffffff"),
    (_direction(20, 80), 0.25, "#ffffff"),
)


def render(shape: Shape, *, size: int = 192, color: Color = GENERATED, frame: int = 0) -> UInt8:
    """A picture of `shape`, (size, size, 4) RGBA with a transparent background.

    Of a sequence, `frame` is drawn (negative counts from the end). A shape that cannot be drawn (see
    `hdbench.shapes.defect`) gives `placeholder(size)`.
    """
    if defect(shape):
        return placeholder(size)
    if isinstance(shape, Sequence):
        return render(shape.frames[frame], size=size, color=color)
    with _silence():
        (still,) = centred(Sequence((shape,))).frames
        return _studio(size).draw(still, color, framing=_points(still))


def render_strip(clip: Sequence, *, count: int, size: int = 192, color: Color = GENERATED) -> UInt8:
    """`count` frames of `clip`, evenly through it, side by side and seen from one place: (size, count * size, 4) RGBA.

    A clip that cannot be drawn gives placeholders.
    """
    if defect(clip):
        return np.tile(placeholder(size), (1, count, 1))
    clip = centred(clip)
    framing = np.concatenate([_points(frame) for frame in clip.frames])
    chosen = [clip.frames[index * len(clip.frames) // count] for index in range(count)]
    with _silence():
        return np.concatenate([_studio(size).draw(frame, color, framing=framing) for frame in chosen], axis=1)


def centred(clip: Sequence) -> Sequence:
    """`clip` with the middle of its bounding box at the origin and its farthest point at distance 1.

    All frames are moved and scaled alike. Vertices that no face names are dropped.
    """
    frames = [_without_strays(frame) if isinstance(frame, Mesh) else frame for frame in clip.frames]
    points = [_points(frame) for frame in frames]
    ends = np.cumsum([len(part) for part in points])[:-1]
    moved = np.split(_in_unit_ball(np.concatenate(points)), ends)
    return Sequence(
        tuple(
            Mesh(place, frame.faces) if isinstance(frame, Mesh) else PointCloud(place)
            for frame, place in zip(frames, moved, strict=True)
        )
    )


def _points(shape: Mesh | PointCloud) -> Float32:
    return shape.vertices if isinstance(shape, Mesh) else shape.points


def _without_strays(mesh: Mesh) -> Mesh:
    used, faces = np.unique(mesh.faces, return_inverse=True)
    return Mesh(mesh.vertices[used], faces.astype(np.int32))


def creased(mesh: Mesh) -> pyvista.PolyData:
    """`mesh` with vertex normals, vertices doubled where faces meet at more than 40 degrees: edges stay crisp."""
    surface = pyvista.PolyData.from_regular_faces(mesh.vertices, mesh.faces)
    return surface.compute_normals(cell_normals=False, split_vertices=True, feature_angle=40.0)


def placeholder(size: int) -> UInt8:
    """The picture of a shape that is none: a grey cross, (size, size, 4) RGBA."""
    rows, columns = np.mgrid[:size, :size] / (size - 1) * 2 - 1
    distance = np.minimum(np.abs(rows - columns), np.abs(rows + columns)) / np.sqrt(2)
    inside = np.maximum(np.abs(rows), np.abs(columns)) < 0.32
    picture = np.zeros((size, size, 4), np.uint8)
    picture[..., :3] = 140
    picture[..., 3] = np.where(inside, np.clip(1 - (distance - 0.03) * size / 2, 0, 1) * 255, 0)
    return picture


def encode_png(picture: UInt8) -> bytes:
    """The picture as PNG."""
    return _encode(picture, format="PNG", optimize=True)


def encode_webp(picture: UInt8, *, quality: int = 80) -> bytes:
    """The picture as lossy WebP with its transparency; about a tenth of the PNG."""
    return _encode(picture, format="WEBP", quality=quality, alpha_quality=80, method=4)


def _encode(picture: UInt8, **options: Any) -> bytes:
    from PIL import Image

    stream = BytesIO()
    Image.fromarray(picture).save(stream, **options)
    return stream.getvalue()


class _Studio:
    """One off-screen window with its lights, reused for every shape."""

    def __init__(self, size: int) -> None:
        # Software rendering brings an LLVM, beside which Triton's crashes the process when torch loads it later.
        if find_spec("triton"):
            import_module("triton._C.libtriton")
        self.size = size
        side = size * SUPERSAMPLING
        self.plotter = pyvista.Plotter(off_screen=True, window_size=(side, side), lighting="none")
        self.plotter.set_background("white")
        for direction, intensity, color in LIGHTS:
            self.plotter.add_light(
                pyvista.Light(position=tuple(direction), color=color, intensity=intensity, light_type="scene light")
            )
        self.plotter.enable_ssao(radius=0.2, bias=0.004, kernel_size=24, blur=True)
        self.plotter.camera.view_angle = VIEW_ANGLE

    def draw(self, shape: Mesh | PointCloud, color: Color, *, framing: Float32) -> UInt8:
        """A picture of `shape` that the points `framing` (P, 3) would just fill."""
        plotter = self.plotter
        plotter.clear_actors()
        distance = self._aim(framing)
        if isinstance(shape, Mesh):
            self._add_mesh(shape, color)
        else:
            self._add_points(shape.points.astype(np.float64), color, distance=distance)
        plotter.render()
        return _downsample(plotter.screenshot(return_img=True, transparent_background=True))

    def _aim(self, points: npt.NDArray[np.floating[Any]]) -> float:
        """Put the camera where `points` just fill the picture; its distance to their middle.

        With t the tangent of half the opening, a point x right of and z towards a camera that stands at (c, d) is
        seen when |x - c| <= (d - z) t, so the nearest camera has d t = (max(x + z t) + max(z t - x)) / 2.
        """
        across, above, towards = (points @ np.stack([RIGHT, UP, VIEW], axis=1)).T
        tangent = np.tan(np.radians(VIEW_ANGLE / 2)) / MARGIN
        distance = max((side + towards * tangent).max() + (towards * tangent - side).max() for side in (across, above))
        distance = distance / 2 / tangent
        middle = (towards.max() + towards.min()) / 2
        focus = _centre(across, distance - towards) * RIGHT + _centre(above, distance - towards) * UP + middle * VIEW
        camera = self.plotter.camera
        camera.focal_point = focus
        camera.position = focus + (distance - middle) * VIEW
        camera.up = UP
        camera.clipping_range = (distance - towards.max()) * 0.9, (distance - towards.min()) * 1.1
        return float(distance - middle)

    def _add_mesh(self, mesh: Mesh, color: Color) -> None:
        self.plotter.add_mesh(
            creased(mesh),
            color=color,
            smooth_shading=True,
            ambient=0.22,
            diffuse=0.85,
            specular=0.25,
            specular_power=20,
            reset_camera=False,
            render=False,
        )

    def _add_points(self, points: Float64, color: Color, *, distance: float) -> None:
        spacing, shade = _spacing_and_shade(points)
        cloud = pyvista.PolyData(points)
        cloud["color"] = np.clip(np.array(color) * shade[:, None], 0, 255).astype(np.uint8)
        side = self.size * SUPERSAMPLING
        visible = 2 * distance * np.tan(np.radians(VIEW_ANGLE / 2))
        self.plotter.add_mesh(
            cloud,
            scalars="color",
            rgb=True,
            render_points_as_spheres=True,
            point_size=float(np.clip(1.2 * spacing / visible * side, side / 90, side / 36)),
            ambient=0.7,
            diffuse=0.4,
            reset_camera=False,
            render=False,
        )


@lru_cache(maxsize=4)
def _studio(size: int) -> _Studio:
    return _Studio(size)


@contextmanager
def _silence() -> Iterator[None]:
    """No warning that there is no display: VTK says it aloud, then draws off screen all the same."""
    from vtkmodules.vtkCommonCore import vtkLogger

    verbosity = vtkLogger.GetCurrentVerbosityCutoff()
    vtkLogger.SetStderrVerbosity(vtkLogger.VERBOSITY_OFF)
    try:
        yield
    finally:
        vtkLogger.SetStderrVerbosity(verbosity)


def _centre(offsets: Float64, depths: Float64) -> float:
    """Where a camera must stand so that points `offsets` beside it and `depths` before it lie evenly about its axis."""
    centre = 0.0
    for _ in range(8):  # each step leaves a fraction of the error, the relative depth of the shape
        seen = (offsets - centre) / depths
        centre += float(seen.max() + seen.min()) / 2 * float(depths.mean())
    return centre


def _in_unit_ball(points: Float32) -> Float32:
    moved = points - (points.min(axis=0) + points.max(axis=0)) / 2
    return moved / np.linalg.norm(moved, axis=1).max()


def _spacing_and_shade(points: Float64) -> tuple[float, Float64]:
    """Typical distance of neighbours, and the brightness of each point (P,).

    Points are lit as the surface they lie on would be, by the normal of their neighbourhood, and far ones are
    darker: without it a cloud is a flat stain.
    """
    from scipy.spatial import KDTree

    count = min(16, len(points))
    distances, neighbours = map(np.asarray, KDTree(points).query(points, k=np.arange(1, count + 1)))
    offsets = points[neighbours] - points[neighbours].mean(axis=1, keepdims=True)
    _, axes = np.linalg.eigh(np.einsum("nki,nkj->nij", offsets, offsets))
    normals = axes[:, :, 0]
    normals = normals * np.where(normals @ VIEW < 0, -1.0, 1.0)[:, None]
    light = np.sum([intensity * np.clip(normals @ direction, 0, None) for direction, intensity, _ in LIGHTS], axis=0)
    towards = points @ VIEW
    nearness = (towards - towards.min()) / max(float(np.ptp(towards)), 1e-9)
    return float(np.median(distances[:, 1:5].mean(axis=1))), (0.62 + 0.4 * light) * (0.74 + 0.26 * nearness)


def _downsample(picture: UInt8) -> UInt8:
    """Average blocks of supersampled RGBA pixels, colours weighted by their opacity."""
    weighted = picture.astype(np.float32)
    weighted[..., :3] *= weighted[..., 3:]
    total = np.zeros((picture.shape[0] // SUPERSAMPLING, picture.shape[1] // SUPERSAMPLING, 4), np.float32)
    for row in range(SUPERSAMPLING):
        for column in range(SUPERSAMPLING):
            total += weighted[row::SUPERSAMPLING, column::SUPERSAMPLING]
    total[..., :3] /= np.maximum(total[..., 3:], 1)
    total[..., 3] /= SUPERSAMPLING**2
    return total.round().astype(np.uint8)

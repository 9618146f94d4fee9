"""How the published protocols place and scale shapes before they measure them.

Every function takes clouds (N, P, 3) or sequences (N, T, P, 3) of finite float32 coordinates, treats each shape
alone, and returns new float32 points of the same layout. A sequence moves as one: one centre and one scale for all
its frames, unless the function says otherwise. Arithmetic is float64, rounded once, and holds `BLOCK` shapes at a time.

Raises HdbenchError for a shape without extent (all points in one place), which has no scale.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hdbench.errors import HdbenchError

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


BLOCK = 256
"""Shapes that are held in float64 at once."""


class Moments(NamedTuple):
    """Where a training set lies and how wide it is, as PointFlow, PVD and LION normalise their data."""

    mean: tuple[float, float, float]
    """Of all points of all shapes, per axis."""
    deviation: float
    """Of all coordinates about their one mean over all axes; population deviation (ddof 0)."""


def unit_deviation_uncentred(points: Float32) -> Float32:
    """Subtract the point mean, then divide by the deviation of all coordinates *before* they were centred.

    The deviation is one scalar over all 3 P raw coordinates, unbiased (ddof 1). It contains the spread between the
    means of the three axes, so the result is not translation-invariant: a shape that lies off the diagonal comes
    out smaller. Source: HyperDiffusion's test metrics and DPC's `shape_unit` (FACTS e.3); kept as published.
    """
    return _placed(
        points, lambda raw: (raw.mean(axis=_point_axes(raw), keepdims=True), raw.std(axis=_all_axes(raw), ddof=1))
    )


def unit_deviation(points: Float32) -> Float32:
    """Subtract the point mean, then divide by the deviation of all centred coordinates (one scalar, ddof 0).

    Invariant under translation and scaling. Source: the `hdbench` protocol.
    """

    def place(raw: Float64) -> tuple[Float64, Float64]:
        centre = raw.mean(axis=_point_axes(raw), keepdims=True)
        return centre, np.sqrt(((raw - centre) ** 2).mean(axis=_all_axes(raw)))

    return _placed(points, place)


def bounding_box(points: Float32, *, half_extent: float = 1.0) -> Float32:
    """Subtract the centre of the bounding box, then scale its largest side to [-half_extent, half_extent].

    Sources: DPC's `shape_bbox` (half extent 1); LION's `norm_box` (half extent 0.5).
    """

    def place(raw: Float64) -> tuple[Float64, Float64]:
        low, high = raw.min(axis=_point_axes(raw), keepdims=True), raw.max(axis=_point_axes(raw), keepdims=True)
        return (low + high) / 2, (high - low).max(axis=_all_axes(raw)) / 2 / half_extent

    return _placed(points, place)


def centred_frames(sequences: Float32) -> Float32:
    """Centre every frame of (N, T, P, 3) on its own point mean, then scale each sequence to largest |coordinate| 0.95.

    The motion of the whole body over time vanishes. Source: HyperDiffusion's 4D metrics.
    """

    def place(raw: Float64) -> tuple[Float64, Float64]:
        centre = raw.mean(axis=-2, keepdims=True)
        return centre, np.abs(raw - centre).max(axis=_all_axes(raw)) / 0.95

    return _placed(sequences, place)


def moments(training: Float32) -> Moments:
    """The `Moments` of training points, (N, P, 3)."""
    points = np.asarray(training, np.float64).reshape(-1, 3)
    x, y, z = (float(value) for value in points.mean(axis=0))
    return Moments((x, y, z), float(points.std()))


def denormalise(points: Float32, moments: Moments) -> Float32:
    """Points of a model trained on globally normalised shapes, back in the coordinates of its data: x s + m."""
    scaled = np.empty(np.shape(points), np.float32)
    for start in range(0, len(scaled), BLOCK):
        raw = np.asarray(points[start : start + BLOCK], np.float64)
        scaled[start : start + BLOCK] = raw * moments.deviation + np.asarray(moments.mean)
    return scaled


def _point_axes(points: Float64) -> tuple[int, ...]:
    return tuple(range(1, points.ndim - 1))


def _all_axes(points: Float64) -> tuple[int, ...]:
    return tuple(range(1, points.ndim))


def _placed(points: Float32, place: Callable[[Float64], tuple[Float64, Float64]]) -> Float32:
    """Each block of shapes less its centres, divided by its scales: what `place(block)` returns."""
    placed = np.empty(np.shape(points), np.float32)
    for start in range(0, len(placed), BLOCK):
        raw = np.asarray(points[start : start + BLOCK], np.float64)
        placed[start : start + BLOCK] = _scaled(raw, *place(raw), first=start, count=len(placed))
    return placed


def _scaled(raw: Float64, centre: Float64, scale: Float64, *, first: int, count: int) -> Float32:
    centred = raw - centre
    # Rounding leaves a shape without extent a little of it: far less than float32 coordinates could hold.
    noise = 1e-12 * np.abs(raw).max(axis=_all_axes(raw))
    degenerate = np.flatnonzero(~(np.abs(centred).max(axis=_all_axes(raw)) > noise))
    if len(degenerate):
        raise HdbenchError(
            f"Shape {first + degenerate[0]} of {count} has no extent: all its points lie in one place, or are not "
            "finite. Remove it."
        )
    return np.asarray(centred / scale.reshape(-1, *[1] * (raw.ndim - 1)), np.float32)

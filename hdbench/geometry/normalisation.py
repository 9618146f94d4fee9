"""How the published protocols place and scale shapes before they measure them.

Every function takes clouds (N, P, 3) or sequences (N, T, P, 3) of finite float32 coordinates, treats each shape
alone, and returns new float32 points of the same layout. A sequence moves as one: one centre and one scale for all
its frames, unless the function says otherwise. Arithmetic is float64, rounded once.

Raises HdbenchError for a shape without extent (all points in one place), which has no scale.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hdbench.errors import HdbenchError

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


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
    raw = np.asarray(points, np.float64)
    return _scaled(raw, raw.mean(axis=_point_axes(raw), keepdims=True), raw.std(axis=_all_axes(raw), ddof=1))


def unit_deviation(points: Float32) -> Float32:
    """Subtract the point mean, then divide by the deviation of all centred coordinates (one scalar, ddof 0).

    Invariant under translation and scaling. Source: the `hdbench` protocol.
    """
    raw = np.asarray(points, np.float64)
    centre = raw.mean(axis=_point_axes(raw), keepdims=True)
    return _scaled(raw, centre, np.sqrt(((raw - centre) ** 2).mean(axis=_all_axes(raw))))


def bounding_box(points: Float32, *, half_extent: float = 1.0) -> Float32:
    """Subtract the centre of the bounding box, then scale its largest side to [-half_extent, half_extent].

    Sources: DPC's `shape_bbox` (half extent 1); LION's `norm_box` (half extent 0.5).
    """
    raw = np.asarray(points, np.float64)
    low, high = raw.min(axis=_point_axes(raw), keepdims=True), raw.max(axis=_point_axes(raw), keepdims=True)
    return _scaled(raw, (low + high) / 2, (high - low).max(axis=_all_axes(raw)) / 2 / half_extent)


def centred_frames(sequences: Float32) -> Float32:
    """Centre every frame of (N, T, P, 3) on its own point mean, then scale each sequence to largest |coordinate| 0.95.

    The motion of the whole body over time vanishes. Source: HyperDiffusion's 4D metrics.
    """
    raw = np.asarray(sequences, np.float64)
    centre = raw.mean(axis=-2, keepdims=True)
    return _scaled(raw, centre, np.abs(raw - centre).max(axis=_all_axes(raw)) / 0.95)


def moments(training: Float32) -> Moments:
    """The `Moments` of training points, (N, P, 3)."""
    points = np.asarray(training, np.float64).reshape(-1, 3)
    x, y, z = (float(value) for value in points.mean(axis=0))
    return Moments((x, y, z), float(points.std()))


def denormalise(points: Float32, moments: Moments) -> Float32:
    """Points of a model trained on globally normalised shapes, back in the coordinates of its data: x s + m."""
    scaled = np.asarray(points, np.float64) * moments.deviation + np.asarray(moments.mean)
    return np.asarray(scaled, np.float32)


def _point_axes(points: Float64) -> tuple[int, ...]:
    return tuple(range(1, points.ndim - 1))


def _all_axes(points: Float64) -> tuple[int, ...]:
    return tuple(range(1, points.ndim))


def _scaled(raw: Float64, centre: Float64, scale: Float64) -> Float32:
    centred = raw - centre
    # Rounding leaves a shape without extent a little of it: far less than float32 coordinates could hold.
    noise = 1e-12 * np.abs(raw).max(axis=_all_axes(raw))
    degenerate = np.flatnonzero(~(np.abs(centred).max(axis=_all_axes(raw)) > noise))
    if len(degenerate):
        raise HdbenchError(
            f"Shape {degenerate[0]} of {len(raw)} has no extent: all its points lie in one place, or are not finite. "
            "Remove it."
        )
    return np.asarray(centred / scale.reshape(-1, *[1] * (raw.ndim - 1)), np.float32)

"""Plots of what lies behind the means: every sample's distance, every reference's, and maps of features."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from hdbench.reporting.distances import LineStatistics
from hdbench.reporting.drawing import (
    ACCENT,
    DASHES,
    INK,
    LINE,
    MUTED,
    SERIES,
    SURFACE,
    shortened,
    style,
    to_svg,
)

Float64 = npt.NDArray[np.float64]


def strips(found: Sequence[LineStatistics], scale: float, unit: str) -> str:
    """A mark per sample at its distance to the nearest reference shape, a row per line, with the median."""
    height = 0.5 + 0.3 * len(found)
    with style():
        figure = Figure(figsize=(3.5, height))
        axes = figure.add_axes((0.36, 0.42 / height, 0.61, 1 - 0.44 / height))
        for place, one in enumerate(found):
            values = _positive(one.to_reference) * scale
            color = MUTED if one.line.is_control else ACCENT
            axes.plot(values, np.full(len(values), place), "|", color=color, alpha=0.55, markersize=9)
            if len(values):
                axes.plot([np.median(values)], [place], "o", markersize=5.5, color=color, markerfacecolor=SURFACE)
        axes.set_yticks(range(len(found)), [shortened(one.line.title) for one in found])
        axes.tick_params(axis="y", length=0)
        for label, one in zip(axes.get_yticklabels(), found, strict=True):
            label.set_color(MUTED if one.line.is_control else INK)
        axes.set_ylim(len(found) - 0.4, -0.6)
        _distance_axis(axes, unit)
        return to_svg(figure, "strips-")


def cumulative(found: Sequence[LineStatistics], scale: float, unit: str, *, of_reference: bool) -> str:
    """The share of samples (or of reference shapes) whose nearest of the other set is at most so far.

    Real shapes are a broad grey line.
    """
    with style():
        rows = -(-len(found) // 2)
        height = 2.2 + 0.17 * rows
        figure = Figure(figsize=(3.5, height))
        axes = figure.add_axes((0.13, 0.42 / height, 0.84, 1.7 / height))
        models = [one for one in found if not one.line.is_control]
        for one in found:
            values = np.sort(_positive(one.from_reference if of_reference else one.to_reference)) * scale
            if not len(values):
                continue
            shares = np.arange(1, len(values) + 1) / len(values) * 100
            label = shortened(one.line.title)
            if one.line.is_control:
                axes.step(values, shares, where="post", color=MUTED, alpha=0.4, linewidth=4, label=label, zorder=1)
                continue
            place = models.index(one) % len(SERIES)
            (drawn,) = axes.step(values, shares, where="post", linewidth=1.5, label=label, color=SERIES[place])
            drawn.set_linestyle(DASHES[place])
        axes.set_ylim(0, 102)
        axes.yaxis.set_major_formatter("{x:g} %")
        axes.grid(True, color=LINE, linewidth=0.5, alpha=0.6)
        _distance_axis(axes, unit)
        axes.legend(loc="lower left", bbox_to_anchor=(-0.05, 1.0), ncols=2, handlelength=2.6, borderaxespad=0)
        return to_svg(figure, f"cumulative{int(of_reference)}-")


def feature_maps(found: Sequence[LineStatistics]) -> list[tuple[LineStatistics, str]]:
    """For each line with features a map: the plane in which those of the reference vary most (PCA).

    Real shapes are grey rings, samples dots.
    """
    with_features = [one for one in found if one.features is not None]
    if not with_features:
        return []
    from sklearn.decomposition import PCA

    reference = with_features[0].features
    assert reference is not None
    with np.errstate(invalid="ignore"):
        plane = PCA(n_components=2, svd_solver="full").fit(reference[0])
    mapped = [(one, *(plane.transform(part) for part in one.features or ())) for one in with_features]
    ends = np.concatenate([np.concatenate(points) for _, *points in mapped])
    low, high = np.percentile(ends, 1, axis=0), np.percentile(ends, 99, axis=0)
    margin = 0.08 * (high - low) + 1e-9
    drawn = []
    for place, (one, real, generated) in enumerate(mapped):
        with style():
            figure = Figure(figsize=(2.3, 2.0))
            axes = figure.add_axes((0.02, 0.02, 0.96, 0.96))
            axes.plot(*real.T, "o", color=MUTED, markerfacecolor="none", markersize=4, markeredgewidth=0.8, alpha=0.8)
            face = MUTED if one.line.is_control else ACCENT
            axes.plot(*generated.T, "o", color=face, markersize=3.2, markeredgewidth=0, alpha=0.8)
            axes.set_xlim(low[0] - margin[0], high[0] + margin[0])
            axes.set_ylim(low[1] - margin[1], high[1] + margin[1])
            axes.set_xticks([])
            axes.set_yticks([])
            drawn.append((one, to_svg(figure, f"map{place}-")))
    return drawn


def _positive(values: Float64) -> Float64:
    """What a logarithmic axis can show; a distance of 0 (a copy) stands at its smallest neighbour."""
    finite = values[np.isfinite(values) & (values >= 0)]
    positive = finite[finite > 0]
    return np.maximum(finite, positive.min()) if len(positive) else positive


def _distance_axis(axes: Axes, unit: str) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="x", which="minor", length=0)
    axes.set_xlabel(f"Chamfer distance {unit}".strip())

"""Plots of a run as SVG to stand inline in the page: drawn in the page's own colours, the same bytes each time."""

from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from hdbench.reporting.columns import Column
from hdbench.reporting.drawing import ACCENT, INK, LINE, MUTED, SURFACE, shortened, style, to_svg
from hdbench.reporting.rounding import rounded
from hdbench.reporting.tables import Board, Line


@dataclass(frozen=True)
class Span:
    """A value and its interval, in the units of the table or in percent of a strip's width."""

    lo: float
    value: float
    hi: float
    beyond: int = 0
    """1 or -1 where the value lies right or left of the strip."""


def score_panel(board: Board, index: int) -> str:
    """Column `index` of the board: every value with its interval, real held-out shapes as a band, and the target.

    The band is there only where real shapes have the models' signature; a control with another one is marked †.
    The axis spans the models and real shapes; what lies far outside (uniform noise usually does) is an arrow at
    the edge, with its value.
    """
    column = board.columns[index]
    lines = [line for line in board.lines if displayed(line, index, column)]
    height = 0.56 + 0.25 * len(lines)
    with style():
        figure = Figure(figsize=(3.5, height))
        axes = figure.add_axes((0.36, 0.44 / height, 0.61, 1 - 0.46 / height))
        axes.set_xlim(*board.spans[index])
        axes.set_ylim(len(lines) - 0.4, -0.6)
        _draw_yardsticks(axes, board, index)
        for place, line in enumerate(lines):
            _draw_value(axes, line, index, column, place)
        axes.set_yticks(range(len(lines)), [_tick(line, index) for line in lines])
        axes.tick_params(axis="y", length=0)
        for label, line in zip(axes.get_yticklabels(), lines, strict=True):
            label.set_color(MUTED if line.is_control else INK)
        axes.set_xlabel(f"{column.display_unit}   {column.goal_in_words}".strip())
        return to_svg(figure, f"score{index}-")


def loss_panel(line: Line, index: int) -> str:
    """Training loss of a model over its steps, on a logarithmic axis where it is positive."""
    curve = line.rows[0].loss_curve
    with style():
        figure = Figure(figsize=(3.5, 1.8))
        axes = figure.add_axes((0.15, 0.25, 0.82, 0.72))
        axes.plot([step for step, _ in curve], [loss for _, loss in curve], color=ACCENT, linewidth=1.3)
        if all(loss > 0 for _, loss in curve):
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter("{x:g}")
        axes.grid(True, color=LINE, linewidth=0.6)
        axes.margins(x=0.02)
        axes.set_xlabel("training step")
        return to_svg(figure, f"loss{index}-")


def displayed(line: Line, index: int, column: Column) -> Span | None:
    """Value and interval of a line in column `index`, in the units of the table."""
    ends = line.displayed(index, column)
    return Span(*ends) if ends else None


def strip(board: Board, index: int, line: Line) -> Span | None:
    """Where a line lies in column `index`, in percent of the width that models and real shapes span."""
    span = displayed(line, index, board.columns[index])
    if span is None:
        return None
    low, high = board.spans[index]
    lo, value, hi = (
        round(min(100.0, max(0.0, 100 * (end - low) / (high - low))), 2) for end in (span.lo, span.value, span.hi)
    )
    return Span(lo, value, hi, beyond=(span.value > high) - (span.value < low))


def yardstick(board: Board, index: int) -> Span | None:
    """`strip` of real held-out shapes, or None where none have the models' signature."""
    line = board.yardstick(index)
    return strip(board, index, line) if line else None


def _draw_yardsticks(axes: Axes, board: Board, index: int) -> None:
    column = board.columns[index]
    real = board.yardstick(index)
    if real and (span := displayed(real, index, column)):
        axes.axvspan(span.lo, span.hi, color=LINE, alpha=0.6, linewidth=0)
    if not isinstance(column.target, str):
        axes.axvline(column.target * column.scale, color=MUTED, linewidth=1, linestyle=(0, (3, 3)))


def _draw_value(axes: Axes, line: Line, index: int, column: Column, place: int) -> None:
    cell, span = line.cells[index], displayed(line, index, column)
    if cell is None or span is None:
        return
    color = MUTED if line.is_control else ACCENT
    low, high = axes.get_xlim()
    if not low <= span.value <= high:
        number = rounded(cell.score, column.scale).value
        right = span.value > high
        text = f"{number} ▸" if right else f"◂ {number}"
        axes.text(high if right else low, place, text, ha="right" if right else "left", va="center", color=color)
        return
    axes.plot([span.lo, span.hi], [place, place], color=color, linewidth=2, solid_capstyle="round")
    face = color if cell.is_best or line.is_control else SURFACE
    axes.plot([span.value], [place], marker="o", markersize=6, markeredgewidth=1.6, color=color, markerfacecolor=face)


def _tick(line: Line, index: int) -> str:
    title = shortened(line.title)
    cell = line.cells[index]
    return f"{title} †" if cell and cell.is_foreign else title

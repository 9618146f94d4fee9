"""Cost against quality: what a better score was paid with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from hdbench.reporting import facts
from hdbench.reporting.drawing import INK, LINE, MARKERS, MUTED, SERIES, shortened, style, to_svg
from hdbench.reporting.figures import displayed
from hdbench.reporting.tables import Board, Line
from hdbench.results import Cost

_QUALITY = ("nna_cd", "mmd_cd")
"""What costs are held against."""
_LEAST = 1e-9


@dataclass(frozen=True)
class CostPanel:
    """One kind of cost against one score."""

    title: str
    label: str
    """In words, for those who cannot see it."""
    svg: str


_KINDS: tuple[tuple[str, Callable[[Cost], float | None], Callable[[float], str]], ...] = (
    ("Training time", lambda cost: cost.fit_s, facts.duration),
    ("Time per sample", lambda cost: cost.sample_s_per_shape, facts.duration),
    ("Peak memory", lambda cost: cost.peak_memory_bytes, lambda value: facts.memory(int(value))),
)


def cost_panels(board: Board) -> list[CostPanel]:
    """A panel per kind of cost that at least two models have, against each of the scores that people look at first."""
    return [
        _panel(board, index, what, points, said)
        for metric in _QUALITY
        for index, column in enumerate(board.columns)
        if column.metric == metric
        for what, cost_of, said in _KINDS
        if len(points := _points(board, index, cost_of)) > 1
    ]


def _points(board: Board, index: int, cost_of: Callable[[Cost], float | None]) -> list[tuple[Line, float]]:
    """The models that have both the score in column `index` and the cost."""
    scored = (line for line in board.models if displayed(line, index, board.columns[index]))
    return [(line, cost) for line in scored if (cost := _cost(line, cost_of))]


def _cost(line: Line, cost_of: Callable[[Cost], float | None]) -> float | None:
    """The mean over the rows of a line; None where one has none worth a place on an axis."""
    costs = [cost_of(row.cost) for row in line.rows]
    known = [cost for cost in costs if cost is not None and cost > _LEAST]
    return sum(known) / len(known) if len(known) == len(costs) else None


def _panel(
    board: Board, index: int, what: str, points: Sequence[tuple[Line, float]], said: Callable[[float], str]
) -> CostPanel:
    column = board.columns[index]
    with style():
        figure = Figure(figsize=(3.5, 2.3))
        axes = figure.add_axes((0.13, 0.2, 0.82, 0.76))
        axes.set_xscale("log")
        axes.grid(True, color=LINE, linewidth=0.5, alpha=0.6)
        if not isinstance(column.target, str):
            axes.axhline(column.target * column.scale, color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
        for place, (line, cost) in enumerate(points):
            span = displayed(line, index, column)
            if span is None:
                continue
            color, marker = SERIES[place % len(SERIES)], MARKERS[place % len(MARKERS)]
            axes.plot([cost, cost], [span.lo, span.hi], color=color, linewidth=1.4)
            axes.plot([cost], [span.value], marker=marker, color=color, markersize=6, linestyle="none")
            if len(points) <= len(SERIES):
                axes.annotate(
                    shortened(line.title),
                    (cost, span.value),
                    xytext=(6, 4),
                    textcoords="offset points",
                    color=INK,
                    fontsize=8,
                )
        costs = [cost for _, cost in points]
        axes.set_xlim(min(costs) / 2, max(costs) * 6)  # room for the names
        ticks = _ticks(min(costs), max(costs))
        axes.set_xticks(ticks, [said(tick) for tick in ticks])
        axes.set_xticks([], minor=True)
        axes.set_xlabel(f"{what.lower()}")
        axes.set_ylabel("")
        svg = to_svg(figure, f"cost{index}-{what.split()[0].lower()}-")
    values = "; ".join(f"{line.title} {said(cost)}, {facts.shown_value(line, index, column)}" for line, cost in points)
    title = f"{column.label} {column.display_unit} against {what.lower()}"
    return CostPanel(title, f"{title}, {column.goal_in_words}: {values}", svg)


def _ticks(low: float, high: float) -> list[float]:
    """Up to four round places on a logarithmic axis from `low` to `high`."""
    steps = [digit * 10.0**power for power in range(-6, 13) for digit in (1, 3)]
    inside = [step for step in steps if low / 1.5 <= step <= high * 1.5] or [low]
    return inside[:: -(-len(inside) // 4)]

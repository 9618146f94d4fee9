"""What a run says in a few words: who leads on which score, and which samples stand as near as copies."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from hdbench.reporting.columns import Column
from hdbench.reporting.rounding import Rounded, rounded
from hdbench.reporting.tables import Board, Cell, Line
from hdbench.results import Neighbours, Results, best_rows

TRAIN_COPY = "train-copy"
"""The control that shows how near a copied shape stands to its original."""


@dataclass(frozen=True)
class Verdict:
    """Who is best on one score, and how that compares with real shapes."""

    column: Column
    leaders: tuple[Line, ...]
    """Best first; more than one when nobody could tell them apart."""
    contenders: int
    """Models with a value."""
    value: Rounded
    """Of the first leader."""
    real: Rounded | None
    """The same score of real held-out shapes; None where they have none under the models' signature."""
    standing: str
    """How the first leader compares with real held-out shapes; empty without them."""

    @property
    def heading(self) -> str:
        """The leaders' names."""
        return ", ".join(line.title for line in self.leaders)

    @property
    def claim(self) -> str:
        """ "best", "tied for best", or nothing where a model has no rival."""
        if self.contenders < 2:
            return ""
        return "best" if len(self.leaders) == 1 else f"tie of {len(self.leaders)}"


def verdicts(board: Board) -> list[Verdict]:
    """One verdict per column in which some model has a value."""
    return [verdict for index in range(len(board.columns)) if (verdict := _verdict(board, index))]


def _verdict(board: Board, index: int) -> Verdict | None:
    column = board.columns[index]
    present = [(line, cell) for line in board.models if (cell := line.cells[index]) and cell.score.value is not None]
    leaders = sorted(
        ((line, cell) for line, cell in present if cell.is_best), key=lambda pair: pair[1].score.distance_from_best()
    )
    if not leaders:
        return None
    best = leaders[0][1]
    yardstick = board.yardstick(index)
    real = yardstick.cells[index] if yardstick else None
    return Verdict(
        column,
        leaders=tuple(line for line, _ in leaders),
        contenders=len(present),
        value=rounded(best.score, column.scale),
        real=rounded(real.score, column.scale) if real else None,
        standing=_standing(best, real),
    )


def _standing(best: Cell, real: Cell | None) -> str:
    if real is None:
        return ""
    ahead = best_rows([best.score, real.score])
    if len(ahead) == 2:
        return "not told apart from real shapes"
    return "beyond real shapes" if ahead == [0] else "short of real shapes"


@dataclass(frozen=True)
class Nearness:
    """How near the samples of one line stand to the training shapes."""

    line: Line
    entries: tuple[Neighbours, ...]
    typical: float
    """Median distance to the nearest training shape."""
    copies: frozenset[str]
    """Samples of a model that stand as near to a training shape as copies do."""


def nearness(results: Results, board: Board) -> list[Nearness]:
    """Nearest training shapes of each line that has any, copies found by the train-copy control."""
    copied = [
        entry.distances[0] for row in results.rows if row.method == TRAIN_COPY for entry in _entries([row.neighbours])
    ]
    limit = max(copied, default=-1.0)
    found = []
    for line in board.lines:
        entries = _entries([row.neighbours for row in line.rows[:1]])
        if entries:
            near = (entry.sample for entry in entries if entry.distances[0] <= limit and not line.is_control)
            found.append(Nearness(line, entries, median(entry.distances[0] for entry in entries), frozenset(near)))
    return found


def _entries(groups: Sequence[Sequence[Neighbours]]) -> tuple[Neighbours, ...]:
    return tuple(entry for group in groups for entry in group if entry.distances)

"""The words of a site's cells: numbers rounded by their intervals, ranks, and what a hover tells."""

from hdbench.leaderboard.ranking import Standing
from hdbench.leaderboard.tables import Cell, Table
from hdbench.metrics.protocols import PROTOCOLS
from hdbench.reporting.rounding import in_full, rounded


def tooltip(cell: Cell) -> str:
    """The exact value, its interval and unit, and its signature."""
    return in_full(cell.score)


def sort_key(cell: Cell | None) -> str:
    """How far from the best, for sorting; empty without a value, which goes last."""
    return "" if cell is None or cell.score.value is None else f"{cell.score.distance_from_best():.9g}"


def standing_text(standing: Standing) -> str:
    """A rank interval in words."""
    if standing.low == standing.high:
        return f"rank {standing.low}"
    return f"rank {standing.low} to {standing.high}: no one can tell it from others there"


def counted(count: int, one: str, many: str = "") -> str:
    """A number with its noun."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def protocol_title(name: str) -> str:
    """A protocol's title."""
    return PROTOCOLS[name].title if name in PROTOCOLS else name


def headline(table: Table) -> list[dict[str, str]]:
    """Who may be the best on each headline metric, in a few words."""
    found = []
    for index, column in enumerate(table.columns):
        if not column.is_headline or not (leaders := table.leaders(index)):
            continue
        cell = leaders[0].cells[index]
        names = ", ".join(line.stored.entry.name for line in leaders[:3])
        found.append(
            {
                "metric": column.label,
                "goal": column.goal_in_words,
                "names": f"{names} and {len(leaders) - 3} more" if len(leaders) > 3 else names,
                "claim": "best" if len(leaders) == 1 else f"tie of {len(leaders)}",
                "value": f"{rounded(cell.score, column.scale)} {column.display_unit}".strip() if cell else "",
            }
        )
    return found

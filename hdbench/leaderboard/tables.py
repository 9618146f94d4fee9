"""The tables of a board: one per dataset and protocol, a column per signature, models ranked, controls beside them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hdbench.leaderboard.entry import STATISTICS_FILE, DatasetVersion, StoredEntry
from hdbench.leaderboard.ranking import Halves, Standing, halves_of, standings
from hdbench.metrics.nearest import SetValues
from hdbench.metrics.scoring import Statistics
from hdbench.reporting.columns import Column, with_remarks
from hdbench.results import Score

if TYPE_CHECKING:
    import pandas as pd

FIRST_METRICS = ("nna_cd", "nna_emd")
"""What tables are sorted by when they open: the metric that neither copies of a few modes nor blur can please."""
_SET_FAMILIES = ("cd", "emd_published", "emd")


@dataclass(frozen=True)
class Cell:
    """One score of one entry."""

    score: Score
    standing: Standing | None = None
    """None for controls, for missing values, and where there is nobody to be compared with."""


@dataclass(frozen=True)
class Line:
    """An entry in a table."""

    stored: StoredEntry
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class Table:
    """All entries on one dataset under one protocol."""

    dataset: DatasetVersion
    protocol: str
    columns: tuple[Column, ...]
    models: tuple[Line, ...]
    """The best first, by the column the table is sorted by."""
    controls: tuple[Line, ...]

    @property
    def slug(self) -> str:
        """An id for the page."""
        return f"{self.dataset.name}-{self.dataset.category}-{self.dataset.version}-{self.protocol}".replace(" ", "-")

    @cached_property
    def sorted_by(self) -> int:
        """Index of the column that models are sorted by."""
        return _first_column(self.columns)

    def leaders(self, index: int) -> tuple[Line, ...]:
        """The models that may be the best in a column: no other is surely better."""
        found = [
            line for line in self.models if (cell := line.cells[index]) and cell.standing and cell.standing.low == 1
        ]
        return tuple(sorted(found, key=lambda line: _distance(line, index)))


def tables(entries: Sequence[StoredEntry]) -> list[Table]:
    """The tables of `entries`, in the order of datasets, then of protocols as the entries have them."""
    grouped: dict[tuple[DatasetVersion, str], list[StoredEntry]] = defaultdict(list)
    for stored in entries:
        for part in stored.scored.protocols:
            grouped[stored.entry.dataset, part.protocol].append(stored)
    order = list(dict.fromkeys(protocol for _, protocol in grouped))
    keys = sorted(grouped, key=lambda key: (str(key[0]), order.index(key[1])))
    return [_table(dataset, protocol, grouped[dataset, protocol]) for dataset, protocol in keys]


def _table(dataset: DatasetVersion, protocol: str, entries: Sequence[StoredEntry]) -> Table:
    scores = [_by_signature(stored, protocol) for stored in entries]
    columns = _columns(entries, scores)
    known = [Statistics.load(stored.folder / STATISTICS_FILE) for stored in entries]
    families = {family for column in columns if (family := _set_metric(column)[0])}
    halves = {family: [_halves(statistics, protocol, family) for statistics in known] for family in families}
    found = {column.signature: _standings(column, entries, scores, halves) for column in columns if column.is_headline}
    lines = [
        Line(stored, tuple(_cell(column, index, scores[index], found.get(column.signature, {})) for column in columns))
        for index, stored in enumerate(entries)
    ]
    first = _first_column(columns)
    models = [line for line in lines if not line.stored.is_control]
    controls = [line for line in lines if line.stored.is_control]
    return Table(
        dataset,
        protocol,
        tuple(columns),
        tuple(sorted(models, key=lambda line: (_distance(line, first), line.stored.id))),
        tuple(sorted(controls, key=lambda line: (_distance(line, first), line.stored.id))),
    )


def _by_signature(stored: StoredEntry, protocol: str) -> dict[str, Score]:
    return {score.signature: score for score in stored.scored.scores if score.protocol == protocol}


def _columns(entries: Sequence[StoredEntry], scores: Sequence[Mapping[str, Score]]) -> list[Column]:
    """A column per signature for which a model has a value; those of controls alone, where there is no model."""
    models = [found for stored, found in zip(entries, scores, strict=True) if not stored.is_control]
    present = {
        signature: score
        for found in (models or scores)
        for signature, score in found.items()
        if score.value is not None
    }
    columns = with_remarks(map(Column.of, present.values()))
    order = list(dict.fromkeys(column.metric for column in columns))
    return sorted(columns, key=lambda column: (order.index(column.metric), column.signature))


def _first_column(columns: Sequence[Column]) -> int:
    names = [column.metric for column in columns]
    return next((names.index(metric) for metric in FIRST_METRICS if metric in names), 0)


def _standings(
    column: Column,
    entries: Sequence[StoredEntry],
    scores: Sequence[Mapping[str, Score]],
    halves: Mapping[str, Sequence[Halves | None]],
) -> dict[int, Standing]:
    """The standing of each model with a value in `column`, by its place among `entries`."""
    places = [
        place
        for place, stored in enumerate(entries)
        if not stored.is_control and (score := scores[place].get(column.signature)) and score.value is not None
    ]
    if len(places) < 2:
        return {}
    family, metric = _set_metric(column)
    known = [halves[family][place] if family else None for place in places]
    values = [scores[place][column.signature] for place in places]
    return dict(zip(places, standings(values, known, metric), strict=True))


def _set_metric(column: Column) -> tuple[str, str | None]:
    """Distance and name of a set metric (`cd` and `nna` of `nna_cd`); "" and None for any other."""
    for family in _SET_FAMILIES:
        name = column.metric.removesuffix(f"_{family}")
        if name != column.metric and name in SetValues._fields:
            return family, name
    return "", None


def _halves(statistics: Statistics, protocol: str, family: str) -> Halves | None:
    lists = statistics.nearest_lists(protocol, family)
    return halves_of(lists) if lists else None


def _cell(column: Column, place: int, scores: Mapping[str, Score], found: Mapping[int, Standing]) -> Cell | None:
    score = scores.get(column.signature)
    if score is None:
        missing = (entry for entry in scores.values() if entry.metric == column.metric and entry.value is None)
        score = next(missing, None)
    return Cell(score, found.get(place)) if score else None


def _distance(line: Line, index: int) -> float:
    cell = line.cells[index] if index < len(line.cells) else None
    return cell.score.distance_from_best() if cell else float("inf")


def frame(boards: Sequence[Table]) -> "pd.DataFrame":
    """One line per entry and score, for spreadsheets and pandas. Values are as measured: fractions, not percent."""
    import pandas as pd

    records: list[dict[str, Any]] = [
        {
            "entry": line.stored.id,
            "name": line.stored.entry.name,
            "method": line.stored.entry.method,
            "kind": line.stored.entry.kind,
            "dataset": line.stored.entry.dataset.name,
            "category": line.stored.entry.dataset.category,
            "version": line.stored.entry.dataset.version,
            "protocol": table.protocol,
            "metric": cell.score.metric,
            "value": cell.score.value,
            "lo": cell.score.interval[0] if cell.score.interval else None,
            "hi": cell.score.interval[1] if cell.score.interval else None,
            "target": cell.score.target,
            "unit": cell.score.unit,
            "rank_lo": cell.standing.low if cell.standing else None,
            "rank_hi": cell.standing.high if cell.standing else None,
            "group": cell.standing.group if cell.standing else None,
            "signature": cell.score.signature,
            "reason": cell.score.reason,
        }
        for table in boards
        for line in (*table.models, *table.controls)
        for cell in line.cells
        if cell
    ]
    return pd.DataFrame.from_records(records)

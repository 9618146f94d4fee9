"""The numbers of a run, arranged for people: one line per model, one column per score, rounded by their intervals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

from hdbench.reporting.rounding import display_scale
from hdbench.results import Results, Row, Score, Target, best_rows

if TYPE_CHECKING:
    import pandas as pd

HELD_OUT = "held-out"
"""The control a model is measured by: real shapes that are not in the reference."""

NOISE = "noise"
"""The control that is no real shape."""

_MEANINGS = {
    "mmd": "how near each reference shape has a sample",
    "mmd_samples": "how near each sample has a reference shape",
    "cov": "share of the reference shapes that are some sample's nearest",
    "nna": "share of shapes whose nearest neighbour is of their own kind",
    "nna_samples": "1-NNA over the samples alone",
    "nna_reference": "1-NNA over the reference shapes alone",
    "jsd": "divergence of where points lie in space",
    "fpd": "distance of the point-net features' Gaussians",
    "kpd": "distance of the point-net features' kernel means",
    "novelty": "distance to the training shapes, relative to real shapes",
}
_FAMILY_LABELS = {"mmd": "MMD", "cov": "COV", "nna": "1-NNA", "jsd": "JSD", "fpd": "FPD", "kpd": "KPD"}
_HALVES = ("samples", "reference")
_REMARKS = (*_HALVES, "published")


@dataclass(frozen=True)
class Column:
    """One score as a column. Values with different signatures stand in different columns."""

    protocol: str
    metric: str
    signature: str
    target: Target
    unit: str
    scale: float
    """What values are multiplied by for display."""

    @property
    def label(self) -> str:
        """The metric's name as the field writes it, such as 1-NNA-CD."""
        family, *rest = self.metric.split("_")
        name = "-".join([_FAMILY_LABELS.get(family, family.upper()), *(p.upper() for p in rest if p not in _REMARKS)])
        remarks = ", ".join(part for part in rest if part in _REMARKS)
        return f"{name} ({remarks})" if remarks else name

    @property
    def display_unit(self) -> str:
        """What a displayed value is in: `%`, `×10²`, or nothing."""
        if self.unit == "fraction":
            return "%"
        power = round(math.log10(self.scale))
        return f"×10{str(power).translate(str.maketrans('0123456789', '⁰¹²³⁴⁵⁶⁷⁸⁹'))}" if power else ""

    @property
    def goal(self) -> str:
        """Where the best values lie: `↓`, `↑`, or `→ 50`."""
        if isinstance(self.target, str):
            return "↓" if self.target == "lower" else "↑"
        return f"→ {self.target * self.scale:g}"

    @property
    def goal_in_words(self) -> str:
        """Where the best values lie, in words."""
        return f"{self.target} is better" if isinstance(self.target, str) else f"best at {self.target * self.scale:g}"

    @property
    def meaning(self) -> str:
        """What the metric says, in half a line; empty for metrics this module does not know."""
        family, *rest = self.metric.split("_")
        half = next((f"_{part}" for part in rest if part in _HALVES), "")
        return _MEANINGS.get(family + half, _MEANINGS.get(family, ""))

    @property
    def is_headline(self) -> bool:
        """False for the halves of a score (over the samples or the reference alone)."""
        return not any(part in _HALVES for part in self.metric.split("_"))


@dataclass(frozen=True)
class Cell:
    """One score of one line."""

    score: Score
    is_best: bool = False
    """It is the best of its column, or nobody could tell it from the best."""
    is_tied: bool = False
    """Others share that place."""
    is_foreign: bool = False
    """A control measured under another signature than its column's (such as fewer shapes)."""


@dataclass(frozen=True)
class Line:
    """A model, over all the seeds it was sampled with."""

    rows: tuple[Row, ...]
    title: str
    cells: tuple[Cell | None, ...]
    reference_count: int
    """Shapes in the reference: a protocol scores no more samples of a row than these."""

    @property
    def method(self) -> str:
        """The method's registered name."""
        return self.rows[0].method

    @property
    def is_control(self) -> bool:
        """True for pseudo-methods whose score is known in advance."""
        return self.rows[0].source == "control"

    @property
    def count(self) -> int:
        """Valid samples, over all seeds."""
        return sum(row.samples.count for row in self.rows)

    @property
    def scored(self) -> int:
        """Samples scored, over all seeds: of each, the first of the valid ones."""
        return sum(min(row.samples.count, self.reference_count) for row in self.rows)

    @property
    def invalid(self) -> int:
        """Samples left out, over all seeds."""
        return sum(row.samples.invalid for row in self.rows)


@dataclass(frozen=True)
class Board:
    """The table of a run: models ranked, controls beside them."""

    columns: tuple[Column, ...]
    models: tuple[Line, ...]
    controls: tuple[Line, ...]

    @property
    def lines(self) -> tuple[Line, ...]:
        """Models, then controls."""
        return self.models + self.controls

    @property
    def protocols(self) -> tuple[str, ...]:
        """Names of the protocols, in order of first appearance."""
        return tuple(dict.fromkeys(column.protocol for column in self.columns))

    def only(self, *, protocol: str, headline: bool) -> "Board":
        """The board with one protocol's headline columns alone, or its others alone; empty columns are left out."""
        kept = [
            index
            for index, column in enumerate(self.columns)
            if column.protocol == protocol and column.is_headline == headline and not self.reason(index)
        ]

        def cut(line: Line) -> Line:
            return replace(line, cells=tuple(line.cells[index] for index in kept))

        columns = tuple(self.columns[index] for index in kept)
        return Board(columns, tuple(map(cut, self.models)), tuple(map(cut, self.controls)))

    def yardstick(self, index: int) -> Line | None:
        """The held-out control, where its value in column `index` may be compared with the models': same signature."""
        return next(
            (
                line
                for line in self.controls
                if line.method == HELD_OUT
                and (cell := line.cells[index])
                and cell.score.value is not None
                and not cell.is_foreign
            ),
            None,
        )

    def reason(self, index: int) -> str | None:
        """Why column `index` holds no value at all; None where it does."""
        scores = [cell.score for line in self.lines if (cell := line.cells[index])]
        if any(score.value is not None for score in scores):
            return None
        return next((score.reason for score in scores if score.reason), "no reason given")


def board(results: Results) -> Board:
    """Arrange `results`: seeds of a model averaged, best values and ties found among the models of each column."""
    groups = _groups(results.rows)
    pooled = [_pooled_scores(rows) for rows in groups]
    is_model = [rows[0].source != "control" for rows in groups]
    columns = _columns(pooled, is_model)
    grid = [
        [_cell(column, scores, model) for column in columns] for scores, model in zip(pooled, is_model, strict=True)
    ]
    for index in range(len(columns)):
        contenders = [row for row, model in enumerate(is_model) if model]
        cells = [grid[row][index] for row in contenders]
        best = best_rows([cell.score if cell else None for cell in cells])
        for place in best:
            cell = cells[place]
            if cell is not None:
                grid[contenders[place]][index] = Cell(cell.score, is_best=True, is_tied=len(best) > 1)
    titles = _titles(groups)
    count = results.dataset.reference.count
    lines = [Line(rows, title, tuple(cells), count) for rows, title, cells in zip(groups, titles, grid, strict=True)]
    return Board(
        tuple(columns),
        tuple(line for line in lines if not line.is_control),
        tuple(line for line in lines if line.is_control),
    )


def table(results: Results) -> "pd.DataFrame":
    """One line per row and score, for pandas and spreadsheets, in the order of the results.

    Columns: method, title, source, model, seed, samples (valid ones), invalid, protocol, metric, value, lo, hi,
    target, unit, best (the value is the best of its column or cannot be told from it; never for controls), signature,
    reason. Values are as measured: fractions, not percent.
    """
    import pandas as pd

    best = {
        (row.method, row.model, column.protocol, column.metric, column.signature)
        for found in [board(results)]
        for line in found.models
        for column, cell in zip(found.columns, line.cells, strict=True)
        if cell and cell.is_best
        for row in line.rows
    }
    records = [
        {
            "method": row.method,
            "title": row.title,
            "source": row.source,
            "model": row.model,
            "seed": row.seed,
            "samples": row.samples.count,
            "invalid": row.samples.invalid,
            "protocol": score.protocol,
            "metric": score.metric,
            "value": score.value,
            "lo": score.interval[0] if score.interval else None,
            "hi": score.interval[1] if score.interval else None,
            "target": score.target,
            "unit": score.unit,
            "best": (row.method, row.model, score.protocol, score.metric, score.signature) in best,
            "signature": score.signature,
            "reason": score.reason,
        }
        for row in results.rows
        for score in row.scores
    ]
    return pd.DataFrame.from_records(records)


def to_csv(frame: "pd.DataFrame") -> str:
    """`frame` as CSV; text that a spreadsheet would take for a formula is led by an apostrophe."""

    def harmless(cell: object) -> object:
        return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell

    return str(frame.map(harmless).to_csv(index=False, lineterminator="\n"))


def _groups(rows: Sequence[Row]) -> list[tuple[Row, ...]]:
    """Rows of one model together, in order of first appearance."""
    order = {key: place for place, key in reversed(list(enumerate((row.method, row.model) for row in rows)))}
    ordered = sorted(rows, key=lambda row: order[row.method, row.model])
    return [tuple(group) for _, group in groupby(ordered, key=lambda row: (row.method, row.model))]


def _titles(groups: Sequence[tuple[Row, ...]]) -> list[str]:
    """The title of each group, with the start of the model's hash where two would read the same."""
    titles = [rows[0].title for rows in groups]
    return [
        f"{title} ({rows[0].model[:7]})" if titles.count(title) > 1 else title
        for title, rows in zip(titles, groups, strict=True)
    ]


_Key = tuple[str, str, str]
"""Protocol, metric, signature."""


def _pooled_scores(rows: Sequence[Row]) -> dict[_Key, Score]:
    """The scores of one model, averaged over its seeds.

    The interval's ends are averaged too: it stays that of a single set of samples, which is on the safe side.
    """
    by_key: dict[_Key, list[Score]] = {}
    for row in rows:
        for score in row.scores:
            by_key.setdefault((score.protocol, score.metric, score.signature), []).append(score)
    return {key: _mean(scores) for key, scores in by_key.items()}


def _mean(scores: list[Score]) -> Score:
    values = [score.value for score in scores if score.value is not None]
    if len(scores) == 1 or not values:
        return scores[0]
    intervals = [score.interval for score in scores if score.value is not None and score.interval is not None]
    ends = tuple(math.fsum(ends) / len(intervals) for ends in zip(*intervals, strict=True))
    interval = (ends[0], ends[1]) if len(intervals) == len(values) else None
    return scores[0].model_copy(update={"value": math.fsum(values) / len(values), "interval": interval, "reason": None})


def _columns(pooled: Sequence[dict[_Key, Score]], is_model: Sequence[bool]) -> list[Column]:
    """A column per key for which a model has a value, then per (protocol, metric) that is not there yet.

    Those come from controls, and from scores that could not be computed.
    """
    present = [
        (not model, score.value is None, key, score)
        for scores, model in zip(pooled, is_model, strict=True)
        for key, score in scores.items()
    ]
    columns: dict[_Key, Column] = {}
    for is_control, is_missing, key, score in sorted(present, key=lambda item: (item[1], item[0])):
        taken = any(key[:2] == other[:2] for other in columns)
        if key not in columns and not (taken and (is_control or is_missing)):
            scale = display_scale(score.protocol, score.metric, score.unit)
            columns[key] = Column(*key, target=score.target, unit=score.unit, scale=scale)
    order = list(dict.fromkeys(key[:2] for _, _, key, _ in present))
    return sorted(columns.values(), key=lambda column: order.index((column.protocol, column.metric)))


def _cell(column: Column, scores: dict[_Key, Score], is_model: bool) -> Cell | None:
    exact = scores.get((column.protocol, column.metric, column.signature))
    if exact is not None:
        return Cell(exact)
    same = [score for key, score in scores.items() if key[:2] == (column.protocol, column.metric)]
    if is_model:
        missing = next((score for score in same if score.value is None), None)
        return Cell(missing) if missing else None
    return Cell(same[0], is_foreign=same[0].value is not None) if same else None

"""The numbers of a run, arranged for people: one line per model, one column per score, rounded by their intervals."""

import json
import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from hdbench.records import Row, RunRecord, Score, best_rows
from hdbench.reporting.columns import Column, with_remarks

HELD_OUT = "held-out"
"""The control a model is measured by: real shapes that are not in the reference."""

NOISE = "noise"
"""The control that is no real shape."""


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
    """A model, over all the seeds it was trained and sampled with."""

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

    def displayed(self, index: int, column: Column) -> tuple[float, float, float] | None:
        """Lower end, value and upper end in `column`, the one at `index`, in the units of the table."""
        cell = self.cells[index]
        if cell is None or cell.score.value is None:
            return None
        low, high = cell.score.interval or (cell.score.value, cell.score.value)
        return low * column.scale, cell.score.value * column.scale, high * column.scale


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
        return self.choose(lambda column: column.protocol == protocol and column.is_headline == headline)

    def choose(self, wanted: Callable[[Column], bool]) -> "Board":
        """The board with the `wanted` columns alone; empty ones are left out."""
        kept = [index for index, column in enumerate(self.columns) if wanted(column) and not self.reason(index)]

        def cut(line: Line) -> Line:
            return replace(line, cells=tuple(line.cells[index] for index in kept))

        columns = tuple(self.columns[index] for index in kept)
        return Board(columns, tuple(map(cut, self.models)), tuple(map(cut, self.controls)))

    @cached_property
    def spans(self) -> tuple[tuple[float, float], ...]:
        """What models and real shapes span in each column, as displayed, with a margin; noise is far off."""
        return tuple(self._span(index, column) for index, column in enumerate(self.columns))

    def _span(self, index: int, column: Column) -> tuple[float, float]:
        shown = [(line.method == NOISE, line.displayed(index, column) or ()) for line in self.lines]
        ends = [end for is_noise, triple in shown if not is_noise for end in triple]
        ends = ends or [end for _, triple in shown for end in triple] or [0.0]
        if not isinstance(column.target, str):
            ends.append(column.target * column.scale)
        low, high = min(ends), max(ends)
        margin = 0.1 * (high - low) or 0.1 * abs(high) or 1.0
        return low - margin, high + margin

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


def board(results: RunRecord, *, every_protocol: bool = False) -> Board:
    """Arrange `results`: seeds of a model averaged, best values and ties found among the models of each column.

    Of the run's own protocol, or of `every_protocol` its samples were scored under.
    """
    groups = _groups(results.rows)
    pooled = [_pooled_scores(rows, every_protocol=every_protocol) for rows in groups]
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


def _groups(rows: Sequence[Row]) -> list[tuple[Row, ...]]:
    """Rows that differ in their seeds alone together, in order of first appearance."""
    return [
        tuple(group)
        for made_alike in _grouped(rows, _making)
        for group in ([made_alike] if _seeds_differ(made_alike) else _grouped(made_alike, lambda row: row.model))
    ]


def _grouped(rows: Iterable[Row], key: Callable[[Row], Hashable]) -> list[list[Row]]:
    groups: dict[Hashable, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return list(groups.values())


def _making(row: Row) -> Hashable:
    """The published model, or what was trained, whatever the seed of the training; and how it was sampled."""
    published = row.model if row.source == "zoo" else None
    return row.method, row.title, row.source, published, json.dumps(row.recipe, sort_keys=True)


def _seeds_differ(rows: Sequence[Row]) -> bool:
    return len({row.seed for row in rows}) == len(rows)


def _titles(groups: Sequence[tuple[Row, ...]]) -> list[str]:
    """The title of each group, with the start of the model's hash where two would read the same."""
    titles = [rows[0].title for rows in groups]
    return [
        f"{title} ({rows[0].model[:7]})" if titles.count(title) > 1 else title
        for title, rows in zip(titles, groups, strict=True)
    ]


_Key = tuple[str, str, str]
"""Protocol, metric, signature."""


def _pooled_scores(rows: Sequence[Row], *, every_protocol: bool) -> dict[_Key, Score]:
    """The scores of one line, averaged over its seeds.

    The interval's ends are averaged too: it stays that of a single set of samples, which is on the safe side.
    """
    by_key: dict[_Key, list[Score]] = {}
    for row in rows:
        for score in (*row.scores, *row.other_scores) if every_protocol else row.scores:
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
            columns[key] = Column.of(score)
    order = {name: place for place, name in reversed(list(enumerate(key[:2] for _, _, key, _ in present)))}
    return with_remarks(sorted(columns.values(), key=lambda column: order[column.protocol, column.metric]))


def _cell(column: Column, scores: dict[_Key, Score], is_model: bool) -> Cell | None:
    exact = scores.get((column.protocol, column.metric, column.signature))
    if exact is not None:
        return Cell(exact)
    same = [score for key, score in scores.items() if key[:2] == (column.protocol, column.metric)]
    if is_model:
        missing = next((score for score in same if score.value is None), None)
        return Cell(missing) if missing else None
    return Cell(same[0], is_foreign=same[0].value is not None) if same else None

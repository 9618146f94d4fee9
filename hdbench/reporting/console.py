"""Scores on a terminal: the same numbers as the report, in a table or two.

Every word is a `rich.text.Text`: titles and reasons are anyone's, and brackets in a plain string would be markup.
"""

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from hdbench.reporting import facts
from hdbench.reporting.columns import Column
from hdbench.reporting.rounding import rounded
from hdbench.reporting.tables import Board, Cell, board
from hdbench.results import Results, Score


def run_table(results: Results) -> Table:
    """The headline scores of a run: a line per model, the best in bold, controls set apart."""
    arranged = board(results)
    if arranged.protocols:
        arranged = arranged.only(protocol=arranged.protocols[0], headline=True)
    note = facts.foreign_note(arranged)
    table = Table(
        box=box.SIMPLE_HEAD,
        title=Text(facts.title(results)),
        title_justify="left",
        caption=Text(note) if note else None,
        caption_justify="left",
    )
    table.add_column("model")
    table.add_column("samples", justify="right")
    for column in arranged.columns:
        table.add_column(Text(f"{column.label} {column.display_unit} {column.goal}"), justify="right")
    for group in (arranged.models, arranged.controls):
        for line in group:
            table.add_row(Text(line.title), Text(facts.counts(line)), *_cells(arranged, line.cells))
        table.add_section()
    return table


def _cells(arranged: Board, cells: Sequence[Cell | None]) -> list[Text]:
    return [
        Text(facts.shown(cell, column), style="bold" if cell.is_best else "") if cell else Text("–")
        for column, cell in zip(arranged.columns, cells, strict=True)
    ]


def score_table(scores: Sequence[Score]) -> Table:
    """The values of one evaluation, a line each, and what could not be computed with its reason."""
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("protocol", "metric", "value", "unit", "best"):
        table.add_column(name, justify="right" if name == "value" else "left")
    for score in scores:
        column = Column.of(score)
        value = score.reason if score.value is None and score.reason else str(rounded(score, column.scale))
        table.add_row(*map(Text, (score.protocol, column.label, value, column.display_unit, column.goal)))
    return table


def signature_lines(scores: Sequence[Score]) -> str:
    """The signature of each value, a line each."""
    return "\n".join(score.signature for score in scores)

"""The numbers of a run for other programs: a DataFrame, and CSV."""

from typing import TYPE_CHECKING

from hdbench.records import RunRecord
from hdbench.reporting.tables import board

if TYPE_CHECKING:
    import pandas as pd


def table(results: RunRecord) -> "pd.DataFrame":
    """One line per row and score, for pandas and spreadsheets, in the order of the results.

    Columns: method, title, source, model, seed, samples (valid ones), invalid, protocol, metric, value, lo, hi,
    target, unit, best (the value is the best of its column or cannot be told from it; never for controls), signature,
    reason. Values are as measured: fractions, not percent.
    """
    import pandas as pd

    best = {
        (row.method, row.model, column.protocol, column.metric, column.signature)
        for found in [board(results, every_protocol=True)]
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
        for score in (*row.scores, *row.other_scores)
    ]
    return pd.DataFrame.from_records(records)


def to_csv(frame: "pd.DataFrame") -> str:
    """`frame` as CSV; text that a spreadsheet would take for a formula is led by an apostrophe."""

    def harmless(cell: object) -> object:
        return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell

    return str(frame.map(harmless).to_csv(index=False, lineterminator="\n"))

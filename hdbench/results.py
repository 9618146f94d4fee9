"""The result schema, and how it is read and written: every record, and the results of a run with a table for pandas."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError

from hdbench.errors import HdbenchError
from hdbench.recipe import first_complaint
from hdbench.records import (
    Cost,
    DatasetInfo,
    Neighbours,
    Provenance,
    Record,
    Row,
    RunRecord,
    Score,
    Scores,
    SetInfo,
    Stage,
    Target,
    best_rows,
    distance_from,
)
from hdbench.text import as_utf8

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Cost",
    "DatasetInfo",
    "Neighbours",
    "Provenance",
    "Record",
    "Results",
    "Row",
    "Score",
    "Scores",
    "SetInfo",
    "Stage",
    "Target",
    "best_rows",
    "distance_from",
    "load_document",
    "load_results",
    "load_scores",
    "to_json",
]


class Results(RunRecord):
    """What `hdbench run` writes."""

    def table(self) -> "pd.DataFrame":
        """One line per row and score, with its interval and signature."""
        from hdbench.reporting.export import table

        return table(self)


Document = TypeVar("Document", Scores, Results)


def to_json(document: Scores | Results) -> str:
    """The document as JSON text, fields in the schema's order."""
    return as_utf8(json.dumps(document.model_dump(mode="json", by_alias=True), indent=1, ensure_ascii=False)) + "\n"


def load_results(path: Path | str) -> Results:
    """Read a results.json, or the one in a run's folder."""
    path = Path(path)
    return _load(Results, path / "results.json" if path.is_dir() else path)


def load_scores(path: Path | str) -> Scores:
    """Read what `hdbench evaluate --json` wrote."""
    return _load(Scores, Path(path))


def load_document(path: Path | str) -> Results | Scores:
    """Read either kind of result, by the schema it names; or the results.json in a run's folder."""
    path = Path(path)
    path = path / "results.json" if path.is_dir() else path
    try:
        schema = json.loads(path.read_text(encoding="utf-8")).get("schema")
    except OSError as error:
        raise HdbenchError(f"{path} cannot be read ({error.strerror}).") from error
    except (ValueError, AttributeError, RecursionError) as error:
        raise HdbenchError(f"{path} is no result of hdbench run or hdbench evaluate --json.") from error
    return _load(Scores, path) if schema == "hdbench/scores/1" else _load(Results, path)


def _load(document: type[Document], path: Path) -> Document:
    try:
        return document.model_validate_json(path.read_bytes())
    except OSError as error:
        raise HdbenchError(f"{path} cannot be read ({error.strerror}).") from error
    except ValidationError as error:
        raise HdbenchError(f"{path}: {first_complaint(error)}.") from error

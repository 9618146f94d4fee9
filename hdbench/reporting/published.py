"""The papers' own numbers, from `reports/published/*.toml`: to stand beside ours, never among them.

They were measured on other data, by other code. So they are shown under the same protocol and category, with where
they come from and what is doubtful about them, and take no part in any ranking.
"""

import tomllib
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib.resources import files

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hdbench.errors import HdbenchError
from hdbench.metrics.scoring import metric_named
from hdbench.recipe import first_complaint
from hdbench.reporting.columns import Column
from hdbench.reporting.rounding import display_scale


class PublishedTable(BaseModel):
    """One table of one paper for one category, as printed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    protocol: str
    """hdbench's name of the protocol it was made under; empty where that is not known."""
    category: str
    data: str
    """The dataset and its split."""
    source: str
    notes: tuple[str, ...] = ()
    metrics: dict[str, float]
    """What a printed number is divided by to have hdbench's unit, by metric."""
    rows: tuple[dict[str, str | float], ...] = Field(min_length=1)
    """`method`, a printed number per metric, and `flag` where something is doubtful."""


@dataclass(frozen=True)
class PublishedRow:
    """One method of a published table, in the units of our tables."""

    method: str
    values: tuple[str, ...]
    """As shown, in the order of the columns; a dash where there is none."""
    flag: str


@dataclass(frozen=True)
class PublishedBoard:
    """A published table arranged for people."""

    table: PublishedTable
    columns: tuple[Column, ...]
    rows: tuple[PublishedRow, ...]


@cache
def published_tables() -> tuple[PublishedTable, ...]:
    """All tables that come with hdbench, in the order of their files."""
    folder = files("hdbench_reports") / "published"
    found = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".toml")), key=lambda entry: entry.name)
    return tuple(table for entry in found for table in read_tables(entry.read_text(encoding="utf-8"), entry.name))


def read_tables(text: str, name: str) -> list[PublishedTable]:
    """The tables of one file; raises HdbenchError, calling it `name`, for what is none."""
    try:
        entries = tomllib.loads(text).get("tables", [])
        return [PublishedTable.model_validate(entry) for entry in entries]
    except tomllib.TOMLDecodeError as error:
        raise HdbenchError(f"{name} is no TOML ({error}).") from error
    except ValidationError as error:
        raise HdbenchError(f"{name}: {first_complaint(error)}.") from error


def published_boards(protocol: str, category: str) -> list[PublishedBoard]:
    """The tables made under `protocol` on `category`."""
    known = (one for one in published_tables() if one.protocol)
    return [arranged(one) for one in known if (one.protocol, one.category) == (protocol, category)]


def arranged(table: PublishedTable) -> PublishedBoard:
    """`table` with columns as ours, numbers with the digits they were printed with."""
    columns = tuple(_column(table.protocol, name) for name in table.metrics)
    shown = [_as_printed(table, column) for column in columns]
    rows = [
        PublishedRow(str(row["method"]), tuple(texts[place] for texts in shown), str(row.get("flag", "")))
        for place, row in enumerate(table.rows)
    ]
    return PublishedBoard(table, columns, tuple(rows))


def _column(protocol: str, name: str) -> Column:
    metric = metric_named(name)
    return Column(protocol, name, "published", metric.target, metric.unit, display_scale(protocol, name, metric.unit))


def _as_printed(table: PublishedTable, column: Column) -> list[str]:
    """The numbers of a column in the unit of ours, with as many decimals as the most exact of them."""
    factor = Decimal(str(column.scale)) / Decimal(str(table.metrics[column.metric]))
    printed = [row.get(column.metric) for row in table.rows]
    values = [Decimal(str(one)) * factor if isinstance(one, int | float) else None for one in printed]
    decimals = max((_decimals(value) for value in values if value is not None), default=0)
    return ["–" if value is None else f"{value:.{decimals}f}" for value in values]


def _decimals(value: Decimal) -> int:
    exponent = value.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0

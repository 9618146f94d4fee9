"""One score as a column of a table: what it is called, in what it is shown, and where its best values lie."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from hdbench.records import Score, Target
from hdbench.reporting.rounding import display_scale

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
_EXPLAINING = ("warning", "interval")
"""Facts of a signature that follow from others."""


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
    remark: str = ""
    """What sets it apart from other columns of the same protocol and metric: where their signatures differ."""

    @classmethod
    def of(cls, score: Score) -> "Column":
        """The column that `score` stands in."""
        scale = display_scale(score.protocol, score.metric, score.unit)
        return cls(score.protocol, score.metric, score.signature, score.target, score.unit, scale)

    @property
    def name(self) -> str:
        """The metric's name as the field writes it, such as 1-NNA-CD."""
        family, *rest = self.metric.split("_")
        return "-".join([_FAMILY_LABELS.get(family, family.upper()), *(p.upper() for p in rest if p not in _REMARKS)])

    @property
    def label(self) -> str:
        """The name, and what is special about this column."""
        remarks = [*(part for part in self.metric.split("_")[1:] if part in _REMARKS), *filter(None, [self.remark])]
        return f"{self.name} ({', '.join(remarks)})" if remarks else self.name

    @property
    def protocol_label(self) -> str:
        """The protocol, and what is special about this column: its name where all columns are one metric's."""
        return f"{self.protocol} ({self.remark})" if self.remark else self.protocol

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


def with_remarks(columns: Iterable[Column]) -> list[Column]:
    """`columns`, those of the same protocol and metric told apart by what differs in their signatures."""
    columns = list(columns)
    groups: dict[tuple[str, str], list[Column]] = {}
    for column in columns:
        groups.setdefault((column.protocol, column.metric), []).append(column)
    return [replace(column, remark=_remark(column, groups[column.protocol, column.metric])) for column in columns]


def _remark(column: Column, alike: list[Column]) -> str:
    if len(alike) < 2:
        return ""
    own, *others = (_signed_facts(one.signature) for one in (column, *alike))
    differing = [name for name in own if any(other.get(name) != own[name] for other in others)]
    telling = [name for name in differing if name not in _EXPLAINING] or differing
    return ", ".join(f"{name} {own[name]}" for name in telling)


def _signed_facts(signature: str) -> dict[str, str]:
    pairs = (part.partition(":") for part in signature.split("|")[1:])
    return {name: value for name, _, value in pairs}

"""What a change must exceed before the gate calls it one: by metric, from `[tool.hdbench.gate]` and flags."""

import tomllib
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hdbench.errors import HdbenchError, unknown_name
from hdbench.metrics.scoring import FAMILIES
from hdbench.recipe import first_complaint

INVALID = "invalid"
"""The share of samples that cannot be scored, which the gate watches like a metric."""


class Threshold(BaseModel):
    """What counts for one metric: in its own unit, or as a share of the old value."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    floor: float = Field(ge=0)
    """Changes up to this are nobody's business, however sure."""
    detect: float = Field(gt=0)
    """A change the gate must be able to see; where it cannot, it says so."""
    relative: bool = False

    @model_validator(mode="after")
    def _refuse_blindness(self) -> "Threshold":
        if self.detect <= self.floor:
            raise ValueError(f"detect = {self.detect:g} must be larger than floor = {self.floor:g}")
        return self


DEFAULT_THRESHOLDS: Mapping[str, Threshold] = {
    "nna_*": Threshold(floor=0.02, detect=0.2),
    "cov_*": Threshold(floor=0.02, detect=0.2),
    "mmd_*": Threshold(floor=0.03, detect=0.25, relative=True),
    "jsd": Threshold(floor=0.005, detect=0.03),
    "fpd": Threshold(floor=0.05, detect=0.5, relative=True),
    "kpd": Threshold(floor=0.1, detect=1.0, relative=True),
    INVALID: Threshold(floor=0.02, detect=0.2),
}
"""By metric or pattern; what no pattern matches, and the halves of a metric, is not gated."""
_HALVES = ("_samples", "_reference")


def threshold_of(metric: str, thresholds: Mapping[str, Threshold]) -> Threshold | None:
    """The rule for `metric`, its own before patterns; the halves of a score are gated only by rules that name them."""
    if metric in thresholds:
        return thresholds[metric]
    named = [pattern for pattern in thresholds if not metric.endswith(_HALVES) or pattern.endswith(_HALVES)]
    return next((thresholds[pattern] for pattern in named if fnmatchcase(metric, pattern)), None)


def load_thresholds(pyproject: Path, flags: Iterable[str] = ()) -> dict[str, Threshold]:
    """The default thresholds, changed by `[tool.hdbench.gate]` of a pyproject.toml and by `metric=floor` flags.

    Raises HdbenchError for a table or flag that says something else, and for metrics nobody knows.
    """
    thresholds = dict(DEFAULT_THRESHOLDS)
    for metric, entry in _table(pyproject).items():
        thresholds = _changed(thresholds, metric, entry, f"{pyproject}, [tool.hdbench.gate]")
    for flag in flags:
        metric, _, floor = flag.partition("=")
        try:
            entry = float(floor)
        except ValueError as error:
            raise HdbenchError(f"--floor {flag} is no threshold; write --floor nna_cd=0.03.") from error
        thresholds = _changed(thresholds, metric, entry, f"--floor {flag}")
    return thresholds


def _table(pyproject: Path) -> dict[str, Any]:
    """`[tool.hdbench.gate]`, empty where there is none."""
    if not pyproject.is_file():
        return {}
    try:
        table: Any = tomllib.loads(pyproject.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise HdbenchError(f"{pyproject} cannot be read ({error}).") from error
    for name in ("tool", "hdbench", "gate"):
        table = table.get(name, {})
        if not isinstance(table, dict):
            raise HdbenchError(f"{pyproject}: {name} is no table; write [tool.hdbench.gate] and nna_cd = 0.03 below.")
    return table


def _changed(thresholds: dict[str, Threshold], metric: str, entry: Any, where: str) -> dict[str, Threshold]:
    """`thresholds` with one more rule in front, which keeps what it does not name of the one it goes before.

    A mere number is a floor. A floor that comes without `detect` takes it along: at least to twice the floor.
    """
    known = [name for family in FAMILIES for name in (one.name for one in family.metrics)] + [INVALID]
    covered = [name for name in known if fnmatchcase(name, metric)]
    if not covered:
        raise unknown_name(f"metric in {where}:", metric, known)
    whole = covered[0].removesuffix("_samples").removesuffix("_reference")
    before = threshold_of(metric, thresholds) or threshold_of(whole, thresholds)
    given = entry if isinstance(entry, dict) else {"floor": entry}
    values = (before.model_dump() if before else {"relative": True, "detect": 1.0, "floor": 0.0}) | given
    if "detect" not in given and isinstance(values["floor"], int | float):
        values["detect"] = max(values["detect"], 2 * values["floor"])
    try:
        rule = Threshold.model_validate(values)
    except ValidationError as error:
        raise HdbenchError(f"{where}: {metric}: {first_complaint(error)}.") from error
    return {metric: rule} | {name: kept for name, kept in thresholds.items() if name != metric}

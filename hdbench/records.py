"""The records that results are made of: scores with intervals and signatures, rows of a run, where they came from.

`hdbench.results`, which reads and writes them, has them all; what that needs takes them from here.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Target = Literal["lower", "higher"] | float


class Record(BaseModel):
    """Base of all records: frozen, finite numbers only, nothing unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Score(Record):
    """One value, how sure it is, what it should be, and exactly how it was made."""

    protocol: str
    metric: str
    """`mmd_cd`, `cov_cd`, `nna_cd`, …"""
    value: float | None
    """None when it cannot be computed; `reason` says why. Fractions are fractions (0.5, not 50 %)."""
    interval: tuple[float, float] | None = None
    """95 %."""
    target: Target
    """"lower", "higher", or the value that is best (0.5 for 1-NNA)."""
    unit: str
    """"fraction", "squared length", …"""
    signature: str
    """The protocol in one line; values with different signatures are never ranked together."""
    reason: str | None = None

    def distance_from_best(self) -> float:
        """How far the value is from its target: smaller is better, whatever the target; infinite without a value."""
        return math.inf if self.value is None else distance_from(self.target, self.value)


class SetInfo(Record):
    """A set of shapes that took part in a comparison."""

    path: str
    sha256: str
    """Of the points as scored."""
    count: int
    """Valid shapes in the set; a protocol scores no more samples than there are references."""
    invalid: int = 0
    """Shapes left out because they are empty, degenerate or not finite."""
    invalid_ids: dict[str, str] = Field(default_factory=dict)
    """Reason by id."""


class Provenance(Record):
    """What is needed to make the same numbers again."""

    hdbench: str
    git: dict[str, Any] | None
    """commit and dirty, where hdbench runs from a checkout."""
    packages: dict[str, str]
    machine: dict[str, Any]
    seeds: list[int]
    command: str


class Scores(Record):
    """What `hdbench evaluate` writes."""

    schema_: Literal["hdbench/scores/1"] = Field(default="hdbench/scores/1", alias="schema")
    samples: SetInfo
    reference: SetInfo
    train: SetInfo | None = None
    scores: list[Score]
    statistics: dict[str, str] = Field(default_factory=dict)
    """file and sha256 of the sufficient statistics beside the JSON."""
    provenance: Provenance

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)


class Cost(Record):
    """What a row took, on the machine of its provenance."""

    fit_s: float | None = None
    sample_s_per_shape: float | None = None
    peak_memory_bytes: int | None = None
    device: str = "cpu"


class Neighbours(Record):
    """One sample and its nearest training shapes, by `cd_sq` of the protocol's normalised points."""

    sample: str
    training: list[str]
    distances: list[float]


class Row(Record):
    """One method in a run."""

    method: str
    title: str
    model: str
    """Hash of what the model was made from; two rows with the same are the same model."""
    source: Literal["zoo", "trained", "control"]
    seed: int
    """The seed the samples were drawn with."""
    samples: SetInfo
    scores: list[Score]
    """Under the run's protocol."""
    other_scores: list[Score] = Field(default_factory=list)
    """Of the same samples under the other protocols: Chamfer metrics and JSD."""
    statistics: dict[str, str] = Field(default_factory=dict)
    neighbours: list[Neighbours] = Field(default_factory=list)
    cost: Cost
    recipe: dict[str, Any] = Field(default_factory=dict)
    loss_curve: list[tuple[int, float]] = Field(default_factory=list)


class Stage(Record):
    """One piece of work that a run needed: when it was done, and for which rows."""

    stage: str
    """prepare, model (trained), adopted (of the zoo), samples, scores."""
    method: str | None = None
    """None: for all of them."""
    seed: int | None = None
    """Of the sample set, where there is one."""
    start: float = Field(ge=0, le=253_402_300_799)
    """Seconds since the epoch; to the year 9999."""
    seconds: float = Field(ge=0, le=1e9)
    found: bool = False
    """It was in the store before the run began."""
    node: int | None = None
    """Machines counted from 1, where there was more than one."""


class DatasetInfo(Record):
    """The data of a run."""

    name: str
    category: str
    fingerprint: str
    """sha256 of the dataset's fingerprint."""
    counts: dict[str, int]
    """Shapes by split."""
    skipped: dict[str, str] = Field(default_factory=dict)
    credits: dict[str, str] = Field(default_factory=dict)
    """Author and licence of each shape that the run's folder holds, where every shape has its own."""
    reference: SetInfo
    reference_ids: list[str]


class RunRecord(Record):
    """What `hdbench run` writes; as `hdbench.results.Results` it has ways out, too."""

    schema_: Literal["hdbench/results/1"] = Field(default="hdbench/results/1", alias="schema")
    run: dict[str, Any]
    """The plan: category, dataset, methods, protocol, preset, count, seeds."""
    dataset: DatasetInfo
    rows: list[Row]
    provenance: Provenance
    timeline: list[Stage] = Field(default_factory=list)
    """What was done when; empty in results of runs before it was written down, and of several runs."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)


def best_rows(scores: Sequence[Score | None]) -> list[int]:
    """Indices of the best value and of all that no one could tell from it.

    Two values are told apart when the intervals of their distances from the target do not overlap.
    """
    present = [(index, score) for index, score in enumerate(scores) if score and score.value is not None]
    if not present:
        return []
    _, best = min(present, key=lambda item: item[1].distance_from_best())
    _, reach = _distances(best)
    return [index for index, score in present if _distances(score)[0] <= reach]


def _distances(score: Score) -> tuple[float, float]:
    """The least and the largest distance from the target within the interval of a score."""
    if score.interval is None:
        return score.distance_from_best(), score.distance_from_best()
    low, high = score.interval
    near, far = sorted((distance_from(score.target, low), distance_from(score.target, high)))
    passes_target = isinstance(score.target, float) and low <= score.target <= high
    return (0.0 if passes_target else near), far


def distance_from(target: Target, value: float) -> float:
    """How far `value` is from `target`, up to a constant: smaller is better."""
    if isinstance(target, float):
        return abs(value - target)
    return value if target == "lower" else -value

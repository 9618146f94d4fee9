"""Is one model better than another? Two results held against each other in pairs, metric by metric.

The gate asks whether a model has become worse; this answers the question of a paper: which of two models is better,
by how much, and how sure that is. What both owe to their common reference cancels, so a difference is surer than two
intervals say.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Literal, NamedTuple

from hdbench.errors import HdbenchError, unknown_name
from hdbench.metrics.paired import scored_sets, splits_of
from hdbench.metrics.scoring import Statistics
from hdbench.metrics.uncertainty import SMALLEST_SET, ScoredSet, two_sided
from hdbench.metrics.uncertainty import compare as compare_sets
from hdbench.results import Results, Row, Score, Scores, distance_from, load_document
from hdbench.store import file_digest

if TYPE_CHECKING:
    import pandas as pd

_ABOUT_CERTAINTY = ("interval:", "warning:")
"""Facts of a signature that change with the number of valid samples, and change no value."""
_LEVEL = 0.05
_QUANTILE = NormalDist().inv_cdf(1 - _LEVEL / 2)


@dataclass(frozen=True)
class Difference:
    """One metric of two models."""

    method: str
    """Empty for scores of `hdbench evaluate`."""
    protocol: str
    metric: str
    a: float
    b: float
    """Values, means over seeds."""
    difference: float
    """How much farther `a` is from the metric's target than `b`: negative when `a` is better."""
    lo: float
    hi: float
    """95 % interval of the difference."""
    p_value: float
    """Two-sided, of no difference; not corrected for the number of metrics looked at."""
    better: Literal["a", "b"] | None
    """Which is better at the 5 % level; None when they cannot be told apart."""
    paired: bool
    """False where statistics are missing or sets are too small, and the intervals of both were all there was."""


@dataclass(frozen=True)
class Differences:
    """Every metric that two results share."""

    rows: tuple[Difference, ...]

    def __getitem__(self, metric: str) -> Difference:
        """The first difference in `metric`."""
        for row in self.rows:
            if row.metric == metric:
                return row
        raise unknown_name("metric", metric, {row.metric for row in self.rows})

    def table(self) -> "pd.DataFrame":
        """One line per method, protocol and metric."""
        import pandas as pd

        return pd.DataFrame.from_records([asdict(row) for row in self.rows])


class _Place(NamedTuple):
    method: str
    dataset: str
    protocol: str
    metric: str


class _Measured(NamedTuple):
    """One score of one set of samples, and what it was made from."""

    score: Score
    statistics: Statistics | None


def compare(a: Path | str, b: Path | str, *, methods: tuple[str, str] | None = None, seed: int = 0) -> Differences:
    """Compare two results: files of `hdbench run` or `hdbench evaluate --json`, or folders of runs.

    Args:
        a: One of them.
        b: The other; may be the same file when `methods` names two of its rows.
        methods: Hold this method of `a` against that of `b`; None matches rows by their method.
        seed: Of the splits behind the comparison.

    Rows are matched by method, protocol and dataset, and compared over all their seeds; controls only when named.

    Raises:
        HdbenchError: When a file cannot be read or used, when nothing in them matches, or when what matches was
            measured in different ways.
    """
    if methods is not None and (isinstance(methods, str) or len(methods) != 2):
        raise HdbenchError(f"methods: {methods!r}; give two names, that of `a` and that of `b`.")
    found = _measured(Path(a), methods and methods[0]), _measured(Path(b), methods and methods[1])
    shared = [place for place in found[0] if place in found[1]]
    rows = [_difference(place, found[0][place], found[1][place], methods, seed) for place in shared]
    present = tuple(row for row in rows if row is not None)
    if not present:
        raise HdbenchError(f"{a} and {b} have no method, protocol and dataset in common; compare like with like.")
    return Differences(present)


def refuse_unlike(metric: str, scores: Sequence[Score]) -> None:
    """Raise HdbenchError unless all that decides a value is the same for all `scores` of `metric`."""
    facts = [_deciding_facts(score) for score in scores]
    if differing := facts[0].union(*facts) - facts[0].intersection(*facts):
        raise HdbenchError(
            f"{metric} was measured in different ways ({', '.join(sorted(differing))}); measure both alike."
        )


def deviation_of_mean(scores: Sequence[Score]) -> float:
    """Standard, of the mean of `scores` over seeds, from their intervals; infinite where one has none."""
    widths = [score.interval[1] - score.interval[0] if score.interval else math.inf for score in scores]
    return math.hypot(*widths) / len(widths) / (2 * _QUANTILE)


def _deciding_facts(score: Score) -> set[str]:
    """All that decides the value, as `name:value`."""
    stated = (fact for fact in score.signature.split("|") if not fact.startswith(_ABOUT_CERTAINTY))
    return {*stated, f"target:{score.target}", f"unit:{score.unit}"}


def read_statistics(files: Mapping[str, str], folder: Path) -> Statistics | None:
    """The statistics in `folder` that a result names with their sha256; None where they were not brought along.

    Raises HdbenchError for a file that is not the one the result names.
    """
    merged = Statistics({})
    for name, digest in files.items():
        path = folder / Path(name).name
        if not path.is_file():
            return None
        if file_digest(path) != digest:
            raise HdbenchError(f"{path} is not the file that belongs to its results (sha256 differs); make both again.")
        merged = merged.merged(Statistics.load(path))
    return merged if merged.arrays else None


def _measured(path: Path, method: str | None) -> dict[_Place, list[_Measured]]:
    document, folder = load_document(path), path if path.is_dir() else path.parent
    found: dict[_Place, list[_Measured]] = {}
    for name, dataset, part in _parts(document, method, path):
        statistics = read_statistics(part.statistics, folder)
        for score in part.scores:
            place = _Place(name, dataset, score.protocol, score.metric)
            found.setdefault(place, []).append(_Measured(score, statistics))
    return found


def _parts(document: Results | Scores, method: str | None, path: Path) -> list[tuple[str, str, Row | Scores]]:
    """Name, dataset and scores of what takes part; all under one name where `method` was asked for."""
    if isinstance(document, Scores):
        return [("", "", document)]
    dataset = f"{document.dataset.name}/{document.dataset.category}"
    rows = sorted(document.rows, key=lambda row: row.seed)
    if method is None:
        return [(row.method, dataset, row) for row in rows if row.source != "control"]
    chosen: list[tuple[str, str, Row | Scores]] = [("", dataset, row) for row in rows if row.method == method]
    if not chosen:
        raise HdbenchError(f"{path}: {unknown_name('method', method, {row.method for row in rows})}")
    return chosen


def _difference(
    place: _Place, a: Sequence[_Measured], b: Sequence[_Measured], methods: tuple[str, str] | None, seed: int
) -> Difference | None:
    """None where a value is missing."""
    if any(one.score.value is None for one in (*a, *b)):
        return None
    refuse_unlike(place.metric, [one.score for one in (*a, *b)])
    name = " / ".join(methods) if methods else place.method
    target = a[0].score.target
    sets = [scored_sets([one.statistics for one in side], place.protocol, place.metric) for side in (a, b)]
    if _can_be_paired(*sets):
        one = compare_sets(*sets, metric=place.metric, target=target, seed=seed, splits=splits_of(place.metric))
        return _row(name, place, one.value_a, one.value_b, one.difference, one.deviation, paired=True)
    values = [math.fsum(one.score.value or 0.0 for one in side) / len(side) for side in (a, b)]
    difference = distance_from(target, values[0]) - distance_from(target, values[1])
    deviation = math.hypot(*(deviation_of_mean([one.score for one in side]) for side in (a, b)))
    return _row(name, place, values[0], values[1], difference, deviation, paired=False)


def _row(
    name: str, place: _Place, a: float, b: float, difference: float, deviation: float, *, paired: bool
) -> Difference:
    reach, p_value = _QUANTILE * deviation, two_sided(difference, deviation)
    better: Literal["a", "b"] | None = None
    if p_value < _LEVEL:
        better = "a" if difference < 0 else "b"
    interval = difference - reach, difference + reach
    return Difference(name, place.protocol, place.metric, a, b, difference, *interval, p_value, better, paired)


def _can_be_paired(a: Sequence[ScoredSet], b: Sequence[ScoredSet]) -> bool:
    return bool(a and b) and all(min(one.reference_count, one.sample_count) >= SMALLEST_SET for one in (*a, *b))

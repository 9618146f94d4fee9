"""Has a model become worse? One verdict per metric, for continuous integration.

A metric has regressed when the change is larger than its floor (what anyone would act on) and surer than chance: the
paired comparison over halves of the common reference, over all seeds of a row, with Holm's correction for the number of
metrics. Where no regression is seen, but one of the size `detect` would have been missed more often than one time in
five, the verdict is `underpowered` and not `ok`.
"""

import math
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from statistics import NormalDist
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hdbench.errors import HdbenchError
from hdbench.metrics.nearest import NearestLists, SetValues
from hdbench.metrics.scoring import Statistics
from hdbench.metrics.uncertainty import paired_comparison, two_sided
from hdbench.recipe import first_complaint
from hdbench.results import Results, Row, Score, Scores, distance_from, load_document
from hdbench.store import file_digest

Verdict = Literal["ok", "improved", "regressed", "underpowered", "new"]

LEVEL = 0.05
"""Chance that a gate over models that are equal says `regressed` or `improved` anywhere."""
POWER = 0.8
_FAMILIES = ("cd", "emd_published", "emd")
"""Distances whose set metrics are compared in pairs; a name before those it begins with."""
_NORMAL = NormalDist()


class Threshold(BaseModel):
    """What counts for one metric: in its own unit, or as a share of the old value."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    floor: float = Field(ge=0)
    """Changes up to this are nobody's business, however sure."""
    detect: float = Field(gt=0)
    """A change the gate must be able to see; where it cannot, it says so."""
    relative: bool = False


DEFAULT_THRESHOLDS: Mapping[str, Threshold] = {
    "nna_*": Threshold(floor=0.02, detect=0.2),
    "cov_*": Threshold(floor=0.02, detect=0.2),
    "mmd_*": Threshold(floor=0.03, detect=0.25, relative=True),
    "jsd": Threshold(floor=0.05, detect=0.5, relative=True),
    "fpd": Threshold(floor=0.05, detect=0.5, relative=True),
    "kpd": Threshold(floor=0.1, detect=1.0, relative=True),
}
"""By metric or pattern; what no pattern matches, and the halves of a metric, is not gated."""
_HALVES = ("_samples", "_reference")


@dataclass(frozen=True)
class Finding:
    """The verdict on one metric of one row."""

    method: str
    protocol: str
    metric: str
    verdict: Verdict
    old: float | None
    new: float | None
    worse: float
    """How much farther the new value is from the metric's target than the old one; negative is better."""
    p_value: float
    """Two-sided, before the correction for the number of metrics."""
    visible: float
    """The smallest change that would be seen four times in five."""
    note: str = ""


@dataclass(frozen=True)
class GateReport:
    """All verdicts, and what was noticed beside them."""

    findings: tuple[Finding, ...]
    notes: tuple[str, ...]

    def has(self, verdict: Verdict) -> bool:
        """Whether any metric got this verdict."""
        return any(finding.verdict == verdict for finding in self.findings)


class _Key(NamedTuple):
    method: str
    dataset: str
    protocol: str
    metric: str


@dataclass(frozen=True)
class _Measured:
    """One metric of one row, over its seeds."""

    scores: tuple[Score, ...]
    statistics: tuple[Statistics, ...]
    """In the order of the scores; fewer where the files are not there."""
    samples: tuple[str, ...]
    """sha256 of the points, by seed."""

    @property
    def values(self) -> list[float]:
        return [score.value for score in self.scores if score.value is not None]

    @property
    def value(self) -> float | None:
        """The mean over seeds; None where a seed has none."""
        return sum(self.values) / len(self.values) if len(self.values) == len(self.scores) else None


class _Change(NamedTuple):
    worse: float
    deviation: float
    note: str


class _Rule(NamedTuple):
    threshold: Threshold
    is_significant: bool
    family_size: int
    """Metrics that are tested together."""


def gate(
    new: Path, old: Path, *, thresholds: Mapping[str, Threshold] = DEFAULT_THRESHOLDS, seed: int = 0
) -> GateReport:
    """Compare two result files of either kind, metric by metric.

    Args:
        new: What `hdbench run` or `hdbench evaluate --json` has just written.
        old: What it is held against.
        thresholds: By metric or pattern.
        seed: Of the splits behind the paired comparison.

    Raises:
        HdbenchError: When a file cannot be read or used, when a row or metric of `old` is missing in `new`, or when
            the two were measured in different ways.
    """
    documents = load_document(new), load_document(old)
    measured_new, measured_old = _measured(documents[0], new.parent), _measured(documents[1], old.parent)
    if not measured_old.keys() & measured_new.keys():
        raise HdbenchError(f"{new} and {old} have no method, protocol and dataset in common; compare like with like.")
    if missing := sorted(measured_old.keys() - measured_new.keys()):
        first = missing[0]
        raise HdbenchError(
            f"{new} lacks {len(missing)} of the values of {old} (first: {first.metric} of {first.method or 'samples'} "
            f"under {first.protocol}); run the same methods and protocols again."
        )
    gated = {key: limit for key in measured_old if (limit := _threshold(key.metric, thresholds))}
    changes = {key: _change(key, measured_new[key], measured_old[key], seed=seed) for key in gated}
    significant = _holm({key: two_sided(change.worse, change.deviation) for key, change in changes.items()})
    findings = [
        _finding(key, measured_new[key], measured_old[key], change, _Rule(gated[key], key in significant, len(gated)))
        for key, change in changes.items()
    ]
    fresh = [key for key in measured_new if key not in measured_old and _threshold(key.metric, thresholds)]
    findings += [
        Finding(key.method, key.protocol, key.metric, "new", None, measured_new[key].value, 0.0, 1.0, math.inf)
        for key in fresh
    ]
    return GateReport(tuple(findings), tuple(_bit_notes(documents, measured_new, measured_old)))


def load_thresholds(pyproject: Path, flags: Iterable[str] = ()) -> dict[str, Threshold]:
    """The default thresholds, changed by `[tool.hdbench.gate]` of a pyproject.toml and by `metric=floor` flags.

    Raises HdbenchError for a table or flag that says something else.
    """
    thresholds = dict(DEFAULT_THRESHOLDS)
    if pyproject.is_file():
        try:
            table = tomllib.loads(pyproject.read_text(encoding="utf-8")).get("tool", {}).get("hdbench", {})
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise HdbenchError(f"{pyproject} cannot be read ({error}).") from error
        for metric, entry in table.get("gate", {}).items():
            thresholds = _changed(thresholds, metric, entry, f"{pyproject}, [tool.hdbench.gate]")
    for flag in flags:
        metric, separator, floor = flag.partition("=")
        try:
            thresholds = _changed(thresholds, metric, {"floor": float(floor)}, f"--floor {flag}")
        except ValueError:
            separator = ""
        if not separator:
            raise HdbenchError(f"--floor {flag} is no threshold; write --floor nna_cd=0.03.")
    return thresholds


def _changed(thresholds: dict[str, Threshold], metric: str, entry: object, where: str) -> dict[str, Threshold]:
    """`thresholds` with one more rule in front, which keeps what it does not name of the one it goes before."""
    before = _threshold(metric, thresholds) or Threshold(floor=0.0, detect=1.0, relative=True)
    try:
        rule = Threshold.model_validate({**before.model_dump(), **(entry if isinstance(entry, dict) else {"": entry})})
    except ValidationError as error:
        raise HdbenchError(f"{where}: {metric}: {first_complaint(error)}.") from error
    return {metric: rule} | {name: kept for name, kept in thresholds.items() if name != metric}


def _threshold(metric: str, thresholds: Mapping[str, Threshold]) -> Threshold | None:
    """The first rule for `metric`; the halves of a score are gated only where a rule names them."""
    if metric in thresholds:
        return thresholds[metric]
    if metric.endswith(_HALVES):
        return None
    return next((rule for pattern, rule in thresholds.items() if fnmatchcase(metric, pattern)), None)


def _measured(document: Results | Scores, folder: Path) -> dict[_Key, _Measured]:
    found: dict[_Key, list[tuple[Score, Statistics | None, str]]] = {}
    for method, dataset, part in _parts(document):
        statistics = _statistics(part.statistics, folder)
        for score in part.scores:
            if score.value is not None or score.reason is None:
                key = _Key(method, dataset, score.protocol, score.metric)
                found.setdefault(key, []).append((score, statistics, part.samples.sha256))
    return {
        key: _Measured(
            tuple(score for score, _, _ in entries),
            tuple(statistics for _, statistics, _ in entries if statistics is not None),
            tuple(digest for _, _, digest in entries),
        )
        for key, entries in found.items()
    }


def _parts(document: Results | Scores) -> Iterable[tuple[str, str, Row | Scores]]:
    if isinstance(document, Scores):
        yield "", "", document
        return
    dataset = f"{document.dataset.name}/{document.dataset.category}"
    yield from ((row.method, dataset, row) for row in document.rows if row.source != "control")


def _statistics(files: Mapping[str, str], folder: Path) -> Statistics | None:
    """The statistics beside a result file, verified; None where they were not brought along."""
    merged = None
    for name, digest in files.items():
        path = folder / Path(name).name
        if not path.is_file():
            return None
        if file_digest(path) != digest:
            raise HdbenchError(f"{path} is not the file that belongs to its results (sha256 differs); make both again.")
        loaded = Statistics.load(path)
        merged = loaded if merged is None else merged.merged(loaded)
    return merged


def _change(key: _Key, new: _Measured, old: _Measured, *, seed: int) -> _Change:
    """How much worse the new value is, and the standard deviation of that."""
    differing = {score.signature for score in (*new.scores, *old.scores)}
    if len(differing) > 1:
        a, b = sorted(differing)[:2]
        facts = sorted(set(a.split("|")) ^ set(b.split("|")))
        raise HdbenchError(f"{key.metric} was measured in different ways ({', '.join(facts)}); measure both alike.")
    if new.value is None or old.value is None:
        worse = math.inf if new.value is None else -math.inf
        return _Change(0.0 if new.value == old.value else worse, 0.0, "no value")
    lists = _paired_lists(key, new), _paired_lists(key, old)
    if lists[0] and lists[1]:
        name = key.metric.replace(f"_{_family(key.metric)}", "", 1)
        paired = paired_comparison(lists[0], lists[1], name, seed=seed)
        return _Change(paired.difference, paired.deviation, "")
    target = old.scores[0].target
    worse = distance_from(target, new.value) - distance_from(target, old.value)
    deviation = math.hypot(_deviation(new.scores), _deviation(old.scores))
    return _Change(worse, deviation, "unpaired" if deviation else "no interval: any change counts")


def _paired_lists(key: _Key, measured: _Measured) -> list[NearestLists]:
    """The nearest lists behind a set metric, one per seed; none where any is missing."""
    family = _family(key.metric)
    found = [lists for one in measured.statistics if family and (lists := one.nearest_lists(key.protocol, family))]
    return found if len(found) == len(measured.scores) else []


def _family(metric: str) -> str:
    """The distance of a set metric (`cd` of `nna_cd_samples`), or ""."""
    name, _, rest = metric.partition("_")
    return next((family for family in _FAMILIES if name in SetValues._fields and rest.startswith(family)), "")


def _finding(key: _Key, new: _Measured, old: _Measured, change: _Change, rule: _Rule) -> Finding:
    scale = abs(old.value or 0.0) if rule.threshold.relative else 1.0
    visible = (_NORMAL.inv_cdf(1 - LEVEL / rule.family_size / 2) + _NORMAL.inv_cdf(POWER)) * change.deviation
    verdict: Verdict = "ok"
    if rule.is_significant and abs(change.worse) > rule.threshold.floor * scale:
        verdict = "regressed" if change.worse > 0 else "improved"
    elif visible > rule.threshold.detect * scale:
        verdict = "underpowered"
    p_value = two_sided(change.worse, change.deviation)
    return Finding(
        key.method, key.protocol, key.metric, verdict, old.value, new.value, change.worse, p_value, visible, change.note
    )


def _holm(p_values: Mapping[_Key, float]) -> set[_Key]:
    """What is significant at `LEVEL` over all together (Holm 1979)."""
    ranked = sorted(p_values, key=lambda key: p_values[key])
    for place, key in enumerate(ranked):
        if p_values[key] > LEVEL / (len(ranked) - place):
            return set(ranked[:place])
    return set(ranked)


def _deviation(scores: Sequence[Score]) -> float:
    """Standard, of the mean over seeds, from the intervals."""
    widths = [score.interval[1] - score.interval[0] for score in scores if score.interval]
    return math.hypot(*widths) / len(scores) / (2 * _NORMAL.inv_cdf(0.975))


def _bit_notes(
    documents: tuple[Results | Scores, Results | Scores], new: Mapping[_Key, _Measured], old: Mapping[_Key, _Measured]
) -> Iterator[str]:
    """What the bits say before any statistics: same code and seeds should give the same."""
    commits = [document.provenance.git or {} for document in documents]
    same_code = bool(commits[0].get("commit")) and commits[0] == commits[1] and not commits[0].get("dirty")
    same_seeds = documents[0].provenance.seeds == documents[1].provenance.seeds
    differing_samples, differing_values = set(), set()
    for key in new.keys() & old.keys():
        if new[key].samples != old[key].samples:
            differing_samples.add(key.method or "samples")
        elif new[key].value != old[key].value:
            differing_values.add(key.metric)
    if not differing_samples and not differing_values:
        yield "Samples and values are the same to the last bit."
    if differing_samples and same_code and same_seeds:
        names = ", ".join(sorted(differing_samples))
        yield f"The same code and seeds gave other samples: {names} is not deterministic."
    if differing_values:
        yield f"The same samples got other values: the scoring of {', '.join(sorted(differing_values))} has changed."

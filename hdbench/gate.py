"""Has a model become worse? One verdict per metric, for continuous integration.

What is the same to the last bit is ok, whatever the sizes of the sets. Of the rest a metric has regressed when the
change is larger than its floor (what anyone would act on) and surer than chance: the paired comparison over halves of
the common reference, over all seeds of a row, with Holm's correction for the number of metrics. Where no regression is
seen, but one of the size `detect` would have been missed more often than one time in five, the verdict is
`underpowered` and not `ok`. Beside the metrics stands `invalid`, the share of samples that cannot be scored.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Literal, NamedTuple

from hdbench.comparison import deviation_of_mean, read_statistics, refuse_unlike
from hdbench.errors import HdbenchError
from hdbench.metrics.paired import scored_sets, splits_of
from hdbench.metrics.scoring import Statistics
from hdbench.metrics.uncertainty import SMALLEST_SET, compare, two_sided
from hdbench.results import Provenance, Results, Row, Score, Scores, SetInfo, distance_from, load_document
from hdbench.thresholds import DEFAULT_THRESHOLDS, INVALID, Threshold, threshold_of

Verdict = Literal["ok", "improved", "regressed", "underpowered", "new"]

LEVEL = 0.05
"""Chance that a gate over models that are equal says `regressed` or `improved` anywhere."""
POWER = 0.8
_NORMAL = NormalDist()
_LARGEST_COUNT = 10**9


@dataclass(frozen=True)
class Finding:
    """The verdict on one metric of one row."""

    method: str
    protocol: str
    metric: str
    unit: str
    verdict: Verdict
    old: float | None
    new: float | None
    worse: float = 0.0
    """How much farther the new value is from the metric's target than the old one; negative is better."""
    p_value: float = 1.0
    """Two-sided, before the correction for the number of metrics."""
    visible: float = 0.0
    """The smallest change that would be seen four times in five."""
    detect: float = 0.0
    """The change that should be seen four times in five."""
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
class _Sampling:
    """One set of samples and what was made of it."""

    scores: tuple[Score, ...]
    samples: SetInfo
    statistics: Statistics | None
    model: str
    seed: int


@dataclass(frozen=True)
class _Measured:
    """One metric of one row, over its seeds."""

    scores: tuple[Score, ...]
    samplings: tuple[_Sampling, ...]

    @property
    def value(self) -> float | None:
        """The mean over seeds; None where a seed has none."""
        values = [score.value for score in self.scores if score.value is not None]
        return sum(values) / len(values) if len(values) == len(self.scores) else None

    @property
    def samples(self) -> list[str]:
        """sha256 of the points, by seed."""
        return [one.samples.sha256 for one in self.samplings]


class _Change(NamedTuple):
    worse: float
    deviation: float
    note: str = ""


_SAME = _Change(0.0, 0.0, "the same to the last bit")


class _Case(NamedTuple):
    """A metric before and now."""

    key: _Key
    unit: str
    old: float | None
    new: float | None
    threshold: Threshold
    change: _Change

    @property
    def p_value(self) -> float:
        return two_sided(self.change.worse, self.change.deviation)


def gate(
    new: Path, old: Path, *, thresholds: Mapping[str, Threshold] = DEFAULT_THRESHOLDS, seed: int = 0
) -> GateReport:
    """Compare two result files of either kind (or folders of runs), metric by metric.

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
    rows_new, rows_old = (
        _rows(document, path if path.is_dir() else path.parent)
        for document, path in zip(documents, (new, old), strict=True)
    )
    measured_new, measured_old = _measured(rows_new), _measured(rows_old)
    had = {key for key, before in measured_old.items() if before.value is not None}
    rules = {key: rule for key in measured_old if key in had and (rule := threshold_of(key.metric, thresholds))}
    _refuse_missing(rules.keys(), measured_new.keys(), new, old)
    cases = [_case(key, measured_new[key], measured_old[key], rule, seed=seed) for key, rule in rules.items()]
    if rule := threshold_of(INVALID, thresholds):
        cases += [_invalid(*place, rows_new[place], rows_old[place], rule) for place in rows_old if place in rows_new]
    findings = [*_findings(cases), *_fresh(measured_new, had, thresholds)]
    notes = _bit_notes((documents[0].provenance, documents[1].provenance), measured_new, measured_old)
    return GateReport(tuple(findings), tuple(notes))


def _rows(document: Results | Scores, folder: Path) -> dict[tuple[str, str], list[_Sampling]]:
    """What was sampled from each method on each dataset, by seed; controls are not gated."""
    if isinstance(document, Scores):
        return {("", ""): [_sampling(document, folder)]}
    dataset = f"{document.dataset.name}/{document.dataset.category}"
    rows: dict[tuple[str, str], list[_Sampling]] = {}
    for row in document.rows:
        if row.source != "control":
            rows.setdefault((row.method, dataset), []).append(_sampling(row, folder))
    return {place: sorted(samplings, key=lambda one: one.seed) for place, samplings in rows.items()}


def _sampling(part: Row | Scores, folder: Path) -> _Sampling:
    if not (0 <= part.samples.count <= _LARGEST_COUNT and 0 <= part.samples.invalid <= _LARGEST_COUNT):
        raise HdbenchError(f"{folder}: {part.samples.count} valid samples cannot be; score the shapes again.")
    statistics = read_statistics(part.statistics, folder)
    model, seed = (part.model, part.seed) if isinstance(part, Row) else ("", 0)
    return _Sampling(tuple(part.scores), part.samples, statistics, model, seed)


def _measured(rows: Mapping[tuple[str, str], Sequence[_Sampling]]) -> dict[_Key, _Measured]:
    found: dict[_Key, list[tuple[Score, _Sampling]]] = {}
    for place, samplings in rows.items():
        for one in samplings:
            for score in one.scores:
                found.setdefault(_Key(*place, score.protocol, score.metric), []).append((score, one))
    return {
        key: _Measured(tuple(score for score, _ in entries), tuple(one for _, one in entries))
        for key, entries in found.items()
    }


def _refuse_missing(old_keys: Iterable[_Key], new_keys: Iterable[_Key], new: Path, old: Path) -> None:
    wanted, there = set(old_keys), set(new_keys)
    if not wanted:
        raise HdbenchError(f"{old} has no value that is gated (controls are not); hold against results of a method.")
    if not wanted & there:
        raise HdbenchError(f"{new} and {old} have no method, protocol and dataset in common; compare like with like.")
    if missing := sorted(wanted - there):
        first = missing[0]
        raise HdbenchError(
            f"{new} lacks {len(missing)} of the values of {old} (first: {first.metric} of {first.method or 'samples'} "
            f"under {first.protocol}); run the same methods and protocols again."
        )


def _case(key: _Key, new: _Measured, old: _Measured, rule: Threshold, *, seed: int) -> _Case:
    return _Case(key, old.scores[0].unit, old.value, new.value, rule, _change(key, new, old, seed=seed))


def _change(key: _Key, new: _Measured, old: _Measured, *, seed: int) -> _Change:
    """How much worse the new value is, and the standard deviation of that."""
    if old.value is None or new.value is None:
        reasons = [score.reason for score in new.scores if score.value is None and score.reason]
        return _Change(math.inf, 0.0, reasons[0] if reasons else "")
    _refuse_unlike(key, new, old)
    if new.samples == old.samples and [one.value for one in new.scores] == [one.value for one in old.scores]:
        return _SAME
    target = old.scores[0].target
    paired = [scored_sets([one.statistics for one in side.samplings], key.protocol, key.metric) for side in (new, old)]
    if any(min(one.reference_count, one.sample_count) < SMALLEST_SET for sets in paired for one in sets):
        return _Change(0.0, math.inf, f"a set has fewer than {SMALLEST_SET} shapes; draw more (--count)")
    if paired[0] and paired[1]:
        compared = compare(*paired, metric=key.metric, target=target, seed=seed, splits=splits_of(key.metric))
        for stated, found in ((new.value, compared.value_a), (old.value, compared.value_b)):
            if not math.isclose(stated, found, rel_tol=1e-6, abs_tol=1e-9):
                raise HdbenchError(
                    f"{key.metric} of {key.method or 'samples'} is {stated:g} in the results and {found:g} in their "
                    "statistics; score the shapes again."
                )
        return _Change(compared.difference, compared.deviation)
    worse = distance_from(target, new.value) - distance_from(target, old.value)
    scores = (*new.scores, *old.scores)
    if all(score.interval is None for score in scores):
        reason = next((score.reason for score in scores if score.reason), None)
        return _Change(worse, math.inf, reason) if reason else _Change(worse, 0.0, "no interval: any change counts")
    deviation = math.hypot(deviation_of_mean(new.scores), deviation_of_mean(old.scores))
    unsure = [score.reason or "a value has no interval" for score in scores if score.interval is None]
    return _Change(worse, deviation, unsure[0] if unsure else "unpaired")


def _refuse_unlike(key: _Key, new: _Measured, old: _Measured) -> None:
    """Raise HdbenchError unless all values say that they were made in one way and are numbers one can reckon with."""
    refuse_unlike(key.metric, (*new.scores, *old.scores))
    if not (math.isfinite(new.value or 0) and math.isfinite(old.value or 0)):
        raise HdbenchError(f"{key.metric} has values too large to be compared; score the shapes again.")


def _invalid(method: str, dataset: str, new: Sequence[_Sampling], old: Sequence[_Sampling], rule: Threshold) -> _Case:
    """The share of samples that cannot be scored, as two proportions; one more of each kind keeps 0 from being sure."""
    (bad_new, all_new), (bad_old, all_old) = (
        (sum(one.samples.invalid for one in part), sum(one.samples.invalid + one.samples.count for one in part) or 1)
        for part in (new, old)
    )
    pooled = (bad_new + bad_old + 1) / (all_new + all_old + 2)
    deviation = math.sqrt(pooled * (1 - pooled) * (1 / all_new + 1 / all_old))
    before, now = bad_old / all_old, bad_new / all_new
    counts_new, counts_old = (
        [(one.samples.sha256, one.samples.count, one.samples.invalid) for one in part] for part in (new, old)
    )
    change = _Change(now - before, deviation) if counts_new != counts_old else _SAME
    return _Case(_Key(method, dataset, "", INVALID), "fraction", before, now, rule, change)


def _findings(cases: Sequence[_Case]) -> Iterator[Finding]:
    significant = _holm([case.p_value for case in cases])
    sure = _NORMAL.inv_cdf(1 - LEVEL / max(len(cases), 1) / 2)
    for case, is_significant in zip(cases, significant, strict=True):
        worse, deviation, note = case.change
        scale = abs(case.old or 0.0) if case.threshold.relative else 1.0
        floor, detect = case.threshold.floor * scale, case.threshold.detect * scale
        visible = max(sure * deviation, floor) + _NORMAL.inv_cdf(POWER) * deviation if deviation else 0.0
        verdict: Verdict = "ok"
        if is_significant and abs(worse) > floor:
            verdict = "regressed" if worse > 0 else "improved"
        elif visible > detect:
            verdict = "underpowered"
        yield Finding(
            case.key.method,
            case.key.protocol,
            case.key.metric,
            case.unit,
            verdict,
            case.old,
            case.new,
            worse,
            case.p_value,
            visible,
            detect,
            note,
        )


def _holm(p_values: Sequence[float]) -> list[bool]:
    """Which are significant at `LEVEL` over all together (Holm 1979)."""
    ranked = sorted(range(len(p_values)), key=lambda index: p_values[index])
    significant = [False] * len(p_values)
    for place, index in enumerate(ranked):
        if p_values[index] > LEVEL / (len(ranked) - place):
            break
        significant[index] = True
    return significant


def _fresh(
    new: Mapping[_Key, _Measured], had: Iterable[_Key], thresholds: Mapping[str, Threshold]
) -> Iterator[Finding]:
    """Metrics that had no value before."""
    before = set(had)
    for key, measured in new.items():
        if key not in before and measured.value is not None and threshold_of(key.metric, thresholds):
            unit = measured.scores[0].unit
            yield Finding(key.method, key.protocol, key.metric, unit, "new", old=None, new=measured.value)


def _bit_notes(
    provenances: tuple[Provenance, Provenance], new: Mapping[_Key, _Measured], old: Mapping[_Key, _Measured]
) -> Iterator[str]:
    """What the bits say before any statistics: the same model and seeds should give the same samples."""
    shared = [key for key in old if key in new]
    others = {
        key.method: _origin(new[key]) == _origin(old[key]) for key in shared if new[key].samples != old[key].samples
    }
    rescored = {key.metric for key in shared if key.method not in others and new[key].value != old[key].value}
    if not others and not rescored:
        yield "Samples and values are the same to the last bit."
    if _same_place(*provenances) and (unsteady := sorted(name for name, same in others.items() if same and name)):
        yield f"The same code, model, seeds and machine gave other samples: {', '.join(unsteady)} is not deterministic."
    if rescored:
        yield f"The same samples got other values: the scoring of {', '.join(sorted(rescored))} has changed."


def _origin(measured: _Measured) -> list[tuple[str, int]]:
    return [(one.model, one.seed) for one in measured.samplings]


def _same_place(a: Provenance, b: Provenance) -> bool:
    """Whether both come from one state of the code, its packages and its machine."""
    is_clean = not (a.git or {}).get("dirty")
    return is_clean and (a.hdbench, a.git, a.packages, a.machine) == (b.hdbench, b.git, b.packages, b.machine)

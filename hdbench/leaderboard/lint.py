"""What must hold for the entries of a board, whoever made them: hashes, identities of metrics, signatures.

Scores are looked at three times: against what the metrics can be at all, against the statistics they come from, and
against the protocol their signature claims.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hdbench.errors import HdbenchError
from hdbench.leaderboard.entry import (
    SAMPLES_FILE,
    STATISTICS_FILE,
    BoardSettings,
    StoredEntry,
    open_entries,
    open_settings,
)
from hdbench.leaderboard.scoring import AUDIT_PROTOCOL, score_key
from hdbench.metrics.nearest import set_values
from hdbench.metrics.protocols import PROTOCOLS, SIGNATURE_VERSION
from hdbench.metrics.scoring import FAMILIES, Statistics, metric_named
from hdbench.results import Score
from hdbench.store import file_digest

COPIED_SHARE, COPIED_P = 0.2, 0.001
"""Samples are flagged as copies of training shapes when at least this share of them lies nearer to one than 95 % of
the references do, and training and reference shapes are less interchangeable to the model than this p-value."""
_ROUNDING = 1e-9
_BOUNDS = {"bits": (0.0, 1.0), "nats": (0.0, math.log(2)), "fraction": (0.0, 1.0), "probability": (0.0, 1.0)}
"""By unit. JSD is within one bit."""
_POSITIVE = ("length", "squared length", "ratio")
_SET_FAMILIES = ("cd", "emd", "emd_published")


@dataclass(frozen=True)
class Finding:
    """Something about an entry."""

    entry: str
    """Its id."""
    level: Literal["error", "flag"]
    """An error must not stand on a board; a flag is told to its readers."""
    text: str

    def __str__(self) -> str:
        return f"{self.level}: {self.entry}: {self.text}"


def lint_board(board: Path) -> list[Finding]:
    """All findings about the board in a folder; HdbenchError where there is none or a file of it cannot be read."""
    return lint_entries(open_entries(board), open_settings(board))


def lint_entries(entries: Sequence[StoredEntry], settings: BoardSettings) -> list[Finding]:
    """All findings about the entries of a board with these settings."""
    findings = [finding for entry in entries for finding in lint_entry(entry, settings)]
    return [*findings, *_repeated_samples(entries)]


def lint_entry(stored: StoredEntry, settings: BoardSettings) -> list[Finding]:
    """The findings about one entry."""
    errors = [*_file_errors(stored), *_protocol_errors(stored, settings), *_count_errors(stored)]
    errors += score_errors(stored) + _statistics_errors(stored)
    findings = [Finding(stored.id, "error", text) for text in errors]
    return findings + [Finding(stored.id, "flag", text) for text in flags(stored)]


def flags(stored: StoredEntry) -> list[str]:
    """What readers of the board should know about the samples of a model."""
    if stored.is_control:
        return []
    near, p_value = stored.scored.audited("near_copies"), stored.scored.audited("novelty_p")
    if near is None or p_value is None or near < COPIED_SHARE or p_value > COPIED_P:
        return []
    return [f"{near:.0%} of the samples lie as near to a training shape as copies do"]


def _file_errors(stored: StoredEntry) -> Iterator[str]:
    files = stored.scored.files
    for name in (SAMPLES_FILE, STATISTICS_FILE):
        if name not in files:
            yield f"scores.json holds no hash of {name}; {_again(stored)}"
    for name, expected in files.items():
        path = stored.folder / name
        if Path(name).name != name:
            yield f"scores.json names {name!r}, which is not beside it"
        elif not path.is_file():
            yield f"{name} is missing; {_again(stored)}"
        elif file_digest(path) != expected:
            yield f"{name} is not the file its scores were made from (sha256 differs); {_again(stored)}"
    if stored.entry.samples.sha256 != files.get(SAMPLES_FILE):
        yield f"entry.json and scores.json name different samples; {_again(stored)}"


def _again(stored: StoredEntry) -> str:
    return f"make it again: hdbench leaderboard add {stored.folder}"


def _protocol_errors(stored: StoredEntry, settings: BoardSettings) -> Iterator[str]:
    scored = {part.protocol: part for part in stored.scored.protocols}
    for name, part in scored.items():
        if name not in PROTOCOLS:
            yield f"protocol {name!r} is unknown"
            continue
        key = score_key(name, samples_file=stored.entry.samples.sha256, dataset=stored.entry.dataset)
        if part.key != key:
            yield f"the scores under {name} were made from other samples, or by other code; {_again(stored)}"
    layouts = {PROTOCOLS[name].layout for name in scored if name in PROTOCOLS} - {"either"}
    if len(layouts) > 1:
        yield "its protocols score clouds and sequences"
    for layout in layouts:
        if missing := [name for name in settings.for_layout(layout) if name not in scored]:
            yield f"it has no scores under {missing[0]}, which the board asks for; {_again(stored)}"


def _count_errors(stored: StoredEntry) -> Iterator[str]:
    samples, reference = stored.scored.samples, stored.scored.reference
    if samples.count + samples.invalid != stored.entry.samples.count:
        scored = samples.count + samples.invalid
        yield f"entry.json tells of {stored.entry.samples.count} samples, scores.json of {scored}"
    if stored.entry.samples.count != reference.count + reference.invalid:
        yield f"{stored.entry.samples.count} samples against {reference.count} references: as many are asked for"


def score_errors(stored: StoredEntry) -> list[str]:
    """What cannot be among the values, intervals and signatures of an entry."""
    counts = stored.scored.reference.count, stored.scored.samples.count
    found = [text for part in stored.scored.protocols for text in identity_errors(part.scores, *counts)]
    scores = [(part.protocol, score) for part in stored.scored.protocols for score in part.scores]
    scores += [(AUDIT_PROTOCOL, score) for score in stored.scored.audit]
    for protocol, score in scores:
        found += value_errors(score)
        found += [f"{score.metric}: {text}" for text in _signature_errors(score, protocol, stored)]
    return found


def value_errors(score: Score) -> list[str]:
    """What is impossible about one value and its interval."""
    if score.value is None:
        return [] if score.reason else [f"{score.metric} has neither a value nor a reason"]
    found = []
    low, high = _BOUNDS.get(score.unit, (0.0 if score.unit in _POSITIVE else -math.inf, math.inf))
    numbers = (score.value, *(score.interval or ()))
    if not all(math.isfinite(number) for number in numbers):
        return [f"{score.metric} is not finite"]
    if not low - _ROUNDING <= score.value <= high + _ROUNDING:
        found.append(f"{score.metric} is {score.value:g}, outside {low:g} to {high:g}")
    if score.interval and not score.interval[0] - _ROUNDING <= score.value <= score.interval[1] + _ROUNDING:
        found.append(f"{score.metric} is {score.value:g}, outside its interval {score.interval}")
    return found


def identity_errors(scores: Sequence[Score], reference_count: int, sample_count: int) -> list[str]:
    """Which identities between the set metrics of one protocol do not hold.

    COV is at most min(1, S / R) for S samples and R references, and 1-NNA the mean of its halves, weighted by R and S.
    """
    values = {score.metric: score.value for score in scores if score.value is not None}
    found = []
    for family in _SET_FAMILIES:
        most = min(1.0, sample_count / reference_count) if reference_count else 0.0
        if (coverage := values.get(f"cov_{family}", 0.0)) > most + _ROUNDING:
            found.append(f"cov_{family} is {coverage:g}, more than min(1, samples / references) = {most:g}")
        parts = [values.get(f"nna_{family}{half}") for half in ("", "_samples", "_reference")]
        if any(part is None for part in parts):
            continue
        whole, of_samples, of_reference = (part for part in parts if part is not None)
        total = sample_count + reference_count
        mean = (sample_count * of_samples + reference_count * of_reference) / total if total else math.nan
        if not abs(whole - mean) <= 1e-6:
            found.append(f"nna_{family} is {whole:g}, but its halves give {mean:g}")
    return found


def _signature_errors(score: Score, protocol: str, stored: StoredEntry) -> Iterator[str]:
    try:
        metric = metric_named(score.metric)
    except HdbenchError as error:
        yield str(error)
        return
    if protocol not in PROTOCOLS:
        return
    known = PROTOCOLS[protocol]
    name, *rest = score.signature.split("|")
    facts = dict(fact.partition(":")[::2] for fact in rest)
    family = next(family.name for family in FAMILIES if metric in family.metrics)
    samples, reference = stored.entry.samples.count, stored.scored.reference.count
    expected = {
        "protocol": protocol,
        "normalisation": known.normalisation,
        "reference": str(reference),
        "samples": str(min(samples, max(reference, stored.scored.samples.count))),
        "data": stored.entry.dataset.signature,
        "version": str(SIGNATURE_VERSION),
    }
    if family in known.distances:
        expected["distance"] = known.distances[family]
    if name != score.metric or score.protocol != protocol:
        yield f"its signature is of {name} under {score.protocol}"
    for key, value in expected.items():
        if facts.get(key) != value:
            yield f"its signature says {key}:{facts.get(key, 'nothing')}, expected {value}"
    unit = score.unit in ("length", "squared length") if metric.unit == "distance" else score.unit == metric.unit
    if score.target != metric.target or not unit:
        yield f"target {score.target} and unit {score.unit!r} are not its own"


def _statistics_errors(stored: StoredEntry) -> list[str]:
    """Values that do not follow from the nearest lists beside them."""
    path = stored.folder / STATISTICS_FILE
    if not path.is_file():
        return []
    try:
        statistics = Statistics.load(path)
        lists = {
            (part.protocol, family): stated
            for part in stored.scored.protocols
            for family in _SET_FAMILIES
            if (stated := statistics.nearest_lists(part.protocol, family))
        }
    except (HdbenchError, KeyError, TypeError, ValueError, OverflowError) as error:
        return [f"{STATISTICS_FILE} cannot be read ({error})"]
    found = []
    for (protocol, family), nearest in lists.items():
        values = set_values(nearest)._asdict()
        for score in stored.scored.scores:
            name = score.metric.replace(f"_{family}", "", 1)
            is_of_family = name in values and score.metric.startswith(f"{name.split('_')[0]}_{family}")
            if score.protocol != protocol or not is_of_family or score.value is None:
                continue
            if not math.isclose(values[name], score.value, rel_tol=_ROUNDING, abs_tol=_ROUNDING):
                found.append(f"{score.metric} is {score.value:g}, but {STATISTICS_FILE} gives {values[name]:g}")
    return found


def _repeated_samples(entries: Sequence[StoredEntry]) -> Iterator[Finding]:
    by_points: dict[tuple[str, str], list[StoredEntry]] = defaultdict(list)
    for stored in entries:
        by_points[str(stored.entry.dataset), stored.scored.samples.sha256].append(stored)
    for same in by_points.values():
        for stored in same[1:]:
            yield Finding(stored.id, "error", f"its samples are those of {same[0].id}; remove one of them")

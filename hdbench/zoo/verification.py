"""Whether a published model still does what its model.toml says: its samples drawn again, and scored."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from hdbench import stages
from hdbench.benchmark import open_limited, reference_ids
from hdbench.datasets.base import Dataset
from hdbench.errors import HdbenchError
from hdbench.evaluation import PointSet
from hdbench.method import Method, get_method
from hdbench.metrics.protocols import get_protocol
from hdbench.results import Score
from hdbench.scoring import Scoring, data_label, read_scores, score
from hdbench.shape_files import ShapeSet
from hdbench.stages import Workshop
from hdbench.store import Artefact, Store, digest
from hdbench.zoo.catalogue import Entry
from hdbench.zoo.manifest import Expected
from hdbench.zoo.obtain import obtain_published

ROUNDING = 1e-4
"""Share of a value by which it may miss an interval: another machine's last digits."""


@dataclass(frozen=True)
class Verdict:
    """One expected score, and what was found."""

    expected: Expected
    found: float | None
    reason: str | None
    """Why it does not hold; None where it does."""


class Scored(NamedTuple):
    """What samples scored, and what they took."""

    scores: list[Score]
    seconds_per_shape: float | None


@dataclass(frozen=True)
class Drawing:
    """How a model's samples are drawn and scored."""

    protocol: str
    count: int
    seed: int


def verify(entry: Entry, workshop: Workshop, scratch: Workshop, *, dataset: str | None = None) -> list[Verdict]:
    """Draw the samples of each expected score again and compare.

    `workshop` keeps the prepared data; what is drawn goes to `scratch`, so that it is drawn anew. `dataset` is where
    the data lie, if not known by the name in model.toml. Raises HdbenchError where data or files cannot be had.
    """
    data = open_trained_on(entry, workshop, dataset)
    method = get_method(entry.manifest.method)
    model = obtain_published(scratch, method, entry)
    verdicts = []
    for drawing, group in groupby(sorted(entry.manifest.expected, key=_order), key=_drawing):
        scored = draw_and_score(model, method, data, drawing, workshop=workshop, scratch=scratch)
        found = {score.metric: score for score in scored.scores}
        verdicts += [_verdict(expected, found.get(expected.metric)) for expected in group]
    return verdicts


def open_trained_on(entry: Entry, workshop: Workshop, dataset: str | None) -> Dataset:
    """The dataset of a model; HdbenchError when it is not the very one it was trained on."""
    stated = entry.manifest.dataset
    where = dataset or stated.name
    data = open_limited(
        where,
        entry.manifest.category,
        stated.limit,
        strict=False,
        store=workshop.store,
        progress=workshop.progress,
    )
    if digest(data.fingerprint()) != stated.version:
        raise HdbenchError(
            f"Model {entry.name} was scored on another version of {stated.name}; its scores cannot be verified on "
            "this one. Train it anew, or give the right data with --dataset."
        )
    return data


def draw_and_score(
    model: Artefact, method: type[Method], data: Dataset, drawing: Drawing, *, workshop: Workshop, scratch: Workshop
) -> Scored:
    """The scores of samples drawn in `scratch`, against the test split prepared in `workshop`."""
    reference = stages.prepare(workshop, data, reference_ids(data), keep_meshes=True, title="reference shapes")
    train = stages.prepare(workshop, data, data.ids("train"), keep_meshes=False, title="training shapes")
    samples = stages.draw(scratch, method, model, count=drawing.count, seed=drawing.seed)
    drawn = PointSet.of(ShapeSet.open(samples.folder), "samples")
    points = drawn.points.shape[-2]
    scoring = Scoring(
        drawn,
        PointSet.of(reference, "reference").thinned(points),
        PointSet.of(train, "train").thinned(points),
        protocol=get_protocol(drawing.protocol),
        data=data_label(data),
        seed=drawing.seed,
        neighbours=1,
    )
    scored = score(scratch, scoring)
    cost = stages.cost_of(model, samples, scratch.device)
    return Scored(read_scores(scored)[0], cost.sample_s_per_shape)


def expected_scores(scores: Sequence[Score], drawing: Drawing) -> list[Expected]:
    """What a manifest states of `scores`: all that have a value and an interval."""
    return [
        Expected(
            protocol=score.protocol,
            metric=score.metric,
            value=score.value,
            interval=score.interval,
            target=score.target,
            count=drawing.count,
            seed=drawing.seed,
            signature=score.signature,
        )
        for score in scores
        if score.value is not None and score.interval is not None and score.protocol == drawing.protocol
    ]


def misses(expected: Sequence[Expected], scores: Sequence[Score]) -> list[Verdict]:
    """Those of `expected` that `scores` do not meet."""
    found = {(score.protocol, score.metric): score for score in scores}
    verdicts = [_verdict(entry, found.get((entry.protocol, entry.metric))) for entry in expected]
    return [verdict for verdict in verdicts if verdict.reason]


def _drawing(expected: Expected) -> Drawing:
    return Drawing(expected.protocol, expected.count, expected.seed)


def _order(expected: Expected) -> tuple[str, int, int]:
    return (expected.protocol, expected.count, expected.seed)


def _verdict(expected: Expected, found: Score | None) -> Verdict:
    if found is None or found.value is None:
        return Verdict(expected, None, (found and found.reason) or f"{expected.protocol} has no such metric")
    if found.signature != expected.signature:
        return Verdict(expected, found.value, "it is scored otherwise now (its signature differs)")
    low, high = expected.interval
    slack = ROUNDING * abs(found.value)
    holds = low - slack <= found.value <= high + slack
    return Verdict(expected, found.value, None if holds else f"outside {low:.4g} to {high:.4g}")


def room(workshop: Workshop, folder: Path) -> Workshop:
    """A workshop like `workshop` whose store is a new one in `folder`."""
    return replace(workshop, store=Store(folder, progress=workshop.progress))

"""The last room of a run: samples and reference in, one artefact with scores, statistics and neighbours out."""

import json
from dataclasses import dataclass
from pathlib import Path

from hdbench.datasets.base import Dataset
from hdbench.evaluation import PointSet, nearest_training
from hdbench.metrics.protocols import Protocol
from hdbench.metrics.scoring import Statistics, computed, score_points, unscored
from hdbench.results import Neighbours, Score
from hdbench.stages import Workshop
from hdbench.store import Artefact, Key, digest, write_atomic

SCORE_VERSION = 2


@dataclass(frozen=True)
class Scoring:
    """One sample set, what it is held against, and how."""

    samples: PointSet
    reference: PointSet
    train: PointSet
    protocol: Protocol
    data: str
    """What signatures call the reference; see `data_label`."""
    seed: int
    neighbours: int
    """Of so many samples, the first ones, the nearest training shapes are found."""

    @property
    def key(self) -> Key:
        """The key under which `score` leaves its scores."""
        from hdbench.extractors import extractor_signature

        sets = {"samples": self.samples, "reference": self.reference, "train": self.train}
        inputs = {
            **{role: [entry.info.sha256, digest([*entry.ids]), entry.invalid] for role, entry in sets.items()},
            "protocol": self.protocol.fingerprint(),
            "computed": computed(self.protocol),
            "features": extractor_signature(),
            "data": self.data,
            "seed": self.seed,
            "neighbours": self.neighbours,
        }
        return Key("scores", SCORE_VERSION, inputs)


def score(workshop: Workshop, scoring: Scoring) -> Artefact:
    """The scores of one sample set, its statistics, and the nearest training shapes of its first samples."""

    def make(workspace: Path) -> None:
        scores, statistics, nearest = _scored(workshop, scoring)
        statistics.save(workspace / "statistics.npz")
        record = {
            "scores": [entry.model_dump(mode="json") for entry in scores],
            "neighbours": [entry.model_dump(mode="json") for entry in nearest],
        }
        write_atomic(workspace / "scores.json", json.dumps(record, indent=1))

    return workshop.store.get_or_make(scoring.key, make)


def _scored(workshop: Workshop, scoring: Scoring) -> tuple[list[Score], Statistics, list[Neighbours]]:
    samples, reference, train = scoring.samples, scoring.reference, scoring.train
    if not samples.ids:
        reason = f"none of {len(samples.invalid)} samples is valid"
        counts = {"reference": len(reference.ids), "samples": len(samples.invalid)}
        return unscored(scoring.protocol, reason, data=scoring.data, **counts), Statistics({}), []
    scores, statistics = score_points(
        samples.points,
        reference.points,
        protocol=scoring.protocol,
        data=scoring.data,
        invalid_samples=len(samples.invalid),
        train=train.points,
        seed=scoring.seed,
        workers=workshop.workers,
        progress=workshop.progress,
    )
    nearest = nearest_training(
        samples,
        train,
        protocol=scoring.protocol,
        shown=scoring.neighbours,
        workers=workshop.workers,
        progress=workshop.progress,
    )
    return scores, statistics, nearest


def data_label(dataset: Dataset) -> str:
    """What signatures call the reference shapes of `dataset`."""
    return f"{dataset.name}/{dataset.category}/{dataset.reference_split}@{digest(dataset.fingerprint())[:8]}"


def read_scores(artefact: Artefact) -> tuple[list[Score], list[Neighbours]]:
    """The scores and neighbours kept in a score artefact."""
    record = json.loads((artefact.folder / "scores.json").read_text(encoding="utf-8"))
    scores = [Score.model_validate(entry) for entry in record["scores"]]
    return scores, [Neighbours.model_validate(entry) for entry in record["neighbours"]]

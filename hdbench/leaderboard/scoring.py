"""From samples to an entry of a board: every score is computed here, whatever the submitter says."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hdbench.benchmark import NEIGHBOUR_SAMPLES, reference_ids
from hdbench.datasets.base import Dataset
from hdbench.errors import HdbenchError
from hdbench.evaluation import PointSet
from hdbench.leaderboard.archives import SamplePoints
from hdbench.leaderboard.entry import (
    ENTRY_FILE,
    SAMPLES_FILE,
    SCORES_FILE,
    STATISTICS_FILE,
    DatasetVersion,
    EntryScores,
    ProtocolScores,
    document_text,
)
from hdbench.metrics.nearest import NearestLists
from hdbench.metrics.protocols import get_protocol
from hdbench.metrics.scoring import Statistics, computed, score_points
from hdbench.provenance import provenance
from hdbench.results import Score
from hdbench.scoring import Scoring, read_scores, score
from hdbench.stages import Workshop, prepare
from hdbench.store import Key, atomic_path, digest, file_digest, write_atomic

SEED = 0
"""Of the choice of points and of intervals, for all entries alike."""
AUDIT_VERSION = 2
AUDIT_PROTOCOL = "hdbench"
_UNSEALED = (ENTRY_FILE, SCORES_FILE)
"""What a score file holds no hash of: what people may edit, and itself."""
_LISTS = tuple(NearestLists.__dataclass_fields__)


@dataclass(frozen=True, eq=False)
class Arena:
    """A dataset that samples are compared with, prepared once for all of its entries."""

    dataset: Dataset
    workshop: Workshop

    @property
    def version(self) -> DatasetVersion:
        """What entries call it."""
        fingerprint = digest(self.dataset.fingerprint())
        return DatasetVersion(
            name=self.dataset.name,
            category=self.dataset.category,
            version=fingerprint[:8],
            split=self.dataset.reference_split,
        )

    @property
    def layout(self) -> str:
        """ "clouds" or "sequences"."""
        return "sequences" if self.dataset.kind == "sequence" else "clouds"

    @cached_property
    def reference_names(self) -> tuple[str, ...]:
        """The real shapes compared with; a set of samples has as many."""
        return reference_ids(self.dataset)

    @cached_property
    def reference(self) -> PointSet:
        """The real shapes compared with."""
        names = self.reference_names
        return PointSet.of(
            prepare(self.workshop, self.dataset, names, keep_meshes=True, title="reference shapes"), "reference"
        )

    @cached_property
    def train(self) -> PointSet:
        """The training shapes."""
        names = self.dataset.ids("train")
        return PointSet.of(
            prepare(self.workshop, self.dataset, names, keep_meshes=False, title="training shapes"), "train"
        )

    def refuse_version(self, claimed: DatasetVersion, where: str) -> None:
        """Raise HdbenchError unless `claimed` is this very dataset."""
        if claimed.model_copy(update={"split": self.version.split}) != self.version:
            raise HdbenchError(
                f"{where}: made for dataset {claimed}, which is unknown here; this hdbench has {self.version}. "
                "Draw the samples again with a model of that version, and without --limit."
            )


def score_key(protocol: str, *, samples_file: str, dataset: DatasetVersion) -> str:
    """Over all that decides the scores under `protocol`: when it changes, they have to be made again.

    Args:
        protocol: Its name.
        samples_file: sha256 of the samples' file.
        dataset: What they are compared with.
    """
    known = get_protocol(protocol)
    return digest(
        {
            "samples": samples_file,
            "dataset": str(dataset),
            "protocol": known.fingerprint(),
            "computed": computed(known),
            "seed": SEED,
        }
    )


def write_samples(folder: Path, samples: SamplePoints) -> None:
    """Write `samples.npz` into an entry's folder; the same samples give the same bytes."""
    with atomic_path(folder / SAMPLES_FILE) as temporary, temporary.open("wb") as stream:
        ids = np.array(samples.ids, dtype=np.str_)
        np.savez(stream, allow_pickle=False, points=samples.points, valid=samples.valid, ids=ids)


def write_scores(folder: Path, samples: SamplePoints, arena: Arena, protocols: Sequence[str]) -> EntryScores:
    """Score the samples whose file stands in an entry's folder, and write scores.json and statistics.npz beside it.

    Every file that stands there by then is recorded with its hash.

    Raises HdbenchError for samples that no protocol can score against the dataset.
    """
    drawn = _point_set(samples)
    file_sha = file_digest(folder / SAMPLES_FILE)
    parts: list[ProtocolScores] = []
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name in protocols:
        scoring = Scoring(
            drawn,
            arena.reference,
            arena.train,
            protocol=get_protocol(name),
            data=arena.version.signature,
            seed=SEED,
            neighbours=NEIGHBOUR_SAMPLES,
        )
        artefact = score(arena.workshop, scoring)
        key = score_key(name, samples_file=file_sha, dataset=arena.version)
        parts.append(ProtocolScores(protocol=name, key=key, scores=read_scores(artefact)[0]))
        arrays |= _nearest_lists(Statistics.load(artefact.folder / "statistics.npz"))
    with atomic_path(folder / STATISTICS_FILE) as temporary:
        Statistics(arrays).save(temporary)
    scored = EntryScores(
        samples=drawn.info,
        reference=arena.reference.info,
        train_count=len(arena.train.ids),
        protocols=parts,
        audit=_audit(drawn, arena),
        files={path.name: file_digest(path) for path in sorted(folder.iterdir()) if path.name not in _UNSEALED},
        provenance=provenance([SEED]),
    )
    write_atomic(folder / SCORES_FILE, document_text(scored))
    return scored


def _point_set(samples: SamplePoints) -> PointSet:
    ids = tuple(name for name, valid in zip(samples.ids, samples.valid, strict=True) if valid)
    invalid = {name: "marked invalid" for name, valid in zip(samples.ids, samples.valid, strict=True) if not valid}
    return PointSet(samples.points[samples.valid], ids, "samples", invalid, is_ours=True)


def _nearest_lists(statistics: Statistics) -> dict[str, npt.NDArray[Any]]:
    """What pairs of entries are compared by, without the rest, which is larger."""
    return {name: array for name, array in statistics.arrays.items() if name.rpartition("/")[2] in _LISTS}


def _audit(samples: PointSet, arena: Arena) -> list[Score]:
    """Novelty of the samples, whatever the board's protocols report; kept in the store."""
    sets = (samples, arena.reference, arena.train)
    inputs = {
        "sets": [entry.info.sha256 for entry in sets],
        "invalid": len(samples.invalid),
        "protocol": get_protocol(AUDIT_PROTOCOL).fingerprint(),
        "data": arena.version.signature,
        "seed": SEED,
    }

    def make(workspace: Path) -> None:
        scores, _ = score_points(
            samples.points,
            arena.reference.points,
            protocol=AUDIT_PROTOCOL,
            metrics=("novelty",),
            data=arena.version.signature,
            invalid_samples=len(samples.invalid),
            train=arena.train.points,
            seed=SEED,
            workers=arena.workshop.workers,
            progress=arena.workshop.progress,
        )
        write_atomic(workspace / "audit.json", json.dumps([entry.model_dump(mode="json") for entry in scores]))

    artefact = arena.workshop.store.get_or_make(Key("leaderboard-audit", AUDIT_VERSION, inputs), make)
    return [Score.model_validate(entry) for entry in json.loads((artefact.folder / "audit.json").read_text("utf-8"))]

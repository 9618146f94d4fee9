"""The same samples under every other protocol: a run's choice of protocol should not decide who looks best.

Chamfer metrics and JSD only, which cost seconds. A stage like those in `stages`.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

from hdbench.evaluation import PointSet
from hdbench.metrics.protocols import PROTOCOLS, Protocol
from hdbench.metrics.scoring import computed, score_points, unscored
from hdbench.progress import Progress
from hdbench.results import Score
from hdbench.stages import Workshop
from hdbench.store import Key, digest, write_atomic

OTHER_SCORES_VERSION = 2


def other_protocols(protocol: Protocol, layout: str) -> tuple[Protocol, ...]:
    """All protocols but `protocol` that score `layout`, "clouds" or "sequences", cut to what is quick to compute."""
    fitting = (other for other in PROTOCOLS.values() if other.layout in ("either", layout) and other != protocol)
    return tuple(replace(other, metrics=_quick_metrics(other)) for other in fitting)


def _quick_metrics(protocol: Protocol) -> tuple[str, ...]:
    return tuple(name for name in protocol.metrics if name.endswith(("_cd", "_cd_samples", "_cd_reference", "jsd")))


def score_under_others(
    workshop: Workshop, samples: PointSet, reference: PointSet, *, protocol: Protocol, data: str, seed: int
) -> list[Score]:
    """Scores of `samples` under `other_protocols`; `data` names the reference in the signatures.

    The points are those of an hdbench run, in the coordinates of the data: nothing is de-normalised.
    """
    layout = "sequences" if reference.points.ndim == 4 else "clouds"
    others = other_protocols(protocol, layout)
    sets = {"samples": samples, "reference": reference}
    inputs = {
        **{role: [entry.info.sha256, entry.invalid] for role, entry in sets.items()},
        "protocols": [[other.name, other.fingerprint(), computed(other)] for other in others],
        "data": data,
        "seed": seed,
    }

    def make(workspace: Path) -> None:
        groups = _alike(others)
        scores = []
        with workshop.progress.task("Scoring under other protocols", len(groups)) as task:
            for alike in groups:
                scores += _scored(workshop, samples, reference, alike, data=data, seed=seed)
                task.advance()
        write_atomic(workspace / "scores.json", json.dumps([score.model_dump(mode="json") for score in scores]))

    made = workshop.store.get_or_make(Key("other-scores", OTHER_SCORES_VERSION, inputs), make)
    scores = [Score.model_validate(entry) for entry in json.loads((made.folder / "scores.json").read_text("utf-8"))]
    order = [other.name for other in others]
    return sorted(scores, key=lambda score: order.index(score.protocol))


def _alike(protocols: Iterable[Protocol]) -> list[list[Protocol]]:
    """Protocols that give the same Chamfer metrics and JSD of points that are in the coordinates of the data."""

    def effect(protocol: Protocol) -> str:
        deciding: list[Any] = [protocol.normalisation, protocol.jsd_normalisation, protocol.point_count]
        return digest([*deciding, protocol.reduction, protocol.distances["cd"], list(protocol.metrics)])

    return [list(group) for _, group in groupby(sorted(protocols, key=effect), key=effect)]


def _scored(
    workshop: Workshop,
    samples: PointSet,
    reference: PointSet,
    alike: Sequence[Protocol],
    *,
    data: str,
    seed: int,
) -> list[Score]:
    """The scores under the first protocol, and the same in the name of the others."""
    first = alike[0]
    if not samples.ids:
        reason = f"none of {len(samples.invalid)} samples is valid"
        counts = {"reference": len(reference.ids), "samples": len(samples.invalid)}
        scores = unscored(first, reason, data=data, **counts)
    else:
        scores, _ = score_points(
            samples.points,
            reference.points,
            protocol=first,
            metrics=first.metrics,
            data=data,
            invalid_samples=len(samples.invalid),
            seed=seed,
            workers=workshop.workers,
            progress=Progress(),  # the set's own scoring has said how many are scored
        )
    return [_in_the_name_of(other, score) for other in alike for score in scores]


def _in_the_name_of(protocol: Protocol, score: Score) -> Score:
    signature = score.signature.replace(f"|protocol:{score.protocol}|", f"|protocol:{protocol.name}|")
    return score.model_copy(update={"protocol": protocol.name, "signature": signature})

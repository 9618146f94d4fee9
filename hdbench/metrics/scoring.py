"""Two point sets and a protocol in, scores and their sufficient statistics out."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hdbench.distances.blocks import refuse_unusable
from hdbench.errors import HdbenchError, unknown_name
from hdbench.geometry.normalisation import Moments, denormalise
from hdbench.metrics.family import (
    DIVERGENCE,
    FEATURES,
    NOVELTY,
    Estimate,
    Family,
    FamilyScores,
    Inputs,
    Metric,
    set_metrics,
)
from hdbench.metrics.nearest import NearestLists
from hdbench.metrics.protocols import Protocol, get_protocol, set_warnings, signature
from hdbench.npz import Npz
from hdbench.progress import Progress
from hdbench.records import Score

Float32 = npt.NDArray[np.float32]

FAMILIES: tuple[Family, ...] = (
    Family("cd", "hdbench.metrics.chamfer:score_chamfer", set_metrics("cd", "CD")),
    Family("emd", "hdbench.metrics.emd:score_emd", set_metrics("emd", "EMD")),
    Family("emd_published", "hdbench.metrics.emd:score_published_emd", set_metrics("emd_published", "EMD (published)")),
    Family("jsd", "hdbench.metrics.divergence:score_divergence", DIVERGENCE),
    Family("features", "hdbench.metrics.frechet:score_features", FEATURES),
    Family("novelty", "hdbench.metrics.novelty:score_novelty", NOVELTY),
)
"""Every family of metrics, in the order of tables."""


@dataclass(frozen=True, eq=False)
class Statistics:
    """What intervals, paired tests and the gate are made from, without the shapes."""

    arrays: Mapping[str, npt.NDArray[Any]]
    """By `protocol/family/name`."""

    def nearest_lists(self, protocol: str, family: str) -> NearestLists | None:
        """The nearest lists of one family (`cd`, `emd`) under one protocol, or None where it was not scored.

        Raises what `NearestLists.from_arrays` raises for arrays that no scoring has written.
        """
        prefix = f"{protocol}/{family}/"
        found = {name.removeprefix(prefix): array for name, array in self.arrays.items() if name.startswith(prefix)}
        return NearestLists.from_arrays(found) if "reference_index" in found else None

    def merged(self, other: "Statistics") -> "Statistics":
        """These and `other`'s arrays together, as of several protocols."""
        return Statistics({**self.arrays, **other.arrays})

    def save(self, path: Path) -> None:
        """Write as npz; the same statistics give the same bytes."""
        with path.open("wb") as stream:
            np.savez_compressed(stream, allow_pickle=False, **self.arrays)

    @classmethod
    def load(cls, path: Path) -> "Statistics":
        """Read what `save` wrote; raises HdbenchError when it is something else."""
        stored = Npz(path)
        try:
            return cls({key: stored[key] for key in stored.members})
        except HdbenchError as error:
            raise HdbenchError(f"{path} holds no statistics ({error}); evaluate again to make it.") from error


def score_points(
    samples: Float32,
    reference: Float32,
    *,
    protocol: Protocol | str,
    seed: int = 0,
    metrics: Sequence[str] | None = None,
    data: str = "",
    invalid_samples: int = 0,
    moments: Moments | None = None,
    train: Float32 | None = None,
    trained_on: str = "",
    extractor: str | None = None,
    backend: str | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> tuple[list[Score], Statistics]:
    """Score `samples` against `reference` under one protocol.

    Args:
        samples: (N, P, 3), or (N, T, P, 3) for sequences; valid shapes only. More than references: the first ones
            are scored, as many as there are references, as every protocol has it.
        reference: (M, P, 3) or (M, T, P, 3).
        protocol: Its name, or the protocol itself.
        seed: Of the choice of points, where shapes have too many, and of the splits behind intervals.
        metrics: Names of metrics or families to compute; None is what the protocol asks for.
        data: Dataset, category and split of the reference, for the signature.
        invalid_samples: Shapes left out of `samples` because they could not be scored; they stay in the count.
        moments: The training split's, where samples of a globally normalised model are to be brought back by them
            (protocols that do not de-normalise ignore them).
        train: The training shapes, in the layout of the others; novelty needs them.
        trained_on: What they are, for the signatures; "" where `data` says it.
        extractor: Name of the feature extractor; None is the published one where it was imported, else the embedded.
        backend: Which code computes Chamfer distances (`hdbench.distances.backends`); None is the exact search.
        workers: Threads; None is one per core. No value depends on it.
        progress: Where to show how far it is.

    Returns:
        The scores in the order of `FAMILIES`, and the statistics they were made from. What cannot be computed has
        the value None and a reason.

    Raises:
        HdbenchError: For empty sets, layouts the protocol does not score, unequal point counts, coordinates that
            are not finite, shapes without extent, and unknown names.
    """
    protocol = get_protocol(protocol) if isinstance(protocol, str) else protocol
    progress = progress or Progress()
    chosen = _choose(protocol, metrics)
    generated = len(samples) + invalid_samples
    samples = _as_many_as_references(samples, len(reference), progress)
    inputs = _prepare(samples, reference, protocol, seed=seed, moments=moments, workers=workers, progress=progress)
    learnt = _prepare_train(train, protocol, seed=seed)
    inputs = replace(inputs, train=learnt, trained_on=trained_on, extractor=extractor, backend=backend)
    facts = {
        "points": inputs.samples.shape[-2],
        "reference": len(reference),
        "samples": min(generated, max(len(reference), len(samples))),
    }
    doubts = set_warnings(protocol, **facts | {"samples": len(samples)})
    scores: list[Score] = []
    arrays: dict[str, npt.NDArray[Any]] = {}
    for family, wanted in chosen:
        result = _function(family)(inputs)
        arrays |= {f"{protocol.name}/{family.name}/{name}": array for name, array in result.arrays.items()}
        for metric in wanted:
            line = signature(
                metric.name,
                protocol,
                distance=result.distance,
                interval=result.interval_method,
                extra=result.facts,
                warnings=(*doubts, *result.warnings),
                data=data,
                moments=moments,
                **facts,
            )
            scores.append(_score(metric, result, protocol, line))
    return scores, Statistics(arrays)


def unscored(protocol: Protocol, reason: str, *, data: str = "", reference: int, samples: int) -> list[Score]:
    """The metrics of `protocol` without values, for a sample set of which nothing can be scored."""
    return [
        Score(
            protocol=protocol.name,
            metric=metric.name,
            value=None,
            target=metric.target,
            unit=metric.unit,
            signature=signature(
                metric.name,
                protocol,
                distance=protocol.distances.get(family.name, family.name),
                points=protocol.point_count,
                reference=reference,
                samples=samples,
                data=data,
            ),
            reason=reason,
        )
        for family, wanted in _choose(protocol, None)
        for metric in wanted
    ]


def computed(protocol: Protocol) -> list[list[Any]]:
    """JSON of what `protocol` has computed: families with their versions and metrics."""
    return [
        [family.name, family.version, [metric.name for metric in wanted]] for family, wanted in _choose(protocol, None)
    ]


def metric_named(name: str) -> Metric:
    """The metric called `name`; raises HdbenchError with the nearest known name."""
    known = {metric.name: metric for family in FAMILIES for metric in family.metrics}
    if name not in known:
        raise unknown_name("metric", name, known)
    return known[name]


def _choose(protocol: Protocol, metrics: Sequence[str] | None) -> list[tuple[Family, list[Metric]]]:
    wanted = set(protocol.metrics if metrics is None else metrics)
    if metrics is not None:
        for name in wanted - {family.name for family in FAMILIES}:
            metric_named(name)
    chosen = [
        (family, [metric for metric in family.metrics if metric.name in wanted or family.name in wanted])
        for family in FAMILIES
    ]
    return [(family, of_family) for family, of_family in chosen if of_family]


def _as_many_as_references(samples: Float32, count: int, progress: Progress) -> Float32:
    if len(samples) > count > 0:
        progress.say(f"Scoring the first {count} of {len(samples)} samples: as many as references.")
    return samples[:count] if count else samples


def _prepare(
    samples: Float32,
    reference: Float32,
    protocol: Protocol,
    *,
    seed: int,
    moments: Moments | None,
    workers: int | None,
    progress: Progress,
) -> Inputs:
    reduced = []
    for role, points in (("samples", samples), ("reference", reference)):
        if not len(points):
            raise HdbenchError(f"{role}: there is no shape to score.")
        kept = protocol.reduce(points, seed=seed, role=role)
        refuse_unusable(kept, role)
        reduced.append(kept)
    raw_samples, raw_reference = reduced
    if raw_samples.shape[1:] != raw_reference.shape[1:]:
        raise HdbenchError(
            f"Samples have {_layout(raw_samples)} per shape, the reference {_layout(raw_reference)}; protocol "
            f"{protocol.name} compares equal ones. {_mend(raw_samples, raw_reference, protocol)}"
        )
    if moments is not None and protocol.denormalises:
        raw_samples = denormalise(raw_samples, moments)
    return Inputs(
        protocol=protocol,
        samples=_normalised(raw_samples, protocol, "samples"),
        reference=_normalised(raw_reference, protocol, "reference"),
        raw_samples=raw_samples,
        raw_reference=raw_reference,
        seed=seed,
        workers=workers,
        progress=progress,
    )


def _prepare_train(train: Float32 | None, protocol: Protocol, *, seed: int) -> Float32 | None:
    if train is None or not len(train):
        return None
    kept = protocol.reduce(train, seed=seed, role="train")
    refuse_unusable(kept, "train")
    return _normalised(kept, protocol, "train")


def _normalised(points: Float32, protocol: Protocol, role: str) -> Float32:
    try:
        return protocol.normalise(points)
    except HdbenchError as error:
        raise HdbenchError(f"{role}: {error}") from error


def _mend(samples: Float32, reference: Float32, protocol: Protocol) -> str:
    """What makes the layouts of two sets equal."""
    if samples.ndim != reference.ndim:
        return "Give both as sequences, or both as single shapes."
    frames = ["the same number of frames"] if samples.shape[1:-2] != reference.shape[1:-2] else []
    points = [f"at least {protocol.point_count} points"] if samples.shape[-2] != reference.shape[-2] else []
    return f"Give both {' and '.join(frames + points)}."


def _layout(points: Float32) -> str:
    frames = f"{points.shape[1]} frames of " if points.ndim == 4 else ""
    return f"{frames}{points.shape[-2]} points"


def _function(family: Family) -> Callable[[Inputs], FamilyScores]:
    module, _, name = family.function.partition(":")
    return getattr(importlib.import_module(module), name)


def _score(metric: Metric, result: FamilyScores, protocol: Protocol, line: str) -> Score:
    estimate = result.estimates.get(metric.name, Estimate(None, reason="not computed"))
    unit = metric.unit
    if unit == "distance":
        unit = "squared length" if result.distance.endswith("_sq") else "length"
    return Score(
        protocol=protocol.name,
        metric=metric.name,
        value=estimate.value,
        interval=estimate.interval,
        target=metric.target,
        unit=unit,
        signature=line,
        reason=estimate.reason,
    )

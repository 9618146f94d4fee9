"""Protocols: exactly how finished shapes become numbers, one per paper whose table it reproduces.

A protocol is frozen data. It acts on finished shapes only; whatever makes shapes (isosurface resolution and level,
over-generation, de-duplication of weights) is recipe, and stands here as text because it moves published numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from hdbench.errors import HdbenchError, unknown_name
from hdbench.geometry.normalisation import (
    Moments,
    bounding_box,
    centred_frames,
    denormalise,
    unit_deviation,
    unit_deviation_uncentred,
)
from hdbench.geometry.sampling import Reduction
from hdbench.seeds import generator

Float32 = npt.NDArray[np.float32]
Layout = Literal["clouds", "sequences", "either"]
Normalisation = Literal[
    "none", "unit-deviation", "unit-deviation-uncentred", "bounding-box", "half-bounding-box", "centred-frames"
]

SIGNATURE_VERSION = 1
"""Raised whenever the same shapes get another value under the same protocol; part of every signature."""

_TOLD = ("title", "source", "table_scale", "sample_count", "selection", "reference", "quirks", "reference_splits")
"""Fields of a protocol that explain it and change no value."""

_SET_METRICS = ("mmd_{}", "mmd_{}_samples", "cov_{}", "nna_{}", "nna_{}_samples", "nna_{}_reference")
_CD = tuple(name.format("cd") for name in _SET_METRICS)
_EMD = tuple(name.format("emd") for name in _SET_METRICS)
_FEATURES = ("fpd", "kpd")
_NOVELTY = ("novelty_ratio", "novelty_p", "near_copies", "duplicates")


@dataclass(frozen=True)
class Protocol:
    """How shapes become numbers."""

    name: str
    title: str
    source: str
    """The paper and where its procedure was read."""
    layout: Layout
    normalisation: Normalisation
    """Of each shape before distances; see `hdbench.geometry.normalisation`."""
    denormalises: bool
    """Samples are first brought back by the training split's moments, when those are given."""
    point_count: int
    reduction: Reduction
    """Which points are kept of shapes that have more: the first ones, or a choice seeded per shape."""
    distances: Mapping[str, str]
    """Convention by family: `cd`, `emd` (exact) and `emd_published` (the paper's approximation)."""
    metrics: tuple[str, ...]
    """What is computed unless asked otherwise."""
    jsd_normalisation: Normalisation | None
    """Of the points that are counted in the 28^3 grid; None where the protocol has no JSD."""
    table_scale: Mapping[str, float]
    """What the paper's table multiplies a metric by; metrics not named are printed as they are."""
    sample_count: str
    selection: str
    """How the published samples were chosen among those generated (a matter of recipes, told for fairness)."""
    reference: str
    quirks: tuple[str, ...] = field(default=())
    reference_splits: Mapping[str, Literal["train", "val", "test"]] = field(default_factory=dict)
    """By dataset, the split to compare with where that is not the test split."""

    def fingerprint(self) -> dict[str, Any]:
        """JSON that changes whenever the protocol, or the code behind its values, does; what is only told stays out."""
        plain = {name: dict(value) if isinstance(value, Mapping) else value for name, value in vars(self).items()}
        deciding = {name: value for name, value in plain.items() if name not in _TOLD}
        return deciding | {"signature_version": SIGNATURE_VERSION}

    def reduce(self, points: Float32, *, seed: int, role: str) -> Float32:
        """At most `point_count` points of each shape of `points` (N, P, 3) or (N, T, P, 3).

        A sequence keeps the same points in all its frames. Raises HdbenchError for a layout the protocol does not
        know (clouds where it wants sequences, or the other way round).
        """
        self._refuse_layout(points, role)
        available = points.shape[-2]
        if available <= self.point_count:
            return np.asarray(points, np.float32)
        if self.reduction == "first":
            return np.asarray(points[..., : self.point_count, :], np.float32)
        chosen = (
            np.sort(generator(seed, "reduce", role, index).choice(available, self.point_count, replace=False))
            for index in range(len(points))
        )
        rows = [np.asarray(shape[..., kept, :], np.float32) for shape, kept in zip(points, chosen, strict=True)]
        return np.stack(rows) if rows else np.asarray(points[..., : self.point_count, :], np.float32)

    def normalise(self, points: Float32, *, moments: Moments | None = None) -> Float32:
        """`points` as distances are taken of them; `moments` are given for samples only (see `denormalises`)."""
        if moments is not None and self.denormalises:
            points = denormalise(points, moments)
        return normalise(points, self.normalisation)

    def scale(self, metric: str) -> float:
        """The factor of the paper's table for `metric`; the published EMD has that of the exact one."""
        return self.table_scale.get(metric.replace("_published", ""), 1.0)

    def _refuse_layout(self, points: Float32, role: str) -> None:
        given = {3: "clouds", 4: "sequences"}.get(points.ndim)
        if given is None or points.shape[-1] != 3:
            raise HdbenchError(f"{role}: expected points (N, P, 3) or sequences (N, T, P, 3), got {points.shape}.")
        self.refuse_layout(given, role)

    def refuse_layout(self, given: str, role: str) -> None:
        """Raise HdbenchError unless the protocol scores `given`, "clouds" or "sequences"."""
        if self.layout not in ("either", given):
            fitting = ", ".join(name for name, other in PROTOCOLS.items() if other.layout in ("either", given))
            raise HdbenchError(f"{role}: protocol {self.name} scores {self.layout}, not {given}; use {fitting}.")


def normalise(points: Float32, how: Normalisation) -> Float32:
    """`points` (N, P, 3) or (N, T, P, 3) normalised by name."""
    if how == "unit-deviation":
        return unit_deviation(points)
    if how == "unit-deviation-uncentred":
        return unit_deviation_uncentred(points)
    if how == "bounding-box":
        return bounding_box(points)
    if how == "half-bounding-box":
        return bounding_box(points, half_extent=0.5)
    if how == "centred-frames":
        return centred_frames(points)
    return np.asarray(points, np.float32)


def usual_protocol(layout: str) -> str:
    """The protocol of those who ask for none, by layout ("clouds" or "sequences")."""
    return "hyperdiffusion-4d" if layout == "sequences" else "hyperdiffusion"


def get_protocol(name: str) -> Protocol:
    """The protocol called `name`; raises HdbenchError with the nearest known name."""
    if name not in PROTOCOLS:
        raise unknown_name("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]


def signature(
    metric: str,
    protocol: Protocol,
    *,
    distance: str,
    points: int,
    reference: int,
    samples: int,
    data: str = "",
    moments: Moments | None = None,
    interval: str = "",
    extra: Mapping[str, str] = MappingProxyType({}),
    warnings: Sequence[str] = (),
) -> str:
    """Everything that decides a value, in one line: `metric|key:value|…`, always in the same order.

    Args:
        metric: Name of the value.
        protocol: Under which it was made.
        distance: Convention of the distance, or of whatever takes its place (a histogram, a feature extractor).
        points: Per shape (and frame).
        reference: Shapes in the reference set.
        samples: Shapes in the sample set, those that could not be scored included.
        data: Dataset, category and split of the reference, when known.
        moments: The training split's, where samples were de-normalised with them; three digits of each figure are said.
        interval: How the interval was made.
        extra: Further facts of the metric's family.
        warnings: What a reader must know: too few samples, fewer points than the protocol asks for.
    """
    normalisation: str = protocol.normalisation
    if moments is not None and protocol.denormalises:
        figures = " ".join(f"{figure:.3g}" for figure in (*moments.mean, moments.deviation))
        normalisation += f"+moments({figures})"
    facts = {
        "protocol": protocol.name,
        "distance": distance,
        "normalisation": normalisation,
        "points": str(points),
        "reference": str(reference),
        "samples": str(samples),
        "data": data,
        **extra,
        "interval": interval,
        "warning": "+".join(warnings),
        "version": str(SIGNATURE_VERSION),
    }
    clean = {key: value.replace("|", "/") for key, value in facts.items() if value}
    return "|".join([metric, *(f"{key}:{value}" for key, value in clean.items())])


def set_warnings(protocol: Protocol, *, points: int, reference: int, samples: int) -> tuple[str, ...]:
    """What the sizes of the sets make doubtful, in the words that signatures use."""
    doubts = {
        f"fewer-points-than-{protocol.point_count}": points < protocol.point_count,
        "fewer-samples-than-reference": samples < reference,
        "fewer-than-30-shapes": min(samples, reference) < 30,
    }
    return tuple(words for words, doubtful in doubts.items() if doubtful)


_HYPERDIFFUSION_PAPER = "Erkoç, Ma, Shan, Nießner, Dai: HyperDiffusion (ICCV 2023)"
_PERCENT = dict.fromkeys(("cov_cd", "nna_cd", "cov_emd", "nna_emd"), 100.0)
_CD_SUM = "Chamfer distance is squared, averaged per direction, directions summed."
_VAL = "PC15k val split: airplane 405, car 352, chair 662."
_ON_VAL: Mapping[str, Literal["train", "val", "test"]] = MappingProxyType({"pointflow15k": "val"})
_FIRST_2048 = "Reference points are the first 2,048 of the last 5,000 stored ones."

PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        protocol.name: protocol
        for protocol in (
            Protocol(
                name="hyperdiffusion",
                title="HyperDiffusion, 3D",
                source=f"{_HYPERDIFFUSION_PAPER}, evaluation code of its repository",
                layout="clouds",
                normalisation="unit-deviation-uncentred",
                denormalises=False,
                point_count=2048,
                reduction="random",
                distances=MappingProxyType({"cd": "cd_sq"}),
                metrics=(*_CD, *_FEATURES),
                jsd_normalisation=None,
                table_scale=MappingProxyType({**_PERCENT, "mmd_cd": 100.0, "mmd_cd_samples": 100.0}),
                sample_count="as many as references (1.1 times as many generated, empty ones dropped, the rest cut)",
                selection="chairs: of twice as many, those whose weights lie farthest from their nearest neighbour",
                reference="own random test split, 15 %: airplane 606; the lists of cars and chairs are unpublished",
                quirks=(
                    _CD_SUM,
                    "Scale is the deviation of the uncentred coordinates (ddof 1): not translation-invariant.",
                    "EMD is a stub that returns zeros; the paper reports none.",
                    "FPD samples its farthest points from a random start; hdbench starts at index 0.",
                    "The published isosurface grid is sheared by up to one voxel (a matter of recipes).",
                ),
            ),
            Protocol(
                name="hyperdiffusion-4d",
                title="HyperDiffusion, 4D",
                source=f"{_HYPERDIFFUSION_PAPER}, evaluation code of its repository",
                layout="sequences",
                normalisation="centred-frames",
                denormalises=False,
                point_count=2048,
                reduction="random",
                distances=MappingProxyType({"cd": "cd_sq"}),
                metrics=_CD,
                jsd_normalisation=None,
                table_scale=MappingProxyType(_PERCENT),
                sample_count="as many as references",
                selection="none",
                reference="test animations, 2,048 points of each of 16 frames, sampled anew for each evaluation",
                quirks=(
                    _CD_SUM,
                    "A pair's distance is the mean over index-aligned frames.",
                    "Every frame is centred on its own points: motion of the whole body is not seen.",
                    "The original turns an empty frame into zeros; hdbench counts the shape as invalid.",
                ),
            ),
            Protocol(
                name="dpc",
                title="DPC",
                source="Luo, Hu: Diffusion Probabilistic Models for 3D Point Cloud Generation (CVPR 2021), test_gen",
                layout="clouds",
                normalisation="bounding-box",
                denormalises=False,
                point_count=2048,
                reduction="random",
                distances=MappingProxyType({"cd": "cd_sq", "emd": "emd_l2", "emd_published": "emd_approxmatch_l2"}),
                metrics=(*_CD, *_EMD, "jsd"),
                jsd_normalisation="bounding-box",
                table_scale=MappingProxyType(
                    {**_PERCENT, "mmd_cd": 1000.0, "mmd_cd_samples": 1000.0, "mmd_emd": 10.0, "mmd_emd_samples": 10.0}
                ),
                sample_count="as many as references",
                selection="none",
                reference="test split of its own ShapeNet file: airplane 607, car 528, chair 989",
                quirks=(
                    _CD_SUM,
                    "The released code's EMD is a stub; the published one is the nine-round approximation.",
                    "JSD counts points of [-1, 1] in a grid of radius 0.5: most saturate on its border.",
                ),
            ),
            Protocol(
                name="pvd",
                title="PVD",
                source="Zhou, Du, Wu: 3D Shape Generation and Completion through Point-Voxel Diffusion (ICCV 2021)",
                layout="clouds",
                normalisation="none",
                denormalises=True,
                point_count=2048,
                reduction="first",
                distances=MappingProxyType({"cd": "cd_sq", "emd": "emd_sq", "emd_published": "emd_approxmatch_sq"}),
                metrics=(*_CD, *_EMD, "jsd"),
                jsd_normalisation="none",
                table_scale=MappingProxyType(_PERCENT),
                sample_count="as many as references",
                selection="none",
                reference=_VAL,
                reference_splits=_ON_VAL,
                quirks=(_CD_SUM, _FIRST_2048, "The published EMD approximation sums squared distances, in ten rounds."),
            ),
            Protocol(
                name="pointflow",
                title="PointFlow",
                source="Yang et al.: PointFlow (ICCV 2019), evaluation code of its repository",
                layout="clouds",
                normalisation="none",
                denormalises=True,
                point_count=2048,
                reduction="first",
                distances=MappingProxyType({"cd": "cd_sq", "emd": "emd_l2", "emd_published": "emd_approxmatch_l2"}),
                metrics=(*_CD, *_EMD, "jsd"),
                jsd_normalisation="none",
                table_scale=MappingProxyType(_PERCENT),
                sample_count="as many as references",
                selection="none",
                reference=_VAL,
                reference_splits=_ON_VAL,
                quirks=(
                    _CD_SUM,
                    _FIRST_2048,
                    "The published EMD approximation leaves 0.5 to 2 % of the mass unmatched.",
                ),
            ),
            Protocol(
                name="lion",
                title="LION",
                source="Zeng et al.: LION (NeurIPS 2022), evaluation code of its repository",
                layout="clouds",
                normalisation="none",
                denormalises=True,
                point_count=2048,
                reduction="first",
                distances=MappingProxyType({"cd": "cd_sq", "emd": "emd_sq", "emd_published": "emd_approxmatch_sq"}),
                metrics=(*_CD, *_EMD, "jsd"),
                jsd_normalisation="none",
                table_scale=MappingProxyType(_PERCENT),
                sample_count="as many as references",
                selection="none",
                reference=f"{_VAL} Its stored points come from the first 10,000 of each shape, not the last 5,000.",
                reference_splits=_ON_VAL,
                quirks=(_CD_SUM, "Other reference points than PVD's: its numbers are not strictly comparable."),
            ),
            Protocol(
                name="lion-box",
                title="LION, per-shape box",
                source="Zeng et al.: LION (NeurIPS 2022), `norm_box` of its evaluation code",
                layout="clouds",
                normalisation="half-bounding-box",
                denormalises=False,
                point_count=2048,
                reduction="first",
                distances=MappingProxyType({"cd": "cd_sq", "emd": "emd_sq", "emd_published": "emd_approxmatch_sq"}),
                metrics=(*_CD, *_EMD, "jsd"),
                jsd_normalisation="half-bounding-box",
                table_scale=MappingProxyType(_PERCENT),
                sample_count="as many as references",
                selection="none",
                reference=_VAL,
                reference_splits=_ON_VAL,
                quirks=(_CD_SUM, "Each shape fills the box [-0.5, 0.5] along its longest side."),
            ),
            Protocol(
                name="hdbench",
                title="hdbench",
                source="this project: deterministic, invariant under translation and scale, exact distances",
                layout="either",
                normalisation="unit-deviation",
                denormalises=False,
                point_count=2048,
                reduction="random",
                distances=MappingProxyType({"cd": "cd_sq", "emd": "emd_l2"}),
                metrics=(*_CD, *_EMD, "jsd", *_FEATURES, *_NOVELTY),
                jsd_normalisation="half-bounding-box",
                table_scale=MappingProxyType(_PERCENT),
                sample_count="as many as references",
                selection="none",
                reference="the dataset's test split",
                quirks=(_CD_SUM, "A sequence is centred and scaled as a whole, so that its motion counts."),
            ),
        )
    }
)

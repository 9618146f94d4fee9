"""Novelty: does a model make new shapes, or does it repeat those it learnt from?

A copy of the training set passes every test of quality. What tells it is the comparison with the references: real
shapes the model has never seen, which lie as far from the training shapes as honest samples should.

- `novelty_ratio`: distance to the nearest training shape over distance to the nearest reference, median over the
  samples, divided by the same median over the references themselves (nearest other reference). So the sizes of the
  sets, and how real shapes crowd, cancel: 1 for samples as new as unseen real shapes are, near 0 for copies.
- `novelty_p`: the p-value of "training and reference shapes are interchangeable to the model". Every sample votes
  for the nearest shape of the union; the votes for training shapes are compared with those when the names
  "training" and "reference" are dealt out at random. Valid whatever the quality of the samples and however they
  crowd: a model that repeats a few modes is not accused of copying, one that repeats training shapes is.
- `near_copies`: share of samples nearer to a training shape than 95 % of the references are, in units of that
  shape's sampling floor (how far two draws of points from one surface lie apart). Honest samples have about 5 %. Of
  procedural training shapes whose 2,048 points were drawn anew, 87 % of airplanes, 78 % of chairs and 37 % of cars
  (alike almost to within the floor) are counted; of exact copies all.
- `duplicates`: share of samples nearer to another sample than 95 % of the references are to another reference, in
  units of their own floors. Honest samples have about 5 % again, or a little more in small sets.

All distances are `cd_sq` under the protocol's normalisation. Training and reference shapes must come from one
random split for the comparison to be fair.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from hdbench.distances.chamfer import cd_sq
from hdbench.distances.search import cd_sq_nearest
from hdbench.metrics.chamfer import lists_of
from hdbench.metrics.family import NOVELTY, Estimate, FamilyScores, Inputs
from hdbench.metrics.nearest import NearestLists
from hdbench.metrics.uncertainty import (
    METHOD,
    SMALLEST_SET,
    SPLITS,
    deviation_by_halves,
    distance_interval,
    fraction_interval,
)
from hdbench.seeds import generator

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
Bool = npt.NDArray[np.bool_]
Interval = tuple[float, float]

DISTANCE = "cd_sq"
TAIL = 0.05
"""Share of the real shapes that count as lying suspiciously near."""
PERMUTATIONS = 9999
"""Behind `novelty_p`, whose smallest value is one in ten thousand."""

_COPY = 1e-30
"""Distances below this are those of exact copies; it keeps their ratios finite."""


def score_novelty(inputs: Inputs) -> FamilyScores:
    """`novelty_ratio`, `novelty_p`, `near_copies` and `duplicates`."""
    counts = len(inputs.reference), len(inputs.samples)
    if min(counts) < 2:
        return FamilyScores(_none("each set needs at least two shapes"), DISTANCE)
    lists = lists_of(inputs)
    floors = sampling_floors(inputs.reference), sampling_floors(inputs.samples)
    shares = {"duplicates": duplicates(lists, *floors)}
    signed = {"backend": inputs.backend} if inputs.backend else {}
    if inputs.train is None:
        lacking = _none("needs the training shapes (--train)")
        return FamilyScores(lacking | _estimates(shares, counts[1]), DISTANCE, facts=signed)
    training = _training_neighbours(inputs, inputs.train)
    shares["near_copies"] = near_copies(training)
    ratio, sure = novelty_ratio(lists, training), min(counts) >= SMALLEST_SET
    interval = ratio_interval(lists, training, seed=inputs.seed) if sure else None
    reason = None if sure else f"no interval: a set has fewer than {SMALLEST_SET} shapes"
    trained_on = f"{training.train_count}{f'@{inputs.trained_on}' if inputs.trained_on else ''}"
    return FamilyScores(
        {
            "novelty_ratio": Estimate(ratio, interval, reason),
            "novelty_p": Estimate(novelty_p(lists, training, seed=inputs.seed)),
            **_estimates(shares, counts[1]),
        },
        DISTANCE,
        interval_method=METHOD if sure else "",
        facts={"train": trained_on} | signed,
        arrays=training.arrays(),
    )


@dataclass(frozen=True, eq=False)
class TrainingNeighbours:
    """The nearest of T training shapes of each of R references and S samples."""

    train_count: int
    """T."""
    reference_index: Int32
    """(R,)."""
    reference_distance: Float64
    """(R,)."""
    reference_floor: Float64
    """(R,): sampling floors of the training shapes named."""
    sample_index: Int32
    """(S,)."""
    sample_distance: Float64
    """(S,)."""
    sample_floor: Float64
    """(S,)."""

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """As plain arrays by name, for npz."""
        return {f"train_{field.name}": np.asarray(getattr(self, field.name)) for field in fields(self)}


def novelty_ratio(lists: NearestLists, training: TrainingNeighbours) -> float:
    """How much nearer samples lie to training shapes than unseen real shapes do; see the module."""
    everything = np.ones(lists.reference_count, np.bool_), np.ones(lists.sample_count, np.bool_)
    return _ratio(lists, training, *everything)


def novelty_p(
    lists: NearestLists, training: TrainingNeighbours, *, seed: int, permutations: int = PERMUTATIONS
) -> float:
    """The one-sided p-value of the permutation test: small when samples keep to the training shapes."""
    of_samples = slice(lists.reference_count, None)
    to_reference, to_training = lists.reference_distance[of_samples, 0], training.sample_distance
    # Candidates are numbered training shapes first. A tie is half a vote for either side whatever the names.
    candidates = np.where(
        to_training < to_reference, training.sample_index, training.train_count + lists.reference_index[of_samples, 0]
    )
    chosen, votes = np.unique(candidates[to_training != to_reference], return_counts=True)
    observed = votes[chosen < training.train_count].sum()
    rng = generator(seed, "novelty", "permutations")
    candidate_count = training.train_count + lists.reference_count
    as_extreme = 0
    for _ in range(permutations):
        named_training = rng.permutation(candidate_count)[: len(chosen)] < training.train_count
        as_extreme += int(votes[named_training].sum() >= observed)
    return (1 + as_extreme) / (1 + permutations)


def near_copies(training: TrainingNeighbours) -> float:
    """Share of samples nearer to a training shape, in its floors, than all but `TAIL` of the references are."""
    return _share_within(
        training.sample_distance / training.sample_floor, training.reference_distance / training.reference_floor
    )


def duplicates(lists: NearestLists, reference_floor: Float64, sample_floor: Float64) -> float:
    """Share of samples nearer to another sample than all but `TAIL` of the references are to another reference.

    Distances are in units of each shape's own sampling floor, (R,) and (S,).
    """
    count = lists.reference_count
    return _share_within(
        lists.sample_distance[count:, 0] / sample_floor, lists.reference_distance[:count, 0] / reference_floor
    )


def sampling_floors(points: Float32) -> Float64:
    """How far, by `cd_sq`, two draws of points from each shape's surface would lie apart; (N, P, 3) or (N, T, P, 3).

    Half the distance between every other point and the rest: squared distances between points of a surface fall with
    their number.
    """
    if points.shape[-2] < 2:
        return np.full(len(points), _COPY)
    floors = [cd_sq(shape[..., ::2, :], shape[..., 1::2, :]) / 2 for shape in points]
    return np.maximum(floors, _COPY)


def ratio_interval(lists: NearestLists, training: TrainingNeighbours, *, seed: int, splits: int = SPLITS) -> Interval:
    """The 95 % interval of `novelty_ratio` over the samples and references that might have been drawn."""
    counts = lists.reference_count, lists.sample_count

    def values(references: Bool, samples: Bool) -> Float64:
        return np.array([_ratio(lists, training, i, j) for i, j in zip(references, samples, strict=True)])

    deviation = deviation_by_halves(values, counts, seed=seed, splits=splits)
    return distance_interval(novelty_ratio(lists, training), deviation)


def _ratio(lists: NearestLists, training: TrainingNeighbours, references: Bool, samples: Bool) -> float:
    """`novelty_ratio` of subsets of the references (R,) and samples (S,)."""
    members = np.concatenate([references, samples])
    index, distance = lists.reference_index[members], lists.reference_distance[members]
    present = references[index] & (index >= 0)
    # A list without any member of a half (once in 2^length) stands with its last entry, a lower bound.
    first = np.where(present.any(axis=1), present.argmax(axis=1), index.shape[1] - 1)
    to_reference = np.take_along_axis(distance, first[:, None], axis=1)[:, 0]
    to_training = np.concatenate([training.reference_distance[references], training.sample_distance[samples]])
    logarithms = np.log(np.maximum(to_training, _COPY)) - np.log(np.maximum(to_reference, _COPY))
    count = int(references.sum())
    return float(np.exp(np.median(logarithms[count:]) - np.median(logarithms[:count])))


def _share_within(distances: Float64, real: Float64) -> float:
    """Share of `distances` no larger than the `TAIL` quantile of the real ones."""
    return float((distances <= np.quantile(real, TAIL, method="lower")).mean())


def _training_neighbours(inputs: Inputs, train: Float32) -> TrainingNeighbours:
    points = np.concatenate([train, inputs.reference, inputs.samples])
    found = cd_sq_nearest(
        points,
        first_group=len(train),
        length=1,
        only_second_in_first=True,
        workers=inputs.workers,
        progress=inputs.progress,
    )
    index, distance = found.members[len(train) :, 0, 0], found.distances[len(train) :, 0, 0]
    named, positions = np.unique(index, return_inverse=True)
    floor = sampling_floors(train[named])[positions]
    count = len(inputs.reference)
    return TrainingNeighbours(
        train_count=len(train),
        reference_index=index[:count],
        reference_distance=distance[:count],
        reference_floor=floor[:count],
        sample_index=index[count:],
        sample_distance=distance[count:],
        sample_floor=floor[count:],
    )


def _estimates(shares: Mapping[str, float], samples: int) -> dict[str, Estimate]:
    """Shares of the samples with intervals; the thresholds they stand on are taken as given."""
    return {name: Estimate(share, fraction_interval(share, 0.0, count=samples)) for name, share in shares.items()}


def _none(reason: str) -> dict[str, Estimate]:
    return {metric.name: Estimate(None, reason=reason) for metric in NOVELTY}

"""What a dataset is: named shapes in splits, with occupancy where they are solids."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from functools import cached_property
from hashlib import sha256
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from hdbench.errors import HdbenchError
from hdbench.geometry.normalisation import Moments
from hdbench.geometry.sampling import Reduction, shape_points
from hdbench.shapes import Bool, Float32, Kind, Shape

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


class Dataset(ABC):
    """Shapes of one category. Coordinates are the dataset's own (frame: +Y up, -Z front)."""

    name: str
    """Which dataset, as in `--dataset`."""
    category: str
    kind: Kind
    skipped: Mapping[str, str]
    """Reason by file name, for what was there but could not be read."""
    credits: Mapping[str, str] = {}
    """Title, author, licence and address in one line, by shape, where each has its own."""
    natural_count: int | None = None
    """How many of the test split a run compares with, where that has more than one would want; None: all."""
    reference_split: Split = "test"
    """The split whose shapes `ids("test")` names: what samples are compared with, and no method sees."""
    reduction: Reduction = "random"
    """Which points are compared of clouds that have more than needed."""

    @property
    def is_at_hand(self) -> bool:
        """Whether `shape` takes a few milliseconds, so that reading hundreds is not worth a pool of processes."""
        return False

    @abstractmethod
    def ids(self, split: Split) -> tuple[str, ...]:
        """Names of the shapes of one split, in a fixed order."""

    @abstractmethod
    def shape(self, name: str) -> Shape:
        """The shape called `name`."""

    def reference_shape(self, name: str) -> Shape:
        """What samples are compared with for the shape called `name`: its published points, where there are any."""
        return self.shape(name)

    def moments(self) -> Moments | None:
        """What the dataset's own publication normalises all shapes by; None where it does not."""
        return None

    @abstractmethod
    def occupancy(self, name: str, points: Float32, *, frame: int = 0) -> Bool:
        """Which of `points` (P, 3) lie inside the shape called `name`; points in the shape's own coordinates.

        Of a sequence, inside its frame number `frame`. Raises HdbenchError for shapes that enclose nothing (point
        clouds).
        """

    @abstractmethod
    def fingerprint(self) -> dict[str, Any]:
        """JSON that changes whenever any shape or split does: what the artefacts made from them are keyed by."""

    def fresh(self, count: int, seed: int) -> list[tuple[str, Shape]] | None:
        """`count` shapes that stand in no split, or None where there is no more than the splits hold."""
        return None


class _Wrapped(Dataset):
    """Another dataset seen through a restriction."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self.name, self.category, self.kind = dataset.name, dataset.category, dataset.kind
        self.skipped, self.natural_count = dataset.skipped, dataset.natural_count
        self.credits = dataset.credits
        self.reference_split, self.reduction = dataset.reference_split, dataset.reduction

    @property
    def is_at_hand(self) -> bool:
        """See `Dataset.is_at_hand`."""
        return self._dataset.is_at_hand

    def ids(self, split: Split) -> tuple[str, ...]:
        return self._dataset.ids(split)

    def shape(self, name: str) -> Shape:
        return self._dataset.shape(name)

    def reference_shape(self, name: str) -> Shape:
        """See `Dataset.reference_shape`."""
        return self._dataset.reference_shape(name)

    def moments(self) -> Moments | None:
        """See `Dataset.moments`."""
        return self._dataset.moments()

    def occupancy(self, name: str, points: Float32, *, frame: int = 0) -> Bool:
        return self._dataset.occupancy(name, points, frame=frame)

    def fingerprint(self) -> dict[str, Any]:
        return self._dataset.fingerprint()

    def fresh(self, count: int, seed: int) -> list[tuple[str, Shape]] | None:
        return self._dataset.fresh(count, seed)


class LearningView(_Wrapped):
    """A dataset without its test split: what a method sees. Asking for more is a bug in the method."""

    def ids(self, split: Split) -> tuple[str, ...]:
        """See `Dataset.ids`; the test split is refused."""
        if split == "test":
            raise RuntimeError("a method may not see the test split; only a control may ask for it")
        return super().ids(split)

    def shape(self, name: str) -> Shape:
        """See `Dataset.shape`; shapes of the test split are refused."""
        return super().shape(self._allowed(name))

    def reference_shape(self, name: str) -> Shape:
        """See `Dataset.reference_shape`; shapes of the test split are refused."""
        return super().reference_shape(self._allowed(name))

    def occupancy(self, name: str, points: Float32, *, frame: int = 0) -> Bool:
        """See `Dataset.occupancy`; shapes of the test split are refused."""
        return super().occupancy(self._allowed(name), points, frame=frame)

    def fresh(self, count: int, seed: int) -> list[tuple[str, Shape]] | None:
        """Nothing: fresh shapes are for controls."""
        return None

    def _allowed(self, name: str) -> str:
        if name in self._hidden:
            raise RuntimeError(f"a method may not see {name}, which is in the test split")
        return name

    @cached_property
    def _hidden(self) -> frozenset[str]:
        return frozenset(self._dataset.ids("test"))


class Limited(_Wrapped):
    """At most `limit` shapes of each split of a dataset, for a quick try."""

    def __init__(self, dataset: Dataset, limit: int) -> None:
        super().__init__(dataset)
        self._limit = limit

    def ids(self, split: Split) -> tuple[str, ...]:
        """See `Dataset.ids`."""
        return super().ids(split)[: self._limit]

    def fingerprint(self) -> dict[str, Any]:
        """See `Dataset.fingerprint`."""
        return {**super().fingerprint(), "limit": self._limit}


class Referenced(_Wrapped):
    """A dataset of which another split is compared with: a protocol's, where its paper did not use the test split.

    It stands in the place of the test split, so that no method sees it. There is no validation split if it is that;
    the true test split is not used.
    """

    def __init__(self, dataset: Dataset, split: Split) -> None:
        super().__init__(dataset)
        self.reference_split = split

    def ids(self, split: Split) -> tuple[str, ...]:
        """See `Dataset.ids`."""
        if split == "test":
            return super().ids(self.reference_split)
        return () if split == self.reference_split else super().ids(split)

    def fingerprint(self) -> dict[str, Any]:
        """See `Dataset.fingerprint`."""
        return {**super().fingerprint(), "reference_split": self.reference_split}


def split_of(group: str) -> Split:
    """The split of an item without a given one: sha256 of its group's name into 80 / 5 / 15 (train, val, test)."""
    share = int.from_bytes(sha256(group.encode()).digest()[:8], "big") / 2**64
    return "train" if share < 0.80 else "val" if share < 0.85 else "test"


def dataset_points(dataset: Dataset, names: Iterable[str], count: int, *, seed: int) -> npt.NDArray[np.float32]:
    """Surface points of the named shapes, (N, count, 3), or (N, T, count, 3) for sequences."""
    rows = [shape_points(dataset.shape(name), count, seed=seed, name=name) for name in names]
    if not rows:
        raise HdbenchError(f"Dataset {dataset.name!r} has no shapes to sample points from.")
    return np.stack(rows)

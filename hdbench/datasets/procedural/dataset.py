"""The embedded dataset: parametric airplanes, cars, chairs and moving animals, as many as one likes."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from hdbench.datasets.base import Dataset, Split
from hdbench.datasets.procedural import airplane, animal, car, chair
from hdbench.datasets.procedural.airplane_parameters import SUBTYPES as AIRPLANES
from hdbench.datasets.procedural.airplane_parameters import Airplane
from hdbench.datasets.procedural.animal_parameters import SUBTYPES as ANIMALS
from hdbench.datasets.procedural.animal_parameters import Animal
from hdbench.datasets.procedural.car_parameters import SUBTYPES as CARS
from hdbench.datasets.procedural.car_parameters import Car
from hdbench.datasets.procedural.chair_parameters import SUBTYPES as CHAIRS
from hdbench.datasets.procedural.chair_parameters import Chair
from hdbench.datasets.procedural.lofts import united
from hdbench.datasets.procedural.parameters import Subtype, choose_subtype, draw
from hdbench.errors import HdbenchError, unknown_name
from hdbench.seeds import generator
from hdbench.shapes import Bool, Float32, Kind, Mesh, Sequence, Shape

VERSION = 2
"""Raised whenever any airplane, car or chair changes; what was made from the old shapes is then made again."""
ANIMAL_VERSION = 1
"""Likewise for animals."""


@dataclass(frozen=True)
class _Category:
    parameters: type[Any]
    subtypes: Mapping[str, Subtype]
    build: Callable[[Any], Mesh | Sequence]
    kind: Kind = "mesh"
    size: int = 440
    version: int = VERSION


_CATEGORIES = {
    "airplane": _Category(Airplane, AIRPLANES, lambda one: united(airplane.build(one))),
    "animal": _Category(Animal, ANIMALS, animal.build, kind="sequence", size=220, version=ANIMAL_VERSION),
    "car": _Category(Car, CARS, lambda one: united(car.build(one))),
    "chair": _Category(Chair, CHAIRS, lambda one: united(chair.build(one))),
}
CATEGORIES = tuple(_CATEGORIES)
MESH_CATEGORIES = tuple(name for name, category in _CATEGORIES.items() if category.kind == "mesh")
"""Those whose shapes stand still."""

_SPLIT_BY_REMAINDER: dict[int, Split] = {3: "test", 10: "test", 16: "test", 13: "val"}
"""Index modulo 20; the rest is train: 16 train, 1 val, 3 test in any twenty neighbours."""
_FRESH_START = 10**9
"""Indices from here on stand in no split: a billion for each seed of `Procedural.fresh`."""


class Procedural(Dataset):
    """Closed, connected, watertight meshes in a unit box: bounding box centred on 0, longest side 1.

    Animals are clips of 16 such meshes with the same faces, in one box for the whole clip.

    Shape i of a category depends on (category, i, seed) alone. The splits hold indices 0 to `size` - 1 (None: as many
    as are usual for the category); any other index names a shape too. Raises HdbenchError for an unknown category or
    a size outside 1 to 10^9.
    """

    name = "procedural"
    skipped: Mapping[str, str] = {}
    natural_count = 64

    def __init__(self, category: str, *, seed: int = 0, size: int | None = None) -> None:
        if category not in _CATEGORIES:
            raise unknown_name("category", category, CATEGORIES)
        size = _CATEGORIES[category].size if size is None else size
        if not 1 <= size <= _FRESH_START:
            raise HdbenchError(f"A procedural dataset of {size} shapes was asked for; ask for 1 to {_FRESH_START}.")
        self.category = category
        self.kind = _CATEGORIES[category].kind
        self.seed = seed
        self.size = size

    def ids(self, split: Split) -> tuple[str, ...]:
        """See `Dataset.ids`: 80 / 5 / 15 of the indices, interleaved."""
        return tuple(self._id(i) for i in range(self.size) if _SPLIT_BY_REMAINDER.get(i % 20, "train") == split)

    def shape(self, name: str) -> Mesh | Sequence:
        """The mesh or clip called `name`; raises HdbenchError where `name` is not one of this category's."""
        return _shape(self.category, self.seed, self._index(name))

    def occupancy(self, name: str, points: Float32, *, frame: int = 0) -> Bool:
        """See `Dataset.occupancy`: the generalised winding number at `points` (P, 3) is at least 0.5."""
        from hdbench.geometry.occupancy import shape_occupancy

        return shape_occupancy(self.shape(name), points, frame=frame)

    def subtype(self, name: str) -> str:
        """What kind of airplane, animal, car or chair `name` is."""
        return _drawn(self.category, self.seed, self._index(name))[0]

    def parameters(self, name: str) -> Any:
        """What `name` is built from: an `Airplane`, `Animal`, `Car` or `Chair`."""
        return _drawn(self.category, self.seed, self._index(name))[1]

    def fingerprint(self) -> dict[str, Any]:
        """See `Dataset.fingerprint`."""
        identity = {"name": self.name, "version": _CATEGORIES[self.category].version}
        return identity | {"category": self.category, "seed": self.seed, "size": self.size}

    def fresh(self, count: int, seed: int) -> list[tuple[str, Shape]]:
        """`count` shapes that stand in no split, others for each `seed` >= 0."""
        if seed < 0:
            raise HdbenchError(f"The seed of fresh shapes is {seed}; it must not be negative.")
        names = (self._id(_FRESH_START * (1 + seed) + i) for i in range(count))
        return [(name, self.shape(name)) for name in names]

    def _id(self, index: int) -> str:
        return f"{self.category}-{index:05d}"

    def _index(self, name: str) -> int:
        digits = re.fullmatch(rf"{self.category}-([0-9]{{5,}})", name)
        if digits is None or self._id(int(digits[1])) != name:  # a shape has one name only
            raise HdbenchError(f"{name!r} is no procedural {self.category}; names look like {self._id(12)!r}.")
        return int(digits[1])


def _drawn(category: str, seed: int, index: int) -> tuple[str, Any]:
    """Sub-type and parameters of one shape."""
    kind = _CATEGORIES[category]
    rng = generator(seed, "procedural", category, index)
    subtype = choose_subtype(kind.subtypes, rng)
    return subtype, draw(kind.parameters, kind.subtypes[subtype].table, rng)


@lru_cache(maxsize=64)  # shape and occupancy of one name build it once
def _shape(category: str, seed: int, index: int) -> Mesh | Sequence:
    return _CATEGORIES[category].build(_drawn(category, seed, index)[1])

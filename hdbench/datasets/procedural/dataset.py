"""The embedded dataset: parametric airplanes, cars and chairs, as many as one likes."""

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hdbench.datasets.base import Dataset, Split
from hdbench.datasets.procedural import airplane, car, chair
from hdbench.datasets.procedural.lofts import Solid, united
from hdbench.datasets.procedural.parameters import Subtype, choose_subtype, draw
from hdbench.errors import HdbenchError, unknown_name
from hdbench.seeds import generator
from hdbench.shapes import Bool, Float32, Mesh, Shape

VERSION = 1
"""Raised whenever any shape changes; what was made from the old shapes is then made again."""


@dataclass(frozen=True)
class _Category:
    parameters: type[Any]
    subtypes: Mapping[str, Subtype]
    build: Callable[[Any], list[Solid]]


_BUILDERS = {
    "airplane": _Category(airplane.Airplane, airplane.SUBTYPES, airplane.build),
    "car": _Category(car.Car, car.SUBTYPES, car.build),
    "chair": _Category(chair.Chair, chair.SUBTYPES, chair.build),
}
CATEGORIES = tuple(_BUILDERS)

_SPLIT_BY_REMAINDER: dict[int, Split] = {3: "test", 10: "test", 16: "test", 13: "val"}
"""Index modulo 20; the rest is train: 16 train, 1 val, 3 test in any twenty neighbours."""
_FRESH_START = 10**9
"""Indices from here on stand in no split: a billion for each seed of `Procedural.fresh`."""
_CACHED_SHAPES = 32


class Procedural(Dataset):
    """Closed, connected, watertight meshes in a unit box: bounding box centred on 0, longest side 1.

    Shape i of a category depends on (category, i, seed) alone. The splits are indices 0 to `size` - 1; any other
    index names a shape too.
    """

    name = "procedural"
    kind = "mesh"

    def __init__(self, category: str, *, seed: int = 0, size: int = 440) -> None:
        if category not in _BUILDERS:
            raise unknown_name("category", category, CATEGORIES)
        if not 1 <= size <= _FRESH_START:
            raise HdbenchError(f"The size of a procedural dataset is {size}; it must lie between 1 and {_FRESH_START}.")
        self.category = category
        self.seed = seed
        self.size = size
        self.skipped: Mapping[str, str] = {}
        self._recipe = _BUILDERS[category]
        self._cache: OrderedDict[str, Mesh] = OrderedDict()

    def ids(self, split: Split) -> tuple[str, ...]:
        """See `Dataset.ids`: 80 / 5 / 15 of the indices, interleaved."""
        return tuple(self._id(i) for i in range(self.size) if _SPLIT_BY_REMAINDER.get(i % 20, "train") == split)

    def shape(self, name: str) -> Mesh:
        """The mesh called `name`; raises HdbenchError where `name` is not one of this category's."""
        if name in self._cache:
            self._cache.move_to_end(name)
            return self._cache[name]
        _, parameters = self._draw(name)
        mesh = united(self._recipe.build(parameters))
        self._cache[name] = mesh
        if len(self._cache) > _CACHED_SHAPES:
            self._cache.popitem(last=False)
        return mesh

    def occupancy(self, name: str, points: Float32) -> Bool:
        """See `Dataset.occupancy`: the generalised winding number of the mesh at `points` (P, 3) is at least 0.5."""
        from hdbench.geometry.occupancy import occupancy

        return occupancy(self.shape(name), points)

    def subtype(self, name: str) -> str:
        """What kind of airplane, car or chair `name` is."""
        return self._draw(name)[0]

    def parameters(self, name: str) -> Any:
        """The parameters `name` is built from: an `Airplane`, `Car` or `Chair`."""
        return self._draw(name)[1]

    def fingerprint(self) -> dict[str, Any]:
        """See `Dataset.fingerprint`."""
        return {
            "name": self.name, "version": VERSION, "category": self.category, "seed": self.seed, "size": self.size,
        }  # fmt: skip

    def fresh(self, count: int, seed: int) -> list[tuple[str, Shape]]:
        """`count` shapes that stand in no split, others for each `seed` (0 or greater)."""
        names = [self._id(_FRESH_START * (1 + seed) + i) for i in range(count)]
        return [(name, self.shape(name)) for name in names]

    def _id(self, index: int) -> str:
        return f"{self.category}-{index:05d}"

    def _draw(self, name: str) -> tuple[str, Any]:
        digits = re.fullmatch(rf"{self.category}-([0-9]{{5,}})", name)
        if digits is None or self._id(int(digits[1])) != name:
            raise HdbenchError(f"{name!r} is no procedural {self.category}; names look like {self._id(12)}.")
        rng = generator(self.seed, "procedural", self.category, int(digits[1]))
        subtype = choose_subtype(self._recipe.subtypes, rng)
        return subtype, draw(self._recipe.parameters, self._recipe.subtypes[subtype].table, rng)

"""What PVD learns from: a pool of surface points of each training shape, normalised by two figures of them all."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hdbench.datasets.base import Dataset
from hdbench.errors import HdbenchError
from hdbench.geometry.normalisation import Moments
from hdbench.geometry.sampling import shape_points
from hdbench.progress import Progress
from hdbench.seeds import generator
from hdbench.shapes import Float32, PointCloud

from .recipe import DataRecipe


@dataclass(frozen=True, eq=False)
class Clouds:
    """The training shapes as points."""

    pools: Float32
    """(N, pool, 3), normalised."""
    moments: Moments
    """What they were normalised with: less the mean, divided by the deviation."""

    @property
    def extent(self) -> tuple[float, float, float]:
        """Largest coordinate of each axis in the pools, either way."""
        x, y, z = np.abs(self.pools).max((0, 1)).tolist()
        return x, y, z


def read_clouds(dataset: Dataset, names: Sequence[str], recipe: DataRecipe, *, seed: int, progress: Progress) -> Clouds:
    """Surface points of the named shapes.

    Clouds are taken from their first point on where the dataset's are meant to be (PC15k). Elsewhere they may be stored
    in an order of their own, of which the first points are a slice, and are taken in a random one. Mean and deviation
    are the recipe's, else the dataset's published ones, else those of all points read, not of the pools alone (PVD,
    after PointFlow). A cloud with fewer points than a pool is repeated until it fills one.
    """
    if not names:
        raise HdbenchError(f"{dataset.name!r} has no training shapes of category {dataset.category!r} to learn from.")
    pools = np.empty((len(names), recipe.pool, 3), np.float32)
    moments = recipe.moments or dataset.moments()
    sums, squares, count = np.zeros(3), 0.0, 0
    with progress.task("sampling surfaces for PVD", len(names)) as task:
        for index, name in enumerate(names):
            shape = dataset.shape(name)
            if isinstance(shape, PointCloud) and dataset.reduction == "random":
                shape = PointCloud(generator(seed, "order", name).permutation(shape.points))
            points = shape_points(shape, recipe.cloud, seed=seed, name=name, keep="first")
            pools[index] = np.resize(points[: recipe.pool], (recipe.pool, 3))
            wide = points.astype(np.float64)
            sums, squares, count = sums + wide.sum(0), squares + float(np.square(wide).sum()), count + len(points)
            task.advance()
    moments = moments or _moments(sums / count, squares / (3 * count))
    if not moments.deviation > 0:
        raise HdbenchError(f"All training points of {dataset.name!r} lie in one place; there is nothing to learn.")
    pools -= np.asarray(moments.mean, np.float32)
    pools /= np.float32(moments.deviation)
    return Clouds(pools, moments)


def _moments(mean: npt.NDArray[np.float64], square: float) -> Moments:
    """From the means of all points and of all squared coordinates; the deviation is about one mean for all axes."""
    x, y, z = mean.tolist()
    return Moments((x, y, z), float(np.sqrt(max(0.0, square - float(mean.mean()) ** 2))))

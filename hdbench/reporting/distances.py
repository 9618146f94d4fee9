"""Every sample's distance to what is nearest to it: what the means of the tables are made from."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hdbench.errors import HdbenchError
from hdbench.metrics.nearest import NearestLists
from hdbench.metrics.scoring import Statistics
from hdbench.reporting.merging import Record
from hdbench.reporting.tables import Line

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LineStatistics:
    """Of the first set of samples of one line, under one protocol."""

    line: Line
    to_reference: Float64
    """(S,): from each sample scored, in their order, to the nearest reference shape, by `cd_sq`."""
    from_reference: Float64
    """(R,): from each reference shape to the nearest sample."""
    features: tuple[Float64, Float64] | None
    """Of the reference (R, D) and of the samples (S, D); None where features were not scored."""

    @property
    def median(self) -> float:
        """Of the samples' distances to the nearest reference shape."""
        return float(np.median(self.to_reference))

    @property
    def covering_median(self) -> float:
        """Of the reference shapes' distances to the nearest sample."""
        return float(np.median(self.from_reference))

    @staticmethod
    def quartiles(distances: Float64) -> tuple[float, float, float]:
        """The lower quartile, the median and the upper quartile."""
        lower, middle, upper = np.percentile(distances, (25, 50, 75))
        return float(lower), float(middle), float(upper)

    @property
    def nearest_first(self) -> list[int]:
        """Positions of the samples scored, the one nearest to a reference shape first."""
        return np.argsort(self.to_reference, kind="stable").tolist()


def line_statistics(record: Record, line: Line, protocol: str) -> LineStatistics | None:
    """The statistics of `line`; None where they were not brought along or hold no Chamfer distances.

    Raises HdbenchError for files that are not what hdbench writes.
    """
    row = line.rows[0]
    stored = record.statistics(row)
    if stored is None:
        return None
    lists = _lists(stored, protocol, row.title)
    if lists is None:
        return None
    return LineStatistics(
        line,
        to_reference=lists.reference_distance[lists.reference_count :, 0],
        from_reference=lists.sample_distance[: lists.reference_count, 0],
        features=_features(stored, protocol),
    )


def _lists(stored: Statistics, protocol: str, title: str) -> NearestLists | None:
    try:
        lists = stored.nearest_lists(protocol, "cd")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise HdbenchError(f"The statistics of {title} are incomplete ({error}); score again.") from error
    if lists is None:
        return None
    total = lists.reference_count + lists.sample_count
    distances = lists.reference_distance, lists.sample_distance
    whole = all(one.ndim == 2 and one.shape[1] > 0 and len(one) == total for one in distances)
    if min(lists.reference_count, lists.sample_count) < 1 or not whole:
        raise HdbenchError(f"The statistics of {title} are not those of its counts; score again.")
    return lists


def _features(stored: Statistics, protocol: str) -> tuple[Float64, Float64] | None:
    names = (f"{protocol}/features/{role}_features" for role in ("reference", "sample"))
    found = [np.asarray(stored.arrays[name], np.float64) for name in names if name in stored.arrays]
    usable = [one for one in found if one.ndim == 2 and min(one.shape) > 1 and np.isfinite(one).all()]
    if len(usable) != 2 or usable[0].shape[1] != usable[1].shape[1]:
        return None
    return usable[0], usable[1]

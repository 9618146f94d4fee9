import numpy as np
import pytest

from hdbench.datasets.base import dataset_points
from hdbench.datasets.registry import open_dataset
from hdbench.geometry.sampling import shape_points
from hdbench.metrics.scoring import score_points

SEEDS = range(10)
COUNT = 64


@pytest.mark.slow
def test_fresh_real_shapes_cannot_be_told_from_the_reference():
    dataset = open_dataset("procedural", "airplane")
    reference = dataset_points(dataset, dataset.ids("test")[:COUNT], 2048, seed=0)
    intervals = []
    for seed in SEEDS:
        fresh = [shape_points(shape, 2048, seed=seed, name=name) for name, shape in dataset.fresh(COUNT, seed)]
        (score,), _ = score_points(np.stack(fresh), reference, protocol="hyperdiffusion", metrics=["nna_cd"], seed=seed)
        intervals.append(score.interval)
    assert sum(low <= 0.5 <= high for low, high in intervals) >= 9

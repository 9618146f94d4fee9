"""The embedded dataset: solid, connected, deterministic, split as promised."""

from collections import Counter

import numpy as np
import pytest
import trimesh

from hdbench.datasets.base import SPLITS
from hdbench.datasets.procedural.dataset import CATEGORIES, Procedural
from hdbench.errors import HdbenchError


@pytest.mark.parametrize("category", CATEGORIES)
def test_shapes_are_watertight_connected_and_normalised(category: str) -> None:
    dataset = Procedural(category)
    for name in dataset.ids("train")[:60]:
        mesh = dataset.shape(name)
        solid = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
        assert solid.is_watertight, name
        assert solid.body_count == 1, name
        assert solid.volume > 0, name
        low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
        np.testing.assert_allclose((low + high) / 2, 0, atol=1e-6)
        assert np.max(high - low) == pytest.approx(1, abs=1e-6)


def test_splits_are_disjoint_and_in_proportion() -> None:
    dataset = Procedural("chair")
    counts = Counter({split: len(dataset.ids(split)) for split in SPLITS})
    assert counts == {"train": 352, "val": 22, "test": 66}
    assert len({name for split in SPLITS for name in dataset.ids(split)}) == 440


def test_unknown_category_is_named() -> None:
    with pytest.raises(HdbenchError, match="Did you mean 'airplane'"):
        Procedural("airplan")

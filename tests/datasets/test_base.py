import numpy as np
import pytest

from hdbench.datasets.base import Dataset, LearningView, Limited, dataset_points, split_of
from hdbench.errors import HdbenchError
from hdbench.geometry.sampling import shape_points
from hdbench.shapes import PointCloud


class Letters(Dataset):
    name, category, kind, skipped = "letters", "cloud", "points", {"z": "broken"}
    splits = {"train": ("a", "b", "c"), "val": ("d",), "test": ("e", "f")}  # noqa: RUF012

    def ids(self, split):
        return self.splits[split]

    def shape(self, name):
        return PointCloud(np.random.default_rng(ord(name)).normal(size=(50, 3)))

    def occupancy(self, name, points, *, frame=0):
        return np.zeros(len(points), bool)

    def fingerprint(self):
        return {"name": "letters"}

    def fresh(self, count, seed):
        return [("fresh", self.shape("x"))] * count


class TestLearningView:
    view = LearningView(Letters())

    def test_shows_what_may_be_learnt_from(self):
        assert self.view.ids("train") == ("a", "b", "c")
        assert self.view.ids("val") == ("d",)
        assert np.array_equal(self.view.shape("d").points, Letters().shape("d").points)
        assert self.view.occupancy("a", np.zeros((2, 3), np.float32)).tolist() == [False, False]
        assert (self.view.name, self.view.kind, self.view.skipped) == ("letters", "points", {"z": "broken"})
        assert self.view.fingerprint() == Letters().fingerprint()

    def test_hides_the_rest(self):
        for look in (
            lambda: self.view.ids("test"),
            lambda: self.view.shape("e"),
            lambda: self.view.occupancy("f", np.zeros((1, 3), np.float32)),
        ):
            with pytest.raises(RuntimeError, match="test split"):
                look()
        assert self.view.fresh(3, 0) is None

    def test_asks_for_the_hidden_names_once(self):
        asked = []

        class Counting(Letters):
            def ids(self, split):
                asked.append(split)
                return super().ids(split)

        view = LearningView(Counting())
        for _ in range(3):
            view.shape("a")
        assert asked == ["test"]


def test_a_natural_count_shows_through():
    class Endless(Letters):
        natural_count = 64

    assert Letters().natural_count is None
    assert LearningView(Letters()).natural_count is None
    assert LearningView(Limited(Endless(), 2)).natural_count == 64


def test_limited():
    limited = Limited(Letters(), 2)
    assert [limited.ids(split) for split in ("train", "val", "test")] == [("a", "b"), ("d",), ("e", "f")]
    assert limited.fingerprint() != Letters().fingerprint()
    assert limited.fingerprint() != Limited(Letters(), 3).fingerprint()
    assert len(limited.fresh(4, 0)) == 4


def test_splits_do_not_change_with_versions():
    found = [split_of(f"item-{index}") for index in range(60)]
    tests = [index for index, split in enumerate(found) if split == "test"]
    assert tests == [5, 7, 10, 22, 30, 32, 41, 42, 47, 48, 49, 52, 54, 58]
    assert [index for index, split in enumerate(found) if split == "val"] == [51]


def test_splits_have_their_shares():
    found = [split_of(str(index)) for index in range(20_000)]
    shares = [found.count(split) / len(found) for split in ("train", "val", "test")]
    assert np.allclose(shares, (0.80, 0.05, 0.15), atol=0.015)  # five deviations of the largest


def test_dataset_points():
    points = dataset_points(Letters(), ["b", "a"], 20, seed=1)
    assert points.shape == (2, 20, 3)
    assert np.array_equal(points[1], shape_points(Letters().shape("a"), 20, seed=1, name="a"))
    with pytest.raises(HdbenchError, match="'letters' has no shapes"):
        dataset_points(Letters(), [], 20, seed=1)

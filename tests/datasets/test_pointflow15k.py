from pathlib import Path

import numpy as np
import pytest

from hdbench import stages
from hdbench.benchmark import Plan, Run
from hdbench.datasets.base import LearningView, Referenced
from hdbench.datasets.pointflow15k import PointFlow15k
from hdbench.datasets.published import verify
from hdbench.datasets.registry import open_dataset
from hdbench.errors import HdbenchError
from hdbench.evaluation import evaluate, open_point_set
from hdbench.progress import Progress
from hdbench.scoring import data_label
from hdbench.stages import Workshop
from hdbench.store import Store

AIRPLANE = "02691156"
COUNTS = {"train": 5, "val": 3, "test": 2}


@pytest.fixture
def pc15k(tmp_path) -> Path:
    root = tmp_path / "ShapeNetCore.v2.PC15k"
    rng = np.random.default_rng(0)
    for split, count in COUNTS.items():
        (root / AIRPLANE / split).mkdir(parents=True)
        for index in range(count):
            points = rng.normal((0.1, 0, 0), 0.2, (15_000, 3)).astype(np.float32)
            np.save(root / AIRPLANE / split / f"{split}{index}.npy", points)
    return root


def stored(root: Path, name: str) -> np.ndarray:
    return np.load(root / AIRPLANE / f"{name}.npy")


def test_pools(pc15k):
    dataset = PointFlow15k(pc15k, "airplane")
    assert dataset.kind == "points"
    assert {split: len(dataset.ids(split)) for split in COUNTS} == COUNTS
    assert np.array_equal(dataset.shape("train/train1").points, stored(pc15k, "train/train1")[:10_000])
    for name in ("val/val1", "test/test0"):
        assert np.array_equal(dataset.shape(name).points, stored(pc15k, name)[10_000:])


def test_moments_are_those_of_all_training_points(pc15k):
    points = np.concatenate([stored(pc15k, f"train/train{index}") for index in range(5)]).astype(np.float64)
    mean, deviation = PointFlow15k(pc15k, "airplane").moments()
    assert np.allclose(mean, points.mean(axis=0), rtol=1e-9)
    assert np.isclose(deviation, points.reshape(-1).std(), rtol=1e-9)


def test_references_are_the_first_of_the_last_points(pc15k):
    opened = open_point_set(f"pointflow15k:{pc15k}@airplane/val", role="reference", keep="first")
    assert opened.ids == ("val/val0", "val/val1", "val/val2")
    assert np.array_equal(opened.points[1], stored(pc15k, "val/val1")[10_000:12_048])


def test_samples_are_brought_back_by_the_published_moments(pc15k, tmp_path):
    samples = np.random.default_rng(1).normal(size=(3, 2048, 3)).astype(np.float32)
    mean, deviation = PointFlow15k(pc15k, "airplane").moments()
    train, reference = (f"pointflow15k:{pc15k}@airplane/{split}" for split in ("train", "val"))
    normalised = evaluate(samples, reference, train=train, protocol="pvd", metrics=["mmd_cd"])
    placed = evaluate(samples * deviation + np.array(mean), reference, protocol="pvd", metrics=["mmd_cd"])
    assert np.isclose(normalised["mmd_cd"].value, placed["mmd_cd"].value, rtol=1e-5)  # float32 coordinates


@pytest.mark.parametrize(("protocol", "split"), [("pvd", "val"), ("lion", "val"), ("hyperdiffusion", "test")])
def test_runs_compare_with_the_split_of_the_protocol(pc15k, tmp_path, protocol, split):
    plan = Plan("airplane", dataset=f"pointflow15k:{pc15k}", methods=("train-copy",), protocol=protocol)
    run = Run(plan, store=Store(tmp_path / "store"), folder=tmp_path / "run", progress=Progress())
    assert run.reference_ids == tuple(f"{split}/{split}{index}" for index in range(COUNTS[split]))
    assert data_label(run.dataset).startswith(f"pointflow15k/airplane/{split}@")


def test_a_run_keeps_the_first_points(pc15k, tmp_path):
    dataset = Referenced(PointFlow15k(pc15k, "airplane"), "val")
    workshop = Workshop(Store(tmp_path / "store"), Progress(), "cpu", 1)
    prepared = stages.prepare(workshop, dataset, dataset.ids("test"), keep_meshes=True, title="reference")
    for row, name in enumerate(prepared.ids):
        assert np.array_equal(prepared.points[row], stored(pc15k, name)[10_000:12_048])


def test_no_method_sees_what_is_compared_with(pc15k):
    dataset = Referenced(PointFlow15k(pc15k, "airplane"), "val")
    view = LearningView(dataset)
    assert view.ids("val") == ()
    for name in dataset.ids("test"):
        with pytest.raises(RuntimeError, match="may not see"):
            view.shape(name)
        with pytest.raises(RuntimeError, match="may not see"):
            view.reference_shape(name)
    assert dataset.fingerprint() != PointFlow15k(pc15k, "airplane").fingerprint()


def test_it_is_recognised(pc15k, monkeypatch):
    assert isinstance(open_dataset(str(pc15k), "airplane"), PointFlow15k)
    monkeypatch.setenv("HDBENCH_DATA", str(pc15k.parent))
    assert isinstance(open_dataset("pointflow15k", AIRPLANE), PointFlow15k)


@pytest.mark.parametrize("points", [np.zeros((2048, 3)), np.zeros((15_000, 2)), np.full((15_000, 3), np.nan)])
def test_bad_files_are_named(pc15k, points):
    np.save(pc15k / AIRPLANE / "train" / "bad.npy", points)
    dataset = PointFlow15k(pc15k, "airplane")
    assert set(dataset.skipped) == {"train/bad"}
    assert "bad.npy" in dataset.skipped["train/bad"]


def test_a_missing_category(pc15k):
    with pytest.raises(HdbenchError, match=r"no folder 03001627 \(chair\); get PointFlow's PC15k from"):
        PointFlow15k(pc15k, "chair")


def test_verify(pc15k):
    np.save(pc15k / AIRPLANE / "test" / "train0.npy", np.zeros((2048, 3), np.float32))
    told = {finding.text: finding.status for finding in verify(PointFlow15k, pc15k)}
    assert told["airplane val: 3, but 405 were published"] == "wrong"
    assert told["airplane: train0 stands in train and in test"] == "wrong"
    assert any("too short to hold 15000 points" in text for text in told)

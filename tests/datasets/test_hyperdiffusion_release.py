from pathlib import Path

import numpy as np
import pytest
import trimesh

from hdbench import stages
from hdbench.datasets.hyperdiffusion import HyperDiffusionRelease
from hdbench.datasets.published import verify
from hdbench.datasets.registry import open_dataset
from hdbench.errors import HdbenchError
from hdbench.evaluation import open_point_set
from hdbench.progress import Progress
from hdbench.shapes import Mesh, PointCloud
from hdbench.stages import Workshop
from hdbench.store import Store

AIRPLANE = "02691156"
LISTS = {"train": ("a0", "a1", "a2", "a3"), "val": ("b0",), "test": ("c0", "c1")}


def cloud(name: str) -> np.ndarray:
    return np.random.default_rng(sum(map(ord, name))).normal(0, 0.2, (2048, 4))


@pytest.fixture
def release(tmp_path) -> Path:
    clouds = tmp_path / "data" / f"{AIRPLANE}_2048_pc"
    clouds.mkdir(parents=True)
    for split, names in LISTS.items():
        (clouds / f"{split}_split.lst").write_text("".join(f"{name}.obj\n" for name in names))
        for name in names:
            np.save(clouds / f"{name}.obj.npy", cloud(name))
    (tmp_path / "data" / "plane_problematic_shapes.txt").write_text("a2.obj\nc1.obj")
    return tmp_path


def add_meshes(release: Path) -> None:
    folder = release / "data" / AIRPLANE
    folder.mkdir()
    for index, name in enumerate(sum(LISTS.values(), ())):
        trimesh.creation.box(extents=(1 + index, 2, 3)).export(folder / f"{name}.obj")


@pytest.mark.parametrize("where", ["", "data"])
def test_clouds(release, where):
    dataset = HyperDiffusionRelease(release / where, "airplane")
    assert dataset.kind == "points"
    assert dataset.ids("train") == ("a0", "a1", "a3")  # a2 is broken
    assert dataset.ids("val") == ("b0",)
    assert dataset.ids("test") == ("c0", "c1")  # references are never left out
    assert np.array_equal(dataset.shape("c1").points, cloud("c1")[:, :3].astype(np.float32))


def test_meshes_are_learnt_and_clouds_compared_with(release, tmp_path):
    add_meshes(release)
    dataset = HyperDiffusionRelease(release, "airplane", store=Store(tmp_path / "store"))
    assert dataset.kind == "mesh"
    assert isinstance(dataset.shape("c0"), Mesh)
    assert isinstance(dataset.reference_shape("c0"), PointCloud)
    workshop = Workshop(Store(tmp_path / "store"), Progress(), "cpu", 1)
    prepared = stages.prepare(workshop, dataset, dataset.ids("test"), keep_meshes=True, title="reference")
    assert prepared.kind == "mesh"
    assert np.array_equal(prepared.points[0], cloud("c0")[:, :3].astype(np.float32))
    assert isinstance(prepared.shape(0), Mesh)
    opened = open_point_set(f"hyperdiffusion:{release}@airplane/test", role="reference")
    assert np.array_equal(opened.points, prepared.points)


def test_it_is_recognised(release):
    assert isinstance(open_dataset(str(release), "airplane"), HyperDiffusionRelease)
    assert isinstance(open_dataset(str(release / "data"), "airplane"), HyperDiffusionRelease)


def test_clouds_are_part_of_the_fingerprint(release):
    add_meshes(release)
    before = HyperDiffusionRelease(release, "airplane").fingerprint()
    np.save(release / "data" / f"{AIRPLANE}_2048_pc" / "c0.obj.npy", cloud("other"))
    assert HyperDiffusionRelease(release, "airplane").fingerprint() != before


def test_what_is_missing(release):
    with pytest.raises(HdbenchError, match=r"neither 03001627_2048_pc/ nor 03001627/ \(chair\).*categories: airplane"):
        HyperDiffusionRelease(release, "chair")
    clouds = release / "data" / f"{AIRPLANE}_2048_pc"
    (clouds / "a0.obj.npy").unlink()
    assert "there is no cloud of it" in HyperDiffusionRelease(release, "airplane").skipped["a0"]
    for split in LISTS:
        (clouds / f"{split}_split.lst").unlink()
    with pytest.raises(HdbenchError, match=r"has no train_split\.lst"):
        HyperDiffusionRelease(release, "airplane")


def test_a_cloud_of_another_shape_is_named(release):
    np.save(release / "data" / f"{AIRPLANE}_2048_pc" / "a0.obj.npy", np.zeros((2048, 2)))
    assert "(2048, 2)" in HyperDiffusionRelease(release, "airplane").skipped["a0"]


def test_verify(release):
    (release / "data" / f"{AIRPLANE}_2048_pc" / "c0.obj.npy").unlink()
    told = {finding.text: finding.status for finding in verify(HyperDiffusionRelease, release)}
    assert told["airplane test: 1 clouds are missing, such as c0"] == "wrong"
    assert told["airplane train: names in the list: 4, but 3237 were published"] == "wrong"
    assert told["airplane: broken shapes listed: 2, but 488 were published"] == "wrong"
    assert told["neural fields: 0; only `fit --from-fields` needs them"] == "note"

import builtins
from pathlib import Path

import numpy as np
import pytest

from hdbench.datasets.dpc import DPCShapes
from hdbench.datasets.published import verify
from hdbench.datasets.registry import open_dataset
from hdbench.errors import HdbenchError

h5py = pytest.importorskip("h5py")
AIRPLANE, CAR = "02691156", "02958343"


@pytest.fixture
def clouds() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(12, 2048, 3)).astype(np.float32)


@pytest.fixture
def path(tmp_path, clouds) -> Path:
    with h5py.File(tmp_path / "shapenet.hdf5", "w") as stored:
        for split, rows in (("train", slice(8)), ("val", slice(8, 10)), ("test", slice(10, 12))):
            stored[f"{AIRPLANE}/{split}"] = clouds[rows]
        stored[f"{CAR}/train"] = clouds
    return tmp_path / "shapenet.hdf5"


def test_shapes_as_stored(path, clouds):
    dataset = DPCShapes(path, "airplane")
    assert dataset.kind == "points"
    assert dataset.ids("test") == ("test/0", "test/1")
    assert np.array_equal(dataset.shape("test/1").points, clouds[11])
    assert np.array_equal(dataset.shape("train/7").points, clouds[7])


def test_it_is_recognised(path):
    assert isinstance(open_dataset(str(path), "airplane"), DPCShapes)
    assert isinstance(open_dataset(str(path.parent), "airplane"), DPCShapes)
    assert isinstance(open_dataset(f"dpc:{path.parent}", AIRPLANE), DPCShapes)


def test_what_is_missing(path, tmp_path):
    with pytest.raises(HdbenchError, match=r"no group 03001627 \(chair\), only airplane, car; get DPC's"):
        DPCShapes(path, "chair")
    with pytest.raises(HdbenchError, match=r"no shapes to test on \(12 train, 0 val, 0 test"):
        DPCShapes(path, "car")
    (tmp_path / "empty").mkdir()
    with pytest.raises(HdbenchError, match=r"There is no shapenet\.hdf5 at"):
        DPCShapes(tmp_path / "empty", "car")


def test_bad_rows_are_named(path):
    with h5py.File(path, "a") as stored:
        stored[f"{AIRPLANE}/train"][3, 5, 1] = np.nan
    dataset = DPCShapes(path, "airplane")
    assert set(dataset.skipped) == {"train/3"}
    assert "row 3" in dataset.skipped["train/3"]


@pytest.mark.parametrize("content", [b"", b"no hdf5", b"\x89HDF\r\n\x1a\n" + bytes(200)])
def test_no_hdf5(tmp_path, content):
    (tmp_path / "a.h5").write_bytes(content)
    with pytest.raises(HdbenchError, match=r"a\.h5 cannot be read as hdf5"):
        DPCShapes(tmp_path / "a.h5", "airplane")


def test_cut_off(path):
    path.write_bytes(path.read_bytes()[:-50_000])
    with pytest.raises(HdbenchError, match="cannot be read as hdf5"):
        DPCShapes(path, "airplane")


@pytest.mark.parametrize("shape", [(4, 2048), (4, 1024, 3), (4, 2048, 2)])
def test_arrays_of_another_shape_are_refused(tmp_path, shape):
    with h5py.File(tmp_path / "a.h5", "w") as stored:
        stored[f"{AIRPLANE}/train"] = np.zeros(shape)
    with pytest.raises(HdbenchError, match=r"not \(n, 2048, 3\)"):
        DPCShapes(tmp_path / "a.h5", "airplane")


def test_without_h5py(path, monkeypatch):
    original = builtins.__import__

    def refuse(name, *arguments, **keywords):
        if name == "h5py":
            raise ImportError(name)
        return original(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(HdbenchError, match=r"h5py is not installed: pip install 'hdbench\[h5\]'"):
        DPCShapes(path, "airplane")


def test_verify(path):
    told = {finding.text: finding.status for finding in verify(DPCShapes, path)}
    assert told["airplane train: 8"] == "ok"
    assert told["airplane test: 2, but 607 were published"] == "wrong"
    assert told["car val: missing"] == "wrong"

import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import trimesh

from hdbench.datasets.base import split_of
from hdbench.datasets.published import verify
from hdbench.datasets.registry import open_dataset
from hdbench.datasets.shapenet import ShapeNet
from hdbench.errors import HdbenchError
from hdbench.shapes import Mesh

CHAIR, CAR = "03001627", "02958343"
SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "shapes"
needs_shapes = pytest.mark.skipif(not SHARED.is_dir(), reason="the shape pack is not beside the repository")


def obj(side: float = 1.0) -> str:
    return trimesh.creation.box(extents=(side, 2, 3)).export(file_type="obj")


def write_models(root: Path, synset: str, count: int, *, file: str = "models/model_normalized.obj") -> list[str]:
    names = [f"model{index:03d}" for index in range(count)]
    for index, name in enumerate(names):
        path = root / synset / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(obj(0.5 + index / count))
    return names


def pack(folder: Path, archive: Path, *, below: str = "") -> Path:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as stream:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                stream.write(path, f"{below}{path.relative_to(folder)}")
    return archive


@pytest.fixture
def v2(tmp_path) -> Path:
    root = tmp_path / "ShapeNetCore.v2"
    write_models(root, CHAIR, 30)
    write_models(root, CAR, 3)
    return root


def ids(dataset) -> dict[str, tuple[str, ...]]:
    return {split: dataset.ids(split) for split in ("train", "val", "test")}


class TestLayouts:
    def test_of_v2(self, v2):
        dataset = ShapeNet(v2, "chair")
        assert dataset.kind == "mesh"
        assert ids(dataset) == ids(ShapeNet(v2, CHAIR))
        assert all(split_of(name) == split for split, names in ids(dataset).items() for name in names)
        assert sum(map(len, ids(dataset).values())) == 30

    def test_shapes_have_a_unit_diagonal(self, v2):
        dataset = ShapeNet(v2, "chair")
        mesh = dataset.shape(dataset.ids("train")[0])
        assert isinstance(mesh, Mesh)
        assert np.isclose(np.linalg.norm(np.ptp(mesh.vertices, axis=0)), 1)
        assert np.allclose(mesh.vertices.max(axis=0), -mesh.vertices.min(axis=0))

    def test_of_v1(self, tmp_path):
        write_models(tmp_path / "ShapeNetCore.v1", CHAIR, 30, file="model.obj")
        assert sum(map(len, ids(ShapeNet(tmp_path / "ShapeNetCore.v1", "chair")).values())) == 30

    def test_the_folder_around_it_will_do(self, v2):
        assert ids(ShapeNet(v2.parent, "chair")) == ids(ShapeNet(v2, "chair"))

    @pytest.mark.parametrize("kind", ["one zip", "zip per category", "one category's zip"])
    def test_zips_are_read_in_place(self, v2, tmp_path, kind):
        whole = ShapeNet(v2, "chair")
        if kind == "one zip":
            path = pack(v2, tmp_path / "all.zip", below="ShapeNetCore.v2/")
        else:
            (tmp_path / "zips").mkdir()
            path = pack(v2 / CHAIR, tmp_path / "zips" / f"{CHAIR}.zip", below=f"{CHAIR}/").parent
            pack(v2 / CAR, path / f"{CAR}.zip", below=f"{CAR}/")
            path = path if kind == "zip per category" else path / f"{CHAIR}.zip"
        files = {file for file in tmp_path.rglob("*") if file.is_file()}
        packed = ShapeNet(path, "chair")
        assert ids(packed) == ids(whole)
        name = packed.ids("test")[0]
        assert np.array_equal(packed.shape(name).vertices, whole.shape(name).vertices)
        assert {file for file in tmp_path.rglob("*") if file.is_file()} == files  # nothing was unpacked

    def test_a_damaged_model_in_a_zip_is_named(self, v2, tmp_path):
        (v2 / CHAIR / "model007" / "models" / "model_normalized.obj").write_text("v 0 0 0\nf 1 1 1\n")
        dataset = ShapeNet(pack(v2, tmp_path / "all.zip"), "chair")
        assert set(dataset.skipped) == {"model007"}
        assert "all.zip, 03001627/model007/models/model_normalized.obj" in dataset.skipped["model007"]

    def test_changed_zips_have_another_fingerprint(self, v2, tmp_path):
        first = ShapeNet(pack(v2, tmp_path / "a.zip"), "chair").fingerprint()
        assert ShapeNet(pack(v2, tmp_path / "b.zip"), "chair").fingerprint() == first
        (v2 / CHAIR / "model007" / "models" / "model_normalized.obj").write_text(obj(9))
        assert ShapeNet(pack(v2, tmp_path / "c.zip"), "chair").fingerprint() != first


class TestSplits:
    def test_official(self, v2):
        rows = [f"{index},{CHAIR},0,model{index:03d},{('train', 'val', 'test')[index % 3]}" for index in range(30)]
        rows.append(f"99,{CAR},0,model001,train")
        (v2 / "all.csv").write_text("\n".join(["id,synsetId,subSynsetId,modelId,split", *rows]))
        dataset = ShapeNet(v2, "chair")
        assert dataset.ids("test") == tuple(f"model{index:03d}" for index in range(2, 30, 3))

    def test_official_without_leading_zeros(self, v2):
        rows = [f"{int(CHAIR)},model{index:03d},{'test' if index else 'train'}" for index in range(30)]
        (v2 / "all.csv").write_text("\n".join(["synsetId,modelId,split", *rows]))
        assert ShapeNet(v2, "chair").ids("train") == ("model000",)

    def test_of_hyperdiffusion(self, v2):
        lists = {"train": range(10), "val": range(10, 12), "test": range(12, 29)}
        for split, indices in lists.items():
            (v2 / CHAIR / f"{split}_split.lst").write_text("\n".join(f"model{index:03d}.obj" for index in indices))
        dataset = ShapeNet(v2, "chair")
        assert tuple(map(len, ids(dataset).values())) == (10, 2, 17)
        assert dataset.skipped == {"model029": "not in the split lists"}

    def test_lists_must_be_whole(self, v2):
        (v2 / CHAIR / "train_split.lst").write_text("model001.obj\n")
        with pytest.raises(HdbenchError, match=r"lacks val_split\.lst, test_split\.lst"):
            ShapeNet(v2, "chair")

    def test_lists_of_something_else_are_refused(self, v2):
        for split in ("train", "val", "test"):
            (v2 / CHAIR / f"{split}_split.lst").write_text(f"other-{split}.obj\n")
        with pytest.raises(HdbenchError, match="name none of its 30 models"):
            ShapeNet(v2, "chair")

    def test_a_model_in_two_lists_is_refused(self, v2):
        for split in ("train", "val", "test"):
            (v2 / CHAIR / f"{split}_split.lst").write_text("model001.obj\n")
        with pytest.raises(HdbenchError, match="'model001' into both train and val"):
            ShapeNet(v2, "chair")

    def test_a_split_nobody_knows_is_refused(self, v2):
        (v2 / "all.csv").write_text(f"synsetId,modelId,split\n{CHAIR},model001,trian\n")
        with pytest.raises(HdbenchError, match="'trian'"):
            ShapeNet(v2, "chair")


class TestWhatIsMissing:
    def test_a_category(self, v2):
        with pytest.raises(HdbenchError, match=r"no models of 02691156 \(airplane\), but car, chair; get ShapeNetCore"):
            ShapeNet(v2, "airplane")

    def test_a_mistyped_category(self, v2):
        with pytest.raises(HdbenchError, match="Did you mean 'chair'"):
            ShapeNet(v2, "chiar")

    def test_models(self, v2):
        (v2 / CHAIR / "model005" / "models" / "model_normalized.obj").unlink()
        dataset = ShapeNet(v2, "chair")
        assert set(dataset.skipped) == {"model005"}
        assert "has neither models/model_normalized.obj nor model.obj" in dataset.skipped["model005"]

    def test_verify_says_so(self, v2):
        (v2 / CHAIR / "model005" / "models" / "model_normalized.obj").unlink()
        rows = [f"{CHAIR},model{index:03d},train" for index in range(32)]
        (v2 / "all.csv").write_text("\n".join(["synsetId,modelId,split", *rows]))
        told = {finding.text: finding.status for finding in verify(ShapeNet, v2)}
        assert told["chair: models: 29"] == "ok"
        assert told["chair: 1 folders without a model, such as model005"] == "wrong"
        assert told["chair: 3 listed models are missing, such as model005"] == "wrong"
        assert told["car: no split lists, so the hash of the name decides"] == "note"

    def test_verify_compares_hashes(self, v2):
        import hashlib

        file = f"{CHAIR}/model000/models/model_normalized.obj"
        sha256 = hashlib.sha256((v2 / file).read_bytes()).hexdigest()
        (v2 / "SHA256SUMS").write_text(f"{sha256}  {file}\n{sha256} *{file.replace('000', '001')}\n{sha256}  none\n")
        told = {finding.text: finding.status for finding in verify(ShapeNet, v2)}
        assert told["1 of 3 files have the sha256 in SHA256SUMS"] == "ok"
        assert told["none: in SHA256SUMS, but not there"] == "wrong"
        assert sum(status == "wrong" for status in told.values()) == 2

    def test_verify_of_nothing(self, tmp_path):
        with pytest.raises(HdbenchError, match="There is no file or folder"):
            list(verify(ShapeNet, tmp_path / "missing"))
        with pytest.raises(HdbenchError, match="no folders or archives named by synset"):
            list(verify(ShapeNet, tmp_path))


FETCH = """
from pathlib import Path
from hdbench.datasets.shapenet import ShapeNet
from hdbench.errors import HdbenchError
from hdbench.progress import Progress
for category in ("chair", "chair", "04554684"):
    try:
        print(Path(ShapeNet.on_hub(category).fetch(Progress())).name)
    except HdbenchError as error:
        print(error)
"""


def fetch(home: Path, **environment: str) -> list[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-c", FETCH],
        env={**kept, "HF_HOME": str(home), "HF_HUB_DISABLE_PROGRESS_BARS": "1", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def hub():
    path = Path(__file__).resolve().parents[1] / "zoo" / "hub_server.py"
    spec = importlib.util.spec_from_file_location("hub_server", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["hub_server"] = module
    spec.loader.exec_module(module)
    with module.HubServer() as server:
        server.add("ShapeNet/ShapeNetCore", {f"{CHAIR}.zip": b"PK" * 999}, kind="dataset", gated=True)
        server.token, server.other_token = module.TOKEN, module.OTHER_TOKEN
        yield server


class TestHub:
    def test_with_a_token(self, hub, tmp_path):
        told = fetch(tmp_path, HF_ENDPOINT=hub.url, HF_TOKEN=hub.token)
        assert told[:2] == [f"{CHAIR}.zip"] * 2
        assert "has no 04554684.zip: there is no such category" in told[2]
        assert len(hub.downloads(f"{CHAIR}.zip")) == 1  # the second time from the cache

    def test_without_access(self, hub, tmp_path):
        for environment in ({}, {"HF_TOKEN": hub.other_token}):
            told = fetch(tmp_path, HF_ENDPOINT=hub.url, **environment)
            assert len(told) == 3
            assert all("accept" in line and "hf auth login" in line for line in told)

    def test_offline(self, tmp_path):
        told = fetch(tmp_path, HF_HUB_OFFLINE="1")
        assert all("could not be reached" in line for line in told)


@needs_shapes
def test_real_chairs_in_the_layout_of_shapenet(tmp_path):
    spec = importlib.util.spec_from_file_location("pack_io", SHARED / "pack_io.py")
    assert spec
    assert spec.loader
    pack_io = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pack_io)
    shapes = {row["id"]: (v, f) for row, v, f in pack_io.items(str(SHARED), category="chair", tier="permissive")}
    chosen = list(shapes)[::8]
    for name in chosen:
        path = tmp_path / "ShapeNetCore.v2" / CHAIR / name / "models" / "model_normalized.obj"
        pack_io.write_obj(str(path), *shapes[name])
    dataset = open_dataset(str(tmp_path / "ShapeNetCore.v2"), "chair")
    assert isinstance(dataset, ShapeNet)
    assert sorted(name for names in ids(dataset).values() for name in names) == sorted(chosen)
    assert not dataset.skipped
    name = dataset.ids("train")[0]
    assert len(dataset.shape(name).faces) == len(shapes[name][1])

import json
import subprocess
import sys
from collections import UserDict

import numpy as np
import pytest
import torch

from hdbench import extractors
from hdbench.errors import HdbenchError
from hdbench.extractors import (
    EMBEDDED,
    MODELNET40,
    available_extractors,
    choose_extractor,
    git_blob,
    import_checkpoint,
    load_extractor,
    save_extractor,
)
from hdbench.features.extraction import extract_features
from hdbench.features.pointnet2 import PointNet2
from hdbench.progress import Progress

FOLDER = "features"


@pytest.fixture
def network():
    torch.manual_seed(0)
    return PointNet2(40)


@pytest.fixture
def checkpoint(tmp_path, network):
    """What training the torch port saves."""
    return {
        "epoch": 3,
        "instance_acc": np.float64(0.9),
        "class_acc": np.float32(0.8),
        "model_state_dict": network.state_dict(),
        "optimizer_state_dict": torch.optim.Adam(network.parameters()).state_dict(),
    }


def save(content, path, **options):
    torch.save(content, path, **options)
    return path


def clouds(count, size=300):
    return np.random.default_rng(0).normal(size=(count, size, 3)).astype(np.float32)


def same_state(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


class TestFeatures:
    def test_no_bit_depends_on_the_other_clouds_or_the_threads(self, tmp_path, network):
        save_extractor("one", network, {}, tmp_path / FOLDER)
        extractor, points = load_extractor("one", tmp_path), clouds(5)
        together = extract_features(points, extractor, progress=Progress())
        before = torch.get_num_threads()
        try:
            torch.set_num_threads(2)
            alone = [extract_features(points[i : i + 1], extractor, progress=Progress()) for i in range(5)]
            assert torch.get_num_threads() == 2
        finally:
            torch.set_num_threads(before)
        assert together.shape == (5, 256)
        assert together.dtype == np.float32
        assert np.array_equal(together, np.concatenate(alone))

    def test_no_clouds_give_no_features(self, tmp_path, network):
        save_extractor("one", network, {}, tmp_path / FOLDER)
        assert extract_features(clouds(0), load_extractor("one", tmp_path), progress=Progress()).shape == (0, 256)


class TestStore:
    def test_what_is_saved_is_loaded(self, tmp_path, network):
        save_extractor("mine", network, {"classes": 40}, tmp_path / FOLDER)
        extractor = load_extractor("mine", tmp_path)
        assert same_state(extractor.network, network)
        assert not extractor.network.training
        assert extractor.info["classes"] == 40
        assert extractor.signature == f"mine@{extractor.sha256[:12]}"
        assert available_extractors(tmp_path) == sorted([EMBEDDED, "mine"])

    def test_half_precision_is_widened(self, tmp_path, network):
        save_extractor("half", network, {}, tmp_path / FOLDER, half=True)
        weights = load_extractor("half", tmp_path).network.fc1.weight
        assert weights.dtype == torch.float32
        assert torch.equal(weights, network.fc1.weight.half().float())

    def test_saving_twice_gives_the_same_bytes(self, tmp_path, network):
        for folder in ("a", "b"):
            save_extractor("mine", network, {}, tmp_path / folder)
        for suffix in ("json", "safetensors"):
            assert (tmp_path / f"a/mine.{suffix}").read_bytes() == (tmp_path / f"b/mine.{suffix}").read_bytes()

    def test_an_unknown_name_is_told_with_the_nearest(self, tmp_path):
        with pytest.raises(HdbenchError, match=f"Did you mean '{EMBEDDED}'"):
            load_extractor("pointnet2-procedural", tmp_path)

    def test_damage_is_noticed(self, tmp_path, network):
        save_extractor("mine", network, {}, tmp_path / FOLDER)
        path = tmp_path / FOLDER / "mine.safetensors"
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        with pytest.raises(HdbenchError, match="damaged: expected sha256"):
            load_extractor("mine", tmp_path)

    @pytest.mark.parametrize("text", ["", "[]", "{}"])
    def test_an_unreadable_description_is_told(self, tmp_path, network, text):
        save_extractor("mine", network, {}, tmp_path / FOLDER)
        (tmp_path / FOLDER / "mine.json").write_text(text)
        with pytest.raises(HdbenchError, match="cannot be read"):
            load_extractor("mine", tmp_path)

    def test_the_published_one_is_preferred_once_imported(self, tmp_path, network):
        save_extractor(MODELNET40, network, {}, tmp_path / FOLDER)
        assert choose_extractor(root=tmp_path).name == MODELNET40
        assert choose_extractor(MODELNET40, root=tmp_path).name == MODELNET40


class TestImport:
    @pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
    def test_tensors_arrive_unchanged(self, tmp_path, network, checkpoint, zipped):
        path = save(checkpoint, tmp_path / "best_model.pth", _use_new_zipfile_serialization=zipped)
        extractor = import_checkpoint(path, root=tmp_path)
        assert same_state(extractor.network, network)
        assert extractor.name == "pointnet2-best_model"
        assert extractor.info["git_blob"] == git_blob(path)
        assert load_extractor("pointnet2-best_model", tmp_path).sha256 == extractor.sha256

    def test_numbers_of_an_older_numpy_are_read(self, tmp_path, checkpoint):
        path = save(checkpoint, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
        content = path.read_bytes()
        assert b"numpy._core.multiarray" in content
        path.write_bytes(content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
        assert import_checkpoint(path, name="old", root=tmp_path).name == "old"

    def test_the_published_file_is_known_by_its_blob(self, tmp_path, checkpoint, monkeypatch):
        path = save(checkpoint, tmp_path / "best_model.pth")
        with pytest.raises(HdbenchError, match="git blob hash is"):
            import_checkpoint(path, verify=True, root=tmp_path)
        monkeypatch.setattr(extractors, "MODELNET40_BLOB", git_blob(path))
        assert import_checkpoint(path, verify=True, root=tmp_path).name == MODELNET40

    @pytest.mark.parametrize("name", [EMBEDDED, MODELNET40])
    def test_no_other_weights_take_a_known_name(self, tmp_path, checkpoint, name):
        with pytest.raises(HdbenchError, match="names other weights"):
            import_checkpoint(save(checkpoint, tmp_path / "x.pth"), name=name, root=tmp_path)

    @pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
    def test_anything_that_could_run_code_is_refused_by_name(self, tmp_path, checkpoint, zipped):
        checkpoint["args"] = UserDict(model="x")
        path = save(checkpoint, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
        with pytest.raises(HdbenchError, match=r"x\.pth is refused: .*collections\.UserDict") as caught:
            import_checkpoint(path, root=tmp_path)
        assert "\n" not in str(caught.value)
        assert available_extractors(tmp_path) == [EMBEDDED]

    @pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 broken"])
    def test_a_file_that_is_no_checkpoint_is_told(self, tmp_path, content):
        path = tmp_path / "x.pth"
        path.write_bytes(content)
        with pytest.raises(HdbenchError, match=r"x\.pth") as caught:
            import_checkpoint(path, root=tmp_path)
        assert "\n" not in str(caught.value)

    def test_a_missing_file_is_told(self, tmp_path):
        with pytest.raises(HdbenchError, match="cannot be read"):
            import_checkpoint(tmp_path / "none.pth", root=tmp_path)

    @pytest.mark.parametrize("change", ["missing", "shape", "no state", "list"])
    def test_another_network_is_told(self, tmp_path, checkpoint, change):
        if change == "missing":
            del checkpoint["model_state_dict"]["bn2.weight"]
        elif change == "shape":
            checkpoint["model_state_dict"]["bn2.weight"] = torch.zeros(3)
        elif change == "no state":
            del checkpoint["model_state_dict"]
        path = save([1] if change == "list" else checkpoint, tmp_path / "x.pth")
        with pytest.raises(HdbenchError, match="model_state_dict" if change in ("no state", "list") else "bn2.weight"):
            import_checkpoint(path, root=tmp_path)


def test_the_description_is_json(tmp_path, network):
    save_extractor("mine", network, {"classes": 40}, tmp_path)
    assert json.loads((tmp_path / "mine.json").read_text()).keys() == {"architecture", "classes", "sha256"}


def test_kernels_that_start_their_threads_leave_torch_one():
    code = """
import torch
from hdbench.features.extraction import one_thread
from hdbench.geometry.point_operations import farthest_points
torch.set_num_threads(2)
with one_thread():
    farthest_points(torch.randn(2, 64, 3), 8)
    print(torch.get_num_threads())
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["1"]

import numpy as np
import pytest
import trimesh

from hdbench.cli import main


@pytest.fixture
def boxes(tmp_path, monkeypatch):
    monkeypatch.setenv("HDBENCH_STORE", str(tmp_path / "store"))
    for split, count in (("train", 4), ("test", 2)):
        (tmp_path / "boxes" / split).mkdir(parents=True)
        for index in range(count):
            box = trimesh.creation.box(extents=(1 + index, 2, 3))
            if (split, index) == ("train", 1):
                box.invert()
            box.export(tmp_path / "boxes" / split / f"{index}.ply")
    (tmp_path / "boxes" / "train" / "bad.ply").write_bytes(b"")
    return tmp_path / "boxes"


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    captured = capsys.readouterr()
    return caught.value.code or 0, captured.out, captured.err


def test_prepare_says_what_was_found(boxes, capsys):
    code, out, _ = run(capsys, "data", "prepare", str(boxes), "--category", "box", "--workers", "1", "--quiet")
    assert code == 0
    assert "train: 4 shapes\nval: 0 shapes\ntest: 2 shapes\n" in out
    assert "skipped train/bad: " in out
    assert "occupancy: 6 meshes, 0.0% of the places near their surface doubtful" in out
    assert "turned outwards: 1, such as train/1" in out


def test_prepare_reads_each_file_once(boxes, capsys, monkeypatch):
    from hdbench.datasets import readers

    asked = []
    original = readers._parsed
    monkeypatch.setattr(readers, "_parsed", lambda source, *rest: asked.append(source) or original(source, *rest))
    run(capsys, "data", "prepare", str(boxes), "--category", "box", "--workers", "1", "--quiet")
    assert len(asked) == 7


@pytest.mark.parametrize("count", [15_000, 2])
def test_verify_exits_with_1_when_something_is_missing(tmp_path, capsys, count):
    for split in ("train", "val", "test"):
        (tmp_path / "02691156" / split).mkdir(parents=True)
        np.save(tmp_path / "02691156" / split / f"{split}.npy", np.zeros((count, 3), np.float32))
    found, out, _ = run(capsys, "data", "verify", "pointflow15k", str(tmp_path))
    assert found == 1
    assert "wrong  airplane val: 1, but 405 were published" in out
    assert ("too short" in out) == (count == 2)


def test_verify_of_what_is_whole(tmp_path, capsys):
    for split in ("train", "val", "test"):
        (tmp_path / "04554684" / split).mkdir(parents=True)
        np.save(tmp_path / "04554684" / split / f"{split}.npy", np.zeros((15_000, 3), np.float32))
    code, out, _ = run(capsys, "data", "verify", str(tmp_path))
    assert code == 0
    assert "ok     washer train: 1" in out


def test_list(capsys):
    code, out, _ = run(capsys, "data", "list", "--json")
    assert code == 0
    assert '"dataset": "shapenet"' in out

"""What strangers hand in: each thing that may be wrong with it is one clear line, and leaves the board as it was."""

import json
import stat
import zipfile

import numpy as np
import pytest

from hdbench.errors import HdbenchError
from hdbench.leaderboard import archives
from hdbench.leaderboard.archives import extract_archive, read_samples
from hdbench.leaderboard.submission import Details, load_points, opened
from hdbench.progress import Progress
from hdbench.store import file_digest

COUNT, POINTS = 4, 32


def cloud(count=COUNT, points=POINTS, dtype=np.float32):
    return np.random.default_rng(0).normal(size=(count, points, 3)).astype(dtype)


@pytest.fixture
def samples(tmp_path):
    def save(**arrays):
        path = tmp_path / "samples.npz"
        np.savez(path, **arrays)
        return path

    return save


def read(path):
    return read_samples(path, count=COUNT, points=POINTS)


def test_samples_come_back_as_they_were_saved(samples):
    points, valid = cloud(), np.array([True, False, True, True])
    points[1] = np.nan
    found = read(samples(points=points, valid=valid, ids=np.array(list("abcd"))))
    assert found.ids == tuple("abcd")
    assert found.valid.tolist() == valid.tolist()
    np.testing.assert_array_equal(found.points, points)


def test_precise_numbers_are_rounded_and_missing_ids_made_up(samples):
    found = read(samples(points=cloud(dtype=np.float64)))
    assert found.points.dtype == np.float32
    assert found.ids == ("00000", "00001", "00002", "00003")
    assert found.valid.all()


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"points": cloud(3)}, "holds 3 samples, fewer than the 4"),
        ({"points": cloud(5)}, "holds 5 samples, more than the 4"),
        ({"points": cloud(points=31)}, "31 points per shape; expected 32"),
        ({"points": cloud()[..., :2]}, "shape"),
        ({"points": cloud()[0]}, "shape"),
        ({"points": np.ones((COUNT, POINTS, 3), int)}, "floating-point"),
        ({"points": np.ones((COUNT, POINTS, 3), complex)}, "floating-point"),
        ({"shapes": cloud()}, "no array `points`"),
        ({"points": cloud(), "valid": np.ones(3, bool)}, "`valid` has shape"),
        ({"points": cloud(), "ids": np.array(["a"])}, "`ids` has shape"),
        ({"points": cloud(), "ids": np.array(["a", "a", "b", "c"])}, "two samples have one id"),
        ({"points": cloud(), "ids": np.array(["a" * 900, "b", "c", "d"])}, "longer than"),
        ({"points": cloud(), "valid": np.zeros(COUNT, bool)}, "nothing to score"),
        ({"points": cloud() * np.nan}, "'00000' has coordinates that are not finite"),
        ({"points": np.where(cloud() > 2, np.inf, cloud())}, "not finite"),
        ({"points": cloud() * 1e30}, "beyond 1e"),
        ({"points": cloud() * 0}, "all points in one place"),
    ],
)
def test_points_that_cannot_be_scored_are_refused(samples, arrays, expected):
    with pytest.raises(HdbenchError) as refusal:
        read(samples(**arrays))
    assert expected in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_objects_are_never_unpickled(tmp_path):
    path = tmp_path / "samples.npz"
    np.savez(path, allow_pickle=True, points=np.array([{}] * COUNT, object))
    with pytest.raises(HdbenchError, match="of type object"):
        read(path)


@pytest.mark.parametrize(
    "shape", [(10**12, 2048, 3), (COUNT, 10**12, 3), (COUNT, 400, 60_000, 3), (COUNT, 10**9, 64, 3)]
)
def test_forged_counts_are_refused_before_anything_is_allocated(tmp_path, shape):
    path = tmp_path / "samples.npz"
    with zipfile.ZipFile(path, "w") as packed, packed.open("points.npy", "w") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": shape})
    with pytest.raises(HdbenchError):
        read(path)


def test_headers_that_promise_more_than_there_is_are_refused(tmp_path):
    path = tmp_path / "samples.npz"
    with zipfile.ZipFile(path, "w") as packed, packed.open("points.npy", "w") as stream:
        header = {"descr": "<f4", "fortran_order": False, "shape": (COUNT, POINTS, 3)}
        np.lib.format.write_array_header_1_0(stream, header)
        stream.write(b"\0" * 100)
    with pytest.raises(HdbenchError, match="cannot be read"):
        read(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not an archive"])
def test_files_that_are_no_archives_are_refused(tmp_path, content):
    path = tmp_path / "samples.npz"
    path.write_bytes(content)
    with pytest.raises(HdbenchError, match="not a NumPy archive"):
        read(path)


def packed(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    "name", ["../outside.txt", "/etc/outside.txt", "a/../../outside.txt", "..\\outside.txt", "C:outside.txt"]
)
def test_archives_cannot_write_outside_their_folder(tmp_path, name):
    archive = packed(tmp_path / "evil.zip", [("fine.txt", "fine"), (name, "evil")])
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    with pytest.raises(HdbenchError, match="leads out of its folder"):
        extract_archive(archive, folder)
    assert not list(tmp_path.rglob("*outside*"))
    assert list(folder.iterdir()) == []


def test_links_in_archives_are_refused(tmp_path):
    link = zipfile.ZipInfo("samples.npz")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive = packed(tmp_path / "evil.zip", [(link, "/etc/passwd")])
    with pytest.raises(HdbenchError, match="holds the link"):
        extract_archive(archive, tmp_path / "out")


def test_two_files_of_one_name_are_refused(tmp_path):
    archive = packed(tmp_path / "evil.zip", [("entry.json", "{}"), ("ENTRY.json", "{}")])
    with pytest.raises(HdbenchError, match="two files of one name"):
        extract_archive(archive, tmp_path / "out")


def test_archives_that_unpack_to_too_much_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "LARGEST_ARCHIVE", 2**16)
    archive = packed(tmp_path / "bomb.zip", [("samples.npz", b"\0" * 2**20)])
    with pytest.raises(HdbenchError, match="unpacks to more than"):
        extract_archive(archive, tmp_path / "out")


def test_a_lie_about_the_size_is_found_out_while_unpacking(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "LARGEST_ARCHIVE", 2**16)
    archive = packed(tmp_path / "bomb.zip", [("samples.npz", b"\0" * 2**20)])
    content = bytearray(archive.read_bytes())
    size = (2**20).to_bytes(4, "little")
    for place in [i for i in range(len(content) - 3) if content[i : i + 4] == size]:
        content[place : place + 4] = (1000).to_bytes(4, "little")
    archive.write_bytes(bytes(content))
    folder = tmp_path / "out"
    with pytest.raises(HdbenchError):
        extract_archive(archive, folder)
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= 2**16


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressions_that_explode_in_one_piece_are_refused(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", method) as archive:
        archive.writestr("samples.npz", bytes(100))
    with pytest.raises(HdbenchError, match="unusual way"):
        extract_archive(tmp_path / "bomb.zip", tmp_path / "out")


def test_too_many_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_FILES", 3)
    archive = packed(tmp_path / "many.zip", [(f"{index}.npy", b"") for index in range(4)])
    with pytest.raises(HdbenchError, match="at most 3"):
        extract_archive(archive, tmp_path / "out")


def submission(folder, **changes):
    """A folder with entry.json and samples.npz; `changes` go into entry.json."""
    folder.mkdir(exist_ok=True)
    np.savez(folder / "samples.npz", points=cloud(points=2048))
    entry = {
        "schema": "hdbench/entry/1",
        "name": "PVD",
        "method": "pvd",
        "dataset": {"name": "procedural", "category": "chair", "version": "0a1b2c3d"},
        "samples": {"file": "samples.npz", "sha256": file_digest(folder / "samples.npz"), "count": COUNT},
    }
    (folder / "entry.json").write_text(json.dumps(entry | changes))
    return folder


def load(path, details=Details()):  # noqa: B008
    with opened(path, details) as (found,):
        return load_points(found, count=COUNT, progress=Progress())


def test_a_submission_is_read_from_a_folder_and_from_a_zip(tmp_path):
    folder = submission(tmp_path / "handed-in")
    archive = packed(tmp_path / "in.zip", [(f"top/{path.name}", path.read_bytes()) for path in folder.iterdir()])
    np.testing.assert_array_equal(load(folder).points, load(archive).points)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"schema": "hdbench/entry/2"}, "schema"),
        ({"name": ""}, "name"),
        ({"name": "two\nlines"}, "control characters"),
        ({"name": "x" * 81}, "name"),
        ({"url": "javascript:alert(1)"}, "url: .*http"),
        ({"paper": 'https://x.org/"onmouseover=alert(1)'}, "paper"),
        ({"scores": {"nna_cd": 0.5}}, "scores"),
        ({"dataset": {"name": "procedural", "category": "chair", "version": "latest"}}, "version"),
        ({"dataset": {"name": "/etc", "category": "chair", "version": "0a1b2c3d"}}, "dataset '/etc' is unknown here"),
        ({"samples": {"file": "../samples.npz", "sha256": "0" * 64, "count": 4}}, "file"),
        ({"samples": {"file": "samples.npz", "sha256": "0" * 64, "count": 4}}, "not the file that was announced"),
        ({"samples": {"file": "other.npz", "sha256": "0" * 64, "count": 4}}, "missing"),
        ({"samples": {"file": "samples.npz", "sha256": "0" * 64, "count": 10**15}}, "ask for 4"),
        ({"samples": {"file": "samples.npz", "sha256": "0" * 64, "count": -1}}, "count"),
    ],
)
def test_entries_that_claim_something_else_are_refused(tmp_path, changes, expected):
    with pytest.raises(HdbenchError, match=expected) as refusal:
        load(submission(tmp_path / "handed-in", **changes))
    assert "\n" not in str(refusal.value)


def test_samples_alone_need_their_details(tmp_path):
    np.savez(tmp_path / "samples.npz", points=cloud(points=2048))
    with pytest.raises(HdbenchError, match="give --name, --dataset, --category"):
        load(tmp_path / "samples.npz")


DETAILS = Details(name="Ours", dataset="procedural", category="chair")


def test_the_hash_that_was_announced_is_asked_for(tmp_path):
    np.savez(tmp_path / "samples.npz", points=cloud(points=2048))
    with pytest.raises(HdbenchError, match="expected sha256 abc"):
        load(tmp_path / "samples.npz", Details("Ours", dataset="procedural", category="chair", sha256="abc"))


def test_folders_of_files_are_counted_before_they_are_read(tmp_path):
    for index in range(5):
        (tmp_path / f"{index}.ply").write_text("this is no mesh")
    with pytest.raises(HdbenchError, match="holds 5 samples, but the protocols ask for 4"):
        load(tmp_path, DETAILS)


def test_folders_of_files_with_one_that_cannot_be_scored_are_refused(tmp_path):
    points = cloud(points=2048)
    points[2] = np.nan
    for index, one in enumerate(points):
        np.save(tmp_path / f"{index}.npy", one)
    with pytest.raises(HdbenchError, match=r"1 samples cannot be scored \(the first: 2: .*not finite"):
        load(tmp_path, DETAILS)
    np.save(tmp_path / "2.npy", points[0])
    assert load(tmp_path, DETAILS).points.shape == (COUNT, 2048, 3)


def test_an_array_that_claims_endless_rows_is_refused(tmp_path):
    path = tmp_path / "samples.npy"
    with path.open("wb") as stream:
        header = {"descr": "<f4", "fortran_order": False, "shape": (10**12, 0, 3)}
        np.lib.format.write_array_header_1_0(stream, header)
    with pytest.raises(HdbenchError):
        load(path, DETAILS)

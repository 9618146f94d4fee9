import io
import pickle
import zipfile
import zlib

import numpy as np
import pytest

from hdbench.datasets.readers import entries
from hdbench.errors import HdbenchError
from hdbench.npz import BOMB_BYTES, Npz


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("it was unpickled",)


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def packed(path, **members: bytes):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return Npz(path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=np.float32).reshape(4, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array(3, ">i4"),
        np.array(["a", "b\u00e9"]),
        np.zeros((0, 3)),
    ],
)
def test_gives_what_numpy_saved(tmp_path, save, array):
    save(tmp_path / "a.npz", **{"a/v": array, "other": np.arange(2)})
    archive = pickle.loads(pickle.dumps(Npz(tmp_path / "a.npz")))
    assert list(archive.members) == ["a/v", "other"]
    assert archive["a/v"].dtype == array.dtype
    assert np.array_equal(archive["a/v"], array)
    assert archive["other"].tolist() == [0, 1]


def test_objects_are_never_loaded(tmp_path):
    np.savez(tmp_path / "a.npz", points=np.array([Bomb()], object), fine=np.eye(2))
    archive = Npz(tmp_path / "a.npz")
    with pytest.raises(HdbenchError, match=r"a\.npz, 'points'.*never loaded"):
        archive["points"]
    assert archive["fine"].shape == (2, 2)


@pytest.mark.parametrize("shape", ["(99999999999, 3)", "(3, 3)", "(-4, -3)", "(4, 3, 10000000000000)", "(4, 'a')"])
def test_what_a_header_declares_must_be_there(tmp_path, shape):
    forged = npy(np.zeros((4, 3), np.float32)).replace(b"(4, 3)", shape.encode())
    header = forged[10 : forged.index(b"\n") + 1]
    forged = forged[:8] + len(header).to_bytes(2, "little") + forged[10:]
    with pytest.raises(HdbenchError, match=r"'points', cannot be read"):
        packed(tmp_path / "a.npz", points=forged)["points"]


def test_endless_rows_of_nothing(tmp_path):
    empty = npy(np.zeros((4, 0, 3), np.float32))
    for old, new in ((b"(4, 0, 3)", b"(10000000000, 0, 3)"), (b"'<f4'", b"'|S0'")):
        forged = empty.replace(b"(4, 0, 3)", b"(10000000000, 9, 3)") if old == b"'<f4'" else empty
        forged = forged.replace(old, new)
        header = forged[10 : forged.index(b"\n") + 1]
        forged = forged[:8] + len(header).to_bytes(2, "little") + forged[10:]
        packed(tmp_path / "a.npz", points=forged)
        (tmp_path / "a.npy").write_bytes(forged)
        for path in (tmp_path / "a.npz", tmp_path / "a.npy"):
            with pytest.raises(HdbenchError, match=path.name):
                [entry.read() for entry in entries(path)]


def test_bombs_are_not_unpacked(tmp_path, monkeypatch):
    with (
        zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("x.npy", "w") as stream,
    ):
        for _ in range(BOMB_BYTES // 2**20 + 1):
            stream.write(bytes(2**20))
    monkeypatch.setattr(zlib, "decompressobj", lambda *_: pytest.fail("it was unpacked"))
    with pytest.raises(HdbenchError, match="bytes that unpack to"):
        Npz(tmp_path / "a.npz")["x"]


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressions_that_explode_in_one_piece_are_refused(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", method) as archive:
        archive.writestr("points.npy", npy(np.zeros((100, 3))))
    with pytest.raises(HdbenchError, match="unusual way"):
        Npz(tmp_path / "a.npz")["points"]


def test_a_lie_about_the_size_is_found_out(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", points=np.zeros((100_000, 3)))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 24 : entry + 28] = (152).to_bytes(4, "little")  # the unpacked size in the table of contents
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(HdbenchError, match="'points', cannot be read"):
        Npz(tmp_path / "a.npz")["points"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (npy(np.eye(3)), "rename it to .npy"),
        (b"", "not a NumPy archive"),
        (b"\x80\x04N.", "not a NumPy archive"),
        (b"PK\x03\x04 cut off", "not a NumPy archive"),
    ],
)
def test_what_is_no_archive(tmp_path, content, words):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(HdbenchError, match=r"a\.npz") as caught:
        Npz(tmp_path / "a.npz")["points"]
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_text_that_is_none(tmp_path):
    forged = npy(np.array(["abc"]))[:-4] + b"\xff\xff\xff\xff"
    with pytest.raises(HdbenchError, match="'ids', cannot be read"):
        packed(tmp_path / "a.npz", ids=forged)["ids"]


def test_unknown_key(tmp_path):
    np.savez(tmp_path / "a.npz", points=np.eye(3))
    with pytest.raises(HdbenchError, match=r"'faces'.*there is no such array"):
        Npz(tmp_path / "a.npz")["faces"]


def test_names_that_are_none(tmp_path):
    np.savez(tmp_path / "a.npz", points=np.eye(3), other=np.eye(2))
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes().replace(b"other.npy", b"\0ther.npy"))
    assert list(Npz(tmp_path / "a.npz").members) == ["points"]

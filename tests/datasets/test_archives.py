import struct
import zipfile
import zlib

import pytest

from hdbench.datasets.archives import archive_members, read_member
from hdbench.errors import HdbenchError


def pack(path, files, *, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def test_members_and_their_bytes(tmp_path):
    path = pack(tmp_path / "a.zip", {"a/b.obj": b"v 0 0 0\n" * 999, "c": b""})
    members = archive_members(path)
    assert list(members) == ["a/b.obj", "c"]
    assert members["a/b.obj"].size == 8 * 999
    assert members["a/b.obj"].checksum == zlib.crc32(b"v 0 0 0\n" * 999)
    assert read_member(path, "a/b.obj") == b"v 0 0 0\n" * 999
    assert read_member(path, "c") == b""


def test_an_archive_that_changed_is_opened_again(tmp_path):
    path = pack(tmp_path / "a.zip", {"a": b"one"})
    assert read_member(path, "a") == b"one"
    path.unlink()
    pack(path, {"a": b"three"})
    assert read_member(path, "a") == b"three"


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "a/../../b", "..\\a", "C:/a", "a\\b"])
def test_names_that_lead_out_are_refused(tmp_path, name):
    info = zipfile.ZipInfo("x")
    info.filename = name
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, b"x")
    with pytest.raises(HdbenchError, match="leads out of the archive"):
        archive_members(tmp_path / "a.zip")


def test_a_bomb_is_refused_by_its_size(tmp_path):
    path = pack(tmp_path / "a.zip", {"bomb": bytes(5_000_000)})
    with pytest.raises(HdbenchError, match="bomb: 5000000 bytes, more than 1000000"):
        read_member(path, "bomb", limit=1_000_000)


def test_a_bomb_that_lies_about_its_size_is_found_out(tmp_path):
    path = pack(tmp_path / "a.zip", {"bomb": bytes(50_000_000)})
    lie = struct.pack("<I", 1000)
    path.write_bytes(path.read_bytes().replace(struct.pack("<I", 50_000_000), lie))
    with pytest.raises(HdbenchError, match=r"bomb (is damaged|is not as long)"):
        read_member(path, "bomb")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_unusual_compressions_are_refused(tmp_path, method):
    path = pack(tmp_path / "a.zip", {"a": b"x" * 100}, method=method)
    with pytest.raises(HdbenchError, match="unusual way"):
        read_member(path, "a")


def test_encrypted_members_are_refused(tmp_path):
    path = pack(tmp_path / "a.zip", {"a": b"x" * 100})
    content = bytearray(path.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(HdbenchError, match="encrypted"):
        read_member(path, "a")


def test_damage_is_found_by_the_checksum(tmp_path):
    path = pack(tmp_path / "a.zip", {"a": b"abcdefgh" * 100}, method=zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"abcdefgh", b"abcdefgX", 1))
    with pytest.raises(HdbenchError, match="damaged"):
        read_member(path, "a")


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04" + bytes(50)])
def test_no_archive(tmp_path, content):
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(HdbenchError, match="not a zip archive"):
        archive_members(tmp_path / "a.zip")


def test_missing_files(tmp_path):
    with pytest.raises(HdbenchError, match="cannot be read"):
        archive_members(tmp_path / "missing.zip")
    with pytest.raises(HdbenchError, match="holds no file b"):
        read_member(pack(tmp_path / "a.zip", {"a": b""}), "b")

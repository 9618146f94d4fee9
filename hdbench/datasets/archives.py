"""Zip archives that someone else packed: read in place, member by member, within bounds.

A member's name must stay below the archive's root, its size below `LARGEST_MEMBER`, and what it unpacks to must be
what its entry says. Nothing is written to disk, so there is no folder to escape from; names are refused all the same,
as others are made from them.
"""

import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from hdbench.errors import HdbenchError
from hdbench.npz import BROKEN_ARCHIVE, PLAIN_COMPRESSIONS, one_line

LARGEST_MEMBER = 1 << 30
"""Bytes of the largest file that is read from an archive."""
MOST_MEMBERS = 4_000_000
"""ShapeNetCore as one archive has some 700,000."""

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Member:
    """One file of an archive."""

    name: str
    size: int
    """In bytes, unpacked."""
    checksum: int
    """CRC-32 of its content."""


def archive_members(path: Path) -> dict[str, Member]:
    """The files in the zip archive `path`, by name.

    Raises HdbenchError when it is no archive, or holds names that lead out of it.
    """
    found = {info.filename: info for info in _opened(path).infolist() if info.filename[-1:] != "/"}
    if len(found) > MOST_MEMBERS:
        raise HdbenchError(f"{path} holds {len(found)} files, more than {MOST_MEMBERS}; split it.")
    for name in found:
        _refuse_escape(path, name)
    return {name: Member(name, info.file_size, info.CRC) for name, info in found.items()}


def read_member(path: Path, name: str, *, limit: int = LARGEST_MEMBER) -> bytes:
    """The bytes of the file `name` in the zip archive `path`, checked against its CRC.

    Raises HdbenchError when it is not there, is damaged or encrypted, or unpacks to more than `limit` bytes.
    """
    archive = _opened(path)
    where = f"{path}, {name}"
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise HdbenchError(f"{path} holds no file {name}; download it again.") from None
    if info.file_size > limit:
        raise HdbenchError(f"{where}: {info.file_size} bytes, more than {limit}; remove it.")
    if info.compress_type not in PLAIN_COMPRESSIONS or info.flag_bits & 0x1:
        raise HdbenchError(f"{where}: encrypted or packed in an unusual way; pack it again with deflate.")
    content = bytearray()
    try:
        with archive.open(info) as stream:
            while len(content) <= info.file_size and (piece := stream.read(_CHUNK)):
                content += piece
    except BROKEN_ARCHIVE as error:
        raise HdbenchError(f"{where} is damaged ({one_line(error)}); download the archive again.") from error
    if len(content) != info.file_size:
        raise HdbenchError(f"{where} is not as long as its entry says; download the archive again.")
    return bytes(content)


@lru_cache(maxsize=8)
def _opened_at(path: Path, changed: int) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except BROKEN_ARCHIVE as error:
        raise HdbenchError(f"{path} is not a zip archive ({one_line(error)}); download it again.") from error


def _opened(path: Path) -> zipfile.ZipFile:
    """The archive, kept open in this process: its table of contents may hold hundreds of thousands of names."""
    try:
        return _opened_at(path, path.stat().st_mtime_ns)
    except OSError as error:
        raise HdbenchError(f"{path} cannot be read ({error.strerror}).") from error


def _refuse_escape(path: Path, name: str) -> None:
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or "\\" in name or ".." in parts or ":" in parts[0] or not name.isprintable():
        raise HdbenchError(f"{path} holds {name!r}, which leads out of the archive; do not use it.")

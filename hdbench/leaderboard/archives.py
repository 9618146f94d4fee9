"""Reading files that strangers send: nothing is written outside a folder, unpickled, or allocated before its size
is known to be what was expected.
"""

import math
import stat
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np
import numpy.typing as npt

from hdbench.datasets.arrays import LARGEST_COORDINATE
from hdbench.errors import HdbenchError
from hdbench.npz import BROKEN_ARCHIVE, PLAIN_COMPRESSIONS, Npz, one_line
from hdbench.shapes import Bool, Float32

LARGEST_ARCHIVE = 4 * 2**30
"""Bytes that a submission may unpack to."""
MOST_FILES = 20_000
MOST_FRAMES = 512
MOST_POINTS = 65_536
"""Per shape and frame."""
LARGEST_ID = 200
"""Characters."""

_CHUNK = 2**20
_ARRAYS = ("points", "valid", "ids")


def extract_archive(archive: Path, folder: Path) -> None:
    """Unpack the zip file `archive` into `folder`.

    Raises HdbenchError, having written nothing outside `folder`, for members with absolute or climbing paths, links,
    passwords, unusual compressions, two of one name, and more files or bytes than a submission may have, whatever the
    headers say.
    """
    try:
        with zipfile.ZipFile(archive) as packed:
            members = [member for member in packed.infolist() if not member.filename.endswith("/")]
            _refuse_members(archive, members)
            left = LARGEST_ARCHIVE
            for member in members:
                target = folder / member.filename
                target.parent.mkdir(parents=True, exist_ok=True)
                with packed.open(member) as source, target.open("xb") as sink:
                    left -= _copy(source, sink, left, archive)
    except BROKEN_ARCHIVE as error:
        raise HdbenchError(
            f"{archive} cannot be unpacked ({one_line(error)}); pack it again as a plain zip."
        ) from error


def _refuse_members(archive: Path, members: list[zipfile.ZipInfo]) -> None:
    if len(members) > MOST_FILES:
        raise HdbenchError(f"{archive} holds {len(members)} files; a submission has at most {MOST_FILES}.")
    total = sum(member.file_size for member in members)
    if total > LARGEST_ARCHIVE:
        raise _too_large(archive)
    for member in members:
        name = member.filename
        path = PurePosixPath(name)
        # zipfile turns backslashes into slashes on Windows, where also "C:x" leaves the folder.
        if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or "\0" in name:
            raise HdbenchError(f"{archive} holds {name!r}, which leads out of its folder; pack it with plain paths.")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise HdbenchError(f"{archive} holds the link {name!r}; pack the file itself.")
        if member.flag_bits & 1:
            raise HdbenchError(f"{archive} is locked by a password; pack it without one.")
        if member.compress_type not in PLAIN_COMPRESSIONS:
            raise HdbenchError(f"{archive} is packed in an unusual way; pack it again with deflate.")
    names = [member.filename.casefold() for member in members]
    if len(set(names)) != len(names):
        raise HdbenchError(f"{archive} holds two files of one name; pack it again.")


def _copy(source: IO[bytes], sink: IO[bytes], limit: int, archive: Path) -> int:
    copied = 0
    while chunk := source.read(_CHUNK):
        copied += len(chunk)
        if copied > limit:
            raise _too_large(archive)
        sink.write(chunk)
    return copied


def _too_large(archive: Path) -> HdbenchError:
    return HdbenchError(f"{archive} unpacks to more than {LARGEST_ARCHIVE >> 30} GiB; hand in points alone.")


@dataclass(frozen=True, eq=False)
class SamplePoints:
    """Points of a set of samples, as they were handed in."""

    points: Float32
    """(N, P, 3) or (N, T, P, 3); rows that are not valid may hold anything."""
    valid: Bool
    ids: tuple[str, ...]


def read_samples(path: Path, *, count: int, points: int) -> SamplePoints:
    """The samples in an npz file: `points`, and where they are given `valid` and `ids`.

    Args:
        path: The file.
        count: How many samples there must be: what the protocol demands.
        points: How many points each must have at least.

    Raises:
        HdbenchError: Unless the file holds `count` samples of finite points; its headers decide that before anything
            is read, so that a forged count allocates nothing.
    """
    stored = Npz(path)
    found = {name: stored.header(name) for name in _ARRAYS if name in stored.members}
    if "points" not in found:
        raise HdbenchError(f"{path} holds no array `points`; save it with numpy.savez(path, points=points).")
    _refuse_layout(path, *found["points"], count=count, points=points)
    for name, kinds in (("valid", "b"), ("ids", "U")):
        if name in found and (found[name].shape != (count,) or found[name].dtype.kind not in kinds):
            raise HdbenchError(f"{path}: `{name}` has shape {found[name].shape}; expected one per sample, ({count},).")
    if "ids" in found and found["ids"].dtype.itemsize > 4 * LARGEST_ID:
        raise HdbenchError(f"{path}: `ids` are longer than {LARGEST_ID} characters; shorten them.")
    arrays = {name: stored[name] for name in _ARRAYS if name in found}
    ids = tuple(map(str, arrays["ids"])) if "ids" in arrays else tuple(f"{index:05d}" for index in range(count))
    if len(set(ids)) != count:
        raise HdbenchError(f"{path}: two samples have one id; number them.")
    valid = arrays.get("valid", np.ones(count, np.bool_)).astype(np.bool_)
    values = arrays["points"]
    _refuse_values(path, values, valid, ids)
    with np.errstate(over="ignore", invalid="ignore"):  # of rows marked invalid, which may hold anything
        return SamplePoints(np.ascontiguousarray(values, np.float32), valid, ids)


def holds_meshes(path: Path) -> bool:
    """Whether an npz file holds meshes, under `<id>/v` and `<id>/f`, and not points."""
    return any(name.endswith("/v") for name in Npz(path).members)


def _refuse_layout(path: Path, shape: tuple[int, ...], dtype: np.dtype[np.generic], *, count: int, points: int) -> None:
    if dtype.kind != "f":
        raise HdbenchError(f"{path}: `points` are of type {dtype}; expected floating-point numbers.")
    if len(shape) not in (3, 4) or shape[-1] != 3:
        raise HdbenchError(f"{path}: `points` have shape {shape}; expected (N, P, 3), or (N, T, P, 3) in 4D.")
    if shape[0] != count:
        relation = "fewer" if shape[0] < count else "more"
        raise HdbenchError(f"{path} holds {shape[0]} samples, {relation} than the {count} asked for; give as many.")
    if not points <= shape[-2] <= MOST_POINTS:
        raise HdbenchError(f"{path} has {shape[-2]} points per shape; expected {points} to {MOST_POINTS}.")
    if len(shape) == 4 and not 1 <= shape[1] <= MOST_FRAMES:
        raise HdbenchError(f"{path} has {shape[1]} frames per shape; expected 1 to {MOST_FRAMES}.")
    if math.prod(shape) * dtype.itemsize > LARGEST_ARCHIVE:
        raise _too_large(path)


def _refuse_values(path: Path, points: npt.NDArray[np.generic], valid: Bool, ids: tuple[str, ...]) -> None:
    if not valid.any():
        raise HdbenchError(f"{path}: all samples are marked invalid; there is nothing to score.")
    for index in np.flatnonzero(valid):
        values = np.asarray(points[index], np.float64)
        frames = values.reshape(-1, *values.shape[-2:])
        if not np.isfinite(values).all():
            raise HdbenchError(
                f"{path}: sample {ids[index]!r} has coordinates that are not finite; repair it or mark it invalid."
            )
        if abs(values).max() > LARGEST_COORDINATE:
            raise HdbenchError(
                f"{path}: sample {ids[index]!r} has coordinates beyond {LARGEST_COORDINATE:g}; scale it."
            )
        if not np.ptp(frames, axis=1).any(axis=1).all():
            raise HdbenchError(f"{path}: sample {ids[index]!r} has all points in one place; mark it invalid.")

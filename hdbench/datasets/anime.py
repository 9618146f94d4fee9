"""The `.anime` files of DeformingThings4D: one animated mesh, its faces the same in all frames.

Little-endian: int32 counts of frames F, vertices V and faces N; float32 (V, 3) vertices of the first frame; int32
(N, 3) faces; float32 (F - 1, V, 3) offsets of the other frames from the first. Source: the data set's own description
(FACTS (g)); `hdbench.datasets.deformingthings4d` says what becomes of them.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from hdbench.datasets.arrays import shape_from_mesh
from hdbench.errors import HdbenchError
from hdbench.shapes import Sequence

_HEADER_BYTES = 12
_ROW_BYTES = 12
"""Of one vertex, one face, one offset: three numbers of four bytes."""


class AnimeHeader(NamedTuple):
    """What an `.anime` file declares."""

    frames: int
    vertices: int
    faces: int

    @property
    def file_size(self) -> int:
        """How many bytes the file then has."""
        return _HEADER_BYTES + _ROW_BYTES * (self.frames * self.vertices + self.faces)


def read_header(path: Path) -> AnimeHeader:
    """The counts in `path`, once its size bears them out; raises HdbenchError if it does not."""
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            start = stream.read(_HEADER_BYTES)
    except OSError as error:
        raise HdbenchError(f"{path} cannot be read ({error.strerror}).") from error
    if len(start) < _HEADER_BYTES:
        raise HdbenchError(f"{path} is no .anime file: it ends after {size} bytes; download it again, or remove it.")
    header = AnimeHeader(*np.frombuffer(start, "<i4").tolist())
    if min(header) < 1:
        raise HdbenchError(f"{path}: {_declared(header)}; download it again, or remove it.")
    if header.file_size != size:
        raise HdbenchError(
            f"{path}: {_declared(header)} take {header.file_size} bytes, it has {size}; download it again."
        )
    return header


def read_anime(path: Path, count: int) -> Sequence:
    """`count` frames of `path`, evenly in time from the first one on, as meshes; vertices without faces are dropped.

    The frames are `floor(i F / count)`, so a clip with fewer repeats some. No more than these is read. Raises
    HdbenchError, which names the file, unless it is whole and finite.
    """
    header = read_header(path)
    if header.frames == 1:
        raise HdbenchError(f"{path}: a single frame, which is no animation; remove it.")
    rest = np.fromfile(path, "<f4", header.vertices * 3, offset=_HEADER_BYTES).reshape(-1, 3)
    faces = np.fromfile(path, "<i4", header.faces * 3, offset=_HEADER_BYTES + rest.nbytes).reshape(-1, 3)
    stored = np.memmap(
        path, "<f4", "r", _HEADER_BYTES + rest.nbytes + faces.nbytes, (header.frames - 1, header.vertices, 3)
    )
    chosen = np.arange(count) * header.frames // count
    with np.errstate(over="ignore", invalid="ignore"):  # refused below, by name
        frames = np.stack([rest if frame == 0 else rest + stored[frame - 1] for frame in chosen])
    clip = shape_from_mesh(frames, faces, str(path))
    assert isinstance(clip, Sequence)
    return clip


def _declared(header: AnimeHeader) -> str:
    return f"{header.frames} frames of {header.vertices} vertices and {header.faces} faces"

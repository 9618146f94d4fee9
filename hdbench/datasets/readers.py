"""Shapes from files and folders, in whatever form people keep them.

    a.ply .obj .off .stl .glb .gltf
                                  a mesh (scenes joined into one), or a point cloud where there are no faces
    a.xyz                         a point cloud
    a.npy                         points (P, 3), or (T, P, 3) for a sequence; on its own also a set with N first
    a.npz                         `points`, or an only array, as above (with `ids` and `valid` for a set);
                                  or `vertices` and `faces`
                                  (also `v` and `f`), vertices (T, V, 3) for a sequence,
                                  or many meshes under the keys `<id>/v` and `<id>/f`
    folder of such files          one shape per file (one array alone is a set)
    folder of folders             one shape per sub-folder, whose files are its frames, in natural order
    train/ val/ test/             any of the two above in each
    samples/<method> of a run     see `hdbench.shape_files.ShapeSet`

Nothing is ever unpickled. What cannot be read raises one HdbenchError that names the file.
"""

import logging
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from hdbench.datasets.arrays import (
    LARGEST_MESH,
    Archive,
    load_npy,
    row_names,
    shape_from_mesh,
    shape_from_points,
    sound,
)
from hdbench.datasets.base import SPLITS
from hdbench.datasets.gltf import refuse_unsound
from hdbench.errors import HdbenchError
from hdbench.interrupts import interrupts_deferred
from hdbench.npz import one_line
from hdbench.shape_files import ShapeSet
from hdbench.shapes import Sequence, Shape
from hdbench.text import as_utf8

SUFFIXES = (".npy", ".npz", ".ply", ".obj", ".off", ".stl", ".glb", ".gltf", ".xyz")
LARGEST_FILE = 1 << 30
"""Bytes of a file of one mesh beyond which no one wants to wait for it."""
_COMMON_CATEGORIES = ("airplane", "animal", "car", "chair")
_SILENCE = logging.NullHandler()
"""What trimesh has to say of a broken file ends in our error; without a handler Python prints its tracebacks."""
_EXPECTED = f"files of {' '.join(SUFFIXES)}, or one sub-folder of frames per shape"


@dataclass(frozen=True)
class Entry:
    """One shape that is there to be read. Can be sent to another process."""

    name: str
    """Path below the folder, without suffix, with `/` and in UTF-8 (see `as_utf8`); or the id within an archive."""
    files: tuple[Path, ...]
    """What it is read from."""
    read: Callable[[], Shape]
    """Reads it; raises HdbenchError, which names the file, when it cannot be scored."""
    stamp: str | None = None
    """What stands for its content where that is known without reading it; None: the content of `files`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", as_utf8(self.name))


def read_shapes(path: Path | str) -> Iterator[tuple[str, Shape | HdbenchError]]:
    """Every shape of `path` (see the module) by name, one at a time; the error in place of a shape that is broken.

    Raises HdbenchError when there is no such path, or no shape in it.
    """
    for entry in entries(Path(path)):
        try:
            yield entry.name, entry.read()
        except HdbenchError as error:
            yield entry.name, error


def entries(path: Path) -> list[Entry]:
    """What there is to read in `path` (see the module): rows of arrays as they stand, files in natural order.

    Raises HdbenchError when there is no such path, or no shape in it.
    """
    if not path.exists():
        raise HdbenchError(f"There is no file or folder {path}.")
    found = _folder_entries(path) if path.is_dir() else _file_entries(path)
    if not found:
        raise HdbenchError(f"{path} holds no shapes; expected {_EXPECTED}.")
    if twice := next((name for name, count in Counter(entry.name for entry in found).items() if count > 1), None):
        raise HdbenchError(f"{path}: two shapes are called {twice!r}; rename the file of one.")
    return found


def categories_in(path: Path) -> list[str]:
    """Sub-folders of `path` that are sets of shapes of their own; none where each is one shape, its files the frames.

    They are sets where one has train/, val/ or test/, or bears the name of a common category, or where the files are
    called neither by number nor alike in each sub-folder, as frames are.
    """
    if not path.is_dir() or ShapeSet.is_one(path):
        return []
    children = _children(path)
    folders = [child for child in children if child.is_dir()]
    if any(_is_shape_file(child) for child in children) or any(folder.name in SPLITS for folder in folders):
        return []
    sorted_ones = [folder for folder in folders if any((folder / split).is_dir() for split in SPLITS)]
    files = {folder: names for folder in folders if (names := [file.stem for file in _shape_files(folder)])}
    if sorted_ones or any(folder.name in _COMMON_CATEGORIES for folder in files) or not _are_frames(files.values()):
        return [folder.name for folder in folders if folder in files or folder in sorted_ones]
    return []


def _are_frames(folders: Collection[list[str]]) -> bool:
    """Whether the files of each folder differ in their number alone, or all folders have files of the same names."""
    numbered = all(len({re.sub("[0-9]+", "", name) for name in names}) == 1 for names in folders)
    return numbered or len({tuple(names) for names in folders}) == 1


def natural_order(name: str) -> list[tuple[int, int, str]]:
    """A sort key that puts `frame-9` before `frame-10`."""
    parts = re.split(r"([0-9]+)", name)
    return [(1, int(part), part) if part.isdecimal() else (2, 0, part) for part in parts if part]


def read_shape(path: Path) -> Shape:
    """The one shape in the file `path`, whole, finite and with an extent; raises HdbenchError with the reason if not.

    Arrays with three axes are sequences here: one file, one shape.
    """
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return shape_from_points(load_npy(path), str(path))
    if suffix == ".npz":
        return Archive(path).only_shape()
    if suffix in SUFFIXES:
        return _read_with_trimesh(path)
    raise HdbenchError(f"{path} is of no kind that can be read; expected {_EXPECTED}.")


def read_obj_bytes(content: bytes, where: str) -> Shape:
    """The one shape in the bytes of an OBJ file; as `read_shape` does it, errors naming `where`."""
    _refuse_endless(content, where)
    return _parsed(BytesIO(content), "obj", where)


def _read_with_trimesh(path: Path) -> Shape:
    suffix = path.suffix.lower()
    try:
        if (size := path.stat().st_size) > LARGEST_FILE:
            raise HdbenchError(f"{path}: {size} bytes, more than {LARGEST_FILE}; simplify or remove it.")
        if suffix == ".obj":
            return read_obj_bytes(path.read_bytes(), str(path))
    except OSError as error:
        raise HdbenchError(f"{path} cannot be read ({error.strerror}).") from error
    if suffix in (".glb", ".gltf"):
        refuse_unsound(path)
    return _parsed(path, suffix.removeprefix("."), str(path))


def _parsed(source: Path | BytesIO, kind: str, where: str) -> Shape:
    with interrupts_deferred():
        import trimesh

    logging.getLogger("trimesh").addHandler(_SILENCE)
    try:
        loaded = trimesh.load(source, file_type=kind, process=False, skip_materials=True)
    except Exception as error:  # each of the parsers raises what it stumbles over first
        raise _unreadable(where, error) from error
    return shape_from_trimesh(loaded, where)


def shape_from_trimesh(loaded: Any, where: str) -> Shape:
    """What trimesh loads: a mesh, a cloud, or a scene, whose meshes are joined; HdbenchError, which names `where`."""
    try:
        if hasattr(loaded, "geometry"):
            has_mesh = any(hasattr(part, "faces") for part in loaded.geometry.values())
            loaded = loaded.to_mesh() if has_mesh else loaded.to_geometry()
        vertices, faces = np.asarray(loaded.vertices), np.asarray(getattr(loaded, "faces", ()))
        if not vertices.size:
            raise ValueError("there are no points in it")
    except Exception as error:  # whatever a broken scene makes trimesh stumble over
        raise _unreadable(where, error) from error
    if faces.size:
        return shape_from_mesh(vertices, faces, where)
    return shape_from_points(vertices, where)


def _unreadable(where: str, error: Exception) -> HdbenchError:
    return HdbenchError(f"{where} cannot be read ({one_line(error)}); export it again, or remove it.")


def _refuse_endless(content: bytes, where: str) -> None:
    """Raise HdbenchError for an OBJ file that would take minutes and gigabytes to parse, before it does."""
    if (faces := content.count(b"\nf ")) > LARGEST_MESH:
        raise HdbenchError(f"{where}: {faces} faces, more than {LARGEST_MESH}; simplify or remove it.")


def _file_entries(path: Path) -> list[Entry]:
    suffix = path.suffix.lower()
    if suffix == ".npz":
        archive = Archive(path)
        return [Entry(name, (path,), partial(archive.shape, name)) for name in archive.names]
    if suffix == ".npy" and (rows := load_npy(path)).ndim in (3, 4):
        return [Entry(name, (path,), partial(_read_row, path, i)) for i, name in enumerate(row_names(len(rows)))]
    return [Entry(path.stem, (path,), partial(read_shape, path))]


def _read_row(path: Path, index: int) -> Shape:
    return shape_from_points(load_npy(path)[index], f"{path}, row {index}")


def _folder_entries(path: Path) -> list[Entry]:
    if ShapeSet.is_one(path):
        return _sample_entries(path)
    children = _children(path)
    sample_sets = [child.name for child in children if (child / "points.npz").is_file()]
    if sample_sets:
        raise HdbenchError(f"{path} holds several sets of samples ({', '.join(sample_sets)}); name one of them.")
    splits = [child for child in children if child.name in SPLITS and child.is_dir()]
    if splits:
        return [
            Entry(f"{split.name}/{entry.name}", entry.files, entry.read)
            for split in splits
            for entry in _flat_entries(_children(split))
        ]
    if len(children) == 1 and children[0].suffix.lower() in (".npy", ".npz"):  # nobody compares one shape: it is a set
        return _file_entries(children[0])
    return _flat_entries(children)


def _sample_entries(path: Path) -> list[Entry]:
    samples = ShapeSet.open(path)
    return [
        Entry(name, (path / "points.npz",), partial(_read_sample, samples, index))
        for index, name in enumerate(samples.ids)
    ]


def _read_sample(samples: ShapeSet, index: int) -> Shape:
    name = samples.ids[index]
    if name in samples.invalid:
        raise HdbenchError(f"{samples.folder}, {name}: {samples.invalid[name]}.")
    return sound(samples.shape(index), f"{samples.folder}, {name}")


def _flat_entries(children: list[Path]) -> list[Entry]:
    """One entry per file and per folder of frames; two files of one stem keep their suffixes to tell them apart."""
    frames = {child: _shape_files(child) for child in children if child.is_dir()}
    items = [child for child in children if frames.get(child, _is_shape_file(child))]
    stems = Counter(child.name if child.is_dir() else child.stem for child in items)
    found = []
    for child in items:
        if child.is_dir():
            files = frames[child]
            found.append(Entry(child.name, files, partial(_read_frames, files)))
        else:
            name = child.stem if stems[child.stem] == 1 else child.name
            found.append(Entry(name, (child,), partial(read_shape, child)))
    return found


def _read_frames(files: tuple[Path, ...]) -> Shape:
    """The files of one folder as one shape: a sequence, or the shape itself where there is but one file."""
    if len(files) == 1:
        return read_shape(files[0])
    frames = tuple(read_shape(file) for file in files)
    for file, frame in zip(files, frames, strict=True):
        if isinstance(frame, Sequence) or type(frame) is not type(frames[0]):
            raise HdbenchError(f"{file} is not a frame of the kind of {files[0]}; use meshes alone or points alone.")
    return Sequence(tuple(frame for frame in frames if not isinstance(frame, Sequence)))


def _children(path: Path) -> list[Path]:
    """What lies in a folder and is not hidden, in natural order."""
    try:
        found = [child for child in path.iterdir() if not child.name.startswith(".")]
    except OSError as error:
        raise HdbenchError(f"{path} cannot be read ({error.strerror}).") from error
    return sorted(found, key=lambda child: natural_order(child.name))


def _shape_files(folder: Path) -> tuple[Path, ...]:
    return tuple(child for child in _children(folder) if _is_shape_file(child))


def _is_shape_file(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file()

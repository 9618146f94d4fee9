"""ModelNet40, which the PointNet++ of FPD and KPD was trained on: 12,311 CAD models in 40 classes, in three layouts.

    modelnet40_normal_resampled/modelnet40_{shape_names,train,test}.txt       PointNet++'s, 10,000 points a shape
    modelnet40_normal_resampled/<class>/<class>_NNNN.txt                      x,y,z,nx,ny,nz
    ModelNet40/<class>/{train,test}/<class>_NNNN.off                          Princeton's meshes
    modelnet40_ply_hdf5_2048/ply_data_{train,test}*.h5, shape_names.txt       PointNet's, 2,048 points a shape

The category is a class; `labelled_clouds` reads all of them, to train a classifier. Clouds are centred on their mean
and scaled into the unit sphere, as PointNet++ does; meshes fill a unit box. There is no validation split. Source: Wu
et al. 2015, modelnet.cs.princeton.edu; FACTS g.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from hdbench.datasets.arrays import shape_from_points
from hdbench.datasets.base import Split
from hdbench.datasets.dpc import MOST_SHAPES, opened
from hdbench.datasets.folder import in_unit_box
from hdbench.datasets.published import Finding, Published, compared, read_lines
from hdbench.datasets.readers import Entry, read_shape
from hdbench.errors import HdbenchError, unknown_name
from hdbench.geometry.sampling import shape_points
from hdbench.npz import one_line
from hdbench.progress import Progress
from hdbench.shapes import Float32, Mesh, PointCloud, Shape
from hdbench.store import Store

CLASSES = 40
COUNTS: dict[Split, int] = {"train": 9843, "test": 2468}
LARGEST_TEXT = 1 << 26
"""Bytes of one shape's text file; the usual one has half a megabyte."""

_TRAIN_AND_TEST: tuple[Split, ...] = ("train", "test")


class LabelledClouds(NamedTuple):
    """Clouds of all classes, for training a classifier."""

    points: Float32
    """(N, P, 3)."""
    labels: npt.NDArray[np.int64]
    """(N,), indices into `classes`."""
    classes: list[str]


@dataclass(frozen=True)
class _Item:
    name: str
    label: str
    split: Split
    entry: Entry


class ModelNet40(Published):
    """One class of ModelNet40."""

    layout: ClassVar[str] = "modelnet40"
    title: ClassVar[str] = "ModelNet40"
    obtain: ClassVar[str] = "modelnet.cs.princeton.edu"

    def _open(self, *, strict: bool, store: Store | None, progress: Progress, workers: int | None) -> None:
        found = _items(self.path)
        classes = {item.label for item in found}
        if self.category not in classes:
            raise unknown_name(f"class in {self.path}", self.category, classes)
        chosen = [item for item in found if item.label == self.category]
        self._read([item.entry for item in chosen], in_unit_sphere, store=store, progress=progress, workers=workers)
        splits: dict[str, Split | None] = {item.name: item.split for item in chosen}
        self._settle(splits, unlisted="in no list", strict=strict, mend="unpack the rest of the archive")

    @classmethod
    def inspect(cls, path: Path) -> Iterator[Finding]:
        """See `Published.inspect`."""
        found = _items(path)
        yield compared("classes", len({item.label for item in found}), CLASSES)
        for split in _TRAIN_AND_TEST:
            here = [item for item in found if item.split == split]
            yield compared(f"{split} shapes", len(here), COUNTS[split])
            if absent := [item.name for item in here if not all(file.is_file() for file in item.entry.files)]:
                yield Finding("wrong", f"{split}: {len(absent)} files are missing, such as {absent[0]}")


def labelled_clouds(path: Path, split: Split, count: int, *, seed: int, progress: Progress) -> LabelledClouds:
    """All shapes of a split as `count` points each, in the unit sphere; those that cannot be read are left out.

    Raises HdbenchError when `path` is no ModelNet40, or none of it can be read, or has fewer points.
    """
    found = [item for item in _items(path) if item.split == split]
    classes = sorted({item.label for item in _items(path)})
    points, labels = [], []
    with progress.task(f"Reading ModelNet40, {split}", len(found)) as task:
        for item in found:
            try:
                shape = in_unit_sphere(item.entry.read())
            except HdbenchError as error:
                progress.say(f"Left out: {error}")
                continue
            finally:
                task.advance()
            # PointNet++ takes the first points of the file; of a mesh they are drawn.
            cloud = shape_points(shape, count, seed=seed, name=item.name, keep="first")
            if len(cloud) < count:
                raise HdbenchError(f"{item.entry.files[0]} has {len(cloud)} points of {count}; ask for fewer.")
            points.append(cloud)
            labels.append(classes.index(item.label))
    if not points:
        raise HdbenchError(f"None of the {len(found)} shapes of ModelNet40's {split} split in {path} can be read.")
    return LabelledClouds(np.stack(points), np.array(labels, np.int64), classes)


def in_unit_sphere(shape: Shape) -> Shape:
    """A cloud centred on its mean, its farthest point at distance 1; a mesh in a unit box (see `in_unit_box`)."""
    if not isinstance(shape, PointCloud):
        return in_unit_box(shape)
    points = shape.points.astype(np.float64)
    points -= points.mean(axis=0)
    return PointCloud((points / np.linalg.norm(points, axis=1).max()).astype(np.float32))


def _layout(path: Path) -> Literal["text", "hdf5", "off"] | None:
    """Which of the three layouts `path` has; None: none."""
    if (path / "modelnet40_shape_names.txt").is_file():
        return "text"
    if path.is_dir() and next(path.glob("ply_data_train*.h5"), None):
        return "hdf5"
    if path.is_dir() and next(path.glob("*/train/*_[0-9][0-9][0-9][0-9].off"), None):
        return "off"
    return None


def _items(path: Path) -> list[_Item]:
    """Every shape of ModelNet40, in a fixed order; HdbenchError where `path` is none of the three layouts."""
    layout = _layout(path)
    if layout == "text":
        return _text_items(path)
    if layout == "hdf5":
        return _hdf5_items(path)
    if layout == "off":
        return _off_items(path)
    names = "modelnet40_shape_names.txt, ply_data_train*.h5, <class>/train/<class>_0001.off"
    raise ModelNet40.missing(f"{path} has none of {names}")


def _text_items(path: Path) -> list[_Item]:
    found = []
    for split in _TRAIN_AND_TEST:
        for name in read_lines(path / f"modelnet40_{split}.txt"):
            match = re.fullmatch(r"(\w+)_\d{4}", name)
            if match is None:
                raise HdbenchError(f"{path / f'modelnet40_{split}.txt'} lists {name!r}, no shape; download it again.")
            file = path / match[1] / f"{name}.txt"
            found.append(_Item(name, match[1], split, _file_entry(name, file, partial(_read_text, file))))
    return found


def _off_items(path: Path) -> list[_Item]:
    found = []
    for split in _TRAIN_AND_TEST:
        for file in sorted(path.glob(f"*/{split}/*.off")):
            label = file.parent.parent.name
            found.append(_Item(file.stem, label, split, _file_entry(file.stem, file, partial(_read_off, file))))
    return found


def _file_entry(name: str, file: Path, read: "partial[Shape]") -> Entry:
    return Entry(name, (file,), read, stamp=None if file.is_file() else "missing")


def _hdf5_items(path: Path) -> list[_Item]:
    names = path / "shape_names.txt"
    if not names.is_file():
        raise ModelNet40.missing(f"{path} has no shape_names.txt")
    classes = read_lines(names)
    found = []
    for split in _TRAIN_AND_TEST:
        for file in sorted(path.glob(f"ply_data_{split}*.h5")):
            with opened(file) as stored:
                count = int(stored["data"].shape[0])
                labels = np.asarray(stored["label"]).reshape(-1) if count <= MOST_SHAPES else np.zeros(0)
            if (
                len(labels) != count
                or labels.dtype.kind not in "iu"
                or not set(labels.tolist()) <= set(range(len(classes)))
            ):
                raise HdbenchError(f"{file}: `label` must name a class of each of {count} shapes; download it again.")
            for row, label in enumerate(labels.tolist()):
                name = f"{file.stem}/{row:04d}"
                found.append(_Item(name, classes[label], split, Entry(name, (file,), partial(_read_row, file, row))))
    return found


def _read_text(file: Path) -> Shape:
    try:
        if file.stat().st_size > LARGEST_TEXT:
            raise HdbenchError(f"{file}: more than {LARGEST_TEXT} bytes; download it again.")
        content = file.read_bytes()
        if not content.strip():
            raise ValueError("it is empty")
        rows = np.loadtxt(BytesIO(content), delimiter=",", dtype=np.float64, ndmin=2)
    except (OSError, ValueError) as error:
        raise HdbenchError(f"{file} cannot be read ({one_line(error)}); download it again.") from error
    if rows.shape[1] < 3:
        raise HdbenchError(f"{file}: {rows.shape[1]} columns, not x,y,z,nx,ny,nz; download it again.")
    return shape_from_points(rows[:, :3], str(file))


def _read_off(file: Path) -> Shape:
    shape = read_shape(file)
    if not isinstance(shape, Mesh):
        raise HdbenchError(f"{file}: no faces; download it again, or leave it out.")
    return shape


def _read_row(file: Path, row: int) -> Shape:
    with opened(file) as stored:
        points = np.asarray(stored["data"][row])
    return shape_from_points(points, f"{file}, row {row}")

"""The point clouds that DPC was trained on: all of ShapeNet in one hdf5 file, 2,048 points a shape, its own split.

    shapenet.hdf5      <synset>/{train,val,test}      (n, 2048, 3) float32

Shapes are named `<split>/<row>`, their points as stored; DPC normalises each on its own when it learns, which is the
method's affair. Needs h5py (`pip install 'hdbench[h5]'`). Source: Luo & Hu, "Diffusion Probabilistic Models for 3D
Point Cloud Generation" (CVPR 2021); FACTS c.3, e.7.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from hdbench.datasets.arrays import row_names, shape_from_points
from hdbench.datasets.base import SPLITS, Split
from hdbench.datasets.published import Finding, Published, as_it_is, compared
from hdbench.datasets.readers import Entry
from hdbench.datasets.taxonomy import category_of, is_synset, synset_of
from hdbench.errors import HdbenchError
from hdbench.npz import one_line
from hdbench.progress import Progress
from hdbench.shapes import Shape
from hdbench.store import Store

FILE = "shapenet.hdf5"
POINTS = 2048
MOST_SHAPES = 1_000_000
"""In one split; the whole of ShapeNetCore has 51,000."""
COUNTS: dict[tuple[str, Split], int] = {("airplane", "test"): 607, ("car", "test"): 528, ("chair", "test"): 989}
"""Shapes by category and split, where publications say."""


class DPCShapes(Published):
    """One category of DPC's hdf5, by name or synset."""

    layout: ClassVar[str] = "dpc"
    title: ClassVar[str] = "DPC's shapenet.hdf5"
    obtain: ClassVar[str] = "the link in the README of github.com/luost26/diffusion-point-cloud"

    def _open(self, *, strict: bool, store: Store | None, progress: Progress, workers: int | None) -> None:
        file, synset = _file(self.path), synset_of(self.category)
        with opened(file) as stored:
            counts = {
                split: len(_clouds(stored, file, synset, split)) for split in SPLITS if f"{synset}/{split}" in stored
            }
            known = [category_of(name) for name in stored if is_synset(name)]
        if not counts:
            raise self.missing(f"{file} has no group {synset} ({self.category}), only {', '.join(known) or 'none'}")
        found = {
            f"{split}/{row}": (index, split)
            for split, count in counts.items()
            for index, row in enumerate(row_names(count))
        }
        entries = [
            Entry(name, (file,), partial(_read_cloud, file, synset, split, index))
            for name, (index, split) in found.items()
        ]
        self._read(entries, as_it_is, store=store, progress=progress, workers=workers)
        splits: dict[str, Split | None] = {name: split for name, (_, split) in found.items()}
        self._settle(splits, unlisted="in no split", strict=strict, mend="download the file again")

    @classmethod
    def inspect(cls, path: Path) -> Iterator[Finding]:
        """See `Published.inspect`."""
        file = _file(path)
        with opened(file) as stored:
            synsets = [name for name in stored if is_synset(name)]
            if not synsets:
                raise cls.missing(f"{file} has no groups named by synset, such as 02691156")
            for synset in synsets:
                for split in SPLITS:
                    category = category_of(synset)
                    if f"{synset}/{split}" not in stored:
                        yield Finding("wrong", f"{category} {split}: missing")
                        continue
                    count = len(_clouds(stored, file, synset, split))
                    yield compared(f"{category} {split}", count, COUNTS.get((category, split)))


@contextmanager
def opened(file: Path) -> Iterator[Any]:
    """The hdf5 file `file`, open for reading; HdbenchError for whatever is wrong with it, or where h5py is missing."""
    try:
        import h5py
    except ImportError:
        raise HdbenchError(f"{file} is an hdf5 file, and h5py is not installed: pip install 'hdbench[h5]'.") from None
    try:
        with h5py.File(file, "r") as stored:
            yield stored
    except HdbenchError:
        raise
    except Exception as error:  # h5py raises what it stumbles over: OSError, RuntimeError, KeyError, ValueError, …
        raise HdbenchError(f"{file} cannot be read as hdf5 ({one_line(error)}); download it again.") from error


def _file(path: Path) -> Path:
    """The hdf5 file: `path`, or the one in the folder `path`."""
    if path.is_file():
        return path
    if (path / FILE).is_file():
        return path / FILE
    raise DPCShapes.missing(f"There is no {FILE} at {path}")


def _clouds(stored: Any, file: Path, synset: str, split: str) -> Any:
    clouds = stored[f"{synset}/{split}"]
    shape = getattr(clouds, "shape", None)
    if shape is None or len(shape) != 3 or shape[1:] != (POINTS, 3):
        raise HdbenchError(f"{file}, {synset}/{split}: {shape}, not (n, {POINTS}, 3); download it again.")
    if shape[0] > MOST_SHAPES:
        raise HdbenchError(f"{file}, {synset}/{split}: {shape[0]} shapes, more than {MOST_SHAPES}; download it again.")
    return clouds


def _read_cloud(file: Path, synset: str, split: str, index: int) -> Shape:
    with opened(file) as stored:
        points = np.asarray(_clouds(stored, file, synset, split)[index])
    return shape_from_points(points, f"{file}, {synset}/{split}, row {index}")

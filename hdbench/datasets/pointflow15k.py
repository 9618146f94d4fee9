"""PointFlow's point clouds of ShapeNetCore v2, 15,000 points a shape (PC15k), which PVD and LION are measured on too.

    ShapeNetCore.v2.PC15k/<synset>/{train,val,test}/<model>.npy       (15000, 3) float32

The first 10,000 points are for training, the last 5,000 for comparing with: of a shape of the training split
`shape` gives the former, of others the latter, in stored order. Coordinates are those of the meshes; `moments` are
what PointFlow and PVD divide by. Published tables compare with the *validation* split; so do the protocols named
after them. Source: Yang et al., PointFlow (ICCV 2019); FACTS d.4, e.7, g.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np

from hdbench.datasets.arrays import load_npy, shape_from_points
from hdbench.datasets.base import SPLITS, Split
from hdbench.datasets.published import Finding, Published, as_it_is, compared
from hdbench.datasets.readers import Entry
from hdbench.datasets.taxonomy import category_of, is_synset, synset_of
from hdbench.errors import HdbenchError
from hdbench.geometry.normalisation import Moments
from hdbench.geometry.sampling import Reduction
from hdbench.progress import Progress
from hdbench.shapes import Float32, Shape
from hdbench.store import Store

FOLDER = "ShapeNetCore.v2.PC15k"
POINTS = 15_000
TRAINING_POINTS = 10_000
"""The first ones; the others are for comparing with."""
COUNTS: dict[tuple[str, Split], int] = {
    ("airplane", "train"): 2832,
    ("airplane", "val"): 405,
    ("airplane", "test"): 808,
    ("chair", "train"): 4612,
    ("chair", "val"): 662,
    ("car", "train"): 2458,
    ("car", "val"): 352,
}
"""Shapes by category and split, where publications say."""


class PointFlow15k(Published):
    """One category of PC15k, by name or synset."""

    layout: ClassVar[str] = "pointflow15k"
    reduction: Reduction = "first"
    title: ClassVar[str] = "PointFlow's PC15k"
    obtain: ClassVar[str] = "the link in the README of github.com/stevenygd/PointFlow"

    def _open(self, *, strict: bool, store: Store | None, progress: Progress, workers: int | None) -> None:
        folder = _root(self.path) / synset_of(self.category)
        if not folder.is_dir():
            raise self.missing(f"{self.path} has no folder {folder.name} ({self.category})")
        found: dict[str, tuple[Entry, Split]] = {}
        for split in SPLITS:
            for file in sorted((folder / split).glob("*.npy")):
                name = f"{split}/{file.stem}"
                found[name] = (Entry(name, (file,), partial(_read_pool, file, training=split == "train")), split)
        if not found:
            raise self.missing(f"{folder} has no .npy files in train/, val/ and test/")
        self._read([entry for entry, _ in found.values()], as_it_is, store=store, progress=progress, workers=workers)
        splits: dict[str, Split | None] = {name: split for name, (_, split) in found.items()}
        mend = "unpack all of train/, val/ and test/"
        self._settle(splits, unlisted="in no split", strict=strict, mend=mend)

    def moments(self) -> Moments:
        """Mean per axis and one deviation (ddof 0) of all 15,000 points of all training shapes: PVD's normalisation."""
        total, squares, count = np.zeros(3), 0.0, 0
        for name in self.ids("train"):
            points = _read_all(self._prepared.entries[name].files[0]).astype(np.float64)
            total += points.sum(axis=0)
            squares += float((points**2).sum())
            count += len(points)
        x, y, z = (total / count).tolist()
        scalar_mean = float(total.sum()) / (3 * count)
        return Moments((x, y, z), float(np.sqrt(squares / (3 * count) - scalar_mean**2)))

    @classmethod
    def inspect(cls, path: Path) -> Iterator[Finding]:
        """See `Published.inspect`."""
        folders = _synset_folders(_root(path))
        if not folders:
            raise cls.missing(f"{path} has no folders named by synset, such as 02691156")
        for folder in folders:
            category = category_of(folder.name)
            names: dict[str, Split] = {}
            for split in SPLITS:
                files = sorted((folder / split).glob("*.npy"))
                yield compared(f"{category} {split}", len(files), COUNTS.get((category, split)))
                if twice := next((file.stem for file in files if names.setdefault(file.stem, split) != split), None):
                    yield Finding("wrong", f"{category}: {twice} stands in {names[twice]} and in {split}")
                if bad := next((file for file in files if file.stat().st_size < POINTS * 12), None):
                    yield Finding("wrong", f"{bad} is too short to hold {POINTS} points")


def _root(path: Path) -> Path:
    """The folder of synsets: `path`, or what the archive's own folder within it is called."""
    inner = path / FOLDER
    return inner if inner.is_dir() else path


def _synset_folders(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return sorted(child for child in root.iterdir() if is_synset(child.name) and (child / "train").is_dir())


def _read_pool(file: Path, *, training: bool) -> Shape:
    points = _read_all(file)
    return shape_from_points(points[:TRAINING_POINTS] if training else points[TRAINING_POINTS:], str(file))


def _read_all(file: Path) -> Float32:
    points = load_npy(file)
    if points.shape != (POINTS, 3):
        raise HdbenchError(f"{file}: an array of shape {points.shape}, not ({POINTS}, 3); download it again.")
    return points

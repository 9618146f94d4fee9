"""ShapeNetCore, v1 and v2: CAD models in 55 categories, from its folder or straight from its zip archives.

    <root>/<synset>/<model>/models/model_normalized.obj      v2
    <root>/<synset>/<model>/model.obj                        v1
    <root>/<synset>.zip, or all of it in one .zip            either, read in place
    <root>/all.csv                                           the official splits (any .csv with its columns)
    <root>/<synset>/{train,val,test}_split.lst               HyperDiffusion's splits, which go before the official ones

Without splits beside the data, the hash of a model's name decides (80 / 5 / 15). Shapes are moved and scaled as v2 is
published: bounding box centred on 0, its diagonal 1. Frame of v2: +Y up, -Z front; that of v1 is left as it is.
Meshes are not watertight: occupancy is by winding number. Source: Chang et al. 2015, arXiv:1512.03012; FACTS g.
"""

import csv
import re
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np

from hdbench.datasets.archives import archive_members, read_member
from hdbench.datasets.base import SPLITS, Split, split_of
from hdbench.datasets.folder import in_unit_box, refuse_unnameable
from hdbench.datasets.hub import HubFile
from hdbench.datasets.published import Finding, Published, compared, split_lists
from hdbench.datasets.readers import Entry, read_obj_bytes, read_shape
from hdbench.datasets.taxonomy import category_of, is_synset, synset_of
from hdbench.errors import HdbenchError
from hdbench.progress import Progress
from hdbench.shapes import Mesh, Shape
from hdbench.store import Store

NAMES = ("ShapeNetCore.v2", "ShapeNetCore.v1", "ShapeNetCore", "ShapeNetCore.v2.zip", "ShapeNetCore.v1.zip")
"""What people's copies are called."""
MODEL_FILES = ("models/model_normalized.obj", "model.obj")
"""Of v2 and of v1, within the folder of a model."""
SPLIT_COLUMNS = ("synsetId", "modelId", "split")
COUNTS = {"airplane": 4045}
"""Models by category, where FACTS says."""

_MEMBER = re.compile(r"(?:.*/)?(\d{8})/([^/]+)/(?:models/model_normalized|model)\.obj")


class ShapeNet(Published):
    """One category of ShapeNetCore, by name or synset."""

    layout: ClassVar[str] = "shapenet"
    title: ClassVar[str] = "ShapeNetCore"
    obtain: ClassVar[str] = "shapenet.org or huggingface.co/datasets/ShapeNet/ShapeNetCore (both ask you to register)"

    @classmethod
    def on_hub(cls, category: str) -> HubFile:
        """The archive of a category on the Hugging Face hub, gated behind its terms."""
        refuse_unnameable(category)
        return HubFile("ShapeNet/ShapeNetCore", f"{synset_of(category)}.zip")

    def _open(self, *, strict: bool, store: Store | None, progress: Progress, workers: int | None) -> None:
        refuse_unnameable(self.category)
        synset = synset_of(self.category)
        root = _root(self.path)
        entries = _entries(root, synset)
        if not entries:
            there = ", ".join(map(category_of, _synsets(root))) or "no category at all"
            raise self.missing(f"{self.path} has no models of {synset} ({self.category}), but {there}")
        given = _splits(root, synset)
        if given and not given.keys() & {entry.name for entry in entries}:
            raise HdbenchError(
                f"The split lists beside {root} name none of its {len(entries)} models; copy those that belong to it."
            )
        self._read(entries, in_unit_diagonal, store=store, progress=progress, workers=workers)
        splits: dict[str, Split | None] = {
            entry.name: given.get(entry.name) if given else split_of(entry.name) for entry in entries
        }
        mend = "copy the official all.csv beside its categories, or unpack the rest of the category"
        self._settle(splits, unlisted="not in the split lists", strict=strict, mend=mend)

    @classmethod
    def inspect(cls, path: Path) -> Iterator[Finding]:
        """See `Published.inspect`."""
        root = _root(path)
        synsets = _synsets(root)
        if not synsets:
            raise cls.missing(f"{path} has no folders or archives named by synset, such as 02691156")
        for synset in synsets:
            category, entries = category_of(synset), _entries(root, synset)
            models = [entry.name for entry in entries if entry.files]
            yield compared(f"{category}: models", len(models), COUNTS.get(category))
            if absent := [entry.name for entry in entries if not entry.files]:
                yield Finding("wrong", f"{category}: {len(absent)} folders without a model, such as {absent[0]}")
            if splits := _splits(root, synset):
                counts = ", ".join(f"{list(splits.values()).count(split)} {split}" for split in SPLITS)
                lost = sorted(splits.keys() - set(models))
                yield Finding("ok", f"{category}: split lists name {counts}")
                if lost:
                    yield Finding("wrong", f"{category}: {len(lost)} listed models are missing, such as {lost[0]}")
                if extra := len(set(models) - splits.keys()):
                    yield Finding("note", f"{category}: {extra} models are in no split list and will be left out")
            else:
                yield Finding("note", f"{category}: no split lists, so the hash of the name decides")


def in_unit_diagonal(shape: Shape) -> Shape:
    """`shape` with its bounding box centred on 0 and the diagonal of that 1 long, as ShapeNetCore v2 is published."""
    boxed = in_unit_box(shape)
    assert isinstance(boxed, Mesh)
    diagonal = np.linalg.norm(np.ptp(boxed.vertices.astype(np.float64), axis=0))
    return Mesh((boxed.vertices / diagonal).astype(np.float32), boxed.faces)


def _root(path: Path) -> Path:
    """The folder of synsets, or the archive: `path`, or what lies in it under the dataset's own name."""
    if path.is_dir() and not any(is_synset(child.stem) for child in path.iterdir()):
        return next((path / name for name in NAMES if (path / name).exists()), path)
    return path


def _synsets(root: Path) -> list[str]:
    """Categories that are there, as folders or archives."""
    if root.is_file():
        return sorted({match[1] for name in archive_members(root) if (match := _MEMBER.fullmatch(name))})
    if not root.is_dir():
        return []
    names = {child.stem for child in root.iterdir() if child.is_dir() or child.suffix.lower() == ".zip"}
    return sorted(filter(is_synset, names))


def _entries(root: Path, synset: str) -> list[Entry]:
    """The models of a category, by name; those without a file among them, which raise when they are read."""
    if root.is_file():
        return _zip_entries(root, synset)
    if (root / synset).is_dir() and (found := _folder_entries(root / synset)):
        return found
    archive = root / f"{synset}.zip"
    return _zip_entries(archive, synset) if archive.is_file() else []


def _folder_entries(folder: Path) -> list[Entry]:
    found = []
    for model in sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith(".")):
        file = next((model / name for name in MODEL_FILES if (model / name).is_file()), None)
        if file is None:
            found.append(Entry(model.name, (), partial(_refuse_absent, model), stamp="missing"))
        else:
            found.append(Entry(model.name, (file,), partial(_read_model, file)))
    return found if any(entry.files for entry in found) else []


def _zip_entries(archive: Path, synset: str) -> list[Entry]:
    found: dict[str, Entry] = {}
    for member in archive_members(archive).values():
        match = _MEMBER.fullmatch(member.name)
        if match and match[1] == synset:
            stamp = f"crc32 {member.checksum:08x} {member.size}"
            found[match[2]] = Entry(
                match[2], (archive,), partial(_read_packed_model, archive, member.name), stamp=stamp
            )
    return [found[name] for name in sorted(found)]


def _read_model(file: Path) -> Shape:
    return _mesh(read_shape(file), str(file))


def _read_packed_model(archive: Path, member: str) -> Shape:
    where = f"{archive}, {member}"
    return _mesh(read_obj_bytes(read_member(archive, member), where), where)


def _refuse_absent(model: Path) -> Shape:
    raise HdbenchError(f"{model} has neither {' nor '.join(MODEL_FILES)}; unpack it again.")


def _mesh(shape: Shape, where: str) -> Shape:
    if not isinstance(shape, Mesh):
        raise HdbenchError(f"{where}: no faces; download it again, or leave it out.")
    return shape


def _splits(root: Path, synset: str) -> dict[str, Split]:
    """Split by model: from HyperDiffusion's lists in the category's folder, else from an official csv; else empty."""
    folder = root.parent if root.is_file() else root
    if lists := split_lists(folder / synset):
        return lists
    for path in sorted(folder.glob("*.csv")):
        if splits := read_official_splits(path, synset):
            return splits
    return {}


def read_official_splits(path: Path, synset: str) -> dict[str, Split]:
    """Split by model of one category from a csv with the columns of ShapeNet's own; empty where it has other columns.

    Raises HdbenchError when it cannot be read, or names a split nobody knows.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            table = csv.DictReader(stream)
            if not set(SPLIT_COLUMNS) <= set(table.fieldnames or ()):
                return {}
            return dict(_rows_of(table, synset, path))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise HdbenchError(f"{path} cannot be read ({error}); download it again.") from error


def _rows_of(table: Iterable[dict[str, str]], synset: str, path: Path) -> Iterator[tuple[str, Split]]:
    for row in table:
        if (row["synsetId"] or "").zfill(8) != synset:  # spreadsheets drop leading zeros
            continue
        split = next((split for split in SPLITS if split == row["split"]), None)
        if split is None:
            raise HdbenchError(f"{path} puts {row['modelId']!r} into the split {row['split']!r}; download it again.")
        yield row["modelId"], split

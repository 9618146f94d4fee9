"""Anyone's shapes as a dataset: a folder of meshes or point clouds, or an archive of them."""

from collections.abc import Sequence as Several
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from hdbench.datasets.base import SPLITS, Split, split_of
from hdbench.datasets.collection import Collection
from hdbench.datasets.manifest import MANIFEST, Manifest
from hdbench.datasets.readers import Entry, categories_in, entries, natural_order
from hdbench.errors import HdbenchError, unknown_name
from hdbench.progress import Progress
from hdbench.shapes import Kind, Mesh, PointCloud, Sequence, Shape
from hdbench.store import Store
from hdbench.text import as_utf8


class Folder(Collection):
    """The shapes of one category in `path`, in any form that `hdbench.datasets.readers` knows.

    Where `path` holds several categories, as sub-folders or as `<category>/<id>/v` in an archive, the asked one is
    taken. A shape stands in the split of its `train/`, `val/` or `test/` folder; else in that of `manifest.csv`
    beside the data; else in the one that the hash of its group gives it (see `group_of`). Validation may be empty.

    Shapes are moved and scaled to a unit box: bounding box centred on 0, longest side 1; a sequence as a whole.

    Raises HdbenchError when `path` has no shapes of `category`, or none to train on or none to test on.
    """

    layout: ClassVar[str] = "folder"
    version: ClassVar[int] = 2

    def __init__(
        self,
        path: Path | str,
        category: str,
        *,
        strict: bool = False,
        store: Store | None = None,
        progress: Progress | None = None,
        workers: int | None = None,
    ) -> None:
        self.path = Path(path)
        self.name = as_utf8(self.path.resolve().stem)
        self.category = category
        refuse_unnameable(category)
        root = self.path / category if (self.path / category).is_dir() else self.path
        if root == self.path and (categories := categories_in(self.path)):
            raise unknown_name(f"category in {self.path}", category, categories)
        found = sorted(_of_category(entries(root), root, category), key=lambda entry: natural_order(entry.name))
        manifest = None if _in_split_folders(found) else _manifest_beside(self.path, root, found)
        if manifest:
            found = _of_listed_category(found, manifest, category)
            for entry in found:
                manifest.split(entry.name, category)  # one that nobody knows is refused before hours of reading
        self._read(found, in_unit_box, store=store, progress=progress, workers=workers)
        splits = {entry.name: _split_of(entry.name, self.kind, manifest, category) for entry in found}
        mend = "add shapes, or sort them into train/ and test/ sub-folders"
        self._settle(splits, unlisted=f"not listed in {MANIFEST}", strict=strict, mend=mend)


def group_of(clip: str) -> str:
    """What must stand in one split with a clip: the animal, where clips are called `<animal>__<action>`."""
    return clip.partition("__")[0] or clip


def in_unit_box(shape: Shape) -> Shape:
    """`shape` with its bounding box centred on 0 and its longest side 1; a sequence over all its frames."""
    from hdbench.geometry.normalisation import bounding_box

    frames = shape.frames if isinstance(shape, Sequence) else (shape,)
    points = [frame.vertices if isinstance(frame, Mesh) else frame.points for frame in frames]
    boxed = bounding_box(np.concatenate(points)[None], half_extent=0.5)[0]
    ends = np.cumsum([len(frame) for frame in points])[:-1]
    moved = tuple(
        Mesh(coordinates, frame.faces) if isinstance(frame, Mesh) else PointCloud(coordinates)
        for frame, coordinates in zip(frames, np.split(boxed, ends), strict=True)
    )
    return Sequence(moved) if isinstance(shape, Sequence) else moved[0]


def refuse_unnameable(category: str) -> None:
    """A category is the name of a folder below the data: it must not lead out of it."""
    if not category or category.startswith(".") or "/" in category or "\\" in category or category != as_utf8(category):
        raise HdbenchError(f"{category!r} cannot name a category; use letters, digits, '-' and '_'.")


def _in_split_folders(found: Several[Entry]) -> bool:
    return any(entry.name.partition("/")[0] in SPLITS for entry in found)


def _of_category(found: list[Entry], root: Path, category: str) -> list[Entry]:
    """The entries of an archive with keys `<category>/<id>`, under their ids; of anything else, all."""
    if root.is_dir() or _in_split_folders(found) or not all("/" in entry.name for entry in found):
        return found
    chosen = [entry for entry in found if entry.name.partition("/")[0] == category]
    if not chosen:
        raise unknown_name(f"category in {root}", category, {entry.name.partition("/")[0] for entry in found})
    return [replace(entry, name=entry.name.partition("/")[2]) for entry in chosen]


def _manifest_beside(path: Path, root: Path, found: list[Entry]) -> Manifest | None:
    """The manifest that lists any of these shapes; HdbenchError where there is one, and it lists none of them."""
    folders = dict.fromkeys((root, path) if path.is_dir() else (path.parent,))
    manifests = [manifest for folder in folders if (manifest := Manifest.find(folder))]
    for manifest in manifests:
        if any(manifest.categories(entry.name) for entry in found):
            return manifest
    for manifest in manifests:
        raise HdbenchError(
            f"{manifest.path} lists none of the {len(found)} shapes in {root} (the first is {found[0].name!r}); "
            "write their names in its column `id`, or move it elsewhere."
        )
    return None


def _of_listed_category(found: list[Entry], manifest: Manifest, category: str) -> list[Entry]:
    """The entries that the manifest does not list under other categories alone."""
    categories = {entry.name: manifest.categories(entry.name) for entry in found}
    chosen = [entry for entry in found if not categories[entry.name] or {category, ""} & categories[entry.name]]
    if not any(categories[entry.name] for entry in chosen):
        raise unknown_name(f"category in {manifest.path}", category, set[str]().union(*categories.values()))
    return chosen


def _split_of(name: str, kind: Kind, manifest: Manifest | None, category: str) -> Split | None:
    """The split of a shape; None where a manifest has one for others but not for it."""
    for split in SPLITS:
        if name.startswith(f"{split}/"):
            return split
    if manifest:
        return manifest.split(name, category)
    return split_of(group_of(name) if kind == "sequence" else name)

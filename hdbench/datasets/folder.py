"""Anyone's shapes as a dataset: a folder of meshes or point clouds, or an archive of them."""

import json
from collections import Counter
from collections.abc import Sequence as Several
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hdbench.datasets.base import SPLITS, Dataset, Split, split_of
from hdbench.datasets.manifest import MANIFEST, Manifest
from hdbench.datasets.readers import Entry, categories_in, entries, natural_order
from hdbench.errors import HdbenchError, unknown_name
from hdbench.progress import Progress
from hdbench.shapes import Bool, Float32, Kind, Mesh, PointCloud, Sequence, Shape
from hdbench.store import Key, Store, digest, file_digest, write_atomic

VERSION = 1
"""Raised whenever the same files would give other shapes or other splits."""


class Folder(Dataset):
    """The shapes of one category in `path`, in any form that `hdbench.datasets.readers` knows.

    Where `path` holds several categories, as sub-folders or as `<category>/<id>/v` in an archive, the asked one is
    taken. A shape stands in the split of its `train/`, `val/` or `test/` folder; else in that of `manifest.csv`
    beside the data; else in the one that the hash of its group gives it (see `group_of`). Validation may be empty.

    Shapes are moved and scaled to a unit box: bounding box centred on 0, longest side 1; a sequence as a whole.
    Every file is read once when the dataset is first opened (not again by those who give the same `store`). What
    cannot be read, or is of another kind than most, is left out and named in `skipped`; with `strict` it is an error.

    Raises HdbenchError when `path` has no shapes of `category`, or none to train on or none to test on.
    """

    def __init__(
        self,
        path: Path | str,
        category: str,
        *,
        strict: bool = False,
        store: Store | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.path = Path(path)
        self.name = self.path.resolve().stem
        self.category = category
        _refuse_unnameable(category)
        root = self.path / category if (self.path / category).is_dir() else self.path
        if root == self.path and (categories := categories_in(self.path)):
            raise unknown_name(f"category in {self.path}", category, categories)
        found = sorted(_of_category(entries(root), root, category), key=lambda entry: natural_order(entry.name))
        manifest = None if _in_split_folders(found) else _manifest_beside(self.path, root, found)
        if manifest:
            found = _of_listed_category(found, manifest, category)
        self._content = _content(found)
        checked = _checked(found, self.path, self._content, store, progress or Progress())
        splits = {entry.name: _split_of(entry.name, checked.kind, manifest, category) for entry in found}
        unlisted = {name: f"not listed in {MANIFEST}" for name, split in splits.items() if split is None}
        self.kind = checked.kind
        self.skipped = {**checked.skipped, **unlisted}
        self._entries = {entry.name: entry for entry in found if entry.name not in self.skipped}
        self._splits = {name: split for name, split in splits.items() if split and name not in self.skipped}
        if strict and self.skipped:
            name, reason = next(iter(self.skipped.items()))
            count = f"{len(self.skipped)} of {len(found)}"
            raise HdbenchError(f"{count} shapes in {self.path} cannot be used. The first, {name}: {reason}")
        self._refuse_empty_splits()

    def _refuse_empty_splits(self) -> None:
        counts = Counter(self._splits.values())
        if not counts["train"] or not counts["test"]:
            so_far = ", ".join(f"{counts[split]} {split}" for split in SPLITS)
            raise HdbenchError(
                f"{self.path} has no shapes to {'test' if counts['train'] else 'train'} on ({so_far}, "
                f"{len(self.skipped)} skipped); add shapes, or sort them into train/ and test/ sub-folders."
            )

    def ids(self, split: Split) -> tuple[str, ...]:
        """See `Dataset.ids`; in natural order."""
        return tuple(name for name, its_split in self._splits.items() if its_split == split)

    def shape(self, name: str) -> Shape:
        """See `Dataset.shape`."""
        if name not in self._entries:
            raise unknown_name(f"shape in {self.path}", name, self._entries)
        return in_unit_box(self._entries[name].read())

    def occupancy(self, name: str, points: Float32, *, frame: int = 0) -> Bool:
        """See `Dataset.occupancy`; by winding number, so that meshes need not be watertight."""
        from hdbench.geometry.occupancy import shape_occupancy

        try:
            return shape_occupancy(self.shape(name), points, frame=frame)
        except HdbenchError as error:
            raise HdbenchError(f"{name} in {self.path}: {error}") from error

    def fingerprint(self) -> dict[str, Any]:
        """See `Dataset.fingerprint`: the content of every file, wherever the files lie."""
        return {
            "name": "folder",
            "version": VERSION,
            "category": self.category,
            "content": self._content,
            "splits": digest(self._splits),
        }


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


def _refuse_unnameable(category: str) -> None:
    """A category is the name of a folder below the data: it must not lead out of it."""
    if not category or category.startswith(".") or "/" in category or "\\" in category:
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


def _content(found: list[Entry]) -> str:
    """A digest of the content and the names of all shapes, wherever the files lie."""
    files = {file: file_digest(file) for file in sorted({file for entry in found for file in entry.files})}
    return digest([[entry.name, [files[file] for file in entry.files]] for entry in found])


@dataclass(frozen=True)
class _Checked:
    kind: Kind
    skipped: dict[str, str]


def _checked(found: list[Entry], path: Path, content: str, store: Store | None, progress: Progress) -> _Checked:
    """What most of the shapes are, and why the others cannot be used; kept in the store if there is one."""
    if store is None:
        return _check(found, path, progress)

    def make(workspace: Path) -> None:
        write_atomic(workspace / "checked.json", json.dumps(asdict(_check(found, path, progress)), indent=1))

    key = Key("check", VERSION, {"path": str(path.resolve()), "content": content})
    record = (store.get_or_make(key, make).folder / "checked.json").read_text(encoding="utf-8")
    return _Checked(**json.loads(record))


def _check(found: list[Entry], path: Path, progress: Progress) -> _Checked:
    forms: dict[str, tuple[Kind, str]] = {}
    skipped: dict[str, str] = {}
    with progress.task("Reading every shape once", len(found)) as task:
        for entry in found:
            try:
                forms[entry.name] = _form(entry.read())
            except HdbenchError as error:
                skipped[entry.name] = str(error)
            task.advance()
    if not forms:
        name, reason = next(iter(skipped.items()))
        raise HdbenchError(f"None of the {len(found)} shapes in {path} can be used. The first, {name}: {reason}")
    usual, _ = Counter(forms.values()).most_common(1)[0]
    for name, form in forms.items():
        if form != usual:
            skipped[name] = f"a {form[1]} where most are a {usual[1]}"
    return _Checked(usual[0], skipped)


def _form(shape: Shape) -> tuple[Kind, str]:
    """The kind of a shape, and in words what shapes of one dataset must have in common."""
    if isinstance(shape, Mesh):
        return "mesh", "mesh"
    if isinstance(shape, PointCloud):
        return "points", "point cloud"
    return "sequence", f"sequence of {len(shape.frames)} {_form(shape.frames[0])[1]} frames"

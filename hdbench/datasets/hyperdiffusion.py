"""What HyperDiffusion's authors released: point clouds, split lists, lists of broken shapes, meshes, neural fields.

    data/<synset>_2048_pc/<model>.obj.npy                   surface points, of which the first three columns are used
    data/<synset>_2048_pc/{train,val,test}_split.lst        (or in data/<synset>/)
    data/<synset>/<model>.obj                               watertight meshes, if you have them
    data/{plane,car,chair}_problematic_shapes.txt           left out of training, as in the paper
    mlp_weights/<run>/occ_<model>_jitter_0_model_final.pth  neural fields: `hdbench fit --from-fields` reads them

Where there are meshes the dataset is of meshes, which all methods can learn; else of clouds. Samples are compared with
the released clouds in either case. Coordinates as released. Source: Erkoç et al., HyperDiffusion (ICCV 2023), FACTS
a.3, a.7, g.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import ClassVar

from hdbench.datasets.arrays import load_npy, shape_from_points
from hdbench.datasets.base import SPLITS, Split
from hdbench.datasets.published import (
    Finding,
    Published,
    as_it_is,
    compared,
    read_lines,
    split_lists,
    without_suffixes,
)
from hdbench.datasets.readers import Entry, read_shape
from hdbench.datasets.taxonomy import SYNSETS, category_of, is_synset, synset_of
from hdbench.errors import HdbenchError
from hdbench.progress import Progress
from hdbench.shapes import Shape
from hdbench.store import Store

CLOUDS = "_2048_pc"
BLACKLISTS = {"airplane": "plane", "car": "car", "chair": "chair"}
"""What `<name>_problematic_shapes.txt` is called, by category."""
COUNTS: dict[tuple[str, Split], int] = {
    ("airplane", "train"): 3237,
    ("airplane", "val"): 202,
    ("airplane", "test"): 606,
}
"""Names in the released lists; those of cars and chairs were not released with them."""
BLACKLISTED = {"airplane": 488, "car": 1442, "chair": 879}


class HyperDiffusionRelease(Published):
    """One category of the release, by name or synset."""

    layout: ClassVar[str] = "hyperdiffusion"
    title: ClassVar[str] = "HyperDiffusion's data"
    obtain: ClassVar[str] = "the links in the README of github.com/Rgtemze/HyperDiffusion"

    def _open(self, *, strict: bool, store: Store | None, progress: Progress, workers: int | None) -> None:
        root, synset = _root(self.path), synset_of(self.category)
        self._clouds = {without_suffixes(file.name): file for file in (root / f"{synset}{CLOUDS}").glob("*.npy")}
        meshes = {file.stem: file for file in (root / synset).glob("*.obj")}
        if not self._clouds and not meshes:
            there = ", ".join(map(category_of, _synsets(root))) or "none"
            raise self.missing(
                f"{self.path} has neither {synset}{CLOUDS}/ nor {synset}/ ({self.category}); its categories: {there}"
            )
        listed = _splits(root, synset)
        if not listed:
            raise self.missing(f"{root / (synset + CLOUDS)} has no train_split.lst, val_split.lst, test_split.lst")
        broken = _blacklist(root, synset)
        wanted = [name for name in listed if not (name in broken and listed[name] == "train")]
        source = meshes or self._clouds
        found = [_entry(name, source.get(name), self._clouds.get(name), is_mesh=bool(meshes)) for name in wanted]
        self._read(found, as_it_is, store=store, progress=progress, workers=workers)
        splits: dict[str, Split | None] = {name: listed[name] for name in wanted}
        self._settle(splits, unlisted="in no split list", strict=strict, mend="unpack the rest of the release")

    def reference_shape(self, name: str) -> Shape:
        """See `Dataset.reference_shape`: the released cloud, where there is one."""
        return _read_cloud(self._clouds[name]) if name in self._clouds else self.shape(name)

    @classmethod
    def inspect(cls, path: Path) -> Iterator[Finding]:
        """See `Published.inspect`."""
        root = _root(path)
        if not (synsets := _synsets(root)):
            raise cls.missing(f"{path} has no folders such as 02691156{CLOUDS}")
        for synset in synsets:
            yield from _inspect_category(root, synset)
        fields = len(list(root.parent.glob("mlp_weights/*/occ_*_jitter_0_model_final.pth")))
        yield Finding("note", f"neural fields: {fields}" + ("" if fields else "; only `fit --from-fields` needs them"))


def _inspect_category(root: Path, synset: str) -> Iterator[Finding]:
    category = category_of(synset)
    clouds = {without_suffixes(file.name) for file in (root / f"{synset}{CLOUDS}").glob("*.npy")}
    meshes = {file.stem for file in (root / synset).glob("*.obj")}
    listed = _splits(root, synset)
    if not listed:
        yield Finding("wrong", f"{category}: no train_split.lst, val_split.lst, test_split.lst")
    for split in SPLITS:
        names = {name for name, its_split in listed.items() if its_split == split}
        yield compared(f"{category} {split}: names in the list", len(names), COUNTS.get((category, split)))
        if absent := sorted(names - clouds):
            yield Finding("wrong", f"{category} {split}: {len(absent)} clouds are missing, such as {absent[0]}")
        if meshes and (absent := sorted(names - meshes)):
            yield Finding("wrong", f"{category} {split}: {len(absent)} meshes are missing, such as {absent[0]}")
    if not meshes:
        yield Finding("note", f"{category}: no meshes in {synset}/, so it is a dataset of clouds")
    if broken := _blacklist(root, synset):
        yield compared(f"{category}: broken shapes listed", len(broken), BLACKLISTED.get(category))
    else:
        yield Finding("note", f"{category}: no list of broken shapes, so none is left out of training")


def _root(path: Path) -> Path:
    """The folder of synsets: `path`, or `data` in it, where the repository keeps it."""
    return path / "data" if (path / "data").is_dir() else path


def _synsets(root: Path) -> list[str]:
    """Categories with clouds or with meshes."""
    if not root.is_dir():
        return []
    names = {child.name.removesuffix(CLOUDS) for child in root.iterdir() if child.is_dir()}
    return sorted(filter(is_synset, names))


def _splits(root: Path, synset: str) -> dict[str, Split]:
    return split_lists(root / f"{synset}{CLOUDS}") or split_lists(root / synset)


def _blacklist(root: Path, synset: str) -> set[str]:
    category = next((category for category in BLACKLISTS if SYNSETS[category] == synset), None)
    path = root / f"{BLACKLISTS.get(category or '', synset)}_problematic_shapes.txt"
    return {without_suffixes(name) for name in read_lines(path)} if path.is_file() else set()


def _entry(name: str, file: Path | None, cloud: Path | None, *, is_mesh: bool) -> Entry:
    files = tuple(path for path in (file, cloud) if path is not None)
    if file is None:
        return Entry(name, files, partial(_refuse_absent, name, "mesh" if is_mesh else "cloud"), stamp="missing")
    return Entry(name, tuple(dict.fromkeys(files)), partial(read_shape if is_mesh else _read_cloud, file))


def _read_cloud(file: Path) -> Shape:
    points = load_npy(file)
    if points.ndim != 2 or points.shape[1] < 3:
        raise HdbenchError(f"{file}: an array of shape {points.shape}, not (2048, 3 or more); download it again.")
    return shape_from_points(points[:, :3], str(file))


def _refuse_absent(name: str, what: str) -> Shape:
    raise HdbenchError(f"{name}: in the split lists, but there is no {what} of it.")
